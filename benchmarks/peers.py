"""Orders of dataset quantization as others would compute them, to compare speed and results with.

``closed_form`` is the best that plain numpy does: one float32 matrix-vector product per pick over
the samples that were left when the bin started, as many BLAS threads as are set.
``released_procedure`` follows the released script of arXiv 2511.04803 step by step (all pairwise
distances, then a gain per candidate and pick, O(N^3)), in our words.
Both return the sample indices in the order of picking.
"""

import numpy as np


def bin_sizes(count: int, n_bins: int) -> np.ndarray:
    """Sizes that differ by at most one, the larger first."""
    sizes = np.full(n_bins, count // n_bins)
    sizes[: count % n_bins] += 1
    return sizes


def closed_form(features: np.ndarray, n_bins: int, gain: str) -> np.ndarray:
    """One product of all samples with one vector per pick, in float32."""
    points = np.asarray(features, dtype=np.float32)
    if gain == "graphcut":
        points = points / np.linalg.norm(points, axis=1, keepdims=True)
    else:
        points = points - points.mean(axis=0)
    squares = np.einsum("ij,ij->i", points, points)
    left = np.arange(len(points))
    order = []
    for size in bin_sizes(len(points), n_bins):
        picks = _fill_bin(points[left], squares[left], size, gain, len(points))
        order.append(left[picks])
        left = np.delete(left, picks)
    return np.concatenate(order)


def _fill_bin(
    pool: np.ndarray, squares: np.ndarray, size: int, gain: str, n_samples: int
) -> np.ndarray:
    """Rows of ``pool`` in the order of picking."""
    total = pool.sum(axis=0)
    picked = np.zeros(pool.shape[1], dtype=np.float32)
    used = np.zeros(len(pool), dtype=bool)
    picks = np.empty(size, dtype=np.int64)
    for k in range(size):
        if gain == "graphcut":
            gains = pool @ (total - 2 * picked)
        elif gain == "paper_eq":
            gains = (2 * k - n_samples) * squares - 4 * (pool @ picked)
        else:
            gains = -(pool @ picked) if k else -squares
        gains[used] = -np.inf
        picks[k] = np.argmax(gains)
        used[picks[k]] = True
        picked += pool[picks[k]]
    return picks


def released_procedure(features: np.ndarray, n_bins: int) -> np.ndarray:
    """The gain ``official_code`` from its definition, candidate by candidate."""
    points = np.asarray(features, dtype=np.float64)
    squares = (points**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None] - 2 * points @ points.T, 0)
    left = list(range(len(points)))
    order = []
    for size in bin_sizes(len(points), n_bins):
        inside: list[int] = []
        for _ in range(size):
            if inside:
                gains = [distances[i, inside].mean() - distances[i].mean() for i in left]
            else:
                gains = [-distances[i].sum() for i in left]
            pick = left[int(np.argmax(gains))]
            inside.append(pick)
            left.remove(pick)
        order += inside
    return np.array(order)
