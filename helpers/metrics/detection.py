"""Objects of one image as a detector sees them, and the average precision of those it found.

Masks are kept as COCO run-length encodings (RLE), since an image of LIVECell holds up to 3,000
objects. Everything that is counted on RLEs, and the average precision itself, is left to a public
library, faster-coco-eval.

How COCO counts, in short: the objects found in an image are taken from the surest down (ties in
the order in which they come), and each is matched with the annotated object of its class that it
overlaps most among those not yet taken, if their IoU reaches a threshold. Precision is made
monotonous from the right, read at the recalls 0, 0.01 ... 1, and averaged over these, over the
thresholds 0.50, 0.55 ... 0.95 and over the classes that have annotated objects. What matches a
crowd region counts neither for nor against, nor does what lies outside a range of areas.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Rle = dict[str, Any]
Areas = Literal["coco", "livecell"]

_LARGEST = 1e5**2
# Square pixels, both ends included. LIVECell's are those of code/coco_evaluation.py in the
# repository sartorius-research/LIVECell, which are also printed in its model/README.md.
AREA_RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "coco": {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, _LARGEST)},
    "livecell": {"small": (0, 18**2), "medium": (18**2, 31**2), "large": (31**2, _LARGEST)},
}
# LIVECell's published scores are at 2,000; its detectors return up to 3,000 (in their settings).
MAX_DETECTIONS: dict[str, int] = {"coco": 100, "livecell": 2000}


@dataclass(frozen=True)
class Instances:
    """Objects of one image, annotated or found.

    Attributes:
        size: height and width of the image in pixels.
        boxes: float32 (n, 4), x1 y1 x2 y2 in pixels; x2 and y2 are exclusive.
        labels: int64 (n,), classes 1..K.
        masks: n compressed RLEs of COCO, each ``{"size": [height, width], "counts": bytes}``.
        scores: float32 (n,), higher is surer; ``None`` for annotated objects.
        crowd: bool (n,), regions with many objects that are not told apart; ``None`` for none.
        areas: float64 (n,), square pixels, where an annotation file states other areas than the
            masks have (COCO: those of the polygons), by which objects count as small, medium or
            large; ``None``: the masks' own. Whoever changes masks leaves this out.
    """

    size: tuple[int, int]
    boxes: np.ndarray
    labels: np.ndarray
    masks: tuple[Rle, ...]
    scores: np.ndarray | None = None
    crowd: np.ndarray | None = None
    areas: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, which: np.ndarray | slice) -> "Instances":
        """The objects that indices, a slice or a boolean (n,) choose, in that order."""
        kept = np.arange(len(self))[which]
        chosen = {
            name: None if (array := getattr(self, name)) is None else array[kept]
            for name in ("boxes", "labels", "scores", "crowd", "areas")
        }
        return Instances(size=self.size, masks=tuple(self.masks[k] for k in kept), **chosen)


def encode_masks(masks: np.ndarray) -> tuple[Rle, ...]:
    """Compressed RLEs of masks, bool or 0/1 (n, h, w)."""
    from faster_coco_eval import mask as coco_mask

    if not len(masks):
        return ()
    # COCO's runs go down the columns.
    stack = np.asfortranarray(np.moveaxis(masks != 0, 0, -1).astype(np.uint8))
    return tuple(coco_mask.encode(stack))


def decode_masks(masks: Sequence[Rle], size: tuple[int, int]) -> np.ndarray:
    """Masks, bool (n, h, w), of compressed RLEs of one size (height, width)."""
    from faster_coco_eval import mask as coco_mask

    if not masks:
        return np.zeros((0, *size), dtype=bool)
    return np.moveaxis(coco_mask.decode(list(masks)), -1, 0).astype(bool)


def mask_areas(masks: Sequence[Rle]) -> np.ndarray:
    """Numbers of pixels, float64 (n,), of compressed RLEs."""
    from faster_coco_eval import mask as coco_mask

    return np.asarray(coco_mask.area(list(masks)) if masks else (), np.float64)


def mask_boxes(masks: Sequence[Rle]) -> np.ndarray:
    """Boxes, float32 (n, 4) of x1 y1 x2 y2, around compressed RLEs; all 0 around an empty one."""
    from faster_coco_eval import mask as coco_mask

    if not masks:
        return np.zeros((0, 4), np.float32)
    boxes = np.array(coco_mask.toBbox(list(masks)), np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes.astype(np.float32)


def from_labels(labels: np.ndarray, classes: Sequence[int] | None = None) -> Instances:
    """Objects of a label image.

    Args:
        labels: integers (h, w); 0 is background, every other number one object.
        classes: class of each object, from 1, in the order of their numbers; all 1 if ``None``.

    Returns:
        Objects in the order of their numbers, each in its tight box.
    """
    from faster_coco_eval import mask as coco_mask

    height, width = labels.shape
    counts = _run_lengths(labels)
    if classes is None:
        classes = np.ones(len(counts), np.int64)
    masks = tuple(
        coco_mask.frPyObjects({"size": [height, width], "counts": one}, height, width)
        for one in counts
    )
    return Instances(
        (height, width), mask_boxes(masks), np.asarray(classes, np.int64).reshape(-1), masks
    )


def _run_lengths(labels: np.ndarray) -> list[list[int]]:
    """For each number above 0, in ascending order, lengths of runs without and with it in turn."""
    flat = labels.ravel(order="F")
    starts = np.flatnonzero(np.diff(flat, prepend=flat[:1])) if flat.size else flat
    starts = np.concatenate(([0], starts)).astype(np.int64)[: flat.size]
    ends = np.append(starts[1:], flat.size)
    values = flat[starts]
    order = np.argsort(values, kind="stable")
    order = order[values[order] > 0]
    found, first = np.unique(values[order], return_index=True)
    runs = []
    for mine in np.split(order, first[1:]) if len(found) else ():
        edges = np.stack((starts[mine], ends[mine]), axis=1).ravel()
        counts = np.diff(edges, prepend=0).tolist()
        rest = flat.size - int(edges[-1])
        runs.append([*counts, rest] if rest else counts)
    return runs


@dataclass(frozen=True)
class AveragePrecision:
    """COCO's scores for boxes or for masks, 0..1; NaN where no annotated object makes them defined.

    Attributes:
        ap: mean over the IoU thresholds 0.50, 0.55 ... 0.95.
        ap_50, ap_75: at one threshold.
        ap_small, ap_medium, ap_large: as ``ap``, of objects in a range of areas.
        ar: average recall over the same thresholds, at the limit of detections.
    """

    ap: float
    ap_50: float
    ap_75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar: float


@dataclass(frozen=True)
class DetectionScores:
    """Scores over a set of images by the IoU of boxes and by that of masks."""

    boxes: AveragePrecision
    masks: AveragePrecision

    def as_dict(self) -> dict[str, float]:
        """Every score: ``box_ap``, ``mask_ap_50`` and so on."""
        both = (("box", self.boxes), ("mask", self.masks))
        return {f"{what}_{name}": value for what, of in both for name, value in vars(of).items()}


def average_precision(
    truth: Sequence[Instances],
    found: Sequence[Instances],
    *,
    areas: Areas = "coco",
    max_detections: int | None = None,
) -> DetectionScores:
    """Average precision and recall of COCO (Lin et al. 2014) for boxes and for masks.

    An annotated object is small, medium or large by the area that its annotation states, in the
    scores of boxes too; an object found by its own box or mask.

    Args:
        truth: annotated objects, one set an image.
        found: objects found in the same images, in the same order, with scores.
        areas: ranges of small, medium and large: ``"coco"`` (below 32^2, to 96^2, above; square
            pixels) or ``"livecell"`` (18^2, 31^2).
        max_detections: of each class and image only so many of the surest count; ``None``: 100
            for ``"coco"``, 2,000 for ``"livecell"``, as their owners have it.

    Returns:
        Scores, means over the classes that have annotated objects; NaN with none at all. Where
        there are annotated objects and nothing was found, they are 0.
    """
    limit = MAX_DETECTIONS[areas] if max_detections is None else max_detections
    return DetectionScores(
        boxes=_evaluate("bbox", truth, found, areas, limit),
        masks=_evaluate("segm", truth, found, areas, limit),
    )


def _evaluate(
    kind: Literal["bbox", "segm"],
    truth: Sequence[Instances],
    found: Sequence[Instances],
    areas: Areas,
    limit: int,
) -> AveragePrecision:
    from faster_coco_eval import COCO, COCOeval_faster

    classes = sorted({int(label) for one in truth for label in one.labels})
    if not classes:
        return AveragePrecision(*[float("nan")] * 7)
    evaluation = COCOeval_faster(
        COCO(_as_coco(truth, classes, kind)),
        COCO(_as_coco(found, classes, kind)),
        kind,
        ranges={name: list(ends) for name, ends in AREA_RANGES[areas].items()},
    )
    evaluation.params.maxDets = [limit]
    evaluation.evaluate()
    evaluation.accumulate()
    # Thresholds, recalls, classes, areas (all, then the ranges), limits; recall without recalls.
    precision = np.asarray(evaluation.eval["precision"])[..., 0]
    recall = np.asarray(evaluation.eval["recall"])[..., 0]
    return AveragePrecision(
        _mean(precision[..., 0]),
        _mean(precision[0, ..., 0]),
        _mean(precision[5, ..., 0]),
        *(_mean(precision[..., k]) for k in (1, 2, 3)),
        ar=_mean(recall[..., 0]),
    )


def _mean(values: np.ndarray) -> float:
    """Mean of the values that are defined; the library marks the others by -1."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else float("nan")


