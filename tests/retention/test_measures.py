"""Forgetting and transfer against sums done by hand, published tables and relations."""

import numpy as np
import pytest

from helpers.errors import ParameterError
from helpers.metrics import student_interval
from helpers.retention import (
    average_accuracy,
    backward_transfer,
    domain_forgetting,
    drop,
    forgetting,
    forward_transfer,
    relative_drop,
    summarise,
)

NAN = float("nan")
ONE_EACH = ((0,), (1,), (2,))

# Dice on Cyto, Histo, MultiInst: arXiv 2511.04803, Table VII.
PATH_A = [[0.853, 0.512, 0.439], [0.080, 0.817, 0.350], [0.594, 0.371, 0.594]]
PATH_C = [[0.546, 0.351, 0.635], [0.848, 0.512, 0.490], [0.243, 0.807, 0.411]]
ORDER_C = ((2,), (0,), (1,))

# Domain 0 gets better after it was learned, then is partly forgotten; 1 is forgotten at once.
RISING = [
    [0.6, 0.3, 0.1],
    [0.8, 0.7, 0.2],
    [0.5, 0.4, 0.9],
]


def random_matrix(seed, n_stages=4, n_domains=4):
    return np.random.default_rng(seed).random((n_stages, n_domains))


def every_measure(matrix, learned, untrained):
    return np.array(
        [
            average_accuracy(matrix, learned),
            backward_transfer(matrix, learned),
            forward_transfer(matrix, learned, untrained),
            forgetting(matrix, learned),
        ]
    )


def test_one_new_domain_for_each_stage():
    # Last row: (0.5 + 0.4 + 0.9) / 3.
    assert average_accuracy(RISING, ONE_EACH) == pytest.approx(0.6)
    # (0.5 - 0.6) and (0.4 - 0.7).
    assert backward_transfer(RISING, ONE_EACH) == pytest.approx(-0.2)
    # Domain 1 before stage 1: 0.3 - 0.05; domain 2 before stage 2: 0.2 - 0.1.
    assert forward_transfer(RISING, ONE_EACH, [0.5, 0.05, 0.1]) == pytest.approx(0.175)
    # Best minus final: 0.8 - 0.5 and 0.7 - 0.4; domain 2 was trained last.
    assert domain_forgetting(RISING, ONE_EACH) == pytest.approx([0.3, 0.3, NAN], nan_ok=True)
    assert forgetting(RISING, ONE_EACH) == pytest.approx(0.3)


def test_a_score_from_before_learning_is_not_a_best_score():
    # Domain 1 had 0.9 before it was learned, 0.6 after, 0.5 in the end.
    matrix = [[0.8, 0.9, 0.1], [0.8, 0.6, 0.1], [0.8, 0.5, 0.7]]
    assert domain_forgetting(matrix, ONE_EACH)[1] == pytest.approx(0.1)


def test_published_path_a():
    # (0.594 + 0.371 + 0.594) / 3.
    assert average_accuracy(PATH_A, ONE_EACH) == pytest.approx(1.559 / 3)
    # (0.594 - 0.853) = -0.259 and (0.371 - 0.817) = -0.446; both were best when learned.
    assert backward_transfer(PATH_A, ONE_EACH) == pytest.approx(-0.3525)
    assert forgetting(PATH_A, ONE_EACH) == pytest.approx(0.3525)
    # Histo after Cyto 0.512, MultiInst after Histo 0.350, from scores of 0.
    assert forward_transfer(PATH_A, ONE_EACH, [0, 0, 0]) == pytest.approx(0.431)


def test_published_path_c():
    # Cyto 0.848 - 0.243, MultiInst 0.635 - 0.411; Histo came last.
    expected = [0.605, NAN, 0.224]
    assert domain_forgetting(PATH_C, ORDER_C) == pytest.approx(expected, nan_ok=True)
    assert forgetting(PATH_C, ORDER_C) == pytest.approx(0.4145)


def test_published_drop():
    # Table V, Dice: Cyto before and after Histo; Histo before and after Cyto.
    assert drop(0.855, 0.080) == pytest.approx(0.775)
    assert drop([0.855, 0.812], [0.080, 0.561]) == pytest.approx([0.775, 0.251])
    # 0.775 / 0.855 and 0.251 / 0.812.
    assert relative_drop([0.855, 0.812], [0.080, 0.561]) == pytest.approx(
        [0.9064, 0.3091], abs=5e-5
    )


