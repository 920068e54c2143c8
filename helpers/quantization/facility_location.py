"""Facility location: picks that leave every sample near to one of them, by lazy greedy choice.

Three stages, all exact. *Totals*: one scan over all pairs finds the first pick. *Lazy*: gains only
shrink as picks are added (submodularity), so an old gain is an upper bound, and only candidates
whose bound reaches the best fresh gain are evaluated, some columns of distances at a time. *Lists*:
with k picks only about one pair in k is nearer than the nearest pick; once these few fit into
memory, one more scan stores them, and all further gains are sums over short lists.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import chain, repeat

import numba
import numpy as np

from helpers.quantization.checks import check_count, check_features
from helpers.quantization.distances import centred, euclidean, mean_of

TIE = 1e-9
CHUNK = 1024
BATCHES = (16, 32, 64, 128)
MOST_PAIRS = 24_000_000


class _Pairs:
    """Distances between samples, computed when asked for.

    ``keep`` holds the blocks of the first scan for the next one.
    """

    def __init__(self, points: np.ndarray, keep: bool):
        self.points = points
        self.mean = mean_of(points)
        self.keep = keep
        self.kept: list[tuple[slice, slice, np.ndarray]] = []

    def __len__(self) -> int:
        return len(self.points)

    def blocks(self) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """All pairs once: blocks of distances on and above the diagonal."""
        if self.kept:
            yield from self.kept
            return
        starts = range(0, len(self), CHUNK)
        for first in starts:
            rows = slice(first, first + CHUNK)
            left = centred(self.points[rows], self.mean)
            for second in starts[first // CHUNK :]:
                columns = slice(second, second + CHUNK)
                right = left if rows == columns else centred(self.points[columns], self.mean)
                block = rows, columns, euclidean(left, right)
                if self.keep:
                    self.kept.append(block)
                yield block

    def columns(self, chosen: np.ndarray) -> np.ndarray:
        """Distances of all samples to the chosen ones, float64 (N, n)."""
        right = centred(self.points[chosen], self.mean)
        parts = [
            euclidean(centred(self.points[start : start + CHUNK], self.mean), right)
            for start in range(0, len(self), CHUNK)
        ]
        return np.concatenate(parts)

    def column(self, chosen: int) -> np.ndarray:
        """Distances of all samples to one, float64 (N,)."""
        return self.columns(np.array([chosen]))[:, 0]


@dataclass
class _State:
    """What is known between two picks.

    Attributes:
        picks: indices chosen so far.
        nearest: float64 (N,), distance of every sample to its nearest pick.
        free: bool (N,), not picked yet.
        bounds: float64 (N,), at least the present gain.
    """

    picks: list[int]
    nearest: np.ndarray
    free: np.ndarray
    bounds: np.ndarray

    def take(self, pick: int, distances: np.ndarray) -> None:
        self.picks.append(pick)
        self.free[pick] = False
        np.minimum(self.nearest, distances, out=self.nearest)


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
    The order is that of the naive greedy algorithm. Gains within a billionth of the best count as
    ties, and ties go to the lower index. Ties are common: two samples that are of use only to each
    other have the same gain. Once every sample is picked or a copy of a pick, the rest follows in
    order of index.

    Time: two or three scans over the pairs, N^2 d / 2 products each, and a number of single columns
    that depends on the data: few if it has clusters, up to N per pick before the lists fit if all
    samples are alike. Memory beyond the features: a block of 1,024 x 1,024 distances or 128
    columns, and about 32 bytes for each of ``most_pairs`` pairs, 0.8 GB at most by default. So N x
    N distances are never in memory, unless N is below 4,900 and they are few.

    Args:
        features: (N, d), finite.
        count: 1..N.
        rng: unused; the order is deterministic.
        most_pairs: how many pairs the lists may hold (an estimate decides); the order does not
            depend on it.

    Returns:
        int64 (count,), distinct sample indices in the order of choice.

    Raises:
        ParameterError: wrong shape, NaN or infinity, count outside 1..N.
    """
    points = check_features(features)
    count = check_count(count, len(points))
    pairs = _Pairs(points, keep=len(points) ** 2 <= most_pairs)
    state = _first(pairs)
    if count > 1 and not _lists_fit(pairs, state, most_pairs):
        _scan(pairs, _add_gains, state.nearest, state.bounds)
        _pick_lazily(pairs, state, count, most_pairs)
    if len(state.picks) < count:
        _pick_from_lists(pairs, state, count)
    return np.array(state.picks, dtype=np.int64)


