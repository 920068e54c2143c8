"""When to stop pretraining (arXiv 2410.18677): score checkpoints, transfer them, stop online.

A *start* is where encoders come from: a pretraining, or one that was stopped by the score. Each
checkpoint of a start can be scored on a task's training images and transferred to the task.
Published weights of the same encoder stand as one more checkpoint behind the last epoch.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from helpers.errors import ParameterError
from helpers.experiments.pretrained import Pretraining, Source, run_pretraining, source_content
from helpers.experiments.settings import filled, precision_name, worker_count
from helpers.experiments.tasks import PARTS, Pictures, Task, TaskSettings, prepare_task
from helpers.experiments.trials import TrialStore, run_trials, store_for
from helpers.metrics.baselines import BASELINES, otsu_components
from helpers.metrics.semantic import image_confusions, semantic_scores
from helpers.models.device import resolve_device
from helpers.models.encoders import SavedEncoder, forward_levels, levels, load_encoder, normalise
from helpers.models.initialisations import load_initialisation
from helpers.models.semantic import build_segmenter, freeze_encoder, predict_classes
from helpers.paths import runs_dir
from helpers.pretraining.schedules import SupervisedPlan
from helpers.pretraining.supervised import EpochState, encoder_path
from helpers.training.semantic import Selection, SemanticPlan, train_segmenter
from helpers.transferability.estimators import (
    ESTIMATORS,
    LevelFeatures,
    PixelSample,
    cc_fv,
    leep,
    nce,
    sample_pixels,
)
from helpers.transferability.judging import (
    StoppingRule,
    choose_highest,
    choose_lowest,
    compute_saved,
    rank_correlation,
    stop_online,
)
from helpers.transferability.robustness import Pairing, measure_pairs, score_pairs

EXAMPLES = 4
# Images whose feature maps are in memory at a time.
BATCH = 32
# Repairs of the published pairing, each alone and all together.
PAIRINGS = {
    "published": Pairing(),
    "jitter per image": Pairing(jitter_per_image=True),
    "grey-aware jitter": Pairing(grey_aware=True),
    "negatives of other patients": Pairing(negatives="random", apart=True),
    "all negatives": Pairing(negatives="all"),
    "all repairs": Pairing(jitter_per_image=True, grey_aware=True, negatives="all", apart=True),
}
WAYS = {True: "frozen", False: "fine-tuned"}
ROBUST, ACCURACY = "lowest robustness loss", "highest source accuracy"
FULL, NONE, RANDOM, ORACLE = "always full", "no pretraining", "random checkpoint", "oracle"
OTHERS, REAL = "best on the other seeds", "published weights"
ONLINE, WATCHED = "online, really stopped", "online, random start watched along"
ESTIMATOR_NAMES = {
    "logme": "LogME",
    "h_score": "H-score",
    "regularised_h_score": "H-score, regularised",
    "gbc": "GBC",
    "leep": "LEEP",
    "nce": "NCE",
    "cc_fv": "CC-FV",
}


# ------------------------------------------------------------------------------------ trials


@dataclass(frozen=True)
class StoppedPretraining:
    """A pretraining that is watched on a task's images and stopped by a rule.

    Attributes:
        task: name.
        rule: looks are the epochs; position 0 is the random initialisation.
        margin: of the score, in its published form.
        n_images: of the task's training images that are looked at, at most.
    """

    task: str
    pretraining: Pretraining
    rule: StoppingRule
    margin: float = 0.5
    n_images: int = 64


Start = Pretraining | StoppedPretraining


@dataclass(frozen=True)
class Scoring:
    """All indicators of one checkpoint on one task.

    Attributes:
        task: name.
        pairing: name in :data:`PAIRINGS`.
        margin: of the score.
        n_images: of the task's training images, at most.
        pixels: per image, for the estimators that see labels.
        published: weights in place of those of an epoch.
    """

    task: str
    start: Pretraining
    epoch: int
    pairing: str = "published"
    margin: float = 0.5
    n_images: int = 64
    pixels: int = 64
    published: str = ""


@dataclass(frozen=True)
class Transfer:
    """One segmenter that starts from one checkpoint.

    Attributes:
        task: name.
        epoch: of the checkpoint; 0 is the random initialisation.
        frozen: whether the encoder stays as it is.
        selection: ``"test"`` is the published practice: the look with the highest Dice *on the
            test images*.
        decoder: see :func:`helpers.models.semantic.build_segmenter`.
        decoder_width: channels of the finest block; coarser ones have 2, 4, 8, 16 times as many.
        published: weights in place of those of an epoch.
    """

    task: str
    start: Start
    epoch: int
    frozen: bool
    plan: SemanticPlan
    selection: str = "best_validation"
    decoder: str = "unet"
    decoder_width: int = 16
    published: str = ""


Trial = Pretraining | StoppedPretraining | Scoring | Transfer


def pretraining_of(start: Start) -> Pretraining:
    """The pretraining behind a start."""
    return start.pretraining if isinstance(start, StoppedPretraining) else start


# ------------------------------------------------------------------------------------ the work


@dataclass
class Found:
    """What :func:`run` found, all by name of the task first.

    Attributes:
        pretrainings: by seed.
        scores: by (task, seed, epoch, pairing), of :func:`run_scoring`.
        online: by (task, seed), of :func:`run_online`.
        transfers: by (task, seed, epoch, frozen), of :func:`run_transfer`.
        chosen: by (task, seed, frozen): from the checkpoint that the online rule chose.
    """

    tasks: dict[str, Task]
    pretrainings: dict[int, dict] = field(default_factory=dict)
    scores: dict[tuple, dict] = field(default_factory=dict)
    online: dict[tuple, dict] = field(default_factory=dict)
    transfers: dict[tuple, dict] = field(default_factory=dict)
    chosen: dict[tuple, dict] = field(default_factory=dict)

    @property
    def models(self) -> list[dict]:
        """All that was trained, for the record."""
        parts = (self.pretrainings, self.online, self.transfers, self.chosen)
        return [model for part in parts for model in part.values()]


def run(p: Any, arms: Sequence[tuple[int, int]]) -> Found:
    """Pretrain, score, transfer and stop online, seed by seed.

    Args:
        p: parameters of the chapter, read by name.
        arms: seed, and epoch whose checkpoint is scored and transferred (0: random initialisation;
            one behind the last: the published weights).
    """
    found = Found({name: prepare_task(task_settings(p, name)) for name in p.tasks})
    for seed in dict(arms):
        full, epochs = pretraining(p, seed), [epoch for other, epoch in arms if other == seed]
        stops = {name: stopped(p, name, seed) for name in found.tasks}
        done = _run_all(p, found.tasks, {seed: full, **stops})
        found.pretrainings[seed] = done.pop(seed)
        found.online |= {(name, seed): result for name, result in done.items()}
        trials: dict[tuple, Trial] = {}
        for name in found.tasks:
            chosen = done[name]["chosen"]
            # A stopped pretraining is the beginning of the full one: no second transfer then.
            start = full if chosen in epochs else stops[name]
            for frozen in p.frozen:
                trials["chosen", name, seed, frozen] = transfer(p, name, start, chosen, frozen)
                for epoch in epochs:
                    key = ("transfers", name, seed, epoch, frozen)
                    trials[key] = transfer(p, name, full, epoch, frozen)
            for epoch, pairing in ((e, one) for e in epochs for one in p.pairings):
                key = ("scores", name, seed, epoch, pairing)
                own = {"pairing": pairing, "margin": p.margin, "n_images": p.scored_images}
                own["published"] = published_at(p, epoch)
                trials[key] = Scoring(name, full, epoch, **own)
        for (part, *key), result in _run_all(p, found.tasks, trials).items():
            getattr(found, part)[tuple(key)] = result
    return found


def task_settings(p: Any, name: str) -> TaskSettings:
    """How one task is read and split."""
    return filled(TaskSettings, p, dataset=name, kind="classes")


def pretraining(p: Any, seed: int) -> Pretraining:
    """The full pretraining of one seed."""
    sizes = (p.n_source, p.n_source_validation, p.source_size)
    source = Source(p.source, *sizes, _content(p.source))
    plan = filled(
        SupervisedPlan,
        p,
        batch_size=p.source_batch,
        learning_rate=p.source_rate,
        precision=precision_name(p),
        checkpoints=tuple(p.checkpoints),
    )
    return Pretraining(source, p.encoder, plan, seed, resolve_device(p.device).type, p.threads)


def stopped(p: Any, task: str, seed: int) -> StoppedPretraining:
    """The same pretraining, stopped by the published score; every epoch's encoder is kept."""
    full = pretraining(p, seed)
    plan = replace(full.plan, checkpoints=tuple(range(1, p.epochs + 1)))
    rule = filled(StoppingRule, p)
    return StoppedPretraining(task, replace(full, plan=plan), rule, p.margin, p.scored_images)


