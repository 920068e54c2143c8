"""To pretrain or not (arXiv 2307.03275): segmenters from several starts, on shares of the data.

Starting points of an encoder (section 2) are random, published or made here: Barlow Twins on
patches of tissue, without annotation, from random weights or from those of ImageNet. The tissue is
that of the *other* kind (nuclei for glands, glands for nuclei), so that no self-supervised start
has seen a data set that its models are trained or tested on, as published ones have not. Each is
made ``pretrainings`` times, and runs take them in turn, so that intervals over runs hold the chance
of a pretraining, too.

One trial is one U-Net, trained on a share of one data set and measured on the test images of every
data set of its kind, so that the out-of-domain matrix costs no further training. Settings are those
of :class:`helpers.book.parameters.StartingParameters`, by name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from helpers import fingerprints
from helpers.data.patches import random_patches
from helpers.errors import DataError
from helpers.experiments.settings import filled, precision_name, worker_count
from helpers.experiments.tasks import Pictures, Task, TaskSettings, prepare_task, share_of
from helpers.experiments.trials import TrialStore, run_trials, store_for
from helpers.files import read_torch, write_torch
from helpers.metrics.baselines import baseline_masks
from helpers.metrics.semantic import image_confusions
from helpers.models.device import resolve_device
from helpers.models.encoders import EncoderSpec, SavedEncoder, load_encoder
from helpers.models.initialisations import RANDOM, initialisation_content, load_initialisation
from helpers.models.semantic import Segmenter, build_segmenter
from helpers.models.sliding import predict_sliding_classes
from helpers.pretraining.barlow_twins import (
    BarlowTwinsPlan,
    encoder_path,
    pretrain_barlow_twins,
)
from helpers.training.loop import Check
from helpers.training.semantic import SemanticPlan, train_segmenter

WEIGHTS = "weights.pt"
N_CLASSES = 2
METRICS = ("dice", "jaccard")
# Self-supervised starts made here, by the weights that they begin from.
MADE_HERE = {"barlow-tissue": "random", "imagenet-barlow-tissue": "imagenet-lite0"}
# Seed of the first pretraining: none shares its first weights with a run's.
FIRST_SEED = 1003

Tasks = Mapping[str, Task]


@dataclass(frozen=True)
class Arm:
    """One training in the words of a chapter.

    Attributes:
        start: of the encoder.
        dataset: trained on.
        share: of its training images, and of its validation images.
        seed: of the run: which images a share is, batches, views, decoder, random weights.
        tested: data sets whose test images are predicted afterwards, its own among them.
        budget: ``"steps"``: as many for every share; ``"epochs"``: fewer steps for fewer images.
    """

    start: str
    dataset: str
    share: float
    seed: int
    tested: tuple[str, ...]
    budget: str = "steps"


@dataclass(frozen=True)
class SelfSupervision:
    """One Barlow Twins pretraining.

    Attributes:
        datasets: patches are of their training and validation images, equally many of each.
        start: ``"random"`` or published weights (:func:`load_initialisation`).
        n_source, source_size: how many patches, and their side in pixels.
        encoder: name (:class:`helpers.models.encoders.EncoderSpec`).
        seed: of weights, patches and views.
        device, threads: of the computation.
    """

    datasets: tuple[str, ...]
    start: str
    n_source: int
    source_size: int
    encoder: str
    plan: BarlowTwinsPlan
    seed: int
    device: str
    threads: int


@dataclass(frozen=True)
class Start:
    """One starting point.

    Attributes:
        name: one of :data:`MADE_HERE`, or as
            :func:`helpers.models.initialisations.load_initialisation` takes it.
        encoder: name of the encoder.
        made_by: the pretraining behind it; ``None`` for random and published weights.
        content: fingerprint of the weights that a name stands for.
    """

    name: str
    encoder: str
    made_by: SelfSupervision | None = None
    content: str = ""


@dataclass(frozen=True)
class Fitting:
    """One segmenter.

    Attributes:
        plan: of the training; whole images are predicted by windows as large as its crops, half a
            window apart.
        decoder_width: channels of the decoder's finest block, doubling to the coarser ones.
        curve: whether test images are predicted at every look too.
        keep: whether the weights stay.
        device, threads: of the computation.
    """

    arm: Arm
    start: Start
    plan: SemanticPlan
    decoder_width: int
    curve: bool
    keep: bool
    device: str
    threads: int


Trial = SelfSupervision | Fitting
FolderOf = Callable[[Trial], Path]


# -------------------------------------------------------------------------------------- the data


def open_tasks(p: Any, more: Sequence[str] = ()) -> dict[str, Task]:
    """The data sets by name, each read or generated, split by group.

    Args:
        more: further data sets of glands.
    """
    scales = dict.fromkeys([*p.glands, *more], p.gland_scale)
    scales |= dict.fromkeys(p.nuclei, p.nucleus_scale)
    return {
        name: prepare_task(filled(TaskSettings, p, dataset=name, kind="foreground", scale=scale))
        for name, scale in scales.items()
    }


def unlabelled(trial: SelfSupervision, tasks: Tasks) -> np.ndarray:
    """The pictures of a pretraining, uint8 (n, size, size, 3).

    Raises:
        DataError: there is no tissue of the other kind.
    """
    if not trial.datasets:
        raise DataError(
            "no tissue images to pretrain on: self-supervised starts of glands see nuclei, those "
            "of nuclei see glands. Name at least one data set of each kind, or take "
            f"{' and '.join(MADE_HERE)} out of the starts."
        )
    shares = np.array_split(np.arange(trial.n_source), len(trial.datasets))
    parts = []
    for place, (name, rows) in enumerate(zip(trial.datasets, shares, strict=True)):
        rng = np.random.default_rng([trial.seed, place])
        both = map(tasks[name].part, ("train", "validation"))
        pictures = [image for part in both for image in part.images]
        parts.append(random_patches(pictures, len(rows), trial.source_size, rng))
    return np.concatenate(parts)


# ------------------------------------------------------------------------------------ the starts


def start_of(p: Any, name: str, dataset: str, seed: int) -> Start:
    """A starting point for a training on a data set, in one run."""
    if name not in MADE_HERE:
        return Start(name, p.encoder, content=_content(name))
    begun = MADE_HERE[name]
    plan = BarlowTwinsPlan(
        steps=p.twin_steps,
        batch_size=p.twin_batch,
        learning_rate=p.twin_rate,
        projector=(p.twin_width,) * 3,
        setting="pathology",
        precision=precision_name(p),
    )
    made_by = filled(
        SelfSupervision,
        p,
        datasets=tuple(p.glands if dataset in p.nuclei else p.nuclei),
        start=begun,
        plan=plan,
        seed=FIRST_SEED + seed % p.pretrainings,
        **_machine(p),
    )
    return Start(name, p.encoder, made_by, _content(begun))


# Once per process: a chapter's trials all mean the same file.
_content = cache(initialisation_content)


def _machine(p: Any) -> dict:
    return {"device": resolve_device(p.device).type, "threads": p.threads}


def pretrain(p: Any, tasks: Tasks) -> dict[SelfSupervision, dict]:
    """All pretrainings of the starts that are made here; those already there are read."""
    made = dict.fromkeys(
        start_of(p, name, names[0], seed).made_by
        for name in p.starts
        if name in MADE_HERE
        for names in p.kinds.values()
        for seed in p.seeds
    )
    work = partial(_run_pretraining, tasks=tasks)
    results = run_trials(list(made), work, partial(store, p, tasks), worker_count(p))
    return dict(zip(made, results, strict=True))


def _run_pretraining(trial: SelfSupervision, folder: Path, tasks: Tasks) -> dict:
    torch.set_num_threads(trial.threads)
    spec = EncoderSpec(trial.encoder)
    start = None
    if trial.start != RANDOM:
        start = load_initialisation(trial.start, trial.seed, spec, progress=False)
    images = unlabelled(trial, tasks)
    log = pretrain_barlow_twins(
        images, spec, trial.plan, trial.seed, folder, device=trial.device, start=start
    )
    return {
        "losses": [round(loss, 5) for loss in log.losses],
        "looks": [asdict(look) for look in log.looks],
        "train_seconds": round(log.seconds, 2),
    }


def open_start(start: Start, seed: int, folder_of: FolderOf) -> SavedEncoder:
    """The encoder of a start, and mean and std of its inputs.

    Args:
        seed: of random weights.
        folder_of: where a pretraining lies.

    Raises:
        DataError: weights are missing or damaged (see
            :func:`helpers.models.initialisations.load_initialisation`).
    """
    if start.made_by is None:
        return load_initialisation(start.name, seed, EncoderSpec(start.encoder), progress=False)
    return load_encoder(encoder_path(folder_of(start.made_by), start.made_by.plan.steps))


# --------------------------------------------------------------------------- where trials lie


def store(p: Any, tasks: Tasks, trial: Trial) -> TrialStore:
    """Where a trial lies: it depends on the data sets that it, or its start, has seen."""
    used = list(trial.datasets) if isinstance(trial, SelfSupervision) else []
    if isinstance(trial, Fitting):
        made_by = trial.start.made_by
        used = [trial.arm.dataset, *trial.arm.tested, *(made_by.datasets if made_by else ())]
    content = fingerprints.of_json({name: tasks[name].content for name in used})
    kind = "twins" if isinstance(trial, SelfSupervision) else "fitted"
    return store_for(kind, __name__, content)


def folders(p: Any, tasks: Tasks) -> FolderOf:
    """Where the trials of a chapter lie."""
    return partial(_folder, p, tasks)


def _folder(p: Any, tasks: Tasks, trial: Trial) -> Path:
    return store(p, tasks, trial).path(trial)


# --------------------------------------------------------------------------------- the trainings


def fitting(p: Any, tasks: Tasks, arm: Arm) -> Fitting:
    """The trial behind an arm; weights stay where it is trained on all images."""
    steps = p.nucleus_steps if arm.dataset in p.nuclei else p.gland_steps
    if arm.budget == "epochs":
        n_all = tasks[arm.dataset].counts["train"][0]
        steps = max(1, round(steps * len(share_of(n_all, arm.share, arm.seed)) / n_all))
    own = {"steps": steps, "looks": min(p.looks, steps), "precision": precision_name(p)}
    plan = filled(SemanticPlan, p, decay_power=0, **own)
    return Fitting(
        arm,
        start_of(p, arm.start, arm.dataset, arm.seed),
        plan,
        p.decoder_width,
        curve=arm.budget == p.budgets[0] and p.looks > 1,
        keep=arm.share == 1,
        **_machine(p),
    )


def run(p: Any, arms: Sequence[Arm], tasks: Tasks) -> dict[Arm, dict]:
    """Train and measure all arms; those already there are read. Needs :func:`pretrain`."""
    trials = [fitting(p, tasks, arm) for arm in arms]
    work = partial(run_fitting, tasks=tasks, folder_of=folders(p, tasks))
    results = run_trials(trials, work, partial(store, p, tasks), worker_count(p))
    return dict(zip(arms, results, strict=True))


def run_fitting(trial: Fitting, folder: Path, tasks: Tasks, folder_of: FolderOf) -> dict:
    """Train one segmenter and measure it.

    Args:
        folder: its own; keeps weights if asked for, and while training a checkpoint.
        tasks: by data set, all that are tested among them.
        folder_of: where a pretraining lies.

    Returns:
        Plain values: losses, looks (``test_dice`` with ``trial.curve``), which step was kept, and
        by data set the :func:`scores` of every test image.
    """
    torch.set_num_threads(trial.threads)
    saved, model = _begin(trial, folder_of)
    arm = trial.arm
    train, validation = (
        part.share(arm.share, arm.seed)
        for part in map(tasks[arm.dataset].part, ("train", "validation"))
    )
    tests = {name: tasks[name].part("test") for name in arm.tested}

    def look(step: int, network: nn.Module) -> Check:
        test = tests[arm.dataset]
        known = [row["dice"] for row in scores(predicted(trial, network, saved, test), test)]
        known = [dice for dice in known if dice is not None]
        return {"test_dice": float(np.mean(known)) if known else float("nan")}

    checkpoint = folder / "checkpoint.pt"
    log = train_segmenter(
        model,
        *_inputs(train, saved),
        trial.plan,
        arm.seed,
        _inputs(validation, saved),
        "best_validation_loss",
        checkpoint,
        device=trial.device,
        on_look=look if trial.curve else None,
    )
    images = {n: scores(predicted(trial, model, saved, test), test) for n, test in tests.items()}
    if trial.keep:
        write_torch(folder / WEIGHTS, {k: v.cpu() for k, v in model.state_dict().items()})
    checkpoint.unlink(missing_ok=True)
    return {
        "n_train": len(train),
        "n_validation": len(validation),
        "losses": [round(loss, 5) for loss in log.losses],
        "checks": log.checks,
        "kept": log.kept,
        "train_seconds": log.seconds,
        "images": images,
    }


def _begin(trial: Fitting, folder_of: FolderOf) -> tuple[SavedEncoder, Segmenter]:
    saved = open_start(trial.start, trial.arm.seed, folder_of)
    # One block per map but the images.
    n_blocks = len(saved.encoder.out_channels) - 1
    widths = tuple(trial.decoder_width * 2**k for k in reversed(range(n_blocks)))
    return saved, build_segmenter(saved.encoder, N_CLASSES, trial.arm.seed, "unet", widths)


def _inputs(pictures: Pictures, saved: SavedEncoder) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return normalised(pictures, saved), [np.int64(mask) for mask in pictures.labels]


def normalised(pictures: Pictures, saved: SavedEncoder) -> list[np.ndarray]:
    """Images as an encoder expects them, each float32 (3, h, w)."""
    mean, std = (np.array(part, np.float32)[:, None, None] for part in (saved.mean, saved.std))
    return [
        (np.moveaxis(image, 2, 0).astype(np.float32) / 255 - mean) / std
        for image in pictures.images
    ]


def predicted(
    trial: Fitting, model: nn.Module, saved: SavedEncoder, pictures: Pictures
) -> list[np.ndarray]:
    """What a trial's network finds in pictures, int32 (h, w) each, 1 where an object is."""
    return predict_sliding_classes(
        model,
        normalised(pictures, saved),
        window=trial.plan.crop,
        step=max(1, trial.plan.crop // 2),
        device=trial.device,
        precision=trial.plan.precision,
    )


def scores(found: Sequence[np.ndarray], truth: Pictures) -> list[dict]:
    """Dice and Jaccard of the objects against everything else, a row with id and group per image.

    Where neither shows an object both are undefined (``None``); where only one does, both are 0.
    """
    rows = []
    for place, counts in enumerate(image_confusions(found, truth.labels, N_CLASSES)):
        hit, union = int(counts[1, 1]), int(counts.sum() - counts[0, 0])
        known = {"dice": 2 * hit / (hit + union), "jaccard": hit / union} if union else {}
        row = {"id": truth.ids[place], "group": truth.groups[place]}
        rows.append(row | dict.fromkeys(METRICS) | known)
    return rows


def load_fitted(p: Any, tasks: Tasks, arm: Arm) -> tuple[Fitting, Segmenter, SavedEncoder]:
    """A finished arm's trial, its network, and the start that says how inputs are normalised.

    Raises:
        DataError: its weights were not kept.
    """
    trial, folder_of = fitting(p, tasks, arm), folders(p, tasks)
    if not trial.keep:
        raise DataError(
            f"{arm}: no weights were kept; expected one trained on all images (share=1)"
        )
    saved, model = _begin(trial, folder_of)
    model.load_state_dict(read_torch(folder_of(trial) / WEIGHTS))
    return trial, model.eval(), saved


def masks_of(p: Any, tasks: Tasks, arm: Arm, pictures: Pictures) -> list[np.ndarray]:
    """What a finished arm's network finds in pictures; see :func:`load_fitted`."""
    return predicted(*load_fitted(p, tasks, arm), pictures)


# ------------------------------------------------------------------------- rows of the results


def scored(p: Any, tasks: Tasks, models: Mapping[Arm, dict]) -> list[tuple[dict, list[dict]]]:
    """Every model on every data set it was tested on, and the predictors without training.

    Returns:
        For each the columns that tell it apart, and a row per image: ``table`` is ``scores``,
        ``other budget`` (of every budget but the first) or ``baseline``; ``place`` is ``home`` or
        ``elsewhere``.
    """
    parts = []
    for name, task in tasks.items():
        test = task.part("test")
        masks = [baseline_masks(image, mask) for image, mask in test]
        for method in masks[0]:
            rows = scores([np.int32(found[method] > 0) for found in masks], test)
            at = {"table": "baseline", "kind": _kind(p, name), "test": name, "method": method}
            parts.append((at, rows))
    for arm, result in models.items():
        for name, rows in result["images"].items():
            place = "home" if name == arm.dataset else "elsewhere"
            parts.append((_columns(p, arm) | {"test": name, "place": place}, rows))
    return parts


def further_rows(p: Any, tasks: Tasks, models: Mapping[Arm, dict]) -> list[dict]:
    """Results that are of no single image.

    Returns:
        Rows of the tables ``data`` (images and groups, such as patients, of each part) and
        ``curve`` (mean Dice on the own test images by step).
    """
    rows = [
        {"table": "data", "kind": _kind(p, name), "train": name, "part": part}
        | {"metric": what, "value": n}
        for name, task in tasks.items()
        for part, counts in task.counts.items()
        for what, n in zip(("images", "groups"), counts, strict=True)
    ]
    curve = {"table": "curve", "metric": "dice"}
    return rows + [
        _columns(p, arm)
        | {**curve, "test": arm.dataset, "step": look["step"], "value": look["test_dice"]}
        for arm, result in models.items()
        for look in result["checks"]
        if "test_dice" in look
    ]


def _columns(p: Any, arm: Arm) -> dict[str, Any]:
    table = "scores" if arm.budget == p.budgets[0] else "other budget"
    columns = {"table": table, "kind": _kind(p, arm.dataset), "train": arm.dataset}
    columns |= {"start": arm.start, "rate": 100 * arm.share, "budget": arm.budget}
    return columns | {"seed": arm.seed}


def _kind(p: Any, dataset: str) -> str:
    """``"glands"``, ``"nuclei"``, or ``"parts"`` of one data set."""
    return next((kind for kind, names in p.kinds.items() if dataset in names), "parts")
