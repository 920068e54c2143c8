"""One signature for all methods."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.errors import ParameterError
from helpers.quantization import (
    DETERMINISTIC,
    METHODS,
    WITH_SCORES,
    quantize,
    rank,
    sample_bins,
    select,
)

POINTS = np.random.default_rng(0).normal(size=(53, 4)).astype(np.float32)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 53), rate=st.floats(0.001, 1))
def test_any_size_down_to_one(method, n, rate):
    count = max(1, round(rate * n))
    order = rank(POINTS[:n], count, np.random.default_rng(0), method)
    assert order.dtype == np.int64
    assert len(order) == len(set(order.tolist())) == count
    chosen = select(POINTS[:n], rate, np.random.default_rng(0), method)
    assert chosen.dtype == np.int64
    assert len(chosen) == count
    assert (np.diff(chosen) > 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_generator_matters_only_where_said(method):
    orders = {tuple(rank(POINTS, 10, np.random.default_rng(k), method)) for k in range(5)}
    assert (len(orders) == 1) == (method in DETERMINISTIC)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_choice(method):
    first, second = (rank(POINTS, 20, np.random.default_rng(3), method) for _ in range(2))
    assert first.tolist() == second.tolist()


@pytest.mark.parametrize("method", [m for m in METHODS if m.startswith("dq")])
def test_quantization_goes_round_the_bins(method):
    gain = {"dq_paper_eq": "paper_eq", "dq_graphcut": "graphcut"}.get(method, "official_code")
    bins = quantize(POINTS, 10, gain).split()
    order = rank(POINTS, 53, np.random.default_rng(0), method)
    for turn in range(5):
        for number, sample in enumerate(order[10 * turn : 10 * turn + 10]):
            assert sample in bins[number]
            if method == "dq_official_code":
                assert sample == bins[number][turn]


@pytest.mark.parametrize("method", METHODS)
def test_published_rounding_compares_at_equal_numbers(method):
    bins = quantize(POINTS, 10)
    expected = len(sample_bins(bins, 0.1, np.random.default_rng(0), rounding="published"))
    assert expected == 10
    chosen = select(POINTS, 0.1, np.random.default_rng(0), method, rounding="published")
    assert len(chosen) == expected


@pytest.mark.parametrize("method", WITH_SCORES)
def test_scores_from_outside_draw_samples_forward(method):
    scores = np.zeros(53)
    scores[:6] = 1.0
    places = np.zeros(53)
    for seed in range(40):
        order = rank(POINTS, 53, np.random.default_rng(seed), method, n_bins=1, scores=scores)
        places[order] += np.arange(53) / 40
    assert places[:6].max() < places[6:].min()
    # Half of the draw goes by scores: a scored sample is first with 1/106 + 1/12.
    firsts = [
        rank(POINTS, 1, np.random.default_rng(seed), method, n_bins=1, scores=scores)[0] < 6
        for seed in range(200)
    ]
    assert np.mean(firsts) == pytest.approx(6 * (1 / 106 + 1 / 12), abs=0.12)


def test_errors_name_the_parameter_and_the_way_out():
    rng = np.random.default_rng(0)
    with pytest.raises(ParameterError, match="did you mean k_center\\?"):
        rank(POINTS, 3, rng, "k-centre")
    with pytest.raises(ParameterError, match="did you mean facility_location\\?"):
        select(POINTS, 0.1, rng, "Facility location")
    with pytest.raises(ParameterError, match="method='x': expected one of random, stratified"):
        rank(POINTS, 3, rng, "x")
    with pytest.raises(ParameterError, match="count=54: expected a whole number from 1 to 53"):
        rank(POINTS, 54, rng, "random")
    with pytest.raises(ParameterError, match="rate=0"):
        select(POINTS, 0, rng, "herding")
    with pytest.raises(ParameterError, match="scores with method='herding': expected none"):
        rank(POINTS, 3, rng, "herding", scores=np.ones(53))
    with pytest.raises(ParameterError, match="scores: number 7 is -1"):
        rank(POINTS, 3, rng, "dq_paper_eq", scores=np.where(np.arange(53) == 7, -1, 1))
    with pytest.raises(ParameterError, match="rounding='up'"):
        select(POINTS, 0.1, rng, "random", rounding="up")