def published_at(p: Any, epoch: int) -> str:
    """The published weights that stand behind the last epoch; empty at those of the pretraining."""
    return p.published if epoch > p.epochs else ""


def transfer(p: Any, task: str, start: Start, epoch: int, frozen: bool) -> Transfer:
    """One segmenter."""
    plan = filled(SemanticPlan, p, precision=precision_name(p))
    own = {"plan": plan, "published": published_at(p, epoch)}
    return filled(Transfer, p, task=task, start=start, epoch=epoch, frozen=frozen, **own)


@cache
def _content(name: str) -> str:
    """Once per process: a chapter's trials all mean the same files."""
    return source_content(name)


def decoded_folder() -> Path:
    """Where decoded source images lie."""
    return runs_dir() / "data" / "classified"


def _store(trial: Trial, tasks: dict[str, Task]) -> TrialStore:
    if isinstance(trial, Pretraining):
        # Shared with other chapters.
        return store_for("pretrained", run_pretraining.__module__, "")
    return store_for("stopping", __name__, tasks[trial.task].content)


def _run_all(p: Any, tasks: dict[str, Task], trials: dict) -> dict:
    """Results of trials by key."""
    store, work = partial(_store, tasks=tasks), partial(_run, tasks=tasks)
    results = run_trials(list(trials.values()), work, store, worker_count(p))
    return dict(zip(trials, results, strict=True))


