"""A detector small enough for tests, and images of discs and squares whose masks are known."""

import dataclasses

import numpy as np

from helpers.metrics.detection import Instances, encode_masks, mask_boxes
from helpers.models.cascade import AnchorSpec, DetectorSpec
from helpers.models.cascade_heads import HeadSpec
from helpers.models.encoders import EncoderSpec

SPEC = DetectorSpec(
    backbone=EncoderSpec("unet-4"),
    n_classes=2,
    anchors=AnchorSpec(sizes=(16, 32, 48), levels=(2, 3, 4), ratios=(1.0,)),
    heads=HeadSpec(channels=16, box_convs=1, box_features=32, mask_convs=1),
    channels=16,
    regions=32,
    proposals_before=200,
    proposals_after=50,
    detections=20,
)


def spec(**changes):
    return dataclasses.replace(SPEC, **changes)


def scene(objects, side=96, seed=0):
    """An image and its objects, given as (label, x, y, half a side): 1 a disc, 2 a square."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] + 0.5
    image = rng.normal(90, 8, (side, side, 3))
    masks = []
    for label, x, y, half in objects:
        far = np.hypot(columns - x, rows - y) if label == 1 else None
        square = np.maximum(abs(columns - x), abs(rows - y))
        masks.append((far if label == 1 else square) <= half)
        image[masks[-1]] += [70, 20, -40] if label == 1 else [-50, 30, 80]
    stack = np.array(masks, bool).reshape(-1, side, side)
    rles = encode_masks(stack)
    labels = np.array([one[0] for one in objects], np.int64)
    instances = Instances((side, side), mask_boxes(rles), labels, rles)
    return image.clip(0, 255).astype(np.uint8), instances


SCENES = [
    scene([(1, 24, 28, 14), (2, 68, 60, 16)], seed=1),
    scene([(2, 26, 70, 15), (1, 66, 26, 18), (1, 74, 74, 12)], seed=2),
    scene([(1, 40, 62, 17), (2, 70, 22, 13), (2, 20, 20, 14)], seed=3),
]
EMPTY = scene([], seed=4)
