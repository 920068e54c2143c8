"""Scores of one image against geometry, maps counted by hand, exact fractions and public peers."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    jaccard_score,
    precision_score,
    recall_score,
)

from helpers.errors import ParameterError
from helpers.metrics import AP_THRESHOLDS, METRICS, evaluate
from helpers.metrics.contingency import contingency
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
def test_equals_cellpose_and_sklearn_on_real_maps(bundle):
    for truth in real_label_maps(bundle, n_nuclei=15, n_tissue=2).values():
        for name, prediction in perturbations(truth).items():
            assert_equals_cellpose(truth, prediction)
            if name in ("eroded", "shifted far"):
                assert_equals_sklearn(truth, prediction)


PIXEL = ("iou", "dice", "precision", "recall", "accuracy")


def sklearn_scores(truth, prediction):
    true, predicted = truth.ravel() > 0, prediction.ravel() > 0
    scores = [
        score(true, predicted, zero_division=0)
        for score in (jaccard_score, f1_score, precision_score, recall_score)
    ]
    return [*scores, accuracy_score(true, predicted)]


def assert_equals_sklearn(truth, prediction):
    found = evaluate(truth, prediction)
    expected = sklearn_scores(truth, prediction)
    np.testing.assert_allclose([getattr(found, s) for s in PIXEL], expected, rtol=1e-12)


def test_rectangles_have_exact_fractions():
    truth = np.zeros((10, 20), int)
    prediction = np.zeros((10, 20), int)
    truth[0:6, 0:10] = 1
    prediction[2:8, 4:14] = 1
    found = evaluate(truth, prediction)
    # 60 pixels each, 4 x 6 = 24 shared, 96 in the union, 200 in the image.
    assert found.iou == pytest.approx(24 / 96)
    assert found.dice == pytest.approx(48 / 120)
    assert found.precision == pytest.approx(24 / 60)
    assert found.recall == pytest.approx(24 / 60)
    assert found.accuracy == pytest.approx((24 + 104) / 200)
    assert found.pq_paper == pytest.approx(24 / 96 * 48 / 120)


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 7), st.integers(1, 7))
    .flatmap(
        lambda s: st.tuples(
            arrays(np.int32, s, elements=st.integers(0, 2)),
            arrays(np.int32, s, elements=st.integers(0, 2)),
        )
    )
    .filter(lambda maps: maps[0].any() or maps[1].any())
)
def test_equals_sklearn_unless_both_are_empty(maps):
    # One empty map included: scikit-learn's zero_division=0 is the convention there.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_equals_sklearn(*maps)


SMALL = st.tuples(st.integers(1, 9), st.integers(1, 9))


def pair(elements):
    return SMALL.flatmap(
        lambda shape: st.tuples(
            arrays(np.int32, shape, elements=elements), arrays(np.int32, shape, elements=elements)
        )
    )


@settings(deadline=None)
@given(pair(st.integers(0, 6)))
def test_counts_equal_a_dense_histogram(maps):
    truth, prediction = maps
    table = contingency(truth, prediction)
    dense, *_ = np.histogram2d(truth.ravel(), prediction.ravel(), bins=np.arange(8) - 0.5)
    rebuilt = np.zeros((7, 7))
    rebuilt[table.true_labels[table.rows], table.predicted_labels[table.columns]] = table.overlap
    np.testing.assert_array_equal(rebuilt[1:, 1:], dense[1:, 1:])
    np.testing.assert_array_equal(np.bincount(truth.ravel())[table.true_labels], table.true_area)
    np.testing.assert_array_equal(
        np.bincount(prediction.ravel())[table.predicted_labels], table.predicted_area
    )
    assert set(table.true_labels) == set(np.unique(truth)) - {0}
    assert table.foreground == (
        dense[1:, 1:].sum(),
        dense[0, 1:].sum(),
        dense[1:, 0].sum(),
        dense[0, 0],
    )
    assert table.n_pixels == truth.size


def test_huge_labels_without_background():
    labels = np.full((2, 2), 2**64 - 1, np.uint64)
    table = contingency(labels, labels)
    assert table.true_labels.tolist() == [2**64 - 1]
    assert table.foreground == (4, 0, 0, 0)


def reference_pair():
    rng = np.random.default_rng(3)
    truth = scattered_discs(rng, (64, 48), 12, 9)
    return truth, np.roll(truth, 2, axis=0)


@pytest.mark.parametrize(
    "dtype", ["u1", "i1", "<u2", ">u2", ">i4", "<u4", "<i8", ">i8", "<u8", ">u8"]
)
def test_any_integer_type_and_byte_order(dtype):
    truth, prediction = reference_pair()
    expected = evaluate(truth, prediction)
    assert evaluate(truth.astype(dtype), prediction.astype(dtype)) == expected
    assert evaluate(truth.astype(dtype), prediction) == expected


def unaligned(labels):
    raw = np.zeros(labels.nbytes + 1, np.uint8)
    view = raw[1:].view(np.int32).reshape(labels.shape)
    view[:] = labels
    assert not view.flags.aligned
    return view


def read_only(labels):
    copy = labels.copy()
    copy.flags.writeable = False
    return copy


@pytest.mark.parametrize(
    "laid_out",
    [
        np.asfortranarray,
        lambda labels: np.repeat(np.repeat(labels, 2, 0), 3, 1)[::2, ::3],
        lambda labels: labels[::-1].copy()[::-1],
        unaligned,
        read_only,
    ],
    ids=["columns first", "strided", "negative stride", "unaligned", "read-only"],
)
def test_any_memory_layout_and_inputs_stay_as_they_were(laid_out):
    truth, prediction = reference_pair()
    given_truth = laid_out(truth)
    before = given_truth.copy()
    assert evaluate(given_truth, laid_out(prediction)) == evaluate(truth, prediction)
    np.testing.assert_array_equal(given_truth, before)


LABELS = np.ones((4, 5), np.int32)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (LABELS.astype(float), "is float64; expected an integer"),
        (LABELS.astype(bool), "is bool; expected an integer.*number the objects"),
        (np.ma.masked_array(LABELS, mask=LABELS == 1), "is a masked array"),
        (np.where(np.eye(4, 5), -1, 1).astype(np.int8), "holds the label -1"),
        (np.where(np.eye(4, 5), -7, 1).astype(np.int32), "holds the label -7"),
        (np.where(np.eye(4, 5), -(2**40), 1), "holds the label -1099511627776"),
    ],
)
def test_unusable_values_are_refused_by_name(wrong, message):
    with pytest.raises(ParameterError, match=f"^truth {message}"):
        evaluate(wrong, LABELS)
    with pytest.raises(ParameterError, match=f"^prediction {message}"):
        evaluate(LABELS, wrong)


@pytest.mark.parametrize("shape", [(20,), (4, 5, 1), (2, 4, 5), (0, 5), ()])
def test_only_images_with_pixels(shape):
    with pytest.raises(ParameterError, match=r"truth has shape .* expected \(height, width\)"):
        evaluate(np.ones(shape, np.int32), np.ones(shape, np.int32))


def test_shapes_must_agree():
    with pytest.raises(ParameterError, match=r"\(4, 5\) and prediction \(5, 4\)"):
        evaluate(LABELS, LABELS.T)


@settings(max_examples=100, deadline=None)
@given(pair(st.integers(0, 5)), st.randoms(use_true_random=False))
def test_scores_do_not_depend_on_the_values_of_labels(maps, random):
    def relabelled(labels, largest):
        values = [0, *random.sample(range(1, largest), 5)]
        return np.array(values, np.int64)[labels]

    truth, prediction = maps
    expected = evaluate(truth, prediction).as_dict()
    for largest in (6, 1000, 2**40):
        found = evaluate(relabelled(truth, largest), relabelled(prediction, largest)).as_dict()
        np.testing.assert_equal(found, expected)


EMPTY = np.zeros((6, 8), np.int32)
OBJECTS = EMPTY.copy()
OBJECTS[1:3, 1:4] = 1
OBJECTS[4:, 5:] = 2
SCORES = [name for name in METRICS if name not in ("accuracy", "n_true", "n_predicted")]


def test_fields_and_their_order():
    found = evaluate(OBJECTS, OBJECTS)
    assert tuple(found.as_dict()) == METRICS
    assert [name for name in METRICS if name.startswith("ap_")] == [
        f"ap_{t}" for t in range(50, 100, 5)
    ]
    assert all(type(value) in (int, float) for value in found.as_dict().values())


@pytest.mark.parametrize(("truth", "prediction"), [(EMPTY, OBJECTS), (OBJECTS, EMPTY)])
@pytest.mark.filterwarnings("error")
def test_one_empty_map_scores_zero(truth, prediction):
    found = evaluate(truth, prediction)
    assert [getattr(found, name) for name in SCORES] == [0] * len(SCORES)
    assert found.accuracy == pytest.approx(1 - 12 / 48)
    assert {found.n_true, found.n_predicted} == {0, 2}


@pytest.mark.filterwarnings("error")
def test_two_empty_maps_are_undefined():
    found = evaluate(EMPTY, EMPTY)
    assert all(math.isnan(getattr(found, name)) for name in SCORES)
    assert (found.accuracy, found.n_true, found.n_predicted) == (1, 0, 0)


def test_no_background_at_all():
    found = evaluate(OBJECTS + 1, OBJECTS + 1)
    assert (found.accuracy, found.iou, found.pq, found.n_true) == (1, 1, 1, 3)


def test_disjoint_foregrounds():
    found = evaluate(OBJECTS, OBJECTS[::-1, ::-1] * (OBJECTS == 0))
    assert found.iou == found.aji == found.aji_cellpose == found.ap == 0
    assert found.accuracy < 1


def test_an_object_may_have_parts():
    parted = np.array([[3, 3, 0, 3, 3]])
    whole = np.array([[1, 1, 1, 1, 1]])
    found = evaluate(parted, whole)
    assert (found.n_true, found.pq) == (1, pytest.approx(4 / 5))
