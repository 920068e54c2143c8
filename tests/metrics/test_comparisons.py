"""Tests of two arms against enumeration, scipy, closed forms and simulation."""

from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats
from scipy.special import chdtri

from helpers.errors import ParameterError
from helpers.metrics import student_interval
from helpers.metrics.comparisons import (
    compare,
    effect_sizes,
    hierarchical_interval,
    holm,
    image_differences,
    power_over_runs,
    run_differences,
    sign_flip_over_runs,
    smallest_detectable,
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
    assert found.p == pytest.approx(wilcoxon_by_enumeration(np.array(differences)))
    assert (found.n, found.zeros) == (len(differences), differences.count(0))


def test_wilcoxon_of_many_images_is_near_the_exact_one():
    differences = np.round(rng(1).normal(0.3, 1, 40), 1)  # ties and zeros
    found = wilcoxon_over_images(*one_run(differences))
    ranks = stats.rankdata(np.abs(differences)) * (differences != 0)
    signs = rng(2).choice([-1, 1], (100_000, 40))
    expected = np.mean(np.abs(signs @ ranks) >= abs(np.sign(differences) @ ranks))
    assert found.zeros > 0
    assert found.p == pytest.approx(expected, abs=0.01)


def test_a_zero_leaves_the_ranks_of_the_others_as_they_are():
    zero, tiny = (
        wilcoxon_over_images(*one_run([smallest, 0.1, 0.2, -0.3, 0.4, 0.5]))
        for smallest in (0.0, 1e-6)
    )
    assert zero.statistic == tiny.statistic == 4
    assert (zero.zeros, tiny.zeros) == (1, 0)


def test_wilcoxon_sees_the_mean_of_the_runs():
    a, b = arms(3)
    assert wilcoxon_over_images(a, b) == wilcoxon_over_images(
        a.mean(axis=0)[None], b.mean(axis=0)[None]
    )
    assert wilcoxon_over_images(a, b).p == pytest.approx(wilcoxon_over_images(b, a).p)


def test_rounding_makes_no_differences():
    # 0.3 - 0.2 and 0.2 - 0.1 are not equal in floating point.
    a, b = np.array([[0.3, 0.2, 0.1 + 0.2]]), np.array([[0.2, 0.1, 0.3]])
    differences = image_differences(a, b)
    assert differences[0] == differences[1] == pytest.approx(0.1)
    assert differences[2] == 0
    assert wilcoxon_over_images(a, b).zeros == 1


def test_groups_are_the_units_of_the_test_over_images():
    a, b = arms(4, images=6)
    groups = ["p2", "p1", "p2", "p1", "p1", "p3"]
    d = (a - b).mean(axis=0)
    expected = [d[[1, 3, 4]].mean(), d[[0, 2]].mean(), d[5]]
    assert image_differences(a, b, groups) == pytest.approx(expected)
    assert wilcoxon_over_images(a, b, groups).n == 3


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
    assert found.p == pytest.approx(expected.pvalue)
    assert found.difference == pytest.approx(expected.statistic)


def test_sign_flips_with_ties_by_enumeration():
    d = np.array([0.1, 0.1, -0.1, 0.2, 0.0, 0.3])
    sums = np.array([np.dot(s, np.rint(10 * d)) for s in product([-1, 1], repeat=6)])
    expected = np.mean(np.abs(sums) >= 6)
    assert sign_flip_over_runs(d[:, None], np.zeros((6, 1))).p == pytest.approx(expected)


@pytest.mark.parametrize("runs", [1, 2, 5, 6, 20])
def test_the_clearest_case_reaches_the_smallest_p(runs):
    a = np.ones((runs, 3)) + rng().random((runs, 1)) / 10
    found = sign_flip_over_runs(a, np.zeros((runs, 3)))
    assert found.p == found.smallest_p == smallest_p(runs) == 2 / 2**runs


def test_five_runs_cannot_reach_five_per_cent_and_six_can():
    assert smallest_p(5) == 0.0625
    assert smallest_p(6) < 0.05


def test_sign_flips_keep_their_level():
    p = [sign_flip_over_runs(*rng(seed).normal(size=(2, 7, 1))).p for seed in range(1000)]
    # 3/64 and no more can be reached below 0.05; 4 sigma is 0.027.
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(6 / 128, abs=0.027)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (5, 1), (5, 9)])
@pytest.mark.filterwarnings("error")
def test_equal_arms(shape):
    a = rng().random(shape)
    found = compare(a, a.copy(), rng())
    assert (found.images.p, found.runs.p, found.difference.mean) == (1, 1, 0)
    assert found.images.zeros == found.images.n == shape[1]
    for effect in (found.effect_images, found.effect_runs):
        assert (effect.rank_biserial, effect.superiority) == (0, 0.5)
        assert effect.d_z == 0 or (np.isnan(effect.d_z) and effect.n == 1)
    if max(shape) > 1:
        assert (found.difference.low, found.difference.high) == (0, 0)


