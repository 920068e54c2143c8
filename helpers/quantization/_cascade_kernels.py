"""Compiled loops of the cascade engine; the mathematics is in ``_cascade``."""

from typing import NamedTuple

import numba
import numpy as np

from helpers.quantization._kernels import (
    BETA,
    NEVER,
    SUMS,
    UNIT,
    dot,
    gamma,
    resolve,
    take,
)

# Steps without anchors after the first anchor that did not pay.
FIRST_FULL = 32
# Counters that outlive a run: picks so far, and how many steps to go without anchors next time.
DONE, FULL_STEPS, N_COUNTERS = range(3)
# Rows of a tile behind those of the head, and their number.
VALUE, MIDDLE_NORM, REST_NORM, RADIUS, DRIFT, EXTRA = range(6)
# Numbers of an anchor: a gain that is subtracted from all, how many picks the bin had, how far v
# has come since then step by step, and |D| at most.
LEVEL, PICKS, PATH, REACH = range(4)


class Limits(NamedTuple):
    """What decides when to anchor; the order does not depend on it.

    Attributes:
        pays: steps that an anchor has to last.
        scattered: cost of reading a number here and there, relative to rows read one after another.
        tiled: cost of reading a number of a tile, likewise.
    """

    pays: int = 3
    scattered: float = 2.0
    tiled: float = 0.25


class Levels(NamedTuple):
    """The split of the pool into head, middle and rest.

    Attributes:
        directions: float64 (p, d), orthonormal; ref: float64 (p,), coordinates of the form's ref.
        along: float32 (m, p), coordinates of the positions.
        middle, rest: float64 (m,), norms of the parts in M and R.
        tiles: float32 (tiles, head + EXTRA, TILE), coordinates in H and the rows named above.
        slots: int64 (tiles * TILE,), the position in each place of the tiles, or -1.
        places: int64 (m,), the place of each position.
        most: float64 (EXTRA, tiles), the largest number of the extra rows in each tile.
    """

    directions: np.ndarray
    ref: np.ndarray
    along: np.ndarray
    middle: np.ndarray
    rest: np.ndarray
    tiles: np.ndarray
    slots: np.ndarray
    places: np.ndarray
    most: np.ndarray


class Anchor(NamedTuple):
    """Where gains are known.

    Attributes:
        v: float64 (d,), v_0.
        whole, middle: float64 (p,), coordinates of v_0, and of v as M was anchored last.
        now: float64 (p,), coordinates of v itself.
        numbers: float64, see above.
    """

    v: np.ndarray
    whole: np.ndarray
    middle: np.ndarray
    now: np.ndarray
    numbers: np.ndarray


class Work(NamedTuple):
    """Work space of a step.

    Attributes:
        weights: float32 (head + EXTRA,), factors of the rows of a tile; step: float32, D_M.
        bounds: float32 (tiles, TILE); top: float32 (tiles,), their maxima, NEVER if left out.
        reach: float64 (tiles,), bounds of whole tiles.
        found: int64, candidates; gains, widths: what is known of them.
    """

    weights: np.ndarray
    step: np.ndarray
    bounds: np.ndarray
    top: np.ndarray
    reach: np.ndarray
    found: np.ndarray
    gains: np.ndarray
    widths: np.ndarray


def space(levels):
    """An anchor yet to be set, and work space."""
    width, dimension = levels.directions.shape
    count, rows, size = levels.tiles.shape
    anchor = Anchor(np.zeros(dimension), *np.zeros((3, width)), np.zeros(4))
    work = Work(
        weights=np.zeros(rows, np.float32),
        step=np.zeros(width - (rows - EXTRA), np.float32),
        bounds=np.empty((count, size), np.float32),
        top=np.empty(count, np.float32),
        reach=np.empty(count),
        found=np.empty(len(levels.along) + 1, np.int64),
        gains=np.empty(len(levels.along) + 1),
        widths=np.empty(len(levels.along) + 1),
    )
    return anchor, work


