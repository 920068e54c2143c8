"""Feature pyramid (Lin et al. 2017, arXiv 1612.03144) on any encoder of the project.

Level l has a stride of 2^l pixels. The pyramid itself is torchvision's; here it is attached to
encoders of :mod:`helpers.models.encoders`, whichever levels they have.
"""

import math
from collections import OrderedDict
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from helpers.errors import ParameterError
from helpers.models.encoders import forward_levels

BatchNorm = Literal["trained", "frozen"]


class Pyramid(nn.Module):
    """Maps of equal width at the levels ``finest`` to ``coarsest``.

    Levels that the encoder has go through lateral and top-down convolutions; those coarser than
    its deepest are the deepest one subsampled by 2 (arXiv 1612.03144, section 4.1).

    Args:
        encoder: as of :func:`helpers.models.encoders.build_encoder`, of three channels; used, not
            copied.
        channels: of every map.
        finest, coarsest: levels, 2 for a stride of 4 and so on.
        batch_norm: ``"trained"``, the statistics of each batch, or ``"frozen"``: those that the
            encoder came with stay, and so do scale and offset, as in torchvision's detectors and,
            by default, detectron2's. Of the encoder only; the pyramid has no normalisation.

    Attributes:
        body: the encoder.
        strides: of the maps by name (``"p2"`` and so on).
        own: names of the maps that are not subsampled; regions are pooled from them.
        deepest: level of the encoder's last map.

    Raises:
        ParameterError: the encoder has no such levels.
    """

    def __init__(
        self,
        encoder: nn.Module,
        channels: int,
        finest: int,
        coarsest: int,
        batch_norm: BatchNorm = "trained",
    ) -> None:
        super().__init__()
        from torchvision.ops import FeaturePyramidNetwork

        widths = _widths(encoder)
        if not finest <= coarsest or finest not in widths:
            raise ParameterError(
                f"pyramid from level {finest} to {coarsest}: expected to begin at one of the "
                f"encoder's levels, {sorted(widths)}, and to end no lower"
            )
        self.body = encoder
        self.batch_norm = batch_norm
        self.strides = {f"p{level}": 2**level for level in range(finest, coarsest + 1)}
        self.own = tuple(name for name in self.strides if int(name[1:]) in widths)
        self.deepest = max(widths)
        kept = [widths[int(name[1:])] for name in self.own]
        self._first = finest - min(widths)
        self.fpn = FeaturePyramidNetwork(kept, channels)
        if batch_norm == "frozen":
            for module in self._normalisations():
                module.requires_grad_(False)
        self.train(self.training)

    def forward(self, images: torch.Tensor) -> "OrderedDict[str, torch.Tensor]":
        """Maps float32 (n, channels, h / stride, w / stride) by name, fine to coarse.

        Args:
            images: (n, 3, h, w), normalised; h and w multiples of the coarsest stride.
        """
        levels = forward_levels(self.body, images)[self._first :]
        maps = self.fpn(OrderedDict(zip(self.own, levels[: len(self.own)], strict=True)))
        for name in list(self.strides)[len(self.own) :]:
            maps[name] = F.max_pool2d(maps[next(reversed(maps))], 1, stride=2)
        # Anchors and boxes take their type from the maps, and pixels need more than 8 bits.
        return OrderedDict((name, one.float()) for name, one in maps.items())

    def train(self, mode: bool = True) -> "Pyramid":
        """As of any module, but frozen batch normalisation stays in evaluation mode."""
        super().train(mode)
        if self.batch_norm == "frozen":
            for module in self._normalisations():
                module.eval()
        return self

    def _normalisations(self) -> list[nn.Module]:
        kinds = nn.modules.batchnorm._BatchNorm
        return [module for module in self.body.modules() if isinstance(module, kinds)]


def _widths(encoder: nn.Module) -> dict[int, int]:
    """Channels of an encoder's maps by level; each level has twice the stride of the one before."""
    out = list(encoder.out_channels)
    stride = getattr(encoder, "output_stride", 2 ** (len(out) - 1))
    deepest = round(math.log2(stride))
    widths = [width for width in out[int(out[0] == 3) :] if width]
    return {deepest - len(widths) + 1 + place: width for place, width in enumerate(widths)}
