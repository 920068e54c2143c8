import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from helpers.errors import DataError, ParameterError
from helpers.models.mae import (
    MaeArchitecture,
    build_mae,
    draw_visible,
    from_patches,
    hidden_mask,
    load_mae,
    masked_loss,
    patch_statistics,
    save_mae,
    to_patches,
)

TINY = MaeArchitecture(
    size=32, patch=8, width=16, depth=2, heads=2, decoder_width=8, decoder_depth=1
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def tiny_images(n=3, channels=1):
    return torch.rand((n, channels, TINY.size, TINY.size), generator=generator())


@pytest.fixture(scope="module")
def mae():
    return build_mae(TINY, 0).eval()


def test_patches_are_the_windows_of_the_image_row_by_row():
    images = tiny_images(channels=2)
    patches = to_patches(images, 8)
    for k in range(16):
        top, left = 8 * (k // 4), 8 * (k % 4)
        window = images[:, :, top : top + 8, left : left + 8]
        assert torch.equal(patches[:, k].reshape(3, 8, 8, 2), window.permute(0, 2, 3, 1))
    assert torch.equal(from_patches(patches, 8, 2), images)


def test_exactly_a_quarter_is_visible_and_every_place_as_often():
    visible = draw_visible(4000, 64, 0.75, generator())
    assert visible.shape == (4000, 16)
    assert (visible.diff(dim=1) > 0).all()
    share = np.bincount(visible.ravel().numpy(), minlength=64) / 4000
    assert abs(share - 0.25).max() < 5 * math.sqrt(0.25 * 0.75 / 4000)
    hidden = hidden_mask(visible, 64)
    assert (hidden.sum(dim=1) == 48).all()
    assert not hidden.gather(1, visible).any()


def test_the_loss_is_that_of_a_plain_loop_over_hidden_patches():
    images = tiny_images()
    visible = draw_visible(3, 16, 0.75, generator(1))
    prediction = torch.randn((3, 16, 64), generator=generator(2))
    errors = []
    for n in range(3):
        for k in set(range(16)) - set(visible[n].tolist()):
            top, left = 8 * (k // 4), 8 * (k % 4)
            patch = images[n, 0, top : top + 8, left : left + 8].double().numpy().ravel()
            target = (patch - patch.mean()) / np.sqrt(patch.var(ddof=1) + 1e-6)
            errors.append(np.mean((prediction[n, k].double().numpy() - target) ** 2))
    found = masked_loss(prediction, images, visible, 8)
    np.testing.assert_allclose(found.item(), np.mean(errors), rtol=1e-5)


def test_gradients_reach_the_prediction_of_hidden_patches_only():
    visible = draw_visible(3, 16, 0.75, generator(1))
    prediction = torch.randn((3, 16, 64), generator=generator(2), requires_grad=True)
    masked_loss(prediction, tiny_images(), visible, 8).backward()
    touched = prediction.grad.abs().sum(dim=2) > 0
    assert torch.equal(touched, hidden_mask(visible, 16))


def test_the_encoder_does_not_see_hidden_pixels(mae):
    images = tiny_images()
    visible = draw_visible(3, 16, 0.75, generator(1))
    patches = to_patches(images, 8).clone()
    patches[hidden_mask(visible, 16)] = 7.0
    with torch.no_grad():
        expected = mae.encode(images, visible)
        assert torch.equal(mae.encode(from_patches(patches, 8, 1), visible), expected)


def test_an_unmasked_encoder_is_timms_vision_transformer(mae):
    images = tiny_images()
    everything = torch.arange(16).expand(3, -1)
    with torch.no_grad():
        torch.testing.assert_close(
            mae.encode(images, everything), mae.encoder.forward_features(images)
        )


def test_decoding_puts_tokens_back_where_they_belong():
    mae = build_mae(dataclasses.replace(TINY, decoder_width=16), 0)
    for name in ("decoder_embed", "decoder_blocks", "decoder_norm", "decoder_predict"):
        setattr(mae, name, nn.Identity())
    mae.decoder_position.data.zero_()
    visible = draw_visible(2, 16, 0.75, generator(3))
    encoded = torch.randn((2, 5, 16), generator=generator(4))
    decoded = mae.decode(encoded, visible)
    for n in range(2):
        for k in range(16):
            place = (visible[n] == k).nonzero()
            expected = encoded[n, 1 + place[0, 0]] if len(place) else mae.mask_token[0, 0]
            assert torch.equal(decoded[n, k], expected)


def test_positions_are_sines_and_cosines_of_row_and_column(mae):
    found = mae.encoder.pos_embed[0].numpy()
    rates = [20 ** (-k / 4) for k in range(4)]
    for k in range(16):
        row, column = divmod(k, 4)
        values = [f(c * r) for f in (math.sin, math.cos) for c in (row, column) for r in rates]
        np.testing.assert_allclose(found[1 + k], values, atol=1e-6)
    assert not found[0].any()
    assert not mae.encoder.pos_embed.requires_grad
    assert not mae.decoder_position.requires_grad


def test_weights_depend_on_the_seed_alone():
    state = torch.random.get_rng_state()
    first, second, other = (build_mae(TINY, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["mask_token"], other["mask_token"])


def test_a_flat_patch_has_a_finite_target():
    mean, deviation = patch_statistics(torch.full((1, 2, 64), 0.3))
    assert torch.isfinite((0.3 - mean) / deviation).all()


def test_saved_and_loaded(mae, tmp_path):
    path = tmp_path / "mae.pt"
    save_mae(path, mae, (0.2, 0.5), steps=7, extra={"seed": 3})
    loaded, rest = load_mae(path)
    assert (rest["mean"], rest["std"], rest["steps"], rest["seed"]) == (0.2, 0.5, 7, 3)
    assert loaded.architecture == TINY
    state = loaded.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in mae.state_dict().items())


def test_other_files_are_refused_by_name(tmp_path):
    path = tmp_path / "other.pt"
    torch.save({"weights": {}}, path)
    with pytest.raises(DataError, match=r"other\.pt"):
        load_mae(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"other\.pt"):
        load_mae(path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"size": 30}, "size=30"),
        ({"size": 8}, "size=8"),
    ],
)
def test_impossible_shapes_are_refused(change, named):
    with pytest.raises(ParameterError, match=named):
        dataclasses.replace(TINY, **change)
