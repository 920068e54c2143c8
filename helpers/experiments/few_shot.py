"""Few-shot cells (arXiv 2310.03981): one detector from several starts, on few annotated images.

The paper's pipeline has three stages: a detector learns from labelled everyday pictures
(``source``); its backbone then learns from cells without annotation, in turn with more of the first
(``rounds``: AMT2, CUPre); few annotated cells finish it (``few-shot``). MoCo on cells alone
(``MoCo``) and no pretraining (``scratch``) are other starts; the control, ``source, longer``,
spends the steps of both sides of AMT2 on the source. But for ``scratch`` all backbones begin with
published weights of ImageNet, which alone are a start, too (``ImageNet``). Every stage is a trial
of its own: a pretraining serves every share of the annotated images and every draw of it, whichever
chapter asks for it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch

from helpers import fingerprints
from helpers.data.patches import random_patches
from helpers.experiments.objects import found_without_training, pack, unpack
from helpers.experiments.settings import filled, precision_name, worker_count
from helpers.experiments.tasks import Pictures, Task, TaskSettings, joined, prepare_task
from helpers.experiments.trials import TrialStore, run_trials, store_for
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
from helpers.models.device import resolve_device
from helpers.models.encoders import EncoderSpec, SavedEncoder, load_encoder, save_encoder
from helpers.models.initialisations import RANDOM, load_initialisation
from helpers.pretraining.amt2 import detector_path, load_detector, pretrain_amt2
from helpers.pretraining.moco import MocoPlan, encoder_path, pretrain_moco
from helpers.training.detection import DetectionPlan, DetectorTraining, train_detector

SCRATCH, PHOTOS, MOCO, CUPRE = "scratch", "ImageNet", "MoCo", "CUPre"
SOURCE, LONGER = "source", "source, longer"
STARTS = (SCRATCH, PHOTOS, SOURCE, LONGER, MOCO, CUPRE)
DETECTOR, ENCODER, FOUND = "detector.pt", "encoder.pt", "found.json"
# Parts of a batch that batch normalisation takes its statistics of in the contrast.
GROUPS = 4
# Of generated pictures, so that they are not those of another data set with the same seed.
_SOURCE_SEED = 7
# First weights and orders of the pretrainings: none shares them with another, or a fine-tuning.
_SEEDS = {"source": 2001, "MoCo": 2002, "rounds": 2003}

_NETWORK = ("encoder", "backbone", "width", "heads", "device", "precision", "threads")
_ON_SOURCE = ("optimiser", "source_classes", "source_batch", "source_rate", "source_crop")
_ON_CELLS = (
    *("n_patches", "patch_size", "seed", "queue"),
    *("contrast_steps", "contrast_batch", "contrast_rate", "key_momentum"),
)
# The parameters that each kind of stage reads, and so depends on.
READS = {
    "source": (*_NETWORK, *_ON_SOURCE, "warm_steps"),
    "MoCo": (*_NETWORK, *_ON_CELLS),
    "rounds": (*_NETWORK, *_ON_SOURCE, *_ON_CELLS, "source_steps", "rounds", "anchor_weight"),
    "few-shot": (
        *(*_NETWORK, "optimiser", "steps", "batch_size", "crop", "learning_rate", "areas"),
    ),
}


@dataclass(frozen=True)
class Arm:
    """One fine-tuned detector in the words of a chapter.

    Attributes:
        start: one of :data:`STARTS`.
        cells: data set that is annotated and tested on.
        share: of its training images.
        seed: draw of these images, new layers, order and views.
        changes: parameters of the pretraining that differ from the chapter's, by name; ``cells``
            among them are those whose unlabelled patches are seen.
    """

    start: str
    cells: str
    share: float
    seed: int
    changes: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Stage:
    """One trial.

    Attributes:
        kind: of :data:`READS`.
        settings: the parameters that it reads, by name.
        seed: of weights that are new, order and views; in a fine-tuning of the annotated images.
        sources, cells: names of the data sets that it sees.
        before: the stage whose weights it starts from; ``None`` for random ones.
        share: of the annotated images.
        keep: whether predictions and the fine-tuned backbone stay.
    """

    kind: str
    settings: tuple[tuple[str, Any], ...]
    seed: int
    sources: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()
    before: "Stage | None" = None
    share: float = 1.0
    keep: bool = False

    @property
    def p(self) -> SimpleNamespace:
        """The settings by name."""
        return SimpleNamespace(**dict(self.settings))


@dataclass(frozen=True)
class Data:
    """Cells by name of the data set, and the labelled source; with places for trials on them."""

    cells: Mapping[str, Task]
    sources: Sequence[Task]

    @property
    def provenance(self) -> list[dict]:
        """As a record keeps it."""
        return [task.provenance for task in (*self.cells.values(), *self.sources)]

    def described(self) -> pd.DataFrame:
        """One row per data set and part: images, groups, objects, sizes in pixels."""
        kinds = dict.fromkeys(self.cells, "cells") | {task.name: "source" for task in self.sources}
        return pd.DataFrame(
            {
                "dataset": task.name,
                "role": kinds[task.name],
                "part": part,
                **dict(zip(("images", "groups", "objects"), counts, strict=True)),
                "pixels": " to ".join(sorted({"x".join(map(str, size)) for size in task.sizes})),
                "object_side": round(task.side),
            }
            for task in (*self.cells.values(), *self.sources)
            for part, counts in task.counts.items()
        )

    def store(self, stage: Stage) -> TrialStore:
        """Where a stage lies: a function of the data that it and those before it have seen."""
        seen, one = [], stage
        while one is not None:
            seen += [task.content for task in self.sources if task.name in one.sources]
            seen += [self.cells[name].content for name in one.cells]
            one = one.before
        return store_for("few-shot", __name__, fingerprints.of_json(seen))

    def folder(self, stage: Stage) -> Path:
        """The folder of a stage."""
        return self.store(stage).path(stage)


@dataclass(frozen=True)
class Models:
    """What :func:`run` leaves.

    Attributes:
        data: prepared.
        stages: the fine-tuning behind every arm.
        results: of all stages.
    """

    data: Data
    stages: Mapping[Arm, Stage]
    results: Mapping[Stage, dict] = field(repr=False)

    @property
    def tuned(self) -> dict[Arm, dict]:
        """Results of the fine-tunings."""
        return {arm: self.results[stage] for arm, stage in self.stages.items()}

    def found(self, arm: Arm) -> list[Instances]:
        """What an arm that was kept found in the test images, surest first."""
        path = self.data.folder(self.stages[arm]) / FOUND
        return [unpack(one) for one in json.loads(path.read_text(encoding="utf-8"))]


# -------------------------------------------------------------------------- what is to be done


def prepare(p: Any, more: Iterable[str] = ()) -> Data:
    """Cells and source, each read or generated, split by group.

    Args:
        p: parameters of a chapter (:class:`helpers.book.parameters.DetectorParameters`).
        more: further data sets of cells.
    """
    cells = {
        name: prepare_task(
            filled(TaskSettings, p, dataset=name, kind="objects", scale=p.cell_scale)
        )
        for name in dict.fromkeys((p.cells, *more))
    }
    sources = []
    for name in p.sources:
        # Generated pictures have their side already.
        scale = 1.0 if name.startswith("synthetic-") else p.source_scale
        which = TaskSettings(name, "objects", p.n_source, p.source_size, 0.2, p.seed + _SOURCE_SEED)
        more = {"max_test_images": p.max_source_test, "scale": scale}
        sources.append(prepare_task(replace(which, **more)))
    return Data(cells, sources)


def start_of(p: Any, arm: Arm) -> Stage | None:
    """The pretraining behind an arm; ``None`` where there is none but that of the backbone."""
    number = p.seeds.index(arm.seed) % p.pretrainings
    changed = dict(arm.changes)
    if arm.start == LONGER:
        steps = p.source_steps + p.contrast_steps
        changed = {"source_steps": steps, "contrast_steps": 0, "anchor_weight": 0.0} | changed
    p = p.model_copy(update=changed)

    def stage(kind: str, **seen: Any) -> Stage:
        return Stage(kind, _settings(p, kind), _SEEDS[kind] + 10 * number, **seen)

    if arm.start in (SCRATCH, PHOTOS):
        return None
    if arm.start == MOCO:
        return stage("MoCo", cells=(p.cells,))
    source = stage("source", sources=tuple(p.sources))
    if arm.start == SOURCE:
        return source
    cells = (p.cells,) if p.contrast_steps else ()
    return stage("rounds", sources=tuple(p.sources), cells=cells, before=source)


def fine_tuning(p: Any, arm: Arm) -> Stage:
    """The trial behind an arm; the first draw on each pretraining is kept."""
    changes = {"backbone": RANDOM} if arm.start == SCRATCH else {}
    return Stage(
        "few-shot",
        _settings(p.model_copy(update=changes | dict(arm.changes)), "few-shot"),
        arm.seed,
        cells=(arm.cells,),
        before=start_of(p, arm),
        share=arm.share,
        keep=arm.seed in p.seeds[: p.pretrainings],
    )


def _settings(p: Any, kind: str) -> tuple[tuple[str, Any], ...]:
    unread = _ON_CELLS if kind == "rounds" and not p.contrast_steps else ()
    settings = {name: getattr(p, name) for name in READS[kind] if name not in unread}
    settings["device"], settings["precision"] = resolve_device(p.device).type, precision_name(p)
    return tuple(settings.items())


def run(p: Any, arms: Sequence[Arm]) -> Models:
    """Prepare the data, pretrain and fine-tune, draw by draw; what is already there is read.

    Args:
        p: parameters of a chapter (:class:`helpers.book.parameters.DetectorParameters`).
    """
    data = prepare(p, (arm.cells for arm in arms))
    stages = {arm: fine_tuning(p, arm) for arm in arms}
    results: dict[Stage, dict] = {}
    for seed in p.seeds:
        tunings = [stage for arm, stage in stages.items() if arm.seed == seed]
        starts = [stage.before for stage in tunings if stage.before]
        # Those first whose weights others start from.
        for layer in ([one.before for one in starts if one.before], starts, tunings):
            trials = list(dict.fromkeys(layer))
            found = run_trials(trials, partial(_run, data=data), data.store, worker_count(p))
            results |= dict(zip(trials, found, strict=True))
    return Models(data, stages, results)


# -------------------------------------------------------------------------- the trials


def _run(stage: Stage, folder: Path, data: Data) -> dict:
    torch.set_num_threads(stage.p.threads)
    kinds = {"source": run_source, "MoCo": run_moco, "rounds": run_rounds, "few-shot": run_few_shot}
    return kinds[stage.kind](stage, folder, data)


def run_source(stage: Stage, folder: Path, data: Data) -> dict:
    """Train a detector on the source; it stays in the stage's folder.

    Returns:
        Plain values: losses, average precision on the source's test images, seconds.
    """
    p, scenes = stage.p, source_scenes(stage, data)
    detector = new_detector(p, scenes["classes"], stage.seed)
    log = _fit(detector, scenes["train"], source_plan(p, p.warm_steps), stage, folder)
    weights = {name: value.cpu() for name, value in detector.state_dict().items()}
    write_torch(folder / DETECTOR, weights)
    found = predict_instances(detector, scenes["test"].images, p.device, p.precision)
    return {
        "losses": _rounded(log.losses),
        "source_scores": measure(scenes["test"], found, "coco")["scores"],
        "train_seconds": round(log.seconds, 2),
    }


def run_moco(stage: Stage, folder: Path, data: Data) -> dict:
    """Pretrain the backbone alone by MoCo on unlabelled cells.

    Returns:
        Plain values: loss and matches of every step, seconds.
    """
    p = stage.p
    spec, patches = EncoderSpec(p.encoder), unlabelled(stage, data)
    start, plan = first_backbone(p), contrast_plan(p)
    log = pretrain_moco(patches, spec, plan, stage.seed, folder, device=p.device, start=start)
    return {
        "losses": _rounded(log.losses),
        "matches": _rounded(log.matches),
        "train_seconds": round(log.seconds, 2),
    }


def run_rounds(stage: Stage, folder: Path, data: Data) -> dict:
    """AMT2 from the source's detector, or its control; the encoders of all rounds stay.

    Returns:
        Plain values: the rounds as :class:`helpers.pretraining.amt2.Amt2Round` has them, scores on
        the source before the first, seconds.
    """
    p, scenes, weight = stage.p, source_scenes(stage, data), stage.p.anchor_weight
    detector = new_detector(p, scenes["classes"], stage.before.seed)
    load_detector(data.folder(stage.before) / DETECTOR, detector)
    anchor = anchor_backbone(detector, weight) if weight else None
    plan = source_plan(p, p.source_steps)
    training = DetectorTraining(detector, scenes["train"], plan, stage.seed, p.device, anchor)
    contrast = contrast_plan(p) if stage.cells else None
    log = pretrain_amt2(
        training,
        unlabelled(stage, data) if stage.cells else None,
        p.rounds,
        contrast,
        stage.seed,
        folder,
        source_test=scenes["test"],
    )
    seconds = sum(one.contrast_seconds + one.source_seconds for one in log.rounds)
    return {
        "rounds": [asdict(one) for one in log.rounds],
        "start_scores": log.start_scores,
        "train_seconds": round(seconds, 2),
    }


def run_few_shot(stage: Stage, folder: Path, data: Data) -> dict:
    """Fine-tune a detector on few images, and measure it on all test images.

    Returns:
        Plain values: images and objects trained on, losses, what :func:`measure` gives, seconds.
    """
    p, task = stage.p, data.cells[stage.cells[0]]
    detector = open_detector(stage, len(task.classes), data)
    chosen, test = task.part("train").share(stage.share, stage.seed), task.part("test")
    plan = detection_plan(p, p.steps, p.batch_size, p.learning_rate, p.crop, "both")
    log = _fit(detector, chosen, plan, stage, folder)
    found = predict_instances(detector, test.images, p.device, p.precision)
    if stage.keep:
        write_json(folder / FOUND, [pack(one) for one in found])
        spec = detector.spec
        save_encoder(folder / ENCODER, detector.backbone.body, spec.backbone, (spec.mean, spec.std))
    return {
        "n_images": len(chosen),
        "n_objects": sum(map(len, chosen.labels)),
        "losses": _rounded(log.losses),
        **measure(test, found, p.areas),
        "train_seconds": round(log.seconds, 2),
    }


def open_detector(stage: Stage, n_classes: int, data: Data) -> Detector:
    """The detector of a fine-tuning before its first step.

    What the pretraining did not train is random and depends on the stage's seed alone: all of it
    but a published backbone without one, pyramid and heads after MoCo, the layers whose outputs are
    classes after a source. Inputs are normalised as in the pretraining.
    """
    p, before = stage.p, stage.before
    if before is not None and before.kind == "MoCo":
        saved = load_encoder(encoder_path(data.folder(before), before.p.contrast_steps))
        spec = detector_spec(p, n_classes, (saved.mean, saved.std))
        return build_detector(spec, stage.seed, saved)
    detector = new_detector(p, n_classes, stage.seed)
    if before is not None:
        path = weights_path(before, data.folder(before))
        take_weights(detector, read_torch(path), path)
    return detector


def first_backbone(p: Any) -> SavedEncoder | None:
    """The published weights that backbones begin from; ``None`` for random ones."""
    if p.backbone == RANDOM:
        return None
    return load_initialisation(p.backbone, 0, EncoderSpec(p.encoder), progress=False)


def new_detector(p: Any, n_classes: int, seed: int) -> Detector:
    """A detector as it begins: the seed gives all that is random."""
    if (saved := first_backbone(p)) is None:
        return build_detector(detector_spec(p, n_classes), seed)
    return build_detector(detector_spec(p, n_classes, (saved.mean, saved.std)), seed, saved)


def weights_path(stage: Stage, folder: Path) -> Path:
    """Where a pretraining of a whole detector left it."""
    if stage.kind == "source":
        return folder / DETECTOR
    steps = stage.p.source_steps + (stage.p.contrast_steps if stage.cells else 0)
    return detector_path(folder, steps)


def unlabelled(stage: Stage, data: Data) -> np.ndarray:
    """Patches of the training images of cells without annotation, uint8 (n, size, size, 3)."""
    images = data.cells[stage.cells[0]].part("train").images
    rng = np.random.default_rng([stage.p.seed, 0])
    return random_patches(images, stage.p.n_patches, stage.p.patch_size, rng)


def source_scenes(stage: Stage, data: Data) -> dict[str, Any]:
    """Parts of the source by name, and its number of ``"classes"``: its own, or one for all.

    Classes cost most of a training; a short one learns from them nothing but what is easiest.
    """
    one = stage.p.source_classes == "one"
    n = 1 if one else sum(len(task.classes) for task in data.sources)
    return {part: joined(data.sources, part, one) for part in ("train", "test")} | {"classes": n}


def measure(scenes: Pictures, found: Sequence[Instances], areas: Areas) -> dict[str, Any]:
    """Average precision on whole images.

    Returns:
        ``"scores"`` over all detections of all images by name (``box_ap``, ...; undefined ones left
        out), and ``"images"``: of each image id, group, and the AP on this image alone, which do
        not average to the first.
    """
    scores = average_precision(scenes.labels, found, areas=areas).as_dict()
    images = []
    for k, (id_, group) in enumerate(zip(scenes.ids, scenes.groups, strict=True)):
        own = average_precision([scenes.labels[k]], [found[k]], areas=areas).as_dict()
        alone = {f"image_{n}_ap": own[f"{n}_ap"] for n in ("box", "mask")}
        images.append({"id": id_, "group": group, **_defined(alone)})
    return {"scores": _defined(scores), "images": images}


def baselines(scenes: Pictures, areas: Areas) -> dict[str, dict[str, Any]]:
    """The same of the two predictors that need no training, by name."""
    found = found_without_training(scenes)
    return {name: measure(scenes, one, areas) for name, one in found.items()}


# -------------------------------------------------------------------------- plans


def detector_spec(
    p: Any,
    n_classes: int,
    statistics: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET,
) -> DetectorSpec:
    """The detector: LIVECell's in size (``heads="livecell"``), or a small one.

    Args:
        statistics: mean and standard deviation of inputs in 0..1, per channel.
    """
    heads, sizes = HeadSpec(p.width), {}
    if p.heads == "small":
        heads = HeadSpec(p.width, box_convs=1, box_features=4 * p.width, mask_convs=2)
        limits = {"proposals_before": 500, "proposals_after": 300, "detections": 300}
        sizes = {"regions": 32, **limits}
    mean, std = statistics
    # Statistics of a few images differ from those that a published backbone came with.
    sizes["batch_norm"] = "trained" if p.backbone == RANDOM else "frozen"
    spec = EncoderSpec(p.encoder)
    return DetectorSpec(spec, n_classes, heads=heads, channels=p.width, mean=mean, std=std, **sizes)


def detection_plan(
    p: Any, steps: int, batch: int, rate: float, crop: int, flip: str
) -> DetectionPlan:
    """A training of detectors: a tenth of warm-up, then half a cosine."""
    more = {"precision": p.precision, "checkpoint_every": 50, "optimiser": p.optimiser}
    warmup = max(1, steps // 10)
    return DetectionPlan(steps, batch, rate, warmup=warmup, crop=crop, flip=flip, **more)


def source_plan(p: Any, steps: int) -> DetectionPlan:
    """A training on the source."""
    return detection_plan(p, steps, p.source_batch, p.source_rate, p.source_crop, "horizontal")


def contrast_plan(p: Any) -> MocoPlan:
    """MoCo on cells, all steps of all rounds."""
    return MocoPlan(
        p.contrast_steps,
        p.contrast_batch,
        p.contrast_rate,
        warmup_share=0.1,
        queue=p.queue,
        key_momentum=p.key_momentum,
        groups=GROUPS,
        precision=p.precision,
        checkpoint_every=50,
    )


def _fit(detector: Detector, scenes: Pictures, plan: DetectionPlan, stage: Stage, folder: Path):
    """Train, resuming from the folder's checkpoint, which is gone afterwards."""
    checkpoint = folder / "checkpoint.pt"
    log = train_detector(detector, scenes, plan, stage.seed, checkpoint, device=stage.p.device)
    checkpoint.unlink(missing_ok=True)
    return log


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 5) for value in values]


def _defined(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: round(float(v), 6) for name, v in scores.items() if np.isfinite(v)}
