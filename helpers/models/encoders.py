"""Encoders: an image in, feature maps from fine to coarse out, for a decoder or a classifier.

One name makes a network, whoever trains it afterwards: classification
(:mod:`helpers.pretraining.supervised`) or a self-supervised loss. The forms of
``segmentation_models_pytorch`` hold, so that its decoders can be attached: ``encoder(images)``
gives a list, the images and then the maps; ``encoder.out_channels`` gives the channels of each.
"""

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from helpers.errors import DataError, ParameterError
from helpers.files import read_torch, write_torch
from helpers.models import vit_pyramid
from helpers.randomness import global_seed

FORMAT = "encoder-1"
UNET_LEVELS = 5


@dataclass(frozen=True)
class EncoderSpec:
    """Which encoder.

    Attributes:
        name: ``"unet-W"``, the encoder of a plain U-Net with W channels at its first level
            (:class:`UnetEncoder`); ``"tu-..."``, a model of timm that has feature maps, such as
            ``"tu-swin_tiny_patch4_window7_224"``; ``"pyramid-..."``, a plain vision transformer
            whose one map is made four (:mod:`helpers.models.vit_pyramid`), given by width and depth
            or by timm's name, such as ``"pyramid-192x12"`` or, the same,
            ``"pyramid-vit_tiny_patch16_224"``; or a name of ``segmentation_models_pytorch``, such
            as ``"resnet50"``.
        channels: of the input.

    Sizes of input: convolutional networks take any (from 32 pixels on). So do Swin transformers
    here, with one set of weights for all sizes: windows keep their 7 x 7 tokens, and a map that is
    no multiple of a window is padded with zeros, which take part in the attention. At the size in
    its name a Swin is exactly timm's; at larger ones the windows of its deepest level, which fill
    the map there, are not shifted. So does ``pyramid-...``, which interpolates its positions and
    pads to multiples of its patches. Other networks of fixed size (MaxViT, CoAtNet) take the size
    that timm gives them; ``tu-`` with a plain vision transformer, which has no pyramid, is refused.
    """

    name: str
    channels: int = 3


class UnetEncoder(nn.Module):
    """Contracting path of the U-Net (Ronneberger et al. 2015, arXiv 1505.04597), five levels.

    Two 3 x 3 convolutions, each with batch normalisation and ReLU, per level; 2 x 2 max pooling
    between levels, at each of which the channels double. With 64 channels at the first level it is
    the encoder of the "basic U-Net" of arXiv 2410.18677 (1,024 at the bottleneck). Deviations from
    the U-Net of 2015: padded convolutions and batch normalisation. Weights are drawn after He et
    al. (fan out, ReLU).

    Level 1 has the resolution of the image, so the coarsest stride is 16 and not 32. A decoder of
    ``segmentation_models_pytorch`` with ``n_blocks=4`` is the expanding path of the U-Net; with 5,
    as usual there, one more block without a skip follows at full resolution.

    Args:
        width: channels of level 1.
        channels: of the input.
    """

    def __init__(self, width: int, channels: int = 3) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(UNET_LEVELS)]
        self.out_channels = [channels, *widths]
        self.output_stride = 2 ** (UNET_LEVELS - 1)
        inputs = [channels, *widths[:-1]]
        self.levels = nn.ModuleList(
            nn.Sequential(*_convolution(a, b), *_convolution(b, b))
            for a, b in zip(inputs, widths, strict=True)
        )

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The images (n, c, h, w), h and w at least 16, and the maps of levels 1 to 5."""
        maps = [images]
        for number, level in enumerate(self.levels):
            maps.append(level(F.max_pool2d(maps[-1], 2) if number else images))
        return maps


class Classifier(nn.Module):
    """An encoder, the mean over the deepest map, and one linear layer.

    For residual networks this is the published classifier. Swin and ConvNeXt have another
    normalisation before theirs, which is left out, so that every weight but the linear layer's
    belongs to the encoder.

    Args:
        encoder: as :func:`build_encoder` gives it.
        n_classes: outputs.
        seed: of the linear layer's weights.
    """

    def __init__(self, encoder: nn.Module, n_classes: int, seed: int = 0) -> None:
        super().__init__()
        self.encoder = encoder
        with global_seed(seed):
            self.head = nn.Linear(encoder.out_channels[-1], n_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (n, n_classes)."""
        return self.head(self.encoder(images)[-1].mean(dim=(2, 3)))


