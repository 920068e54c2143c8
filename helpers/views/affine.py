"""Random rotation, scale, flip and crop of a whole batch, flow vectors turned along."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Affine:
    """One similarity transform per patch, from the source patch to the crop.

    A source point p (x, y, in pixels from the patch's centre) lands at
    scale * R(angle) * diag(flip, 1) * p + shift, in pixels from the crop's centre.

    Attributes:
        angle: (n,) radians.  flip: (n,) +1 or -1.  scale: (n,).  shift: (n, 2) pixels, x then y.
    """

    angle: torch.Tensor
    flip: torch.Tensor
    scale: torch.Tensor
    shift: torch.Tensor

    def to(self, device: torch.device) -> "Affine":
        """The same transforms on another device."""
        return Affine(
            *(part.to(device) for part in (self.angle, self.flip, self.scale, self.shift))
        )

    @property
    def orthogonal(self) -> torch.Tensor:
        """(n, 2, 2): rotation times flip, without the scale."""
        cosine, sine = self.angle.cos(), self.angle.sin()
        rows = [cosine * self.flip, -sine, sine * self.flip, cosine]
        return torch.stack(rows, dim=1).reshape(-1, 2, 2)


def draw_affine(
    n: int, size: int, crop: int, scale_range: float, generator: torch.Generator
) -> Affine:
    """Draw transforms as Cellpose does: any angle, flip in half the cases, uniform scale.

    Args:
        size: side of the source patch; crop: side of the result, both in pixels.
        scale_range: width of the uniform scale interval around 1 (0.5 gives 0.75 to 1.25).
    """
    uniform = torch.rand((5, n), generator=generator)
    scale = 1 - scale_range / 2 + scale_range * uniform[2]
    slack = (size * scale - crop).clamp(min=0)
    shift = (uniform[3:5] - 0.5) * slack
    flip = torch.where(uniform[1] > 0.5, -1.0, 1.0)
    return Affine(2 * torch.pi * uniform[0], flip, scale, shift.T)


def apply_affine(stack: torch.Tensor, affine: Affine, crop: int) -> torch.Tensor:
    """Resample a batch and turn its flow vectors.

    Args:
        stack: (n, 4, size, size) of image, foreground, flow y, flow x; what lies outside is zero.
        crop: side of the result in pixels.

    Returns:
        (n, 4, crop, crop). Bilinear, so foreground lies between 0 and 1 along borders. Flows keep
        their length inside instances: directions are turned, the scale does not enter.
    """
    size = stack.shape[-1]
    axis = torch.arange(crop, device=stack.device, dtype=stack.dtype) - (crop - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    target = torch.stack([x, y]).reshape(1, 2, -1) - affine.shift[:, :, None]
    source = affine.orthogonal.transpose(1, 2) @ target / affine.scale[:, None, None]
    # Pixel centres: grid_sample counts -1..1 from edge to edge of the patch.
    grid = (source * 2 / size).transpose(1, 2).reshape(-1, crop, crop, 2)
    warped = F.grid_sample(stack, grid, padding_mode="zeros", align_corners=False)
    flow_xy = torch.stack([warped[:, 3], warped[:, 2]], dim=1)
    turned = torch.einsum("nij,njhw->nihw", affine.orthogonal, flow_xy)
    return torch.cat([warped[:, :2], turned[:, 1:2], turned[:, 0:1]], dim=1)