@pytest.mark.parametrize(
    ("shape", "groups", "resampled"),
    [
        ((5, 9), None, ("runs", "images")),
        ((1, 9), None, ("images",)),
        ((5, 1), None, ("runs",)),
        ((1, 1), None, ()),
        ((2, 4), list("aabb"), ("runs", "groups")),
        ((2, 4), list("aaaa"), ("runs",)),
    ],
)
@pytest.mark.filterwarnings("error")
def test_the_interval_says_what_it_covers(shape, groups, resampled):
    a, b = rng(1).random((2, *shape))
    found = hierarchical_interval(a, b, rng(), groups)
    assert found.resampled == resampled
    assert found.mean == pytest.approx((a - b).mean())
    if resampled:
        assert found.low < found.mean < found.high
    else:
        assert np.isnan([found.low, found.high]).all()


def test_a_constant_difference_has_an_interval_of_no_width():
    b = rng().random((5, 8))
    found = hierarchical_interval(b + 0.25, b, rng())
    assert (found.low, found.high) == pytest.approx((0.25, 0.25), abs=1e-15)


@pytest.mark.parametrize("part", ["runs", "images", "residuals"])
def test_width_follows_the_variances_of_runs_and_images(part):
    runs, images = 30, 40
    scale = dict.fromkeys(("runs", "images", "residuals"), 0.2) | {part: 1.0}
    source = rng(5)
    r = scale["runs"] * source.normal(size=(runs, 1))
    c = scale["images"] * source.normal(size=(1, images))
    d = r + c + scale["residuals"] * source.normal(size=(runs, images))
    found = hierarchical_interval(d, np.zeros_like(d), rng(6), n_resamples=8000)
    # Variance of a mean of independently resampled rows and columns, exact for the array at hand.
    rows, columns = d.mean(axis=1), d.mean(axis=0)
    rest = d - rows[:, None] - columns[None, :] + d.mean()
    variance = rows.var() / runs + columns.var() / images + rest.var() / (runs * images)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * np.sqrt(variance), rel=0.05)


def test_copies_of_an_image_add_nothing_if_they_are_one_group():
    a, b = arms(7, images=12)
    single = hierarchical_interval(a, b, rng(8))
    a4, b4 = np.repeat(a, 4, axis=1), np.repeat(b, 4, axis=1)
    grouped = hierarchical_interval(a4, b4, rng(8), np.repeat([f"{i:02}" for i in range(12)], 4))
    assert (grouped.low, grouped.high) == pytest.approx((single.low, single.high))
    naive = hierarchical_interval(a4[:1], b4[:1], rng(8))
    honest = hierarchical_interval(a[:1], b[:1], rng(8))
    assert naive.high - naive.low < 0.6 * (honest.high - honest.low)


def test_groups_of_unequal_size_by_the_definition():
    a, b = arms(9, runs=1, images=7)
    groups = np.array(list("aaaabbc"))
    found = hierarchical_interval(a, b, rng(10), groups, level=0.8, n_resamples=20_000)
    d, source, means = (a - b)[0], rng(11), []
    for _ in range(5000):
        drawn = source.choice(["a", "b", "c"], 3)
        means.append(np.concatenate([d[groups == name] for name in drawn]).mean())
    assert (found.low, found.high) == pytest.approx(
        tuple(np.quantile(means, (0.1, 0.9))), abs=0.004
    )


