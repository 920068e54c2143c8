"""The three gains of dataset quantization in one linear form.

With z the coordinates of a sample (:mod:`helpers.quantization._samples`), S the k picks of the
current bin, and up to terms that all candidates share and a positive factor, every gain is

    h(z) = base(z) + k drift(z) + z.v,        v = -beta * sum over S of (z_s - ref),

with base and drift fixed while a bin is filled, and ref a fixed vector that keeps v short:

    paper_eq       base = -N |z|^2 + 2 z.t    drift = 2 |z|^2 - 4 z.ref    beta = 4   ref = t / N
    official_code  base = 0                   drift = 0                    beta = 1   ref = t / N
    graphcut       base = z.t_pool            drift = -2 z.(a + ref)       beta = 2   ref = t / N

t is the sum of z over all N samples, t_pool the sum of the unit vectors z + a over the samples left
when the bin starts. The first pick of an official_code bin, the smallest total distance to all,
is that of paper_eq at k = 0.

Ties. The terms that make up a gain have magnitude m = quadratic |z|^2 + linear * length, where
linear grows with every pick, and length is |z|, for unit vectors |z| + 1. Float64 knows a gain to a
few units in the last place of m, so each gain stands for the interval h +- TIE m: all candidates
whose interval reaches the highest lower end are tied, and the lowest index goes first.
"""

from dataclasses import dataclass

import numpy as np

from helpers.quantization._samples import Samples, for_cosines, for_distances

TIE = 1e-12


@dataclass(frozen=True)
class Form:
    """A gain while one bin is filled.

    Attributes:
        base, drift: float64 (n,), for every entry.
        beta, ref: how a pick turns v; ref is float64 (d,).
        quadratic, linear, linear_step: magnitude of the terms. ``linear`` is its value at the start
            of the bin; a pick adds ``linear_step + beta * length``.
    """

    base: np.ndarray
    drift: np.ndarray
    beta: float
    ref: np.ndarray
    quadratic: float
    linear: float
    linear_step: float

    def widths(self, samples: Samples, linear: float, entries=slice(None)) -> np.ndarray:
        """TIE m of all (or some) entries, once ``linear`` has grown to this."""
        widths = (TIE * linear) * samples.lengths[entries]
        if self.quadratic:
            widths += (TIE * self.quadratic) * samples.squares[entries]
        return widths


class Gains:
    """The samples in the coordinates of one gain, and its form at the start of every bin."""

    def __init__(self, features: np.ndarray, gain: str):
        self.gain = gain
        self.samples = (for_cosines if gain == "graphcut" else for_distances)(features)
        samples = self.samples
        self.ref = samples.total / samples.n_samples
        self.mean_length = float(samples.counts @ samples.lengths) / samples.n_samples
        if gain == "graphcut":
            self._drift = samples.linear(-2 * (samples.shift + self.ref))[0]
        else:
            self._static = self._paper_eq()

    @property
    def starts_central(self) -> bool:
        """Whether the first pick of a bin follows :meth:`central` and not :meth:`form`."""
        return self.gain == "official_code"

    def central(self) -> Form:
        """The form whose first pick has the smallest total distance to all samples."""
        return self._static

    def form(self, left: np.ndarray) -> Form:
        """The form at the start of a bin.

        Args:
            left: int64 (n,), members of every entry that are not in a bin yet.
        """
        if self.gain == "paper_eq":
            return self._static
        if self.gain == "official_code":
            zero = np.zeros(len(left))
            return Form(zero, zero, 1.0, self.ref, 0.0, 0.0, self.mean_length)
        return self._graphcut(left)

    def _paper_eq(self) -> Form:
        samples, count = self.samples, self.samples.n_samples
        to_total, to_ref = samples.linear(2 * samples.total, 4 * self.ref)
        base = to_total - count * samples.squares
        drift = 2 * samples.squares - to_ref
        linear = 2 * count * self.mean_length
        return Form(base, drift, 4.0, self.ref, 2.0 * count, linear, 4 * self.mean_length)

    def _graphcut(self, left: np.ndarray) -> Form:
        samples, size = self.samples, int(left.sum())
        pool = np.flatnonzero(left)
        total = size * samples.shift
        for part, points in samples.chunks(pool):
            total = total + left[pool[part]] @ points
        base = np.zeros(len(left))
        base[pool] = samples.linear(total, entries=pool)[0]
        shift = float(np.linalg.norm(samples.shift))
        linear = float(left @ samples.lengths) + size * shift
        return Form(base, self._drift, 2.0, self.ref, 0.0, linear, 2 * (shift + self.mean_length))
