"""Views against torchvision's own jitter."""

import itertools

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from helpers.errors import ParameterError
from helpers.views.jitter import (
    STEPS,
    Jitter,
    JitterStrength,
    Photometric,
    draw_jitter,
    is_grey,
    jitter_images,
    turn_hue,
)
from tests.transferability.peers import PEER


def colour_images(n=5, size=9, seed=0):
    return torch.rand((n, 3, size, size), generator=torch.Generator().manual_seed(seed))


def grey_images(n=5, size=9, seed=0):
    return colour_images(n, size, seed)[:, :1].repeat(1, 3, 1, 1)


def one_by_one(images, jitter):
    """torchvision, image by image, step by step."""
    out = []
    for i, image in enumerate(images):
        for step in jitter.order:
            factors = getattr(jitter, step)
            image = PEER[step](image, float(factors[i if len(factors) > 1 else 0]))
        out.append(image)
    return torch.stack(out)


@pytest.mark.parametrize("order", list(itertools.permutations(STEPS)))
def test_a_view_equals_torchvision_in_every_order(order):
    factors = [torch.tensor([f]) for f in (1.08, 0.96, 0.91)]
    jitter = Jitter(order, *factors, hue=torch.tensor([-0.04]))
    images = colour_images()
    torch.testing.assert_close(
        jitter_images(images, jitter), one_by_one(images, jitter), atol=2e-6, rtol=0
    )


@pytest.mark.parametrize("make", [colour_images, grey_images])
@pytest.mark.parametrize("n", [1, 5])
def test_drawn_views_equal_torchvision(make, n):
    generator = torch.Generator().manual_seed(3)
    images = make(5)
    for _ in range(8):
        jitter = draw_jitter(JitterStrength(0.4, 0.4, 0.4, 0.5), generator, n)
        torch.testing.assert_close(
            jitter_images(images, jitter), one_by_one(images, jitter), atol=3e-6, rtol=0
        )


@pytest.mark.parametrize("turn", [-0.5, -0.21, 0.0, 0.1, 0.5])
def test_the_turn_of_the_hue_equals_torchvision_on_plain_colours(turn):
    corners = torch.tensor(list(itertools.product([0.0, 0.5, 1.0], repeat=3)))
    images = corners.T.reshape(1, 3, 3, 9)
    turned = turn_hue(images, torch.tensor(turn).reshape(1, 1, 1, 1))
    torch.testing.assert_close(turned, tv.adjust_hue(images, turn), atol=2e-6, rtol=0)


def test_without_strength_a_view_is_the_image():
    jitter = draw_jitter(JitterStrength(0, 0, 0, 0), torch.Generator().manual_seed(0))
    images = colour_images()
    torch.testing.assert_close(jitter_images(images, jitter), images, atol=1e-6, rtol=0)


def test_draws_stay_within_their_strength_and_fill_it():
    generator = torch.Generator().manual_seed(0)
    jitter = draw_jitter(JitterStrength(), generator, 4000)
    for name, strength in (("brightness", 0.1), ("contrast", 0.05), ("saturation", 0.1)):
        spread = getattr(jitter, name) - 1
        assert spread.abs().max() <= strength + 1e-6
        assert spread.max() > 0.95 * strength
        assert spread.min() < -0.95 * strength
    assert jitter.hue.abs().max() <= 0.05
    orders = {draw_jitter(JitterStrength(), generator).order for _ in range(400)}
    assert len(orders) == 24


def test_grey_images_differ_less_unless_the_jitter_knows_them():
    images = grey_images(4, 32)
    strength = JitterStrength(0, 0, 0.1, 0.05)
    jitter = draw_jitter(strength, torch.Generator().manual_seed(1), 4)
    plain = (jitter_images(images, jitter) - images).abs().amax()
    aware = jitter_images(images, jitter, grey_aware=True)
    assert plain < 1e-4
    assert (aware - images).abs().amax() > 0.01
    assert is_grey(aware).all()
    # Colour images are untouched by the option.
    colour = colour_images(4, 32)
    mixed = torch.cat([images, colour])
    both = draw_jitter(strength, torch.Generator().manual_seed(1), 8)
    torch.testing.assert_close(
        jitter_images(mixed, both, grey_aware=True)[4:],
        jitter_images(colour, both.part(range(4, 8))),
    )


@pytest.mark.parametrize("strength", [{"hue": 0.6}, {"brightness": -0.1}, {"contrast": 1.5}])
def test_impossible_strengths_are_refused(strength):
    with pytest.raises(ParameterError, match="strengths from 0 to 1"):
        JitterStrength(**strength)


def test_wrong_shapes_are_refused():
    jitter = draw_jitter(JitterStrength(), torch.Generator().manual_seed(0), 3)
    with pytest.raises(ParameterError, match="repeat grey images"):
        jitter_images(torch.zeros(3, 1, 8, 8), jitter)
    with pytest.raises(ParameterError, match="jitter for 3 images, 2 given"):
        jitter_images(torch.zeros(2, 3, 8, 8), jitter)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


STATISTICS = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.25)}


def test_jitter_works_on_the_images_before_normalisation_one_by_one():
    raw = torch.rand((5, 3, 16, 16), generator=generator(1)) * 0.8
    mean, std = (torch.tensor(STATISTICS[name])[:, None, None] for name in ("mean", "std"))
    light = Photometric(**STATISTICS, strength=JitterStrength(0.1, 0, 0, 0))
    jittered = light.apply((raw - mean) / std, generator()) * std + mean
    factors = [
        float((after / before).median()) for after, before in zip(jittered, raw, strict=True)
    ]
    assert len({round(factor, 4) for factor in factors}) == 5
    for factor, before, after in zip(factors, raw, jittered, strict=True):
        assert 0.9 <= factor <= 1.1
        torch.testing.assert_close(after, tv.adjust_brightness(before, factor), atol=1e-4, rtol=0)


def test_jitter_draws_from_its_generator_and_leaves_the_global_one():
    images = torch.randn((3, 3, 8, 8), generator=generator(2))
    light = Photometric(**STATISTICS)
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    first = light.apply(images, generator(3))
    torch.testing.assert_close(torch.rand(2), expected, rtol=0, atol=0)
    assert torch.equal(first, light.apply(images, generator(3)))
    assert not torch.equal(first, light.apply(images, generator(4)))


@pytest.mark.parametrize(
    "options",
    [{"mean": (0.5,)}, {"std": (0.2, 0.3, 0.0)}],
)
def test_impossible_statistics_are_refused(options):
    with pytest.raises(ParameterError, match="expected"):
        Photometric(**{**STATISTICS, **options})


def test_grey_images_of_one_channel_are_jittered_as_those_of_three():
    images = torch.rand((4, 1, 8, 8), generator=generator(5))
    one = Photometric((0.5,), (0.2,)).apply(images, generator(6))
    three = Photometric((0.5,) * 3, (0.2,) * 3).apply(images.repeat(1, 3, 1, 1), generator(6))
    assert one.shape == images.shape
    torch.testing.assert_close(one, three[:, :1])
    assert not torch.equal(one, images)
