"""To pretrain or not (arXiv 2307.03275): segmenters from several starts, on shares of the data.

Starting points of an encoder (section 2) are random, published or made here. The offline profiles
have no published weights: their encoders are pretrained here and named as what they are, by
classification or Barlow Twins on generated everyday pictures, or by Barlow Twins on patches of the
tissue images that are trained on, without their annotation. A pretraining is done once and serves
every run, as published weights do: intervals over runs do not hold its chance.

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
from helpers.data.classified import generated_natural
from helpers.data.patches import random_patches
from helpers.errors import DataError
from helpers.experiments.foreground import (
    ForegroundSettings,
    ForegroundTask,
    Pictures,
    prepare_foreground,
    share_of,
)
from helpers.experiments.pretrained import GENERATED, Pretraining, Source, run_pretraining
from helpers.experiments.settings import filled, precision_name, worker_count
from helpers.experiments.trials import TrialStore, run_trials
from helpers.files import read_torch, write_torch
from helpers.metrics.baselines import baseline_masks
from helpers.metrics.semantic import image_confusions
from helpers.models.device import resolve_device
from helpers.models.encoders import EncoderSpec, SavedEncoder, load_encoder
from helpers.models.initialisations import initialisation_content, load_initialisation
from helpers.models.semantic import Segmenter, build_segmenter
from helpers.models.sliding import predict_sliding_classes
from helpers.paths import runs_dir
from helpers.pretraining.barlow_twins import (
    BarlowTwinsPlan,
    encoder_path,
    pretrain_barlow_twins,
)
from helpers.pretraining.schedules import SupervisedPlan
from helpers.pretraining.supervised import encoder_path as supervised_path
from helpers.training.semantic import SemanticPlan, train_segmenter
from helpers.training.watch import Check

WEIGHTS = "weights.pt"
N_CLASSES = 2
METRICS = ("dice", "jaccard")
# Sources of the pretrainings made here, and their seeds: none shares its first weights with
# another, or with a run's.
NATURAL, TISSUE = "natural", "tissue"
MADE_HERE = {"supervised-natural": 1001, "barlow-natural": 1002, "barlow-tissue": 1003}

Tasks = Mapping[str, ForegroundTask]


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
        source: ``"natural"``: generated pictures; ``"tissue"``: patches of the tasks' training and
            validation images, equally many of each task.
        n_source, source_size: how many, and side in pixels.
        encoder: name (:class:`helpers.models.encoders.EncoderSpec`).
        seed: of weights, patches and views.
        device, threads: of the computation.
    """

    source: str
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
    made_by: Pretraining | SelfSupervision | None = None
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


Trial = Pretraining | SelfSupervision | Fitting
FolderOf = Callable[[Trial], Path]


# -------------------------------------------------------------------------------------- the data


def open_tasks(p: Any, more: Sequence[str] = ()) -> dict[str, ForegroundTask]:
    """The data sets by name, each read or generated, split by group.

    Args:
        more: further data sets of glands.
    """
    scales = dict.fromkeys([*p.glands, *more], p.gland_scale)
    scales |= dict.fromkeys(p.nuclei, p.nucleus_scale)
    return {
        name: prepare_foreground(
            filled(ForegroundSettings, p, dataset=name, scale=scale), runs_dir() / "data"
        )
        for name, scale in scales.items()
    }


def unlabelled(trial: SelfSupervision, tasks: Tasks) -> np.ndarray:
    """The pictures of a pretraining, uint8 (n, size, size, 3).

    Raises:
        DataError: tissue is asked for and there are no tasks.
    """
    if trial.source == NATURAL:
        return generated_natural(trial.n_source, 0, trial.source_size).images
    if not tasks:
        raise DataError(
            "no tissue images to pretrain on: expected at least one data set of glands or nuclei"
        )
    shares = np.array_split(np.arange(trial.n_source), len(tasks))
    parts = []
    for place, (task, rows) in enumerate(zip(tasks.values(), shares, strict=True)):
        rng = np.random.default_rng([trial.seed, place])
        pictures = [image for name in ("train", "validation") for image in task.part(name).images]
        parts.append(random_patches(pictures, len(rows), trial.source_size, rng))
    return np.concatenate(parts)


# ------------------------------------------------------------------------------------ the starts


