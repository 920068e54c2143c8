"""Coverage against hand-made sets and the full matrix of distances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.errors import ParameterError
from helpers.quantization import coverage, label_coverage
from helpers.quantization.cells import k_means_cells
from helpers.quantization.coverage import distances_to_selected
from tests.quantization.baseline_oracles import pairwise


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 40),
    d=st.integers(1, 5),
    seed=st.integers(0, 1000),
    chunk=st.integers(1, 50),
    offset=st.sampled_from([0.0, 1e4]),
)
def test_distances_are_those_of_the_full_matrix(n, d, seed, chunk, offset):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, d)) + offset
    points[n // 2 :] = points[: n - n // 2]
    selected = rng.integers(0, n, max(1, n // 3))
    expected = pairwise(points)[:, selected].min(axis=1)
    found = distances_to_selected(points, selected, chunk)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-12)
    assert (found[selected] == 0).all()


def test_a_line_of_points():
    line = np.arange(101.0)[:, None]
    found = coverage(line, np.array([50, 50]), np.zeros(101))
    assert found.mean_distance == pytest.approx(2 * sum(range(51)) / 101)
    assert found.p95_distance == pytest.approx(48)
    assert found.cells_hit == 1


def test_cells_are_hit_or_missed():
    clusters = np.repeat(100 * np.eye(4), 20, axis=0)
    points = clusters + np.random.default_rng(0).normal(size=clusters.shape)
    cells = k_means_cells(points, 4, np.random.default_rng(1))
    for selected, share in (([0], 0.25), ([0, 5, 25], 0.5), ([0, 20, 40, 60], 1.0)):
        found = coverage(points, np.array(selected), cells)
        assert found.cells_hit == share


def test_copies_make_fewer_cells_than_asked_for():
    points = np.repeat([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], 5, axis=0)
    cells = k_means_cells(points, 10, np.random.default_rng(0))
    assert sorted(np.bincount(cells)) == [5, 5, 5]
    assert (k_means_cells(np.ones((6, 2)), 4, np.random.default_rng(0)) == 0).all()


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e200])
def test_cells_do_not_depend_on_the_scale(scale):
    points = np.repeat(np.eye(3), 7, axis=0)
    cells = k_means_cells(points * scale, 3, np.random.default_rng(0))
    assert sorted(np.bincount(cells)) == [7, 7, 7]


def test_cells_of_a_large_set_are_fitted_on_a_part():
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 12_000)
    cells = k_means_cells(np.eye(3)[kind] + rng.normal(0, 0.01, (12_000, 3)), 3, rng)
    assert len(np.unique(cells * 3 + kind)) == 3


def test_bad_input_is_named():
    points, cells = np.zeros((4, 2)), np.zeros(4)
    with pytest.raises(ParameterError, match="index 4; expected 0 to 3"):
        coverage(points, np.array([1, 4]), cells)
    with pytest.raises(ParameterError, match="index -1"):
        coverage(points, np.array([-1]), cells)
    with pytest.raises(ParameterError, match="at least one sample index"):
        coverage(points, np.array([], dtype=int), cells)
    with pytest.raises(ParameterError, match="at least one sample index"):
        coverage(points, np.array([True, False, True, True]), cells)
    with pytest.raises(ParameterError, match="cells of shape"):
        coverage(points, np.array([0]), np.zeros(5))
    with pytest.raises(ParameterError, match="row 0 holds NaN"):
        coverage(np.full((2, 2), np.nan), np.array([0]), np.zeros(2))


def test_labels_count_instances_octaves_and_kinds():
    found = label_coverage(
        np.array([0, 2, 2]),
        np.array([2, 3, 1]),
        [np.array([16.0, 31.9]), np.array([8, 9, 1000]), np.array([64])],
        ["fluorescence", "phase", "fluorescence"],
    )
    assert found.instances == 3
    # Octaves of the set: 8, 16, 64 and 512; the selection has 16 and 64.
    assert found.sizes_hit == 0.5
    assert found.kinds_hit == 0.5


def test_a_set_without_instances_has_no_share_of_sizes():
    found = label_coverage(np.array([0]), np.zeros(2, int), [np.array([])] * 2, ["a", "a"])
    assert found.instances == 0
    assert np.isnan(found.sizes_hit)
    assert found.kinds_hit == 1


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(ParameterError, match="instances 2, sizes 1, kinds 2: expected one entry"):
        label_coverage(np.array([0]), np.ones(2, int), [np.ones(1)], ["a", "b"])
    with pytest.raises(ParameterError, match="sizes: sample 1 holds an area that is not above 0"):
        label_coverage(np.array([0]), np.ones(2, int), [np.ones(1), np.zeros(1)], ["a", "b"])
