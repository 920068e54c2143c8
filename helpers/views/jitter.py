"""Photometric views: the same image under slightly other light (arXiv 2410.18677, section 4).

The published views are torchvision's ``ColorJitter`` with brightness 0.1, contrast 0.05, saturation
0.1 and hue 0.05, called on a whole batch: all images of a view share one draw of the four factors
and of their order. Here the draw is data (:class:`Jitter`) and its application batched, also with a
draw per image; equal to torchvision to rounding, with the turn of the hue written without a detour
through HSV and left out where an image is grey and it would do nothing.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# torchvision's weights of red, green and blue; their sum is 0.9999.
GREY_WEIGHTS = (0.2989, 0.587, 0.114)
STEPS = ("brightness", "contrast", "saturation", "hue")


@dataclass(frozen=True)
class JitterStrength:
    """How far views differ; the defaults are the published ones.

    Attributes:
        brightness, contrast, saturation: factors are drawn from 1 - s to 1 + s.
        hue: turns are drawn from -s to s, as a share of the full circle; at most 0.5.
    """

    brightness: float = 0.1
    contrast: float = 0.05
    saturation: float = 0.1
    hue: float = 0.05


@dataclass(frozen=True)
class Jitter:
    """One draw: the order of the steps and their factors, float32 (m,), m = 1 or one per image."""

    order: tuple[str, ...]
    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    hue: Tensor

    def part(self, rows: Tensor) -> "Jitter":
        """The draw for some of the images; the same where all images share it."""
        if len(self.brightness) == 1:
            return self
        return Jitter(self.order, *(getattr(self, name)[rows] for name in STEPS))


def draw_jitter(strength: JitterStrength, generator: torch.Generator, n: int = 1) -> Jitter:
    """Draw order and factors, ``n`` times the latter.

    With a draw per image (``n`` > 1, a deviation from the paper) the images still share the order
    of the steps.
    """
    order = torch.randperm(len(STEPS), generator=generator).tolist()
    spread = {name: 2 * torch.rand(n, generator=generator) - 1 for name in STEPS}
    factors = {name: 1 + getattr(strength, name) * spread[name] for name in STEPS[:3]}
    hue = strength.hue * spread["hue"]
    return Jitter(tuple(STEPS[i] for i in order), **factors, hue=hue)


def jitter_images(images: Tensor, jitter: Jitter, grey_aware: bool = False) -> Tensor:
    """A view of (n, 3, h, w) float images in 0..1, clamped to 0..1 after every step.

    Args:
        images: colour, or grey repeated to three equal channels.
        jitter: factors for all images, or one set for each.
        grey_aware: a repair, not published. Hue and saturation leave grey images as they are, so
            that their two views differ less than those of colour images. With this option they are
            given a gamma (the factor of saturation as exponent) and a linear shading from left to
            right (1 -+ the hue's number) in their place.
    """
    grey = is_grey(images)
    for step in jitter.order:
        factor = getattr(jitter, step).to(images)[:, None, None, None]
        images = _APPLY[step](images, factor, grey, grey_aware)
    return images


def is_grey(images: Tensor) -> Tensor:
    """Which of (n, 3, h, w) images have three equal channels, bool (n,)."""
    return (images[:, :1] == images[:, 1:]).flatten(1).all(dim=1)


def to_grey(images: Tensor) -> Tensor:
    """Luma of (n, 3, h, w) with torchvision's weights, (n, 1, h, w)."""
    red, green, blue = images.split(1, dim=1)
    return GREY_WEIGHTS[0] * red + GREY_WEIGHTS[1] * green + GREY_WEIGHTS[2] * blue


def turn_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue of (n, 3, h, w) in 0..1 by a share of the circle, (1 or n, 1, 1, 1).

    As torchvision's ``adjust_hue`` (RGB to HSV, shift, back), with the way back as
    value - chroma * clamp(min(k, 4 - k), 0, 1), k = (c + 6 h) mod 6, c = 5, 3, 1 for red, green and
    blue.
    """
    value, arg = images.max(dim=1, keepdim=True)
    chroma = value - images.amin(dim=1, keepdim=True)
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    red, green, blue = images.split(1, dim=1)
    sextant = torch.where(
        arg == 0,
        (green - blue) / safe,
        torch.where(arg == 1, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    corner = torch.tensor([5.0, 3.0, 1.0]).to(images)[None, :, None, None]
    k = (corner + sextant + 6 * turn).remainder(6)
    return value - chroma * torch.minimum(k, 4 - k).clamp(0, 1)


def _brightness(images: Tensor, factor: Tensor, grey: Tensor, aware: bool) -> Tensor:
    return (images * factor).clamp(0, 1)


def _contrast(images: Tensor, factor: Tensor, grey: Tensor, aware: bool) -> Tensor:
    mean = to_grey(images).mean(dim=(1, 2, 3), keepdim=True)
    return (factor * images + (1 - factor) * mean).clamp(0, 1)


def _saturation(images: Tensor, factor: Tensor, grey: Tensor, aware: bool) -> Tensor:
    blended = (factor * images + (1 - factor) * to_grey(images)).clamp(0, 1)
    if not (aware and grey.any()):
        return blended
    return torch.where(grey[:, None, None, None], images**factor, blended)


def _hue(images: Tensor, turn: Tensor, grey: Tensor, aware: bool) -> Tensor:
    turned = images if grey.all() else turn_hue(images, turn)
    if not (aware and grey.any()):
        return turned
    ramp = torch.linspace(-1, 1, images.shape[-1]).to(images)
    shaded = (images * (1 + turn * ramp)).clamp(0, 1)
    return torch.where(grey[:, None, None, None], shaded, turned)


_APPLY = {
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "hue": _hue,
}
