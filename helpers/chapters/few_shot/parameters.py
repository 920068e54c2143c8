"""Parameters of the chapter ``few-shot``."""

from typing import Literal

from pydantic import Field, field_validator

from helpers.chapters.cells.parameters import CellParameters
from helpers.chapters.segmentation import Share, distinct


class Parameters(CellParameters):
    """Those of the chapters on few-shot cells, starts and shares."""

    starts: list[Literal["scratch", "source", "source, longer", "MoCo", "CUPre"]] = Field(
        ["scratch", "source", "source, longer", "MoCo", "CUPre"],
        description="of the detector; the third: the source for all steps of CUPre",
    )
    shares: list[Share] = Field(
        [0.1, 1.0], description="of the training images, ascending (published: 0.05)"
    )

    @field_validator("starts", "shares")
    @classmethod
    def _each_once(cls, values: list) -> list:
        return distinct(values)

    @field_validator("shares")
    @classmethod
    def _ascending(cls, values: list) -> list:
        if values != sorted(values):
            raise ValueError("shares must ascend")
        return values