@numba.njit(cache=True)
def fill_tiles(along, slots, tiles, places):
    """Lay the head of ``along`` out in tiles, in the order of ``slots``."""
    head, size = tiles.shape[1] - EXTRA, tiles.shape[2]
    for place in range(slots.size):
        tile, lane, i = tiles[place // size], place % size, slots[place]
        if i < 0:
            tile[:, lane] = 0
            tile[head + VALUE, lane] = NEVER
        else:
            places[i] = place
            for j in range(head):
                tile[j, lane] = along[i, j]


@numba.njit(cache=True)
def pick_first(exact, turn, pool, entry, picks, progress):
    """Make a given entry the first pick."""
    for i in range(pool.entries.size):
        if pool.entries[i] == entry:
            take(exact, turn, pool, i)
    picks[0] = entry
    progress[DONE] = 1


@numba.njit(cache=True)
def full_gain(pool, v32, k, i):
    """Gain of a position up to the rounding of the product."""
    return pool.base[i] + k * pool.drift[i] + pool.units[i] * dot(pool.points[i], v32)


@numba.njit(cache=True)
def move_anchor(pool, levels, turn, anchor, k):
    """Anchor at the v of now; returns how many positions are alive."""
    alive, level = 0, -np.inf
    for i in range(pool.entries.size):
        if pool.alive[i]:
            alive += 1
            level = max(level, pool.base[i] + k * pool.drift[i])
    for j in range(anchor.now.size):
        anchor.now[j] = dot(levels.directions[j], turn.v)
    anchor.v[:] = turn.v
    anchor.whole[:] = anchor.now
    anchor.middle[:] = anchor.now
    anchor.numbers[LEVEL], anchor.numbers[PICKS], anchor.numbers[PATH] = level, k, 0.0
    return alive


@numba.njit(cache=True)
def set_most(levels):
    """Bring the maxima of the extra rows up to date."""
    head = levels.tiles.shape[1] - EXTRA
    for t in range(levels.tiles.shape[0]):
        for row in range(EXTRA):
            levels.most[row, t] = levels.tiles[t, head + row].max()


@numba.njit(cache=True)
def anchor_whole(pool, levels, turn, anchor, k):
    """Know the gains of all positions at the v of now; returns how many are alive."""
    alive = move_anchor(pool, levels, turn, anchor, k)
    level, length = anchor.numbers[LEVEL], np.sqrt(dot(turn.v, turn.v))
    head, size = levels.tiles.shape[1] - EXTRA, levels.tiles.shape[2]
    for i in range(pool.entries.size):
        tile, lane = levels.tiles[levels.places[i] // size], levels.places[i] % size
        if not pool.alive[i]:
            tile[head + VALUE, lane] = NEVER
            continue
        value = full_gain(pool, turn.v32, k, i) - level + pool.width[i] + length * pool.blur[i]
        # What the sum of a bound can lose on this large term goes on top of it.
        tile[head + VALUE, lane] = value + gamma(2 * head + 64) * abs(value)
        tile[head + MIDDLE_NORM, lane] = levels.middle[i] * (1 + 1e-6) + 1e-30
        tile[head + REST_NORM, lane] = levels.rest[i] + 1e-6 * pool.radii[i]
        tile[head + RADIUS, lane] = pool.radii[i] * (1 + 1e-6)
        tile[head + DRIFT, lane] = pool.drift[i] + 4 * UNIT * abs(pool.drift[i])
    set_most(levels)
    return alive


@numba.njit(cache=True)
def anchor_middle(pool, levels, anchor, step):
    """Know the middle part of the gains at the coordinates of now, ``step`` away."""
    head, size = levels.tiles.shape[1] - EXTRA, levels.tiles.shape[2]
    error = gamma(step.size + 8) * np.sqrt(dot(step, step))
    for i in range(pool.entries.size):
        if pool.alive[i]:
            tile, lane = levels.tiles[levels.places[i] // size], levels.places[i] % size
            known = tile[head + VALUE, lane]
            value = known + dot(levels.along[i, head:], step)
            value += error * pool.radii[i] + 4 * UNIT * (abs(value) + abs(known))
            tile[head + VALUE, lane] = value
    anchor.middle[head:] += step
    set_most(levels)


@numba.njit(cache=True)
def set_weights(turn, anchor, work, k):
    """Factors of the rows of a tile at the v of now, and the step of the middle."""
    head, path = work.weights.size - EXTRA, anchor.numbers[PATH]
    away, middle, inside = 0.0, 0.0, 0.0
    for j in range(turn.v.size):
        away += (turn.v[j] - anchor.v[j]) ** 2
    for j in range(anchor.now.size):
        came = anchor.now[j] - anchor.whole[j]
        away -= came**2
        if j < head:
            work.weights[j] = came
            inside += came**2
        else:
            came = anchor.now[j] - anchor.middle[j]
            work.step[j - head] = came
            middle += came**2
    # The coordinates of v carry the float32 rounding of every pick since the anchor.
    rest = max(away, 0.0) + 1e-6 * path**2
    work.weights[head + VALUE] = 1
    work.weights[head + MIDDLE_NORM] = np.sqrt(middle) * (1 + 1e-5)
    work.weights[head + REST_NORM] = np.sqrt(rest) * (1 + 1e-5)
    work.weights[head + RADIUS] = 4 * gamma(anchor.now.size + 32) * path
    work.weights[head + DRIFT] = k - anchor.numbers[PICKS]
    reach = np.sqrt(inside + middle + rest) * (1 + 1e-5)
    anchor.numbers[REACH] = reach + work.weights[head + RADIUS]


@numba.njit(fastmath=SUMS, cache=True)
def add_rows(tile, weights, bound):
    """bound = weights @ tile, four rows at a time; returns the largest."""
    bound[:] = 0
    whole = tile.shape[0] // 4 * 4
    for j in range(0, whole, 4):
        a, b, c, d = tile[j], tile[j + 1], tile[j + 2], tile[j + 3]
        t, u, v, w = weights[j], weights[j + 1], weights[j + 2], weights[j + 3]
        for i in range(bound.size):
            bound[i] += a[i] * t + b[i] * u + c[i] * v + d[i] * w
    for j in range(whole, tile.shape[0]):
        a, t = tile[j], weights[j]
        for i in range(bound.size):
            bound[i] += a[i] * t
    most = bound[0]
    for i in range(bound.size):
        most = max(most, bound[i])
    return most


@numba.njit(cache=True)
def reach_tiles(levels, anchor, work, k):
    """Bounds of whole tiles, in ``work.reach``; returns the tile with the highest."""
    picks, reach = k - anchor.numbers[PICKS], anchor.numbers[REACH]
    for t in range(work.reach.size):
        bound = levels.most[VALUE, t] + picks * levels.most[DRIFT, t]
        # Nobody alive: without this the other terms would add to the number that never wins.
        used_up = levels.most[VALUE, t] <= NEVER
        work.reach[t] = -np.inf if used_up else bound + reach * levels.most[RADIUS, t]
    return np.argmax(work.reach)


@numba.njit(cache=True)
def consider(pool, turn, work, k, i, n, length):
    """Note position i as candidate number n; returns the lower end of its gain."""
    gain, width = full_gain(pool, turn.v32, k, i), length * pool.blur[i] + pool.width[i]
    work.found[n], work.gains[n], work.widths[n] = i, gain, width
    return gain - width


@numba.njit(cache=True)
def below(gain):
    """A float32 at or below a float64."""
    return np.float32(gain - 2 * UNIT * abs(gain))


@numba.njit(cache=True)
def sweep(levels, work, peak, limit):
    """Bounds in the tiles that can reach ``limit``; how many with ``peak``, and the best place."""
    swept, best = 1, peak
    for t in range(work.reach.size):
        if t == peak:
            continue
        if work.reach[t] < limit:
            work.top[t] = NEVER
            continue
        work.top[t] = add_rows(levels.tiles[t], work.weights, work.bounds[t])
        swept += 1
        if work.top[t] > work.top[best]:
            best = t
    return swept, best * levels.tiles.shape[2] + np.argmax(work.bounds[best])


@numba.njit(cache=True)
def first_candidates(pool, levels, turn, anchor, work, k):
    """The position with the best bound in the best tile, and the one with the best bound of all.

    The first says which other tiles are worth a look. Returns how many candidates these are, the
    lower end of the better one, and the number of tiles looked at.
    """
    length, size = np.sqrt(dot(turn.v, turn.v)), levels.tiles.shape[2]
    peak = reach_tiles(levels, anchor, work, k)
    work.top[peak] = add_rows(levels.tiles[peak], work.weights, work.bounds[peak])
    first = levels.slots[peak * size + np.argmax(work.bounds[peak])]
    lowest = consider(pool, turn, work, k, first, 0, length)
    swept, place = sweep(levels, work, peak, lowest - anchor.numbers[LEVEL])
    best = levels.slots[place]
    if best == first:
        return 1, lowest, swept
    return 2, max(lowest, consider(pool, turn, work, k, best, 1, length)), swept


@numba.njit(cache=True)
def survivors(pool, levels, turn, anchor, work, k):
    """Candidates for pick k.

    Returns how many, and how many middles, full products and tiles it took.
    """
    length, level = np.sqrt(dot(turn.v, turn.v)), anchor.numbers[LEVEL]
    size, head, middles = levels.tiles.shape[2], work.weights.size - EXTRA, 0
    n, lowest, swept = first_candidates(pool, levels, turn, anchor, work, k)
    one, other = work.found[0], work.found[n - 1]
    limit = below(lowest - level)
    for t in range(levels.tiles.shape[0]):
        if work.top[t] < limit:
            continue
        for lane in range(size):
            if work.bounds[t, lane] < limit:
                continue
            i = levels.slots[t * size + lane]
            if i in (-1, one, other):
                continue
            middles += 1
            middle = dot(levels.along[i, head:], work.step)
            middle -= work.weights[head + MIDDLE_NORM] * levels.middle[i]
            if work.bounds[t, lane] + middle < limit:
                continue
            lower = consider(pool, turn, work, k, i, n, length)
            n += 1
            if lower > lowest:
                lowest, limit = lower, below(lower - level)
    return keep_reaching(work, n, lowest), middles, n, swept


@numba.njit(cache=True)
def keep_reaching(work, n, lowest):
    """Drop the candidates whose upper end is below ``lowest``; returns how many are left."""
    kept = 0
    for a in range(n):
        if work.gains[a] + work.widths[a] >= lowest:
            work.found[kept] = work.found[a]
            kept += 1
    return kept


@numba.njit(cache=True)
def all_full(pool, turn, work, k):
    """Candidates for pick k from the full products of all positions alive."""
    length, lowest, n = np.sqrt(dot(turn.v, turn.v)), -np.inf, 0
    for i in range(pool.entries.size):
        if pool.alive[i]:
            lower = consider(pool, turn, work, k, i, n, length)
            lowest = max(lowest, lower)
            n += lower + 2 * work.widths[n] >= lowest
    return keep_reaching(work, n, lowest)


@numba.njit(cache=True)
def pick(exact, turn, pool, levels, anchor, position):
    """Take a position and follow the coordinates of v; returns whether its entry is used up."""
    anchor.numbers[PATH] += turn.numbers[BETA] * take(exact, turn, pool, position)
    beta, along = turn.numbers[BETA], levels.along[position]
    for j in range(anchor.now.size):
        anchor.now[j] -= beta * (along[j] - levels.ref[j])
    if pool.alive[position]:
        return False
    _, rows, size = levels.tiles.shape
    tile, lane = levels.places[position] // size, levels.places[position] % size
    values = levels.tiles[tile, rows - EXTRA + VALUE]
    values[lane] = NEVER
    levels.most[VALUE, tile] = values.max()
    return True


@numba.njit(cache=True)
def anchored_steps(exact, turn, pool, levels, anchor, work, limits, picks, progress):
    """Pick from one anchor of the whole until the next is due; returns the steps it lasted."""
    first = k = progress[DONE]
    alive = anchor_whole(pool, levels, turn, anchor, k)
    whole, middle, least = 0.0, 0.0, levels.tiles.shape[0]
    per_tile = limits.tiled * levels.tiles.shape[1] * levels.tiles.shape[2]
    while k < picks.size and alive > 0:
        set_weights(turn, anchor, work, k)
        n, middles, fulls, swept = survivors(pool, levels, turn, anchor, work, k)
        position = resolve(exact, turn, k, pool, work.found, n)
        picks[k] = pool.entries[position]
        alive -= pick(exact, turn, pool, levels, anchor, position)
        k += 1
        least = min(least, swept)
        whole += limits.scattered * fulls * turn.v.size + (swept - least) * per_tile
        middle += limits.scattered * middles
        if whole > alive * turn.v.size:
            break
        if middle > alive:
            set_weights(turn, anchor, work, k)
            anchor_middle(pool, levels, anchor, work.step)
            middle = 0.0
    progress[DONE] = k
    return k - first


@numba.njit(cache=True)
def full_steps(exact, turn, pool, levels, anchor, work, picks, progress):
    """Pick by full products, as often as ``progress`` says and twice as often the next time."""
    stop = min(picks.size, progress[DONE] + progress[FULL_STEPS])
    progress[FULL_STEPS] *= 2
    while progress[DONE] < stop:
        n = all_full(pool, turn, work, progress[DONE])
        if n == 0:
            return
        position = resolve(exact, turn, progress[DONE], pool, work.found, n)
        picks[progress[DONE]] = pool.entries[position]
        pick(exact, turn, pool, levels, anchor, position)
        progress[DONE] += 1


@numba.njit(cache=True)
def run(exact, turn, pool, levels, anchor, work, limits, picks, progress):
    """Pick until the bin is full or a quarter of the pool is used up."""
    while progress[DONE] < picks.size and 4 * np.sum(pool.alive) > 3 * pool.alive.size:
        steps = anchored_steps(exact, turn, pool, levels, anchor, work, limits, picks, progress)
        if steps < limits.pays:
            full_steps(exact, turn, pool, levels, anchor, work, picks, progress)