def test_drop_of_a_gain_of_nothing_and_of_one_before_several():
    assert drop(0.5, 0.6) == pytest.approx(-0.1)
    assert drop(0.8, [0.8, 0.4]) == pytest.approx([0, 0.4])
    assert relative_drop(0.8, [0.8, 0.4]) == pytest.approx([0, 0.5])
    assert np.isnan(relative_drop(0, 0))
    assert np.isnan(drop([NAN, 0.5], [0.5, NAN])).all()


def test_a_domain_learned_jointly_counts_as_one_of_several():
    # Domains 0 and 1 together, then 2: (0.5 - 0.6) and (0.3 - 0.8); forgetting the same, positive.
    matrix = [[0.6, 0.8, 0.2], [0.5, 0.3, 0.9]]
    learned = ((0, 1), (2,))
    assert backward_transfer(matrix, learned) == pytest.approx(-0.3)
    assert forgetting(matrix, learned) == pytest.approx(0.3)
    assert forward_transfer(matrix, learned, [0, 0, 0.1]) == pytest.approx(0.1)


def test_what_the_last_stage_replays_is_not_forgotten():
    matrix = [[0.8, 0.6, 0.1], [0.5, 0.4, 0.7]]
    # Domain 0 is replayed beside 2, domain 1 is not: 0.6 - 0.4.
    learned = ((0, 1), (0, 2))
    assert domain_forgetting(matrix, learned) == pytest.approx([NAN, 0.2, NAN], nan_ok=True)
    assert forgetting(matrix, learned) == pytest.approx(0.2)
    assert backward_transfer(matrix, learned) == pytest.approx(-0.2)
    # Everything replayed: nothing left to forget, but the drop of the source remains.
    assert np.isnan(forgetting(matrix, ((0,), (0, 2))))
    assert summarise([matrix], ((0,), (0, 2))).drop.mean == pytest.approx(0.3)


def test_a_domain_that_comes_back():
    # 0, then 1, then 0 again, then 2. Domain 0: first learned 0.7, best 0.9, final 0.6.
    matrix = [[0.7, 0.2, 0.1], [0.4, 0.8, 0.1], [0.9, 0.5, 0.1], [0.6, 0.5, 0.8]]
    learned = ((0,), (1,), (0,), (2,))
    assert domain_forgetting(matrix, learned) == pytest.approx([0.3, 0.3, NAN], nan_ok=True)
    # (0.6 - 0.7) and (0.5 - 0.8).
    assert backward_transfer(matrix, learned) == pytest.approx(-0.2)
    # Before first learned: domain 1 0.2, domain 2 0.1; domain 0 at stage 2 is no news.
    assert forward_transfer(matrix, learned, [0, 0, 0]) == pytest.approx(0.15)
    # Stopped when it is back: only domain 1 can be forgotten.
    assert forgetting(matrix[:3], learned[:3]) == pytest.approx(0.3)


def test_a_domain_never_learned_counts_nowhere():
    # (0.5 + 0.4) / 2; domain 2 is only tested.
    learned = ((0,), (1,), (1,))
    assert average_accuracy(RISING, learned) == pytest.approx(0.45)
    assert np.isnan(domain_forgetting(RISING, learned)[2])
    assert forward_transfer(RISING, learned, [0, 0, 0]) == pytest.approx(0.3)


@pytest.mark.parametrize("seed", range(3))
def test_two_stages_leave_one_number(seed):
    matrix, learned = random_matrix(seed, 2, 2), ((1,), (0,))
    lost = forgetting(matrix, learned)
    assert lost == pytest.approx(-backward_transfer(matrix, learned))
    assert lost == pytest.approx(drop(*matrix[:, 1]))
    assert lost == pytest.approx(summarise([matrix], learned).drop.mean)


@pytest.mark.parametrize("seed", range(3))
def test_forgetting_is_never_below_minus_backward_transfer(seed):
    matrix, learned = random_matrix(seed), ((0,), (1, 2), (0,), (3,))
    assert forgetting(matrix, learned) >= -backward_transfer(matrix, learned) - 1e-12


def test_the_order_of_columns_does_not_matter():
    matrix, learned, untrained = random_matrix(5), ((0,), (1, 2), (0,), (3,)), np.arange(4) / 10
    order = np.array([2, 0, 3, 1])
    renamed = tuple(tuple(int(np.flatnonzero(order == k)[0]) for k in stage) for stage in learned)
    expected = every_measure(matrix, learned, untrained)
    assert every_measure(matrix[:, order], renamed, untrained[order]) == pytest.approx(expected)
    assert domain_forgetting(matrix[:, order], renamed) == pytest.approx(
        domain_forgetting(matrix, learned)[order], nan_ok=True
    )


