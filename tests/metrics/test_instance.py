"""Object scores against geometry, maps counted by hand, brute force and Cellpose."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

from helpers.metrics import AP_THRESHOLDS, _kernels, evaluate
from tests.metrics.oracles import (
    cellpose_aji_range,
    exact_scores,
    perturbations,
    real_label_maps,
    scattered_discs,
)

AP = tuple(f"ap_{round(100 * t)}" for t in AP_THRESHOLDS)


def disc(shape, centre, radius):
    y, x = np.ogrid[: shape[0], : shape[1]]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def lens(r, s, d):
    """Area shared by circles of radius r and s whose centres are d apart."""
    if d <= abs(r - s):
        return np.pi * min(r, s) ** 2
    a = np.arccos((d * d + r * r - s * s) / (2 * d * r))
    b = np.arccos((d * d + s * s - r * r) / (2 * d * s))
    return r * r * (a - np.sin(2 * a) / 2) + s * s * (b - np.sin(2 * b) / 2)


@pytest.mark.parametrize(
    ("r", "s", "d"), [(60, 60, 10), (60, 60, 30), (60, 60, 60), (60, 45, 25), (60, 50, 5)]
)
def test_two_discs_overlap_in_a_lens(r, s, d):
    shape = (140, 220)
    truth = disc(shape, (70, 70), r).astype(int)
    prediction = 9 * disc(shape, (70, 70 + d), s).astype(int)
    found = evaluate(truth, prediction)
    common = lens(r, s, d)
    iou = common / (np.pi * (r * r + s * s) - common)
    # Rounding to pixels errs by far less than one pixel along the rim: 2 / r of the area.
    assert found.iou == pytest.approx(iou, abs=5e-3)
    assert found.dice == pytest.approx(2 * iou / (1 + iou), abs=5e-3)
    assert found.aji == found.aji_cellpose == found.iou
    matched = iou > 0.5
    assert found.pq == pytest.approx(iou * matched, abs=5e-3)
    assert [getattr(found, name) for name in AP] == [float(iou >= t) for t in AP_THRESHOLDS]


def test_a_grid_of_discs_scores_like_one():
    shape = (400, 400)
    truth, prediction = np.zeros(shape, int), np.zeros(shape, int)
    for k in range(16):
        centre = (50 + 100 * (k // 4), 45 + 100 * (k % 4))
        truth[disc(shape, centre, 30)] = k + 1
        if k != 5:  # one is missed
            prediction[disc(shape, (centre[0], centre[1] + 9), 30)] = 16 - k
    common = lens(30, 30, 9)
    iou = common / (2 * np.pi * 900 - common)
    found = evaluate(truth, prediction)
    assert (found.n_true, found.n_predicted) == (16, 15)
    assert found.sq == pytest.approx(iou, abs=5e-3)
    assert found.rq == pytest.approx(15 / 15.5)
    assert found.pq == pytest.approx(found.sq * found.rq)
    assert found.ap_50 == pytest.approx(15 / 16)
    union = 15 * (2 * np.pi * 900 - common) + np.pi * 900
    assert found.aji == pytest.approx(15 * common / union, abs=5e-3)


# Hand-counted. Objects: truth 1 (4 px), 2 (4 px), 3 (2 px); prediction 7 (3 px, all in 1),
# 8 (6 px: 4 of truth 2, 2 outside), 9 (1 px, on nothing).
TRUTH = np.array([[1, 1, 0, 2, 2, 0, 0], [1, 1, 0, 2, 2, 0, 0], [0, 0, 0, 0, 0, 3, 3]])
PREDICTION = np.array([[7, 7, 0, 8, 8, 8, 0], [7, 0, 0, 8, 8, 8, 0], [9, 0, 0, 0, 0, 0, 0]])


def test_a_map_counted_by_hand():
    found = evaluate(TRUTH, PREDICTION)
    iou_1, iou_2 = 3 / 4, 4 / 6
    assert found.sq == pytest.approx((iou_1 + iou_2) / 2)
    assert found.rq == pytest.approx(2 / 3)
    assert found.pq == pytest.approx((iou_1 + iou_2) / 3)
    # Two matches of 3 + 3 objects up to 0.65, one up to 0.75 (an IoU of 3/4 counts), then none.
    expected = [2 / 4] * 4 + [1 / 5] * 2 + [0] * 4
    assert [getattr(found, name) for name in AP] == pytest.approx(expected)
    assert found.ap == pytest.approx(sum(expected) / 10)
    # Intersections 3 + 4; unions 4 + 6; truth 3 unmet: 2; prediction 9 not taken: 1.
    assert found.aji == pytest.approx(7 / 13)
    assert found.aji_cellpose == pytest.approx(7 / 13)
    assert found.iou == pytest.approx(7 / 13)


def test_an_object_cut_in_exact_halves():
    truth = np.array([[1, 1, 1, 1]])
    prediction = np.array([[1, 1, 2, 2]])
    for found in (evaluate(truth, prediction), evaluate(prediction, truth)):
        # IoU 1/2 twice: neither is above 1/2; at >= 1/2 one of the two matches.
        assert (found.pq, found.sq, found.rq) == (0, 0, 0)
        assert found.ap_50 == 1 / 2
        assert found.ap_55 == 0
        assert found.aji_cellpose == 1 / 2
    assert evaluate(truth, prediction).aji == pytest.approx(2 / (4 + 2))
    # Both halves take the whole, which counts for each: intersections 2 + 2, unions 4 + 4.
    assert evaluate(prediction, truth).aji == pytest.approx(4 / 8)


def test_the_two_aggregated_jaccard_indices_differ_on_a_merger():
    truth = np.array([[1, 1, 1, 2, 2, 2, 2, 0]])
    prediction = np.array([[5, 5, 5, 5, 5, 5, 5, 0]])
    found = evaluate(truth, prediction)
    assert found.aji == pytest.approx((3 + 4) / (7 + 7))
    assert found.aji_cellpose == pytest.approx(4 / 7)


@pytest.mark.parametrize(
    ("area", "common", "start", "end"),
    [(20, 14, 6, 6), (12, 8, 4, 3)],
    ids=["IoU 7/13", "IoU 1/2"],
)
def test_cellpose_counts_matches_before_it_adds_up_ious(area, common, start, end):
    # A and X overlap in the middle; Y covers the start of A alone, and B the end of X.
    length = 2 * area - common
    truth, prediction = np.zeros((2, 1, length), int)
    truth[0, :area] = 1
    truth[0, area : area + end] = 2
    prediction[0, :start] = 8
    prediction[0, length - area :] = 9
    assert (start + end) / area > common / length, "two poor pairs outweigh one match"
    assert evaluate(truth, prediction).aji_cellpose == common / length


def test_a_threshold_is_met_exactly():
    # IoU k/20 is counted at t = k/20, however k/20 rounds in binary.
    for k in range(10, 20):
        truth = np.ones((1, 20), int)
        prediction = (np.arange(20) < k).astype(int)[None]
        found = evaluate(truth, prediction)
        assert [getattr(found, name) for name in AP] == [float(k >= j) for j in range(10, 20)]


def test_perfect_prediction_scores_one():
    truth = scattered_discs(np.random.default_rng(0), (80, 80), 20, 10)
    found = evaluate(truth, np.where(truth, 1000 - truth, 0)).as_dict()
    n = found.pop("n_true")
    assert found.pop("n_predicted") == n == truth.max()
    assert set(found.values()) == {1.0}


def assert_equals_brute_force(truth, prediction):
    found = evaluate(truth, prediction)
    expected = exact_scores(truth, prediction)
    tied = [float(value) for value in expected.pop("aji_cellpose")]
    assert min(abs(found.aji_cellpose - value) for value in tied) < 1e-12
    values = {name: getattr(found, name) for name in expected}
    assert values == pytest.approx({name: float(v) for name, v in expected.items()}, abs=1e-12)


def blocks(largest):
    """Coarse random maps, so that splits into exact halves and ties are common."""
    shape = st.tuples(st.integers(1, 5), st.integers(1, 6))
    return shape.flatmap(
        lambda s: st.tuples(
            arrays(np.int32, s, elements=st.integers(0, largest)),
            arrays(np.int32, s, elements=st.integers(0, largest)),
        )
    ).filter(lambda maps: maps[0].any() or maps[1].any())


@settings(max_examples=250, deadline=None)
@given(blocks(5))
def test_equals_brute_force_on_random_blocks(maps):
    assert_equals_brute_force(*maps)


@pytest.mark.parametrize("seed", range(20))
def test_equals_brute_force_on_few_discs(seed):
    rng = np.random.default_rng(seed)
    truth = scattered_discs(rng, (30, 40), 6, 9)
    assert_equals_brute_force(truth, scattered_discs(rng, (30, 40), 6, 9))
    assert_equals_brute_force(truth, np.roll(truth, 3, axis=1))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.floats(0.05, 1), st.integers(0, 2**32 - 1))
def test_matching_reaches_the_largest_weight(n_rows, n_columns, density, seed):
    rng = np.random.default_rng(seed)
    dense = rng.random((n_rows, n_columns)) * (rng.random((n_rows, n_columns)) < density)
    rows, columns = np.nonzero(dense)
    shuffled = rng.permutation(rows.size)
    rows, columns = rows[shuffled], columns[shuffled]
    weight = dense[rows, columns]
    taken = _kernels.match_heaviest(rows, columns, weight, n_rows, n_columns)
    taken = np.asarray(taken)
    used = taken[taken >= 0]
    assert (rows[used] == np.flatnonzero(taken >= 0)).all()
    assert np.unique(columns[used]).size == used.size
    best = dense[linear_sum_assignment(dense, maximize=True)].sum()
    assert weight[used].sum() == pytest.approx(best, abs=1e-12)


def assert_equals_cellpose(truth, prediction):
    from cellpose import metrics as peer

    found = evaluate(truth, prediction)
    # Cellpose stores float32.
    ap = peer.average_precision(truth, prediction, threshold=list(AP_THRESHOLDS))[0]
    np.testing.assert_allclose([getattr(found, name) for name in AP], ap, atol=1e-7)
    # Matchings can be equally good and yet cover a few pixels more or less: any of them will do.
    lowest, highest = cellpose_aji_range(truth, prediction)
    for aji in (found.aji_cellpose, peer.aggregated_jaccard_index([truth], [prediction])[0]):
        assert lowest - 1e-12 <= aji <= highest + 1e-12
    assert highest - lowest < 1e-3, "the range is no test"


@pytest.mark.parametrize("seed", range(3))
def test_equals_cellpose_on_generated_maps(seed):
    truth = scattered_discs(np.random.default_rng(seed), (256, 320), 80, 14)
    for prediction in perturbations(truth).values():
        assert_equals_cellpose(truth, prediction)


@pytest.mark.bundle
def test_equals_cellpose_on_real_maps(bundle):
    for truth in real_label_maps(bundle, n_nuclei=15, n_tissue=2).values():
        for prediction in perturbations(truth).values():
            assert_equals_cellpose(truth, prediction)
