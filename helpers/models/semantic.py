"""Networks for semantic segmentation: an encoder that may be pretrained, a U-Net decoder behind it.

Encoder and decoder follow segmentation_models_pytorch: an encoder has ``out_channels`` and returns
its input and then ever coarser levels, each half as wide as the one before. Named deviations from
arXiv 2410.18677: its ResNet50 attention U-Net filters what the encoder passes on with attention
gates, which compare it with the coarser level (Oktay et al. 2018, arXiv 1804.03999); the library
has squeeze-and-excitation instead (scSE, Roy et al. 2018, arXiv 1803.02579), which weighs channels
and pixels of the joined levels by themselves. Its Swin U-Net has a decoder of Swin blocks; a Swin
encoder here gets the same convolutional decoder as the others.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from helpers.errors import ParameterError
from helpers.models.device import autocast, resolve_device, resolve_precision
from helpers.randomness import global_seed

Decoder = Literal["unet", "attention"]

DECODER_CHANNELS = (256, 128, 64, 32, 16)
"""Of arXiv 2410.18677, coarse to fine."""

# scSE squeezes its channels by this factor, and something must be left.
_SQUEEZE = 16


class Segmenter(nn.Module):
    """Encoder, decoder and a 3 x 3 convolution to the classes; see `build_segmenter`.

    Attributes:
        n_classes: with the background.
        encoder_frozen: see `freeze_encoder`.
    """

    def __init__(
        self,
        encoder: nn.Module,
        n_classes: int,
        decoder: Decoder,
        decoder_channels: Sequence[int],
    ) -> None:
        super().__init__()
        from segmentation_models_pytorch.base import SegmentationHead
        from segmentation_models_pytorch.base.initialization import (
            initialize_decoder,
            initialize_head,
        )
        from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder

        self.n_classes = n_classes
        self.encoder_frozen = False
        self.encoder = encoder
        self.decoder = UnetDecoder(
            encoder_channels=encoder.out_channels,
            decoder_channels=decoder_channels,
            n_blocks=len(decoder_channels),
            attention_type="scse" if decoder == "attention" else None,
        )
        self.head = SegmentationHead(decoder_channels[-1], n_classes)
        initialize_decoder(self.decoder)
        initialize_head(self.head)

    @property
    def stride(self) -> int:
        """Pixels of the input per pixel of the coarsest level, and side."""
        return getattr(self.encoder, "output_stride", 2 ** (len(self.encoder.out_channels) - 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores of the classes before the softmax, (n, n_classes, h, w).

        Args:
            images: (n, channels, h, w), normalised as the encoder expects. Sides that are no
                multiples of the stride are continued by their last pixels, and the result is cut
                back to h x w.
        """
        height, width = images.shape[-2:]
        down, right = -height % self.stride, -width % self.stride
        top, left = down // 2, right // 2
        if down or right:
            images = F.pad(images, (left, right - left, top, down - top), mode="replicate")
        scores = self.head(self.decoder(self.encoder(images)))
        return scores[..., top : top + height, left : left + width]

    def train(self, mode: bool = True) -> "Segmenter":
        """As of any module, but a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.encoder_frozen:
            self.encoder.eval()
        return self


def build_segmenter(
    encoder: nn.Module,
    n_classes: int,
    seed: int,
    decoder: Decoder = "unet",
    decoder_channels: Sequence[int] = DECODER_CHANNELS,
) -> Segmenter:
    """Put a decoder with random weights behind an encoder.

    The decoder's weights depend on ``seed`` and shapes alone, not on what the encoder holds: arms
    that differ in pretraining start from the same decoder. The global generator is left as it was.

    Args:
        encoder: as of ``segmentation_models_pytorch.encoders.get_encoder``; used, not copied.
        n_classes: with the background, at least 2.
        decoder: ``"unet"``, or ``"attention"`` for scSE in every block, see the module.
        decoder_channels: one number per level of the encoder, coarse to fine.

    Raises:
        ParameterError: too few channels for attention.
    """
    deepest = encoder.out_channels[-1]
    if decoder == "attention" and min(deepest, *decoder_channels) < _SQUEEZE:
        raise ParameterError(
            f"decoder_channels={tuple(decoder_channels)} and {deepest} from the encoder: attention "
            f"needs {_SQUEEZE} or more in each; take more channels or decoder='unet'"
        )
    with global_seed(seed):
        return Segmenter(encoder, n_classes, decoder, tuple(decoder_channels))


def freeze_encoder(model: Segmenter) -> None:
    """Leave the encoder as it is while the rest is trained.

    Its parameters get no gradient, and it stays in evaluation mode whatever ``train`` says:
    statistics of batch normalisation do not move, dropout and stochastic depth are off. The
    released code of arXiv 2410.18677 only takes the gradient away: there the statistics of a
    frozen encoder go on moving with the new task, and its stochastic depth stays on.
    """
    model.encoder.requires_grad_(False)
    model.encoder_frozen = True
    model.train(model.training)


@torch.inference_mode()
def predict_classes(
    model: nn.Module,
    images: np.ndarray,
    batch: int = 24,
    device: str = "cpu",
    precision: str = "float32",
) -> np.ndarray:
    """Most likely class of every pixel.

    Args:
        model: returns (n, n_classes, h, w); it is left on ``device`` and in evaluation mode.
        images: float32 (n, channels, h, w), normalised, memory-mapped or not.
        batch: images at a time.
        device, precision: see :mod:`helpers.models.device`.

    Returns:
        int32 (n, h, w); of equal scores the lower class.
    """
    where = resolve_device(device)
    dtype = resolve_precision(precision, where)
    model.to(where).eval()
    found = np.empty((len(images), *images.shape[-2:]), np.int32)
    for first in range(0, len(images), batch):
        part = torch.from_numpy(np.array(images[first : first + batch], np.float32)).to(where)
        with autocast(where, dtype):
            scores = model(part)
        found[first : first + batch] = scores.argmax(dim=1).int().cpu().numpy()
    return found


@torch.inference_mode()
def class_probabilities(
    model: nn.Module, images: np.ndarray, device: str = "cpu", precision: str = "float32"
) -> torch.Tensor:
    """Softmax over the classes of images that fit into memory at once.

    Args:
        model: returns (n, n_classes, h, w); it is left on ``device`` and in evaluation mode.
        images: float32 (n, channels, h, w), normalised, memory-mapped or not.
        device, precision: see :mod:`helpers.models.device`.

    Returns:
        float32 (n, n_classes, h, w) on the CPU.
    """
    where = resolve_device(device)
    dtype = resolve_precision(precision, where)
    model.to(where).eval()
    part = torch.from_numpy(np.array(images, np.float32)).to(where)
    with autocast(where, dtype):
        scores = model(part)
    return scores.float().softmax(dim=1).cpu()
