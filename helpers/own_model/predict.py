"""Masks as ``cellpose.models.CellposeModel.eval`` gives them, for networks of any width.

The steps and settings are those of cellpose 3.1 with its defaults: grey image (mean of the
channels, as ``channels=[0, 0]``), percentiles 1 and 99 of the whole image to 0 and 1, resized by
``diam_mean / diameter``, tiles of 224 px that overlap by a tenth, outputs resized back,
200 / rescale steps of the dynamics, ``flow_threshold`` 0.4, ``cellprob_threshold`` 0,
``min_size`` 15, ``max_size_fraction`` 0.4.
Its ``eval`` itself takes only the full-width network.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from helpers.data.preprocess import scale_percentiles, to_grey
from helpers.models.dynamics import load_dynamics
from helpers.own_model.checkpoint import GreyInput, Model

STEPS = 200
# The contrast at which cellpose.transforms.normalize99 makes an image black, in the file's units.
BLACK = 1e-3
# Length of the style vector that run_net has room for.
STYLE = 256


class _ForRunNet(nn.Module):
    """What ``cellpose.core.run_net`` expects of a network."""

    nout, mkldnn = 3, False

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = GreyInput(network)
        self.device = next(network.parameters()).device

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        output, style = self.network(images)[:2]
        return output, F.pad(style, (0, STYLE - style.shape[1]))


def normalised(image: np.ndarray) -> np.ndarray:
    """The grey channel that the network sees, float32 (height, width).

    Cellpose makes an image black whose :func:`span` is within :data:`BLACK`. Here it is scaled all
    the same, since units do not matter; it is black only where the span is 0.

    Args:
        image: (height, width, channels), in the units of the file.
    """
    from cellpose import transforms

    grey = to_grey(image)
    if 0 < span(image) <= BLACK:
        grey = scale_percentiles(grey)
    return transforms.normalize_img(grey[None, ..., None], norm3D=True)[0, ..., 0]


def span(image: np.ndarray) -> float:
    """From the first to the 99th percentile of the grey values of an image (h, w, channels)."""
    return float(np.subtract(*np.percentile(to_grey(image), (99, 1))))


def magnified(grey: np.ndarray, rescale: np.float32) -> np.ndarray:
    """A grey image (height, width) resized as Cellpose does; with a factor of 1 the image itself.

    Done before ``run_net``, which in cellpose 3.1 fails to resize images of one channel.
    """
    from cellpose import transforms

    if rescale == 1.0:
        return grey
    return transforms.resize_image(grey, *(max(1, int(side * rescale)) for side in grey.shape))


def predict(model: Model, image: np.ndarray, diameter: float) -> np.ndarray:
    """Instance masks of one image.

    Args:
        model: its network may be on any device.
        image: float32 (height, width, channels), in the units of the file.
        diameter: of the objects, pixels.

    Returns:
        int32 (height, width); 0 is background, 1..K are instances.
    """
    dynamics = load_dynamics()
    from cellpose import core, transforms

    grey, rescale = normalised(image), model.rescale(diameter)
    network = _ForRunNet(model.network)
    output = core.run_net(network, magnified(grey, rescale)[None, ..., None])[0]
    if rescale != 1.0:
        output = transforms.resize_image(output, *grey.shape)
    masks = dynamics.resize_and_compute_masks(
        output[0, ..., :2].transpose(2, 0, 1),
        output[0, ..., 2],
        niter=STEPS / rescale,
        device=network.device,
    )
    return masks.astype(np.int32)
