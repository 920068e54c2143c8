"""A plain vision transformer with a simple feature pyramid, as an encoder like any other."""

import numpy as np
import pytest
import timm
import torch
from torch import nn

from helpers.errors import ParameterError
from helpers.metrics.detection import decode_masks
from helpers.models.cascade import build_detector, image_tensor, predict_instances
from helpers.models.encoders import (
    EncoderSpec,
    build_encoder,
    forward_levels,
    level_channels,
    levels,
    load_encoder,
    save_encoder,
)
from helpers.models.pyramid import Pyramid
from helpers.models.semantic import build_segmenter
from helpers.models.vit_pyramid import build_transformer
from helpers.pretraining.moco import MocoPlan
from helpers.pretraining.momentum import MomentumContrast
from tests.models.tiny_detector import SCENES, spec

TINY = EncoderSpec("pyramid-32x2")
WIDE = EncoderSpec("pyramid-128x1")
TIMM = EncoderSpec("pyramid-vit_tiny_patch16_224")
STRIDES = (4, 8, 16, 32)


def up(side, stride):
    return -(-side // stride)


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (224, 224), (40, 72), (50, 33), (5, 9)])
def test_maps_of_any_size_have_the_stated_channels_and_strides(size):
    encoder = build_encoder(TINY, 0).eval()
    images = torch.rand(2, 3, *size)
    with torch.inference_mode():
        whole = encoder(images)
        maps = forward_levels(encoder, images)
    assert torch.equal(whole[0], images)
    assert whole[1].shape == (2, 0, up(size[0], 2), up(size[1], 2))
    assert [one.shape[1] for one in whole] == encoder.out_channels
    assert [tuple(one.shape) for one in maps] == [
        (2, c, up(size[0], s), up(size[1], s))
        for c, s in zip((8, 16, 32, 32), STRIDES, strict=True)
    ]
    assert all(one.isfinite().all() for one in maps)


