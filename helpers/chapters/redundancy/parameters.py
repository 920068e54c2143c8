"""Parameters of the chapter ``redundancy``."""

from typing import Literal

from pydantic import Field, field_validator

from helpers.chapters.segmentation import SegmentationParameters, Share, distinct


class Parameters(SegmentationParameters):
    """Parameters of the chapter ``redundancy``."""

    rates: list[Share] = Field([0.02, 0.1, 1.0], description="shares of training patches")
    selections: list[Literal["random", "dq_paper_eq", "dq_official_code"]] = Field(
        ["random", "dq_paper_eq", "dq_official_code"], description="how patches are chosen"
    )
    equal_epochs: bool = Field(True, description="also train random subsets for equal epochs")
    n_bins: int = Field(10, ge=1, description="bins of dataset quantization")

    @field_validator("rates", "selections")
    @classmethod
    def _distinct(cls, values: list) -> list:
        return distinct(values)