def _first(pairs: _Pairs) -> _State:
    """The sample with the smallest total distance to all is picked."""
    n = len(pairs)
    totals = np.zeros(n)
    _scan(pairs, _add_totals, totals, totals)
    pick = int(np.argmax(totals <= totals.min() * (1 + TIE)))
    state = _State([], np.full(n, np.inf), np.ones(n, dtype=bool), np.zeros(n))
    state.take(pick, pairs.column(pick))
    return state


# -------------------------------------------------------------------------- scans over all pairs


def _scan(pairs: _Pairs, add, nearest: np.ndarray, sums: np.ndarray) -> None:
    """Add to ``sums`` what ``add`` makes of every pair, in both directions."""
    for rows, columns, distances in pairs.blocks():
        add(distances, nearest[rows], nearest[columns], sums[rows], sums[columns], rows == columns)


@numba.njit(cache=True, nogil=True, fastmath={"reassoc"})
def _add_totals(distances, row_nearest, column_nearest, row_totals, column_totals, diagonal):
    for i in range(distances.shape[0]):
        total = 0.0
        for j in range(distances.shape[1]):
            total += distances[i, j]
        row_totals[i] += total
        if not diagonal:
            for j in range(distances.shape[1]):
                column_totals[j] += distances[i, j]


@numba.njit(cache=True, nogil=True, fastmath={"reassoc"})
def _add_gains(distances, row_nearest, column_nearest, row_gains, column_gains, diagonal):
    """Add what samples gain if one is picked: the part of ``nearest`` above their distance."""
    for i in range(distances.shape[0]):
        if not diagonal:
            total = 0.0
            for j in range(distances.shape[1]):
                gain = column_nearest[j] - distances[i, j]
                total += gain if gain > 0 else 0.0
            row_gains[i] += total
        for j in range(distances.shape[1]):
            gain = row_nearest[i] - distances[i, j]
            column_gains[j] += gain if gain > 0 else 0.0


# -------------------------------------------------------------------------- lazy stage


def _pick_lazily(pairs: _Pairs, state: _State, count: int, most_pairs: int) -> None:
    """Pick until ``count`` or until lists are worth their scan and fit."""
    evaluated = 0
    while len(state.picks) < count:
        evaluated += _pick_one(pairs, state)
        # Rent or buy: the scan costs as much as N / 2 columns.
        if evaluated >= len(pairs) / 4:
            if _lists_fit(pairs, state, most_pairs):
                return
            evaluated = 0


def _pick_one(pairs: _Pairs, state: _State) -> int:
    """One pick; returns how many columns it took."""
    fresh = np.zeros(len(pairs), dtype=bool)
    best, kept, column = -np.inf, -1, None
    sizes = chain(BATCHES, repeat(BATCHES[-1]))
    while True:
        open_ = np.flatnonzero(state.free & ~fresh & (state.bounds >= best * (1 - TIE)))
        if not len(open_):
            break
        size = min(len(open_), next(sizes))
        batch = open_[np.argpartition(-state.bounds[open_], size - 1)[:size]]
        distances = pairs.columns(batch)
        gains = np.zeros(size)
        _add_gains(distances, state.nearest, gains, gains, gains, True)
        fresh[batch], state.bounds[batch] = True, gains
        if gains.max() > best:
            best, kept = gains.max(), int(batch[np.argmax(gains)])
            column = distances[:, np.argmax(gains)].copy()
    pick = int(np.argmax(fresh & (state.bounds >= best * (1 - TIE))))
    state.take(pick, column if pick == kept else pairs.column(pick))
    return int(fresh.sum())