def test_the_unit_of_the_scores_is_the_unit_of_the_results():
    learned, untrained = ((0,), (1, 2), (0,), (3,)), np.arange(4) / 10
    matrix = random_matrix(6)
    assert every_measure(100 * matrix, learned, 100 * untrained) == pytest.approx(
        100 * every_measure(matrix, learned, untrained)
    )


def test_one_stage_has_an_accuracy_and_nothing_else():
    matrix, learned = [[0.6, 0.8]], ((0, 1),)
    expected = [0.7, NAN, NAN, NAN]
    assert every_measure(matrix, learned, [0, 0]) == pytest.approx(expected, nan_ok=True)
    summary = summarise([matrix, matrix], learned, [0, 0])
    assert summary.average_accuracy.mean == pytest.approx(0.7)
    for name in ("backward_transfer", "forward_transfer", "forgetting", "drop", "relative_drop"):
        found = getattr(summary, name)
        assert np.isnan([found.mean, found.low, found.high, *found.values]).all()
        assert found.n == 0


def test_only_scores_that_are_needed_must_be_measured():
    # As in a table with the domains learned so far: nothing above the diagonal.
    matrix = np.array([[0.6, NAN, NAN], [0.8, 0.7, NAN], [0.5, 0.4, 0.9]])
    assert average_accuracy(matrix, ONE_EACH) == pytest.approx(0.6)
    assert forgetting(matrix, ONE_EACH) == pytest.approx(0.3)
    assert np.isnan(forward_transfer(matrix, ONE_EACH, [0, 0, 0]))
    matrix[1, 0] = NAN
    # The best score of domain 0 is not known, its first and last are.
    assert domain_forgetting(matrix, ONE_EACH) == pytest.approx([NAN, 0.3, NAN], nan_ok=True)
    assert np.isnan(forgetting(matrix, ONE_EACH))
    assert backward_transfer(matrix, ONE_EACH) == pytest.approx(-0.2)


def test_summary_over_seeds():
    # Forgetting of domain 0 is 0.7, 0.6 and 0.5; the rest is as easily read off.
    matrices = [[[0.8, 0.4], [0.1 + k / 10, 0.6]] for k in range(3)]
    found = summarise(matrices, ((0,), (1,)), [0.1, 0.1])
    assert found.forgetting.values == pytest.approx((0.7, 0.6, 0.5))
    assert found.forgetting.mean == pytest.approx(0.6)
    assert (found.forgetting.low, found.forgetting.high) == pytest.approx(
        student_interval([0.7, 0.6, 0.5])
    )
    assert found.forgetting.n == 3
    assert found.domain_forgetting[0] == found.forgetting
    assert found.domain_forgetting[1].n == 0
    assert found.backward_transfer.values == pytest.approx((-0.7, -0.6, -0.5))
    assert found.average_accuracy.values == pytest.approx((0.35, 0.4, 0.45))
    assert found.forward_transfer.values == pytest.approx((0.3, 0.3, 0.3))
    assert found.drop.values == pytest.approx((0.7, 0.6, 0.5))
    assert found.relative_drop.values == pytest.approx((0.875, 0.75, 0.625))


def test_summary_of_the_drop_of_two_sources():
    # Drops 0.4 and 0.1; shares 0.5 and 0.25: the mean of shares, not the share of means.
    found = summarise([[[0.8, 0.4, 0.1], [0.4, 0.3, 0.6]]], ((0, 1), (2,)))
    assert found.drop.mean == pytest.approx(0.25)
    assert found.relative_drop.mean == pytest.approx(0.375)


def test_equal_seeds_have_an_interval_of_no_width():
    found = summarise([PATH_A] * 3, ONE_EACH).forgetting
    assert (found.low, found.high) == pytest.approx((found.mean, found.mean))
    assert found.mean == pytest.approx(0.3525)


def test_one_seed_has_no_interval():
    found = summarise([PATH_A], ONE_EACH).forgetting
    assert (found.mean, found.n) == (pytest.approx(0.3525), 1)
    assert np.isnan([found.low, found.high]).all()


def test_a_narrower_level_lies_within():
    matrices = [random_matrix(seed) for seed in range(4)]
    learned = ((0,), (1,), (2,), (3,))
    narrow = summarise(matrices, learned, level=0.5).forgetting
    wide = summarise(matrices, learned).forgetting
    assert wide.low < narrow.low < wide.mean < narrow.high < wide.high


def test_a_seed_that_misses_a_score_is_left_out_and_counted():
    broken = np.array(PATH_A)
    broken[-1, 0] = NAN
    found = summarise([PATH_A, broken, PATH_A], ONE_EACH)
    assert found.forgetting.n == 2
    assert found.forgetting.values == pytest.approx((0.3525, NAN, 0.3525), nan_ok=True)
    assert found.domain_forgetting[1].n == 3


