"""Parameters of the chapter ``out-of-domain``."""

from pydantic import Field, model_validator

from helpers.chapters.starting.parameters import StartingParameters


class Parameters(StartingParameters):
    """Those of all chapters on starting points, and a shift inside one data set."""

    within: list[str] = Field(
        [],
        description="parts of one data set of glands (glas:benign, glas:malignant): models are "
        "trained on each with all images and tested on all of them",
    )

    @model_validator(mode="after")
    def _parts(self) -> "Parameters":
        if len(self.within) == 1 or len(set(self.within)) != len(self.within):
            raise ValueError("within must name no data set, or at least two and none twice")
        if twice := {*self.within} & {*self.glands, *self.nuclei}:
            raise ValueError(
                f"within names {', '.join(sorted(twice))}, which glands or nuclei name too"
            )
        return self
