"""Gap between two sets of features against definitions, closed forms and invariances."""

import numpy as np
import pytest
from scipy.stats import ortho_group

from helpers.errors import ParameterError
from helpers.features.domain_gap import (
    domain_classifier,
    median_bandwidth,
    mmd,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def draw(seed, n, d, shift=0.0, spread=1.0):
    """Normal features, moved along the first of them."""
    rows = spread * rng(seed).normal(size=(n, d))
    rows[:, 0] += shift
    return rows


def mmd_by_definition(x, y, bandwidth):
    """Gretton et al. 2012, eq. 3, pair by pair."""

    def k(a, b):
        return np.exp(-np.sum((a - b) ** 2) / (2 * bandwidth**2))

    m, n = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(m) for j in range(m) if i != j)
    yy = sum(k(y[i], y[j]) for i in range(n) for j in range(n) if i != j)
    xy = sum(k(a, b) for a in x for b in y)
    return xx / (m * (m - 1)) + yy / (n * (n - 1)) - 2 * xy / (m * n)


def mmd_of_normals(d, shift, spread, bandwidth):
    """Population value for N(0, I) and N(shift e_1, spread^2 I): integrals of Gaussians."""

    def expected(variance, distance):
        total = bandwidth**2 + variance
        return (bandwidth**2 / total) ** (d / 2) * np.exp(-(distance**2) / (2 * total))

    own = expected(2, 0) + expected(2 * spread**2, 0)
    return own - 2 * expected(1 + spread**2, shift)


# ------------------------------------------------------------------ maximum mean discrepancy


@pytest.mark.parametrize("bandwidth", [None, 0.7, 5.0])
def test_mmd_is_the_double_sum_of_the_paper(bandwidth):
    x, y = draw(0, 13, 4), draw(1, 9, 4, shift=1, spread=1.5)
    pooled = np.concatenate([x, y])
    distances = [
        np.linalg.norm(pooled[i] - pooled[j]) for i in range(len(pooled)) for j in range(i)
    ]
    assert median_bandwidth(x, y) == pytest.approx(np.median(distances))
    width = bandwidth or np.median(distances)
    assert mmd(x, y, bandwidth=bandwidth) == pytest.approx(mmd_by_definition(x, y, width))


@pytest.mark.parametrize(("shift", "spread"), [(0.0, 1.0), (1.0, 1.0), (0.0, 2.0), (0.5, 0.5)])
def test_mmd_has_the_population_value_on_average(shift, spread):
    draws = [
        mmd(draw(2 * i, 20, 3), draw(2 * i + 1, 30, 3, shift, spread), bandwidth=1.5)
        for i in range(400)
    ]
    error = np.std(draws, ddof=1) / np.sqrt(len(draws))
    expected = mmd_of_normals(3, shift, spread, 1.5)
    assert abs(np.mean(draws) - expected) < 4 * error
    if not shift and spread == 1:
        assert expected == pytest.approx(0)
        assert 0.2 < np.mean(np.array(draws) < 0) < 0.8, "unbiased, so negative at times"


def test_mmd_of_a_large_sample_is_close_to_the_population_value():
    x, y = draw(0, 1500, 5), draw(1, 1500, 5, shift=1.5)
    assert mmd(x, y, bandwidth=2) == pytest.approx(mmd_of_normals(5, 1.5, 1, 2), abs=0.01)


def test_mmd_with_the_median_heuristic_keeps_under_motion_order_and_scale():
    x, y = draw(0, 30, 6), draw(1, 40, 6, shift=1)
    found = mmd(x, y)
    turn = ortho_group.rvs(6, random_state=rng(2))
    assert mmd(7 * x @ turn + 1000, 7 * y @ turn + 1000) == pytest.approx(found)
    assert mmd(y, x) == pytest.approx(found)
    assert mmd(rng(3).permutation(x), rng(4).permutation(y)) == pytest.approx(found)
    assert mmd(x, y, bandwidth=median_bandwidth(x, y)) == pytest.approx(found)
    assert mmd(x.astype(np.float32), y.astype(np.float32)) == pytest.approx(found, abs=1e-6)


def test_mmd_of_two_points_apart_is_two():
    x, y = np.zeros((5, 2)), np.full((4, 2), 100.0)
    assert mmd(x, y, bandwidth=1) == pytest.approx(2)


def test_a_bandwidth_may_come_from_any_number_of_sets():
    stages = [draw(i, 20, 3, spread=1 + i) for i in range(3)]
    assert median_bandwidth(*stages) == pytest.approx(median_bandwidth(np.concatenate(stages)))


