"""Parameters of the chapter ``stopping``."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from helpers.book.parameters import ChapterParameters
from helpers.chapters.segmentation import Seed, Share, distinct

Epoch = Annotated[int, Field(ge=1)]


class Parameters(ChapterParameters):
    """Source and schedule of the pretraining, target tasks, transfer, online rule, machine."""

    source: str = Field(
        "synthetic-natural",
        description="what encoders are pretrained on: generated images, or a folder that holds "
        "train/CLASS and val/CLASS (ImageNet)",
    )
    n_source: int = Field(720, ge=64, description="generated source images")
    n_source_validation: int = Field(256, ge=16, description="generated, to measure accuracy")
    source_size: int = Field(48, ge=32, description="side of the source images in pixels")
    encoder: str = Field("unet-8", description="unet-W, resnet18, resnet50, tu-... (timm)")
    epochs: int = Field(6, ge=1, description="of the full pretraining")
    checkpoints: list[Epoch] = Field(
        [1, 3, 6], description="epochs whose encoders are scored and transferred, besides 0"
    )
    scheme: Literal["simple", "advanced"] = Field("simple", description="of augmentation")
    source_batch: int = Field(64, ge=2, description="images per step of the pretraining")
    source_rate: float = Field(0.004, gt=0, description="highest learning rate of AdamW")
    tasks: list[str] = Field(
        ["synthetic-cardiac"], description="data sets with classes: names in the manifest"
    )
    n_images: int = Field(96, ge=0, description="of each task, or drawn at most (0: all)")
    image_size: int = Field(64, ge=32, description="side to which task images are resized")
    test_share: Share = Field(0.25, description="held out, where there is no official test part")
    validation_share: Share = Field(0.2, description="of the rest, to choose the step by")
    seed: Seed = Field(0, description="of the tasks: generation, drawing, splits")
    frozen: list[bool] = Field([True, False], description="encoder frozen, or fine-tuned")
    seeds: list[Seed] = Field([0, 1], description="one pretraining and its segmenters each")
    steps: int = Field(24, ge=1, description="optimisation steps of every segmenter")
    batch_size: int = Field(8, ge=1, description="images per step of a segmenter")
    learning_rate: float = Field(0.05, gt=0, description="of SGD with polynomial decay")
    loss: Literal["dice", "cross_entropy", "sum"] = Field(
        "dice", description="soft Dice as published"
    )
    looks: int = Field(3, ge=1, description="looks at the validation images during a training")
    selection: Literal["best_validation", "last", "test"] = Field(
        "best_validation", description="which step counts; test: the published practice"
    )
    decoder: Literal["unet", "attention"] = Field("unet", description="of the segmenters")
    decoder_width: int = Field(8, ge=1, description="channels of the decoder's finest block")
    scored_images: int = Field(48, ge=2, description="training images that indicators see")
    pairings: list[str] = Field(
        ["published", "all repairs"], description="forms of views and negatives"
    )
    margin: Literal[0.0, 0.25, 0.5, 0.75, 1.0] = Field(0.5, description="of the score")
    patience: int = Field(1, ge=1, description="of the online rule, in epochs")
    smoothing: int = Field(1, ge=1, description="epochs over which the online rule averages")
    least: int = Field(1, ge=1, description="first epoch that the online rule may choose")
    projection: Literal["umap", "tsne", "pca"] = Field(
        "tsne", description="of the features into the plane"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="to train on")
    precision: Literal["auto", "bfloat16", "float32"] = Field("auto", description="of the networks")
    threads: int = Field(1, ge=1, description="per trial; results depend on it in the last digits")
    workers: int = Field(0, ge=0, description="trials at a time (0: one per core)")

    @field_validator("seeds", "tasks", "checkpoints", "frozen", "pairings")
    @classmethod
    def _distinct(cls, values: list) -> list:
        return distinct(values)

    @field_validator("pairings")
    @classmethod
    def _known(cls, values: list) -> list:
        from helpers.experiments.stopping import PAIRINGS

        unknown = [name for name in values if name not in PAIRINGS]
        if unknown or "published" not in values:
            raise ValueError(f"must be of {', '.join(PAIRINGS)}, 'published' among them")
        return values

    @model_validator(mode="after")
    def _within(self) -> "Parameters":
        if self.checkpoints != sorted(self.checkpoints) or self.checkpoints[-1] != self.epochs:
            raise ValueError(
                f"checkpoints {self.checkpoints} must ascend and end with epochs={self.epochs}"
            )
        if self.least > self.epochs:
            raise ValueError(f"least={self.least} must not be above epochs={self.epochs}")
        return self
