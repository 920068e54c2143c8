import multiprocessing
import os
import signal
import sys
import threading

import numpy as np
import pytest
import torch

from helpers.data.preprocess import scale_percentiles
from helpers.errors import DataError, ParameterError
from helpers.features import embed as module
from helpers.features.embed import (
    EmbedSettings,
    embed,
    prepare_input,
    released_visible,
    visible_tokens,
)
from helpers.features.encoders import local_mae, make_encoder, timm_encoder
from helpers.models.mae import MaeArchitecture, build_mae, save_mae

TINY = MaeArchitecture(size=32, patch=8, width=16, depth=2, heads=2, decoder_width=8)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoder") / "mae.pt"
    save_mae(path, build_mae(TINY, 0), (0.3, 0.2), steps=1)
    return path


@pytest.fixture(scope="module")
def encoder(file):
    return local_mae(file)


@pytest.fixture(scope="module")
def colour():
    return timm_encoder("test_vit")


def patches(n=21, size=40, seed=0):
    return np.random.default_rng(seed).random((n, size, size)).astype(np.float32)


class Counting:
    """Images that count how often each is asked for, and may break off at one of them."""

    def __init__(self, images, stop=None):
        self.images, self.stop, self.asked = images, stop, []

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        if index == self.stop:
            raise KeyboardInterrupt
        self.asked.append(index)
        return self.images[index]


def test_features_are_the_pooled_tokens_of_each_image_alone(encoder):
    images = patches(3)
    inputs = torch.stack([prepare_input(image, encoder, False) for image in images])
    with torch.inference_mode():
        tokens = build_mae(TINY, 0).encoder.forward_features(inputs).numpy()
    by_hand = {
        "mean": np.stack([t[1:].sum(axis=0) / 16 for t in tokens]),
        "mean+cls": np.stack([t.sum(axis=0) / 17 for t in tokens]),
    }
    for pooling, expected in by_hand.items():
        found = embed(images, encoder, EmbedSettings(pooling))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_every_batch_size_gives_the_same_bits(encoder, tmp_path, monkeypatch):
    images = patches()
    expected = embed(images, encoder)
    for size in (8, 32, 104):
        monkeypatch.setattr(module, "WRITTEN", size)
        np.testing.assert_array_equal(embed(images, encoder), expected)
    np.testing.assert_array_equal(embed(images, encoder, store=tmp_path), expected)


@pytest.mark.parametrize("masking", ["none", "released"])
def test_an_interrupted_embedding_is_continued(encoder, tmp_path, masking):
    images = patches(40)
    settings = EmbedSettings(masking=masking)
    with pytest.raises(KeyboardInterrupt):
        embed(Counting(images, stop=19), encoder, settings, tmp_path, "key")
    rest = Counting(images)
    found = embed(rest, encoder, settings, tmp_path, "key")
    assert rest.asked == list(range(16, 40))
    np.testing.assert_array_equal(found, embed(images, encoder, settings))
    untouched = Counting(images)
    again = embed(untouched, encoder, settings, tmp_path, "key")
    assert isinstance(again, np.memmap)
    assert not untouched.asked
    assert {p.suffix for p in tmp_path.iterdir()} <= {".npy", ".lock"}