def _lists_fit(pairs: _Pairs, state: _State, most_pairs: int) -> bool:
    """Whether about ``most_pairs`` pairs are nearer than the nearest pick, from 64 columns."""
    n = len(pairs)
    if n * n <= most_pairs:
        return True
    sample = np.unique(np.linspace(0, n - 1, 64).astype(np.int64))
    nearer = pairs.columns(sample) < state.nearest[:, None]
    return nearer.mean() * n * n <= most_pairs


# -------------------------------------------------------------------------- stage of the lists


def _pick_from_lists(pairs: _Pairs, state: _State, count: int) -> None:
    starts, members, distances = _lists(pairs, state)
    gains = np.zeros(len(pairs))
    _list_gains(starts, members, distances, state.nearest, gains)
    heap = [(-gains[j], j) for j in np.flatnonzero(state.free).tolist()]
    heapify(heap)
    while heap and len(state.picks) < count:
        pick = _next_pick(heap, starts, members, distances, state.nearest)
        if pick < 0:
            break
        state.picks.append(pick)
        state.free[pick] = False
        part = slice(starts[pick], starts[pick + 1])
        near = members[part]
        state.nearest[near] = np.minimum(state.nearest[near], distances[part])
    state.picks += np.flatnonzero(state.free)[: count - len(state.picks)].tolist()


def _next_pick(heap, starts, members, distances, nearest) -> int:
    """Lowest index of those with the largest gain; -1 if nothing is left to gain."""
    fresh, best = [], 0.0
    while heap and -heap[0][0] >= best * (1 - TIE):
        _, j = heappop(heap)
        gain = _list_gain(starts, members, distances, nearest, j)
        if gain > 0:
            fresh.append((j, gain))
            best = max(best, gain)
    if not fresh:
        return -1
    pick = min(j for j, gain in fresh if gain >= best * (1 - TIE))
    for j, gain in fresh:
        if j != pick:
            heappush(heap, (-gain, j))
    return pick


def _lists(pairs: _Pairs, state: _State) -> tuple[np.ndarray, ...]:
    """For every free sample j the samples i that are nearer to it than to their nearest pick.

    Returns:
        starts int64 (N + 1,): the list of j is at starts[j] to starts[j + 1] of the other two;
        members int32 (pairs,); distances float64 (pairs,).
    """
    parts = []
    for rows, columns, block in pairs.blocks():
        parts.append(_nearer(block, state.nearest[rows], state.free[columns], rows, columns))
        if rows != columns:
            parts.append(_nearer(block.T, state.nearest[columns], state.free[rows], columns, rows))
    owners = np.concatenate([part[0] for part in parts])
    starts = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=len(pairs)))])
    members = np.empty(len(owners), dtype=np.int32)
    distances = np.empty(len(owners))
    filled = starts[:-1].copy()
    for owner, member, distance in parts:
        _fill_lists(owner, member, distance, filled, members, distances)
    return starts, members, distances


def _nearer(block, nearest, free, rows: slice, columns: slice) -> tuple[np.ndarray, ...]:
    i, j = np.nonzero((block < nearest[:, None]) & free)
    return (
        (j + columns.start).astype(np.int32),
        (i + rows.start).astype(np.int32),
        block[i, j],
    )


@numba.njit(cache=True, nogil=True)
def _fill_lists(owner, member, distance, filled, members, distances):
    for k in range(len(owner)):
        place = filled[owner[k]]
        members[place] = member[k]
        distances[place] = distance[k]
        filled[owner[k]] += 1


@numba.njit(cache=True, nogil=True)
def _list_gain(starts, members, distances, nearest, j):
    gain = 0.0
    for k in range(starts[j], starts[j + 1]):
        gain += max(0.0, nearest[members[k]] - distances[k])
    return gain


@numba.njit(cache=True, nogil=True)
def _list_gains(starts, members, distances, nearest, gains):
    for j in range(len(gains)):
        gains[j] = _list_gain(starts, members, distances, nearest, j)
