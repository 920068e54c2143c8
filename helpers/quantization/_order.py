"""The greedy order: at every pick the gain of every sample, or a bound that rules it out.

Gains and the rule of ties: :mod:`helpers.quantization._gains`. One matrix-vector product over all
samples left, an *anchor*, gives all gains and so a pick. The picks after it turn v only slowly, by
D, say. With U some leading orthonormal directions, z_R and D_R what lies beyond them, and h_0 the
gain at the anchor j picks ago,

    h(z) = h_0(z) + j drift(z) + Uz.UD + z_R.D_R,     |z_R.D_R| <= |z_R| |D_R|  (Cauchy-Schwarz).

A *pool* of the samples with the highest h_0 is bounded like this at every pick, and those whose
bound reaches a gain already known get their own product. All others together are below
max h_0 + j max drift + max |z| |D|. Once that is not below the best gain, or the single products
have cost as much as an anchor, comes the next anchor. The pool grows or shrinks with how long it
lasts; where pools do not last (data without leading directions), anchors alone follow, twice as
many each time, before the next attempt. That is how fast the order is found, and never which it is.
"""

import numpy as np
import torch

from helpers.quantization._gains import Samples
from helpers.quantization.checks import check_name

DIRECTIONS = 64
POOL = 1024  # the smallest pool
SCATTERED = 0.5  # single rows are slower to read than a block
WORTH = 4  # picks for which a pool has to last
SAMPLE_ROWS = 4096
# Numbers in the features from which on threads gain more than they lose by waiting for each other.
THREADED = 20_000_000
# What float64 may lose of |z_R| and |D_R|, as a share of |z| and |D|.
LOST = 1e-6


def order_of(features: np.ndarray, sizes: np.ndarray, gain: str, device: str) -> np.ndarray:
    """Indices of all samples in the order of picking, bin after bin."""
    numbered = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    check_name("device", device, ("cpu", *(["cuda"] if numbered else []), *numbered))
    threads = torch.get_num_threads()
    if features.size < THREADED:
        torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            engine = Engine(Samples(features, gain, device))
            return np.concatenate([engine.fill(int(size)) for size in sizes])
    finally:
        torch.set_num_threads(threads)


