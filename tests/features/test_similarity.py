"""Similarity of representations against definitions, invariances, scipy and chance."""

import numpy as np
import pytest
from scipy.spatial import procrustes
from scipy.stats import ortho_group

from helpers.errors import ParameterError
from helpers.features import similarity
from helpers.features.similarity import (
    compare_representations,
    debiased_cka,
    linear_cka,
    neighbourhood_overlap,
    procrustes_disparity,
)

MEASURES = [linear_cka, debiased_cka, procrustes_disparity, neighbourhood_overlap]
IDENTICAL = {procrustes_disparity: 0.0}


def rng(seed=0):
    return np.random.default_rng(seed)


def features(seed, n, d, effective=12):
    """Like features of a network: a few directions of large variance, off the origin."""
    source = rng(seed)
    spread = np.exp(-np.arange(d) / effective)
    return source.normal(size=(n, d)) * spread + source.normal(size=d)


def rigid(x, seed=0):
    """Rotated, perhaps mirrored, scaled, moved."""
    turn = ortho_group.rvs(x.shape[1], random_state=rng(seed))
    return 7 * x @ turn + rng(seed).normal(size=x.shape[1])


def cka_by_definition(x, y):
    """HSIC with the centring matrix, Kornblith et al. 2019, section 3."""
    n = len(x)
    h = np.eye(n) - 1 / n

    def hsic(k, m):
        return np.trace(k @ h @ m @ h) / (n - 1) ** 2

    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def debiased_by_definition(x, y):
    """HSIC_1 as Song et al. (2012) write it."""
    n = len(x)
    ones = np.ones(n)

    def hsic(k, m):
        trace = np.trace(k @ m)
        middle = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
        return (trace + middle - 2 * (ones @ k @ m @ ones) / (n - 2)) / (n * (n - 3))

    k, m = ((z @ z.T) * (1 - np.eye(n)) for z in (x, y))
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def overlap_by_definition(x, y, k, metric):
    def nearest(z, i):
        z = z - z.mean(axis=0)
        if metric == "cosine":
            z = z / np.linalg.norm(z, axis=1, keepdims=True)
        distance = np.linalg.norm(z - z[i], axis=1)
        distance[i] = np.inf
        return set(np.argsort(distance)[:k])

    return np.mean([len(nearest(x, i) & nearest(y, i)) / k for i in range(len(x))])


@pytest.mark.parametrize(("n", "d1", "d2"), [(50, 8, 20), (20, 60, 40), (30, 10, 64), (4, 3, 3)])
def test_as_the_definitions_say(n, d1, d2):
    x = features(1, n, d1)
    y = np.tanh(x @ rng(2).normal(size=(d1, d2))) + 0.3 * rng(3).normal(size=(n, d2))
    assert linear_cka(x, y) == pytest.approx(cka_by_definition(x, y), abs=1e-10)
    assert debiased_cka(x, y) == pytest.approx(debiased_by_definition(x, y), abs=1e-10)
    k = min(5, n - 1)
    for metric in ("cosine", "euclidean"):
        expected = overlap_by_definition(x, y, k, metric)
        assert neighbourhood_overlap(x, y, k, metric) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "d1", "d2"), [(60, 10, 25), (20, 50, 30), (25, 25, 24)])
def test_cka_of_features_equals_cka_of_gram_matrices(n, d1, d2):
    x, y = features(4, n, d1), features(5, n, d2)
    x, y = similarity._prepared(x, y)
    by_features = similarity._cka_of_features(x, y)
    by_gram = np.vdot(similarity._gram(x), similarity._gram(y))
    assert by_features == pytest.approx(by_gram, abs=1e-10)
    assert linear_cka(x, y) == pytest.approx(by_gram, abs=1e-10)


@pytest.mark.parametrize(("n", "d"), [(60, 10), (20, 20), (15, 40)])
def test_procrustes_equals_scipy(n, d):
    x = features(6, n, d)
    y = rigid(x) + rng(7).normal(size=(n, d))
    assert procrustes_disparity(x, y) == pytest.approx(procrustes(x, y)[2], abs=1e-10)


@pytest.mark.parametrize(("n", "d1", "d2"), [(60, 10, 25), (20, 64, 30)])
def test_procrustes_of_unequal_widths_pads_with_zeros(n, d1, d2):
    x, y = features(8, n, d1), features(9, n, d2)
    pads = [np.pad(z, ((0, 0), (0, max(d1, d2) - z.shape[1]))) for z in (x, y)]
    assert procrustes_disparity(x, y) == pytest.approx(procrustes(*pads)[2], abs=1e-10)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(("n", "d"), [(80, 12), (40, 90)])
def test_a_rigid_transformation_is_identity(measure, n, d):
    x = features(10, n, d)
    found = measure(x, rigid(x))
    assert found == pytest.approx(IDENTICAL.get(measure, 1.0), abs=1e-9)


@pytest.mark.parametrize("measure", MEASURES)
def test_what_moves_one_set_as_a_whole_changes_nothing(measure):
    x, y = features(11, 60, 12), features(12, 60, 30)
    y[:, :12] += x
    found = measure(x, y)
    assert 0.01 < found < 0.99
    assert measure(rigid(x, 1), rigid(y, 2)) == pytest.approx(found, abs=1e-9)
    assert measure(y, x) == pytest.approx(found, abs=1e-9)
    order = rng(13).permutation(60)
    assert measure(x[order], y[order]) == pytest.approx(found, abs=1e-9)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_transformation_that_is_not_rigid_is_seen(measure):
    x = rng(14).normal(size=(60, 6))
    stretched = x * [1, 30, 1, 1, 1, 1]
    assert abs(measure(x, stretched) - IDENTICAL.get(measure, 1.0)) > 0.2


