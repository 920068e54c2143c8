"""From a network to instance masks: tiles of the image, then Cellpose's own dynamics."""

from dataclasses import dataclass

import numpy as np
import torch

from helpers.models.device import autocast
from helpers.models.dynamics import load_dynamics

MULTIPLE = 8


@dataclass(frozen=True)
class MaskOptions:
    """How flows become masks (the defaults of cellpose 3.1).

    Attributes:
        tile: side of the tiles in pixels, a multiple of 8; smaller images are one tile.
        overlap: share by which tiles overlap.
        batch_size: tiles per forward pass.
        cellprob_threshold: pixels with a larger foreground logit are followed.
        flow_threshold: instances whose flows differ more from their own shape's are dropped.
        min_size: instances below this many pixels are dropped.
        iterations: steps of the flow dynamics.
    """

    tile: int = 224
    overlap: float = 0.1
    batch_size: int = 8
    cellprob_threshold: float = 0.0
    flow_threshold: float = 0.4
    min_size: int = 15
    iterations: int = 200


@torch.inference_mode()
def predict_flows(
    network: torch.nn.Module, image: np.ndarray, precision: torch.dtype, options: MaskOptions
) -> np.ndarray:
    """Network output on a whole image, tiles blended with tapered edges.

    Cellpose's ``run_net`` fixes the style vector at 256 entries and so takes only the full-width
    network; its tiling functions are used here for any width.

    Args:
        network: CPnet on any device; it is put into evaluation mode.
        image: (height, width), percentile-scaled.
        precision: number format of the network's arithmetic.

    Returns:
        float32 (3, height, width): flow y, flow x (times 5), foreground logit.
    """
    from cellpose import transforms

    network.eval()
    device = next(network.parameters()).device
    height, width = image.shape
    pad = [(0, -side % MULTIPLE) for side in image.shape]
    padded = np.pad(image.astype(np.float32), pad)[None]
    tiles, ysub, xsub, tall, wide = transforms.make_tiles(
        padded, bsize=options.tile, tile_overlap=options.overlap
    )
    tiles = tiles.reshape(-1, *tiles.shape[-3:])
    outputs = []
    for batch in torch.from_numpy(tiles).split(options.batch_size):
        inputs = batch.to(device).contiguous(memory_format=torch.channels_last)
        with autocast(device, precision):
            outputs.append(network(inputs)[0].float().cpu().numpy())
    blended = transforms.average_tiles(np.concatenate(outputs), ysub, xsub, tall, wide)
    return blended[:, :height, :width]


def flows_to_masks(flows: np.ndarray, options: MaskOptions) -> np.ndarray:
    """Instances from flows by Cellpose's dynamics (``cellpose.dynamics``).

    Args:
        flows: float32 (3, height, width) as from :func:`predict_flows`.

    Returns:
        int32 (height, width); 0 is background, 1..K are instances.
    """
    masks = load_dynamics().resize_and_compute_masks(
        flows[:2],
        flows[2],
        niter=options.iterations,
        cellprob_threshold=options.cellprob_threshold,
        flow_threshold=options.flow_threshold,
        min_size=options.min_size,
        # Cellpose drops instances above 40 % of the picture; a cell may well fill a small one.
        max_size_fraction=1.0,
        # Without a device the 3.1 code asks None for its type on machines without a GPU.
        device=torch.device("cpu"),
    )
    return masks.astype(np.int32)


def predict_masks(
    network: torch.nn.Module,
    image: np.ndarray,
    precision: torch.dtype = torch.float32,
    options: MaskOptions | None = None,
) -> np.ndarray:
    """Instance masks of one percentile-scaled grey image, int32 (height, width).

    No diameter is estimated and the image is not rescaled: the same magnification in training and
    test, so that nothing of the test annotation enters.
    """
    options = options or MaskOptions()
    return flows_to_masks(predict_flows(network, image, precision, options), options)
