"""Random numbers of a training that depend on its seed and the number of a step alone.

So a run that was killed goes on as if it had not been, and arms with equal seeds see equal draws.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

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


def shuffled(first: int, count: int, n: int, *seed: int) -> np.ndarray:
    """Which of n things stand at some places of an endless row of permutations, int64 (count,).

    None comes back before all were there. The row depends on n and the seed alone, so that a place
    can be asked for without those before it.

    Args:
        first: of the places, which count from 0.
    """
    places = (divmod(place, n) for place in range(first, first + count))
    return np.array([_permutation(n, *seed, turn)[place] for turn, place in places], np.int64)


def batch_at(step: int, n: int, batch_size: int, seed: int) -> np.ndarray:
    """Which of n images a step sees, int64 (batch_size,): whole permutations, step after step."""
    return shuffled(step * batch_size, batch_size, n, seed, 1)


@lru_cache(maxsize=8)
def _permutation(n: int, *seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(n)


@contextmanager
def global_seed(seed: int, device: torch.device = CPU) -> Iterator[None]:
    """Seed torch's global generators, for what draws from nowhere else, and put them back."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
