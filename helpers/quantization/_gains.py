"""The three gains of dataset quantization in one linear form, in float64.

A sample x is worked on as z = f x - a. For distances f is one power of two that brings the largest
entry to about 1, and a is the coordinatewise median of (a part of) the samples: differences of
close points then stay exact, with a large offset or a huge outlier as well. For cosines f is
1 / |x|, and a is the mean of the unit vectors; a zero vector stays zero before the shift.

With S the k picks of the current bin, and up to terms that all candidates share and a positive
factor, every gain is

    h(z) = base(z) + k drift(z) + z.v,        v = -beta * sum over S of (z_s - ref),

with base and drift fixed while a bin is filled, and ref = t / N a fixed vector that keeps v short:

    paper_eq       base = -N |z|^2 + 2 z.t    drift = 2 |z|^2 - 4 z.ref    beta = 4
    official_code  base = 0                   drift = 0                    beta = 1
    graphcut       base = z.t_left            drift = -2 z.(a + ref)       beta = 2

t is the sum of z over all N samples, t_left the sum of the unit vectors z + a over the samples left
when the bin starts. The first pick of an official_code bin, the smallest total distance to all,
is that of paper_eq at k = 0.

Ties. The terms that make up a gain have magnitude m = quadratic |z|^2 + linear * length, where
linear grows with every pick, and length is |z|, for unit vectors |z| + 1. Float64 knows a gain to a
few units in the last place of m, so each gain stands for the interval h +- TIE m: all candidates
whose interval reaches the highest lower end are tied, and the lowest index goes first.
"""

from dataclasses import dataclass

import numpy as np
import torch

TIE = 1e-12
CHUNK = 1024
MEDIAN_ROWS = 1001


@dataclass
class Form:
    """A gain while one bin is filled; tensors are float64, (n,) over the samples left or (d,).

    Attributes:
        base: minus infinity for samples already picked.
        drift, beta, ref: as in the module.
        quadratic, linear: of the magnitude of the terms; a pick adds ``step + beta * length``.
    """

    base: torch.Tensor
    drift: torch.Tensor
    beta: float
    ref: torch.Tensor
    quadratic: float
    linear: float
    step: float


class Samples:
    """The samples left, with what belongs to each of them; rows are in the order of their index.

    Attributes:
        gain: name of the gain.
        points: float64 (n, d), z.
        index: int64 (n,), numbers of the samples.
        left: bool (n,), not picked yet.
        squares, lengths: float64 (n,), |z|^2, and what rounding errors go by.
    """

    def __init__(self, features: np.ndarray, gain: str, device: str):
        self.gain, self.count = gain, len(features)
        cosines = gain == "graphcut"
        self.points, shift = coordinates(features, cosines, device)
        self.index = torch.arange(self.count, device=device)
        self.left = torch.ones(self.count, dtype=torch.bool, device=device)
        self.squares = torch.linalg.vector_norm(self.points, dim=1) ** 2
        self.lengths = self.squares.sqrt() + (1.0 if cosines else 0.0)
        self.total = self.points.sum(dim=0)
        self.ref, self.shift = self.total / self.count, shift
        self.mean_length = float(self.lengths.mean())

    def form(self, gain: str) -> Form:
        """The form of a gain at the start of a bin."""
        none = torch.zeros_like(self.squares)
        base, drift, mean = none, none, self.mean_length
        beta, quadratic, linear, step = 1.0, 0.0, 0.0, mean
        if gain == "paper_eq":
            base = 2 * self.points @ self.total - self.count * self.squares
            drift = 2 * self.squares - 4 * self.points @ self.ref
            beta, quadratic, linear, step = 4.0, 2.0 * self.count, 2 * self.count * mean, 4 * mean
        elif gain == "graphcut":
            size = int(self.left.sum())
            base = self.points @ (self.left.double() @ self.points + size * self.shift)
            drift = -2 * self.points @ (self.shift + self.ref)
            length = float(torch.linalg.vector_norm(self.shift))
            beta, step = 2.0, 2 * (length + mean)
            linear = float(self.lengths[self.left].sum()) + size * length
        base = base.masked_fill(~self.left, -torch.inf)
        return Form(base, drift, beta, self.ref, quadratic, linear, step)

    def widths(self, form: Form, rows: torch.Tensor | slice = slice(None)) -> torch.Tensor:
        """TIE m of all samples left, or of some rows."""
        width = (TIE * form.linear) * self.lengths[rows]
        return width + (TIE * form.quadratic) * self.squares[rows] if form.quadratic else width

    def drop_picked(self) -> None:
        """Give up the rows of picked samples once they are a tenth of all."""
        keep = self.left.nonzero()[:, 0]
        if len(keep) > 0.9 * len(self.left):
            return
        # In place: rows only move forwards.
        for start in range(0, len(keep), CHUNK):
            some = keep[start : start + CHUNK]
            self.points[start : start + len(some)] = self.points[some]
        self.points = self.points[: len(keep)]
        for name in ("index", "left", "squares", "lengths"):
            setattr(self, name, getattr(self, name)[keep])


def coordinates(
    features: np.ndarray, cosines: bool, device: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """z of all samples, float64 (N, d), and the shift a, (d,)."""
    points = torch.empty(features.shape, dtype=torch.float64, device=device)
    parts = [slice(start, start + CHUNK) for start in range(0, len(features), CHUNK)]
    exponent = np.frexp(max(float(np.abs(features[part]).max()) for part in parts))[1]
    for part in parts:
        rows = np.asarray(features[part], dtype=np.float64)
        if cosines:
            # Squares of numbers of about 1 neither overflow nor vanish.
            exponent = np.frexp(np.abs(rows).max(axis=1, keepdims=True))[1]
        rows = np.ldexp(rows, -exponent)
        if cosines:
            norms = np.linalg.norm(rows, axis=1, keepdims=True)
            np.divide(rows, norms, out=rows, where=norms > 0)
        points[part] = torch.from_numpy(rows).to(device)
    if cosines:
        shift = points.mean(dim=0)
    else:
        some = np.linspace(0, len(points) - 1, min(len(points), MEDIAN_ROWS)).astype(np.int64)
        median = np.median(points[torch.from_numpy(some).to(device)].cpu().numpy(), axis=0)
        shift = torch.from_numpy(median).to(device)
    points -= shift
    return points, shift
