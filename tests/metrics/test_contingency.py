"""The table of overlaps: what it counts, what it accepts and what it refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from helpers.errors import ParameterError
from helpers.metrics import contingency, evaluate
from tests.metrics.oracles import scattered_discs

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


def test_many_distinct_pairs_outgrow_the_first_table():
    rng = np.random.default_rng(0)
    truth = rng.permutation(200 * 300).reshape(200, 300).astype(np.int32)
    prediction = rng.permutation(200 * 300).reshape(200, 300).astype(np.int32)
    table = contingency(truth, prediction)
    assert table.n_true == table.n_predicted == 200 * 300 - 1
    assert (table.overlap == 1).all()
    both = (truth > 0) & (prediction > 0)
    np.testing.assert_array_equal(table.true_labels[table.rows], truth[both])
    np.testing.assert_array_equal(table.predicted_labels[table.columns], prediction[both])


@pytest.mark.parametrize("largest", [2**31 - 1, 2**31, 2**63 - 1])
def test_huge_labels_are_counted_and_reported_as_they_are(largest):
    truth = np.array([[0, largest, largest], [5, 5, 5]])
    prediction = np.array([[largest, largest, largest], [1, 1, 0]])
    table = contingency(truth, prediction)
    assert table.true_labels.tolist() == [largest, 5]
    assert table.predicted_labels.tolist() == [largest, 1]
    assert table.overlap.tolist() == [2, 2]


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
