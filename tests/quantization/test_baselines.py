"""Every baseline against its definition, and against what theory promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.errors import ParameterError
from helpers.quantization import (
    facility_location,
    herding,
    k_center,
    random_order,
    stratified,
)
from tests.quantization.baseline_oracles import (
    facility_location_order,
    herding_order,
    k_center_order,
    pairwise,
    radius,
    smallest_radius,
    smallest_spread,
    spread,
)

GREEDY = {
    k_center: k_center_order,
    herding: herding_order,
    facility_location: facility_location_order,
}
ALL = [random_order, stratified, *GREEDY]


def name(value) -> str | None:
    return getattr(value, "__name__", None)


@st.composite
def features(draw) -> np.ndarray:
    """Small sets with heavy tails, copies, grids full of ties, offsets and odd scales."""
    n, d = draw(st.integers(1, 30)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    kind = draw(st.sampled_from(["tails", "copies", "grid", "constant"]))
    points = rng.standard_t(3, (n, d))
    if kind == "copies":
        points = points[rng.integers(0, max(1, n // 3), n)]
    elif kind == "grid":
        points = rng.integers(-1, 2, (n, d)).astype(float)
    elif kind == "constant":
        points = np.ones((n, d))
    scaled = points * draw(st.sampled_from([1.0, 1e-6, 1e6])) + draw(st.sampled_from([0.0, 5.0]))
    return scaled.astype(draw(st.sampled_from([np.float32, np.float64])))


@pytest.mark.parametrize("method", GREEDY, ids=name)
@settings(max_examples=80, deadline=None)
@given(points=features())
def test_the_order_is_that_of_the_definition(method, points):
    count = len(points)
    assert method(points, count).tolist() == GREEDY[method](points, count)


@pytest.mark.parametrize("most_pairs", [0, 10**9], ids=["computed anew", "kept"])
def test_facility_location_over_several_blocks(most_pairs):
    rng = np.random.default_rng(0)
    points = rng.normal(0, 4, (12, 16))[rng.integers(0, 12, 1300)] + rng.normal(size=(1300, 16))
    points[700:720] = points[3]
    found = facility_location(points, 60, most_pairs=most_pairs)
    distances = pairwise(points)
    assert found[0] == np.argmin(distances.sum(axis=0))
    nearest = distances[:, found[0]]
    for pick in found[1:]:
        gains = np.maximum(nearest[:, None] - distances, 0).sum(axis=0)
        assert gains[pick] == pytest.approx(gains.max(), rel=1e-9)
        nearest = np.minimum(nearest, distances[:, pick])


def test_k_center_walks_to_the_far_ends():
    line = np.array([[0.0], [1.0], [2.0], [3.0], [10.0]])
    # The mean is 3.2; then the ends; then what is farthest from 3, 10 and 0.
    assert k_center(line, 4).tolist() == [3, 4, 0, 1]


@pytest.mark.parametrize("seed", range(12))
def test_k_center_is_within_twice_the_best_radius(seed):
    rng = np.random.default_rng(seed)
    distances = pairwise(points := rng.standard_t(2, (11, 2)))
    for count in (1, 2, 3, 4):
        found = radius(distances, k_center(points, count).tolist())
        assert found <= 2 * smallest_radius(distances, count) + 1e-12


@pytest.mark.parametrize("seed", range(12))
def test_facility_location_reaches_its_share_of_the_best_value(seed):
    rng = np.random.default_rng(seed)
    distances = pairwise(points := rng.standard_t(2, (11, 2)))
    highest = distances.max() * len(points)
    for count in (2, 3, 4):
        found = highest - spread(distances, facility_location(points, count).tolist())
        assert found >= (1 - 1 / np.e) * (highest - smallest_spread(distances, count))


def test_the_mean_of_a_herd_approaches_the_mean_faster_than_that_of_a_random_sample():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(2000, 8))
    centre = points.mean(axis=0)
    herd = np.linalg.norm(points[herding(points, 100)].mean(axis=0) - centre)
    samples = [points[random_order(points, 100, rng)].mean(axis=0) for _ in range(20)]
    assert herd < 0.1 * min(np.linalg.norm(mean - centre) for mean in samples)


def test_stratified_takes_one_of_every_cluster_whatever_its_size():
    rng = np.random.default_rng(0)
    cluster = np.repeat([0, 1, 2, 3], [400, 60, 5, 1])
    points = 50 * np.eye(4)[cluster] + rng.normal(size=(466, 4))
    chosen = stratified(points, 4, rng)
    assert sorted(cluster[chosen]) == [0, 1, 2, 3]
    assert cluster[chosen[0]] == 0, "the largest cell comes first"


@pytest.mark.parametrize("seed", range(3))
def test_stratified_draws_within_a_cell_at_random(seed):
    points = np.repeat([[0.0], [100.0]], 50, axis=0) + np.linspace(0, 1, 100)[:, None]
    firsts = {int(stratified(points, 2, np.random.default_rng([seed, k]))[0]) for k in range(20)}
    assert len(firsts) > 10


def test_many_cells_share_a_large_count():
    points = np.random.default_rng(0).normal(size=(700, 3))
    chosen = stratified(points, 600, np.random.default_rng(0))
    assert len(set(chosen.tolist())) == 600


def test_random_orders_are_all_equally_likely():
    rng = np.random.default_rng(0)
    orders = [tuple(random_order(np.zeros((3, 1)), 2, rng).tolist()) for _ in range(6000)]
    counts = np.array([orders.count(order) for order in sorted(set(orders))])
    assert len(counts) == 6
    # 99.99 % of chi-square with 5 degrees of freedom lie below 25.7.
    assert ((counts - 1000) ** 2 / 1000).sum() < 25.7


@pytest.mark.parametrize("method", ALL, ids=name)
def test_bad_input_is_named(method):
    rng = np.random.default_rng(0)
    good = np.zeros((4, 2))
    for count in (0, 5, -1, 1.5):
        with pytest.raises(ParameterError, match=f"count={count}: .* 1 to 4"):
            method(good, count, rng)
    bad = good.copy()
    bad[2, 1] = np.inf
    with pytest.raises(ParameterError, match="row 2 holds NaN or infinity"):
        method(bad, 1, rng)
    for shape in ((4,), (0, 2), (4, 0), (2, 2, 2)):
        with pytest.raises(ParameterError, match="expected \\(samples, dimensions\\)"):
            method(np.zeros(shape), 1, rng)
    with pytest.raises(ParameterError, match="expected numbers"):
        method(np.array([["a"], ["b"]]), 1, rng)
