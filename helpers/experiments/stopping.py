"""When to stop pretraining (arXiv 2410.18677): score checkpoints, transfer them, stop online.

A *start* is where encoders come from: a pretraining, or one that was stopped by the score. Each
checkpoint of a start can be scored on a task's training images and transferred to the task.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from helpers.errors import ParameterError
from helpers.experiments.pretrained import Pretraining, run_pretraining
from helpers.experiments.tasks import PARTS, Part, Task
from helpers.metrics.semantic import image_confusions, semantic_scores
from helpers.models.encoders import SavedEncoder, forward_levels, levels, load_encoder, normalise
from helpers.models.semantic import build_segmenter, freeze_encoder, predict_classes
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
from helpers.transferability.judging import StoppingRule, stop_online
from helpers.transferability.robustness import (
    FeatureChoice,
    Pairing,
    measure_pairs,
    score_pairs,
)

MARGINS = (0.0, 0.25, 0.5, 0.75, 1.0)
EXAMPLES = 4
# Images whose feature maps are in memory at a time.
BATCH = 32
PUBLISHED = Pairing()
# Repairs of the published pairing, each alone and all together.
PAIRINGS = {
    "published": PUBLISHED,
    "jitter per image": Pairing(jitter_per_image=True),
    "grey-aware jitter": Pairing(grey_aware=True),
    "negatives of other patients": Pairing(negatives="random", apart=True),
    "all negatives": Pairing(negatives="all"),
    "all repairs": Pairing(jitter_per_image=True, grey_aware=True, negatives="all", apart=True),
}


# ------------------------------------------------------------------------------ online stopping


@dataclass(frozen=True)
class StoppedPretraining:
    """A pretraining that is watched on a task's images and stopped by a rule.

    Attributes:
        rule: looks are the epochs; position 0 is the random initialisation.
        choice, margin, pairing: form of the score.
        n_images: of the task's training images that are looked at, at most.
    """

    pretraining: Pretraining
    rule: StoppingRule
    choice: FeatureChoice = field(default_factory=FeatureChoice)
    margin: float = 0.5
    pairing: Pairing = field(default_factory=Pairing)
    n_images: int = 64


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


def _look(trial: StoppedPretraining, part: Part, state: EpochState) -> bool:
    """Score the encoder after an epoch; true if the rule has had enough."""
    begin = time.perf_counter()
    losses = state.log.notes.setdefault("robustness_losses", [])
    seconds = state.log.notes.setdefault("look_seconds", [])
    # Epochs that are done again after an interruption are looked at again.
    del losses[state.epoch :], seconds[state.epoch :]
    features = _features(state.encoder, state.mean, state.std)
    images, groups = _drawn(part, trial.n_images, trial.pretraining.seed)
    device = next(state.encoder.parameters()).device
    generator = torch.Generator().manual_seed(trial.pretraining.seed)
    pairs = measure_pairs(
        features, images.to(device), generator, [trial.choice], trial.pairing, groups
    )[trial.choice]
    rng = np.random.default_rng(trial.pretraining.seed)
    losses.append(score_pairs(pairs, rng, trial.margin).loss)
    seconds.append(round(time.perf_counter() - begin, 3))
    if len(losses) <= trial.rule.least:
        return False
    return stop_online(losses, trial.rule).enough


Start = Pretraining | StoppedPretraining


def pretraining_of(start: Start) -> Pretraining:
    """The pretraining behind a start."""
    return start.pretraining if isinstance(start, StoppedPretraining) else start


# ------------------------------------------------------------------------------------ scoring


@dataclass(frozen=True)
class Scoring:
    """All indicators of one checkpoint on one task.

    Attributes:
        pairing: name in :data:`PAIRINGS`.
        n_images: of the task's training images, at most.
        pixels: per image, for the estimators that see labels.
    """

    start: Start
    epoch: int
    pairing: str = "published"
    n_images: int = 64
    pixels: int = 64
    seed: int = 0


def run_scoring(
    trial: Scoring, folder: Path, task: Task, folder_of: Callable[[Start], Path]
) -> dict:
    """Score one checkpoint.

    Returns:
        ``robustness``: for every distance, pooling, level (1 the deepest) and margin the loss and
        its interval over images (other pairings than the published one: for its defaults and every
        margin); ``estimators``: by name, higher is better, only with the published pairing;
        ``undefined``: why an estimator has no value.
    """
    pretraining = pretraining_of(trial.start)
    torch.set_num_threads(pretraining.threads)
    saved = load_encoder(encoder_path(folder_of(trial.start), trial.epoch))
    part = task.part("train")
    saved.encoder.to(pretraining.device)
    features = _features(saved.encoder, saved.mean, saved.std)
    images, groups = _drawn(part, trial.n_images, trial.seed)
    choices = [FeatureChoice()]
    if trial.pairing == "published":
        choices = [
            FeatureChoice(distance, pooled, -top)
            for distance, pooled, top in product(
                ("cosine", "pearson", "l2"), (True, False), range(1, levels(saved.spec) + 1)
            )
        ]
    generator = torch.Generator().manual_seed(trial.seed)
    measured = measure_pairs(
        features,
        images.to(pretraining.device),
        generator,
        choices,
        PAIRINGS[trial.pairing],
        groups,
        BATCH,
    )
    result: dict = {"robustness": _losses(measured, trial.seed), "train_seconds": 0.0}
    if trial.pairing == "published":
        result |= _estimates(trial, saved, part)
    return result


def _losses(measured: dict, seed: int) -> list[dict]:
    rows = []
    for choice, margin in product(measured, MARGINS):
        score = score_pairs(measured[choice], np.random.default_rng(seed), margin)
        rows.append(
            {
                "distance": choice.distance,
                "pooled": choice.pooled,
                "from_top": -choice.level,
                "margin": margin,
                "loss": score.loss,
                "low": score.low,
                "high": score.high,
            }
        )
    return rows


def _estimates(trial: Scoring, saved: SavedEncoder, part: Part) -> dict:
    """The rival estimators, on pixels of the deepest level (CC-FV: of all levels)."""
    rows = _rows(len(part.images), trial.n_images, trial.seed)
    samples, pooled = _sampled(saved, part.images[rows], part.masks[rows], trial)
    deepest = samples[-1]
    probabilities = _source_probabilities(saved, deepest.features)
    labels = deepest.labels
    calls = {name: partial(call, deepest.features, labels) for name, call in ESTIMATORS.items()}
    calls |= {
        "leep": partial(leep, probabilities, labels),
        "nce": partial(nce, probabilities.argmax(axis=1), labels),
        "cc_fv": lambda: cc_fv(
            [LevelFeatures.from_sample(s, p) for s, p in zip(samples, pooled, strict=True)]
        ),
    }
    values, undefined = {}, {}
    for name, call in calls.items():
        try:
            values[name] = float(call())
        except ParameterError as error:
            # A collapsed checkpoint has no value; the chapter says so.
            undefined[name] = str(error)
    return {"estimators": values, "undefined": undefined}


def _sampled(
    saved: SavedEncoder, images: np.ndarray, masks: np.ndarray, trial: Scoring
) -> tuple[list[PixelSample], list[np.ndarray]]:
    """Pixels, the same ones, and pooled features (n, d) of every level."""
    n_levels = levels(saved.spec)
    generators = [np.random.default_rng(trial.seed) for _ in range(n_levels)]
    samples: list[list[PixelSample]] = [[] for _ in range(n_levels)]
    pooled: list[list[np.ndarray]] = [[] for _ in range(n_levels)]
    labels = masks.astype(np.int64)
    for rows, maps in _maps(saved, images):
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


def pooled_features(path: Path, part: Part) -> np.ndarray:
    """Deepest features of a saved encoder, averaged over each image, float32 (n, d)."""
    maps = _maps(load_encoder(path), part.images)
    return np.concatenate([found[-1].mean(axis=(2, 3)) for _, found in maps])


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


def _drawn(part: Part, most: int, seed: int) -> tuple[Tensor, list[str]]:
    rows = _rows(len(part.images), most, seed)
    return torch.from_numpy(part.images[rows]), [part.groups[i] for i in rows]


# ----------------------------------------------------------------------------------- transfer


@dataclass(frozen=True)
class Transfer:
    """One segmenter that starts from one checkpoint.

    Attributes:
        epoch: of the checkpoint; 0 is the random initialisation.
        frozen: whether the encoder stays as it is.
        selection: ``"test"`` is the published practice: the look with the highest Dice *on the
            test images*.
        decoder: see :func:`helpers.models.semantic.build_segmenter`.
        decoder_width: channels of the finest block; coarser ones have 2, 4, 8, 16 times as many.
    """

    start: Start
    epoch: int
    frozen: bool
    plan: SemanticPlan
    seed: int
    selection: str = "best_validation"
    decoder: str = "unet"
    decoder_width: int = 16


def run_transfer(
    trial: Transfer, folder: Path, task: Task, folder_of: Callable[[Start], Path]
) -> dict:
    """Train a segmenter and measure it on the task's test images.

    Returns:
        Plain values: Dice and Jaccard per class, mean over cases (pooled over each group's images);
        their mean; the mean pooled over everything; losses, looks, which step was kept.
    """
    pretraining = pretraining_of(trial.start)
    torch.set_num_threads(pretraining.threads)
    saved = load_encoder(encoder_path(folder_of(trial.start), trial.epoch))
    # One block per map but the images.
    n_blocks = len(saved.encoder.out_channels) - 1
    widths = tuple(trial.decoder_width * 2**k for k in reversed(range(n_blocks)))
    model = build_segmenter(saved.encoder, task.n_classes, trial.seed, trial.decoder, widths)
    if trial.frozen:
        freeze_encoder(model)
    read = {name: task.part(name) for name in PARTS}
    parts = {name: _normalised(part, saved) for name, part in read.items()}
    watched = parts["test" if trial.selection == "test" else "validation"]
    selection: Selection = "last" if trial.selection == "last" else "best_validation"
    checkpoint = folder / "checkpoint.pt"
    log = train_segmenter(
        model,
        *parts["train"],
        # What a turned image lacks at its corners is black.
        replace(trial.plan, fill=tuple(-m / s for m, s in zip(saved.mean, saved.std, strict=True))),
        trial.seed,
        watched,
        selection,
        checkpoint,
        device=pretraining.device,
    )
    result = _measured(model, parts["test"], read["test"].groups, task, trial, folder)
    checkpoint.unlink(missing_ok=True)
    return result | {
        "losses": [round(loss, 5) for loss in log.losses],
        "checks": log.checks,
        "kept": log.kept,
        "train_seconds": log.seconds,
    }


def example_places(n: int) -> list[int]:
    """Which of n test images have their prediction kept."""
    return list(range(0, n, max(1, n // EXAMPLES)))[:EXAMPLES]


def _normalised(part: Part, saved: SavedEncoder) -> tuple[np.ndarray, np.ndarray]:
    images = normalise(torch.from_numpy(part.images), saved.mean, saved.std)
    return images.numpy(), part.masks.astype(np.int64)


def _measured(
    model: nn.Module,
    test: tuple[np.ndarray, np.ndarray],
    groups: Sequence[str],
    task: Task,
    trial: Transfer,
    folder: Path,
) -> dict:
    device = pretraining_of(trial.start).device
    images, masks = test
    found = predict_classes(model, images, trial.plan.batch_size, device, trial.plan.precision)
    counts = image_confusions(found, masks, task.n_classes)
    names = ("background", *task.classes)
    cases = semantic_scores(counts, "case", groups=groups, names=names)
    pooled = semantic_scores(counts, "pooled", names=names)
    kept = found[example_places(len(found))].astype(np.uint8)
    with (folder / "examples.npz").open("wb") as stream:
        np.savez_compressed(stream, masks=kept)
    return {
        "dice": dict(zip(task.classes, map(float, cases.dice[1:]), strict=True)),
        "jaccard": dict(zip(task.classes, map(float, cases.jaccard[1:]), strict=True)),
        "mean_dice": cases.mean_dice(),
        "mean_jaccard": cases.mean_jaccard(),
        "pooled_dice": pooled.mean_dice(),
        "n_cases": len(cases.units),
    }
