"""Means and intervals against scipy, known coverage and arithmetic."""

import numpy as np
import pytest
from scipy import stats

from helpers.errors import ParameterError
from helpers.metrics import bootstrap_interval, student_interval


def rng(seed=0):
    return np.random.default_rng(seed)


def test_student_interval_equals_scipy():
    values = [0.61, 0.64, 0.58]
    expected = stats.t.interval(0.9, 2, loc=np.mean(values), scale=stats.sem(values))
    assert student_interval(values, level=0.9) == pytest.approx(expected)


def test_bootstrap_interval_covers_as_often_as_it_says():
    draws = rng(4).beta(4, 2, (400, 40))
    source = rng(5)
    hits = 0
    for values in draws:
        low, high = bootstrap_interval(values, source, level=0.9, n_resamples=400)
        hits += low <= 4 / 6 <= high
    # 0.9 nominal; the percentile bootstrap of 40 values is a little short; 4 sigma is 0.06.
    assert 0.82 <= hits / 400 <= 0.96


def test_one_value_has_no_interval():
    assert np.isnan(bootstrap_interval([0.5], rng())).all()
    assert np.isnan(student_interval([0.5])).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_interval([1, np.nan], rng()), "1 of them NaN"),
        (lambda: bootstrap_interval([], rng()), r"shape \(0,\)"),
        (lambda: student_interval([[1, 2]]), r"shape \(1, 2\)"),
        (lambda: student_interval([1, np.inf]), "1 of them NaN or infinite"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ParameterError, match=message):
        call()
