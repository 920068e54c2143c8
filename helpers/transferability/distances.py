"""Distances between feature vectors, as the robustness score uses them (arXiv 2410.18677).

All take float tensors and reduce the last axis. Zero means equal; more means further apart.
"""

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from helpers.errors import ParameterError

DistanceName = Literal["cosine", "l2", "pearson"]
# Vectors shorter than this count as this long, so that a vector of zeros has a distance (1) too.
SHORTEST = 1e-8


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """1 - cosine of the angle, 0..2, shape (..., d) and (..., d) to (...)."""
    return 1 - F.cosine_similarity(a, b, dim=-1, eps=SHORTEST)


def l2_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference over the d features, >= 0; as published, no root is taken."""
    return (a - b).square().mean(dim=-1)


def pearson_distance(a: Tensor, b: Tensor) -> Tensor:
    """1 - Pearson correlation over the d features, 0..2; 1 where a vector is constant."""
    return cosine_distance(_centred(a), _centred(b))


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cosine": cosine_distance,
    "l2": l2_distance,
    "pearson": pearson_distance,
}


def all_distances(name: DistanceName, a: Tensor, b: Tensor) -> Tensor:
    """Distance of each of (n, d) to each of (m, d), as float64 (n, m), by one matrix product.

    In double precision: the squares of long vectors that lie close together cancel.

    Raises:
        ParameterError: unknown distance.
    """
    find_distance(name)
    a, b = a.double(), b.double()
    if name == "l2":
        squares = a.square().sum(-1)[:, None] + b.square().sum(-1)[None, :]
        return ((squares - 2 * a @ b.T) / a.shape[-1]).clamp_min(0)
    if name == "pearson":
        a, b = _centred(a), _centred(b)
    return 1 - F.normalize(a, dim=-1, eps=SHORTEST) @ F.normalize(b, dim=-1, eps=SHORTEST).T


def find_distance(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """The distance of that name.

    Raises:
        ParameterError: there is none.
    """
    if name not in DISTANCES:
        raise ParameterError(f"distance={name!r}: expected one of {', '.join(DISTANCES)}")
    return DISTANCES[name]


def _centred(vectors: Tensor) -> Tensor:
    return vectors - vectors.mean(dim=-1, keepdim=True)
