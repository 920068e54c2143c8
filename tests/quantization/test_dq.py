"""The closed forms against the definitions they stand for, written with all pairwise distances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.errors import ParameterError
from helpers.quantization import Bins, quantize, select, select_random


def brute_force(features: np.ndarray, sizes: np.ndarray, gain: str) -> list[int]:
    """Greedy order by the definitions, float64, from the full matrix of squared distances."""
    points = np.asarray(features, np.float64)
    distances = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    centre_distances = ((points - points.mean(axis=0)) ** 2).sum(axis=1)
    order: list[int] = []
    for size in sizes:
        inside: list[int] = []
        for _ in range(size):
            free = [i for i in range(len(points)) if i not in order and i not in inside]
            outside = [i for i in range(len(points)) if i not in inside]
            if gain == "paper_eq":
                scores = [distances[i, inside].sum() - distances[i, outside].sum() for i in free]
            elif not inside:
                scores = [-distances[i].sum() for i in free]
            else:
                scores = [distances[i, inside].mean() - distances[i].mean() for i in free]
            # Equal up to rounding counts as equal; the lower index then goes first.
            scale = centre_distances.max() * (len(points) if gain == "paper_eq" else 1)
            near = np.flatnonzero(np.array(scores) >= max(scores) - 1e-9 * scale)
            inside.append(free[near[0]])
        order += inside
    return order


@pytest.mark.parametrize("gain", ["paper_eq", "official_code"])
@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(2, 40),
    d=st.integers(1, 6),
    bins=st.integers(1, 8),
    seed=st.integers(0, 10_000),
)
def test_the_order_is_that_of_the_definition(gain, n, d, bins, seed):
    rng = np.random.default_rng(seed)
    features = rng.standard_t(3, (n, d)) + 5
    result = quantize(features, min(bins, n), gain)
    assert result.order.tolist() == brute_force(features, result.sizes, gain)


@pytest.mark.parametrize("gain", ["paper_eq", "official_code"])
def test_bins_partition_the_set_with_sizes_that_differ_by_at_most_one(gain):
    result = quantize(np.random.default_rng(0).random((47, 3)), 10, gain)
    assert result.sizes.tolist() == [5] * 7 + [4] * 3
    assert sorted(result.order) == list(range(47))


def test_the_two_gains_pick_opposite_points():
    rng = np.random.default_rng(0)
    features = np.vstack([rng.normal(0, 1, (190, 8)), rng.normal(0, 8, (10, 8))])
    distance = np.linalg.norm(features - features.mean(axis=0), axis=1)
    printed, released = (
        distance[quantize(features, 10, gain).order[:20]].mean()
        for gain in ("paper_eq", "official_code")
    )
    assert printed < np.median(distance) < released


@pytest.mark.parametrize("gain", ["paper_eq", "official_code"])
def test_translation_changes_nothing(gain):
    features = np.random.default_rng(3).random((60, 4))
    moved = quantize(features + 100, 6, gain).order
    assert (moved == quantize(features, 6, gain).order).all()


def test_equal_points_are_taken_in_order_of_index():
    assert quantize(np.ones((7, 2)), 3, "paper_eq").order.tolist() == list(range(7))


def test_a_single_sample_and_bad_input():
    assert quantize(np.zeros((1, 5)), 1).order.tolist() == [0]
    with pytest.raises(ParameterError, match="row 1 holds NaN"):
        quantize(np.array([[0.0], [np.nan]]), 1)
    with pytest.raises(ParameterError, match="n_bins=3"):
        quantize(np.zeros((2, 2)), 3)
    with pytest.raises(ParameterError, match="gain='nearest'"):
        quantize(np.zeros((2, 2)), 1, "nearest")
    with pytest.raises(ParameterError, match="expected \\(samples, dimensions\\)"):
        quantize(np.zeros(4), 1)


@given(
    n=st.integers(1, 300),
    bins=st.integers(1, 12),
    rate=st.floats(0.001, 1),
    sampling=st.sampled_from(["uniform", "prefix"]),
)
def test_coresets_have_the_exact_size_and_take_from_every_bin_alike(n, bins, rate, sampling):
    bins = min(bins, n)
    sizes = np.full(bins, n // bins)
    sizes[: n % bins] += 1
    parts = Bins(np.random.default_rng(0).permutation(n), sizes)
    chosen = select(parts, rate, np.random.default_rng(1), sampling)
    assert len(chosen) == max(1, round(rate * n))
    assert (np.diff(chosen) > 0).all()
    shares = [np.isin(part, chosen).sum() - len(chosen) * len(part) / n for part in parts.split()]
    assert max(np.abs(shares)) <= 1


def test_published_rounding_follows_the_released_script():
    bins = quantize(np.random.default_rng(0).random((10_063, 2)), 10, "paper_eq")
    assert len(select(bins, 0.01, np.random.default_rng(0), "prefix", "published")) == 100
    assert len(select(bins, 0.0001, np.random.default_rng(0), "prefix", "published")) == 10


def test_prefix_takes_the_first_picks_of_each_bin():
    bins = Bins(np.array([5, 3, 1, 0, 2, 4]), np.array([3, 3]))
    assert select(bins, 1 / 3, np.random.default_rng(0), "prefix").tolist() == [0, 5]


def test_random_subsets():
    chosen = select_random(1000, 0.1, np.random.default_rng(0))
    assert len(chosen) == len(set(chosen)) == 100
    assert len(select_random(10, 0.001, np.random.default_rng(0))) == 1
    with pytest.raises(ParameterError, match="rate=0"):
        select_random(10, 0, np.random.default_rng(0))
