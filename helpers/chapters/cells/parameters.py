"""Parameters that the chapters on few-shot cells share."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from helpers.book.parameters import ChapterParameters
from helpers.chapters.segmentation import Seed, distinct

OpenShare = Annotated[float, Field(gt=0, lt=1)]
# Parts of a batch that batch normalisation takes its statistics of in the contrast.
GROUPS = 4


class CellParameters(ChapterParameters):
    """Data, detector, the two sides of the pretraining, fine-tuning, machine."""

    cells: str = Field("synthetic-cyto", description="name in the manifest, or folder:PATH")
    n_images: int = Field(40, ge=0, description="of cells: generated, or drawn at most (0: all)")
    image_size: int = Field(160, ge=64, description="side of generated images of cells in pixels")
    cell_scale: float = Field(1.0, gt=0, le=1, description="factor by which cells are shrunk")
    stretch: bool = Field(True, description="bring cells from 1st to 99th percentile to 0..255")
    test_share: OpenShare = Field(0.25, description="held out, where there is no test part")
    max_test_images: int = Field(8, ge=0, description="tested on, of each data set (0: all)")
    seed: Seed = Field(0, description="of the data: generation, drawing, split, patches")
    sources: list[str] = Field(["synthetic-objects"], description="labelled everyday pictures")
    n_source: int = Field(60, ge=2, description="pictures of each source: generated, or at most")
    source_size: int = Field(96, ge=64, description="side of generated ones in pixels")
    source_scale: float = Field(1.0, gt=0, le=1, description="factor by which others are shrunk")
    source_classes: Literal["one", "own"] = Field(
        "one", description="every object of the source just an object, or of its class (published)"
    )
    max_source_test: int = Field(8, ge=1, description="pictures that source AP is measured on")
    encoder: str = Field("unet-4", description="unet-W, resnet18, vit-..., tu-... (timm)")
    width: int = Field(16, ge=8, description="channels of pyramid and heads (published: 256)")
    heads: Literal["small", "livecell"] = Field("small", description="layers of the heads")
    n_patches: int = Field(256, ge=8, description="unlabelled patches of cells")
    patch_size: int = Field(64, ge=32, description="their side in pixels")
    warm_steps: int = Field(60, ge=1, description="on the source alone, before all else")
    contrast_steps: int = Field(20, ge=1, description="of MoCo, over all rounds")
    source_steps: int = Field(40, ge=1, description="on the source in turn with MoCo, over all")
    rounds: int = Field(2, ge=1, description="of the alternation (not published)")
    anchor_weight: float = Field(0.1, ge=0, description="of L2-SP (not published; 0: decay)")
    source_batch: int = Field(2, ge=1, description="pictures per step")
    source_crop: int = Field(96, ge=32, description="side of crops of the source")
    source_rate: float = Field(0.05, gt=0, description="learning rate on the source")
    contrast_batch: int = Field(32, ge=8, description="patches per step of MoCo")
    contrast_rate: float = Field(0.03, gt=0, description="learning rate of MoCo")
    key_momentum: float = Field(0.99, ge=0, le=1, description="of MoCo (published: 0.999)")
    seeds: list[Seed] = Field(
        [0, 1], description="draws of the annotated images, one training each"
    )
    steps: int = Field(40, ge=1, description="of fine-tuning, the same for every share")
    batch_size: int = Field(2, ge=1, description="images per step")
    crop: int = Field(96, ge=32, description="side of crops of cells in pixels")
    learning_rate: float = Field(0.08, gt=0, description="of fine-tuning")
    areas: Literal["coco", "livecell"] = Field("livecell", description="of cells, with the limits")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="to train on")
    precision: Literal["auto", "bfloat16", "float32"] = Field(
        "float32", description="of the networks; bfloat16 is slow here on processors"
    )
    threads: int = Field(1, ge=1, description="per trial; results depend on it in the last digits")
    workers: int = Field(0, ge=0, description="trials at a time (0: one per core)")

    @field_validator("sources", "seeds")
    @classmethod
    def _distinct(cls, values: list) -> list:
        return distinct(values)

    @field_validator("contrast_batch")
    @classmethod
    def _in_groups(cls, value: int) -> int:
        if value % GROUPS:
            raise ValueError(f"must be a multiple of {GROUPS}, the groups of batch normalisation")
        return value

    @model_validator(mode="after")
    def _fits(self) -> "CellParameters":
        for name in ("contrast_steps", "source_steps"):
            if getattr(self, name) % self.rounds:
                raise ValueError(f"{name} must be a multiple of rounds: each round has equal parts")
        if self.contrast_batch > self.n_patches:
            raise ValueError("contrast_batch must not be larger than n_patches")
        return self
