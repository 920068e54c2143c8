"""Forgetting and transfer against sums done by hand, published tables and relations."""

import numpy as np
import pytest

from helpers.metrics import student_interval
from helpers.retention import average_accuracy, backward_transfer, forgetting, summarise

NAN = float("nan")
ONE_EACH = ((0,), (1,), (2,))

# Dice on Cyto, Histo, MultiInst: arXiv 2511.04803, Table VII.
PATH_A = np.array([[0.853, 0.512, 0.439], [0.080, 0.817, 0.350], [0.594, 0.371, 0.594]])
PATH_C = np.array([[0.546, 0.351, 0.635], [0.848, 0.512, 0.490], [0.243, 0.807, 0.411]])
ORDER_C = ((2,), (0,), (1,))

# Domain 0 gets better after it was learned, then is partly forgotten; 1 is forgotten at once.
RISING = np.array([[0.6, 0.3, 0.1], [0.8, 0.7, 0.2], [0.5, 0.4, 0.9]])


def every_measure(matrix, learned):
    matrix = np.array(matrix)
    measures = average_accuracy, backward_transfer, forgetting
    return [measure(matrix, learned) for measure in measures]


@pytest.mark.parametrize(
    ("matrix", "learned", "expected"),
    [
        # (0.5 + 0.4 + 0.9) / 3; (0.5 - 0.6) and (0.4 - 0.7); 0.8 - 0.5 and 0.7 - 0.4.
        (RISING, ONE_EACH, [0.6, -0.2, 0.3]),
        # A score from before learning is not a best score: domain 1 had 0.9, then 0.6, then 0.5.
        ([[0.8, 0.9, 0.1], [0.8, 0.6, 0.1], [0.8, 0.5, 0.7]], ONE_EACH, [2 / 3, -0.05, 0.05]),
        # (0.594 - 0.853) = -0.259 and (0.371 - 0.817) = -0.446; both were best when learned.
        (PATH_A, ONE_EACH, [1.559 / 3, -0.3525, 0.3525]),
        # Cyto 0.848 - 0.243, MultiInst 0.635 - 0.411; Histo came last.
        (PATH_C, ORDER_C, [1.461 / 3, -0.4145, 0.4145]),
        # Two domains together: (0.5 - 0.6) and (0.3 - 0.8).
        ([[0.6, 0.8, 0.2], [0.5, 0.3, 0.9]], ((0, 1), (2,)), [1.7 / 3, -0.3, 0.3]),
        # What the last stage replays is not forgotten: domain 0 is replayed beside 2, 1 is not.
        ([[0.8, 0.6, 0.1], [0.5, 0.4, 0.7]], ((0, 1), (0, 2)), [1.6 / 3, -0.2, 0.2]),
        ([[0.8, 0.6, 0.1], [0.5, 0.4, 0.7]], ((0,), (0, 2)), [0.6, NAN, NAN]),
        # 0, then 1, then 0 again, then 2. Domain 0: first learned 0.7, best 0.9, final 0.6.
        (
            [[0.7, 0.2, 0.1], [0.4, 0.8, 0.1], [0.9, 0.5, 0.1], [0.6, 0.5, 0.8]],
            ((0,), (1,), (0,), (2,)),
            [1.9 / 3, -0.2, 0.3],
        ),
        # A domain never learned counts nowhere.
        (RISING, ((0,), (1,), (1,)), [0.45, -0.1, 0.3]),
        # One stage has an accuracy and nothing else.
        ([[0.6, 0.8]], ((0, 1),), [0.7, NAN, NAN]),
        # Only scores that are needed must be measured: nothing above the diagonal, or no best.
        ([[0.6, NAN, NAN], [0.8, 0.7, NAN], [0.5, 0.4, 0.9]], ONE_EACH, [0.6, -0.2, 0.3]),
        ([[0.6, NAN, NAN], [NAN, 0.7, NAN], [0.5, 0.4, 0.9]], ONE_EACH, [0.6, -0.2, NAN]),
    ],
)
def test_by_hand(matrix, learned, expected):
    assert every_measure(matrix, learned) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("seed", range(3))
def test_relations(seed):
    matrix, learned = np.random.default_rng(seed).random((4, 4)), ((0,), (1, 2), (0,), (3,))
    found = every_measure(matrix, learned)
    assert found[2] >= -found[1] - 1e-12
    order = np.array([2, 0, 3, 1])
    renamed = tuple(tuple(int(np.flatnonzero(order == k)[0]) for k in stage) for stage in learned)
    assert every_measure(matrix[:, order], renamed) == pytest.approx(found)
    assert every_measure(100 * matrix, learned) == pytest.approx([100 * one for one in found])


def test_summary_over_seeds():
    # Forgetting of domain 0 is 0.7, 0.6 and 0.5; the rest is as easily read off.
    matrices = np.array([[[0.8, 0.4], [0.1 + k / 10, 0.6]] for k in range(3)])
    found = summarise(matrices, ((0,), (1,)))
    assert found.forgetting.values == pytest.approx((0.7, 0.6, 0.5))
    assert (found.forgetting.mean, found.forgetting.n) == (pytest.approx(0.6), 3)
    interval = found.forgetting.low, found.forgetting.high
    assert interval == pytest.approx(student_interval([0.7, 0.6, 0.5]))
    assert found.backward_transfer.values == pytest.approx((-0.7, -0.6, -0.5))
    assert found.average_accuracy.values == pytest.approx((0.35, 0.4, 0.45))


def test_a_seed_that_misses_a_score_is_left_out_and_one_has_no_interval():
    broken = PATH_A.copy()
    broken[-1, 0] = NAN
    found = summarise(np.array([PATH_A, broken, PATH_A]), ONE_EACH).forgetting
    assert found.n == 2
    assert found.values == pytest.approx((0.3525, NAN, 0.3525), nan_ok=True)
    alone = summarise(PATH_A[None], ONE_EACH).forgetting
    assert (alone.mean, alone.n) == (pytest.approx(0.3525), 1)
    assert np.isnan([alone.low, alone.high]).all()
