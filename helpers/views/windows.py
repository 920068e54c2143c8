"""Random windows of images and their class masks: rotation, flip, translation and crop.

Stacks of images of one size (`draw_turns`, `apply_views`) are treated as in the released
configurations of arXiv 2410.18677: any angle, a flip in half the cases, what comes from outside is
background. A flip of the other axis would make no difference, because with any angle the two give
the same distribution.

Images of any size (`draw_windows`, `cut_windows`) are for the 256 x 256 patches of arXiv
2307.03275, "sampled randomly in the whole image", with flips, rotation and translation. The paper
says nothing about what a turned or shifted patch shows where it leaves the image; here it is the
image's surroundings, and beyond its border its reflection, in image and mask alike.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from helpers.data.reflection import cut_square
from helpers.views.affine import Affine, draw_affine


def draw_turns(n: int, generator: torch.Generator) -> Affine:
    """Turns of ``n`` views by any angle, half of them flipped.

    Args:
        generator: on the CPU.
    """
    drawn = draw_affine(n, 1, 0, 0.0, generator)
    return replace(drawn, shift=torch.zeros_like(drawn.shift))


def apply_views(
    images: torch.Tensor,
    masks: torch.Tensor,
    views: Affine,
    crop: int = 0,
    fill: tuple[float, ...] = (0.0,),
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut views out of a batch: images bilinear, masks by nearest neighbour.

    Args:
        images: (n, channels, h, w).
        masks: int64 (n, h, w).
        views: on the same device; scales are not used.
        crop: side of square views in pixels; 0 for views as large as the images.
        fill: what the image holds outside, one value or one per channel. Masks hold 0 there.

    Returns:
        (n, channels, crop or h, crop or w), and int64 (n, crop or h, crop or w).
    """
    n, channels, height, width = images.shape
    seen = (crop or height, crop or width)
    # Views count -1..1 from edge to edge, and so does the source.
    to_pixels = torch.tensor([seen[1] / 2, seen[0] / 2]).to(images)
    to_shares = torch.tensor([2 / width, 2 / height]).to(images)[:, None]
    back = to_shares * views.orthogonal.transpose(1, 2)
    theta = torch.cat([back * to_pixels, -back @ views.shift[:, :, None]], dim=2)
    grid = F.affine_grid(theta, [n, channels, *seen], align_corners=False)
    outside = torch.tensor(fill).to(images)[:, None, None]
    seen_images = F.grid_sample(images - outside, grid, align_corners=False) + outside
    codes = masks[:, None].to(images.dtype)
    seen_masks = F.grid_sample(codes, grid, mode="nearest", align_corners=False)
    return seen_images, seen_masks[:, 0].long()


@dataclass(frozen=True)
class Windows:
    """One square window in each of n images, and how it is turned.

    Attributes:
        corners: int64 (n, 2), top and left pixel of the windows before they are turned about their
            centres. They may lie outside the images.
        turns: rotations and flips. Shifts and scales are not used.
    """

    corners: torch.Tensor
    turns: Affine


def draw_windows(
    shapes: torch.Tensor, crop: int, translate: float, generator: torch.Generator
) -> Windows:
    """Where one window lies in each of n images.

    Every place within the image is as likely as any other. A side shorter than the window lies in
    its middle. Windows are turned by any angle and half of them flipped, which amounts to
    horizontal and vertical flips and a rotation.

    Args:
        shapes: int64 (n, 2), height and width of the images in pixels.
        crop: side of the windows in pixels.
        translate: shift by up to this share of ``crop`` along both axes, whole pixels, so that
            windows reach beyond the border.
        generator: on the CPU.
    """
    drawn = draw_affine(len(shapes), 1, 0, 0.0, generator)
    slack = shapes - crop
    anywhere = ((drawn.shift.flip(1) + 0.5) * (slack + 1)).floor().long().minimum(slack)
    corners = torch.where(slack > 0, anywhere, slack.div(2, rounding_mode="floor"))
    if translate:
        # Whole pixels.
        way = 2 * torch.rand((len(shapes), 2), generator=generator) - 1
        corners = corners + (way * translate * crop).round().long()
    return Windows(corners, replace(drawn, shift=torch.zeros_like(drawn.shift)))


def cut_windows(
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    windows: Windows,
    crop: int,
    device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut one window out of each of n images: turned ones bilinear, masks by nearest neighbour.

    Args:
        images: float32 (channels, h, w) each, of any size, memory-mapped or not.
        masks: integers (h, w).
        windows: for these images, on the CPU.
        crop: side of the windows in pixels.
        device: of the result; windows are turned there.

    Returns:
        float32 (n, channels, crop, crop) and int64 (n, crop, crop). What lies outside an image is
        its reflection, see :mod:`helpers.data.reflection`.
    """
    # A turned square reaches this much further out.
    margin = math.ceil(crop * (math.sqrt(2) - 1) / 2)
    boxes = [
        (top - margin, left - margin, crop + 2 * margin) for top, left in windows.corners.tolist()
    ]
    squares, codes = (
        np.stack([cut_square(one, *box) for one, box in zip(part, boxes, strict=True)])
        for part in (images, masks)
    )
    cut = torch.from_numpy(squares).to(device)
    classes = torch.from_numpy(codes.astype(np.int64)).to(device)
    return apply_views(cut, classes, windows.turns.to(device), crop)