def test_resampling_in_blocks_is_still_resampling():
    d = rng(12).normal(size=(2, 60_000))
    found = hierarchical_interval(d[:1], np.zeros((1, 60_000)), rng(13), n_resamples=100)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 / np.sqrt(60_000), rel=0.35)


def test_runs_that_scatter_widen_the_interval_and_do_not_impress_wilcoxon():
    # Every run moves all images alike: one lucky run convinces the test over images.
    source = rng(14)
    hardness = source.random(60)
    b = np.tile(hardness, (6, 1))
    a = b + source.normal(0, 0.05, (6, 1)) + 0.005 * source.normal(size=(6, 60))
    found = compare(a, b, rng(15))
    assert found.images.p < 1e-6
    assert found.runs.p > 0.05
    assert found.difference.low < 0 < found.difference.high
    assert abs(found.effect_images.d_z) > abs(found.effect_runs.d_z)


def test_effect_sizes_by_hand():
    found = effect_sizes([0.4, -0.1, 0.2, 0.0, 0.3])
    assert found.d_z == pytest.approx(0.16 / np.std([0.4, -0.1, 0.2, 0, 0.3], ddof=1))
    # Ranks 5, 2, 3, 1, 4; the zero's rank is in neither sum.
    assert found.rank_biserial == pytest.approx((12 - 2) / 14)
    assert found.superiority == pytest.approx(3.5 / 5)
    assert found.n == 5


def test_rank_biserial_is_the_balance_of_the_wilcoxon_statistic():
    d = rng(16).normal(0.2, 1, 25)
    total = 25 * 26 / 2
    statistic = wilcoxon_over_images(*one_run(d)).statistic
    assert abs(effect_sizes(d).rank_biserial) == pytest.approx(1 - 2 * statistic / total)


@pytest.mark.parametrize("n", [4, 10])
def test_the_corrected_effect_is_unbiased(n):
    d = rng(17).normal(0.5, 1, (3000, n))
    found = [effect_sizes(row) for row in d]
    g, d_z = (np.array([getattr(e, name) for e in found]) for name in ("g_z", "d_z"))
    error = g.std() / np.sqrt(g.size)
    assert abs(g.mean() - 0.5) < 4 * error
    assert d_z.mean() - 0.5 > 4 * error


@pytest.mark.filterwarnings("error")
def test_effect_sizes_of_degenerate_differences():
    one = effect_sizes([-0.2])
    assert np.isnan([one.d_z, one.g_z]).all()
    assert (one.rank_biserial, one.superiority) == (-1, 0)
    two = effect_sizes([0.1, 0.3])
    assert two.d_z == pytest.approx(2**0.5)
    assert np.isnan(two.g_z)
    same = effect_sizes([-0.1] * 7)
    assert (same.d_z, same.g_z) == (-np.inf, -np.inf)


def holm_by_closed_testing(p):
    """Largest Bonferroni p of all sets of hypotheses that hold this one."""
    m = len(p)
    subsets = [s for size in range(1, m + 1) for s in combinations(range(m), size)]
    return [max(min(1, len(s) * min(p[j] for j in s)) for s in subsets if i in s) for i in range(m)]


@pytest.mark.parametrize("seed", range(6))
def test_holm_is_the_closure_of_bonferroni(seed):
    p = np.round(rng(seed).random(6) ** 2, 2)  # ties among them
    assert holm(p) == pytest.approx(holm_by_closed_testing(p))


def test_holm_at_its_ends():
    assert holm([0.03]) == pytest.approx([0.03])
    assert holm([0, 1, 0.5]) == pytest.approx([0, 1, 1])


@pytest.mark.parametrize("runs", [2, 3, 5, 20])
@pytest.mark.parametrize("effect", [0.1, 1.0, 3.0])
def test_power_equals_both_tails_of_the_noncentral_t_distribution(runs, effect):
    limit = stats.t.isf(0.025, runs - 1)
    upper, lower = (stats.nct.sf(limit, runs - 1, s * runs**0.5 * effect) for s in (1, -1))
    found = power_over_runs(-0.02 * effect, 0.02, runs)
    assert found == pytest.approx(upper + lower, rel=1e-6)


