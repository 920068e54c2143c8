"""Parameters that the chapters on starting points share."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from helpers.book.parameters import ChapterParameters
from helpers.chapters.segmentation import Seed, Share, distinct

Budget = Literal["steps", "epochs"]
OpenShare = Annotated[float, Field(gt=0, lt=1)]


class StartingParameters(ChapterParameters):
    """Data of both kinds, starts and their pretraining, training, machine."""

    glands: list[str] = Field(
        ["synthetic-glands", "synthetic-glands-b"], description="data sets of glands"
    )
    nuclei: list[str] = Field(
        ["synthetic-histo", "synthetic-histo-b"], description="data sets of nuclei"
    )
    n_images: int = Field(16, ge=0, description="of each data set, or drawn at most (0: all)")
    image_size: int = Field(192, ge=64, description="side of generated images in pixels")
    gland_scale: float = Field(0.5, gt=0, le=1, description="factor by which glands are shrunk")
    nucleus_scale: float = Field(0.5, gt=0, le=1, description="the same for nuclei")
    test_share: OpenShare = Field(0.25, description="held out, where there is no test part")
    validation_share: OpenShare = Field(0.2, description="of the rest (published: 0.2)")
    max_test_images: int = Field(2, ge=0, description="tested on, of each data set (0: all)")
    seed: Seed = Field(0, description="of the data: generation, drawing, splits")
    starts: list[str] = Field(
        ["random", "supervised-natural", "barlow-natural", "barlow-tissue"],
        description="weights of the encoder: random; made here: supervised-natural, "
        "barlow-natural, barlow-tissue; published: imagenet-v1, imagenet-v2, barlow-imagenet, "
        "barlow-pathology, moco-imagenet, moco-pathology, swav-pathology; file:PATH",
    )
    encoder: str = Field("unet-8", description="unet-W, resnet18, resnet50, tu-... (timm)")
    n_source: int = Field(600, ge=64, description="pictures of every pretraining made here")
    source_size: int = Field(48, ge=32, description="their side in pixels")
    source_epochs: int = Field(3, ge=1, description="of the classification")
    source_batch: int = Field(64, ge=2, description="images per step of the classification")
    source_rate: float = Field(0.004, gt=0, description="highest learning rate of the same")
    twin_steps: int = Field(30, ge=1, description="of Barlow Twins")
    twin_batch: int = Field(64, ge=2, description="images per step of Barlow Twins")
    twin_rate: float = Field(0.002, gt=0, description="highest learning rate of Barlow Twins")
    twin_width: int = Field(256, ge=8, description="of its projector (published: 8192)")
    shares: list[Share] = Field([0.1, 1.0], description="of the training images")
    budgets: list[Budget] = Field(
        ["steps"], description="equal steps for all shares, or epochs (fewer steps for less data)"
    )
    seeds: list[Seed] = Field([0, 1], description="one training each (published: five)")
    gland_steps: int = Field(30, ge=1, description="of a training on glands, with all images")
    nucleus_steps: int = Field(15, ge=1, description="the same on nuclei (published: half)")
    batch_size: int = Field(4, ge=1, description="crops per step (not published)")
    crop: int = Field(48, ge=16, description="side of the random crops (published: 256)")
    translate: float = Field(0.1, ge=0, lt=1, description="random shift, share of the crop")
    optimiser: Literal["adam", "sgd"] = Field("adam", description="not published")
    learning_rate: float = Field(0.001, gt=0, description="constant (published: 0.0001)")
    loss: Literal["cross_entropy", "dice", "sum"] = Field("sum", description="not published")
    looks: int = Field(2, ge=1, description="at validation and test images during a training")
    decoder_width: int = Field(8, ge=1, description="channels of the decoder's finest block")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="to train on")
    precision: Literal["auto", "bfloat16", "float32"] = Field("auto", description="of the networks")
    threads: int = Field(1, ge=1, description="per trial; results depend on it in the last digits")
    workers: int = Field(0, ge=0, description="trials at a time (0: one per core)")

    @field_validator("starts", "shares", "budgets", "seeds")
    @classmethod
    def _distinct(cls, values: list) -> list:
        return distinct(values)

    @field_validator("shares")
    @classmethod
    def _ends_with_all(cls, values: list) -> list:
        if values != sorted(values) or values[-1] != 1:
            raise ValueError("shares must ascend and end with 1")
        return values

    @field_validator("starts")
    @classmethod
    def _with_random(cls, values: list) -> list:
        if "random" not in values:
            raise ValueError("'random' must be among the starts: the others are compared with it")
        return values

    @model_validator(mode="after")
    def _some_data(self) -> "StartingParameters":
        datasets = [*self.glands, *self.nuclei]
        if not datasets or len(set(datasets)) != len(datasets):
            raise ValueError("glands and nuclei must name at least one data set, none twice")
        return self