def build_encoder(spec: EncoderSpec, seed: int, drop_path: float = 0.0) -> nn.Module:
    """An encoder with random weights: the same for the same seed, nothing is downloaded.

    Weights are drawn as their library draws them: He et al. (fan out) in residual networks,
    truncated normals in Swin.

    Args:
        seed: of the weights; torch's global generator is left as it was.
        drop_path: stochastic depth while training: the rate of the last block, growing linearly
            from 0 at the first. For models of timm (``tu-...``, ``pyramid-...``), and ``resnet``
            and ``resnext`` of any size; in other networks of ``segmentation_models_pytorch`` and in
            ``unet-W``, which has no residual blocks, nothing is dropped. 0 also switches off timm's
            own defaults.

    Returns:
        A module whose ``forward`` takes (n, c, h, w). Its list holds the images (not for VGG),
        then one map per halving of the resolution; where a network starts at a quarter of it
        (Swin, ConvNeXt, ``pyramid-...``), the map at one half has no channels.
        :func:`forward_levels` leaves both out.

    Raises:
        ParameterError: no such encoder, or none with feature maps.
    """
    with global_seed(seed):
        if match := re.fullmatch(r"unet-([1-9]\d*)", spec.name):
            return UnetEncoder(int(match[1]), spec.channels)
        if spec.name.startswith(vit_pyramid.PREFIX):
            return vit_pyramid.build_vit_pyramid(spec.name, spec.channels, drop_path)
        encoder = _from_library(spec, drop_path)
    if not (drop_path and spec.name.startswith("tu-")):
        _without_stochastic_depth(encoder)
    if drop_path:
        _drop_residuals(encoder, drop_path)
    return encoder


@cache
def level_channels(spec: EncoderSpec) -> tuple[int, ...]:
    """Channels of the maps that :func:`forward_levels` gives, from the shallowest to the deepest.

    Raises:
        ParameterError: as :func:`build_encoder`.
    """
    channels = build_encoder(spec, seed=0).out_channels
    return tuple(c for c in channels[_first_level(channels, spec.channels) :] if c)


def levels(spec: EncoderSpec) -> int:
    """Number of levels: 5 for residual networks and ``unet-W``, 4 for Swin and ``pyramid-...``."""
    return len(level_channels(spec))


