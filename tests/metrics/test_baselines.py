"""Predictors that need no training."""

import numpy as np
import pytest

from helpers.metrics import evaluate
from helpers.metrics.baselines import baseline_masks, every_pixel, otsu_components


def discs() -> np.ndarray:
    """Two discs apart from each other, labels 1 and 2."""
    y, x = np.mgrid[:64, :96]
    labels = np.zeros((64, 96), np.int32)
    labels[(y - 30) ** 2 + (x - 25) ** 2 < 144] = 1
    labels[(y - 32) ** 2 + (x - 70) ** 2 < 225] = 2
    return labels


@pytest.mark.parametrize("inside", [0.1, 0.9])
def test_either_polarity_is_found(inside: float) -> None:
    labels = discs()
    image = np.where(labels > 0, inside, 1 - inside)
    found = evaluate(labels, otsu_components(image, labels))
    assert found.dice == found.pq == 1


def test_touching_objects_are_one_component() -> None:
    labels = np.repeat(np.int32([[0, 1, 2, 0]]), 40, axis=0).repeat(10, axis=1)
    found = evaluate(labels, otsu_components(np.float32(labels > 0), labels))
    assert found.dice == 1
    assert found.n_predicted == 1
    # The one object overlaps each true one by half of their union: never above IoU 0.5.
    assert found.pq == 0


def test_specks_are_left_out_and_a_flat_image_gives_nothing() -> None:
    labels = discs()
    image = np.float32(labels > 0)
    image[2:5, 2:5] = 1
    assert evaluate(labels, otsu_components(image, labels)).n_predicted == 2
    assert not otsu_components(np.ones((32, 32)), np.ones((32, 32), np.int32)).any()


def test_every_pixel_has_the_dice_of_its_share() -> None:
    labels = discs()
    share = (labels > 0).mean()
    found = evaluate(labels, every_pixel(labels.shape))
    assert found.dice == pytest.approx(2 * share / (1 + share))
    assert set(baseline_masks(np.float32(labels), labels)) == {"Otsu", "every pixel"}
