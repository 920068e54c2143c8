"""Parameters of the chapter ``coreset``."""

from typing import Literal

from pydantic import Field, field_validator

from helpers.chapters.segmentation import Seed, SegmentationParameters, Share, distinct

Method = Literal[
    "random",
    "stratified",
    "k_center",
    "herding",
    "facility_location",
    "dq_paper_eq",
    "dq_official_code",
    "dq_graphcut",
]
Map = Literal["t-SNE", "UMAP"]


class Parameters(SegmentationParameters):
    """Parameters of the chapter ``coreset``."""

    dataset: str = Field("synthetic-multi", description="name in the manifest, or folder:PATH")
    n_images: int = Field(56, ge=0, description="images generated, or drawn at most (0: all)")
    seeds: list[Seed] = Field([0, 1], description="one draw and one model each")
    steps: int = Field(36, ge=1, description="optimisation steps of every model")
    rotate: bool = Field(
        False, description="split anew for each seed, so that in turn all images are tested"
    )
    features: str = Field(
        "mae",
        pattern=r"^(mae|descriptor|pixels|mae-vit-base|lunit-dino-vits(8|16)|timm:.+)$",
        description="what selections see: mae (pretrained here), descriptor, pixels, mae-vit-base "
        "or lunit-dino-vits16 (official weights) or timm:NAME (random weights)",
    )
    contrast: str = Field(
        "", description="data set whose patches are mixed in for the check of features (or none)"
    )
    mae_size: int = Field(64, ge=16, description="side to which patches are resized for it")
    mae_patch: int = Field(8, ge=2, description="side of its tokens in pixels")
    mae_width: int = Field(128, ge=32, multiple_of=32, description="of its encoder")
    mae_depth: int = Field(4, ge=1, description="blocks of its encoder")
    mae_steps: int = Field(70, ge=1, description="optimisation steps of its pretraining")
    mae_batch: int = Field(64, ge=1, description="patches per step of its pretraining")
    mae_learning_rate: float = Field(8e-3, gt=0, description="its base rate, for a batch of 256")
    mae_threads: int = Field(1, ge=1, description="of its pretraining")
    methods: list[Method] = Field(
        ["random", "facility_location", "dq_paper_eq", "dq_official_code"],
        description="selections that models are trained on",
    )
    rates: list[Share] = Field([0.05, 0.2], description="shares that models are trained on")
    coverage_rates: list[Share] = Field(
        [0.02, 0.05, 0.1, 0.2, 0.5], description="shares at which coverage is measured"
    )
    n_bins: int = Field(10, ge=1, description="bins of dataset quantization")
    n_cells: int = Field(50, ge=2, description="k-means cells of the coverage measure")
    map_points: int = Field(1500, ge=10, description="most patches shown in the maps")
    maps: list[Map] = Field(
        ["t-SNE", "UMAP"], min_length=1, description="ways to lay out the patches in the plane"
    )

    @field_validator("rates", "methods", "coverage_rates", "maps")
    @classmethod
    def _distinct(cls, values: list) -> list:
        return distinct(values)
