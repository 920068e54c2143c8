"""The greedy order: which engine fills the bins, and how picks become sample indices.

    plain    float64, one matrix-vector product per pick; a few hundred samples
    cascade  bounds from few directions, everything doubtful in float64; the rest
    torch    float32 products on a GPU, everything doubtful in float64 on the CPU

All follow the gains and the rule of ties in :mod:`helpers.quantization._gains`, so all give the
same order.
"""

import numpy as np

from helpers.quantization._gains import Gains
from helpers.quantization._plain import Plain, best
from helpers.quantization._samples import Samples

# Numbers in the features up to which the plain engine is faster than loading compiled code.
FEW = 32_000


def order_of(points: np.ndarray, sizes: np.ndarray, gain: str, device: str) -> np.ndarray:
    """Indices of all samples in the order of picking, bin after bin."""
    on_gpu = checked_gpu(device)
    gains = Gains(points, gain)
    return fill_bins(gains, sizes, engine_for(gains, on_gpu))


def checked_gpu(device: str):
    """The ``torch.device`` that is asked for, or None for the CPU; an error if it is not there."""
    if device == "cpu":
        return None
    from helpers.quantization._torch import cuda_device

    return cuda_device(device)


def engine_for(gains: Gains, on_gpu):
    """The fastest engine for these samples."""
    if on_gpu is not None:
        from helpers.quantization._torch import OnDevice

        return OnDevice(gains, on_gpu)
    if len(gains.samples.row) * gains.samples.rows.shape[1] <= FEW:
        return Plain(gains)
    from helpers.quantization._cascade import Cascade

    return Cascade(gains)


def fill_bins(gains: Gains, sizes: np.ndarray, engine) -> np.ndarray:
    """Indices of all samples as ``engine`` fills bins of these sizes.

    An engine has ``fill(form, taken, size, first)``, which returns the entries of the next ``size``
    picks, beginning with ``first`` unless that is None, and counts them in ``taken``.
    """
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
    base = np.where(taken < samples.counts, form.base, -np.inf)
    return best(samples, base, form.widths(samples, form.linear), taken)


def as_samples(samples: Samples, picks: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Sample indices of picked entries, ``taken`` being the members used up before."""
    by_entry = np.argsort(picks, kind="stable")
    entries = picks[by_entry]
    rank = np.arange(len(picks)) - np.searchsorted(entries, entries)
    indices = np.empty(len(picks), dtype=np.int64)
    indices[by_entry] = samples.members[samples.start[entries] + taken[entries] + rank]
    return indices
