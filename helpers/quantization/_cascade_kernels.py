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

# Steps that an anchor has to last, and steps without anchors after the first that did not.
PAYS, FIRST_FULL = 3, 32
# What reading a number costs, against those of all samples in a row: scattered, and in tiles.
SCATTERED, TILED = 2.0, 0.25
# Counters that outlive a run: picks so far, and how many steps to go without anchors next time.
DONE, FULL_STEPS, N_COUNTERS = range(3)
# Rows of a tile behind those of the head, and their number.
VALUE, MIDDLE_NORM, REST_NORM, RADIUS, DRIFT, EXTRA = range(6)
# Numbers of an anchor: a gain that is subtracted from all, how many picks the bin had, how far v
# has come since then step by step, and |D| at most.
LEVEL, PICKS, PATH, REACH = range(4)


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
    """Where gains are known: v_0, its coordinates when the whole and when M were anchored.

    ``now`` are the coordinates (p,) of v itself.
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
        found: int64, candidates; gains, widths: what is known of them.
        hot: int64 (1,), a position that did well in the last step, or -1.
    """

    weights: np.ndarray
    step: np.ndarray
    bounds: np.ndarray
    top: np.ndarray
    found: np.ndarray
    gains: np.ndarray
    widths: np.ndarray
    hot: np.ndarray


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
        found=np.empty(len(levels.along) + 1, np.int64),
        gains=np.empty(len(levels.along) + 1),
        widths=np.empty(len(levels.along) + 1),
        hot=np.full(1, -1),
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
    return pool.base[i] + k * pool.drift[i] + dot(pool.points[i], v32)


