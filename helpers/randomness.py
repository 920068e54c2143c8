"""Random numbers of a training that depend on its seed and the number of a step alone.

So a run that was killed goes on as if it had not been, and arms with equal seeds see equal draws.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

CPU = torch.device("cpu")


def step_seed(seed: int, stream: int, step: int) -> int:
    """A seed for one step, 0 to 2**63 - 1.

    Args:
        stream: what is drawn; other streams of a seed are independent.
    """
    drawn = np.random.SeedSequence([seed, stream, step]).generate_state(1, np.uint64)[0]
    return int(drawn >> 1)


def step_generator(seed: int, stream: int, step: int) -> torch.Generator:
    """A generator on the CPU seeded by :func:`step_seed`."""
    return torch.Generator().manual_seed(step_seed(seed, stream, step))


@contextmanager
def global_seed(seed: int, device: torch.device = CPU) -> Iterator[None]:
    """Seed torch's global generators, for what draws from nowhere else, and put them back."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
