import pytest
import torch
from torch import nn

from helpers.errors import DataError, ParameterError
from helpers.files import read_torch, write_torch
from helpers.models.encoders import (
    Classifier,
    EncoderSpec,
    build_encoder,
    fill_encoder,
    forward_levels,
    level_channels,
    levels,
    load_encoder,
    normalise,
    save_encoder,
)

SWIN = EncoderSpec("tu-swin_tiny_patch4_window7_224")
UNET = EncoderSpec("unet-4")
RESNET = EncoderSpec("resnet18")
HALVINGS = (2, 4, 8, 16, 32)
FAMILIES = {
    "resnet18": ((64, 64, 128, 256, 512), HALVINGS),
    "resnet50": ((64, 256, 512, 1024, 2048), HALVINGS),
    "tu-resnet18": ((64, 64, 128, 256, 512), HALVINGS),
    "tu-convnext_atto": ((40, 80, 160, 320), HALVINGS[1:]),
    SWIN.name: ((96, 192, 384, 768), HALVINGS[1:]),
    "unet-4": ((4, 8, 16, 32, 64), (1, 2, 4, 8, 16)),
    "unet-64": ((64, 128, 256, 512, 1024), (1, 2, 4, 8, 16)),
}


def same(first, second):
    return list(first) == list(second) and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("name", FAMILIES)
def test_levels_have_the_stated_channels_and_strides(name):
    channels, strides = FAMILIES[name]
    spec = EncoderSpec(name)
    encoder = build_encoder(spec, 0).eval()
    images = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        maps = forward_levels(encoder, images)
    assert [tuple(one.shape) for one in maps] == [
        (1, c, 64 // s, 96 // s) for c, s in zip(channels, strides, strict=True)
    ]
    assert level_channels(spec) == channels
    assert levels(spec) == len(channels)


def test_maps_that_do_not_begin_with_the_images_are_all_levels():
    class LikeVgg(nn.Module):
        out_channels = (8, 16)

        def forward(self, images):
            maps = images.mean(dim=1, keepdim=True)
            return [maps.expand(-1, 8, -1, -1), maps[..., ::2, ::2].expand(-1, 16, -1, -1)]

    maps = forward_levels(LikeVgg(), torch.rand(1, 3, 8, 8))
    assert [tuple(one.shape) for one in maps] == [(1, 8, 8, 8), (1, 16, 4, 4)]


@pytest.mark.parametrize("spec", [EncoderSpec("unet-4", 1), EncoderSpec("resnet18", 1)])
def test_grey_encoders_take_one_channel(spec):
    maps = forward_levels(build_encoder(spec, 0).eval(), torch.rand(1, 1, 32, 32))
    assert tuple(one.shape[1] for one in maps) == level_channels(spec)


@pytest.mark.parametrize("spec", [UNET, RESNET, EncoderSpec("tu-convnext_atto")])
def test_weights_depend_on_the_seed_alone(spec):
    torch.manual_seed(1)
    first = build_encoder(spec, 5).state_dict()
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1)), "building must not use the global generator"
    second, other = build_encoder(spec, 5).state_dict(), build_encoder(spec, 6).state_dict()
    assert same(first, second)
    assert not same(first, other)


def test_a_unet_encoder_keeps_the_size_of_its_signal():
    # He et al.: with fan-out weights the spread of activations neither dies nor explodes.
    modules = build_encoder(EncoderSpec("unet-16"), 0).modules()
    convolutions = [one for one in modules if isinstance(one, nn.Conv2d)]
    assert len(convolutions) == 10
    for one in convolutions[-4:]:
        expected = (2 / (9 * one.out_channels)) ** 0.5
        assert one.weight.std().item() == pytest.approx(expected, rel=0.05)


def test_swin_is_timms_at_its_own_size_and_takes_others_with_the_same_weights():
    import timm

    encoder = build_encoder(SWIN, 0).eval()
    reference = timm.create_model(SWIN.name[3:], features_only=True).eval()
    reference.load_state_dict(encoder.model.state_dict())
    images = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        expected = [one.permute(0, 3, 1, 2) for one in reference(images)]
        found = forward_levels(encoder, images)
        small = forward_levels(encoder, images[..., :64, :96])
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert [tuple(one.shape[2:]) for one in small] == [(16, 24), (8, 12), (4, 6), (2, 3)]


@pytest.mark.parametrize("name", ["unet-4", "resnet18", "tu-convnext_atto"])
def test_a_unet_of_segmentation_models_takes_the_encoder(name):
    import segmentation_models_pytorch as smp

    network = smp.Unet("resnet18", encoder_weights=None, classes=4)
    network.encoder = build_encoder(EncoderSpec(name), 0)
    network.decoder = type(network.decoder)(network.encoder.out_channels, (32, 16, 16, 8, 16), 5)
    images = torch.rand(2, 3, 64, 64)
    output = network(images)
    assert output.shape == (2, 4, 64, 64)
    output.square().sum().backward()
    assert all(p.grad is not None for p in network.encoder.parameters())


def test_four_blocks_after_the_unet_encoder_are_its_expanding_path():
    from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder

    encoder = build_encoder(UNET, 0)
    decoder = UnetDecoder(encoder.out_channels, (32, 16, 8, 4), 4)
    inputs = [block.conv1[0].in_channels for block in decoder.blocks]
    # Each block joins what comes from below with the level of its own resolution.
    assert inputs == [64 + 32, 32 + 16, 16 + 8, 8 + 4]
    assert decoder(encoder(torch.rand(2, 3, 32, 48))).shape == (2, 4, 32, 48)