def _run(trial: Trial, folder: Path, tasks: dict[str, Task]) -> dict:
    if isinstance(trial, Pretraining):
        return run_pretraining(trial, folder, decoded_folder())
    task = tasks[trial.task]
    if isinstance(trial, StoppedPretraining):
        return run_online(trial, folder, task, decoded_folder())
    saved = _open_encoder(trial, tasks)
    if isinstance(trial, Scoring):
        return run_scoring(trial, saved, task)
    return run_transfer(trial, folder, saved, task)


def _open_encoder(trial: Scoring | Transfer, tasks: dict[str, Task]) -> SavedEncoder:
    if trial.published:
        start = pretraining_of(trial.start)
        return load_initialisation(trial.published, start.seed, start.spec, progress=False)
    return load_encoder(encoder_path(_store(trial.start, tasks).path(trial.start), trial.epoch))


def example_masks(trial: Transfer, tasks: dict[str, Task]) -> np.ndarray:
    """Predicted classes of the first examples of a finished transfer, (k, h, w)."""
    with np.load(_store(trial, tasks).path(trial) / "examples.npz") as kept:
        return kept["masks"]


# ------------------------------------------------------------------------------ online stopping


def run_online(trial: StoppedPretraining, folder: Path, task: Task, cache: Path) -> dict:
    """Pretrain until the rule stops it.

    Returns:
        As :func:`helpers.experiments.pretrained.run_pretraining`, with the losses by epoch and the
        seconds of every look under ``notes``, and the epoch ``chosen`` by the rule.
    """
    part = task.part("train")
    result = run_pretraining(trial.pretraining, folder, cache, partial(_look, trial, part))
    losses = result["notes"]["robustness_losses"]
    return result | {"chosen": stop_online(losses, trial.rule).chosen}


