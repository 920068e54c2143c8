"""Few-shot cells (arXiv 2310.03981): one detector from several starts, on few annotated images.

The paper's pipeline has three steps: a detector learns from labelled everyday pictures
(:class:`Warming`); its backbone then learns from cells without annotation, in turn with more of
the first (:class:`Alternation`, CUPre); few annotated cells finish it (:class:`FewShot`). MoCo on
cells alone (:class:`Contrasting`) and no pretraining are the other starts. A pretraining is one
trial and serves every share of the annotated images and every draw of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from helpers.experiments.objects import ObjectTask, Scenes, joined, pack
from helpers.experiments.starts import random_patches
from helpers.files import read_torch, write_json, write_torch
from helpers.metrics.detection import Areas, Instances, average_precision
from helpers.models.cascade import (
    IMAGENET,
    Detector,
    DetectorSpec,
    anchor_backbone,
    build_detector,
    predict_instances,
    take_weights,
)
from helpers.models.cascade_heads import HeadSpec
from helpers.models.encoders import EncoderSpec, load_encoder, save_encoder
from helpers.models.pyramid import BatchNorm
from helpers.pretraining.amt2 import (
    Amt2Plan,
    detector_path,
    load_detector,
    pretrain_amt2,
)
from helpers.pretraining.moco import MocoPlan, encoder_path, pretrain_moco
from helpers.training.detection import DetectionPlan, DetectorTraining, train_detector

DETECTOR = "detector.pt"
ENCODER = "encoder.pt"
FOUND = "found.json"


@dataclass(frozen=True)
class Architecture:
    """A detector apart from its classes; the defaults are LIVECell's.

    Attributes:
        encoder: name of the backbone (:class:`helpers.models.encoders.EncoderSpec`).
        channels: of the pyramid and of the heads.
        box_convs, box_features, mask_convs: see :class:`helpers.models.cascade_heads.HeadSpec`.
        regions: sampled proposals per image.
        proposals_before, proposals_after, detections: see
            :class:`helpers.models.cascade.DetectorSpec`.
        batch_norm: of the backbone, on every data set alike.
    """

    encoder: str
    channels: int = 256
    box_convs: int = 4
    box_features: int = 1024
    mask_convs: int = 8
    regions: int = 512
    proposals_before: int = 12_000
    proposals_after: int = 3_000
    detections: int = 3_000
    batch_norm: BatchNorm = "trained"

    def spec(
        self,
        n_classes: int,
        statistics: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET,
    ) -> DetectorSpec:
        """The detector.

        Args:
            statistics: mean and standard deviation of inputs in 0..1, per channel.
        """
        heads = HeadSpec(self.channels, self.box_convs, self.box_features, self.mask_convs)
        return DetectorSpec(
            EncoderSpec(self.encoder),
            n_classes,
            heads=heads,
            channels=self.channels,
            batch_norm=self.batch_norm,
            regions=self.regions,
            proposals_before=self.proposals_before,
            proposals_after=self.proposals_after,
            detections=self.detections,
            mean=statistics[0],
            std=statistics[1],
        )


@dataclass(frozen=True)
class Machine:
    """Where a trial is computed."""

    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True)
class Warming:
    """Step one: the labelled source alone, from random weights.

    Attributes:
        sources: data sets, their classes one after the other.
        one_class: whether every object is just an object. Classes cost most of a training; a short
            one learns from them nothing but what is easiest.
        areas: by which the source's objects count as small, medium and large.
        seed: of weights, order and views.
    """

    architecture: Architecture
    sources: tuple[str, ...]
    plan: DetectionPlan
    seed: int
    one_class: bool = False
    areas: Areas = "coco"
    machine: Machine = field(default_factory=Machine)


@dataclass(frozen=True)
class Cells:
    """Patches of cells without their annotation.

    Attributes:
        datasets: of whose training images they are cut, equally many of each.
        n, size: how many of all, and side in pixels.
        seed: of their places.
    """

    datasets: tuple[str, ...]
    n: int
    size: int
    seed: int


@dataclass(frozen=True)
class Contrasting:
    """MoCo on cells alone, from random weights: the backbone without a detector."""

    architecture: Architecture
    cells: Cells
    plan: MocoPlan
    seed: int
    machine: Machine = field(default_factory=Machine)


@dataclass(frozen=True)
class Alternation:
    """AMT2 on the detector of a :class:`Warming`; or its control, more of the source alone.

    Attributes:
        warming: where it starts.
        plan: of the source's side, steps of all rounds together.
        rounds: equal parts that both plans are cut into.
        cells, contrast: of the other side; ``None`` for the control.
        anchor_weight: of L2-SP on the backbone; 0 for ordinary weight decay instead.
        restart_queue: see :class:`helpers.pretraining.amt2.Amt2Plan`.
        seed: of the contrast's head, of orders and views.
    """

    warming: Warming
    plan: DetectionPlan
    rounds: int
    cells: Cells | None
    contrast: MocoPlan | None
    anchor_weight: float
    seed: int
    restart_queue: bool = True
    machine: Machine = field(default_factory=Machine)

    @property
    def alternating(self) -> Amt2Plan:
        """How the sides alternate; the encoders of all rounds are kept."""
        every = tuple(range(self.rounds + 1))
        return Amt2Plan(
            self.rounds,
            self.contrast,
            restart_queue=self.restart_queue,
            keep_encoders=every,
            areas=self.warming.areas,
        )

    @property
    def steps(self) -> int:
        """Of both sides together."""
        return self.plan.steps + (self.contrast.steps if self.contrast else 0)


Start = Warming | Contrasting | Alternation | None


@dataclass(frozen=True)
class FewShot:
    """One detector, fine-tuned on a share of the annotated cells.

    Attributes:
        start: pretraining behind it; ``None`` for random weights.
        dataset: of cells.
        share: of its training images.
        seed: of the run: which images the share is, new layers, order and views.
        areas: by which objects count as small, medium and large, with the limit of detections.
        keep: whether predictions and the fine-tuned backbone stay.
    """

    architecture: Architecture
    start: Start
    dataset: str
    share: float
    plan: DetectionPlan
    seed: int
    areas: Areas = "livecell"
    keep: bool = False
    machine: Machine = field(default_factory=Machine)


Tasks = Mapping[str, ObjectTask]
FolderOf = Callable[[object], Path]


def run_warming(trial: Warming, folder: Path, sources: Sequence[ObjectTask]) -> dict:
    """Train a detector on the source; its weights stay in the trial's folder.

    Returns:
        Plain values: losses, average precision on the source's test images, seconds.
    """
    torch.set_num_threads(trial.machine.threads)
    detector = build_detector(_source_spec(trial, sources), trial.seed)
    log = _fit(detector, joined(sources, "train", trial.one_class), trial, folder)
    write_torch(folder / DETECTOR, _weights(detector))
    scores, _ = measure(detector, joined(sources, "test", trial.one_class), trial)
    return {
        "losses": _rounded(log.losses),
        "source_scores": scores,
        "train_seconds": round(log.seconds, 2),
    }


def run_contrasting(trial: Contrasting, folder: Path, tasks: Tasks) -> dict:
    """Pretrain the backbone by MoCo; the encoder stays in the trial's folder.

    Returns:
        Plain values: loss and matches of every step, what the looks saw, seconds.
    """
    torch.set_num_threads(trial.machine.threads)
    log = pretrain_moco(
        unlabelled(trial.cells, tasks),
        EncoderSpec(trial.architecture.encoder),
        trial.plan,
        trial.seed,
        folder,
        device=trial.machine.device,
        progress=False,
    )
    return {
        "losses": _rounded(log.losses),
        "matches": _rounded(log.matches),
        "looks": [asdict(look) for look in log.looks],
        "train_seconds": round(log.seconds, 2),
    }


def run_alternation(
    trial: Alternation,
    folder: Path,
    tasks: Tasks,
    sources: Sequence[ObjectTask],
    folder_of: FolderOf,
) -> dict:
    """Pretrain a detector by AMT2; it stays in the trial's folder with the encoders of all rounds.

    Args:
        folder_of: where a :class:`Warming` lies.

    Returns:
        Plain values: the rounds as :class:`helpers.pretraining.amt2.Amt2Round` has them, scores on
        the source before the first, seconds.
    """
    torch.set_num_threads(trial.machine.threads)
    warming = trial.warming
    detector = build_detector(_source_spec(warming, sources), warming.seed)
    load_detector(folder_of(warming) / DETECTOR, detector)
    weight = trial.anchor_weight
    training = DetectorTraining(
        detector,
        joined(sources, "train", warming.one_class),
        trial.plan,
        trial.seed,
        trial.machine.device,
        anchor_backbone(detector, weight) if weight else None,
    )
    log = pretrain_amt2(
        training,
        unlabelled(trial.cells, tasks) if trial.cells else None,
        trial.alternating,
        trial.seed,
        folder,
        source_test=joined(sources, "test", warming.one_class),
        progress=False,
    )
    return {
        "rounds": [asdict(one) for one in log.rounds],
        "start_scores": log.start_scores,
        "train_seconds": round(
            sum(one.contrast_seconds + one.source_seconds for one in log.rounds), 2
        ),
    }


def run_few_shot(trial: FewShot, folder: Path, task: ObjectTask, folder_of: FolderOf) -> dict:
    """Fine-tune a detector on few images, and measure it on all test images.

    Args:
        folder: its own; keeps predictions and backbone if asked for.
        folder_of: where a pretraining lies.

    Returns:
        Plain values: images and objects trained on, losses, scores by name (``"box_ap"``, ...).
    """
    torch.set_num_threads(trial.machine.threads)
    detector = open_detector(trial, len(task.classes), folder_of)
    chosen = task.part("train").share(trial.share, trial.seed)
    log = _fit(detector, chosen, trial, folder)
    scores, found = measure(detector, task.part("test"), trial)
    if trial.keep:
        write_json(folder / FOUND, [{"size": one.size, **pack(one)} for one in found])
        spec = detector.spec
        save_encoder(folder / ENCODER, detector.backbone.body, spec.backbone, (spec.mean, spec.std))
    return {
        "n_images": len(chosen),
        "n_objects": sum(map(len, chosen.objects)),
        "losses": _rounded(log.losses),
        "scores": scores,
        "train_seconds": round(log.seconds, 2),
    }


def open_detector(trial: FewShot, n_classes: int, folder_of: FolderOf) -> Detector:
    """The detector of a trial before its first step.

    What the pretraining did not train is random and depends on the trial's seed alone: all of it
    without one, pyramid and heads after MoCo, the layers whose outputs are classes after a source.
    Inputs are normalised as in the pretraining (after MoCo by the cells' own statistics).
    """
    architecture, start = trial.architecture, trial.start
    if isinstance(start, Contrasting):
        saved = load_encoder(encoder_path(folder_of(start), start.plan.steps))
        return build_detector(
            architecture.spec(n_classes, (saved.mean, saved.std)), trial.seed, saved
        )
    detector = build_detector(architecture.spec(n_classes), trial.seed)
    if start is not None:
        path = weights_path(start, folder_of(start))
        take_weights(detector, read_torch(path), path)
    return detector


def weights_path(start: Warming | Alternation, folder: Path) -> Path:
    """Where a pretraining of a whole detector left it."""
    if isinstance(start, Warming):
        return folder / DETECTOR
    return detector_path(folder, start.steps)


def unlabelled(cells: Cells, tasks: Tasks) -> np.ndarray:
    """The patches, uint8 (n, size, size, 3)."""
    shares = np.array_split(np.arange(cells.n), len(cells.datasets))
    parts = []
    for place, (name, rows) in enumerate(zip(cells.datasets, shares, strict=True)):
        rng = np.random.default_rng([cells.seed, place])
        images = tasks[name].part("train").images
        parts.append(random_patches(images, len(rows), cells.size, rng))
    return np.concatenate(parts)


def measure(
    detector: Detector, scenes: Scenes, trial: Warming | FewShot
) -> tuple[dict[str, float | None], list[Instances]]:
    """Average precision on whole images by name (``None`` where undefined), and what was found."""
    device, precision = trial.machine.device, trial.plan.precision
    found = predict_instances(detector, scenes.images, device, precision)
    scores = average_precision(scenes.objects, found, areas=trial.areas).as_dict()
    return {n: round(float(v), 6) if np.isfinite(v) else None for n, v in scores.items()}, found


def _source_spec(trial: Warming, sources: Sequence[ObjectTask]) -> DetectorSpec:
    n_classes = 1 if trial.one_class else sum(len(task.classes) for task in sources)
    return trial.architecture.spec(n_classes)


def _fit(detector: Detector, scenes: Scenes, trial: Warming | FewShot, folder: Path):
    """Train, resuming from the folder's checkpoint, which is gone afterwards."""
    checkpoint = folder / "checkpoint.pt"
    log = train_detector(
        detector, scenes, trial.plan, trial.seed, checkpoint, device=trial.machine.device
    )
    checkpoint.unlink(missing_ok=True)
    return log


def _weights(detector: Detector) -> dict[str, torch.Tensor]:
    return {name: value.cpu() for name, value in detector.state_dict().items()}


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 5) for value in values]
