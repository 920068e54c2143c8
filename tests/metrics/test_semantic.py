import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score

from helpers.metrics import evaluate
from helpers.metrics.semantic import class_confusion, image_confusions, semantic_scores


def drawn(seed: int, n: int = 5, n_classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, (n, 9, 7)).astype(np.int32)
    noise = rng.integers(0, n_classes, truth.shape).astype(np.int32)
    return np.where(rng.random(truth.shape) < 0.6, truth, noise), truth


@pytest.mark.parametrize("seed", range(3))
def test_counts_are_those_of_scikit_learn(seed):
    prediction, truth = drawn(seed)
    found = class_confusion(prediction, truth, 4)
    expected = confusion_matrix(truth.ravel(), prediction.ravel(), labels=range(4))
    np.testing.assert_array_equal(found, expected)
    assert found[1, 2] == np.sum((truth == 1) & (prediction == 2))
    np.testing.assert_array_equal(image_confusions(prediction, truth, 4).sum(axis=0), expected)


def test_two_classes_agree_with_the_foreground_scores_of_the_house():
    prediction, truth = drawn(7, n=1, n_classes=2)
    scores = semantic_scores(image_confusions(prediction, truth, 2))
    pixel = evaluate(truth[0], prediction[0])
    assert scores.mean_dice() == pytest.approx(pixel.dice)
    assert scores.jaccard[1] == pytest.approx(pixel.iou)


def test_case_pools_the_images_of_a_case_and_pooled_pools_all():
    prediction, truth = drawn(2)
    confusions = image_confusions(prediction, truth, 4)
    cases = semantic_scores(confusions, ["b", "a", "b", "a", "b"])
    assert cases.units == ("b", "a")
    for row, slices in enumerate(([0, 2, 4], [1, 3])):
        expected = f1_score(truth[slices].ravel(), prediction[slices].ravel(), average=None)
        np.testing.assert_allclose(cases.unit_dice[row], expected)
    pooled = semantic_scores(confusions)
    expected = f1_score(truth.ravel(), prediction.ravel(), average=None)
    np.testing.assert_allclose(pooled.dice, expected)
    one_case = semantic_scores(confusions, ["x"] * 5)
    np.testing.assert_array_equal(one_case.dice, pooled.dice)


def test_a_class_that_neither_shows_is_skipped():
    # Case a: class 1 half found, class 2 nowhere. Case b: class 2 found, class 1 nowhere.
    truth = np.array([[[0, 1, 1, 0]], [[0, 2, 2, 0]]])
    prediction = np.array([[[0, 1, 0, 0]], [[0, 2, 2, 0]]])
    scores = semantic_scores(image_confusions(prediction, truth, 4), "ab")
    np.testing.assert_allclose(scores.dice, [(4 / 5 + 1) / 2, 2 / 3, 1, np.nan])
    assert scores.mean_dice() == pytest.approx((2 / 3 + 1) / 2)
    blank = np.zeros((1, 3, 3), np.uint8)
    assert np.isnan(semantic_scores(image_confusions(blank, blank, 3)).mean_dice())


def test_a_stray_pixel_of_an_absent_class_scores_zero():
    truth, prediction = np.zeros((1, 4, 4), int), np.zeros((1, 4, 4), int)
    prediction[0, 0, 0] = 1
    assert semantic_scores(image_confusions(prediction, truth, 2)).mean_dice() == 0
    assert semantic_scores(image_confusions(truth, prediction, 2)).jaccard[1] == 0
