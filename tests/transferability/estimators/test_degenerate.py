"""Input at the edge or beyond it, the same for every estimator of features or labels alone."""

import numpy as np
import pytest

from helpers.errors import ParameterError
from helpers.transferability.estimators import ESTIMATORS, leep, nce

LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
FEATURES = np.random.default_rng(0).normal(size=(10, 4)) + LABELS[:, None]
PROBABILITIES = np.exp(FEATURES) / np.exp(FEATURES).sum(axis=1, keepdims=True)
SOURCES = PROBABILITIES.argmax(axis=1)

BY_NAME = ESTIMATORS
EVERY = {
    **{name: (estimator, FEATURES) for name, estimator in BY_NAME.items()},
    "leep": (leep, PROBABILITIES),
    "nce": (nce, SOURCES),
}
CONSTANT = {"h_score": 0.0, "regularised_h_score": 0.0, "gbc": -6.0}


@pytest.mark.parametrize("name", EVERY)
def test_plain_input_gives_a_float(name):
    estimator, first = EVERY[name]
    score = estimator(first, LABELS)
    assert isinstance(score, float)
    assert np.isfinite(score)


@pytest.mark.parametrize("name", EVERY)
def test_one_class_is_refused(name):
    estimator, first = EVERY[name]
    with pytest.raises(ParameterError, match=r"labels hold \[4\]: there is nothing"):
        estimator(first, np.full(10, 4))


@pytest.mark.parametrize("name", [*BY_NAME, "leep"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_refused_features(name, value):
    estimator, first = EVERY[name]
    with pytest.raises(ParameterError, match="row 6 holds NaN or inf"):
        estimator(np.where(np.arange(10)[:, None] == 6, value, first), LABELS)


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("value", [0.0, 0.1, -1e6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_features(name, value, dtype):
    score = BY_NAME[name](np.full((10, 4), value, dtype), LABELS)
    assert np.isfinite(score)
    # LogME has no single value for them: a constant is a feature of its own, an intercept.
    if name in CONSTANT:
        assert score == pytest.approx(CONSTANT[name], abs=1e-9)
    assert score <= BY_NAME[name](FEATURES, LABELS)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_class_of_one_sample(name):
    labels = np.where(np.arange(10) == 3, 3, LABELS)
    assert np.isfinite(BY_NAME[name](FEATURES, labels))


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("d", [1, 3, 40])
def test_as_many_classes_as_samples(name, d):
    features = np.random.default_rng(1).normal(size=(6, d))
    score = BY_NAME[name](features, np.arange(6))
    assert np.isfinite(score)
    if name == "h_score":
        assert score == pytest.approx(min(d, 5))
    if name == "gbc":
        assert -30 <= score <= 0


def test_as_many_classes_as_samples_for_source_models():
    theta = np.full((3, 2), 0.5)
    assert leep(theta, [0, 1, 2]) == pytest.approx(-np.log(3))
    assert nce([0, 0, 0], [0, 1, 2]) == pytest.approx(-np.log(3))
    assert nce([0, 1, 2], [0, 1, 2]) == 0


@pytest.mark.parametrize("name", BY_NAME)
def test_two_samples(name):
    assert np.isfinite(BY_NAME[name]([[0.0, 1.0], [1.0, 3.0]], [0, 1]))


@pytest.mark.parametrize("name", BY_NAME)
def test_single_precision_is_as_good_and_stays_as_it_is(name):
    single = FEATURES.astype(np.float32)
    before = single.copy()
    wanted = BY_NAME[name](FEATURES, LABELS)
    assert BY_NAME[name](single, LABELS) == pytest.approx(wanted, rel=1e-5)
    np.testing.assert_array_equal(single, before)


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_any_integers_are_labels(name, dtype):
    score = BY_NAME[name](FEATURES, LABELS.astype(dtype))
    assert score == BY_NAME[name](FEATURES, LABELS)


@pytest.mark.parametrize("name", EVERY)
def test_masks_are_labels(name):
    estimator, first = EVERY[name]
    assert estimator(first, LABELS == 1) == estimator(first, 1 * (LABELS == 1))
