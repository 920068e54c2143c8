import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.data.splits import rotating_split, split_by_group
from helpers.errors import ParameterError


@given(
    groups=st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=60).filter(
        lambda g: len(set(g)) > 1
    ),
    share=st.floats(0.05, 0.95),
    seed=st.integers(0, 5),
)
def test_no_group_is_on_both_sides_and_nothing_is_lost(groups, share, seed):
    train, test = split_by_group(groups, share, np.random.default_rng(seed))
    assert sorted([*train, *test]) == list(range(len(groups)))
    assert len(train)
    assert len(test)
    assert not {groups[i] for i in train} & {groups[i] for i in test}


def test_the_share_is_met_exactly_where_groups_allow():
    _, test = split_by_group([str(i) for i in range(500)], 0.2, np.random.default_rng(0))
    assert len(test) == 100


def test_the_generator_decides():
    groups = [str(i) for i in range(50)]
    first = split_by_group(groups, 0.3, np.random.default_rng(1))[1]
    again = split_by_group(groups, 0.3, np.random.default_rng(1))[1]
    other = split_by_group(groups, 0.3, np.random.default_rng(2))[1]
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ParameterError, match="test_share"):
        split_by_group(["a", "b"], share, np.random.default_rng(0))


def test_one_group_cannot_be_split():
    with pytest.raises(ParameterError, match="at least two groups"):
        split_by_group(["a", "a"], 0.5, np.random.default_rng(0))


def test_a_rotating_split_tests_everything_in_turn_and_tears_no_group_apart():
    def turn(number, groups, share):
        return rotating_split(groups, share, number, np.random.default_rng(3))

    single = [str(i) for i in range(13)]
    tested = [turn(number, single, 0.2)[1] for number in range(5)]
    assert [len(part) for part in tested] == [3] * 5
    counts = np.bincount(np.concatenate(tested), minlength=13)
    assert sorted(counts) == [1] * 11 + [2] * 2
    grouped = np.array(["a", "a", "b", "c", "c", "c", "d", "e"])
    for number in range(8):
        train, test = turn(number, grouped, 0.25)
        assert not set(grouped[train]) & set(grouped[test])
        assert len(test) >= 2
        assert sorted([*train, *test]) == list(range(8))
    with pytest.raises(ParameterError, match="turn 0 tests all 2"):
        turn(0, ["a", "b"], 0.9)