@pytest.mark.parametrize("name", ["resnet18", "tu-resnet18"])
def test_stochastic_depth_changes_nothing_but_the_output_in_training(name):
    spec = EncoderSpec(name)
    plain, dropping = build_encoder(spec, 0), build_encoder(spec, 0, drop_path=0.9)
    assert same(plain.state_dict(), dropping.state_dict())
    for module in dropping.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)  # timm begins with residuals of nothing
    plain.load_state_dict(dropping.state_dict())
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(plain(images)[-1], plain(images)[-1])
        assert not torch.equal(dropping(images)[-1], dropping(images)[-1])
        dropping.load_state_dict(plain.state_dict())
        assert torch.equal(plain.eval()(images)[-1], dropping.eval()(images)[-1])


def test_residuals_are_dropped_more_often_the_deeper_and_kept_ones_grow():
    encoder = build_encoder(RESNET, 0, drop_path=0.5)
    blocks = [block for k in (1, 2, 3, 4) for block in getattr(encoder, f"layer{k}")]
    torch.manual_seed(0)
    for number, block in enumerate(blocks):
        norm = block.bn2
        norm.weight.data.zero_()
        norm.bias.data.fill_(1)
        found = norm(torch.zeros(2000, norm.num_features, 1, 1))
        rate = 0.5 * number / 7
        assert (found == found[:, :1]).all()
        assert (found == 0).float().mean().item() == pytest.approx(rate, abs=0.04)
        assert found.max().item() == pytest.approx(1 / (1 - rate))


def test_without_stochastic_depth_a_swin_in_training_repeats_itself():
    encoder = build_encoder(SWIN, 0).train()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(encoder(images)[-1], encoder(images)[-1])


def test_the_classifier_averages_the_deepest_map():
    network = Classifier(build_encoder(UNET, 0), 7, seed=3).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        deepest = forward_levels(network.encoder, images)[-1]
        expected = network.head(deepest.flatten(2).mean(dim=2))
        torch.testing.assert_close(network(images), expected)
    again = Classifier(build_encoder(UNET, 0), 7, seed=3)
    assert torch.equal(network.head.weight, again.head.weight)


def test_a_saved_encoder_comes_back_with_all_that_is_needed(tmp_path):
    encoder = build_encoder(UNET, 3)
    encoder(torch.rand(4, 3, 32, 32))  # moves the statistics of the normalisation
    extra = {"epoch": 5, "head": {"weight": torch.ones(2)}}
    save_encoder(tmp_path / "e.pt", encoder, UNET, ((0.1, 0.2, 0.3), (1, 2, 3)), extra)
    loaded = load_encoder(tmp_path / "e.pt")
    assert (loaded.spec, loaded.mean, loaded.std) == (UNET, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    assert loaded.extra["epoch"] == 5
    assert not loaded.encoder.training
    images = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        pairs = zip(encoder.eval()(images), loaded.encoder(images), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def renamed(weights):
    return {name.replace("levels.0", "levels.9"): value for name, value in weights.items()}


def lacking(weights):
    return {name: value for name, value in weights.items() if name != "levels.0.0.weight"}


def excessive(weights):
    return {**weights, "fc.weight": torch.zeros(1)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (renamed, "Missing.*Unexpected"),
        (lacking, r"Missing.*levels\.0\.0\.weight"),
        (excessive, r"Unexpected.*fc\.weight"),
        (list, "not the weights"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, change, words):
    path = tmp_path / "e.pt"
    save_encoder(path, build_encoder(UNET, 0), UNET, ([0] * 3, [1] * 3))
    state = read_torch(path)
    write_torch(path, {**state, "weights": change(state["weights"])})
    with pytest.raises(DataError, match=rf"(?s)e\.pt.*{words}"):
        load_encoder(path)


def test_a_classifier_left_in_official_weights_is_not_dropped_silently(tmp_path):
    encoder = build_encoder(RESNET, 0)
    weights = {**encoder.state_dict(), "fc.bias": torch.zeros(1000)}
    with pytest.raises(DataError, match=r"fc\.bias"):
        fill_encoder(encoder, weights, tmp_path / "official.pth")


def test_torchvisions_weights_fit(tmp_path):
    from torchvision.models import resnet18

    theirs = resnet18().eval()
    encoder = build_encoder(RESNET, 0).eval()
    weights = {n: v for n, v in theirs.state_dict().items() if not n.startswith("fc.")}
    fill_encoder(encoder, weights, tmp_path / "official.pth")
    theirs.fc = nn.Identity()
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(encoder(images)[-1].mean(dim=(2, 3)), theirs(images))


@pytest.mark.parametrize("state", [{}, [1], {"format": "encoder-1", "spec": {"name": "unet-0"}}])
def test_other_files_are_refused(tmp_path, state):
    write_torch(tmp_path / "e.pt", state)
    with pytest.raises(DataError, match=r"e\.pt: not an encoder of this project"):
        load_encoder(tmp_path / "e.pt")


@pytest.mark.parametrize(
    "name", ["nonsense", "unet-0", "unet-", "tu-nonsense", "tu-vit_tiny_patch16_224", ""]
)
def test_unknown_names_and_networks_without_a_pyramid_are_refused(name):
    with pytest.raises(ParameterError, match="cannot be built"):
        build_encoder(EncoderSpec(name), 0)


def test_normalised_images_have_mean_0_and_spread_1():
    images = torch.rand(4, 3, 16, 16) * torch.tensor([0.2, 0.5, 1.0])[:, None, None]
    mean, std = images.mean(dim=(0, 2, 3)), images.std(dim=(0, 2, 3))
    found = normalise(images, mean.tolist(), std.tolist())
    torch.testing.assert_close(found.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.std(dim=(0, 2, 3)), torch.ones(3))