def test_untrained_scores_for_all_seeds_or_for_each():
    # Histo 0.512 and MultiInst 0.350 before learned: mean 0.431, less the mean of 0.1 and 0.3.
    shared = summarise([PATH_A] * 2, ONE_EACH, [0, 0.1, 0.3]).forward_transfer
    assert shared.values == pytest.approx((0.231, 0.231))
    each = summarise([PATH_A] * 2, ONE_EACH, [[0, 0.1, 0.3], [0, 0, 0]]).forward_transfer
    assert each.values == pytest.approx((0.231, 0.431))
    assert summarise([PATH_A] * 2, ONE_EACH).forward_transfer.n == 0


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([0.5, 0.6], r"matrix has shape \(2,\).*\(stages, domains\)"),
        ([PATH_A], r"matrix has shape \(1, 3, 3\)"),
        (np.zeros((0, 3)), r"matrix has shape \(0, 3\).*at least 1"),
        (np.zeros((3, 0)), r"matrix has shape \(3, 0\).*at least 1"),
        ([[0.5, np.inf], [0.5, 0.5]], "matrix holds 1 infinite values among 4"),
        ([[0.5], [0.5, 0.6]], "matrix is no array of numbers"),
        ([["high", "low"]], "matrix is no array of numbers"),
    ],
)
@pytest.mark.parametrize(
    "measure", [average_accuracy, backward_transfer, domain_forgetting, forgetting]
)
def test_unusable_scores(measure, matrix, message):
    with pytest.raises(ParameterError, match=message):
        measure(matrix, ((0,), (1,)))


@pytest.mark.parametrize(
    ("learned", "message"),
    [
        (((0,), (1,)), "learned has 2 stages and the scores have 3"),
        ((), "learned has 0 stages"),
        (((0,), (), (1,)), r"stage 1 trains \(\); expected one or more columns from 0 to 2"),
        (((0,), (1,), (3,)), r"stage 2 trains \(3,\)"),
        (((-1,), (1,), (2,)), r"stage 0 trains \(-1,\)"),
        (((0,), (1.5,), (2,)), "stage 1 trains"),
        (((True, False, False), (1,), (2,)), "stage 0 trains"),
        (("0", "1", "2"), "stage 0 trains"),
        ((0, 1, 2), r"learned is \(0, 1, 2\); for each stage expected"),
        (None, "learned is None"),
    ],
)
def test_unusable_learned(learned, message):
    with pytest.raises(ParameterError, match=message):
        forgetting(PATH_A, learned)
    with pytest.raises(ParameterError, match=message):
        summarise([PATH_A], learned)


def test_unusable_untrained():
    with pytest.raises(ParameterError, match="untrained has 2 scores and matrix 3 domains"):
        forward_transfer(PATH_A, ONE_EACH, [0.1, 0.2])
    with pytest.raises(ParameterError, match=r"untrained has shape \(1, 3\)"):
        forward_transfer(PATH_A, ONE_EACH, [[0.1, 0.2, 0.3]])
    with pytest.raises(ParameterError, match="untrained holds 1 infinite"):
        forward_transfer(PATH_A, ONE_EACH, [0.1, 0.2, -np.inf])
    with pytest.raises(ParameterError, match=r"untrained has shape \(2,\).*\(1, 3\)"):
        summarise([PATH_A], ONE_EACH, [0.1, 0.2])
    with pytest.raises(ParameterError, match="untrained holds 1 infinite"):
        summarise([PATH_A], ONE_EACH, [0.1, 0.2, np.inf])


@pytest.mark.parametrize("measure", [drop, relative_drop])
def test_unusable_pairs(measure):
    with pytest.raises(ParameterError, match="after holds 1 infinite"):
        measure(0.5, np.inf)
    with pytest.raises(ParameterError, match=r"before has shape \(2,\) and after \(3,\)"):
        measure([0.1, 0.2], [0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    ("matrices", "message"),
    [
        (np.zeros((0, 3, 3)), r"matrices has shape \(0, 3, 3\).*\(seeds, stages, domains\)"),
        ([], r"matrices has shape \(0,\)"),
        (PATH_A, r"matrices has shape \(3, 3\)"),
        (np.full((2, 3, 3), np.inf), "matrices holds 18 infinite values"),
    ],
)
def test_unusable_seeds(matrices, message):
    with pytest.raises(ParameterError, match=message):
        summarise(matrices, ONE_EACH)
