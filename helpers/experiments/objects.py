"""Annotated objects as experiments keep, resize and compare them."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from helpers.metrics.baselines import baseline_masks
from helpers.metrics.detection import (
    Instances,
    decode_masks,
    encode_masks,
    from_labels,
    mask_areas,
    mask_boxes,
)

# Masks decoded at a time: an image may hold thousands of objects.
_AT_ONCE = 256
_TYPES = {
    "boxes": np.float32,
    "labels": np.int64,
    "scores": np.float32,
    "crowd": np.bool_,
    "areas": np.float64,
}


def labels_of(objects: Instances) -> np.ndarray:
    """Objects as one label image, int32 (h, w); where two overlap the later one is seen."""
    labels = np.zeros(objects.size, np.int32)
    for number, encoded in enumerate(objects.masks, 1):
        labels[decode_masks([encoded], objects.size)[0]] = number
    return labels


def found_without_training(
    scenes: Iterable[tuple[np.ndarray, Instances]],
) -> dict[str, list[Instances]]:
    """What the two predictors of :mod:`helpers.metrics.baselines` find in every image, by name.

    Each component of Otsu's threshold is a detection whose score is its area in pixels, since
    average precision asks for an order.
    """
    found: dict[str, list[Instances]] = {}
    for image, objects in scenes:
        for name, labels in baseline_masks(image, labels_of(objects)).items():
            one = from_labels(labels)
            scores = np.float32(mask_areas(one.masks))
            surest = np.argsort(-scores, kind="stable")
            found.setdefault(name, []).append(replace(one, scores=scores).take(surest))
    return found


def resize_objects(objects: Instances, size: tuple[int, int]) -> Instances:
    """Objects at a smaller size (h, w); those of which no pixel is left are left out.

    Masks are sampled at the centres of the new pixels, boxes are those of the masks.
    """
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for new, old in zip(size, objects.size, strict=True)
    )
    masks = []
    for first in range(0, len(objects), _AT_ONCE):
        decoded = decode_masks(objects.masks[first : first + _AT_ONCE], objects.size)
        masks += encode_masks(decoded[:, rows][:, :, columns])
    boxes = mask_boxes(masks)
    # The areas stated at full size are no longer true: the masks' own count.
    resized = replace(objects, size=size, masks=tuple(masks), boxes=boxes, areas=None)
    return resized.take(boxes[:, 2] > boxes[:, 0])


def pack(objects: Instances) -> dict[str, Any]:
    """Objects as plain JSON; :func:`unpack` is the way back."""
    plain = {
        name: None if (array := getattr(objects, name)) is None else array.tolist()
        for name in _TYPES
    }
    masks = [mask["counts"].decode("ascii") for mask in objects.masks]
    return {"size": list(objects.size), "masks": masks, **plain}


def unpack(packed: dict[str, Any]) -> Instances:
    """Objects out of what :func:`pack` gave."""
    size = packed["size"]
    arrays = {
        name: None if packed[name] is None else np.array(packed[name], dtype)
        for name, dtype in _TYPES.items()
    }
    arrays["boxes"] = arrays["boxes"].reshape(-1, 4)
    masks = tuple({"size": size, "counts": one.encode("ascii")} for one in packed["masks"])
    return Instances(size=tuple(size), masks=masks, **arrays)