def _look(trial: StoppedPretraining, part: Pictures, state: EpochState) -> bool:
    """Score the encoder after an epoch; true if the rule has had enough."""
    begin = time.perf_counter()
    losses = state.log.notes.setdefault("robustness_losses", [])
    seconds = state.log.notes.setdefault("look_seconds", [])
    # Epochs that are done again after an interruption are looked at again.
    del losses[state.epoch :], seconds[state.epoch :]
    features = _features(state.encoder, state.mean, state.std)
    score = _score(trial, features, part, "published", trial.pretraining)
    losses.append(score["loss"])
    seconds.append(round(time.perf_counter() - begin, 3))
    if len(losses) <= trial.rule.least:
        return False
    return stop_online(losses, trial.rule).enough


# ------------------------------------------------------------------------------------ scoring


def run_scoring(trial: Scoring, saved: SavedEncoder, task: Task) -> dict:
    """Score one checkpoint.

    Returns:
        ``loss`` and its interval over images, ``low`` and ``high`` (cosine distance of pooled
        deepest features); only with the published pairing ``estimators`` by name, higher is better,
        and ``undefined``: why an estimator has no value.
    """
    torch.set_num_threads(trial.start.threads)
    part = task.part("train")
    saved.encoder.to(trial.start.device)
    features = _features(saved.encoder, saved.mean, saved.std)
    result = _score(trial, features, part, trial.pairing, trial.start)
    if trial.pairing == "published":
        result |= _estimates(trial, saved, part)
    return result | {"train_seconds": 0.0}


def _score(
    trial: StoppedPretraining | Scoring,
    features: Callable[[Tensor], list[Tensor]],
    part: Pictures,
    pairing: str,
    start: Pretraining,
) -> dict:
    """The robustness loss and its interval over images."""
    rows = _rows(len(part.images), trial.n_images, start.seed)
    chosen = part.some(rows)
    images = torch.from_numpy(np.stack(chosen.images)).to(start.device)
    generator = torch.Generator().manual_seed(start.seed)
    found = measure_pairs(features, images, generator, PAIRINGS[pairing], chosen.groups, BATCH)
    score = score_pairs(found, np.random.default_rng(start.seed), trial.margin)
    return {"loss": score.loss, "low": score.low, "high": score.high}


def _estimates(trial: Scoring, saved: SavedEncoder, part: Pictures) -> dict:
    """The rival estimators, on pixels of the deepest level (CC-FV: of all levels)."""
    rows = _rows(len(part.images), trial.n_images, trial.start.seed)
    samples, pooled = _sampled(saved, part.some(rows), trial)
    deepest = samples[-1]
    labels = deepest.labels
    calls = {name: partial(call, deepest.features, labels) for name, call in ESTIMATORS.items()}
    calls["cc_fv"] = lambda: cc_fv(
        [LevelFeatures.from_sample(s, p) for s, p in zip(samples, pooled, strict=True)]
    )
    values, undefined = {}, {}
    if "head" in saved.extra:
        probabilities = _source_probabilities(saved, deepest.features)
        calls["leep"] = partial(leep, probabilities, labels)
        calls["nce"] = partial(nce, probabilities.argmax(axis=1), labels)
    else:
        undefined = dict.fromkeys(("leep", "nce"), "published weights come without a classifier")
    for name, call in calls.items():
        try:
            values[name] = float(call())
        except ParameterError as error:
            # A collapsed checkpoint has no value; the chapter says so.
            undefined[name] = str(error)
    return {"estimators": values, "undefined": undefined}