@pytest.mark.parametrize(
    ("spec", "width"), [(TINY, 32), (WIDE, 128), (TIMM, 192), (EncoderSpec("pyramid-32x1", 1), 32)]
)
def test_there_are_four_levels(spec, width):
    assert level_channels(spec) == (width // 4, width // 2, width, width)
    assert levels(spec) == 4


def test_a_pyramid_finds_its_levels():
    pyramid = Pyramid(build_encoder(TINY, 0), 8, 2, 6, "frozen").eval()
    assert (pyramid.own, pyramid.deepest) == (("p2", "p3", "p4", "p5"), 5)
    with torch.inference_mode():
        maps = pyramid(torch.rand(1, 3, 64, 128))
    for name, one in maps.items():
        stride = pyramid.strides[name]
        assert one.shape == (1, 8, 64 // stride, 128 // stride)
    with pytest.raises(ParameterError, match=r"levels, \[2, 3, 4, 5\]"):
        Pyramid(build_encoder(TINY, 0), 8, 1, 5)


def test_a_width_and_a_depth_are_the_model_of_timm_that_has_them():
    ours, theirs = build_encoder(EncoderSpec("pyramid-192x12"), 4), build_encoder(TIMM, 4)
    first, second = ours.state_dict(), theirs.state_dict()
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("size", [(224, 224), (96, 64)])
def test_the_map_of_stride_16_is_timms(size):
    encoder = build_encoder(TIMM, 1).eval()
    with torch.no_grad():
        encoder.transformer.norm.weight.uniform_(0.5, 2)  # else all norms are alike
    # timm makes a model for one size, whose positions it interpolates when it takes weights.
    theirs = timm.create_model("vit_tiny_patch16_224", img_size=size, num_classes=0).eval()
    weights = encoder.transformer.state_dict()
    weights["pos_embed"] = timm.layers.resample_abs_pos_embed(
        weights["pos_embed"], [side // 16 for side in size], num_prefix_tokens=1
    )
    theirs.load_state_dict(weights)
    images = torch.rand(1, 3, *size)
    with torch.inference_mode():
        tokens = theirs.forward_features(images)[0, 1:]
        maps = forward_levels(encoder, images)
    columns = size[1] // 16
    for place, token in enumerate(tokens):
        found = maps[2][0, :, place // columns, place % columns]
        torch.testing.assert_close(found, token, atol=2e-5, rtol=1e-5)
    coarse = maps[2].reshape(1, 192, size[0] // 32, 2, size[1] // 32, 2).amax(dim=(3, 5))
    torch.testing.assert_close(maps[3], coarse)


def test_finer_maps_are_deconvolutions_of_the_same_place():
    encoder = build_encoder(TINY, 0).eval()
    one = torch.randn(1, 32, 2, 3, requires_grad=True)
    for level, factor in ((encoder.stride8, 2), (encoder.stride4, 4)):
        fine = level(one)
        assert fine.shape[2:] == (2 * factor, 3 * factor)
        (gradient,) = torch.autograd.grad(fine[0, :, 0, factor : 2 * factor].square().sum(), one)
        reached = gradient.abs().sum(dim=(0, 1)) > 0
        assert reached.nonzero().tolist() == [[0, 1]]


def test_padding_is_zeros_at_the_right_and_below():
    encoder = build_encoder(TINY, 0).eval()
    images = torch.rand(1, 3, 40, 50)
    padded = nn.functional.pad(images, (0, 14, 0, 8))
    with torch.inference_mode():
        found, expected = forward_levels(encoder, images), forward_levels(encoder, padded)
    for one, other in zip(found[:3], expected[:3], strict=True):
        torch.testing.assert_close(one, other[:, :, : one.shape[2], : one.shape[3]])


def test_positions_count_and_neighbours_at_other_sizes_stay_neighbours():
    encoder = build_encoder(TINY, 0).eval()
    with torch.inference_mode():
        flat = encoder.last_map(torch.zeros(1, 3, 64, 64))
        assert flat.std(dim=(2, 3)).mean() > 0.01, "equal patches at other places differ"
        grid = encoder.transformer.pos_embed[0, 1:].T.reshape(1, 32, 14, 14)
        # Twice as large: each position becomes about four.
        tokens = encoder.transformer.patch_embed(torch.zeros(1, 3, 448, 448))
        fine = encoder.transformer._pos_embed(tokens)[0, 1:].T.reshape(32, 28, 28)
        fine = fine - encoder.transformer.patch_embed.proj.bias[:, None, None]
    back = fine.reshape(32, 14, 2, 14, 2).mean(dim=(2, 4))
    assert torch.corrcoef(torch.stack([back.flatten(), grid.flatten()]))[0, 1] > 0.95


def test_nothing_is_normalised_over_the_batch():
    encoder = build_encoder(TINY, 0).train()
    assert not any(isinstance(m, nn.modules.batchnorm._NormBase) for m in encoder.modules())
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        together = forward_levels(encoder, images)
        alone = forward_levels(encoder, images[1:2])
    for many, one in zip(together, alone, strict=True):
        torch.testing.assert_close(many[1:2], one, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("spec", [TINY, EncoderSpec("pyramid-32x1")])
def test_gradients_reach_all_parameters(spec):
    encoder = build_encoder(spec, 0)
    maps = forward_levels(encoder, torch.rand(2, 3, 32, 48))
    # Weighed at random: sums over what a layer norm gives do not depend on its input.
    sum((one.square() * torch.rand_like(one)).sum() for one in maps).backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    first = build_encoder(TINY, 5).state_dict()
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1))
    second, other = build_encoder(TINY, 5).state_dict(), build_encoder(TINY, 6).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    changed = ("stride4.0.weight", "stride8.0.weight", "transformer.pos_embed")
    assert not any(torch.equal(first[name], other[name]) for name in changed)


def test_a_saved_encoder_comes_back(tmp_path):
    encoder = build_encoder(TINY, 3).eval()
    save_encoder(tmp_path / "e.pt", encoder, TINY, ((0.1, 0.2, 0.3), (1, 2, 3)))
    loaded = load_encoder(tmp_path / "e.pt")
    assert loaded.spec == TINY
    images = torch.rand(1, 3, 48, 32)
    with torch.inference_mode():
        pairs = zip(encoder(images), loaded.encoder(images), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_stochastic_depth_is_for_training_alone():
    plain, dropping = build_encoder(TINY, 0), build_encoder(TINY, 0, drop_path=0.9)
    images = torch.rand(8, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(plain.train()(images)[-1], plain.eval()(images)[-1])
        assert torch.equal(plain(images)[-1], dropping.eval()(images)[-1])
        assert not torch.equal(plain(images)[-1], dropping.train()(images)[-1])


def target(objects):
    masks = torch.from_numpy(decode_masks(objects.masks, objects.size).astype(np.uint8))
    boxes, labels = (torch.from_numpy(part) for part in (objects.boxes, objects.labels))
    return {"boxes": boxes, "labels": labels, "masks": masks}


def test_a_detector_trains_and_predicts():
    detector = build_detector(spec(backbone=TINY, score_threshold=0.0), 0)
    pictures, objects = zip(*SCENES[:2], strict=True)
    images = [image_tensor(one) for one in pictures]
    losses = detector.train()(images, [target(one) for one in objects])
    total = sum(losses.values())
    assert total.isfinite()
    total.backward()
    reached = detector.backbone.body.transformer.blocks[0].attn.qkv.weight.grad
    assert reached.abs().sum() > 0
    (found,) = predict_instances(detector, [pictures[0][:70, :90]])
    assert found.size == (70, 90)
    assert len(found) > 0


def test_momentum_contrast_trains_the_transformer():
    plan = MocoPlan(1, 4, dim=4, groups=1)
    contrast = MomentumContrast(build_encoder(TINY, 0), plan, queue=8, seed=0)
    first, second = torch.rand(4, 3, 32, 32), torch.rand(4, 3, 32, 32)
    contrast(first, second, torch.arange(4))
    loss, _ = contrast(first, second, torch.arange(4, 8))
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None for p in contrast.query.encoder.transformer.parameters())


def test_a_segmenter_takes_it():
    model = build_segmenter(build_encoder(TINY, 0), 3, seed=0, decoder_channels=(16, 8, 8, 4, 4))
    assert model(torch.rand(1, 3, 50, 64)).shape == (1, 3, 50, 64)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "WIDTHxDEPTH"),
        ("0x2", "WIDTHxDEPTH"),
        ("30x2", "a width that"),
        ("132x2", "a width that"),
        ("nonsense", "a name of timm"),
        ("hf-hub:someone/vit", "a name of timm"),
        ("vit_small_patch32_224", "patches of 16"),
        ("swin_tiny_patch4_window7_224", ""),
        ("resnet18", ""),
    ],
)
def test_other_transformers_are_refused(name, words):
    message = f"encoder 'pyramid-{name}': cannot be built; expected after 'pyramid-' .*{words}"
    with pytest.raises(ParameterError, match=message):
        build_encoder(EncoderSpec(f"pyramid-{name}"), 0)


def test_a_transformer_has_no_classifier():
    names = [name for name, _ in build_transformer("32x1", 3).named_parameters()]
    assert not any(name.startswith(("head", "fc_norm")) for name in names)
