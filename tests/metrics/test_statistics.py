"""Means and intervals against scipy, known coverage and arithmetic."""

import numpy as np
import pytest
from scipy import stats

from helpers.errors import ParameterError
from helpers.metrics import (
    METRICS,
    aggregate,
    bootstrap_interval,
    evaluate,
    paired_difference,
    student_interval,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_student_interval_equals_scipy():
    values = [0.61, 0.64, 0.58]
    expected = stats.t.interval(0.9, 2, loc=np.mean(values), scale=stats.sem(values))
    assert student_interval(values, level=0.9) == pytest.approx(expected)


def test_two_seeds_say_little():
    low, high = student_interval([0.6, 0.7])
    # Half width t(0.975; 1) x s / sqrt(2) = 12.706 x 0.05.
    assert (low, high) == pytest.approx((0.65 - 12.7062 * 0.05, 0.65 + 12.7062 * 0.05), abs=1e-5)


def test_bootstrap_interval_equals_scipy_up_to_resampling():
    values = rng(1).beta(5, 2, 80)
    found = bootstrap_interval(values, rng(2), n_resamples=20_000)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=rng(3)
    ).confidence_interval
    assert found == pytest.approx(tuple(expected), abs=0.002)


def test_bootstrap_interval_covers_as_often_as_it_says():
    draws = rng(4).beta(4, 2, (400, 40))
    source = rng(5)
    hits = 0
    for values in draws:
        low, high = bootstrap_interval(values, source, level=0.9, n_resamples=400)
        hits += low <= 4 / 6 <= high
    # 0.9 nominal; the percentile bootstrap of 40 values is a little short; 4 sigma is 0.06.
    assert 0.82 <= hits / 400 <= 0.96


def test_bootstrap_in_blocks_still_resamples_everything():
    # More values than fit one block of indices per resample.
    values = rng(6).normal(size=60_000)
    low, high = bootstrap_interval(values, rng(7), n_resamples=100)
    assert (high - low) / 2 == pytest.approx(1.96 / np.sqrt(60_000), rel=0.35)


def test_same_generator_state_same_interval():
    values = rng(8).random(30)
    assert bootstrap_interval(values, rng(9)) == bootstrap_interval(values, rng(9))
    assert bootstrap_interval(values, rng(9)) != bootstrap_interval(values, rng(10))


def test_constant_values_have_an_interval_of_no_width():
    assert bootstrap_interval([0.3] * 7, rng()) == (0.3, 0.3)
    assert student_interval([0.3] * 3) == pytest.approx((0.3, 0.3))


def test_a_wider_level_contains_a_narrower_one():
    values = rng(11).random(50)
    narrow = bootstrap_interval(values, rng(12), level=0.5)
    wide = bootstrap_interval(values, rng(12), level=0.99)
    assert wide[0] < narrow[0] < np.mean(values) < narrow[1] < wide[1]


def test_one_value_has_no_interval():
    assert np.isnan(bootstrap_interval([0.5], rng())).all()
    assert np.isnan(student_interval([0.5])).all()
    summary = aggregate({"dice": [0.5]}, rng())["dice"]
    assert (summary.mean, summary.n) == (0.5, 1)
    assert np.isnan([summary.std, summary.low, summary.high]).all()


def test_aggregate_images():
    source = rng(13)
    truth = source.integers(0, 3, (9, 12, 12))
    images = [evaluate(t, source.integers(0, 3, t.shape)) for t in truth]
    found = aggregate(images, rng(14))
    assert tuple(found) == METRICS
    for name, summary in found.items():
        values = [getattr(image, name) for image in images]
        assert summary.mean == pytest.approx(np.mean(values))
        assert summary.std == pytest.approx(np.std(values, ddof=1))
        assert summary.low <= summary.mean <= summary.high
        assert (summary.n, summary.excluded) == (9, 0)
        assert (summary.spread, summary.interval, summary.level) == ("images", "bootstrap", 0.95)


def test_aggregate_equals_bootstrap_interval_of_each_metric():
    values = rng(15).random(25)
    summary = aggregate({"a": values, "b": 2 * values}, rng(16))
    interval = bootstrap_interval(values, rng(16))
    assert (summary["a"].low, summary["a"].high) == pytest.approx(interval)
    # Metrics share their resamples.
    assert summary["b"].low == pytest.approx(2 * summary["a"].low)


