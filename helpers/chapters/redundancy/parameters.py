"""Parameters of the chapter ``redundancy``."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from helpers.chapters.parameters import ChapterParameters

Share = Annotated[float, Field(gt=0, le=1)]


class Parameters(ChapterParameters):
    """Parameters of the chapter ``redundancy``."""

    dataset: str = Field("synthetic-cyto", description="name in the manifest, or folder:PATH")
    n_images: int = Field(48, ge=0, description="images generated, or drawn at most (0: all)")
    image_size: int = Field(336, ge=64, description="side of generated images in pixels")
    test_share: float = Field(0.25, gt=0, lt=1, description="share of images held out")
    max_test_images: int = Field(6, ge=0, description="held-out images tested on (0: all)")
    seed: int = Field(0, ge=0, description="of the data: generation, drawing, split")
    polarity: Literal["as_is", "bright_objects"] = Field(
        "as_is", description="bright_objects inverts images with a bright background"
    )
    patch_size: int = Field(224, ge=16, description="side of the patches in pixels")
    patch_stride: int = Field(112, ge=1, description="step between patches in pixels")
    edge: Literal["pad", "drop"] = Field("drop", description="windows at the border")
    min_instances: int = Field(0, ge=0, description="patches with fewer are left out (0: none)")
    rates: list[Share] = Field([0.02, 0.1, 1.0], description="shares of training patches")
    selections: list[Literal["random", "dq_paper_eq", "dq_official_code"]] = Field(
        ["random", "dq_paper_eq", "dq_official_code"], description="how patches are chosen"
    )
    equal_epochs: bool = Field(True, description="also train random subsets for equal epochs")
    seeds: list[Annotated[int, Field(ge=0)]] = Field([0, 1], description="one model each")
    n_bins: int = Field(10, ge=1, description="bins of dataset quantization")
    width: int = Field(8, ge=1, description="CPnet's first level; 32 is the full network")
    steps: int = Field(80, ge=1, description="optimisation steps on all patches")
    batch_size: int = Field(8, ge=1, description="crops per step")
    crop: int = Field(96, ge=16, description="side of the training crops, a multiple of 8")
    learning_rate: float = Field(0.1, gt=0, description="of SGD")
    scale_range: float = Field(0.5, ge=0, lt=2, description="width of the random scale interval")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="to train on")
    precision: Literal["auto", "bfloat16", "float32"] = Field("auto", description="of the network")
    threads: int = Field(1, ge=1, description="per trial; results depend on it in the last digits")
    workers: int = Field(0, ge=0, description="trials at a time (0: one per core)")

    @field_validator("rates", "seeds", "selections")
    @classmethod
    def _distinct(cls, values: list) -> list:
        if not values or len(set(values)) != len(values):
            raise ValueError("the list must hold at least one value and none twice")
        return values

    @field_validator("crop")
    @classmethod
    def _multiple(cls, value: int) -> int:
        if value % 8:
            raise ValueError("must be a multiple of 8")
        return value