def test_power_is_how_often_the_interval_of_student_leaves_out_zero():
    draws = rng(18).normal(0.03, 0.02, (4000, 5))
    intervals = np.array([student_interval(row) for row in draws])
    hits = np.mean((intervals > 0).all(axis=1) | (intervals < 0).all(axis=1))
    # 4 sigma is 0.03.
    assert power_over_runs(0.03, 0.02, 5) == pytest.approx(hits, abs=0.03)


def test_power_without_a_difference_is_the_level():
    assert power_over_runs(0, 0.1, 5, alpha=0.01) == 0.01
    assert power_over_runs(1e-9, 0.1, 5, alpha=0.01) == pytest.approx(0.01)


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 60])
@pytest.mark.parametrize("runs", [2, 3, 5, 10, 100])
@pytest.mark.parametrize("power", [0.1, 0.8, 0.99])
def test_the_smallest_detectable_difference_has_that_power(alpha, runs, power):
    found = smallest_detectable(0.013, runs, alpha=alpha, power=power)
    # Power as an integral over the spread that is found, whose square is chi-squared.
    shares = (np.arange(20_000) + 0.5) / 20_000
    found_spread = np.sqrt(chdtri(runs - 1, shares) / (runs - 1))
    limit = stats.t.isf(alpha / 2, runs - 1) * found_spread
    shift = np.sqrt(runs) * found / 0.013
    expected = np.mean(stats.norm.sf(limit - shift) + stats.norm.cdf(-limit - shift))
    assert expected == pytest.approx(power, abs=1e-3)
    assert power_over_runs(found, 0.013, runs, alpha=alpha) == pytest.approx(power, abs=1e-6)


def test_what_five_runs_can_detect():
    assert smallest_detectable(1, 5) == pytest.approx(1.68, abs=0.005)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compare(np.ones((2, 3)), np.ones((3, 2)), rng()), r"\(2, 3\) and b of .*\(3, 2\)"),
        (lambda: compare(np.ones(3), np.ones(3), rng()), r"expected the same shape \(runs"),
        (lambda: run_differences(np.ones((0, 3)), np.ones((0, 3))), r"shape \(0, 3\)"),
        (lambda: run_differences([[1, np.nan]], [[1, 2]]), "a holds 1 NaN"),
        (lambda: image_differences([[1, 2]], [[1, np.inf]]), "b holds 1 NaN or infinite"),
        (lambda: image_differences([[1, 2]], [[1, 2]], ["p"]), "groups names 1 images"),
        (lambda: compare([[1, 2]], [[1, 2]], 0), "rng is 0; a bootstrap needs"),
        (lambda: compare([[1, 2]], [[1, 2]], rng(), level=95), "level is 95"),
        (lambda: compare([[1, 2]], [[1, 2]], rng(), n_resamples=9), "n_resamples is 9"),
        (lambda: sign_flip_over_runs(np.ones((21, 1)), np.ones((21, 1))), "at most 20"),
        (lambda: smallest_p(0), "runs=0"),
        (lambda: effect_sizes([]), r"shape \(0,\)"),
        (lambda: effect_sizes([1, np.nan]), "1 of them NaN"),
        (lambda: holm([0.1, np.nan]), "each in 0..1"),
        (lambda: holm([1.1]), "each in 0..1"),
        (lambda: holm([]), "at least one"),
        (lambda: power_over_runs(0.1, 0.0, 5), "std=0.0"),
        (lambda: power_over_runs(np.nan, 0.1, 5), "difference=nan"),
        (lambda: power_over_runs(0.1, 0.1, 1), "runs=1"),
        (lambda: smallest_detectable(0.1, 5, alpha=5), "alpha=5"),
        (lambda: smallest_detectable(0.1, 5, power=0.05), "power=0.05"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ParameterError, match=message):
        call()
