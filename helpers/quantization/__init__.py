"""Coreset selection: which samples stand for the whole set."""

from helpers.quantization.dq import Bins, quantize, select
from helpers.quantization.random import select_random

__all__ = ["Bins", "quantize", "select", "select_random"]
