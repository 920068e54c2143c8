"""Robustness of a representation on target images (arXiv 2410.18677, section 4).

Two photometric views q_i and k_i of every target image, features f at one level of an encoder, a
distance d, and for every image the triplet-like loss

    l_i = max(0, d(f(q_i), f(k_i)) - d(f(q_i), f(k_n(i))) + margin),

n(i) the image's negative. The score is the mean of l_i: **a loss, the lower the more robust.** The
defaults of the settings here are the published ones; repairs are options and say so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from helpers.errors import DataError, ParameterError
from helpers.metrics import bootstrap_interval
from helpers.transferability.distances import DistanceName, all_distances, find_distance
from helpers.transferability.negatives import Negatives, choose_negatives, in_cycles
from helpers.views.jitter import Jitter, JitterStrength, draw_jitter, jitter_images

# Images in 0..1 to feature maps (n, d, h, w), from the shallowest level to the deepest.
Features = Callable[[Tensor], Sequence[Tensor]]


@dataclass(frozen=True)
class Pairing:
    """How views and negatives are made; the defaults are the published ones.

    Attributes:
        strength: of the jitter.
        jitter_per_image: factors drawn for every image instead of one draw for all (repair).
        grey_aware: see :func:`helpers.views.jitter.jitter_images` (repair).
        negatives: one per image, ``"reversed"`` (as released) or ``"random"``; or ``"all"`` others.
        apart: negatives never from the same group (repair).
    """

    strength: JitterStrength = field(default_factory=JitterStrength)
    jitter_per_image: bool = False
    grey_aware: bool = False
    negatives: Negatives = "reversed"
    apart: bool = False


@dataclass(frozen=True)
class FeatureChoice:
    """Which features are compared, and how; the defaults are the published ones.

    Attributes:
        distance: ``"cosine"``, ``"l2"`` (mean squared difference) or ``"pearson"``.
        pooled: mean over the pixels of the map; otherwise the whole map as one vector.
        level: of the feature maps, 1 the shallowest, -1 the deepest.
    """

    distance: DistanceName = "cosine"
    pooled: bool = True
    level: int = -1

    def __post_init__(self) -> None:
        find_distance(self.distance)
        if self.level == 0:
            raise ParameterError("level=0: levels count from 1 (shallowest) or from -1 (deepest)")


@dataclass(frozen=True)
class Pairs:
    """Distances behind a score.

    Attributes:
        positive: of every image's two views, float64 (n,).
        negative: to the view of one other image, float64 (n, 1), or of all others, (n, n) with NaN
            where an image may not serve as negative.
    """

    positive: np.ndarray
    negative: np.ndarray


@dataclass(frozen=True)
class Robustness:
    """A robustness score. It is a loss: **lower is more robust**.

    Attributes:
        loss: mean over images.
        low, high: 95 % bootstrap interval of the mean over images.
        per_image: float64 (n,).
    """

    loss: float
    low: float
    high: float
    per_image: np.ndarray


def robustness(
    features: Features,
    images: Tensor,
    generator: torch.Generator,
    choice: FeatureChoice | None = None,
    margin: float = 0.5,
    pairing: Pairing | None = None,
    groups: Sequence[str] | None = None,
) -> Robustness:
    """The score of one encoder on one set of images, published settings unless told otherwise.

    Args:
        features: encoder in evaluation mode, normalisation of its input included.
        images: float (n, 3, h, w) in 0..1, n at least 2.
        generator: draws the views (and random negatives).

    Raises:
        ParameterError: a setting out of range, wrong shapes, no groups where they are needed, or
            an encoder in training mode.
        DataError: features that are not finite.
    """
    choice = choice or FeatureChoice()
    pairs = measure_pairs(features, images, generator, [choice], pairing, groups)[choice]
    return score_pairs(pairs, _numpy_generator(generator), margin)


def score_pairs(pairs: Pairs, rng: np.random.Generator, margin: float = 0.5) -> Robustness:
    """The score from distances; with all negatives, the mean of the losses against each.

    Args:
        rng: of the bootstrap interval alone.

    Raises:
        ParameterError: negative margin.
    """
    if not margin >= 0:
        raise ParameterError(f"margin={margin}: expected 0 or more")
    losses = np.maximum(0, pairs.positive[:, None] - pairs.negative + margin)
    losses[np.isnan(pairs.negative)] = np.nan
    per_image = np.nanmean(losses, axis=1)
    low, high = bootstrap_interval(per_image, rng)
    return Robustness(float(per_image.mean()), float(low), float(high), per_image)


@torch.inference_mode()
def measure_pairs(
    features: Features,
    images: Tensor,
    generator: torch.Generator,
    choices: Sequence[FeatureChoice],
    pairing: Pairing | None = None,
    groups: Sequence[str] | None = None,
    batch_size: int = 32,
) -> dict[FeatureChoice, Pairs]:
    """Distances for many choices of features from the same two forward passes per image.

    Every image goes through the encoder twice, whatever the negatives: they are a permutation, and
    images are taken in the order of its cycles, so that an image's negative comes next. At most one
    batch is in memory, and with ``"all"`` the keys of all images.
    """
    pairing = pairing or Pairing()
    n = _check(features, images, pairing, groups)
    views = _draw_views(pairing, generator, n)
    if pairing.negatives == "all":
        walk = _AgainstAll(n, groups if pairing.apart else None)
    else:
        rng = _numpy_generator(generator)
        apart = groups if pairing.apart else None
        walk = _AgainstOne(choose_negatives(n, pairing.negatives, rng, apart))
    for begin in range(0, n, batch_size):
        rows = walk.order[begin : begin + batch_size]
        picked = torch.as_tensor(rows)
        batch = images[picked]
        queries, keys = (
            features(jitter_images(batch, view.part(picked), pairing.grey_aware)) for view in views
        )
        for choice in choices:
            walk.take(choice, rows, *(_vectors(maps, choice) for maps in (queries, keys)))
    return {choice: walk.pairs(choice) for choice in choices}


class _AgainstOne:
    """One negative per image; keeps only the vectors whose counterpart has not come yet."""

    def __init__(self, negatives: np.ndarray) -> None:
        self.negatives = negatives
        self.order = in_cycles(negatives)
        self._faced_by = np.argsort(negatives)
        self._distances: dict[FeatureChoice, tuple[np.ndarray, np.ndarray]] = {}
        self._waiting: dict[FeatureChoice, dict[int, Tensor]] = {}
        self._keys: dict[FeatureChoice, dict[int, Tensor]] = {}

    def take(self, choice: FeatureChoice, rows: np.ndarray, queries: Tensor, keys: Tensor) -> None:
        n = len(self.negatives)
        positive, negative = self._distances.setdefault(choice, (np.empty(n), np.empty(n)))
        waiting = self._waiting.setdefault(choice, {})
        kept = self._keys.setdefault(choice, {})
        distance = find_distance(choice.distance)
        positive[rows] = distance(queries, keys).cpu().numpy()
        place = {int(row): i for i, row in enumerate(rows)}
        inside = [i for i, row in enumerate(rows) if int(self.negatives[row]) in place]
        if inside:
            partners = [place[int(self.negatives[rows[i]])] for i in inside]
            negative[rows[inside]] = distance(queries[inside], keys[partners]).cpu().numpy()
        for i, row in enumerate(int(row) for row in rows):
            asking, wanted = int(self._faced_by[row]), int(self.negatives[row])
            if asking in waiting:
                negative[asking] = float(distance(waiting.pop(asking), keys[i]))
            elif asking not in place:
                kept[row] = keys[i].clone()
            if wanted in kept:
                negative[row] = float(distance(queries[i], kept.pop(wanted)))
            elif wanted not in place:
                waiting[row] = queries[i].clone()

    def pairs(self, choice: FeatureChoice) -> Pairs:
        positive, negative = self._distances[choice]
        return Pairs(positive, negative[:, None])


class _AgainstAll:
    """All other images as negatives, or those of other groups."""

    def __init__(self, n: int, groups: Sequence[str] | None) -> None:
        self.order = np.arange(n)
        member = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
        self._same = member[:, None] == member[None, :]
        if self._same.all(axis=1).any():
            raise ParameterError("groups: all images are of one group, so that none has a negative")
        self._kept: dict[FeatureChoice, list[tuple[Tensor, Tensor]]] = {}

    def take(self, choice: FeatureChoice, rows: np.ndarray, queries: Tensor, keys: Tensor) -> None:
        self._kept.setdefault(choice, []).append((queries.cpu(), keys.cpu()))

    def pairs(self, choice: FeatureChoice) -> Pairs:
        queries, keys = (torch.cat(part) for part in zip(*self._kept.pop(choice), strict=True))
        positive = find_distance(choice.distance)(queries, keys).double().numpy()
        negative = all_distances(choice.distance, queries, keys).numpy()
        negative[self._same] = np.nan
        return Pairs(positive, negative)


def _draw_views(pairing: Pairing, generator: torch.Generator, n: int) -> tuple[Jitter, Jitter]:
    draws = n if pairing.jitter_per_image else 1
    first, second = (draw_jitter(pairing.strength, generator, draws) for _ in range(2))
    return first, second


def _numpy_generator(generator: torch.Generator) -> np.random.Generator:
    return np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))


def _vectors(maps: Sequence[Tensor], choice: FeatureChoice) -> Tensor:
    """Float32 (n, d) of one level."""
    if not -len(maps) <= choice.level <= len(maps):
        raise ParameterError(f"level={choice.level}: the encoder has {len(maps)} levels")
    chosen = maps[choice.level - 1 if choice.level > 0 else choice.level].float()
    vectors = chosen.mean(dim=(2, 3)) if choice.pooled else chosen.flatten(1)
    if not torch.isfinite(vectors).all():
        raise DataError(
            f"features of level {choice.level} are not finite: the encoder diverged, or its input "
            "is not an image in 0..1"
        )
    return vectors


def _check(
    features: Features, images: Tensor, pairing: Pairing, groups: Sequence[str] | None
) -> int:
    if getattr(features, "training", False):
        raise ParameterError(
            "features: the encoder is in training mode, in which an image's features depend on the "
            "others of its batch. Call .eval() first."
        )
    if images.ndim != 4 or images.shape[1] != 3 or len(images) < 2:
        raise ParameterError(
            f"images of shape {tuple(images.shape)}: expected (n, 3, h, w), n at least 2"
        )
    if pairing.apart and groups is None:
        raise ParameterError("apart=True: needs the group (patient) of every image in groups")
    if groups is not None and len(groups) != len(images):
        raise ParameterError(f"groups of {len(groups)} images, {len(images)} images given")
    return len(images)
