"""Parameters of the chapter ``replay``."""

from typing import Literal

from pydantic import Field, field_validator

from helpers.chapters.segmentation import Share, distinct
from helpers.chapters.transfer.parameters import TransferParameters

Selection = Literal["random", "facility_location", "dq_paper_eq", "dq_official_code"]


class Parameters(TransferParameters):
    """Parameters of the chapter ``replay``."""

    methods: list[Selection] = Field(
        ["random", "dq_paper_eq"], description="how the replayed patches are chosen"
    )
    rates: list[Share] = Field([0.1, 1.0], description="shares of the source that are replayed")
    shares: list[Share] = Field(
        [0.1, 0.5], description="of every batch, for the trade-off between the domains"
    )
    kept: Share = Field(0.1, description="share of the source kept for the trade-off")
    anchor: float = Field(0.01, ge=0, description="weight of L2-SP")
    teacher: float = Field(1.0, ge=0, description="weight of distillation")
    adaptive_low: float = Field(0.02, ge=0, lt=1, description="lowest adaptive share of a batch")
    adaptive_high: float = Field(0.5, gt=0, lt=1, description="highest adaptive share of a batch")
    adaptive_tolerance: float = Field(
        0.1, gt=0, description="drop in watched Dice at which the adaptive share is highest"
    )

    @field_validator("rates", "methods", "shares")
    @classmethod
    def _distinct(cls, values: list) -> list:
        return distinct(values)
