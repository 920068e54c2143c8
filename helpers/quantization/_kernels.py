"""Compiled loops of the float32 engines. Imported where used: numba takes a while to load.

Names: a *position* is a place in the pool, an *entry* a number in ``Samples``. Every float32 result
carries a bound on its error, so that what is left out provably cannot be next; who is next among
the others is settled by :func:`resolve` in float64, on the rows as they came.
"""

from typing import NamedTuple

import numba
import numpy as np

from helpers.quantization._gains import TIE

# Sums may be reordered for speed; their error bounds hold for any order. Infinities stay valid.
SUMS = {"reassoc", "contract", "nsz"}
NEVER = np.float32(-3e38)
UNIT = 2.0**-24


class Exact(NamedTuple):
    """The samples and a gain in float64, by entry; see ``Samples`` and ``Form``.

    The rows are in one of two arrays, the other is empty: all loops are compiled only once.
    """

    rows32: np.ndarray
    rows64: np.ndarray
    row: np.ndarray
    factor: np.ndarray
    shift: np.ndarray
    squares: np.ndarray
    lengths: np.ndarray
    members: np.ndarray
    start: np.ndarray
    taken: np.ndarray
    base: np.ndarray
    drift: np.ndarray
    ref: np.ndarray


class Pool(NamedTuple):
    """The entries left, by position; numbers that stay as they are while a bin is filled.

    Attributes:
        entries: int64 (m,).
        alive: bool (m,), members left.
        points: int16 (m, d), z / unit, rounded; units: float32 (m,).
        radii: float64 (m,), |z| or a little more.
        blur: float64 (m,), what a product of ``points`` with v can be wrong by, over |v|.
        base, drift: float64 (m,), of the gain.
        width: float64 (m,), half the interval in which a gain counts as tied, or more.
    """

    entries: np.ndarray
    alive: np.ndarray
    points: np.ndarray
    units: np.ndarray
    radii: np.ndarray
    blur: np.ndarray
    base: np.ndarray
    drift: np.ndarray
    width: np.ndarray


class Turn(NamedTuple):
    """What picks change: v in both precisions, and numbers[LINEAR], numbers[BETA] and so on.

    ``z`` is space for one point.
    """

    z: np.ndarray
    v: np.ndarray
    v32: np.ndarray
    numbers: np.ndarray


BETA, QUADRATIC, LINEAR, LINEAR_STEP = range(4)


@numba.njit(fastmath=SUMS, cache=True)
def dot(x, y):
    """x.y in the precision of y."""
    zero = y.dtype.type(0)
    total = zero
    for j in range(x.size):
        total += (zero + x[j]) * y[j]
    return total


@numba.njit(cache=True)
def load(exact, entry, z):
    """z of an entry in float64."""
    i, factor = exact.row[entry], exact.factor[entry]
    if exact.rows64.size > 0:
        for j in range(z.size):
            z[j] = exact.rows64[i, j] * factor - exact.shift[j]
    else:
        for j in range(z.size):
            z[j] = exact.rows32[i, j] * factor - exact.shift[j]


@numba.njit(cache=True)
def gamma(terms):
    """Relative error of a float32 sum of this many products, in any order."""
    return terms * UNIT / (1 - terms * UNIT)


@numba.njit(cache=True)
def resolve(exact, turn, k, pool, found, n_found):
    """The position that goes next, of ``n_found``: float64 gains and the rule of ties."""
    if n_found == 1:
        return found[0]
    gains, widths = np.empty(n_found), np.empty(n_found)
    lowest = -np.inf
    for a in range(n_found):
        entry = pool.entries[found[a]]
        load(exact, entry, turn.z)
        gains[a] = exact.base[entry] + k * exact.drift[entry] + dot(turn.z, turn.v)
        widths[a] = TIE * (
            turn.numbers[QUADRATIC] * exact.squares[entry]
            + turn.numbers[LINEAR] * exact.lengths[entry]
        )
        lowest = max(lowest, gains[a] - widths[a])
    chosen, first = found[0], np.int64(2**62)
    for a in range(n_found):
        entry = pool.entries[found[a]]
        index = exact.members[exact.start[entry] + exact.taken[entry]]
        if gains[a] + widths[a] >= lowest and index < first:
            chosen, first = found[a], index
    return chosen


@numba.njit(cache=True)
def take(exact, turn, pool, position):
    """Count a pick and turn v; returns |z_s - ref|."""
    entry, beta = pool.entries[position], turn.numbers[BETA]
    exact.taken[entry] += 1
    if exact.taken[entry] == exact.start[entry + 1] - exact.start[entry]:
        pool.alive[position] = False
    load(exact, entry, turn.z)
    square = 0.0
    for j in range(turn.v.size):
        step = turn.z[j] - exact.ref[j]
        turn.v[j] -= beta * step
        turn.v32[j] = turn.v[j]
        square += step * step
    turn.numbers[LINEAR] += turn.numbers[LINEAR_STEP] + beta * exact.lengths[entry]
    return np.sqrt(square)


@numba.njit(cache=True)
def compact(alive, array):
    """Move the alive rows of an array (m, any) to its front, in place; returns their number."""
    n = 0
    for i in range(alive.size):
        if alive[i]:
            if n < i:
                array[n] = array[i]
            n += 1
    return n
