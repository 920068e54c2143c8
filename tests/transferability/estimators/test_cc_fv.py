"""CC-FV against roots of matrices, closed cases and loops over pairs."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.stats import ortho_group

from helpers.errors import ParameterError
from helpers.transferability.estimators import (
    LevelFeatures,
    cc_fv,
    class_consistency,
    feature_variety,
    sample_pixels,
)


def gaussian_wasserstein(first, second):
    """Of two images of one class."""
    labels = [np.ones(len(rows), int) for rows in (first, second)]
    return class_consistency([first, second], labels)


def wasserstein_by_roots(first, second):
    a, b = (np.atleast_2d(np.cov(rows, rowvar=False, ddof=0)) for rows in (first, second))
    root = sqrtm(a)
    middle = np.real(sqrtm(root @ b @ root))
    square = np.sum((first.mean(axis=0) - second.mean(axis=0)) ** 2)
    return np.sqrt(square + np.trace(a) + np.trace(b) - 2 * np.trace(middle))


def level(seed, n=4, d=3, m=30, spread=1.0, variety=1.0):
    """Images whose classes 0, 1, 2 lie ``spread`` apart from image to image."""
    rng = np.random.default_rng(seed)
    centres = 3 * rng.normal(size=(3, d))
    pixels, labels = [], []
    for _ in range(n):
        classes = rng.permutation(np.arange(m) % 3)
        moved = centres + spread * rng.normal(size=(3, d))
        pixels.append(moved[classes] + rng.normal(size=(m, d)))
        labels.append(classes)
    pooled = rng.normal(size=d) + variety * rng.normal(size=(n, d))
    return LevelFeatures(tuple(pixels), tuple(labels), pooled)


@pytest.mark.parametrize(("m1", "m2", "d"), [(30, 40, 4), (50, 20, 1), (15, 12, 6)])
def test_wasserstein_distance_is_its_formula(m1, m2, d):
    rng = np.random.default_rng(m1)
    first = rng.normal(size=(m1, d)) @ rng.normal(size=(d, d))
    second = rng.normal(size=(m2, d)) @ rng.normal(size=(d, d)) + 1
    wanted = wasserstein_by_roots(first, second)
    assert gaussian_wasserstein(first, second) == pytest.approx(wanted, rel=1e-6)
    assert gaussian_wasserstein(second, first) == pytest.approx(wanted, rel=1e-6)


def test_wasserstein_distance_with_fewer_pixels_than_dimensions():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(4, 3)), 2 * rng.normal(size=(5, 3))
    # Turned into 20 dimensions nothing changes, though the covariances are singular there.
    frame = ortho_group.rvs(20, random_state=1)[:3]
    wanted = wasserstein_by_roots(first, second)
    assert gaussian_wasserstein(first @ frame, second @ frame) == pytest.approx(wanted, rel=1e-6)


def test_wasserstein_distance_in_one_dimension():
    rng = np.random.default_rng(2)
    a, b = rng.normal(1, 2, (30, 1)), rng.normal(-1, 0.5, (25, 1))
    wanted = np.hypot(a.mean() - b.mean(), a.std() - b.std())
    assert gaussian_wasserstein(a, b) == pytest.approx(wanted, rel=1e-9)


def test_wasserstein_distance_of_points_shifts_and_itself():
    points = np.random.default_rng(3).normal(size=(20, 4))
    assert gaussian_wasserstein(points[:1], points[1:2]) == pytest.approx(
        np.linalg.norm(points[0] - points[1])
    )
    assert gaussian_wasserstein(points, points + np.array([3.0, 0, 4, 0])) == pytest.approx(5)
    assert gaussian_wasserstein(points, points) == pytest.approx(0, abs=1e-6)
    # Twice as wide about the mean: only the spread has to be carried.
    wider = points + (points - points.mean(axis=0))
    assert gaussian_wasserstein(points, wider) == pytest.approx(np.sqrt(points.var(axis=0).sum()))


def test_consistency_is_the_mean_over_pairs_then_classes():
    features = level(4)
    # Class 2 is missing in two images: one pair is left.
    labels = [np.where((c == 2) & (image > 1), 0, c) for image, c in enumerate(features.labels)]
    wanted = []
    for name in (1, 2):
        rows = [p[c == name] for p, c in zip(features.pixels, labels, strict=True)]
        pairs = combinations([found for found in rows if len(found)], 2)
        wanted.append(np.mean([wasserstein_by_roots(a, b) for a, b in pairs]))
    found = class_consistency(features.pixels, labels)
    assert found == pytest.approx(np.mean(wanted), rel=1e-6)


def test_the_background_and_empty_images_have_no_part():
    features = level(5)
    noise = np.random.default_rng(6)
    changed = [
        np.where((c == 0)[:, None], noise.normal(size=p.shape), p)
        for p, c in zip(features.pixels, features.labels, strict=True)
    ]
    wanted = class_consistency(features.pixels, features.labels)
    assert class_consistency(changed, features.labels) == pytest.approx(wanted, rel=1e-12)
    more = [*features.pixels, np.zeros((0, 3))]
    labels = [*features.labels, np.zeros(0, dtype=int)]
    assert class_consistency(more, labels) == pytest.approx(wanted, rel=1e-12)


def test_variety_of_known_directions():
    # Squares of the sides between the ends of three axes and their opposites: 2 (12 pairs), 4 (3).
    axes = np.vstack([np.eye(3), -np.eye(3)]) * np.arange(1, 7)[:, None]
    energy = (12 / np.sqrt(2.001) + 3 / np.sqrt(4.001)) / 15
    assert feature_variety(axes) == pytest.approx(1 / energy, rel=1e-12)
    assert feature_variety([[2.0, 1.0], [4.0, 2.0]]) == pytest.approx(np.sqrt(0.001))
    assert feature_variety([[1.0], [-3.0]]) == pytest.approx(np.sqrt(4.001))


def test_variety_by_loops_and_whatever_the_length_of_the_vectors():
    rng = np.random.default_rng(7)
    pooled = rng.normal(size=(7, 5))
    units = [row / np.linalg.norm(row) for row in pooled]
    energies = [(np.sum((a - b) ** 2) + 1e-3) ** -0.5 for a, b in combinations(units, 2)]
    assert feature_variety(pooled) == pytest.approx(1 / np.mean(energies), rel=1e-9)
    longer = pooled * rng.uniform(1e-3, 1e3, (7, 1))
    assert feature_variety(longer) == pytest.approx(feature_variety(pooled), rel=1e-9)


def test_the_score_is_the_sum_of_log_ratios():
    levels = [level(8), level(9, d=6)]
    ratios = [feature_variety(x.pooled) / class_consistency(x.pixels, x.labels) for x in levels]
    assert cc_fv(levels) == pytest.approx(np.log(ratios).sum(), rel=1e-12)
    assert cc_fv(levels) == pytest.approx(cc_fv(levels[:1]) + cc_fv(levels[1:]), rel=1e-12)


def test_consistent_classes_and_varied_images_score_higher():
    by_spread = [cc_fv([level(10, n=6, m=90, spread=s)]) for s in (3.0, 1.0, 0.3)]
    by_variety = [cc_fv([level(10, n=6, m=90, variety=v)]) for v in (0.1, 0.5, 2.0)]
    assert by_spread == sorted(by_spread)
    assert by_variety == sorted(by_variety)


def test_rotation_order_and_precision_do_not_matter():
    features = level(11)
    wanted = cc_fv([features])
    turn = ortho_group.rvs(3, random_state=12)
    turned = LevelFeatures(
        tuple(p @ turn for p in features.pixels), features.labels, features.pooled @ turn
    )
    order = [2, 0, 3, 1]
    shuffled = LevelFeatures(
        tuple(features.pixels[i][::-1] for i in order),
        tuple(features.labels[i][::-1] for i in order),
        features.pooled[order],
    )
    single = LevelFeatures(
        tuple(p.astype(np.float32) for p in features.pixels),
        features.labels,
        features.pooled.astype(np.float32),
    )
    assert cc_fv([turned]) == pytest.approx(wanted, rel=1e-9)
    assert cc_fv([shuffled]) == pytest.approx(wanted, rel=1e-9)
    assert cc_fv([single]) == pytest.approx(wanted, abs=1e-5)


def test_a_sample_of_pixels_is_taken_apart_by_image():
    rng = np.random.default_rng(13)
    maps = rng.normal(size=(3, 2, 4, 4))
    labels = rng.integers(0, 3, (3, 8, 8))
    sample = sample_pixels(maps, labels, 20, rng)
    features = LevelFeatures.from_sample(sample, maps.mean(axis=(2, 3)))
    assert [p.shape for p in features.pixels] == [(20, 2)] * 3
    np.testing.assert_array_equal(np.concatenate(features.pixels), sample.features)
    np.testing.assert_array_equal(np.concatenate(features.labels), sample.labels)
    assert np.isfinite(cc_fv([features]))


def wrong_levels():
    good = level(14)
    nan = tuple(np.where(np.arange(3) == 1, np.nan, p) for p in good.pixels)
    inf = np.where(np.arange(3) == 1, np.inf, good.pooled)
    constant = tuple(np.full_like(p, 0.1) for p in good.pixels)
    thrice = LevelFeatures((good.pixels[0],) * 4, (good.labels[0],) * 4, good.pooled)
    return {
        "NaN in pixels": (replace(good, pixels=nan), "row . holds NaN"),
        "infinite pooled": (replace(good, pooled=inf), "infinity"),
        "constant": (replace(good, pixels=constant), "same features in all images"),
        "copies of one image": (thrice, "same features in all images"),
        "zero pooled": (replace(good, pooled=np.zeros((4, 3))), "pooled: row 0 is zero"),
        "background only": (
            replace(good, labels=tuple(np.zeros(30, int) for _ in range(4))),
            "no class but the background",
        ),
        "a class in one image only": (
            replace(good, labels=(np.ones(30, int), *[np.zeros(30, int)] * 3)),
            "no class but the background",
        ),
    }


@pytest.mark.parametrize("case", wrong_levels())
def test_refused_features(case):
    features, message = wrong_levels()[case]
    with pytest.raises(ParameterError, match=message):
        cc_fv([features])


def test_a_class_of_one_pixel_is_a_point():
    features = level(16)
    labels = []
    for classes in features.labels:
        single = np.zeros(30, dtype=int)
        single[np.flatnonzero(classes == 1)[0]] = 1
        labels.append(single)
    points = np.array([p[c == 1][0] for p, c in zip(features.pixels, labels, strict=True)])
    wanted = np.mean([np.linalg.norm(a - b) for a, b in combinations(points, 2)])
    assert class_consistency(features.pixels, labels) == pytest.approx(wanted, rel=1e-9)
