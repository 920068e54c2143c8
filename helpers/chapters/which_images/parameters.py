"""Parameters of the chapter ``which-images``."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from helpers.book.parameters import ChapterParameters

Method = Literal[
    "dq",
    "dq-official",
    "dq-graphcut",
    "facility-location",
    "k-center",
    "herding",
    "stratified",
    "random",
]


class Parameters(ChapterParameters):
    """Parameters of the chapter ``which-images``."""

    dataset: str = Field(
        "synthetic-mixed",
        description="synthetic-mixed (written into a folder), a name in the manifest, or "
        "images:PATH for a folder of your own",
    )
    n_images: int = Field(48, ge=6, description="images generated for synthetic-mixed")
    image_size: int = Field(192, ge=64, description="side of generated images in pixels")
    seed: int = Field(0, ge=0, description="of the generated images")
    budget: int = Field(8, ge=1, description="how many images (or patches) can be annotated")
    methods: list[Method] = Field(
        ["dq", "facility-location", "k-center", "random"],
        description="ways to choose that are compared; the first two are shown on the map",
    )
    features: str = Field(
        "descriptor",
        description="descriptor, mae, mae-vit-base, lunit-dino-vits16, lunit-dino-vits8, timm:NAME "
        "or timm:NAME=WEIGHTS",
    )
    patch_size: int = Field(0, ge=0, description="side of patches in pixels; 0: whole images")
    patch_stride: int = Field(0, ge=0, description="step between patches; 0: their side")
    n_bins: int = Field(10, ge=1, description="bins of dataset quantization")
    seeds: list[Annotated[int, Field(ge=0)]] = Field(
        [0, 1, 2], description="of the methods that draw; the first is the one shown"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="for features that come from a network"
    )

    @field_validator("methods", "seeds")
    @classmethod
    def _distinct(cls, values: list) -> list:
        if not values or len(set(values)) != len(values):
            raise ValueError("the list must hold at least one value and none twice")
        return values