class Engine:
    """Fills bins with the samples left.

    Attributes:
        pool: rows in a pool; 0 for anchors alone.
        pause: anchors until the next pool; after_failure: how many the next pause has.
    """

    def __init__(self, samples: Samples):
        self.samples, self.pool = samples, POOL
        self.pause, self.after_failure = 0, 1
        self.directions = directions_of(samples.points)

    def fill(self, size: int) -> np.ndarray:
        """Indices of the next ``size`` picks in order."""
        samples = self.samples
        samples.drop_picked()
        self.form, self.picks = samples.form(samples.gain), []
        self.v = torch.zeros_like(self.form.ref)
        if samples.gain == "official_code":
            central = samples.form("paper_eq")
            self.take(best(central.base, samples.widths(central)))
        while len(self.picks) < size:
            gains = self.form.base + len(self.picks) * self.form.drift + samples.points @ self.v
            start, v = len(self.picks), self.v.clone()
            self.take(best(gains, samples.widths(self.form)))
            if self.pause or not self.pool:
                self.pause = max(0, self.pause - 1)
            elif len(self.picks) < size:
                self.from_pool(size, gains, start, v)
        return samples.index[torch.stack(self.picks)].cpu().numpy()

    def take(self, row: torch.Tensor) -> None:
        """Count a pick."""
        samples, form = self.samples, self.form
        self.v -= form.beta * (samples.points[row] - form.ref)
        form.linear += form.step + form.beta * float(samples.lengths[row])
        form.base[row], samples.left[row] = -torch.inf, False
        self.picks.append(row)

    def from_pool(self, size: int, gains: torch.Tensor, start: int, anchor: torch.Tensor) -> None:
        """Pick from a pool while it lasts; ``gains`` are those ``start`` picks into the bin."""
        samples, form = self.samples, self.form
        count, width = samples.points.shape
        pool = Pool(self, gains.masked_fill(~samples.left, -torch.inf))
        begun, looked = len(self.picks), 0
        while len(self.picks) < size and looked < SCATTERED * count:
            rows = pool.candidates(self, anchor, len(self.picks) - start)
            if rows is None:
                break
            looked += len(rows)
            self.take(rows[best(self.gains(rows), samples.widths(form, rows))])
        lasted = len(self.picks) - begun
        failed = lasted < WORTH and len(self.picks) < size
        if failed and (rows is not None or len(pool.rows) == count):
            self.pause, self.after_failure = self.after_failure, 2 * self.after_failure
        elif lasted >= WORTH:
            self.after_failure = 1
        # An anchor should cost about as much as all the looks at the pool that it allows.
        balance = lasted * len(pool.rows) * len(self.directions) / (count * width)
        if rows is None and balance < 1:
            self.pool = min(4 * self.pool, count)
        elif balance > 16:
            self.pool = max(self.pool // 2, POOL)

    def gains(self, rows: torch.Tensor) -> torch.Tensor:
        """Present gains of some rows, by one product each."""
        form = self.form
        known = form.base[rows] + len(self.picks) * form.drift[rows]
        return known + self.samples.points[rows] @ self.v


class Pool:
    """The rows with the highest gains at an anchor, and one bound for the rest."""

    def __init__(self, engine: "Engine", gains: torch.Tensor):
        samples, form, self.directions = engine.samples, engine.form, engine.directions
        size, count, self.outside = engine.pool, len(gains), None
        self.rows = torch.arange(count, device=gains.device)
        if size < count:
            inside = torch.zeros_like(samples.left)
            inside[gains.topk(size).indices] = True
            self.rows = inside.nonzero()[:, 0]
            outside = samples.left & ~inside
            if outside.any():
                rest = samples.lengths[outside]
                highest = gains[outside] + 2 * samples.widths(form, outside)
                self.outside = highest.max(), form.drift[outside].max(), rest.max()
        points = samples.points[self.rows] if size < count else samples.points
        self.gains, self.drift = gains[self.rows], form.drift[self.rows]
        self.along = points @ self.directions.T
        squares = samples.squares[self.rows]
        self.beyond = (squares - self.along.square().sum(dim=1)).clamp(min=0).sqrt()
        self.beyond += LOST * squares.sqrt()

    def candidates(self, engine: Engine, anchor: torch.Tensor, steps: int) -> torch.Tensor | None:
        """Rows one of which is next, ascending; None if it may be outside of the pool."""
        change = engine.v - anchor
        along = self.directions @ change
        length = torch.linalg.vector_norm(change)
        beyond = torch.linalg.vector_norm(change - along @ self.directions) + LOST * length
        width = engine.samples.widths(engine.form, self.rows)
        likely = torch.addmv(self.gains + steps * self.drift, self.along, along)
        likely[engine.form.base[self.rows] == -torch.inf] = -torch.inf
        first = likely.argmax()
        known = engine.gains(self.rows[first : first + 1])[0] - width[first]
        if self.outside is not None:
            highest, drift, longest = self.outside
            blur = 2 * engine.samples.widths(engine.form).max()
            if highest + steps * drift + longest * length + blur >= known:
                return None
        return self.rows[(likely + self.beyond * beyond + 2 * width >= known).nonzero()[:, 0]]


def best(gains: torch.Tensor, widths: torch.Tensor) -> torch.Tensor:
    """The place of the next pick: the first of those tied."""
    return (gains + widths >= (gains - widths).max()).nonzero()[0, 0]


def directions_of(points: torch.Tensor) -> torch.Tensor:
    """About the leading directions of the points about zero, orthonormal, float64 (p, d).

    Subspace iteration on some rows. The order is exact with any orthonormal directions, and fast
    with these.
    """
    some = points[:: max(1, len(points) // SAMPLE_ROWS)]
    moments = some.T @ some
    basis = moments[:, :DIRECTIONS]
    for _ in range(3):
        basis = moments @ torch.linalg.qr(basis)[0]
    return torch.linalg.qr(basis)[0].T.contiguous()
