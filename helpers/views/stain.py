"""Stain jitter: an H&E image as if it came from another slide of the same collection.

RandStainNA (Shen et al., MICCAI 2022, arXiv 2206.12694): for each image of a collection, mean and
standard deviation of the three channels are measured in three colour spaces (CIELAB, HSV, and HED,
the stains after Ruifrok & Johnston 2001); over the images these six numbers are taken as normally
distributed, each on its own. A view is made by drawing a colour space and six numbers, and moving
mean and standard deviation of the image's channels there.

Deviations from the released RandStainNA: images stay in floating point and are clamped to 0..1 at
the end (released: 8 bits per channel in LAB and HSV, and after HED the range is stretched to
0..255); a hue outside the circle comes back at its other end; stains may be negative on the way, so
that an image with its own numbers is unchanged; drawn standard deviations are at least 0; an
image's own are taken as at least a tenth of the collection's mean, so that empty glass does not
become coloured noise (released: as at least 1e-4). All images are drawn and changed in batches.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

SPACES = ("lab", "hsv", "hed")
FLOOR_SHARE = 0.1

# sRGB (linear) to CIE XYZ and the white point D65, 2 degrees.
_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169),
        (0.019334, 0.119193, 0.950227))  # fmt: skip
_WHITE = (0.95047, 1.0, 1.08883)
# Optical density of haematoxylin, eosin and DAB in red, green and blue (Ruifrok & Johnston 2001).
_STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
# Light is at least this, and densities are counted in units of its logarithm, as in scikit-image.
_DARKEST = 1e-6


@dataclass(frozen=True, eq=False)
class StainModel:
    """Distribution of an image's six numbers, in each of the colour spaces :data:`SPACES`.

    The numbers are the means of the three channels, then their standard deviations.

    Attributes:
        means, stds: float32 (3, 6), of the numbers over the images.
        floors: float32 (3, 3), the least standard deviation that an image's channel counts as.
    """

    means: Tensor
    stds: Tensor
    floors: Tensor


@dataclass(frozen=True, eq=False)
class Stains:
    """One draw per image.

    Attributes:
        space: int64 (n,), place in :data:`SPACES`.
        mean, std: float32 (n, 3), what the channels shall have.
        floor: float32 (n, 3), see :class:`StainModel`.
    """

    space: Tensor
    mean: Tensor
    std: Tensor
    floor: Tensor


def fit_stains(images: np.ndarray, most: int = 512) -> StainModel:
    """Measure a collection.

    Args:
        images: uint8 (n, h, w, 3), memory-mapped or not; ``most`` evenly spaced ones are used.
    """
    chosen = np.unique(np.linspace(0, len(images) - 1, min(most, len(images))).astype(int))
    measured = np.stack([_six_numbers(images[index]) for index in chosen], axis=1)
    parts = measured.mean(axis=1), measured.std(axis=1), FLOOR_SHARE * measured[:, :, 3:].mean(1)
    return StainModel(*(torch.from_numpy(part).float() for part in parts))


def draw_stains(model: StainModel, n: int, generator: torch.Generator) -> Stains:
    """Draw colour space (even odds) and six numbers for n images.

    Args:
        generator: on the CPU.
    """
    space = torch.randint(len(SPACES), (n,), generator=generator)
    # Recorded runs drew a component of a mixture here, of which there was one.
    torch.empty(n).exponential_(generator=generator)
    noise = torch.randn((n, 6), generator=generator)
    numbers = model.means[space] + model.stds[space] * noise
    return Stains(space, numbers[:, :3], numbers[:, 3:].clamp(min=0), model.floors[space])


def stain_images(images: Tensor, stains: Stains) -> Tensor:
    """Give (n, 3, h, w) float images in 0..1 the drawn means and standard deviations.

    They are reached exactly where nothing is clamped to 0..1 in the end.
    """
    out = torch.empty_like(images)
    for number, name in enumerate(SPACES):
        rows = (stains.space == number).nonzero()[:, 0]
        if len(rows) == 0:
            continue
        into, back = _CONVERT[name]
        values = into(images[rows])
        own_mean, own_std = _statistics(values)
        mean, std, floor = (
            part[rows].to(images)[:, :, None, None]
            for part in (stains.mean, stains.std, stains.floor)
        )
        moved = (values - own_mean) * (std / torch.maximum(own_std, floor)) + mean
        out[rows] = back(moved).clamp(0, 1)
    return out


def rgb_to_lab(images: Tensor) -> Tensor:
    """sRGB in 0..1 to CIELAB (D65, 2 degrees), (n, 3, h, w): L 0..100, a and b about -100..100."""
    linear = torch.where(
        images > 0.04045, ((images.clamp(min=0) + 0.055) / 1.055) ** 2.4, images / 12.92
    )
    scaled = _mixed(_xyz(images), linear)
    curved = torch.where(
        scaled > 0.008856, scaled.clamp(min=0.008856) ** (1 / 3), 7.787 * scaled + 16 / 116
    )
    x, y, z = curved.split(1, dim=1)
    return torch.cat([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """CIELAB to sRGB, (n, 3, h, w), clamped to 0..1."""
    y = (lab[:, :1] + 16) / 116
    curved = torch.cat([y + lab[:, 1:2] / 500, y, y - lab[:, 2:] / 200], dim=1)
    scaled = torch.where(curved > 0.2068966, curved**3, (curved - 16 / 116) / 7.787)
    linear = _mixed(torch.linalg.inv(_xyz(lab)), scaled).clamp(0, 1)
    return torch.where(
        linear > 0.0031308, 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055, 12.92 * linear
    )


def rgb_to_hsv(images: Tensor) -> Tensor:
    """RGB in 0..1 to hue (share of the circle, 0 to below 1), saturation and value, 0..1."""
    value, largest = images.max(dim=1, keepdim=True)
    chroma = value - images.amin(dim=1, keepdim=True)
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    red, green, blue = images.split(1, dim=1)
    sextants = torch.cat(
        [(green - blue) / safe, 2 + (blue - red) / safe, 4 + (red - green) / safe], dim=1
    )
    hue = (sextants.gather(1, largest) / 6).remainder(1)
    hue = torch.where(chroma > 0, hue, torch.zeros_like(hue))
    saturation = chroma / torch.where(value > 0, value, torch.ones_like(value))
    return torch.cat([hue, saturation, value], dim=1)


def hsv_to_rgb(hsv: Tensor) -> Tensor:
    """Hue (any number, whole circles do not matter), saturation and value (clamped) to RGB."""
    hue, saturation, value = hsv.split(1, dim=1)
    saturation, value = saturation.clamp(0, 1), value.clamp(0, 1)
    corner = _constant((5, 3, 1), hsv)[:, None, None]
    k = (corner + 6 * hue).remainder(6)
    return value - value * saturation * torch.minimum(k, 4 - k).clamp(0, 1)


def rgb_to_hed(images: Tensor) -> Tensor:
    """RGB in 0..1 to amounts of haematoxylin, eosin and DAB (n, 3, h, w); some may be negative."""
    density = images.clamp(min=_DARKEST).log() / float(np.log(_DARKEST))
    return _mixed(torch.linalg.inv(_constant(_STAINS, images)).T, density)


def hed_to_rgb(hed: Tensor) -> Tensor:
    """Amounts of the three stains to RGB, clamped to 0..1."""
    density = _mixed(_constant(_STAINS, hed).T, hed)
    return (density * float(np.log(_DARKEST))).exp().clamp(0, 1)


_CONVERT: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "lab": (rgb_to_lab, lab_to_rgb),
    "hsv": (rgb_to_hsv, hsv_to_rgb),
    "hed": (rgb_to_hed, hed_to_rgb),
}


def _constant(values: Sequence, like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)


def _xyz(like: Tensor) -> Tensor:
    """From linear red, green and blue to X, Y and Z as shares of white, (3, 3)."""
    return _constant(_XYZ, like) / _constant(_WHITE, like)[:, None]


def _mixed(matrix: Tensor, images: Tensor) -> Tensor:
    """``matrix`` (3, 3) times the channels of (n, 3, h, w)."""
    return torch.einsum("ij,njhw->nihw", matrix, images)


def _statistics(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the channels, (n, 3, 1, 1) each."""
    mean = values.mean(dim=(2, 3), keepdim=True)
    return mean, values.std(dim=(2, 3), correction=0, keepdim=True)


def _six_numbers(image: np.ndarray) -> np.ndarray:
    """What is measured of a uint8 (h, w, 3) image, float64 (spaces, 6)."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].double() / 255
    numbers = [torch.cat(_statistics(_CONVERT[name][0](pixels)), dim=1) for name in SPACES]
    return torch.cat(numbers).flatten(1).numpy()
