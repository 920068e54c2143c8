"""The cascade engine: exact picks from a few principal directions per sample and step.

For gains whose large part changes with every pick (``official_code`` is herding: the sum of the
picks is balanced in the large directions first), no sample can be ruled out for long. But what
changes lies mostly in a few directions. With orthonormal directions split into a head H (some 32),
a middle M (some 100) and the rest R, and with the gain h_0 known at an anchor, where v was v_0,

    h(z) = h_0(z) + k drift + z_H.D_H + z_M.D_M + z_R.D_R,      D = v - v_0,
    h(z) <= h_0(z) + k drift + z_H.D_H + |z_M| |D_M| + |z_R| |D_R|        (Cauchy-Schwarz).

A step evaluates this bound from H and five more numbers per sample. They lie in tiles, one row per
direction, so that the loop runs over samples, and the samples are laid out by their gain at the
start. A tile as a whole has h <= max h_0 + k max drift + max |z| |D|. Where that is below a gain
already known, the tile is skipped: for ``paper_eq`` and ``graphcut``, whose gains differ mostly by
their fixed part, all but a few. Samples whose bound reaches the
best gain known get the middle part exactly, those that still reach it the full product, and those
still within rounding of the best are settled in float64.

Anchors are rented or bought: the middle is anchored anew when the products spent on it since the
last time would have paid for all samples, and so is the whole. Where anchors last for less than
a few steps, the directions are of no use (isotropic data), and steps with the full product of
all samples left follow, twice as many each time, before the next attempt.
"""

import numpy as np

from helpers.quantization._gains import Form, Gains
from helpers.quantization._pool import Left, exact_form, first_turn
from helpers.quantization._samples import Samples

HEAD, MIDDLE = 32, 96
TILE = 256
SAMPLE_ROWS = 4096


class Cascade:
    """Fills bins over the samples of ``gains``."""

    def __init__(self, gains: Gains):
        from helpers.quantization._cascade_kernels import Limits

        self.gains = gains
        self.limits = Limits()
        self.left = Left(gains)
        self.directions = principal_directions(gains.samples, HEAD + MIDDLE)
        self.left.extra = self._projections()

    def _projections(self) -> list[np.ndarray]:
        """Float32 (m, p) coordinates along the directions; float64 (m,) norms of M and R."""
        count, width = len(self.left.entries), len(self.directions)
        along = np.empty((count, width), dtype=np.float32)
        middle, rest = np.empty(count), np.empty(count)
        for part, points in self.gains.samples.chunks(self.left.entries):
            exact = points @ self.directions.T
            along[part] = exact
            squares = exact**2
            middle[part] = np.sqrt(squares[:, HEAD:].sum(axis=1))
            beyond = self.gains.samples.squares[self.left.entries[part]] - squares.sum(axis=1)
            rest[part] = np.sqrt(np.maximum(beyond, 0))
        return [along, middle, rest]

    def fill(self, form: Form, taken: np.ndarray, size: int, first: int | None) -> np.ndarray:
        """Entries of the next ``size`` picks in order; counts them in ``taken``."""
        from helpers.quantization import _cascade_kernels as kernels

        exact, turn = exact_form(self.gains, form, taken), first_turn(form)
        picks = np.empty(size, dtype=np.int64)
        progress = np.array([0, kernels.FIRST_FULL])
        if first is not None:
            self.left.shrink(taken)
            pool = self.left.pool(form, size)
            kernels.pick_first(exact, turn, pool, first, picks, progress)
        while progress[kernels.DONE] < size:
            self.left.shrink(taken)
            pool = self.left.pool(form, size)
            gains = pool.base + progress[kernels.DONE] * pool.drift
            levels = self._levels(form, np.lexsort((-pool.radii, -gains)))
            anchor, work = kernels.space(levels)
            kernels.run(exact, turn, pool, levels, anchor, work, self.limits, picks, progress)
        return picks

    def _levels(self, form: Form, order: np.ndarray):
        """The pool in tiles, laid out in this order: tiles far from the best gain are skipped."""
        from helpers.quantization._cascade_kernels import EXTRA, Levels, fill_tiles

        along, middle, rest = self.left.extra
        count = -(-len(along) // TILE)
        slots = np.full(count * TILE, -1)
        slots[: len(along)] = order
        places = np.empty(len(along), dtype=np.int64)
        tiles = np.empty((count, min(HEAD, along.shape[1]) + EXTRA, TILE), dtype=np.float32)
        fill_tiles(along, slots, tiles, places)
        most = np.empty((EXTRA, count))
        ref = self.directions @ form.ref
        return Levels(self.directions, ref, along, middle, rest, tiles, slots, places, most)


def principal_directions(samples: Samples, count: int) -> np.ndarray:
    """About the leading principal directions about zero, float64 (p, d), p at most ``count``.

    Subspace iteration on some rows. The order is exact with any orthonormal directions, and fast
    with these.
    """
    entries, dimension = len(samples.row), samples.rows.shape[1]
    # Directions are found at a cost that few samples would not pay back.
    count = min(count, dimension, max(1, entries // 8))
    some = np.linspace(0, entries - 1, min(entries, SAMPLE_ROWS)).astype(np.int64)
    rows = samples.points(some).astype(np.float32)
    moments = (rows.T @ rows).astype(np.float64)
    basis = moments[:, :count]
    for _ in range(2):
        basis = moments @ np.linalg.qr(basis)[0]
    basis = np.linalg.qr(basis)[0]
    # The largest first: the head is to hold most of what changes.
    turned = np.linalg.eigh(basis.T @ moments @ basis)[1][:, ::-1]
    return np.ascontiguousarray((basis @ turned).T)