@pytest.mark.parametrize("spread", ["seeds", "runs"])
def test_aggregate_seeds_uses_student(spread):
    found = aggregate({"dice": [0.8, 0.82, 0.85]}, spread=spread)["dice"]
    assert (found.low, found.high) == pytest.approx(student_interval([0.8, 0.82, 0.85]))
    assert (found.spread, found.interval) == (spread, "student")


def empty_among(n):
    blank, cell = np.zeros((4, 4), int), np.eye(4, dtype=int)
    return [evaluate(cell, cell)] * n + [evaluate(cell, blank), evaluate(blank, blank)]


@pytest.mark.filterwarnings("error")
def test_images_with_nothing_to_find_are_left_out_and_counted():
    found = aggregate(empty_among(3), rng())
    # The empty prediction counts as a failure, the empty image is no evidence either way.
    assert (found["dice"].mean, found["dice"].n, found["dice"].excluded) == (0.75, 4, 1)
    assert (found["precision"].mean, found["precision"].n) == (0.75, 4)
    assert (found["accuracy"].n, found["accuracy"].excluded) == (5, 0)


def test_undefined_as_zero_reproduces_the_released_code():
    found = aggregate(empty_among(3), rng(), undefined=0.0)["dice"]
    assert (found.mean, found.n, found.excluded) == (pytest.approx(3 / 5), 5, 0)


@pytest.mark.filterwarnings("error")
def test_nothing_but_undefined_values():
    found = aggregate({"pq": [np.nan] * 3, "dice": [0.1, np.nan, 0.3]}, rng())
    assert list(found) == ["pq", "dice"]
    assert (found["pq"].n, found["pq"].excluded) == (0, 3)
    assert np.isnan([found["pq"].mean, found["pq"].std, found["pq"].low]).all()
    assert (found["dice"].mean, found["dice"].n) == (pytest.approx(0.2), 2)


def test_paired_difference_removes_what_is_shared():
    hardness = rng(17).random(60)
    a = hardness + 0.02 + 0.01 * rng(18).normal(size=60)
    found = paired_difference(a, hardness, rng(19))
    assert found.mean == pytest.approx((a - hardness).mean())
    assert 0 < found.low < 0.02 < found.high
    separate = bootstrap_interval(a, rng(20))
    assert found.high - found.low < (separate[1] - separate[0]) / 10
    assert paired_difference(hardness, a, rng(19)).low == pytest.approx(-found.high, abs=1e-3)


def test_paired_difference_over_seeds_and_with_gaps():
    found = paired_difference([1, 2, np.nan, 4], [0, np.nan, 1, 2], spread="seeds")
    assert (found.mean, found.n, found.excluded) == (1.5, 2, 2)
    assert (found.low, found.high) == pytest.approx(student_interval([1.0, 2.0]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: aggregate([], rng()), "values is a list of 0 items"),
        (lambda: aggregate([{"dice": 1}], rng()), "expected one or more ImageMetrics"),
        (lambda: aggregate({}, rng()), "no metric"),
        (lambda: aggregate({"a": [1, 2], "b": [1]}, rng()), "same number of values"),
        (lambda: aggregate({"a": [1, np.inf]}, rng()), "1 infinite"),
        (lambda: aggregate({"a": [1, 2]}), "rng is None; a bootstrap needs"),
        (lambda: aggregate({"a": [1, 2]}, rng(), spread="folds"), "spread is 'folds'"),
        (lambda: aggregate({"a": [1, 2]}, rng(), level=95), "level is 95"),
        (lambda: bootstrap_interval([1, 2], 0), "rng is 0; a bootstrap needs"),
        (lambda: bootstrap_interval([1, 2], rng(), n_resamples=10), "n_resamples is 10"),
        (lambda: bootstrap_interval([1, np.nan], rng()), "1 NaN among 2"),
        (lambda: bootstrap_interval([], rng()), r"shape \(0,\)"),
        (lambda: student_interval([[1, 2]]), r"shape \(1, 2\)"),
        (lambda: paired_difference([1, 2], [1], rng()), "a has 2 values and b 1"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ParameterError, match=message):
        call()
