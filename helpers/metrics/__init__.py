"""How well a prediction agrees with an annotation, for one image and over many.

Arrays in, small frozen dataclasses out: no files, plots, globals or hidden seeds.
"""

from helpers.metrics.contingency import Contingency, contingency
from helpers.metrics.detection import (
    AveragePrecision,
    DetectionScores,
    Instances,
    average_precision,
)
from helpers.metrics.evaluate import METRICS, ImageMetrics, evaluate
from helpers.metrics.instance import AP_THRESHOLDS, InstanceScores, instance_scores
from helpers.metrics.pixel import PixelScores, pixel_scores
from helpers.metrics.statistics import bootstrap_interval, student_interval

__all__ = [
    "AP_THRESHOLDS",
    "METRICS",
    "AveragePrecision",
    "Contingency",
    "DetectionScores",
    "ImageMetrics",
    "InstanceScores",
    "Instances",
    "PixelScores",
    "average_precision",
    "bootstrap_interval",
    "contingency",
    "evaluate",
    "instance_scores",
    "pixel_scores",
    "student_interval",
]
