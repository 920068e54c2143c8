"""Views against torchvision's own jitter."""

import itertools

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from helpers.views.jitter import (
    STEPS,
    Jitter,
    JitterStrength,
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
