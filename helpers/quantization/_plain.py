"""The plain engine: every gain, at every pick, from one float64 matrix-vector product.

The definition of the order in its shortest form, and the fastest engine for a few hundred samples.
"""

import numpy as np

from helpers.quantization._gains import Form, Gains
from helpers.quantization._samples import Samples


class Plain:
    """Fills bins over the samples of ``gains``; keeps all of z in float64."""

    def __init__(self, gains: Gains):
        self.gains = gains
        self.points = gains.samples.points(np.arange(len(gains.samples.row)))

    def fill(self, form: Form, taken: np.ndarray, size: int, first: int | None) -> np.ndarray:
        """Entries of the next ``size`` picks in order; counts them in ``taken``."""
        samples = self.gains.samples
        picks = np.empty(size, dtype=np.int64)
        v, linear = np.zeros_like(form.ref), form.linear
        # Entries that are used up stay in the arrays, with a gain that never wins.
        base = np.where(taken < samples.counts, form.base, -np.inf)
        for k in range(size):
            if k == 0 and first is not None:
                entry = first
            else:
                gains = base + k * form.drift
                gains += self.points @ v
                entry = best(samples, gains, form.widths(samples, linear), taken)
            picks[k] = entry
            taken[entry] += 1
            if taken[entry] == samples.counts[entry]:
                base[entry] = -np.inf
            v -= form.beta * (self.points[entry] - form.ref)
            linear += form.linear_step + form.beta * samples.lengths[entry]
        return picks


def best(samples: Samples, gains: np.ndarray, widths: np.ndarray, taken: np.ndarray) -> int:
    """The entry that goes next: of those tied, the one with the lowest sample index left.

    Args:
        gains: float64 (n,), minus infinity for entries without members left.
        widths: float64 (n,), half the interval that each gain stands for.
        taken: int64 (n,), members used up.
    """
    tied = np.flatnonzero(gains + widths >= (gains - widths).max())
    if len(tied) == 1:
        return int(tied[0])
    return int(tied[np.argmin(samples.members[samples.start[tied] + taken[tied]])])