def test_doubles_have_no_median_distance():
    x = np.repeat(draw(0, 1, 3), 20, axis=0)
    y = np.concatenate([x[:10], draw(1, 2, 3)])
    with pytest.raises(ParameterError, match="half of the pairs are of equal rows"):
        mmd(x, y)
    assert mmd(x, y, bandwidth=1.0) > 0


# ------------------------------------------------------------------ classifier


def mean_accuracy(n, d, shift, repeats=12):
    return np.mean(
        [
            domain_classifier(draw(2 * i, n, d), draw(2 * i + 1, n + 10, d, shift), seed=i)
            for i in range(repeats)
        ]
    )


@pytest.mark.parametrize(("n", "d"), [(60, 3), (40, 200)])
def test_equal_distributions_cannot_be_told_apart(n, d):
    assert mean_accuracy(n, d, 0.0) == pytest.approx(0.5, abs=0.04)


def test_the_accuracy_is_that_of_the_best_line():
    # Two normals, 2 apart along one axis: the line in the middle is right in Phi(1) of the cases.
    found = domain_classifier(draw(0, 1000, 2), draw(1, 2000, 2, shift=2), seed=0)
    assert found == pytest.approx(0.841, abs=0.02)


@pytest.mark.parametrize("d", [1, 20])
def test_sets_apart_in_one_feature_are_told_apart(d):
    assert domain_classifier(draw(0, 40, d), draw(1, 30, d, shift=30), seed=0) == 1


def test_a_gap_in_a_direction_of_small_variance_is_found():
    def rows(seed):
        return draw(seed, 150, 128) * np.exp(-np.arange(128) / 12)

    y = rows(1)
    y[:, 36] += 3 * np.exp(-3)
    turn = ortho_group.rvs(128, random_state=rng(2))
    assert domain_classifier(rows(0) @ turn, y @ turn, seed=0) > 0.8


def test_a_weak_gap_in_many_features_is_found_with_fewer_rows_than_features():
    x, y = draw(0, 50, 400), draw(1, 50, 400) + 0.3
    assert domain_classifier(x, y, seed=0) > 0.95


def test_neither_order_nor_scale_nor_dead_features_matter():
    x, y = draw(0, 40, 5), draw(1, 30, 5, shift=1)
    names = [f"{i // 4}" for i in range(40)], [f"b{i // 3}" for i in range(30)]
    found = domain_classifier(x, y, *names, seed=3)
    orders = rng(1).permutation(40), rng(2).permutation(30)
    shuffled = [[names[k][i] for i in orders[k]] for k in (0, 1)]
    assert domain_classifier(x[orders[0]], y[orders[1]], *shuffled, seed=3) == found
    alone = domain_classifier(x, y, seed=3)
    assert domain_classifier(x[orders[0]], y[orders[1]], seed=3) == alone
    scaled = np.array([1e-6, 1, 1e6, 10, 3])
    assert domain_classifier(x * scaled + 5, y * scaled + 5, *names, seed=3) == found
    dead = [np.hstack([one, np.full((len(one), 3), 7.0)]) for one in (x, y)]
    assert domain_classifier(*dead, *names, seed=3) == found
    assert len({domain_classifier(x, y, *names, seed=i) for i in range(8)}) > 1


def test_groups_are_not_recognised_across_folds():
    # Rows of a group are nearly one point, and groups of both sets come from one distribution.
    def images(seed):
        centres = rng(seed).normal(size=(12, 1, 40))
        return (centres + 0.01 * rng(seed + 1).normal(size=(12, 6, 40))).reshape(-1, 40)

    groups = [[f"{letter}{i}" for i in range(12) for _ in range(6)] for letter in "ab"]
    pairs = [(images(10 * i), images(10 * i + 5)) for i in range(6)]
    alone = [domain_classifier(*pair, seed=0) for pair in pairs]
    together = [domain_classifier(*pair, *groups, seed=0) for pair in pairs]
    assert np.mean(alone) > 0.9
    assert np.mean(together) == pytest.approx(0.5, abs=0.15)


def test_a_name_in_both_sets_is_one_group():
    # Each image and its copy with noise: apart in no direction that another image could teach.
    x = 10 * draw(0, 30, 5)
    y = x + 0.1 * draw(1, 30, 5)
    names = [str(i) for i in range(30)]
    found = domain_classifier(x, y, names, names, folds=3, seed=0)
    # With its copy in the same fold, an image is called what its copy is called.
    assert found == pytest.approx(0.5, abs=0.05)