def starts(p: Any) -> dict[str, Start]:
    """Starting points by name, as they were asked for."""
    made = {
        "supervised-natural": partial(_classification, p),
        "barlow-natural": partial(_twins, p, NATURAL),
        "barlow-tissue": partial(_twins, p, TISSUE),
    }
    return {
        name: Start(name, p.encoder, made[name]())
        if name in made
        else Start(name, p.encoder, content=_content(name))
        for name in p.starts
    }


# Once per process: a chapter's trials all mean the same file.
_content = cache(initialisation_content)


def _machine(p: Any) -> dict:
    return {"device": resolve_device(p.device).type, "threads": p.threads}


def _classification(p: Any) -> Pretraining:
    plan = SupervisedPlan(
        epochs=p.source_epochs,
        batch_size=p.source_batch,
        learning_rate=p.source_rate,
        precision=precision_name(p),
    )
    source = Source(GENERATED, p.n_source, 256, p.source_size)
    return Pretraining(source, p.encoder, plan, MADE_HERE["supervised-natural"], **_machine(p))


def _twins(p: Any, source: str) -> SelfSupervision:
    plan = BarlowTwinsPlan(
        steps=p.twin_steps,
        batch_size=p.twin_batch,
        learning_rate=p.twin_rate,
        projector=(p.twin_width,) * 3,
        setting="pathology" if source == TISSUE else "natural",
        precision=precision_name(p),
    )
    seed = MADE_HERE[f"barlow-{source}"]
    return filled(SelfSupervision, p, source=source, plan=plan, seed=seed, **_machine(p))


def pretrain(p: Any, tasks: Tasks) -> dict[str, dict]:
    """Pretrainings of the starts that are made here, by name; those already there are read."""
    made = {name: start.made_by for name, start in starts(p).items() if start.made_by is not None}
    work = partial(_run_pretraining, tasks=_own(p, tasks))
    results = run_trials(list(made.values()), work, partial(store, p, tasks), worker_count(p))
    return dict(zip(made, results, strict=True))


def _run_pretraining(trial: Pretraining | SelfSupervision, folder: Path, tasks: Tasks) -> dict:
    if isinstance(trial, Pretraining):
        return run_pretraining(trial, folder, runs_dir() / "data" / "classified")
    torch.set_num_threads(trial.threads)
    images, spec = unlabelled(trial, tasks), EncoderSpec(trial.encoder)
    log = pretrain_barlow_twins(images, spec, trial.plan, trial.seed, folder, device=trial.device)
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
    made_by = start.made_by
    if made_by is None:
        return load_initialisation(start.name, seed, EncoderSpec(start.encoder), progress=False)
    if isinstance(made_by, Pretraining):
        return load_encoder(supervised_path(folder_of(made_by), made_by.plan.epochs))
    return load_encoder(encoder_path(folder_of(made_by), made_by.plan.steps))


# --------------------------------------------------------------------------- where trials lie


def _own(p: Any, tasks: Tasks) -> dict[str, ForegroundTask]:
    """The tasks that the parameters name, without those that a chapter opens besides."""
    return {name: tasks[name] for name in (*p.glands, *p.nuclei)}


@cache
def _code(module: str) -> str:
    """Once per process: every trial asks, and reading all that a module imports takes seconds."""
    return fingerprints.of_code([module])


def store(p: Any, tasks: Tasks, trial: Trial) -> TrialStore:
    """Where a trial lies; one on tissue depends on the tissue, one on pictures does not."""
    folder = runs_dir() / "trials"
    if isinstance(trial, Pretraining):
        return TrialStore(folder / "pretrained", _code("helpers.experiments.pretrained"), "")
    content = {name: task.content for name, task in _own(p, tasks).items()}
    if isinstance(trial, SelfSupervision):
        seen = fingerprints.of_json(content) if trial.source == TISSUE else ""
        return TrialStore(folder / "twins", _code(__name__), seen)
    used = {name: tasks[name].content for name in (trial.arm.dataset, *trial.arm.tested)}
    return TrialStore(folder / "fitted", _code(__name__), fingerprints.of_json([content, used]))


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
        starts(p)[arm.start],
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
        part.some(share_of(len(part), arm.share, arm.seed))
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
    return normalised(pictures, saved), [np.int64(mask) for mask in pictures.masks]


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
    for place, counts in enumerate(image_confusions(found, truth.masks, N_CLASSES)):
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
        masks = [baseline_masks(i, m) for i, m in zip(test.images, test.masks, strict=True)]
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
