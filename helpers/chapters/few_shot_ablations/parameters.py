"""Parameters of the chapter ``few-shot-ablations``."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from helpers.chapters.cells.parameters import CellParameters
from helpers.chapters.segmentation import Share, distinct

Weight = Annotated[float, Field(ge=0)]
Rounds = Annotated[int, Field(ge=1)]
Part = Annotated[float, Field(ge=0, lt=1)]


class Parameters(CellParameters):
    """Those of the chapters on few-shot cells, and what is varied one at a time."""

    share: Share = Field(0.1, description="of the training images, in every study")
    anchor_weights: list[Weight] = Field([0.0, 0.1, 1.0], description="of L2-SP (0: none)")
    round_counts: list[Rounds] = Field([1, 2], description="at equal total steps")
    contrast_shares: list[Part] = Field(
        [0.0, 0.5], description="of MoCo's steps in all steps of AMT2 (0: the source alone)"
    )
    encoders: list[str] = Field([], description="further backbones")
    unseen: list[str] = Field([], description="data sets that the pretraining did not see")
    map_patches: int = Field(40, ge=10, description="of cells and of the source, on the maps")
    projections: list[Literal["tsne", "umap", "pca"]] = Field(["tsne"], description="of the maps")

    @field_validator("anchor_weights", "round_counts", "contrast_shares", "encoders", "unseen")
    @classmethod
    def _none_twice(cls, values: list) -> list:
        return distinct(values) if values else values

    @field_validator("projections")
    @classmethod
    def _some(cls, values: list) -> list:
        return distinct(values)

    @model_validator(mode="after")
    def _own_settings_among_them(self) -> "Parameters":
        for name, own in (("anchor_weights", "anchor_weight"), ("round_counts", "rounds")):
            values = getattr(self, name)
            if values and getattr(self, own) not in values:
                raise ValueError(f"{name} must hold {own}={getattr(self, own)}, which is compared")
        for name, own in (("encoders", "encoder"), ("unseen", "cells")):
            if getattr(self, own) in getattr(self, name):
                raise ValueError(f"{name} must not hold {own}, which is there anyway")
        if self.max_test_images == 1 or self.max_source_test == 1:
            raise ValueError(
                "max_test_images and max_source_test must be at least 2 (the first: or 0), so that "
                "the gap is measured on other images than those it is learnt from"
            )
        total = self.total_steps
        # Each side has at least one step in each round.
        if wrong := [n for n in self.round_counts if total % n or total < 2 * n]:
            raise ValueError(
                f"round_counts: {total} steps of both sides cannot be cut into {wrong} equal "
                "rounds with a step of either side in each"
            )
        return self

    @property
    def total_steps(self) -> int:
        """Of both sides of AMT2."""
        return self.contrast_steps + self.source_steps
