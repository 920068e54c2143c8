"""Where chapters of the old form find what they share."""

from helpers.book.parameters import Seed, SegmentationParameters, Share, distinct
from helpers.experiments.settings import precision_name, prepare, recipe, worker_count

__all__ = [
    "Seed",
    "SegmentationParameters",
    "Share",
    "distinct",
    "precision_name",
    "prepare",
    "recipe",
    "worker_count",
]
