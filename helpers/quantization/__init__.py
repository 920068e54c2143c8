"""Coreset selection: which samples stand for the whole set."""

from helpers.quantization.baselines import (
    facility_location,
    herding,
    k_center,
    random_order,
    stratified,
)
from helpers.quantization.cells import k_means_cells
from helpers.quantization.coverage import Coverage, LabelCoverage, coverage, label_coverage
from helpers.quantization.dq import Bins, Gain, Rounding, Sampling, quantize, sample_bins
from helpers.quantization.methods import DETERMINISTIC, METHODS, WITH_SCORES, rank, select

__all__ = [
    "DETERMINISTIC",
    "METHODS",
    "WITH_SCORES",
    "Bins",
    "Coverage",
    "Gain",
    "LabelCoverage",
    "Rounding",
    "Sampling",
    "coverage",
    "facility_location",
    "herding",
    "k_center",
    "k_means_cells",
    "label_coverage",
    "quantize",
    "random_order",
    "rank",
    "sample_bins",
    "select",
    "stratified",
]
