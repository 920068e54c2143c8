"""Parameters of the chapter ``replay``."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from helpers.chapters.segmentation import Seed, Share, distinct
from helpers.chapters.transfer.parameters import TransferParameters

Selection = Literal["random", "facility_location", "dq_paper_eq", "dq_official_code"]
Weight = Annotated[float, Field(gt=0)]
Part = Annotated[float, Field(gt=0, lt=1)]


class Parameters(TransferParameters):
    """Parameters of the chapter ``replay``."""

    methods: list[Selection] = Field(
        ["random", "dq_paper_eq"], description="how the replayed patches are chosen"
    )
    rates: list[Share] = Field([0.1, 1.0], description="shares of the source that are replayed")
    shares: list[Share] = Field(
        [0.1, 0.5], description="of every batch, for the trade-off between the domains"
    )
    controlled: Part = Field(0.5, description="of every batch, in the controlled setting")
    kept: Share = Field(0.1, description="share of the source kept for the trade-off")
    anchor: list[Weight] = Field([0.01], description="weights of L2-SP to choose from")
    teacher: list[Weight] = Field([1.0], description="weights of distillation to choose from")
    adaptive_low: float = Field(0.02, ge=0, lt=1, description="lowest adaptive share of a batch")
    adaptive_high: list[Part] = Field(
        [0.5], description="highest adaptive shares of a batch to choose from"
    )
    adaptive_tolerance: float = Field(
        0.1, gt=0, description="drop in watched Dice at which the adaptive share is highest"
    )

    tuning_seed: Seed = Field(
        99, description="on which the best of several weights is chosen; not one of the seeds"
    )

    @field_validator("rates", "methods", "shares", "anchor", "teacher", "adaptive_high")
    @classmethod
    def _distinct(cls, values: list) -> list:
        return distinct(values)

    @field_validator("tuning_seed")
    @classmethod
    def _tuned_elsewhere(cls, value: int, info: ValidationInfo) -> int:
        if value in info.data.get("seeds", []):
            raise ValueError("must not be one of the seeds that are counted")
        return value
