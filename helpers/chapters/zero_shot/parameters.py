"""Parameters of the chapter ``zero-shot``."""

from typing import Literal

from pydantic import Field, field_validator

from helpers.chapters.segmentation import Share, distinct
from helpers.chapters.transfer.parameters import TransferParameters

Selection = Literal["random", "facility_location", "dq_paper_eq", "dq_official_code"]


class Parameters(TransferParameters):
    """Parameters of the chapter ``zero-shot``."""

    methods: list[Selection] = Field(
        ["random", "dq_paper_eq"], description="how a share of the source is chosen"
    )
    rates: list[Share] = Field([0.3], description="shares of the source")

    @field_validator("rates", "methods")
    @classmethod
    def _distinct(cls, values: list) -> list:
        return distinct(values)