def forward_levels(encoder: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """Feature maps (n, c, h, w) from level 1, the shallowest, to the deepest; not the images."""
    maps = encoder(images)
    first = _first_level(encoder.out_channels, images.shape[1])
    return [one for one in maps[first:] if one.shape[1]]


def normalise(images: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """``(x - mean) / std`` per channel of (n, c, h, w) in 0..1."""
    mean, std = (
        torch.as_tensor(part, dtype=images.dtype, device=images.device)[:, None, None]
        for part in (mean, std)
    )
    return (images - mean) / std


@dataclass(frozen=True, eq=False)
class SavedEncoder:
    """What a file of :func:`save_encoder` holds.

    Attributes:
        spec: of the encoder.
        encoder: filled, in evaluation mode, on the CPU.
        mean, std: per channel, what its input is normalised by (:func:`normalise`).
        extra: the further values that were saved.
    """

    spec: EncoderSpec
    encoder: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    extra: dict[str, Any] = field(default_factory=dict)


def save_encoder(
    path: Path,
    encoder: nn.Module,
    spec: EncoderSpec,
    statistics: tuple[Sequence[float], Sequence[float]],
    extra: dict[str, Any] | None = None,
) -> None:
    """Write weights and all that is needed to use them, whole or not at all.

    Args:
        statistics: mean and std per channel by which inputs in 0..1 were normalised.
        extra: further plain values and tensors to keep.
    """
    mean, std = (tuple(map(float, part)) for part in statistics)
    state = {
        "format": FORMAT,
        "spec": asdict(spec),
        "mean": mean,
        "std": std,
        "weights": {name: value.cpu() for name, value in encoder.state_dict().items()},
        "extra": extra or {},
    }
    write_torch(path, state)


def load_encoder(path: Path) -> SavedEncoder:
    """The encoder in a file.

    Raises:
        DataError: no file of :func:`save_encoder`, or keys or shapes are not those of its encoder.
    """
    state = read_torch(path)
    try:
        if state["format"] != FORMAT:
            raise KeyError("format")
        spec = EncoderSpec(**state["spec"])
        encoder = build_encoder(spec, seed=0)
        mean, std, extra = tuple(state["mean"]), tuple(state["std"]), state["extra"]
        weights = state["weights"]
    except (KeyError, TypeError, ParameterError) as error:
        raise DataError(
            f"{path}: not an encoder of this project ({type(error).__name__}: {error}). Name the "
            "file that the pretraining wrote."
        ) from error
    fill_encoder(encoder, weights, path)
    return SavedEncoder(spec, encoder.eval(), mean, std, extra)


def fill_encoder(
    encoder: nn.Module, weights: Mapping[str, torch.Tensor], path: Path, what: str = "encoder"
) -> None:
    """Put weights into an encoder; none may be missing, none left over.

    Args:
        weights: a state dict of this encoder. Those of torchvision's residual networks fit
            ``resnet18`` and so on once their classifier (``fc.weight``, ``fc.bias``) is taken out.
        path: of the file they come from, for the message.
        what: the network is called in the message.

    Raises:
        DataError: naming missing keys, unexpected keys and differing shapes.
    """
    try:
        # Not the encoder's own method: some encoders leave out or rename keys without a word.
        nn.Module.load_state_dict(encoder, weights)
    except (RuntimeError, TypeError) as error:
        raise DataError(
            f"{path}: not the weights of this {what} ({textwrap.shorten(str(error), 500)}). "
            f"Check which {what} is asked for, or name another file."
        ) from error


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def _from_library(spec: EncoderSpec, drop_path: float) -> nn.Module:
    from segmentation_models_pytorch.encoders import get_encoder

    options: dict[str, Any] = {}
    if spec.name.startswith("tu-"):
        options = {"drop_path_rate": drop_path} if drop_path else {}
    if spec.name.startswith("tu-swin"):
        options["strict_img_size"] = False
    try:
        return get_encoder(spec.name, in_channels=spec.channels, weights=None, **options)
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        raise ParameterError(
            f"encoder {spec.name!r} with {spec.channels} channel(s): cannot be built "
            f"({textwrap.shorten(str(error), 200)}). Expected unet-W such as unet-64, an encoder "
            "of segmentation_models_pytorch such as resnet50, tu- and a model of timm, or pyramid- "
            "and a plain vision transformer such as 192x12."
        ) from error


def _without_stochastic_depth(encoder: nn.Module) -> None:
    from timm.layers import DropPath

    for module in encoder.modules():
        if isinstance(module, DropPath):
            module.drop_prob = 0.0


def _drop_residuals(encoder: nn.Module, rate: float) -> None:
    """Stochastic depth for torchvision's residual blocks, which have no place for it.

    A hook on what is added to the shortcut leaves the names of the weights as they are.
    """
    from torchvision.models.resnet import BasicBlock, Bottleneck

    blocks = [m for m in encoder.modules() if isinstance(m, BasicBlock | Bottleneck)]
    for number, block in enumerate(blocks):
        last = block.bn3 if isinstance(block, Bottleneck) else block.bn2
        share = rate * number / max(1, len(blocks) - 1)
        last.register_forward_hook(partial(_drop_residual, share))


def _drop_residual(
    rate: float, module: nn.Module, _: tuple[torch.Tensor, ...], output: torch.Tensor
) -> torch.Tensor:
    from torchvision.ops import stochastic_depth

    return stochastic_depth(output, rate, "row", module.training)


def _first_level(out_channels: Sequence[int], channels: int) -> int:
    """1 where the list begins with the images, 0 where it begins with a map (VGG)."""
    return int(out_channels[0] == channels)