class Deadly(Counting):
    """Images that kill the process at one of them."""

    def __getitem__(self, index):
        if index == self.stop:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.images[index]


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
def test_a_killed_process_leaves_what_it_has_done(encoder, tmp_path):
    images, settings = patches(40), EmbedSettings()
    # A fork: a fresh interpreter would import torch for longer than the test takes.
    process = multiprocessing.get_context("fork").Process(
        target=embed, args=(Deadly(images, stop=30), encoder, settings, tmp_path, "key")
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    rest = Counting(images)
    found = embed(rest, encoder, settings, tmp_path, "key")
    assert rest.asked == list(range(16, 40))
    np.testing.assert_array_equal(found, embed(images, encoder))


def test_two_at_once_compute_once(encoder, tmp_path):
    sources = [Counting(patches(40)) for _ in range(2)]
    found = [None, None]

    def work(i):
        found[i] = embed(sources[i], encoder, EmbedSettings(), tmp_path, "key")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(found[0], found[1])
    assert sorted(len(source.asked) for source in sources) == [0, 40]


def test_other_data_settings_or_weights_have_another_file(encoder, tmp_path):
    images = patches(9)
    embed(images, encoder, EmbedSettings(), tmp_path)
    embed(images, encoder, EmbedSettings("mean+cls"), tmp_path)
    embed(images, encoder, EmbedSettings(scaled=True), tmp_path)
    embed(patches(9, seed=1), encoder, EmbedSettings(), tmp_path)
    other = make_encoder("other", build_mae(TINY, 1).encoder, 32, (0.3,), (0.2,))
    embed(images, other, EmbedSettings(), tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 5


def test_released_masking_shows_a_quarter_by_seed_and_place(encoder):
    images = patches()
    settings = EmbedSettings("mean+cls", "released", seed=3)
    first = embed(images, encoder, settings)
    np.testing.assert_array_equal(first, embed(images, encoder, settings))
    alone = embed(images[:1], encoder, settings)
    np.testing.assert_allclose(alone, first[:1], atol=1e-6)
    unmasked = embed(images, encoder, EmbedSettings("mean+cls"))
    other = embed(images, encoder, EmbedSettings("mean+cls", "released", seed=4))
    assert np.abs(first - unmasked).max(axis=1).min() > 1e-3
    assert np.abs(first - other).max(axis=1).min() > 1e-3
    # The same image at another place is masked in another way.
    twice = embed(np.stack([images[0]] * 2), encoder, settings)
    assert np.abs(twice[0] - twice[1]).max() > 1e-3


def test_released_masking_is_the_autoencoders_own(encoder):
    inputs = torch.stack([prepare_input(image, encoder, False) for image in patches(4)])
    visible = released_visible(range(4), 16, seed=0)
    assert visible.shape == (4, 4)
    with torch.inference_mode():
        expected = build_mae(TINY, 0).encode(inputs, visible)
        torch.testing.assert_close(visible_tokens(encoder.module, inputs, visible), expected)


def test_inputs_are_scaled_clipped_resized_and_normalised(encoder, colour):
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 60_000, (64, 48)).astype(np.uint16)
    found = prepare_input(grey, encoder, False)
    scaled = torch.from_numpy(np.clip(scale_percentiles(grey), 0, 1))[None, None]
    small = torch.nn.functional.interpolate(scaled, (32, 32), mode="bilinear", antialias=True)
    torch.testing.assert_close(found, (small[0] - 0.3) / 0.2)
    # Any affine change of the units, and any dtype, gives the same.
    again = prepare_input(grey.astype(np.float64) * 7e-6 - 3, encoder, False)
    torch.testing.assert_close(again, found, atol=1e-4, rtol=0)
    # Grey is repeated for an encoder of colours, with its own mean and spread.
    three = prepare_input(np.full((8, 8), 0.25), colour, True)
    expected = [(0.25 - m) / s for m, s in zip(colour.mean, colour.std, strict=True)]
    np.testing.assert_allclose(three[:, 5, 5], expected, rtol=1e-5)
    # Colours stay for it, and are averaged for a grey one; other channels are always averaged.
    red = np.zeros((8, 8, 3))
    red[..., 0] = 0.9
    assert prepare_input(red, colour, True)[:, 5, 5].argmax() == 0
    assert prepare_input(red, encoder, True)[0, 5, 5].item() == pytest.approx(0, abs=1e-5)
    two = np.dstack([np.zeros((8, 8)), np.full((8, 8), 0.5)])
    np.testing.assert_allclose(prepare_input(two, colour, True), three, atol=1e-6)


def test_bfloat16_is_close_and_finite(colour):
    images = patches(6)
    exact = embed(images, colour)
    rough = embed(images, colour, EmbedSettings(precision="bfloat16"))
    assert rough.dtype == np.float32
    assert 0 < np.abs(rough - exact).max() < 0.1 * np.abs(exact).max()
    assert next(colour.module.parameters()).dtype == torch.float32


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (EmbedSettings("mean+cls"), "pooling='mean\\+cls'"),
        (EmbedSettings(masking="released"), "masking='released'"),
    ],
)
def test_what_an_encoder_cannot_do_is_refused(settings, named):
    with pytest.raises(ParameterError, match=named):
        embed(patches(1), timm_encoder("test_resnet"), settings)


def test_an_encoder_that_returns_nan_is_refused_by_name(tmp_path):
    broken = build_mae(TINY, 0).encoder
    broken.norm.bias.data.fill_(torch.nan)
    encoder = make_encoder("broken", broken, 32, (0.0,), (1.0,))
    with pytest.raises(DataError, match="image 0: broken returns NaN"):
        embed(patches(2), encoder, EmbedSettings(), tmp_path)
    assert not list(tmp_path.glob("features-*[0-9a-f].npy"))
    assert module.MICRO_BATCH["cpu"] > 1
