"""The plain engine: every gain, at every pick, from one float64 matrix-vector product.

The definition of the order in its shortest form, and the fastest engine for a few hundred samples.
"""

import numpy as np

from helpers.quantization._gains import TIE, Form, Gains


class Plain:
    """Fills bins over the samples of ``gains``; keeps all of z in float64."""

    def __init__(self, gains: Gains):
        self.gains = gains
        self.points = gains.samples.points(np.arange(len(gains.samples.row)))

    def fill(self, form: Form, taken: np.ndarray, size: int, first: int | None) -> np.ndarray:
        """Entries of the next ``size`` picks in order; counts them in ``taken``."""
        samples = self.gains.samples
        picks = np.empty(size, dtype=np.int64)
        v = np.zeros_like(form.ref)
        linear = form.linear
        for k in range(size):
            if k == 0 and first is not None:
                entry = first
            else:
                gain = form.base + k * form.drift + self.points @ v
                width = TIE * (form.quadratic * samples.squares + linear * samples.lengths)
                entry = best(samples, gain, width, taken)
            picks[k] = entry
            taken[entry] += 1
            v -= form.beta * (self.points[entry] - form.ref)
            linear += form.linear_step + form.beta * samples.lengths[entry]
        return picks


def best(samples, gain: np.ndarray, width: np.ndarray, taken: np.ndarray) -> int:
    """The entry that goes next: of those tied, the one with the lowest sample index left."""
    left = taken < samples.counts
    lowest = np.max((gain - width)[left])
    tied = np.flatnonzero(left & (gain + width >= lowest))
    if len(tied) == 1:
        return int(tied[0])
    return int(tied[np.argmin(samples.members[samples.start[tied] + taken[tied]])])
