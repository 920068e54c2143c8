"""The entries that are left, in float32 and contiguous, for the engines that screen."""

import numpy as np

from helpers.quantization._gains import TIE, Form, Gains
from helpers.quantization._kernels import BETA, LINEAR, LINEAR_STEP, QUADRATIC, Exact, Pool, Turn


class Left:
    """Owns the float32 rows of the entries left and shrinks as these get fewer.

    Attributes:
        entries: int64 (m,), ascending at first.
        points: float32 (m, d).
        projections: float32 (m, p) or None: more columns that belong to the rows.
    """

    def __init__(self, gains: Gains):
        self.samples = gains.samples
        self.entries = np.arange(len(self.samples.row))
        self.points = np.empty((len(self.entries), self.samples.rows.shape[1]), dtype=np.float32)
        for part, points in self.samples.chunks():
            self.points[part] = points
        self.extra: list[np.ndarray] = []

    def shrink(self, taken: np.ndarray) -> None:
        """Drop the entries that have no member left."""
        keep = taken[self.entries] < self.samples.counts[self.entries]
        if keep.all():
            return
        self.entries = self.entries[keep]
        self.points = _compacted(self.points, keep)
        self.extra = [_compacted(array, keep) for array in self.extra]

    def pool(self, form: Form, size: int) -> Pool:
        """The pool of a bin of ``size`` picks."""
        samples, entries = self.samples, self.entries
        longest = float(samples.lengths[entries].max())
        # The largest magnitude that terms can reach within the bin.
        linear = form.linear + size * (form.linear_step + form.beta * longest)
        width = form.quadratic * samples.squares[entries] + linear * samples.lengths[entries]
        return Pool(
            entries=entries,
            alive=np.ones(len(entries), dtype=bool),
            points=self.points,
            # The second term stands for what float32 flushes to zero.
            radii=samples.norms[entries] * (1 + 1e-6) + 1e-30,
            base=form.base[entries],
            drift=form.drift[entries],
            width=TIE * width + 1e-34,
        )


def _compacted(array: np.ndarray, keep: np.ndarray) -> np.ndarray:
    from helpers.quantization._kernels import compact

    return array[: compact(keep, array)]


def exact_form(gains: Gains, form: Form, taken: np.ndarray) -> Exact:
    """What :func:`helpers.quantization._kernels.resolve` settles near-ties on."""
    samples = gains.samples
    # Read-only always: one compilation serves memory maps and arrays alike.
    rows = samples.rows.view()
    rows.flags.writeable = False
    return Exact(
        rows=rows,
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
    return Turn(np.zeros_like(form.ref), np.zeros(form.ref.size, np.float32), numbers)
