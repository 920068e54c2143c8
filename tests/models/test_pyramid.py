import pytest
import torch
from torch import nn

from helpers.errors import ParameterError
from helpers.models.encoders import EncoderSpec, build_encoder
from helpers.models.pyramid import Pyramid
from tests.models.tiny_encoder import TinyEncoder


@pytest.mark.parametrize("name", ["unet-4", "resnet18", "tu-resnest14d", "tu-convnext_atto"])
def test_maps_have_the_strides_of_their_names(name):
    pyramid = Pyramid(build_encoder(EncoderSpec(name), 0), 8, 2, 6).eval()
    with torch.no_grad():
        maps = pyramid(torch.rand(1, 3, 64, 128))
    assert list(maps) == ["p2", "p3", "p4", "p5", "p6"]
    for name, one in maps.items():
        stride = pyramid.strides[name]
        assert one.shape == (1, 8, 64 // stride, 128 // stride)
        assert one.dtype == torch.float32
    own = pyramid.own
    assert own == tuple(f"p{level}" for level in range(2, pyramid.deepest + 1))
    for name, before in zip(list(maps)[len(own) :], list(maps)[len(own) - 1 :], strict=False):
        torch.testing.assert_close(maps[name], maps[before][:, :, ::2, ::2])


def test_levels_that_are_not_asked_for_get_no_layers():
    encoder = TinyEncoder()
    pyramid = Pyramid(encoder, 4, 2, 2)
    assert pyramid.own == ("p2",)
    assert pyramid.body is encoder
    assert list(pyramid(torch.rand(2, 3, 16, 16))) == ["p2"]


@pytest.mark.parametrize(("finest", "coarsest"), [(0, 3), (4, 5), (3, 2)])
def test_a_level_that_the_encoder_lacks_is_refused(finest, coarsest):
    with pytest.raises(ParameterError, match=r"levels, \[1, 2, 3\]"):
        Pyramid(TinyEncoder(), 4, finest, coarsest)


def test_frozen_batch_normalisation_stays_as_it_came():
    pyramid = Pyramid(TinyEncoder(), 4, 1, 3, "frozen").train()
    layers = [m for m in pyramid.body.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [layer.running_mean.clone() for layer in layers]
    sum(one.sum() for one in pyramid(torch.rand(2, 3, 16, 16)).values()).backward()
    assert all(map(torch.equal, before, [layer.running_mean for layer in layers]))
    assert all(layer.weight.grad is None for layer in layers)
    assert pyramid.body.levels[0][0].weight.grad is not None
    moving = Pyramid(TinyEncoder(), 4, 1, 3).train()
    moving(torch.rand(2, 3, 16, 16))
    assert not torch.equal(moving.body.levels[0][1].running_mean, before[0])
