"""A plain vision transformer as an encoder with four levels: the simple feature pyramid of ViTDet.

Li et al., ECCV 2022, arXiv 2203.16527, section 3: a plain transformer has one map, of stride 16,
and a detector's pyramid is made from the last of its blocks alone. Deconvolutions lead to strides 8
and 4 (W / 2 and W / 4 channels for a transformer of width W), the map itself stays, and a 2 x 2
maximum leads to stride 32, as in the authors' code. There is no batch normalisation.

Named deviations. Attention is global in every block, where the paper restricts most blocks to
windows: its time grows with the square of the number of tokens. The class token stays, so that
official weights fit, and so does the last layer norm of timm. The paper reduces all levels to 256
channels by two convolutions with layer norm; here that is up to what comes behind, as for any other
encoder (:class:`helpers.models.pyramid.Pyramid` has lateral convolutions, a path from coarse to
fine, which the paper finds unnecessary, and no normalisation), so layer norms follow the
deconvolutions, and all maps have values of the same size.

A loss on the deepest map alone, as of contrastive pretraining, trains the transformer and leaves
the deconvolutions as they were drawn.
"""

import re
import textwrap
from typing import Any

import torch
from torch import nn

from helpers.errors import ParameterError

PREFIX = "pyramid-"
PATCH = 16
# Channels of an attention head, as in vit_tiny, vit_small and vit_base.
HEAD = 64
# Side in pixels that the position embeddings are made for; others interpolate.
SIZE = 224


class VitPyramid(nn.Module):
    """Maps of strides 4, 8, 16 and 32 from the last map of a transformer.

    Weights are drawn from torch's global generator, as the libraries draw them.

    Args:
        transformer: timm's ``VisionTransformer`` for patches of 16 pixels and inputs of any size,
            as :func:`build_transformer` makes it; used, not copied.
        channels: of the input.
    """

    output_stride = 2 * PATCH

    def __init__(self, transformer: nn.Module, channels: int) -> None:
        super().__init__()
        from timm.layers import LayerNorm2d

        width = transformer.embed_dim
        half, quarter = width // 2, width // 4
        self.out_channels = [channels, 0, quarter, half, width, width]
        self.transformer = transformer
        self.stride4 = nn.Sequential(
            nn.ConvTranspose2d(width, half, 2, stride=2),
            LayerNorm2d(half),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, stride=2),
            LayerNorm2d(quarter),
        )
        self.stride8 = nn.Sequential(
            nn.ConvTranspose2d(width, half, 2, stride=2), LayerNorm2d(half)
        )
        self.stride32 = nn.MaxPool2d(2, ceil_mode=True)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The images, a map of stride 2 without channels, and those of strides 4, 8, 16 and 32.

        Args:
            images: (n, c, h, w) of any size. Sides that are no multiples of 16 are padded with
                zeros on the right and below, which take part in the attention.

        Returns:
            Maps of ceil(h / stride) x ceil(w / stride).
        """
        one = self.last_map(images)
        maps = [self.stride4(one), self.stride8(one), one, self.stride32(one)]
        height, width = images.shape[2:]
        cut = [
            level[:, :, : -(-height // stride), : -(-width // stride)]
            for level, stride in zip(maps, (4, 8, 16, 32), strict=True)
        ]
        empty = images.new_empty((len(images), 0, -(-height // 2), -(-width // 2)))
        return [images, empty, *cut]

    def last_map(self, images: torch.Tensor) -> torch.Tensor:
        """The transformer's own map (n, W, ceil(h / 16), ceil(w / 16)), after its last norm."""
        tokens = self.transformer.forward_features(images)
        tokens = tokens[:, self.transformer.num_prefix_tokens :]
        rows, columns = (-(-side // PATCH) for side in images.shape[2:])
        return tokens.transpose(1, 2).reshape(len(images), -1, rows, columns)


def build_vit_pyramid(name: str, channels: int, drop_path: float = 0.0) -> VitPyramid:
    """The encoder that :class:`helpers.models.encoders.EncoderSpec` calls ``pyramid-...``.

    Weights are random, drawn from torch's global generator; nothing is downloaded.

    Args:
        name: with the prefix; what follows it is as for :func:`build_transformer`.
        channels: of the input.
        drop_path: stochastic depth of the last block, growing linearly from 0 at the first.

    Raises:
        ParameterError: no such transformer.
    """
    transformer = build_transformer(name.removeprefix(PREFIX), channels, drop_path)
    return VitPyramid(transformer, channels)


def build_transformer(name: str, channels: int, drop_path: float = 0.0) -> nn.Module:
    """A plain transformer of timm without its classifier, for inputs of any size.

    Position embeddings, learnt on a grid of 14 x 14 (or of the size in the name), are interpolated
    to the grid of the input (bicubic).

    Args:
        name: ``"WIDTHxDEPTH"``, such as ``"192x12"``, which is timm's vit_tiny: one attention head
            per 64 channels, of which the width is a multiple, or a single one for smaller multiples
            of 4; or the name of a ``VisionTransformer`` of timm with
            patches of 16 pixels, such as ``"vit_tiny_patch16_224"``.
        channels, drop_path: as for :func:`build_vit_pyramid`.

    Raises:
        ParameterError: no such transformer, or one of another kind or patch.
    """
    from timm import create_model, is_model
    from timm.models.vision_transformer import VisionTransformer

    options: dict[str, Any] = {
        "in_chans": channels,
        "num_classes": 0,
        "global_pool": "",
        "drop_path_rate": drop_path,
        "dynamic_img_size": True,
        "dynamic_img_pad": True,
    }
    if match := re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", name):
        width, depth = int(match[1]), int(match[2])
        heads = max(1, width // HEAD)
        if width % (HEAD if width > HEAD else 4):
            raise _refused(name, f"a width that is a multiple of {HEAD}, or of 4 below that")
        return VisionTransformer(
            SIZE, PATCH, embed_dim=width, depth=depth, num_heads=heads, **options
        )
    # A name with a colon would be looked up on a server.
    if ":" in name or not is_model(name):
        raise _refused(name, "WIDTHxDEPTH such as 192x12, or a name of timm")
    try:
        model = create_model(name, pretrained=False, **options)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise _refused(name, textwrap.shorten(str(error), 200)) from error
    if type(model) is not VisionTransformer or model.patch_embed.patch_size != (PATCH, PATCH):
        raise _refused(name, "a VisionTransformer with patches of 16 pixels")
    return model


def _refused(name: str, expected: str) -> ParameterError:
    return ParameterError(
        f"encoder '{PREFIX}{name}': cannot be built; expected after {PREFIX!r} {expected}"
    )
