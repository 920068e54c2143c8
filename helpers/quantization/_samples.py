"""Features made ready for ordering: distinct rows in float64 coordinates, made on demand.

A sample is worked on as z = f x - a. For distances f is one power of two that brings the largest
entry to about 1, and a is the coordinatewise median of (a part of) the rows: differences of close
points then stay exact, with a large offset or a huge outlier as well. For cosines f is 1 / |x|, and
a is the mean of the unit vectors; a zero vector stays zero before the shift.

Rows that are equal bit for bit are one entry with several members. Their members have equal gains
at any time, so the lowest index among those left stands for all of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

CHUNK_BYTES = 1 << 22
# Squares of numbers within these limits stay clear of overflow and underflow.
SMALLEST, LARGEST = 1e-140, 1e140
MEDIAN_ROWS = 1001


@dataclass(frozen=True)
class Samples:
    """The n distinct rows of N samples.

    Attributes:
        rows: (N, d), float32 or float64, C order: all samples as they came.
        row: int64 (n,), where the first member of each entry lies in ``rows``; ascending.
        members: int64 (N,), sample indices entry after entry, ascending within an entry.
        start: int64 (n + 1,), where the members of each entry begin.
        factor: float64 (n,), f.
        shift: float64 (d,), a.
        rounded_at: length that every z was rounded at beyond its own: 1 for unit vectors, whose
            difference to their mean can be tiny; 0 for differences, which are as exact as short.
    """

    rows: np.ndarray
    row: np.ndarray
    members: np.ndarray
    start: np.ndarray
    factor: np.ndarray
    shift: np.ndarray
    rounded_at: float

    @property
    def n_samples(self) -> int:
        return len(self.rows)

    @cached_property
    def counts(self) -> np.ndarray:
        """Members of every entry, int64 (n,)."""
        return np.diff(self.start)

    def points(self, entries: np.ndarray) -> np.ndarray:
        """z of some entries, float64."""
        chosen = self.rows[self.row[entries]].astype(np.float64)
        chosen *= self.factor[entries, None]
        chosen -= self.shift
        return chosen

    def chunks(self, entries: np.ndarray | None = None) -> Iterator[tuple[slice, np.ndarray]]:
        """z of all (or some) entries, chunk by chunk, with the place of the chunk."""
        entries = np.arange(len(self.row)) if entries is None else entries
        for part in parts(len(entries), self.rows.shape[1]):
            yield part, self.points(entries[part])

    @cached_property
    def squares(self) -> np.ndarray:
        """|z|^2, float64 (n,)."""
        return self._moments[0]

    @cached_property
    def norms(self) -> np.ndarray:
        """|z|, float64 (n,)."""
        return np.sqrt(self.squares)

    @cached_property
    def lengths(self) -> np.ndarray:
        """|z| and what it was rounded at: the length that rounding errors go by, float64 (n,)."""
        return self.norms + self.rounded_at

    @cached_property
    def total(self) -> np.ndarray:
        """Sum of z over all samples, float64 (d,)."""
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        squares = np.empty(len(self.row))
        total = np.zeros(self.rows.shape[1])
        for part, points in self.chunks():
            np.einsum("ij,ij->i", points, points, out=squares[part])
            total += self.counts[part] @ points
        return squares, total

    def linear(self, *vectors: np.ndarray, entries: np.ndarray | None = None) -> np.ndarray:
        """z.v of all (or some) entries for every vector v, float64 (len(vectors), entries)."""
        matrix = np.stack(vectors, axis=1)
        count = len(self.row) if entries is None else len(entries)
        result = np.empty((len(vectors), count))
        for part, points in self.chunks(entries):
            result[:, part] = (points @ matrix).T
        return result


def parts(count: int, width: int) -> Iterator[slice]:
    """Slices of 0..count whose float64 rows of this width take about 4 MB."""
    step = max(1, CHUNK_BYTES // (8 * width))
    for low in range(0, count, step):
        yield slice(low, min(low + step, count))


def for_distances(features: np.ndarray) -> Samples:
    """Samples whose z differ as the features do, up to one common factor."""
    rows, factor = _scaled(np.ascontiguousarray(features))
    row, members, start = _distinct(rows)
    some = rows[np.linspace(0, len(rows) - 1, min(len(rows), MEDIAN_ROWS)).astype(np.int64)]
    shift = np.median(some.astype(np.float64) * factor, axis=0)
    return Samples(rows, row, members, start, np.full(len(row), factor), shift, 0.0)


def for_cosines(features: np.ndarray) -> Samples:
    """Samples whose z are the unit vectors of the features, less their mean."""
    rows = _scaled_each(np.ascontiguousarray(features))
    row, members, start = _distinct(rows)
    norms = np.empty(len(row))
    for part in parts(len(row), rows.shape[1]):
        chosen = rows[row[part]].astype(np.float64)
        norms[part] = np.sqrt(np.einsum("ij,ij->i", chosen, chosen))
    factor = np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)
    units = Samples(rows, row, members, start, factor, np.zeros(rows.shape[1]), 0.0)
    return Samples(rows, row, members, start, factor, units.total / len(rows), 1.0)


def _scaled(rows: np.ndarray) -> tuple[np.ndarray, float]:
    """The rows and a power of two that brings the largest entry to between 1/2 and 1."""
    largest = max(float(np.abs(rows[part]).max()) for part in parts(*rows.shape))
    exponent = int(np.frexp(largest)[1])
    if largest == 0 or abs(exponent) < 1000:
        return rows, 2.0**-exponent
    # The power itself would not be a number of float64.
    return np.ldexp(rows, -exponent), 1.0


def _scaled_each(rows: np.ndarray) -> np.ndarray:
    """The rows, brought to about 1 each by a power of two if any one is extreme."""
    if rows.dtype == np.float32:
        return rows
    largest = np.concatenate([np.abs(rows[part]).max(axis=1) for part in parts(*rows.shape)])
    used = largest[largest > 0]
    if not used.size or (used.min() > SMALLEST and used.max() < LARGEST):
        return rows
    return np.ldexp(rows, -np.frexp(largest)[1][:, None])


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First rows, members and starts of the groups of rows that are equal bit for bit."""
    keys = _keys(rows)
    members = np.argsort(keys, kind="stable")
    keys = keys[members]
    new = np.ones(len(rows), dtype=bool)
    new[1:] = keys[1:] != keys[:-1]
    # Rows with one key are most likely equal, but that has to be looked at.
    doubtful = np.flatnonzero(~new)
    for part in parts(len(doubtful), rows.shape[1]):
        here = doubtful[part]
        new[here] = (rows[members[here]] != rows[members[here - 1]]).any(axis=1)
    start = np.append(np.flatnonzero(new), len(rows))
    first = members[start[:-1]]
    ascending = np.argsort(first)
    counts = np.diff(start)[ascending]
    sorted_start = np.concatenate([[0], np.cumsum(counts)])
    where = np.repeat(start[:-1][ascending] - sorted_start[:-1], counts) + np.arange(len(rows))
    return first[ascending], members[where], sorted_start


def _keys(rows: np.ndarray) -> np.ndarray:
    """uint64 (N,): equal for equal rows, and seldom for others."""
    word = np.uint64 if rows.shape[1] * rows.itemsize % 8 == 0 else np.uint32
    words = rows.view(word)
    odd = (2 * np.arange(words.shape[1], dtype=np.uint64) + 1) * np.uint64(0x9E3779B97F4A7C15)
    keys = np.empty(len(rows), dtype=np.uint64)
    for part in parts(*words.shape):
        mixed = words[part].astype(np.uint64)
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(32)
        mixed *= odd
        keys[part] = mixed.sum(axis=1, dtype=np.uint64)
    return keys