def _sampled(
    saved: SavedEncoder, part: Pictures, trial: Scoring
) -> tuple[list[PixelSample], list[np.ndarray]]:
    """Pixels, the same ones, and pooled features (n, d) of every level."""
    n_levels = levels(saved.spec)
    generators = [np.random.default_rng(trial.start.seed) for _ in range(n_levels)]
    samples: list[list[PixelSample]] = [[] for _ in range(n_levels)]
    pooled: list[list[np.ndarray]] = [[] for _ in range(n_levels)]
    labels = np.int64(part.labels)
    for rows, maps in _maps(saved, np.stack(part.images)):
        for level, one in enumerate(maps):
            drawn = sample_pixels(one, labels[rows], trial.pixels, generators[level])
            samples[level].append(drawn)
            pooled[level].append(one.mean(axis=(2, 3)))
    return [PixelSample.joined(parts) for parts in samples], [np.concatenate(p) for p in pooled]


@torch.inference_mode()
def _maps(saved: SavedEncoder, images: np.ndarray) -> Iterator[tuple[slice, list[np.ndarray]]]:
    """Feature maps of every level, float32, a batch of images at a time."""
    device = next(saved.encoder.parameters()).device
    for start in range(0, len(images), BATCH):
        rows = slice(start, start + BATCH)
        batch = normalise(torch.from_numpy(images[rows]).to(device), saved.mean, saved.std)
        yield rows, [one.float().cpu().numpy() for one in forward_levels(saved.encoder, batch)]


def _source_probabilities(saved: SavedEncoder, features: np.ndarray) -> np.ndarray:
    """Softmax of the pretraining's classifier at every pixel, float64 (m, source classes)."""
    head = saved.extra["head"]
    logits = torch.from_numpy(features).double() @ head["weight"].double().T
    return torch.softmax(logits + head["bias"].double(), dim=1).numpy()


def _features(
    encoder: nn.Module, mean: Sequence[float], std: Sequence[float]
) -> Callable[[Tensor], list[Tensor]]:
    """Images in 0..1 to feature maps."""
    return lambda images: forward_levels(encoder, normalise(images, mean, std))


