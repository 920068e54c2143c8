"""Random views of an image with objects: a window of whole pixels, and flips.

Pixels are moved, never resampled, so that masks stay exact and small cells keep their size.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from helpers.metrics.detection import Instances, decode_masks, encode_masks, mask_boxes

Flip = Literal["none", "horizontal", "both"]

# Masks decoded at a time: an image may hold thousands of objects and the window few of them.
_AT_ONCE = 256


@dataclass(frozen=True)
class BoxView:
    """A window of an image, and how it is flipped.

    Attributes:
        top, left, height, width: of the window, in pixels, within the image.
        mirror, upend: whether left and right, top and bottom change places within the window.
    """

    top: int
    left: int
    height: int
    width: int
    mirror: bool = False
    upend: bool = False


@dataclass(frozen=True)
class SeenObjects:
    """Objects in a view.

    Attributes:
        boxes: float32 (n, 4), x1 y1 x2 y2 in pixels of the view; x2 and y2 are exclusive.
        labels: int64 (n,).
        masks: uint8 (n, height, width), 0 or 1.
    """

    boxes: np.ndarray
    labels: np.ndarray
    masks: np.ndarray


def draw_box_view(
    size: tuple[int, int], crop: int, flip: Flip, generator: torch.Generator
) -> BoxView:
    """Where a view lies; every place within the image is as likely as any other.

    Args:
        size: height and width of the image in pixels.
        crop: side of the window in pixels; a shorter side of the image is kept whole, 0 keeps
            both.
        flip: ``"horizontal"`` mirrors half of the views, ``"both"`` upends half of them as well.
        generator: on the CPU; four numbers are drawn whatever is asked for.
    """
    drawn = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
    height, width = (min(crop, side) if crop else side for side in size)
    return BoxView(
        top=int(drawn[0] * (size[0] - height + 1)),
        left=int(drawn[1] * (size[1] - width + 1)),
        height=height,
        width=width,
        mirror=flip != "none" and drawn[2] < 0.5,
        upend=flip == "both" and drawn[3] < 0.5,
    )


def view_image(image: np.ndarray, view: BoxView) -> np.ndarray:
    """The view of an image (h, w, channels)."""
    rows = slice(view.top, view.top + view.height)
    columns = slice(view.left, view.left + view.width)
    return np.ascontiguousarray(_flipped(image[rows, columns], view, axes=(0, 1)))


def view_objects(objects: Instances, view: BoxView) -> SeenObjects:
    """The annotated objects of an image as a view shows them.

    Objects of which no pixel is seen are left out, and so are crowds and objects whose box or mask
    is empty. Boxes that the window cuts become those of the pixels left; others are moved.
    """
    corner = np.array([view.left, view.top] * 2, np.float32)
    border = np.array([view.width, view.height] * 2, np.float32)
    boxes = objects.boxes - corner
    near = (boxes[:, :2] < border[:2]).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
    near &= (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    if objects.crowd is not None:
        near &= ~objects.crowd
    places = np.flatnonzero(near)
    masks = _windows(objects, places, view)
    seen = masks.any(axis=(1, 2))
    places, masks = places[seen], masks[seen]
    boxes = boxes[places]
    cut = (boxes[:, :2] < 0).any(axis=1) | (boxes[:, 2:] > border[2:]).any(axis=1)
    boxes[cut] = mask_boxes(encode_masks(masks[cut]))
    if view.mirror:
        boxes[:, [0, 2]] = view.width - boxes[:, [2, 0]]
    if view.upend:
        boxes[:, [1, 3]] = view.height - boxes[:, [3, 1]]
    masks = np.ascontiguousarray(_flipped(masks, view, axes=(1, 2)))
    return SeenObjects(boxes, objects.labels[places], masks)


def _windows(objects: Instances, places: np.ndarray, view: BoxView) -> np.ndarray:
    rows = slice(view.top, view.top + view.height)
    columns = slice(view.left, view.left + view.width)
    windows = [np.zeros((0, view.height, view.width), np.uint8)]
    for first in range(0, len(places), _AT_ONCE):
        rles = [objects.masks[place] for place in places[first : first + _AT_ONCE]]
        windows.append(decode_masks(rles, objects.size)[:, rows, columns].astype(np.uint8))
    return np.concatenate(windows)


def _flipped(array: np.ndarray, view: BoxView, axes: tuple[int, int]) -> np.ndarray:
    """``axes`` are those of rows and columns."""
    turned = [axis for axis, on in zip(axes, (view.upend, view.mirror), strict=True) if on]
    return np.flip(array, turned) if turned else array
