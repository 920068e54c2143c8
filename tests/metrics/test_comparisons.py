"""Tests of two arms against enumeration, scipy, closed forms and simulation."""

from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from helpers.errors import ParameterError
from helpers.metrics.comparisons import (
    holm,
    sign_flip_over_runs,
    smallest_p,
    wilcoxon_over_images,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def arms(seed, runs=5, images=20, gain=0.02):
    """Two arms that share how hard each image is."""
    source = rng(seed)
    hardness = source.beta(5, 2, images)
    a, b = hardness + 0.03 * source.normal(size=(2, runs, images))
    return a + gain, b


def one_run(differences):
    """An arm pair with these differences of images, single run."""
    differences = np.asarray(differences, float)
    return differences[None], np.zeros((1, differences.size))


def wilcoxon_by_enumeration(differences):
    """Pratt's p from all signs of the non-zero differences."""
    ranks = stats.rankdata(np.abs(differences))[differences != 0]
    sums = np.array([np.dot(s, ranks) for s in product([-1, 1], repeat=ranks.size)])
    found = np.dot(np.sign(differences[differences != 0]), ranks)
    return np.mean(np.abs(sums) >= abs(found) - 1e-9)


@pytest.mark.parametrize(
    "differences",
    [
        [0.3, -0.1, 0.5, 0.2, 0.7, 0.4, -0.6],
        [0.1, 0.1, -0.1, 0.2, 0.2, 0.3],
        [0.0, 0.0, 0.1, -0.2, 0.3, 0.3, 0.0, 0.4],
        [0.0, 0.0, 0.5],
    ],
    ids=["plain", "ties", "zeros and ties", "one that differs"],
)
def test_wilcoxon_is_exact_for_few_images(differences):
    found = wilcoxon_over_images(*one_run(differences))
    assert found == pytest.approx(wilcoxon_by_enumeration(np.array(differences)))


def test_wilcoxon_of_many_images_is_near_the_exact_one():
    differences = np.round(rng(1).normal(0.3, 1, 40), 1)  # ties and zeros
    found = wilcoxon_over_images(*one_run(differences))
    ranks = stats.rankdata(np.abs(differences)) * (differences != 0)
    signs = rng(2).choice([-1, 1], (100_000, 40))
    expected = np.mean(np.abs(signs @ ranks) >= abs(np.sign(differences) @ ranks))
    assert 0 in differences
    assert found == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("runs", [2, 3, 5, 8])
@pytest.mark.parametrize("seed", range(3))
def test_sign_flips_equal_scipy(runs, seed):
    a, b = arms(10 * seed + runs, runs=runs)
    first, second = a.mean(axis=1), b.mean(axis=1)
    expected = stats.permutation_test(
        (first, second),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    )
    found = sign_flip_over_runs(a, b)
    assert found == pytest.approx(expected.pvalue)


def test_sign_flips_with_ties_by_enumeration():
    d = np.array([0.1, 0.1, -0.1, 0.2, 0.0, 0.3])
    sums = np.array([np.dot(s, np.rint(10 * d)) for s in product([-1, 1], repeat=6)])
    expected = np.mean(np.abs(sums) >= 6)
    assert sign_flip_over_runs(d[:, None], np.zeros((6, 1))) == pytest.approx(expected)


@pytest.mark.parametrize("runs", [1, 2, 5, 6, 20])
def test_the_clearest_case_reaches_the_smallest_p(runs):
    a = np.ones((runs, 3)) + rng().random((runs, 1)) / 10
    found = sign_flip_over_runs(a, np.zeros((runs, 3)))
    assert found == smallest_p(runs) == 2 / 2**runs


def test_images_are_means_of_runs_and_groups_means_of_images():
    a, b = arms(4, images=6)
    groups = ["p2", "p1", "p2", "p1", "p1", "p3"]
    d = (a - b).mean(axis=0)
    by_group = [d[[1, 3, 4]].mean(), d[[0, 2]].mean(), d[5]]
    assert wilcoxon_over_images(a, b, groups) == wilcoxon_over_images(*one_run(by_group))
    # 0.3 - 0.2 and 0.2 - 0.1 differ by rounding alone.
    rounded = [[0.3, 0.2, 0.1 + 0.2]], [[0.2, 0.1, 0.3]]
    assert wilcoxon_over_images(*rounded) == wilcoxon_by_enumeration(np.array([0.1, 0.1, 0]))


def holm_by_closed_testing(p):
    """Largest Bonferroni p of all sets of hypotheses that hold this one."""
    m = len(p)
    subsets = [s for size in range(1, m + 1) for s in combinations(range(m), size)]
    return [max(min(1, len(s) * min(p[j] for j in s)) for s in subsets if i in s) for i in range(m)]


@pytest.mark.parametrize("seed", range(6))
def test_holm_is_the_closure_of_bonferroni(seed):
    p = np.round(rng(seed).random(6) ** 2, 2)  # ties among them
    assert holm(p) == pytest.approx(holm_by_closed_testing(p))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: sign_flip_over_runs(np.ones((2, 3)), np.ones((3, 2))),
            r"\(2, 3\) and b of .*\(3, 2\)",
        ),
        (lambda: sign_flip_over_runs(np.ones((0, 3)), np.ones((0, 3))), r"shape \(0, 3\)"),
        (lambda: sign_flip_over_runs([[1, np.nan]], [[1, 2]]), "a holds 1 NaN"),
        (lambda: wilcoxon_over_images([[1, 2]], [[1, np.inf]]), "b holds 1 NaN or infinite"),
        (lambda: wilcoxon_over_images([[1, 2]], [[1, 2]], ["p"]), "groups names 1 images"),
        (lambda: sign_flip_over_runs(np.ones((21, 1)), np.ones((21, 1))), "at most 20"),
        (lambda: smallest_p(0), "runs=0"),
        (lambda: holm([0.1, np.nan]), "each in 0..1"),
        (lambda: holm([1.1]), "each in 0..1"),
        (lambda: holm([]), "at least one"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ParameterError, match=message):
        call()


@pytest.mark.parametrize("shape", [(1, 1), (5, 9)])
def test_equal_arms(shape):
    a = rng().random(shape)
    assert wilcoxon_over_images(a, a.copy()) == sign_flip_over_runs(a, a.copy()) == 1
