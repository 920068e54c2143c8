"""The engine for a GPU: float32 products there, doubts settled in float64 on the CPU.

A pick needs h = base + k drift + z.v of all samples left. The device keeps z in float32 and makes
up to ``RUN`` picks without asking the CPU: it takes the sample with the highest gain, turns v, and
notes how many samples the rounding of the products does not tell from it. Then the CPU reads the
notes. Picks before the first doubtful one stand. The doubtful one is settled in float64, by the
rule of ties and on the rows as they came; the device is set back to the state after it, and the
next run begins. A pick of an entry that stands for several samples counts as doubtful as well, so
that the CPU can count its members.
"""

import numpy as np

from helpers.errors import ParameterError
from helpers.quantization._gains import Form, Gains
from helpers.quantization._plain import best

RUN = 64
UNIT = 2.0**-24  # rounding of float32


def cuda_device(name: str):
    """The CUDA device of this name.

    Raises:
        ParameterError: not a name of a CUDA device, or that device is not there.
    """
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ParameterError(f"device={name!r}: expected 'cpu', 'cuda' or 'cuda:0'") from error
    if device.type != "cuda":
        raise ParameterError(f"device={name!r}: expected 'cpu', 'cuda' or 'cuda:0'")
    present = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (device.index or 0) >= present:
        raise ParameterError(
            f"device={name!r}: found {present} CUDA devices; use device='cpu', or a machine that "
            "has one"
        )
    return device


class OnDevice:
    """Fills bins over the samples of ``gains`` with the products made on a ``torch.device``."""

    def __init__(self, gains: Gains, device):
        import torch

        self.gains, self.device = gains, device
        self.entries = np.arange(len(gains.samples.row))
        shape = (len(self.entries), gains.samples.rows.shape[1])
        self.points = torch.empty(shape, dtype=torch.float32, device=device)
        for part, points in gains.samples.chunks():
            self.points[part] = torch.from_numpy(points.astype(np.float32)).to(device)

    def fill(self, form: Form, taken: np.ndarray, size: int, first: int | None) -> np.ndarray:
        """Entries of the next ``size`` picks in order; counts them in ``taken``."""
        self._shrink(taken)
        state = _Bin(self, form, taken, size)
        if first is not None:
            state.accept(np.array([first]))
        while state.done < size:
            state.run(min(RUN, size - state.done))
            if state.done < size:
                state.accept(np.array([state.settled()]))
        return state.picks

    def _shrink(self, taken: np.ndarray) -> None:
        import torch

        keep = np.flatnonzero(taken[self.entries] < self.gains.samples.counts[self.entries])
        if len(keep) < len(self.entries):
            self.entries = self.entries[keep]
            self.points = self.points[torch.from_numpy(keep).to(self.device)]


class _Bin:
    """One bin as it is filled: the exact state on the CPU, and a copy on the device.

    ``done`` picks stand. The device holds gains as float64; ``blur`` and ``width`` bound what they
    can be wrong by, per length of v and at all.
    """

    def __init__(self, engine: OnDevice, form: Form, taken: np.ndarray, size: int):
        self.samples, self.form, self.taken = engine.gains.samples, form, taken
        self.points, self.entries, self.device = engine.points, engine.entries, engine.device
        self.picks, self.done = np.empty(size, dtype=np.int64), 0
        self.v, self.linear = np.zeros_like(form.ref), form.linear
        longest = float(self.samples.lengths[self.entries].max())
        linear = form.linear + size * (form.linear_step + form.beta * longest)
        radii = self.samples.norms[self.entries] + 1e-30
        terms = (len(form.ref) + 8) * UNIT
        self.blur = self._sent(terms / (1 - terms) * radii)
        # v on the device is off by the float32 rounding of the picks of one run.
        turned = RUN * form.beta * 4 * UNIT * longest
        self.width = self._sent(
            form.widths(self.samples, linear, self.entries) + turned * radii + 1e-34
        )
        self.base, self.drift = (
            self._sent(form.base[self.entries]),
            self._sent(form.drift[self.entries]),
        )
        self.ref = self._sent(form.ref)

    def _sent(self, array: np.ndarray):
        import torch

        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _known(self):
        """base + k drift of all positions, minus infinity where no member is left."""
        left = self.samples.counts[self.entries] - self.taken[self.entries]
        known = self.base + self.done * self.drift
        known[self._sent(left == 0)] = -np.inf
        return known, self._sent(left > 1)

    def _ends(self, known, v):
        """Lower and upper end of every gain."""
        gains = known + self.points.mv(v.float())
        spread = self.width + self.blur * v.norm()
        return gains - spread, gains + spread

    def run(self, count: int) -> None:
        """Up to ``count`` picks, as many as are beyond doubt."""
        import torch

        known, several = self._known()
        v = self._sent(self.v)
        notes = torch.zeros((2, count), dtype=torch.int64, device=self.device)
        for t in range(count):
            lower, upper = self._ends(known, v)
            position = upper.argmax().reshape(1)
            rivals = (upper >= lower.max()).sum() - 1
            notes[0, t : t + 1] = position
            notes[1, t : t + 1] = rivals + several.index_select(0, position)
            step = self.points.index_select(0, position)[0].double() - self.ref
            v = v - self.form.beta * step
            known = (known + self.drift).index_fill(0, position, -np.inf)
        positions, doubts = notes.cpu().numpy()
        sure = int(np.argmax(doubts > 0)) if doubts.any() else count
        self.accept(self.entries[positions[:sure]])

    def accept(self, entries: np.ndarray) -> None:
        """Let these picks stand."""
        form = self.form
        self.picks[self.done : self.done + len(entries)] = entries
        self.done += len(entries)
        np.add.at(self.taken, entries, 1)
        self.v -= form.beta * (self.samples.points(entries) - form.ref).sum(axis=0)
        lengths = self.samples.lengths[entries].sum()
        self.linear += len(entries) * form.linear_step + form.beta * lengths

    def settled(self) -> int:
        """The next entry, by float64 gains of all that can be it."""
        known, _ = self._known()
        lower, upper = self._ends(known, self._sent(self.v))
        entries = self.entries[(upper >= lower.max()).nonzero()[:, 0].cpu().numpy()]
        form, samples = self.form, self.samples
        gains = np.full(len(form.base), -np.inf)
        gains[entries] = form.base[entries] + self.done * form.drift[entries]
        gains[entries] += samples.points(entries) @ self.v
        return best(samples, gains, form.widths(samples, self.linear), self.taken)
