"""The greedy order: which engine fills the bins, and how picks become sample indices."""

import numpy as np

from helpers.quantization._gains import TIE, Gains
from helpers.quantization._plain import Plain, best


def order_of(points: np.ndarray, sizes: np.ndarray, gain: str, device: str) -> np.ndarray:
    """Indices of all samples in the order of picking, bin after bin."""
    gains = Gains(points, gain)
    return fill_bins(gains, sizes, Plain(gains))


def fill_bins(gains: Gains, sizes: np.ndarray, engine: Plain) -> np.ndarray:
    """Order of all samples as ``engine`` fills bins of these sizes."""
    samples = gains.samples
    taken = np.zeros(len(samples.row), dtype=np.int64)
    order = []
    for size in sizes:
        first = most_central(gains, taken) if gains.starts_central else None
        before = taken.copy()
        picks = engine.fill(gains.form(samples.counts - taken), taken, int(size), first)
        order.append(as_samples(samples, picks, before))
    return np.concatenate(order)


def most_central(gains: Gains, taken: np.ndarray) -> int:
    """The entry left with the smallest total distance to all samples."""
    form, samples = gains.central(), gains.samples
    width = TIE * (form.quadratic * samples.squares + form.linear * samples.lengths)
    return best(samples, form.base, width, taken)


def as_samples(samples, picks: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Sample indices of picked entries, ``taken`` being the members used up before."""
    by_entry = np.argsort(picks, kind="stable")
    entries = picks[by_entry]
    rank = np.arange(len(picks)) - np.searchsorted(entries, entries)
    indices = np.empty(len(picks), dtype=np.int64)
    indices[by_entry] = samples.members[samples.start[entries] + taken[entries] + rank]
    return indices