def test_many_dimensions_inflate_cka_and_debiasing_repairs_it():
    n, d = 300, 2048
    x, y = rng(15).normal(size=(2, n, d))
    assert linear_cka(x, y) == pytest.approx(d / (d + n), abs=0.005)
    assert d / (d + n) == pytest.approx(0.87, abs=0.005)
    # A correlation of n (n - 3) / 2 numbers; its standard deviation is 0.005.
    assert abs(debiased_cka(x, y)) < 0.02
    assert procrustes_disparity(x, y) < 0.1


def test_with_many_samples_there_is_no_bias_to_repair():
    x = features(16, 1000, 6)
    y = x @ rng(17).normal(size=(6, 5)) + rng(18).normal(size=(1000, 5))
    assert debiased_cka(x, y) == pytest.approx(linear_cka(x, y), abs=0.01)


@pytest.mark.parametrize(("n", "d"), [(60, 20), (40, 150)])
def test_independent_features_give_what_chance_gives(n, d):
    x, y = features(19, n, d), features(20, n, d)
    found = compare_representations(x, y, rng(21), k=10)
    for name, result in found.items():
        assert result.low <= result.chance <= result.high
        assert result.p > 0.01, name
        assert abs(result.above_chance) < 0.1, name
    assert found["neighbours"].chance == pytest.approx(10 / (n - 1), abs=0.01)
    assert found["debiased_cka"].chance == pytest.approx(0, abs=0.03)
    assert found["cka"].chance > found["debiased_cka"].chance


def test_the_same_features_are_as_far_from_chance_as_can_be():
    x = features(22, 50, 20)
    found = compare_representations(x, rigid(x), rng(23), k=10, n_shuffles=40)
    assert list(found) == ["cka", "debiased_cka", "procrustes", "neighbours"]
    for name, result in found.items():
        assert result.value == pytest.approx(result.identical, abs=1e-9), name
        assert result.above_chance == pytest.approx(1, abs=1e-9)
        assert (result.p, result.n_shuffles) == (1 / 41, 40)


@pytest.mark.parametrize(("n", "d1", "d2"), [(50, 12, 30), (40, 100, 60)])
def test_comparison_and_measures_agree_shuffled_or_not(n, d1, d2):
    x, y = features(24, n, d1), features(25, n, d2)
    y[:, :12] += x[:, :12]
    found = compare_representations(x, y, rng(26), k=7, n_shuffles=20)
    source = rng(26)
    orders = [source.permutation(n) for _ in range(20)]
    measures = {
        "cka": linear_cka,
        "debiased_cka": debiased_cka,
        "procrustes": procrustes_disparity,
        "neighbours": lambda a, b: neighbourhood_overlap(a, b, 7),
    }
    for name, measure in measures.items():
        assert found[name].value == pytest.approx(measure(x, y), abs=1e-10)
        expected = np.mean([measure(x, y[order]) for order in orders])
        assert found[name].chance == pytest.approx(expected, abs=1e-10)


def test_where_everything_is_a_neighbour_chance_is_identity():
    x, y = features(27, 10, 5), features(28, 10, 5)
    found = compare_representations(x, y, rng(29), k=9, n_shuffles=20)["neighbours"]
    assert found.value == pytest.approx(1)
    assert found.p == 1
    assert np.isnan(found.above_chance)


def test_same_generator_state_same_chance():
    x, y = features(30, 20, 5), features(31, 20, 5)
    first, again, other = (
        compare_representations(x, y, rng(seed), k=3, n_shuffles=20) for seed in (32, 32, 33)
    )
    assert first == again
    assert first != other


def test_half_precision_and_large_numbers():
    x, y = features(34, 40, 20), features(35, 40, 20)
    for measure in (linear_cka, debiased_cka, procrustes_disparity):
        expected = measure(x, y)
        assert measure(1e100 * x, y) == pytest.approx(expected)
        assert measure(x.astype(np.float16), y.astype(np.float16)) == pytest.approx(
            expected, abs=0.01
        )


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones(30), np.eye(30), r"x of shape \(30,\)"),
        (np.eye(30), np.ones((30, 0)), r"y of shape \(30, 0\)"),
        (np.eye(30), np.eye(31), "x has 30 samples and y 31"),
        (np.eye(30), np.full((30, 2), np.nan), "y: row 0 holds NaN"),
        (np.full((30, 2), 0.1), np.eye(30), "x: all rows are equal"),
    ],
)
def test_nonsense_is_refused(measure, x, y, message):
    with pytest.raises(ParameterError, match=message):
        measure(x, y)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: debiased_cka(x[:3], x[:3]), "3 samples"),
        (lambda x: debiased_cka(np.eye(6), x[:6]), "equally far apart"),
        (lambda x: neighbourhood_overlap(x, x, 0), "k=0: expected 1 to 19"),
        (lambda x: neighbourhood_overlap(x, x), "k=25: expected 1 to 19"),
        (lambda x: neighbourhood_overlap(x, x, 3, "manhattan"), "metric='manhattan'"),
        (lambda x: compare_representations(x, x, 0), "rng is 0"),
        (lambda x: compare_representations(x, x, rng(), n_shuffles=5), "n_shuffles=5"),
        (lambda x: compare_representations(x, x, rng(), k=3, level=95), "level=95"),
    ],
)
def test_settings_out_of_range_are_refused(call, message):
    with pytest.raises(ParameterError, match=message):
        call(features(36, 20, 4))
