"""Coreset selection: which samples stand for the whole set."""

from helpers.quantization.cells import k_means_cells
from helpers.quantization.coverage import Coverage, LabelCoverage, coverage, label_coverage
from helpers.quantization.dq import Bins, Gain, Rounding, Sampling, quantize, sample_bins
from helpers.quantization.facility_location import facility_location
from helpers.quantization.herding import herding
from helpers.quantization.k_center import k_center
from helpers.quantization.methods import DETERMINISTIC, METHODS, WITH_SCORES, rank, select
from helpers.quantization.random import random_order
from helpers.quantization.stratified import stratified

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
