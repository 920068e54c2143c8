"""Parameters of the chapter ``representations``."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from helpers.chapters.segmentation import distinct
from helpers.chapters.starting.parameters import StartingParameters
from helpers.features.projection import UMAP_DISTANCE, UMAP_NEIGHBOURS


class Parameters(StartingParameters):
    """Those that the chapters share, patches, maps and shuffles."""

    n_patches: int = Field(300, ge=8, description="of the test images of all data sets of glands")
    neighbours: int = Field(
        UMAP_NEIGHBOURS, ge=2, description="of UMAP and of the neighbourhoods that are compared"
    )
    min_dist: float = Field(UMAP_DISTANCE, ge=0, le=1, description="of points on a map of UMAP")
    metric: Literal["cosine", "euclidean"] = Field("cosine", description="of maps and clouds")
    projections: list[Literal["umap", "tsne", "pca"]] = Field(
        ["umap"], description="maps; the first is drawn start by start, too"
    )
    shuffles: int = Field(40, ge=20, description="of the patches, to see what chance gives")

    @field_validator("projections")
    @classmethod
    def _each_once(cls, values: list) -> list:
        return distinct(values)

    @model_validator(mode="after")
    def _comparable(self) -> "Parameters":
        if not self.glands:
            raise ValueError("glands must name a data set: the patches are of glands")
        if len(self.starts) < 2:
            raise ValueError("starts must name at least two, to be compared")
        if self.neighbours >= self.n_patches:
            raise ValueError(f"neighbours={self.neighbours} must be below n_patches")
        return self
