"""Parameters of the chapter ``few-shot-ablations``."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from helpers.chapters.cells.parameters import GROUPS, CellParameters
from helpers.chapters.segmentation import Share, distinct
from helpers.pretraining.moco import MocoPlan, queue_length

Weight = Annotated[float, Field(ge=0)]
Rounds = Annotated[int, Field(ge=1)]
Part = Annotated[float, Field(ge=0, lt=1)]
Factor = Annotated[float, Field(gt=0)]
Keys = Annotated[int, Field(ge=1)]


class Parameters(CellParameters):
    """Those of the chapters on few-shot cells, and what is varied one at a time."""

    share: Share = Field(0.1, description="of the training images, in every study")
    anchor_weights: list[Weight] = Field([0.0, 0.1, 1.0], description="of L2-SP (0: none)")
    round_counts: list[Rounds] = Field([1, 2], description="at equal total steps")
    contrast_shares: list[Part] = Field(
        [0.0, 0.5], description="of MoCo's steps in all steps of AMT2 (0: the source alone)"
    )
    lengths: list[Factor] = Field([0.5, 1.0], description="of AMT2, in its own steps")
    queues: list[Keys] = Field([32, 128], description="of MoCo, keys")
    encoders: list[str] = Field([], description="further backbones")
    unseen: list[str] = Field([], description="data sets that the pretraining did not see")
    map_patches: int = Field(40, ge=10, description="of cells and of the source, on the maps")
    projections: list[Literal["tsne", "umap", "pca"]] = Field(["tsne"], description="of the maps")

    @field_validator(
        *("anchor_weights", "round_counts", "contrast_shares", "lengths", "queues"),
        *("encoders", "unseen"),
    )
    @classmethod
    def _none_twice(cls, values: list) -> list:
        return distinct(values) if values else values

    @field_validator("projections")
    @classmethod
    def _some(cls, values: list) -> list:
        return distinct(values)

    @model_validator(mode="after")
    def _own_settings_among_them(self) -> "Parameters":
        for name, own, value in (
            ("anchor_weights", "anchor_weight", self.anchor_weight),
            ("round_counts", "rounds", self.rounds),
            ("lengths", "AMT2's own length", 1.0),
            ("queues", "the queue that is chosen", self.own_queue),
        ):
            values = getattr(self, name)
            if values and value not in values:
                raise ValueError(f"{name} must hold {own}={value}, which is compared")
        if wrong := [n for n in self.queues if not self.contrast_batch <= n <= self.n_patches]:
            raise ValueError(
                f"queues: {wrong} must be at least contrast_batch={self.contrast_batch} and at "
                f"most n_patches={self.n_patches}"
            )
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

    @property
    def own_queue(self) -> int:
        """Keys of MoCo where none are asked for."""
        return queue_length(MocoPlan(1, self.contrast_batch, groups=GROUPS), self.n_patches)
