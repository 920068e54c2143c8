"""Parameters of the chapter ``forgetting``."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from helpers.chapters.segmentation import Share, distinct
from helpers.chapters.transfer.parameters import TransferParameters

Selection = Literal["random", "facility_location", "dq_paper_eq", "dq_official_code"]
Rate = Annotated[float, Field(gt=0)]


class Parameters(TransferParameters):
    """Parameters of the chapter ``forgetting``."""

    methods: list[Selection] = Field(
        ["dq_paper_eq"], description="how a share of the source is chosen before the transfer"
    )
    rates: list[Share] = Field([0.1], description="shares of the source")
    learning_rates: list[Rate] = Field(
        [0.01], description="further learning rates of fine-tuning on the target"
    )
    invert_target: bool = Field(
        True, description="also with the target's polarity made that of the source"
    )

    @field_validator("rates", "methods", "learning_rates")
    @classmethod
    def _distinct(cls, values: list) -> list:
        return distinct(values)