@numba.njit(cache=True)
def product_error(turn):
    """Bound on the rounding of a product with v, per radius."""
    return gamma(turn.v.size + 8) * np.sqrt(dot(turn.v, turn.v))


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
    level, error = anchor.numbers[LEVEL], product_error(turn)
    head, size = levels.tiles.shape[1] - EXTRA, levels.tiles.shape[2]
    for i in range(pool.entries.size):
        tile, lane = levels.tiles[levels.places[i] // size], levels.places[i] % size
        if not pool.alive[i]:
            tile[head + VALUE, lane] = NEVER
            continue
        value = full_gain(pool, turn.v32, k, i) - level + pool.width[i] + error * pool.radii[i]
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
    anchor.middle[head:] = anchor.now[head:]
    set_most(levels)


@numba.njit(cache=True)
def set_weights(turn, anchor, work, k):
    """Factors of the rows of a tile at the v of now, and the step of the middle."""
    head, path = work.weights.size - EXTRA, anchor.numbers[PATH]
    away, middle, inside = 0.0, 0.0, 0.0
    for j in range(turn.v.size):
        away += (turn.v[j] - anchor.v[j]) ** 2
    for j in range(anchor.now.size):
        away -= (anchor.now[j] - anchor.whole[j]) ** 2
    for j in range(head):
        work.weights[j] = anchor.now[j] - anchor.whole[j]
        inside += (anchor.now[j] - anchor.whole[j]) ** 2
    for j in range(head, anchor.now.size):
        work.step[j - head] = anchor.now[j] - anchor.middle[j]
        middle += (anchor.now[j] - anchor.middle[j]) ** 2
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
def sweep(levels, anchor, work, k, limit):
    """Bounds in the tiles that can reach ``limit``; returns the best place, or -1, and how many."""
    best, swept = -1, 0
    picks, reach = k - anchor.numbers[PICKS], anchor.numbers[REACH]
    for t in range(levels.tiles.shape[0]):
        bound = levels.most[VALUE, t] + picks * levels.most[DRIFT, t]
        if bound + reach * levels.most[RADIUS, t] < limit or levels.most[VALUE, t] <= NEVER:
            work.top[t] = NEVER
            continue
        work.top[t] = add_rows(levels.tiles[t], work.weights, work.bounds[t])
        swept += 1
        if work.top[t] > NEVER and (best < 0 or work.top[t] > work.top[best]):
            best = t
    if best < 0:
        return -1, swept
    return best * levels.tiles.shape[2] + np.argmax(work.bounds[best]), swept


@numba.njit(cache=True)
def consider(pool, turn, work, k, i, n, error):
    """Note position i as candidate number n; returns the lower end of its gain."""
    gain, width = full_gain(pool, turn.v32, k, i), error * pool.radii[i] + pool.width[i]
    work.found[n], work.gains[n], work.widths[n] = i, gain, width
    return gain - width


@numba.njit(cache=True)
def below(gain):
    """A float32 at or below a float64."""
    return np.float32(gain - 2 * UNIT * abs(gain))


@numba.njit(cache=True)
def survivors(pool, levels, turn, anchor, work, k):
    """Candidates for pick k.

    Returns how many, and how many middles, full products and tiles it took.
    """
    error, level, lowest, n, middles = product_error(turn), anchor.numbers[LEVEL], -np.inf, 0, 0
    hot, size, head = work.hot[0], levels.tiles.shape[2], work.weights.size - EXTRA
    if hot >= 0 and pool.alive[hot]:
        lowest, n = consider(pool, turn, work, k, hot, 0, error), 1
    best, swept = sweep(levels, anchor, work, k, lowest - level)
    first = hot if best < 0 else levels.slots[best]
    if first != hot or n == 0:
        lowest, n = max(lowest, consider(pool, turn, work, k, first, n, error)), n + 1
    limit = below(lowest - level)
    for t in range(levels.tiles.shape[0]):
        if work.top[t] < limit:
            continue
        for lane in range(size):
            if work.bounds[t, lane] < limit:
                continue
            i = levels.slots[t * size + lane]
            if i < 0 or i == hot or i == first:
                continue
            middles += 1
            middle = dot(levels.along[i, head:], work.step)
            middle -= work.weights[head + MIDDLE_NORM] * levels.middle[i]
            if work.bounds[t, lane] + middle < limit:
                continue
            lower = consider(pool, turn, work, k, i, n, error)
            n += 1
            if lower > lowest:
                lowest, limit = lower, below(lower - level)
    return keep_reaching(work, n, lowest), middles, n, swept


@numba.njit(cache=True)
def keep_reaching(work, n, lowest):
    """Drop candidates whose upper end is below ``lowest``, note the second best; returns how many.

    The second best is where the next step looks first.
    """
    best, kept = np.argmax(work.gains[:n]), 0
    work.hot[0] = -1
    second = -np.inf
    for a in range(n):
        if a != best and work.gains[a] > second:
            work.hot[0], second = work.found[a], work.gains[a]
    for a in range(n):
        if work.gains[a] + work.widths[a] >= lowest:
            work.found[kept] = work.found[a]
            kept += 1
    return kept


@numba.njit(cache=True)
def all_full(pool, turn, work, k):
    """Candidates for pick k from the full products of all positions alive."""
    error, lowest, n = product_error(turn), -np.inf, 0
    for i in range(pool.entries.size):
        if pool.alive[i]:
            lower = consider(pool, turn, work, k, i, n, error)
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
    place = levels.places[position]
    levels.tiles[place // size, rows - EXTRA + VALUE, place % size] = NEVER
    return True


@numba.njit(cache=True)
def anchored_steps(exact, turn, pool, levels, anchor, work, picks, progress):
    """Pick from one anchor of the whole until the next is due; returns the steps it lasted."""
    first = k = progress[DONE]
    alive = anchor_whole(pool, levels, turn, anchor, k)
    work.hot[0] = -1
    whole, middle, least = 0.0, 0.0, levels.tiles.shape[0]
    per_tile = TILED * levels.tiles.shape[1] * levels.tiles.shape[2]
    while k < picks.size and alive > 0:
        set_weights(turn, anchor, work, k)
        n, middles, fulls, swept = survivors(pool, levels, turn, anchor, work, k)
        position = resolve(exact, turn, k, pool, work.found, n)
        picks[k] = pool.entries[position]
        alive -= pick(exact, turn, pool, levels, anchor, position)
        k += 1
        least = min(least, swept)
        whole += SCATTERED * fulls * turn.v.size + (swept - least) * per_tile
        middle += SCATTERED * middles
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
def run(exact, turn, pool, levels, anchor, work, picks, progress):
    """Pick until the bin is full or a quarter of the pool is used up."""
    while progress[DONE] < picks.size and 4 * np.sum(pool.alive) > 3 * pool.alive.size:
        steps = anchored_steps(exact, turn, pool, levels, anchor, work, picks, progress)
        if steps < PAYS:
            full_steps(exact, turn, pool, levels, anchor, work, picks, progress)
