"""Random windows of images and their class masks: rotation, flip and crop.

As in the released configurations of arXiv 2410.18677: any angle, a flip in half the cases, what
comes from outside is background. A flip of the other axis would make no difference, because with
any angle the two give the same distribution.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F

from helpers.views.affine import Affine, draw_affine


def draw_views(
    n: int, shape: tuple[int, int], crop: int, rotate: bool, generator: torch.Generator
) -> Affine:
    """Where ``n`` views lie in images of (h, w) pixels.

    Args:
        crop: side of square views in pixels, no longer than h and w; 0 for views of (h, w).
        rotate: turn by any angle and flip half of them. Otherwise views are windows of whole
            pixels.
        generator: on the CPU.
    """
    height, width = shape
    # Of a unit image: shifts from -1/2 to 1/2, as shares of the slack.
    drawn = draw_affine(n, 1, 0, 0.0, generator)
    slack = torch.tensor([width - crop, height - crop] if crop else [0, 0], dtype=torch.float32)
    if rotate:
        return replace(drawn, shift=drawn.shift * slack)
    offset = ((drawn.shift + 0.5) * (slack + 1)).floor().minimum(slack)
    still = {"angle": torch.zeros(n), "flip": torch.ones(n)}
    return replace(drawn, **still, shift=slack / 2 - offset)


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
        crop: as for `draw_views`.
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
