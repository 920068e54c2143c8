"""Robustness of a representation on target images (arXiv 2410.18677, section 4).

Two photometric views q_i and k_i of every target image, features f at one level of an encoder, a
distance d, and for every image the triplet-like loss

    l_i = max(0, d(f(q_i), f(k_i)) - d(f(q_i), f(k_n(i))) + margin),

n(i) the image's negative. The score is the mean of l_i: **a loss, the lower the more robust.** As
published, features are the means over the pixels of the deepest map and d is 1 - cosine of the
angle, 0..2. The defaults of the settings here are the published ones; repairs are options.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.errors import DataError, ParameterError
from helpers.metrics import bootstrap_interval
from helpers.transferability.negatives import Negatives, choose_negatives, in_cycles
from helpers.views.jitter import Jitter, JitterStrength, draw_jitter, jitter_images

# Images in 0..1 to feature maps (n, d, h, w), from the shallowest level to the deepest.
Features = Callable[[Tensor], Sequence[Tensor]]
# Vectors shorter than this count as this long, so that a vector of zeros has a distance (1) too.
SHORTEST = 1e-8


@dataclass(frozen=True)
class Pairing:
    """How views and negatives are made; the defaults are the published ones.

    Attributes:
        jitter_per_image: factors drawn for every image instead of one draw for all (repair).
        grey_aware: see :func:`helpers.views.jitter.jitter_images` (repair).
        negatives: one per image, ``"reversed"`` (as released) or ``"random"``; or ``"all"`` others.
        apart: negatives never from the same group (repair).
    """

    jitter_per_image: bool = False
    grey_aware: bool = False
    negatives: Negatives = "reversed"
    apart: bool = False


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


def score_pairs(pairs: Pairs, rng: np.random.Generator, margin: float = 0.5) -> Robustness:
    """The score from distances; with all negatives, the mean of the losses against each.

    Args:
        rng: of the bootstrap interval alone.
    """
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
    pairing: Pairing,
    groups: Sequence[str] | None = None,
    batch_size: int = 32,
) -> Pairs:
    """Distances from two forward passes per image.

    Every image goes through the encoder twice, whatever the negatives: they are a permutation, and
    images are taken in the order of its cycles, so that an image's negative comes next. At most one
    batch is in memory, and with ``"all"`` the keys of all images.

    Args:
        features: encoder in evaluation mode, normalisation of its input included.
        images: float (n, 3, h, w) in 0..1, n at least 2.
        generator: draws the views (and random negatives).
        groups: of each image, where ``pairing.apart``.

    Raises:
        ParameterError: a group with so many images that not all have a negative of another.
        DataError: features that are not finite.
    """
    n = len(images)
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
            _vectors(features(jitter_images(batch, view.part(picked), pairing.grey_aware)))
            for view in views
        )
        walk.take(rows, queries, keys)
    return walk.pairs()


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """1 - cosine of the angle, 0..2, shape (..., d) and (..., d) to (...)."""
    return 1 - F.cosine_similarity(a, b, dim=-1, eps=SHORTEST)


class _AgainstOne:
    """One negative per image; keeps only the vectors whose counterpart has not come yet."""

    def __init__(self, negatives: np.ndarray) -> None:
        self.negatives = negatives
        self.order = in_cycles(negatives)
        self._faced_by = np.argsort(negatives)
        self._positive, self._negative = np.empty((2, len(negatives)))
        self._waiting: dict[int, Tensor] = {}
        self._keys: dict[int, Tensor] = {}

    def take(self, rows: np.ndarray, queries: Tensor, keys: Tensor) -> None:
        negative, waiting, kept = self._negative, self._waiting, self._keys
        self._positive[rows] = cosine_distance(queries, keys).cpu().numpy()
        place = {int(row): i for i, row in enumerate(rows)}
        inside = [i for i, row in enumerate(rows) if int(self.negatives[row]) in place]
        if inside:
            partners = [place[int(self.negatives[rows[i]])] for i in inside]
            negative[rows[inside]] = cosine_distance(queries[inside], keys[partners]).cpu().numpy()
        for i, row in enumerate(int(row) for row in rows):
            asking, wanted = int(self._faced_by[row]), int(self.negatives[row])
            if asking in waiting:
                negative[asking] = float(cosine_distance(waiting.pop(asking), keys[i]))
            elif asking not in place:
                kept[row] = keys[i].clone()
            if wanted in kept:
                negative[row] = float(cosine_distance(queries[i], kept.pop(wanted)))
            elif wanted not in place:
                waiting[row] = queries[i].clone()

    def pairs(self) -> Pairs:
        return Pairs(self._positive, self._negative[:, None])


class _AgainstAll:
    """All other images as negatives, or those of other groups."""

    def __init__(self, n: int, groups: Sequence[str] | None) -> None:
        self.order = np.arange(n)
        member = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
        self._same = member[:, None] == member[None, :]
        if self._same.all(axis=1).any():
            raise ParameterError("groups: all images are of one group, so that none has a negative")
        self._kept: list[tuple[Tensor, Tensor]] = []

    def take(self, rows: np.ndarray, queries: Tensor, keys: Tensor) -> None:
        self._kept.append((queries.cpu(), keys.cpu()))

    def pairs(self) -> Pairs:
        queries, keys = (torch.cat(part) for part in zip(*self._kept, strict=True))
        positive = cosine_distance(queries, keys).double().numpy()
        units = (F.normalize(one.double(), dim=-1, eps=SHORTEST) for one in (queries, keys))
        negative = 1 - (next(units) @ next(units).T).numpy()
        negative[self._same] = np.nan
        return Pairs(positive, negative)


def _draw_views(pairing: Pairing, generator: torch.Generator, n: int) -> tuple[Jitter, Jitter]:
    draws = n if pairing.jitter_per_image else 1
    first, second = (draw_jitter(JitterStrength(), generator, draws) for _ in range(2))
    return first, second


def _numpy_generator(generator: torch.Generator) -> np.random.Generator:
    return np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))


def _vectors(maps: Sequence[Tensor]) -> Tensor:
    """Float32 (n, d), the mean over the pixels of the deepest level."""
    vectors = maps[-1].float().mean(dim=(2, 3))
    if not torch.isfinite(vectors).all():
        raise DataError(
            "features of the deepest level are not finite: the encoder diverged, or its input is "
            "not an image in 0..1"
        )
    return vectors
