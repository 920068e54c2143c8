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
        for k in range(size):
            if k == 0 and first is not None:
                entry = first
            else:
                left = np.flatnonzero(taken < samples.counts)
                gains = form.base + k * form.drift + self.points @ v
                entry = best(samples, left, gains[left], form.widths(samples, left, linear), taken)
            picks[k] = entry
            taken[entry] += 1
            v -= form.beta * (self.points[entry] - form.ref)
            linear += form.linear_step + form.beta * samples.lengths[entry]
        return picks


def best(
    samples: Samples, entries: np.ndarray, gains: np.ndarray, widths: np.ndarray, taken: np.ndarray
) -> int:
    """The entry that goes next: of those tied, the one with the lowest sample index left."""
    tied = entries[gains + widths >= np.max(gains - widths)]
    return int(tied[np.argmin(samples.members[samples.start[tied] + taken[tied]])])
