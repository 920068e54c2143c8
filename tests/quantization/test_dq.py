"""Dataset quantization: the order of every engine is that of the definition; sampling from bins."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.errors import ParameterError
from helpers.quantization import Bins, _order, quantize, sample_bins
from tests.quantization.oracles import bin_sizes, exact_order, float_order, order, product_order

GAINS = ["paper_eq", "official_code", "graphcut"]
# Rows in the smallest pool (0: none), directions, share of rows looked at one by one.
SHAPES = [(0, 1, 0.5), (1, 1, 0.5), (3, 2, 10.0), (1000, 64, 0.01)]


def lattice(rng, n, d):
    return rng.integers(-1, 2, (n, d)) / 8


def duplicates(rng, n, d):
    return rng.normal(size=(max(1, n // 4), d))[rng.integers(0, max(1, n // 4), n)]


def outliers(rng, n, d):
    points = rng.normal(size=(n, d))
    points[rng.integers(0, n)] *= 10.0 ** rng.integers(2, 7)
    return points


def clusters(rng, n, d):
    return rng.normal(size=(5, d))[rng.integers(0, 5, n)] * 10 + rng.normal(size=(n, d))


def low_rank(rng, n, d):
    return rng.normal(size=(n, 1)) @ rng.normal(size=(1, d)) + 3


def some_zero_rows(rng, n, d):
    points = rng.normal(size=(n, d)).astype(np.float32)
    points[rng.random(n) < 0.3] = 0
    return points


KINDS = {
    "isotropic": lambda rng, n, d: rng.normal(size=(n, d)),
    "float32": lambda rng, n, d: rng.standard_t(3, (n, d)).astype(np.float32) + np.float32(5),
    "float16": lambda rng, n, d: rng.standard_t(3, (n, d)).astype(np.float16),
    "lattice": lattice,
    "one-hot": lambda rng, n, d: np.eye(d)[rng.integers(0, d, n)],
    "bytes": lambda rng, n, d: rng.integers(0, 4, (n, d)).astype(np.uint8),
    "duplicates": duplicates,
    "outliers": outliers,
    "clusters": clusters,
    "low rank": low_rank,
    "zero rows": some_zero_rows,
    "constant": lambda rng, n, d: np.full((n, d), 0.1),
    "spread": lambda rng, n, d: rng.normal(size=(n, d)) * 10.0 ** rng.integers(-6, 6, (n, 1)),
    "tiny": lambda rng, n, d: rng.normal(size=(n, d)) * 2.0**-500,
    "huge": lambda rng, n, d: rng.normal(size=(n, d)) * 2.0**500,
}


def with_engine(features, n_bins, gain, shape):
    """The order by an engine of some shape."""
    sizes = np.array(bin_sizes(len(features), n_bins))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in zip(("POOL", "DIRECTIONS", "SCATTERED"), shape, strict=True):
            patch.setattr(_order, name, value)
        return _order.order_of(np.asarray(features), sizes, gain, "cpu").tolist()


def problem(kind, seed, largest=40):
    rng = np.random.default_rng([seed, len(kind)])
    n, d = int(rng.integers(1, largest + 1)), int(rng.integers(1, 9))
    return KINDS[kind](rng, n, d), int(rng.integers(1, min(n, 8) + 1))


# 15 kinds x 3 gains x 8 problems = 360 problems, each through engines of all shapes.
@pytest.mark.parametrize("gain", GAINS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_order_is_that_of_the_definition(kind, gain):
    for seed in range(8):
        features, n_bins = problem(kind, seed)
        expected = order(features, n_bins, gain)
        for shape in SHAPES:
            found = with_engine(features, n_bins, gain, shape)
            assert found == expected, f"seed {seed}, {shape}: {features.shape}, {n_bins} bins"
        assert quantize(features, n_bins, gain).order.tolist() == expected


@pytest.mark.parametrize("gain", GAINS)
@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 40), d=st.integers(1, 6), bins=st.integers(1, 8), data=st.data())
def test_small_integers_in_any_arrangement(gain, n, d, bins, data):
    values = st.lists(st.integers(-2, 2), min_size=n * d, max_size=n * d)
    features = np.array(data.draw(values)).reshape(n, d)
    expected = order(features, min(bins, n), gain)
    assert with_engine(features, min(bins, n), gain, (2, 2, 0.5)) == expected


@pytest.mark.parametrize("gain", ["paper_eq", "official_code"])
def test_the_oracle_in_floating_point_agrees_with_rational_arithmetic(gain):
    for seed in range(5):
        features = np.random.default_rng(seed).normal(size=(30, 3))
        assert float_order(features, 4, gain) == exact_order(features, 4, gain)


def structured(n, d, seed=0):
    """Clusters, a decaying spectrum, a heavy-tailed scale, an offset and exact duplicates."""
    rng = np.random.default_rng(seed)
    std = np.arange(1, d + 1) ** -0.8
    points = rng.normal(size=(10, d))[rng.integers(0, 10, n)] * std + rng.normal(size=(n, d)) * std
    points *= np.abs(rng.standard_t(3, (n, 1))) + 0.2
    points = points @ np.linalg.qr(rng.normal(size=(d, d)))[0] + 2 * rng.normal(size=d)
    points[rng.integers(0, n, n // 50)] = points[0]
    return points.astype(np.float32)


@pytest.mark.parametrize("gain", GAINS)
@pytest.mark.parametrize(
    ("features", "n_bins"),
    [
        (structured(3000, 48), 10),
        (structured(1500, 200), 3),
        (np.random.default_rng(0).normal(size=(1200, 40)), 10),
        (np.random.default_rng(1).normal(size=(800, 16)).astype(np.float32), 1),
    ],
    ids=["structured", "many dimensions", "isotropic", "one bin"],
)
def test_the_order_is_that_of_one_product_per_pick(features, n_bins, gain):
    expected = product_order(features, n_bins, gain)
    for shape in [(1024, 64, 0.5), (64, 8, 0.5), (16, 3, 10.0)]:
        assert with_engine(features, n_bins, gain, shape) == expected, shape


@pytest.mark.parametrize("n", [60, 3000])
@pytest.mark.parametrize("gain", ["paper_eq", "official_code"])
def test_translation_changes_nothing(gain, n):
    features = structured(n, 80).astype(np.float64)
    # Moved by whole numbers and rounded to a grid, so that the move itself rounds nothing.
    features = np.round(features * 2**20) / 2**20
    moved = quantize(features + 4096, 6, gain).order
    assert (moved == quantize(features, 6, gain).order).all()


@pytest.mark.parametrize("gain", GAINS)
def test_scale_by_a_power_of_two_changes_nothing(gain):
    features = np.random.default_rng(3).normal(size=(80, 4))
    expected = quantize(features, 4, gain).order
    for exponent in (-1040, -600, 600, 1015):
        scaled = np.ldexp(np.round(features * 2**20), exponent - 20)
        rounded = np.ldexp(np.round(features * 2**20), -20)
        assert (quantize(scaled, 4, gain).order == quantize(rounded, 4, gain).order).all()
    assert (quantize(features * 1e-150, 4, gain).order == expected).all()
    assert (quantize(features * 1e150, 4, gain).order == expected).all()


@pytest.mark.parametrize("gain", GAINS)
def test_one_far_outlier_does_not_make_the_others_equal(gain):
    rng = np.random.default_rng(7)
    features = rng.normal(size=(60, 3))
    features[17] = 1e9
    assert quantize(features, 3, gain).order.tolist() == order(features, 3, gain)


@pytest.mark.parametrize("gain", GAINS)
def test_any_layout_and_type_of_the_same_numbers_give_the_same_order(gain, tmp_path):
    features = np.random.default_rng(8).integers(-30, 30, (3000, 80)).astype(np.int8)
    expected = quantize(features, 7, gain).order
    stored = np.memmap(tmp_path / "features", np.float32, "w+", shape=features.shape)
    stored[:] = features
    stored.flush()
    read = np.memmap(tmp_path / "features", np.float32, "r", shape=features.shape)
    turned = np.asfortranarray(features.astype(np.float64))
    strided = np.repeat(features.astype(np.float16), 2, axis=0)[::2]
    for same in (read, turned, strided):
        assert (quantize(same, 7, gain).order == expected).all()


@pytest.mark.parametrize("gain", GAINS)
def test_equal_points_are_taken_in_order_of_index(gain):
    assert quantize(np.ones((7, 2)), 3, gain).order.tolist() == list(range(7))
    assert quantize(np.zeros((700, 400)), 3, gain).order.tolist() == list(range(700))
    assert quantize(np.full((3000, 400), 0.3), 3000, gain).order.tolist() == list(range(3000))


def test_bad_input():
    with pytest.raises(ParameterError, match="row 1 holds NaN"):
        quantize(np.array([[0.0], [np.nan]]), 1)
    with pytest.raises(ParameterError, match="row 0 holds NaN or inf"):
        quantize(np.array([[np.inf], [0]], np.float32), 1)
    with pytest.raises(ParameterError, match="n_bins=3"):
        quantize(np.zeros((2, 2)), 3)
    with pytest.raises(ParameterError, match="gain='nearest'"):
        quantize(np.zeros((2, 2)), 1, "nearest")
    with pytest.raises(ParameterError, match="expected \\(samples, dimensions\\)"):
        quantize(np.zeros(4), 1)


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "mps", "cpu:0"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(ParameterError, match="device="):
        quantize(np.zeros((2, 2)), 1, device=device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("gain", GAINS)
def test_the_gpu_gives_the_order_of_the_cpu(gain):
    features = structured(3000, 80)
    assert (quantize(features, 10, gain, "cuda").order == quantize(features, 10, gain).order).all()


@given(
    n=st.integers(1, 300),
    bins=st.integers(1, 12),
    rate=st.floats(0.001, 1),
    sampling=st.sampled_from(["uniform", "prefix"]),
    scored=st.booleans(),
)
def test_coresets_have_the_exact_size_and_take_from_every_bin_alike(
    n, bins, rate, sampling, scored
):
    sizes = np.array(bin_sizes(n, min(bins, n)))
    parts = Bins(np.random.default_rng(0).permutation(n), sizes)
    scores = np.arange(n) % 3 if scored and sampling == "uniform" else None
    chosen = sample_bins(parts, rate, np.random.default_rng(1), sampling, scores=scores)
    assert len(chosen) == max(1, round(rate * n))
    assert (np.diff(chosen) > 0).all()
    shares = [np.isin(part, chosen).sum() - len(chosen) * len(part) / n for part in parts.split()]
    assert max(np.abs(shares)) <= 1


def test_published_rounding_follows_the_released_script():
    parts = Bins(np.arange(10_063), np.array(bin_sizes(10_063, 10)))
    rng = np.random.default_rng(0)
    assert len(sample_bins(parts, 0.01, rng, "prefix", "published")) == 100
    assert len(sample_bins(parts, 0.0001, rng, "prefix", "published")) == 10
    assert len(sample_bins(Bins(np.arange(100), np.array([100])), 0.29, rng, "prefix")) == 29


def test_prefix_takes_the_first_picks_of_each_bin():
    bins = Bins(np.array([5, 3, 1, 0, 2, 4]), np.array([3, 3]))
    assert sample_bins(bins, 1 / 3, np.random.default_rng(0), "prefix").tolist() == [0, 5]


def drawn(scores, trust, rounds=6000):
    """How often each of the samples of one bin is drawn, one per round."""
    bins = Bins(np.arange(len(scores)), np.array([len(scores)]))
    rng = np.random.default_rng(0)
    rate = 1 / len(scores)
    picks = [sample_bins(bins, rate, rng, scores=scores, trust=trust)[0] for _ in range(rounds)]
    return np.bincount(picks, minlength=len(scores)) / rounds


@pytest.mark.parametrize("trust", [0.0, 0.5, 1.0])
def test_samples_are_drawn_by_their_scores(trust):
    scores = np.array([0.0, 1.0, 3.0, 4.0])
    expected = (1 - trust) / 4 + trust * scores / 8
    # Four standard errors of 6,000 draws.
    assert np.abs(drawn(scores, trust) - expected).max() < 4 * np.sqrt(0.25 / 6000)


def test_draws_with_scores_are_without_replacement_and_as_one_by_one():
    # Both of two drawn of three: the chance of leaving sample 0 out, worked out by hand.
    scores = np.array([2.0, 1.0, 1.0])
    bins = Bins(np.arange(3), np.array([3]))
    rng = np.random.default_rng(0)
    without = np.mean(
        [0 not in sample_bins(bins, 2 / 3, rng, scores=scores, trust=1.0) for _ in range(6000)]
    )
    assert abs(without - 2 * (1 / 4) * (1 / 3)) < 4 * np.sqrt(0.25 / 6000)


def test_bad_sampling_parameters():
    bins, rng = Bins(np.arange(4), np.array([4])), np.random.default_rng(0)
    with pytest.raises(ParameterError, match="rate=0"):
        sample_bins(bins, 0, rng)
    with pytest.raises(ParameterError, match="sampling='first'"):
        sample_bins(bins, 0.5, rng, "first")
    with pytest.raises(ParameterError, match="rounding='up'"):
        sample_bins(bins, 0.5, rng, rounding="up")
    with pytest.raises(ParameterError, match="scores with sampling='prefix'"):
        sample_bins(bins, 0.5, rng, "prefix", scores=np.ones(4))
    with pytest.raises(ParameterError, match="scores of shape"):
        sample_bins(bins, 0.5, rng, scores=np.ones(3))
    with pytest.raises(ParameterError, match="scores: number 2 is -1"):
        sample_bins(bins, 0.5, rng, scores=np.array([0, 1, -1, 0]))
    with pytest.raises(ParameterError, match="trust=2"):
        sample_bins(bins, 0.5, rng, scores=np.ones(4), trust=2)
