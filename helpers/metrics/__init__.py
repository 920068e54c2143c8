"""How well a prediction agrees with an annotation, for one image and over many.

Arrays in, small frozen dataclasses out: no files, plots, globals or hidden seeds.
"""

from helpers.metrics.evaluate import AP_THRESHOLDS, METRICS, ImageMetrics, evaluate
from helpers.metrics.statistics import bootstrap_interval, student_interval

__all__ = [
    "AP_THRESHOLDS",
    "METRICS",
    "ImageMetrics",
    "bootstrap_interval",
    "evaluate",
    "student_interval",
]
