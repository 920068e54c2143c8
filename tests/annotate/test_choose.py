"""From a folder to a ranking."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.annotate import describe
from helpers.annotate.candidates import Cut
from helpers.annotate.choose import METHODS, RANDOM_DRAWS, Request, choose, rank_again
from helpers.annotate.describe import Source, Squares
from helpers.errors import DataError, ParameterError
from helpers.quantization import METHODS as ALL_METHODS


@pytest.fixture
def request_(folder, tmp_path):
    return Request(folder, tmp_path / "out", budget=4)


def test_every_method_of_the_library_has_a_name_here():
    assert sorted(METHODS.values()) == sorted(ALL_METHODS)


def test_every_method_ranks_and_a_second_call_gives_the_same(request_):
    first = choose(request_)
    assert first.survey.read == 10
    for method in METHODS:
        choice = choose(replace(request_, method=method))
        assert choice.survey.read == 2  # the unreadable ones are tried again
        assert len(set(choice.chosen.tolist())) == 4
        assert choice.stands_for.sum() == len(choice.candidates) == 10
        assert choice.stands_for.min() >= 1
        again = rank_again(first, method, seed=0)
        np.testing.assert_array_equal(again.chosen, choice.chosen)
        assert again.spread.mean == choice.spread.mean


def test_the_spread_measures_distances_to_the_nearest_chosen_one(request_):
    choice = choose(request_)
    distances = np.linalg.norm(choice.features[:, None] - choice.features[choice.chosen], axis=2)
    assert choice.spread.mean == pytest.approx(distances.min(axis=1).mean())
    assert choice.spread.p95 == pytest.approx(np.percentile(distances.min(axis=1), 95))
    assert choice.spread.cells in (0.25, 0.5, 0.75, 1.0)
    assert choice.spread.random.shape == (RANDOM_DRAWS, 3)


def test_stands_for_counts_nearest_chosen_ones(request_):
    choice = choose(request_)
    distances = np.linalg.norm(choice.features[:, None] - choice.features[choice.chosen], axis=2)
    expected = np.bincount(distances.argmin(axis=1), minlength=4)
    np.testing.assert_array_equal(choice.stands_for, expected)


def test_a_budget_beyond_the_folder_ranks_everything(request_):
    choice = choose(replace(request_, budget=1000))
    assert sorted(choice.chosen.tolist()) == list(range(10))
    assert choice.spread is None


def test_one_picture_is_enough(tmp_path, folder):
    own = tmp_path / "own"
    own.mkdir()
    (own / "a.png").write_bytes((folder / "a" / "0.png").read_bytes())
    choice = choose(Request(own, tmp_path / "out", budget=1))
    assert choice.chosen.tolist() == [0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget": 0}, "budget 0"),
        ({"n_bins": 0}, "bins 0"),
        ({"seed": -1}, "seed -1"),
        ({"method": "best"}, r"method 'best': unknown.*facility-location"),
        ({"features": "clip"}, r"features 'clip': unknown.*mae-vit-base"),
        ({"features": "timm:"}, "features 'timm:': unknown"),
    ],
)
def test_wrong_requests_are_refused(request_, change, message):
    with pytest.raises(ParameterError, match=message):
        choose(replace(request_, **change))


def test_results_do_not_go_into_the_images(request_):
    with pytest.raises(ParameterError, match="is the folder of the images"):
        replace(request_, output=request_.folder)


@pytest.mark.parametrize("cut", [Cut(), Cut(32, 24)])
def test_a_network_sees_the_same_squares_in_any_order(folder, tmp_path, cut):
    choice = choose(Request(folder, tmp_path / "out", 3, cut=cut))
    source = Source(folder, tmp_path / "out", cut)
    squares = Squares(source, choice.candidates)
    side = cut.size or 224
    forwards = [squares[i].copy() for i in range(len(squares))]
    assert {square.shape for square in forwards} == {(side, side)}
    for i in reversed(range(len(squares))):
        np.testing.assert_array_equal(squares[i], forwards[i])
    colours = Squares(source, choice.candidates, colours=True)
    shapes = {one.file: colours[i].shape for i, one in enumerate(choice.candidates)}
    assert shapes["b/colour.jpg"] == (side, side, 3)
    assert shapes["stack.tif"] == (side, side)


def test_features_from_networks_are_kept(request_, monkeypatch):
    monkeypatch.setattr(describe, "MAE_STEPS", 1)
    for features in ("lite0", "mae", "timm:test_vit"):
        first = choose(replace(request_, features=features, device="cpu"))
        assert first.features.shape[0] == 10
        assert np.isfinite(first.features).all()
        monkeypatch.setattr("helpers.features.embed._fill", None)  # nothing is computed again
        again = choose(replace(request_, features=features, method="k-center", device="cpu"))
        np.testing.assert_array_equal(again.features, first.features)
        monkeypatch.undo()
        monkeypatch.setattr(describe, "MAE_STEPS", 1)


def test_weights_that_are_not_there_are_named(request_, tmp_path):
    with pytest.raises(DataError, match=r"none\.pth"):
        choose(replace(request_, features=f"timm:test_vit={tmp_path / 'none.pth'}", device="cpu"))


def test_published_weights_are_not_fetched_without_consent(request_, monkeypatch, tmp_path):
    monkeypatch.setenv("BOOK_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("BOOK_DATA_BUNDLE", raising=False)
    with pytest.raises(DataError, match="data fetch mae-vit-base --accept-licence"):
        choose(replace(request_, features="mae-vit-base"))
