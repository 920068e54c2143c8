"""Judging a choice of checkpoint, and rules that choose one."""

import numpy as np
import pytest

from helpers.errors import ParameterError
from helpers.transferability.judging import (
    StoppingRule,
    choose_highest,
    choose_lowest,
    compute_saved,
    rank_correlation,
    scores_by_seed,
    stop_online,
)

NAN = float("nan")


@pytest.mark.parametrize("chosen", [0, 2, range(6), (1, 4)])
def test_scores_by_seed_average_to_the_published_tis(chosen):
    scores = np.random.default_rng(0).uniform(0.4, 0.9, (6, 5))
    tis, regret = scores_by_seed(scores, chosen)
    means = scores.mean(axis=1)
    expected = means[chosen] if isinstance(chosen, int) else means[list(chosen)].mean()
    assert tis.mean() == pytest.approx(expected / means.max())
    assert regret.mean() == pytest.approx(means.max() - expected)


def test_the_expected_random_checkpoint_is_the_mean_over_all_choices():
    scores = np.random.default_rng(1).uniform(0.4, 0.9, (6, 3))
    each = [scores_by_seed(scores, i)[0] for i in range(6)]
    np.testing.assert_allclose(scores_by_seed(scores, range(6))[0], np.mean(each, axis=0))


@pytest.mark.parametrize("chosen", [0, 2, range(6), (1, 4)])
def test_the_means_are_those_of_scores_that_are_not_paired_gaps_or_not(chosen):
    """TIS and regret of the means, worked out here without pairs, also where seeds are missing."""
    scores = np.random.default_rng(3).uniform(0.4, 0.9, (6, 5))
    scores[[0, 2, 2, 5], [1, 1, 3, 0]] = NAN
    scores[int(np.nanargmax(np.nanmean(scores, axis=1))), 4] = NAN
    means = np.nanmean(scores, axis=1)
    expected = means[np.atleast_1d(chosen)].mean()
    tis, regret = scores_by_seed(scores, chosen)
    assert tis.mean() == pytest.approx(expected / means.max(), abs=1e-12)
    assert regret.mean() == pytest.approx(means.max() - expected, abs=1e-12)


def test_an_easy_seed_is_no_merit_of_the_rule():
    """Every checkpoint is better with an easy seed: the choice costs the same with each."""
    lengths, seeds = np.array([0.5, 0.8, 0.7]), np.array([-0.1, 0.0, 0.04, 0.06])
    tis, regret = scores_by_seed(lengths[:, None] + seeds, 2)
    np.testing.assert_allclose(regret, 0.1)
    np.testing.assert_allclose(tis, 1 - 0.1 / 0.8)


def test_the_oracle_is_exactly_one_for_every_seed():
    scores = np.random.default_rng(4).uniform(0.4, 0.9, (6, 5))
    scores[3, 2] = NAN
    best = int(np.nanargmax(np.nanmean(scores, axis=1)))
    tis, regret = scores_by_seed(scores, best)
    assert (tis == 1).all()
    assert (regret == 0).all()


def test_a_seed_that_was_never_there_has_no_score():
    scores = np.array([[0.5, NAN, 0.7], [0.8, NAN, 0.8]])
    tis, regret = scores_by_seed(scores, 0)
    np.testing.assert_array_equal(np.isnan(tis), [False, True, False])
    np.testing.assert_array_equal(np.isnan(regret), [False, True, False])


@pytest.mark.parametrize(
    ("values", "rule", "chosen", "seen"),
    [
        # position 0 is the random initialisation and is ignored by the published rule
        ([0.1, 0.5, 0.4, 0.3, 0.35, 0.2], StoppingRule(), 3, 4),
        ([0.1, 0.5, 0.4, 0.3, 0.35, 0.2], StoppingRule(patience=2), 5, 5),
        ([0.1, 0.5, 0.6, 0.7, 0.8, 0.9], StoppingRule(patience=3), 1, 4),
        ([0.9, 0.5, 0.6, 0.3, 0.8, 0.9], StoppingRule(least=3), 3, 4),
        ([0.9, 0.5, 0.3, 0.4, 0.3, 0.2], StoppingRule(smoothing=2), 3, 4),
        ([0.9, 0.5, NAN, 0.3, 0.4, 0.2], StoppingRule(), 3, 4),
        ([0.2, 0.5, 0.4, 0.45, 0.1, 0.1], StoppingRule(watch_start=True), 0, 3),
        ([0.9, 0.5, 0.4, 0.45, 0.1, 0.1], StoppingRule(watch_start=True), 2, 3),
        ([0.9, 0.8, 0.7], StoppingRule(), 2, 2),
    ],
)
def test_online_stopping_by_hand(values, rule, chosen, seen):
    stop = stop_online(values, rule)
    assert (stop.chosen, stop.seen) == (chosen, seen)
    assert stop.triggered == (seen != len(values) - 1)
    # What the rule would do online, when it has seen no more than this.
    for done in range(rule.least + 1, len(values) + 1):
        assert stop_online(values[:done], rule).enough == (done > seen and stop.enough)


@pytest.mark.parametrize("seed", range(30))
def test_a_rule_sees_only_what_came_before(seed):
    """Whatever follows the stop cannot change it."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=12)
    rule = StoppingRule(int(rng.integers(1, 4)), int(rng.integers(1, 4)), int(rng.integers(0, 4)))
    stop = stop_online(values, rule)
    changed = values.copy()
    changed[stop.seen + 1 :] = rng.normal(size=len(values) - stop.seen - 1) - 10
    assert stop_online(changed, rule).chosen == stop.chosen
    assert stop_online(changed, rule).seen == stop.seen
    # With unlimited patience nothing is left of the rule but the smallest value.
    patient = stop_online(values, StoppingRule(patience=99, least=0))
    assert patient.chosen == int(values.argmin())
    assert not patient.triggered


def test_offline_choices():
    assert choose_lowest([NAN, 0.4, 0.2, 0.2]) == 2
    assert choose_highest([NAN, 0.4, 0.2, 0.4]) == 1


def test_compute_saved():
    lengths = [0, 1, 5, 20, 300]
    assert compute_saved(lengths, 4) == 0
    assert compute_saved(lengths, 2) == pytest.approx(1 - 5 / 300)
    assert compute_saved(lengths, 0) == 1


def test_rank_correlation_against_ranks_by_hand():
    indicator = [3.0, 1.0, NAN, 2.0, 4.0]
    scores = np.array([[0.2], [0.9], [0.5], [0.6], [0.1]])
    assert rank_correlation(indicator, scores) == pytest.approx(-1)
    assert np.isnan(rank_correlation([1.0, 1.0, 1.0], np.array([0.1, 0.2, 0.3])))
    assert np.isnan(rank_correlation([1.0, 2.0], np.array([0.1, 0.2])))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stop_online([1.0], StoppingRule()), "least=1"),
        (lambda: choose_lowest([NAN, NAN]), "no finite value"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ParameterError, match=message):
        call()
