"""Seconds of a piece of work, and the rate of one large matrix product."""

import time
from collections.abc import Callable

import torch

GEMM = 1536


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def gemm_seconds(name: str) -> float:
    """How long one product of two square matrices of ``GEMM`` rows takes, in this number format."""
    matrix = torch.ones(GEMM, GEMM, dtype=getattr(torch, name))
    return seconds(lambda: matrix @ matrix)


def gemm_rate(taken: float) -> float:
    """GFLOP/s of such a product, a multiplication and an addition counted as two."""
    return 2 * GEMM**3 / taken / 1e9
