"""What chapters that train a segmentation network share: data, patches, recipe, machine."""

import os
from typing import Annotated, Literal

from pydantic import Field, field_validator

from helpers.book.parameters import ChapterParameters
from helpers.data.patches import PatchGrid
from helpers.experiments.preparation import DataSettings, prepare_data
from helpers.experiments.prepared import Prepared
from helpers.experiments.subset import Recipe
from helpers.models.device import resolve_device, resolve_precision
from helpers.paths import runs_dir
from helpers.training.loop import Optimiser, Schedule, TrainingPlan

Share = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0)]


class SegmentationParameters(ChapterParameters):
    """Parameters of data, patches, training and machine; chapters add their own and defaults."""

    dataset: str = Field("synthetic-cyto", description="name in the manifest, or folder:PATH")
    n_images: int = Field(36, ge=0, description="images generated, or drawn at most (0: all)")
    image_size: int = Field(224, ge=64, description="side of generated images in pixels")
    test_share: float = Field(0.25, gt=0, lt=1, description="share of images held out")
    max_test_images: int = Field(4, ge=0, description="held-out images tested on (0: all)")
    seed: Seed = Field(0, description="of the data: generation, drawing, split")
    polarity: Literal["as_is", "bright_objects"] = Field(
        "as_is", description="bright_objects inverts images with a bright background"
    )
    patch_size: int = Field(112, ge=16, description="side of the patches in pixels")
    patch_stride: int = Field(112, ge=1, description="step between patches in pixels")
    edge: Literal["pad", "drop"] = Field("drop", description="windows at the border")
    min_instances: int = Field(0, ge=0, description="patches with fewer are left out (0: none)")
    seeds: list[Seed] = Field([0, 1], description="one model each")
    width: int = Field(8, ge=1, description="CPnet's first level; 32 is the full network")
    steps: int = Field(80, ge=1, description="optimisation steps on all patches")
    batch_size: int = Field(4, ge=1, description="crops per step")
    crop: int = Field(64, ge=16, description="side of the training crops, a multiple of 8")
    optimiser: Optimiser = Field("sgd", description="sgd (momentum 0.9, as published) or adamw")
    schedule: Schedule = Field(
        "cellpose", description="after the warm-up: cellpose (ten halvings) or cosine (to zero)"
    )
    learning_rate: float = Field(0.1, gt=0, description="of the optimiser, at its highest")
    weight_decay: float = Field(1e-4, ge=0, description="of the optimiser")
    warmup_share: float = Field(0.05, ge=0, le=1, description="of the steps, at the beginning")
    scale_range: float = Field(0.5, ge=0, lt=2, description="width of the random scale interval")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="to train on")
    precision: Literal["auto", "bfloat16", "float32"] = Field("auto", description="of the network")
    threads: int = Field(1, ge=1, description="per trial; results depend on it in the last digits")
    workers: int = Field(0, ge=0, description="trials at a time (0: one per core)")

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, values: list) -> list:
        return distinct(values)

    @field_validator("crop")
    @classmethod
    def _multiple(cls, value: int) -> int:
        if value % 8:
            raise ValueError("must be a multiple of 8")
        return value


def distinct(values: list) -> list:
    """The list, unless it is empty or holds a value twice (for validators)."""
    if not values or len(set(values)) != len(values):
        raise ValueError("the list must hold at least one value and none twice")
    return values


def worker_count(parameters: SegmentationParameters) -> int:
    """Trials at a time: as asked, or one per core (one on a GPU)."""
    if parameters.workers:
        return parameters.workers
    if resolve_device(parameters.device).type != "cpu":
        return 1
    return max(1, (os.cpu_count() or 1) // parameters.threads)


def prepare(parameters: SegmentationParameters, turn: int | None = None) -> Prepared:
    """Data of a chapter: read or generated, split by group, cut, with flow targets.

    Args:
        turn: of a split that rotates with the seed of the models; ``None`` for the fixed one.
    """
    settings = DataSettings(
        dataset=parameters.dataset,
        n_images=parameters.n_images,
        image_size=parameters.image_size,
        test_share=parameters.test_share,
        max_test_images=parameters.max_test_images,
        seed=parameters.seed,
        polarity=parameters.polarity,
        grid=PatchGrid(
            parameters.patch_size,
            parameters.patch_stride,
            parameters.edge,
            parameters.min_instances,
        ),
        turn=turn,
    )
    return prepare_data(settings, runs_dir() / "data", worker_count(parameters))


def precision_name(parameters: SegmentationParameters) -> str:
    """``"bfloat16"`` or ``"float32"``: what is asked for, or what the device does best."""
    device = resolve_device(parameters.device)
    return str(resolve_precision(parameters.precision, device)).removeprefix("torch.")


def recipe(parameters: SegmentationParameters, seed: int) -> Recipe:
    """How the models of a chapter are trained, for one seed."""
    plan = TrainingPlan(
        steps=parameters.steps,
        batch_size=parameters.batch_size,
        crop=parameters.crop,
        optimiser=parameters.optimiser,
        schedule=parameters.schedule,
        learning_rate=parameters.learning_rate,
        weight_decay=parameters.weight_decay,
        warmup_share=parameters.warmup_share,
        scale_range=parameters.scale_range,
        precision=precision_name(parameters),
    )
    device = resolve_device(parameters.device).type
    return Recipe(parameters.width, plan, seed, device, parameters.threads)
