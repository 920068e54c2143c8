"""Dice and Jaccard of class maps: several classes, objects disregarded.

Published tables average in three ways that give different numbers: a score per image and then the
mean over images; counts added up over the images of a case (the slices of a patient), a score per
case, and then the mean over cases; or counts added up over everything, one score, which is what the
released code of arXiv 2410.18677 computes (there with 1 added to numerator and denominator, which
vanishes among millions of pixels).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SemanticScores:
    """Scores per class and unit (case, or everything together), each in 0..1.

    Attributes:
        units: of what a row holds the score: names of cases, or ``("all",)``.
        unit_dice, unit_jaccard: float64 (n_units, n_classes); NaN for a class that neither truth
            nor prediction show in a unit.
    """

    units: tuple[str, ...]
    unit_dice: np.ndarray
    unit_jaccard: np.ndarray

    @property
    def dice(self) -> np.ndarray:
        """Mean over units for each class, float64 (n_classes,); NaN for a class that none shows."""
        return _mean_of_defined(self.unit_dice, axis=0)

    @property
    def jaccard(self) -> np.ndarray:
        """As `dice`. Jaccard = Dice / (2 - Dice) holds in every unit, not for means over units."""
        return _mean_of_defined(self.unit_jaccard, axis=0)

    def mean_dice(self) -> float:
        """Mean of `dice` over the classes without the background.

        A class that no unit shows is left out; NaN if none is left.
        """
        return float(_mean_of_defined(self.dice[1:], axis=0))


def class_confusion(prediction: np.ndarray, truth: np.ndarray, n_classes: int) -> np.ndarray:
    """Count pixels by true class (row) and predicted class (column).

    Args:
        prediction, truth: integers of any one shape, each 0..n_classes - 1.

    Returns:
        int64 (n_classes, n_classes).
    """
    pairs = truth.astype(np.int64).ravel() * n_classes + prediction.ravel()
    return np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)


def image_confusions(
    predictions: Sequence[np.ndarray], truths: Sequence[np.ndarray], n_classes: int
) -> np.ndarray:
    """`class_confusion` of each image, int64 (n_images, n_classes, n_classes).

    Args:
        predictions, truths: stacks (n, h, w), or lists of images of any sizes.
    """
    pairs = zip(predictions, truths, strict=True)
    return np.stack([class_confusion(*pair, n_classes) for pair in pairs])


def semantic_scores(confusions: np.ndarray, groups: Sequence[str] | None = None) -> SemanticScores:
    """Dice and Jaccard of every class from counts of pixels.

    With TP, FP, FN of a class in a unit: Dice = 2 TP / (2 TP + FP + FN), Jaccard = TP / (TP + FP +
    FN). A class that only truth or only the prediction shows scores 0: one stray pixel costs a
    unit without the class as much as missing everything. A unit that shows a class in neither does
    not count for it.

    Args:
        confusions: integers (n_images, n_classes, n_classes), see `image_confusions`.
        groups: case of each image; ``None`` for all images together.
    """
    names = ["all"] * len(confusions) if groups is None else list(groups)
    rows = {name: row for row, name in enumerate(dict.fromkeys(names))}
    counts = np.zeros((len(rows), *confusions.shape[1:]), np.int64)
    np.add.at(counts, [rows[name] for name in names], confusions)
    both = np.diagonal(counts, axis1=1, axis2=2)
    sizes = counts.sum(axis=1) + counts.sum(axis=2)
    defined = sizes > 0
    dice, jaccard = np.full((2, *both.shape), np.nan)
    np.divide(2 * both, sizes, out=dice, where=defined)
    np.divide(both, sizes - both, out=jaccard, where=defined)
    return SemanticScores(tuple(map(str, rows)), dice, jaccard)


def _mean_of_defined(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean without the NaN, and NaN where there is nothing else."""
    defined = ~np.isnan(values)
    n = defined.sum(axis=axis)
    total = np.where(defined, values, 0.0).sum(axis=axis)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)