def _rows(n: int, most: int, seed: int) -> np.ndarray:
    """At most so many of n images, ascending."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng([seed, 3]).permutation(n)[:most])


# ----------------------------------------------------------------------------------- transfer


def run_transfer(trial: Transfer, folder: Path, saved: SavedEncoder, task: Task) -> dict:
    """Train a segmenter and measure it on the task's test images.

    Returns:
        Plain values: what :func:`measure` says; losses, looks, which step was kept.
    """
    start = pretraining_of(trial.start)
    torch.set_num_threads(start.threads)
    # One block per map but the images.
    n_blocks = len(saved.encoder.out_channels) - 1
    widths = tuple(trial.decoder_width * 2**k for k in reversed(range(n_blocks)))
    model = build_segmenter(saved.encoder, task.n_classes, start.seed, trial.decoder, widths)
    if trial.frozen:
        freeze_encoder(model)
    parts = {name: _normalised(task.part(name), saved) for name in PARTS}
    watched = parts["test" if trial.selection == "test" else "validation"]
    selection: Selection = "last" if trial.selection == "last" else "best_validation"
    checkpoint = folder / "checkpoint.pt"
    log = train_segmenter(
        model,
        *parts["train"],
        # What a turned image lacks at its corners is black.
        replace(trial.plan, fill=tuple(-m / s for m, s in zip(saved.mean, saved.std, strict=True))),
        start.seed,
        watched,
        selection,
        checkpoint,
        device=start.device,
    )
    plan = trial.plan
    images = parts["test"][0]
    masks = predict_classes(model, images, plan.batch_size, start.device, plan.precision)
    with (folder / "examples.npz").open("wb") as stream:
        np.savez_compressed(stream, masks=masks[example_places(len(masks))].astype(np.uint8))
    checkpoint.unlink(missing_ok=True)
    return measure(masks, task) | {
        "losses": [round(loss, 5) for loss in log.losses],
        "checks": log.checks,
        "kept": log.kept,
        "train_seconds": log.seconds,
    }


def example_places(n: int) -> list[int]:
    """Which of n test images have their prediction kept."""
    return list(range(0, n, max(1, n // EXAMPLES)))[:EXAMPLES]


def _normalised(part: Pictures, saved: SavedEncoder) -> tuple[np.ndarray, np.ndarray]:
    images = normalise(torch.from_numpy(np.stack(part.images)), saved.mean, saved.std)
    return images.numpy(), np.int64(part.labels)


def measure(predictions: np.ndarray, task: Task) -> dict:
    """Dice and Jaccard of predicted classes (n, h, w) on a task's test images.

    Returns:
        ``dice`` and ``jaccard`` by class, means over cases (counts added up over a group's images);
        ``cases``: by name, mean Dice over the classes that the case or its prediction shows.
    """
    part = task.part("test")
    counts = image_confusions(predictions, np.int64(part.labels), task.n_classes)
    scores = semantic_scores(counts, part.groups)
    of_cases = np.nanmean(scores.unit_dice[:, 1:], axis=1)
    return {
        "dice": dict(zip(task.classes, map(float, scores.dice[1:]), strict=True)),
        "jaccard": dict(zip(task.classes, map(float, scores.jaccard[1:]), strict=True)),
        "cases": dict(zip(scores.units, map(float, of_cases), strict=True)),
    }


def measure_baselines(task: Task) -> dict[str, dict]:
    """As :func:`measure`, without any training, by the names of ``BASELINES``.

    "Every pixel" is one class everywhere, the one with the best mean; Otsu's threshold, with its
    side known, stands where the task has a single class.
    """
    part = task.part("test")
    everywhere = [measure(np.full_like(part.labels, k), task) for k in range(1, task.n_classes)]
    best = max(everywhere, key=lambda one: np.mean(list(one["cases"].values())))
    otsu, every = BASELINES
    if task.n_classes > 2:
        return {every: best}
    pairs = part
    masks = np.stack([otsu_components(image.mean(axis=0), mask) > 0 for image, mask in pairs])
    return {otsu: measure(masks.astype(np.uint8), task), every: best}


# ------------------------------------------------------------------------------------ rules


def judge_rules(p: Any, found: Found, task: str, frozen: bool, epochs: Sequence[int]) -> list[dict]:
    """What every rule reached on every test case, and without training.

    Args:
        epochs: checkpoints to choose from, ascending, 0 and the last of the pretraining among them.

    Regret is paired: Dice from the best checkpoint (by the mean over seeds) minus Dice from the
    chosen one, of the same seed; TIS is 1 - regret / best mean. So the oracle has no spread, and
    how easy a seed is does not enter. A rule that chooses by seed can beat the oracle, which takes
    one checkpoint for all.

    Returns:
        One row per rule, seed and case (``image``): ``dice``, ``tis``, ``regret``; the same for all
        cases ``saved``, ``epochs`` (chosen) and ``rank_correlation`` (Spearman's with the Dice of
        the seed, positive where the indicator is right).
    """
    cases = list(found.transfers[task, p.seeds[0], epochs[0], frozen]["cases"])
    dice = np.array(
        [
            [list(found.transfers[task, s, e, frozen]["cases"].values()) for s in p.seeds]
            for e in epochs
        ]
    )
    means = dice.mean(axis=2)
    best = choose_highest(means.mean(axis=1))
    rows = []
    for place, seed in enumerate(p.seeds):
        own = indicators(p, found, task, seed, epochs)
        taken = _taken(p, own, found, (task, frozen), dice, place, epochs)
        for rule, (reached, chosen, seen) in taken.items():
            regret = dice[best, place] - reached
            rho = rank_correlation(own[rule], means[:, place]) if rule in own else np.nan
            common = {"method": rule, "test": task, "way": WAYS[frozen], "seed": seed}
            common |= {"saved": compute_saved(range(p.epochs + 1), seen), "epochs": chosen}
            common |= {"rank_correlation": -rho, "modality": task}
            rows += [
                common
                | {"image": case, "group": case, "dice": one, "regret": lost}
                | {"tis": 1 - lost / means[best].mean()}
                for case, one, lost in zip(cases, reached, regret, strict=True)
            ]
    return rows


def indicators(
    p: Any, found: Found, task: str, seed: int, epochs: Sequence[int]
) -> dict[str, np.ndarray]:
    """Every indicator of one seed by checkpoint, turned so that **lower is better**."""
    scores = {one: [found.scores[task, seed, e, one] for e in epochs] for one in p.pairings}
    rows = {
        ROBUST if one == "published" else f"{ROBUST}, {one}": np.array([s["loss"] for s in row])
        for one, row in scores.items()
    }
    accuracy = {r["epoch"]: r["accuracy"] for r in found.pretrainings[seed]["epochs"]}
    rows[ACCURACY] = -np.array([accuracy.get(e, np.nan) for e in epochs])
    for key, name in ESTIMATOR_NAMES.items():
        values = [one["estimators"].get(key, np.nan) for one in scores["published"]]
        rows[f"highest {name}"] = -np.array(values)
    return {name: row for name, row in rows.items() if np.isfinite(row).any()}


def _taken(
    p: Any,
    own: dict[str, np.ndarray],
    found: Found,
    case: tuple[str, bool],
    dice: np.ndarray,
    place: int,
    epochs: Sequence[int],
) -> dict[str, tuple[np.ndarray, float, int]]:
    """Of every rule for one seed: Dice by case, epoch chosen, epoch up to which was pretrained.

    Args:
        case: task, and whether the encoder was frozen.
        dice: (epochs, seeds, cases).
        place: of the seed.
    """
    (task, frozen), seed, last = case, p.seeds[place], epochs.index(p.epochs)
    at = {rule: choose_lowest(row) for rule, row in own.items()}
    if epochs[-1] > p.epochs:
        at[REAL] = len(epochs) - 1
    at |= {FULL: last, ORACLE: choose_highest(dice.mean(axis=(1, 2)))}
    if len(p.seeds) > 1:
        at[OTHERS] = choose_highest(np.delete(dice, place, axis=1).mean(axis=(1, 2)))
    taken = {rule: (dice[i, place], epochs[i], p.epochs) for rule, i in at.items()}
    taken[RANDOM] = (dice[1 : last + 1, place].mean(axis=0), np.nan, p.epochs)
    taken[NONE] = (dice[0, place], 0, 0)
    online, reached = found.online[task, seed], found.chosen[task, seed, frozen]["cases"]
    seen = online["epochs"][-1]["epoch"]
    taken[ONLINE] = (np.array(list(reached.values())), online["chosen"], seen)
    losses, rule = online["notes"]["robustness_losses"], filled(StoppingRule, p, watch_start=True)
    kept = stop_online(losses, rule).chosen == 0
    taken[WATCHED] = (dice[0, place], 0, seen) if kept else taken[ONLINE]
    return taken


def time_spent(found: Found) -> dict:
    """Epochs and seconds of the full and of the stopped pretrainings, means over seeds.

    Those of a stopped one include its looks at the task's images.
    """
    spent = {"full": _means(list(found.pretrainings.values())), "stopped": {}}
    for task in found.tasks:
        runs = [run for (name, _), run in found.online.items() if name == task]
        looks = float(np.mean([sum(run["notes"]["look_seconds"]) for run in runs]))
        spent["stopped"][task] = _means(runs) | {"look_seconds": looks}
    return spent


def _means(runs: list[dict]) -> dict:
    return {
        "epochs": float(np.mean([run["epochs"][-1]["epoch"] for run in runs])),
        "train_seconds": float(np.mean([run["train_seconds"] for run in runs])),
    }
