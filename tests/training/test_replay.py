import numpy as np
import pytest

from helpers.errors import ParameterError
from helpers.replay import AdaptiveShare, Mixer, appended, controlled


def batches(mixer, count):
    return np.concatenate([mixer.next() for _ in range(count)])


@pytest.mark.parametrize("shares", [(0.9, 0.1), (0.99, 0.01), (1 / 3, 1 / 3, 1 / 3), (0.5, 0, 0.5)])
def test_every_source_gets_its_share_over_any_stretch(shares):
    mixer = Mixer(controlled([np.arange(5)] * len(shares), shares), batch_size=8, seed=0)
    sources = batches(mixer, 250)[:, 0]
    for end in (8, 40, 333, 2000):
        counts = np.bincount(sources[:end], minlength=len(shares))
        assert np.abs(counts - end * np.array(shares)).max() <= len(shares) - 1 + 1e-9


def test_no_patch_comes_back_before_all_were_seen():
    mixer = Mixer(controlled([np.arange(7), np.arange(100, 103)], (0.75, 0.25)), 8, seed=3)
    rows = batches(mixer, 50)
    for source, n in ((0, 7), (1, 3)):
        seen = rows[rows[:, 0] == source, 1]
        whole = seen[: len(seen) // n * n].reshape(-1, n)
        assert (np.sort(whole, axis=1) == np.unique(seen)).all()
        assert len({tuple(turn) for turn in whole}) > 1, "the same order in every pass"


def test_appended_sources_are_drawn_by_their_numbers_of_patches():
    mixer = Mixer(appended([np.arange(90), np.arange(10)]), 10, seed=0)
    rows = batches(mixer, 10)
    # One pass over 100 patches: each exactly once.
    assert len(np.unique(rows, axis=0)) == 100
    assert np.bincount(rows[:, 0]).tolist() == [90, 10]


def test_the_sequence_is_that_of_its_seed():
    def sequence(seed):
        return batches(Mixer(appended([np.arange(50)]), 4, seed), 20)

    assert (sequence(1) == sequence(1)).all()
    assert (sequence(1) != sequence(2)).any()


def test_a_restored_mixer_goes_on_as_if_nothing_had_happened():
    def new():
        return Mixer(controlled([np.arange(9), np.arange(4)], (0.8, 0.2)), 8, seed=5)

    whole = new()
    expected = batches(whole, 9)
    first, second = new(), new()
    head = batches(first, 4)
    second.load_state_dict(first.state_dict())
    assert (np.concatenate([head, batches(second, 5)]) == expected).all()


def test_changed_shares_hold_from_then_on():
    mixer = Mixer(controlled([np.arange(9), np.arange(9)], (0.5, 0.5)), 8, seed=0)
    batches(mixer, 3)
    mixer.set_shares((1, 0))
    assert (batches(mixer, 10)[:, 0] == 0).all()
    mixer.set_shares((0, 1))
    assert (batches(mixer, 10)[:, 0] == 1).all()


@pytest.mark.parametrize(
    ("parts", "shares", "message"),
    [
        ([np.arange(3)], (0.5,), "sum to 1"),
        ([np.arange(3), np.arange(3)], (1.5, -0.5), "from 0 to 1"),
        ([np.arange(3), np.arange(0)], (0.5, 0.5), "pool 1 has a share of 0.5 and no patch"),
    ],
)
def test_nonsense_is_refused(parts, shares, message):
    with pytest.raises(ParameterError, match=message):
        Mixer(controlled(parts, shares), 8, 0)


def test_the_more_is_forgotten_the_more_is_replayed():
    rule = AdaptiveShare(low=0.1, high=0.5, tolerance=0.2)
    drops = [rule.share(0.8, now) for now in (0.9, 0.8, 0.7, 0.6, 0.1)]
    assert drops == pytest.approx([0.1, 0.1, 0.3, 0.5, 0.5])


def test_bounds_of_the_adaptive_share_are_checked():
    for settings in ({"low": 0.6}, {"high": 1.0}, {"tolerance": 0}, {"low": -0.1}):
        with pytest.raises(ParameterError):
            AdaptiveShare(**settings)
