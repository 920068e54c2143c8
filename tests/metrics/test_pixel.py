"""Foreground scores against geometry, exact fractions and scikit-learn."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    jaccard_score,
    precision_score,
    recall_score,
)

from helpers.metrics import evaluate
from tests.metrics.oracles import perturbations, real_label_maps, scattered_discs

SCORES = ("iou", "dice", "precision", "recall", "accuracy")


def sklearn_scores(truth, prediction):
    true, predicted = truth.ravel() > 0, prediction.ravel() > 0
    scores = [
        score(true, predicted, zero_division=0)
        for score in (jaccard_score, f1_score, precision_score, recall_score)
    ]
    return [*scores, accuracy_score(true, predicted)]


def assert_equals_sklearn(truth, prediction):
    found = evaluate(truth, prediction)
    expected = sklearn_scores(truth, prediction)
    np.testing.assert_allclose([getattr(found, s) for s in SCORES], expected, rtol=1e-12)


def test_rectangles_have_exact_fractions():
    truth = np.zeros((10, 20), int)
    prediction = np.zeros((10, 20), int)
    truth[0:6, 0:10] = 1
    prediction[2:8, 4:14] = 1
    found = evaluate(truth, prediction)
    # 60 pixels each, 4 x 6 = 24 shared, 96 in the union, 200 in the image.
    assert found.iou == pytest.approx(24 / 96)
    assert found.dice == pytest.approx(48 / 120)
    assert found.precision == pytest.approx(24 / 60)
    assert found.recall == pytest.approx(24 / 60)
    assert found.accuracy == pytest.approx((24 + 104) / 200)
    assert found.pq_paper == pytest.approx(24 / 96 * 48 / 120)


def test_precision_and_recall_are_not_exchanged():
    truth = np.zeros((4, 4), int)
    truth[:2] = 1
    prediction = np.ones((4, 4), int)
    found = evaluate(truth, prediction)
    assert (found.precision, found.recall) == (0.5, 1.0)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_published_panoptic_quality_is_iou_times_dice(seed):
    rng = np.random.default_rng(seed)
    truth, prediction = rng.integers(0, 2, (2, 6, 6))
    truth[0, 0] = 1
    found = evaluate(truth, prediction)
    assert found.pq_paper == found.iou * found.dice
    assert found.pq_paper == pytest.approx(2 * found.iou**2 / (1 + found.iou), abs=1e-15)


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 7), st.integers(1, 7))
    .flatmap(
        lambda s: st.tuples(
            arrays(np.int32, s, elements=st.integers(0, 2)),
            arrays(np.int32, s, elements=st.integers(0, 2)),
        )
    )
    .filter(lambda maps: maps[0].any() or maps[1].any())
)
def test_equals_sklearn_unless_both_are_empty(maps):
    # One empty map included: scikit-learn's zero_division=0 is the convention there.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_equals_sklearn(*maps)


def test_equals_sklearn_on_generated_maps():
    rng = np.random.default_rng(1)
    truth = scattered_discs(rng, (200, 250), 40, 14)
    for prediction in perturbations(truth).values():
        assert_equals_sklearn(truth, prediction)


@pytest.mark.bundle
def test_equals_sklearn_on_real_maps(bundle):
    for truth in real_label_maps(bundle, n_nuclei=4, n_tissue=1).values():
        wrong = perturbations(truth)
        for name in ("eroded", "dropped", "shifted far"):
            assert_equals_sklearn(truth, wrong[name])
