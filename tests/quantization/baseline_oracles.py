"""The baselines as their definitions say, with all pairs in memory and no care for time.

Values within a billionth of the scale that each docstring of helpers.quantization names are ties.
"""

from itertools import combinations

import numpy as np

TIE = 1e-9


def pairwise(features: np.ndarray) -> np.ndarray:
    points = np.asarray(features, np.float64)
    return np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))


def k_center_order(features: np.ndarray, count: int) -> list[int]:
    points = np.asarray(features, np.float64)
    squares = pairwise(points) ** 2
    to_mean = ((points - points.mean(axis=0)) ** 2).sum(axis=1)
    order = [int(np.flatnonzero(to_mean <= to_mean.min() + TIE * to_mean.max())[0])]
    while len(order) < count:
        nearest = squares[:, order].min(axis=1)
        nearest[order] = -1
        order.append(int(np.flatnonzero(nearest >= nearest.max() * (1 - TIE))[0]))
    return order


def herding_order(features: np.ndarray, count: int) -> list[int]:
    points = np.asarray(features, np.float64)
    # The definition does not depend on the origin; nearby, differences keep all their digits.
    points = points - points[0]
    mean = points.mean(axis=0)
    reach = np.sqrt(((points - mean) ** 2).sum(axis=1).max())
    order: list[int] = []
    for k in range(1, count + 1):
        free = [i for i in range(len(points)) if i not in order]
        drift = points[order].sum(axis=0) - len(order) * mean
        # k times the distance of the running mean to the mean of all, squared.
        misses = np.array(
            [((k * mean - points[i] - points[order].sum(axis=0)) ** 2).sum() for i in free]
        )
        slack = TIE * reach * (reach + 2 * np.linalg.norm(drift))
        order.append(free[int(np.flatnonzero(misses <= misses.min() + slack)[0])])
    return order


def facility_location_order(features: np.ndarray, count: int) -> list[int]:
    """Naive greedy: the value of every possible next set, from the full matrix."""
    distances = pairwise(features)
    order: list[int] = []
    while len(order) < count:
        free = [i for i in range(len(distances)) if i not in order]
        if order:
            present = distances[:, order].min(axis=1)
            gains = np.array([np.maximum(present - distances[:, j], 0).sum() for j in free])
            slack = TIE * gains.max()
        else:
            gains = -distances.sum(axis=0)
            slack = TIE * -gains.max()
        order.append(free[int(np.flatnonzero(gains >= gains.max() - slack)[0])])
    return order


def radius(distances: np.ndarray, chosen: list[int]) -> float:
    """Largest distance of a sample to the nearest chosen one."""
    return float(distances[:, chosen].min(axis=1).max())


def smallest_radius(distances: np.ndarray, count: int) -> float:
    choices = combinations(range(len(distances)), count)
    return min(radius(distances, list(chosen)) for chosen in choices)


def spread(distances: np.ndarray, chosen: list[int]) -> float:
    """Sum of the distances of all samples to the nearest chosen one."""
    return float(distances[:, chosen].min(axis=1).sum())


def smallest_spread(distances: np.ndarray, count: int) -> float:
    choices = combinations(range(len(distances)), count)
    return min(spread(distances, list(chosen)) for chosen in choices)
