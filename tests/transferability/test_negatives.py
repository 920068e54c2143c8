"""Negatives: who faces whom."""

import numpy as np
import pytest
import torch

from helpers.errors import ParameterError
from helpers.transferability.negatives import choose_negatives, in_cycles


@pytest.mark.parametrize("n", [2, 3, 4, 7, 10])
def test_reversed_is_reverse_order_then_rotated_by_two(n):
    expected = torch.arange(n).flip(0).roll(2).numpy()
    assert (choose_negatives(n, "reversed", np.random.default_rng(0)) == expected).all()


@pytest.mark.parametrize(("n", "itself"), [(4, 0), (6, 0), (5, 1), (7, 1)])
def test_reversed_keeps_the_flaw_of_the_release_for_odd_numbers(n, itself):
    negatives = choose_negatives(n, "reversed", np.random.default_rng(0))
    assert (negatives == np.arange(n)).sum() == itself


@pytest.mark.parametrize("n", [2, 3, 11, 40])
def test_random_is_one_cycle(n):
    negatives = choose_negatives(n, "random", np.random.default_rng(n))
    order = in_cycles(negatives)
    assert (negatives[order] == np.roll(order, -1)).all()
    assert sorted(order) == list(range(n))


@pytest.mark.parametrize("kind", ["reversed", "random"])
@pytest.mark.parametrize("seed", range(20))
def test_groups_are_kept_apart(kind, seed):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, rng.integers(3, 8), 30).astype(str)
    sizes = np.unique(groups, return_counts=True)[1]
    if sizes.max() > 15:
        with pytest.raises(ParameterError, match="of 30 images"):
            choose_negatives(30, kind, rng, groups)
        return
    negatives = choose_negatives(30, kind, rng, groups)
    assert sorted(negatives) == list(range(30))
    assert (groups[negatives] != groups).all()


def test_half_in_one_group_still_works():
    groups = ["a", "a", "b", "c"]
    negatives = choose_negatives(4, "random", np.random.default_rng(0), groups)
    assert all(groups[i] != groups[j] for i, j in enumerate(negatives))


def test_more_than_half_in_one_group_is_refused():
    with pytest.raises(ParameterError, match="'a' has 3 of 4"):
        choose_negatives(4, "random", np.random.default_rng(0), ["a", "a", "a", "b"])
