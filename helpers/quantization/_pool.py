"""The entries that are left, compact and contiguous, for the engine that screens.

Points are kept as 16-bit integers times a unit per row: half the memory, and half the time where
reading bounds it. The rounding, at most half a unit per coordinate, is about what float32 sums of
this length are allowed to lose anyway.
"""

import numpy as np

from helpers.quantization._gains import Form, Gains
from helpers.quantization._kernels import (
    BETA,
    LINEAR,
    LINEAR_STEP,
    QUADRATIC,
    Exact,
    Pool,
    Turn,
    compact,
    gamma,
)

# A little below the largest of int16: a unit rounded down must not overflow.
LARGEST, SMALLEST_UNIT = 32700, 1e-37


class Left:
    """Owns arrays of one row per entry left and shrinks them as these get fewer.

    Attributes:
        entries: int64 (m,), the longest first.
        points: int16 (m, d); units: float32 (m,): z is about ``points * units``.
        extra: more arrays (m, any) that belong to the entries.
    """

    def __init__(self, gains: Gains):
        self.samples = gains.samples
        # Those that a bound cannot rule out are long for the most part: they shall lie together.
        self.entries = np.argsort(-self.samples.norms, kind="stable")
        self.points = np.empty((len(self.entries), self.samples.rows.shape[1]), dtype=np.int16)
        self.units = np.empty(len(self.entries), dtype=np.float32)
        for part, points in self.samples.chunks(self.entries):
            largest = np.maximum(points.max(axis=1), -points.min(axis=1))
            # At least a normal number of float32, though the points be zero.
            self.units[part] = np.maximum(largest / LARGEST, SMALLEST_UNIT)
            points /= self.units[part, None]
            self.points[part] = np.rint(points, out=points)
        self.extra: list[np.ndarray] = []

    def shrink(self, taken: np.ndarray) -> None:
        """Drop the entries that have no member left."""
        keep = taken[self.entries] < self.samples.counts[self.entries]
        if keep.all():
            return
        self.entries, self.units = self.entries[keep], self.units[keep]
        self.points = _compacted(self.points, keep)
        self.extra = [_compacted(array, keep) for array in self.extra]

    def pool(self, form: Form, size: int) -> Pool:
        """The pool of a bin of ``size`` picks."""
        samples, entries = self.samples, self.entries
        longest = float(samples.lengths[entries].max())
        # The largest magnitude that terms can reach within the bin.
        linear = form.linear + size * (form.linear_step + form.beta * longest)
        # The second term stands for what float32 flushes to zero.
        radii = samples.norms[entries] * (1 + 1e-6) + 1e-30
        dimension = self.points.shape[1]
        half_units = 0.501 * np.sqrt(dimension) * self.units
        return Pool(
            entries=entries,
            alive=np.ones(len(entries), dtype=bool),
            points=self.points,
            units=self.units,
            radii=radii,
            blur=gamma(dimension + 8) * (radii + half_units) + half_units,
            base=form.base[entries],
            drift=form.drift[entries],
            width=form.widths(samples, linear, entries) + 1e-34,
        )


def _compacted(array: np.ndarray, keep: np.ndarray) -> np.ndarray:
    return array[: compact(keep, array)]


def exact_form(gains: Gains, form: Form, taken: np.ndarray) -> Exact:
    """What :func:`helpers.quantization._kernels.resolve` settles near-ties on."""
    samples = gains.samples
    rows = {np.dtype(kind): np.empty((0, 0), kind) for kind in (np.float32, np.float64)}
    rows[samples.rows.dtype] = samples.rows.view()
    # Read-only always: one compilation serves memory maps and arrays alike.
    for array in rows.values():
        array.flags.writeable = False
    return Exact(
        rows32=rows[np.dtype(np.float32)],
        rows64=rows[np.dtype(np.float64)],
        row=samples.row,
        factor=samples.factor,
        shift=samples.shift,
        squares=samples.squares,
        lengths=samples.lengths,
        members=samples.members,
        start=samples.start,
        taken=taken,
        base=form.base,
        drift=form.drift,
        ref=form.ref,
    )


def first_turn(form: Form) -> Turn:
    """The state of a bin without picks."""
    numbers = np.empty(4)
    numbers[BETA], numbers[QUADRATIC] = form.beta, form.quadratic
    numbers[LINEAR], numbers[LINEAR_STEP] = form.linear, form.linear_step
    return Turn(*np.zeros((2, form.ref.size)), np.zeros(form.ref.size, np.float32), numbers)