def _as_coco(
    images: Sequence[Instances], classes: Sequence[int], kind: Literal["bbox", "segm"]
) -> dict[str, list[dict[str, Any]]]:
    """What a COCO file of annotations, or the library's reading of one of results, would hold."""
    chosen = set(classes)
    annotations: list[dict[str, Any]] = []
    for number, one in enumerate(images, start=1):
        boxes = to_xywh(one.boxes)
        areas = boxes[:, 2] * boxes[:, 3]
        if one.scores is None or kind == "segm":
            areas = stated_areas(one)
        for k, label in enumerate(one.labels.tolist()):
            if label not in chosen:
                continue
            annotations.append(
                {
                    # From 1: the library takes 0 for no match.
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": label,
                    "bbox": boxes[k].tolist(),
                    "area": float(areas[k]),
                    "segmentation": one.masks[k],
                    "iscrowd": int(one.crowd is not None and one.crowd[k]),
                    **({} if one.scores is None else {"score": float(one.scores[k])}),
                }
            )
    return {
        "images": [
            {"id": number, "height": one.size[0], "width": one.size[1]}
            for number, one in enumerate(images, start=1)
        ],
        "annotations": annotations,
        "categories": [{"id": label, "name": str(label)} for label in classes],
    }


def to_xywh(boxes: np.ndarray) -> np.ndarray:
    """Boxes of x1 y1 x2 y2 as COCO writes them: float64 (n, 4) of x, y, width, height."""
    exact = boxes.astype(np.float64)
    exact[:, 2:] -= exact[:, :2]
    return exact


def stated_areas(instances: Instances) -> np.ndarray:
    """Areas, float64 (n,): those that the annotation states, else those of the masks."""
    return mask_areas(instances.masks) if instances.areas is None else instances.areas
