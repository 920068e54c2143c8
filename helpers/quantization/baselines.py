"""The ways to choose samples that dataset quantization has to beat.

Each function takes ``features`` (N, d), finite, of any numeric type; ``count``, 1..N; and ``rng``,
which only ``random_order`` and ``stratified`` draw from. Each returns ``count`` distinct sample
indices in the order of choice, int64, and raises ParameterError for a wrong shape, NaN or infinity,
or a count outside 1..N. Values within a billionth (of what each function says) count as ties; ties
go to the lower index. All work in float64 and hold one centred copy of the features.
"""

import numpy as np

from helpers.quantization.cells import k_means_cells
from helpers.quantization.checks import check_count, check_features
from helpers.quantization.distances import centred, euclidean, mean_of, squares

TIE = 1e-9
MOST_CELLS = 256
BLOCK = 1024
# Candidates whose gains are computed at once; the best are mostly among the first few.
BATCHES = (16, 32, 64, 128)
MOST_PAIRS = 120_000_000


def random_order(features: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Without replacement, each ordered choice equally likely; of the features only N is used."""
    n_samples = len(check_features(features))
    return rng.permutation(n_samples)[: check_count(count, n_samples)].astype(np.int64)


def stratified(features: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """One random sample of each k-means cell, as many cells as samples are asked for.

    Above 256 samples there are 256 cells, and every cell gives a second sample, a third, and so on
    in turn, until it is used up: the same number per cell, not the same share, since a cell per
    sample is what smaller counts have. In each turn larger cells come first. Samples within a cell
    are drawn at random rather than nearest to its centre, so that they vary as the cell does.
    """
    points = check_features(features)
    count = check_count(count, len(points))
    cells = k_means_cells(points, min(count, MOST_CELLS), rng)
    shuffled = rng.permutation(len(points))
    sizes = np.bincount(cells)
    by_cell = shuffled[np.argsort(cells[shuffled], kind="stable")]
    cell = cells[by_cell]
    turn = np.arange(len(points)) - (np.cumsum(sizes) - sizes)[cell]
    return by_cell[np.lexsort((cell, -sizes[cell], turn))][:count]


def k_center(
    features: np.ndarray, count: int, rng: np.random.Generator | None = None
) -> np.ndarray:
    """Farthest-first order (Gonzalez 1985; Sener & Savarese, arXiv 1708.00489, Algorithm 1).

    The largest distance of a sample to its nearest pick is at most twice the smallest that any
    choice of as many samples reaches. The start, which the algorithm leaves open, is the sample
    nearest to the mean. Ties: of the largest squared distance. O(N d) per pick.
    """
    # Here, because the other methods do without scipy.
    from scipy.spatial.distance import cdist

    points, count = _centred(features, count)
    to_mean = squares(points)
    picks = [int(np.argmax(to_mean <= to_mean.min() + TIE * to_mean.max()))]
    nearest = np.full(len(points), np.inf)
    while len(picks) < count:
        last = points[picks[-1:]]
        np.minimum(nearest, cdist(points, last, "sqeuclidean")[:, 0], out=nearest)
        nearest[picks[-1]] = -1
        picks.append(int(np.argmax(nearest >= (1 - TIE) * nearest.max())))
    return np.array(picks)


def herding(features: np.ndarray, count: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """Herding (Welling 2009) in the form of iCaRL (Rebuffi et al., arXiv 1611.07725, Algorithm 4).

    Pick k is the sample x, not picked before, that brings the mean of the k picks nearest to the
    mean of all samples. With centred features c and s the sum of c over the picks, it minimises
    ``|c + s|^2``, that is ``|c|^2 + 2 c.s``. iCaRL scales features to unit length first; here they
    are taken as given. Ties: of the largest possible value. O(N d) per pick.
    """
    points, count = _centred(features, count)
    own = squares(points)
    reach, total = np.sqrt(own.max()), np.zeros(points.shape[1])
    picks: list[int] = []
    while len(picks) < count:
        values = own + 2 * (points @ total)
        near = values.min() + TIE * reach * (reach + 2 * np.linalg.norm(total))
        picks.append(int(np.argmax(values <= near)))
        own[picks[-1]] = np.inf
        total += points[picks[-1]]
    return np.array(picks)


def facility_location(
    features: np.ndarray,
    count: int,
    rng: np.random.Generator | None = None,
    most_pairs: int = MOST_PAIRS,
) -> np.ndarray:
    """Greedy facility location (Nemhauser, Wolsey & Fisher 1978; lazy as in Minoux 1978).

    Maximises ``sum_i max_(j picked) sim(i, j)`` with ``sim = c - |x_i - x_j|``, c at least the
    largest distance (its value changes no order): every pick lowers the sum of the distances to
    the nearest pick as much as any sample can. Greedy reaches at least 1 - 1/e of the best value.
    Gains only shrink as picks are added, so an old gain is an upper bound, and only candidates
    whose bound reaches the best fresh gain are evaluated. Ties: of the best gain; they are common,
    since two samples that are of use only to each other have the same gain. Once every sample is
    picked or a copy of a pick, the rest follows in order of index.

    Up to ``most_pairs`` pairs (N about 11,000; 1 GB) all distances are kept. Beyond that those of
    candidates are computed anew for every pick, which takes long if all samples are alike.
    """
    points, count = _centred(features, count)
    n = len(points)
    blocks = [np.arange(n)[start : start + BLOCK] for start in range(0, n, BLOCK)]
    kept = None
    if n * n <= most_pairs:
        kept = np.empty((n, n))
        for block in blocks:
            kept[block] = euclidean(points[block], points)

    def to_all(rows: np.ndarray) -> np.ndarray:
        """Distances of some samples to all, float64 (rows, N)."""
        return euclidean(points[rows], points) if kept is None else kept[rows]

    totals = np.concatenate([to_all(block).sum(axis=1) for block in blocks])
    picks = [int(np.argmax(totals <= totals.min() * (1 + TIE)))]
    nearest, bounds = to_all(np.array(picks))[0], np.full(n, np.inf)
    if count > 1:
        bounds = np.concatenate([_gains(to_all(block), nearest) for block in blocks])
    while len(picks) < count:
        bounds[picks[-1]] = -np.inf
        picks.append(_next(to_all, nearest, bounds))
        nearest = np.minimum(nearest, to_all(np.array(picks[-1:]))[0])
    return np.array(picks)


def _next(to_all, nearest: np.ndarray, bounds: np.ndarray) -> int:
    """The next pick; ``bounds`` become the gains of all candidates that were evaluated."""
    fresh = bounds == -np.inf
    best = 0.0
    for turn in range(len(bounds)):
        open_ = np.flatnonzero(~fresh & (bounds >= best * (1 - TIE)))
        # Where nothing is left to gain, the rest goes by index.
        if not len(open_) or not (best or bounds[open_].max() > 0):
            break
        size = min(len(open_), BATCHES[min(turn, len(BATCHES) - 1)])
        batch = open_[np.argpartition(-bounds[open_], size - 1)[:size]]
        bounds[batch] = _gains(to_all(batch), nearest)
        fresh[batch], best = True, max(best, bounds[batch].max())
    return int(np.argmax((bounds >= best * (1 - TIE)) & (bounds > -np.inf)))


def _gains(distances: np.ndarray, nearest: np.ndarray) -> np.ndarray:
    """By how much each row of distances lowers the sum of the nearest."""
    return np.maximum(nearest - distances, 0).sum(axis=1)


def _centred(features: np.ndarray, count: int) -> tuple[np.ndarray, int]:
    """Checked features less their mean, float64, and the checked count."""
    points = check_features(features)
    count = check_count(count, len(points))
    # Less the first sample, which rounds little, the mean has digits to spare.
    points = centred(points, np.asarray(points[0], dtype=np.float64))
    points -= mean_of(points)
    return points, count
