"""Similarity of representations against definitions, invariances, scipy and chance."""

import numpy as np
import pytest
from scipy.spatial import procrustes
from scipy.stats import ortho_group

from helpers.errors import ParameterError
from helpers.features.similarity import compare_representations

NAMES = ("cka", "debiased_cka", "procrustes", "neighbours")
IDENTICAL = {"procrustes": 0.0}


def measured(x, y, k=5):
    """The values of all measures."""
    found = compare_representations(x, y, rng(), k=k, n_shuffles=1)
    return {name: one.value for name, one in found.items()}


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


def overlap_by_definition(x, y, k):
    def nearest(z, i):
        z = z - z.mean(axis=0)
        z = z / np.linalg.norm(z, axis=1, keepdims=True)
        distance = np.linalg.norm(z - z[i], axis=1)
        distance[i] = np.inf
        return set(np.argsort(distance)[:k])

    return np.mean([len(nearest(x, i) & nearest(y, i)) / k for i in range(len(x))])


@pytest.mark.parametrize(("n", "d1", "d2"), [(50, 8, 20), (20, 60, 40), (30, 10, 64), (4, 3, 3)])
def test_as_the_definitions_say(n, d1, d2):
    x = features(1, n, d1)
    y = np.tanh(x @ rng(2).normal(size=(d1, d2))) + 0.3 * rng(3).normal(size=(n, d2))
    k = min(5, n - 1)
    found = measured(x, y, k)
    assert found["cka"] == pytest.approx(cka_by_definition(x, y), abs=1e-10)
    assert found["debiased_cka"] == pytest.approx(debiased_by_definition(x, y), abs=1e-10)
    assert found["neighbours"] == pytest.approx(overlap_by_definition(x, y, k))


@pytest.mark.parametrize(("n", "d"), [(60, 10), (20, 20), (15, 40)])
def test_procrustes_equals_scipy(n, d):
    x = features(6, n, d)
    y = rigid(x) + rng(7).normal(size=(n, d))
    assert measured(x, y)["procrustes"] == pytest.approx(procrustes(x, y)[2], abs=1e-10)


@pytest.mark.parametrize(("n", "d1", "d2"), [(60, 10, 25), (20, 64, 30)])
def test_procrustes_of_unequal_widths_pads_with_zeros(n, d1, d2):
    x, y = features(8, n, d1), features(9, n, d2)
    pads = [np.pad(z, ((0, 0), (0, max(d1, d2) - z.shape[1]))) for z in (x, y)]
    assert measured(x, y)["procrustes"] == pytest.approx(procrustes(*pads)[2], abs=1e-10)


@pytest.mark.parametrize(("n", "d"), [(80, 12), (40, 90)])
def test_a_rigid_transformation_is_identity(n, d):
    x = features(10, n, d)
    for name, value in measured(x, rigid(x)).items():
        assert value == pytest.approx(IDENTICAL.get(name, 1.0), abs=1e-9), name


def test_what_moves_one_set_as_a_whole_changes_nothing():
    x, y = features(11, 60, 12), features(12, 60, 30)
    y[:, :12] += x
    found = pytest.approx(measured(x, y), abs=1e-9)
    assert all(0.01 < value < 0.99 for value in measured(x, y).values())
    assert measured(rigid(x, 1), rigid(y, 2)) == found
    assert measured(y, x) == found
    order = rng(13).permutation(60)
    assert measured(x[order], y[order]) == found


def test_a_transformation_that_is_not_rigid_is_seen():
    x = rng(14).normal(size=(60, 6))
    for name, value in measured(x, x * [1, 30, 1, 1, 1, 1]).items():
        assert abs(value - IDENTICAL.get(name, 1.0)) > 0.2, name


def test_many_dimensions_inflate_cka_and_debiasing_repairs_it():
    n, d = 300, 2048
    found = measured(*rng(15).normal(size=(2, n, d)))
    assert found["cka"] == pytest.approx(d / (d + n), abs=0.005)
    assert d / (d + n) == pytest.approx(0.87, abs=0.005)
    # A correlation of n (n - 3) / 2 numbers; its standard deviation is 0.005.
    assert abs(found["debiased_cka"]) < 0.02
    assert found["procrustes"] < 0.1


def test_with_many_samples_there_is_no_bias_to_repair():
    x = features(16, 1000, 6)
    y = x @ rng(17).normal(size=(6, 5)) + rng(18).normal(size=(1000, 5))
    found = measured(x, y)
    assert found["debiased_cka"] == pytest.approx(found["cka"], abs=0.01)


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
    assert tuple(found) == NAMES
    for name, result in found.items():
        assert result.value == pytest.approx(result.identical, abs=1e-9), name
        assert (result.p, result.n_shuffles) == (1 / 41, 40)


@pytest.mark.parametrize(("n", "d1", "d2"), [(50, 12, 30), (40, 100, 60)])
def test_comparison_and_measures_agree_shuffled_or_not(n, d1, d2):
    x, y = features(24, n, d1), features(25, n, d2)
    y[:, :12] += x[:, :12]
    found = compare_representations(x, y, rng(26), k=7, n_shuffles=20)
    source = rng(26)
    orders = [source.permutation(n) for _ in range(20)]
    alone = [measured(x, y[order], 7) for order in orders]
    for name in NAMES:
        expected = np.mean([one[name] for one in alone])
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
    expected = measured(x, y)
    assert measured(1e100 * x, y) == pytest.approx(expected)
    assert measured(x.astype(np.float16), y.astype(np.float16)) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    ("x", "y", "k", "message"),
    [
        (np.full((30, 2), 0.1), np.eye(30), 3, "x: all rows are equal"),
        (np.eye(6), features(36, 6, 4), 3, "equally far apart"),
        (features(36, 20, 4), features(36, 20, 4), 25, "k=25: expected 1 to 19"),
    ],
)
def test_what_cannot_be_compared_is_refused(x, y, k, message):
    with pytest.raises(ParameterError, match=message):
        measured(x, y, k)
