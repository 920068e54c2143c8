"""COCO's JSON of instances.

Polygons and uncompressed run lengths become compressed ones as COCO's own library makes them, so
that masks are those of every other user of the format.
"""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from helpers.data.manifest import is_inside
from helpers.errors import DataError
from helpers.metrics.detection import (
    Instances,
    Rle,
    mask_areas,
    mask_boxes,
    to_xywh,
)

_Record = dict[str, Any]
# Pixels, and share of its longer side, by which a stated box may lie off its mask.
FAR, FAR_SHARE = 5, 0.5
# What the library raises at run lengths that do not fit, depending on how they do not.
_BAD_RUNS = (ValueError, RuntimeError, IndexError, OverflowError, MemoryError)


@dataclass(frozen=True)
class CocoImage:
    """One image that a file names.

    Attributes:
        id: number in the file.
        file_name: as the file has it, a path below some folder of images.
        size: height and width in pixels.
    """

    id: int
    file_name: str
    size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class CocoFile:
    """Content of a JSON file of instances.

    Attributes:
        path: of the file.
        classes: names of the classes 1..K, the categories in the order of their numbers (which may
            have gaps: the 80 of COCO end at 90).
        images: by a name of their own: the stem of the file name, followed by ``@`` and the number
            where the file lists several images of that name (LIVECell does).
        labels: class of each category number.
        annotations: as they stand in the file, by the number of the image.
    """

    path: Path
    classes: tuple[str, ...]
    images: dict[str, CocoImage]
    labels: dict[int, int]
    annotations: dict[int, list[_Record]]

    def instances(self, name: str) -> Instances:
        """The annotated objects of one image, in the order of the file.

        Boxes and areas are those that the annotations state, or the masks' own where they state
        none. Masks without a pixel are kept.

        Args:
            name: a key of ``images``.

        Raises:
            DataError: no such image; or an annotation without a category, with a malformed polygon,
                with run lengths of another size than the image, or with a senseless box or area.
        """
        if name not in self.images:
            raise DataError(f"{self.path}: has no image {name!r}. Was the file replaced?")
        image = self.images[name]
        found = [(one, self._where(one, image)) for one in self.annotations.get(image.id, ())]
        masks = tuple(_mask(one, image.size, where) for one, where in found)
        own = mask_areas(masks)
        areas = np.array([_area(one, where) for one, where in found], np.float64)
        areas = np.where(np.isnan(areas), own, areas)
        crowd = np.array([_crowd(one, where) for one, where in found], bool)
        return Instances(
            size=image.size,
            boxes=_boxes(found, masks),
            labels=np.array([self._label(one, where) for one, where in found], np.int64),
            masks=masks,
            crowd=crowd if crowd.any() else None,
            areas=None if (areas == own).all() else areas,
        )

    def _where(self, annotation: _Record, image: CocoImage) -> str:
        return f"{self.path}: annotation {annotation.get('id', '?')} of {image.file_name}"

    def _label(self, annotation: _Record, where: str) -> int:
        category = annotation.get("category_id")
        if category not in self.labels:
            raise DataError(
                f"{where}: category_id is {category!r}; expected one of those that the file lists "
                f"({', '.join(map(str, list(self.labels)[:10]))} ...)"
            )
        return self.labels[category]


def read_coco(path: Path) -> CocoFile:
    """A JSON file of instances; one that has not changed is read once per process.

    Images and annotations may be lists, or mappings from number to record, as in some files of
    LIVECell. Annotations themselves are looked at when their image is asked for.

    Raises:
        DataError: the file is missing, cut short or not of this format; it lists two images or
            categories of one number, or an annotation of an image that it does not list.
    """
    path = path.absolute()
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    return _parse(path, changed)


# The largest files hold a million polygons; three are the parts of one data set.
@lru_cache(maxsize=3)
def _parse(path: Path, changed: int) -> CocoFile:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read as JSON ({error}). The file is cut short or damaged: copy or "
            "download it again."
        ) from error
    images = _by_number(content, "images", path)
    categories = _by_number(content, "categories", path)
    numbers = sorted(categories)
    annotations: dict[int, list[_Record]] = {}
    for one in _records(content, "annotations", path):
        if (number := one.get("image_id")) not in images:
            raise DataError(
                f"{path}: annotation {one.get('id', '?')} is of image {number!r}, which the file "
                f"does not list among its {len(images)}. It is of another version or was cut: "
                "replace it."
            )
        annotations.setdefault(number, []).append(one)
    return CocoFile(
        path=path,
        classes=tuple(str(categories[number].get("name", number)) for number in numbers),
        images=_named([_image(one, path) for one in images.values()]),
        labels={number: k for k, number in enumerate(numbers, start=1)},
        annotations=annotations,
    )


def _records(content: Any, key: str, path: Path) -> list[_Record]:
    records = content.get(key) if isinstance(content, dict) else None
    if isinstance(records, dict):
        records = list(records.values())
    if not isinstance(records, list) or not all(isinstance(one, dict) for one in records):
        raise DataError(
            f"{path}: has no list {key!r} of records. Expected a COCO file of instances with "
            "'images', 'annotations' and 'categories'."
        )
    return records


def _by_number(content: Any, key: str, path: Path) -> dict[int, _Record]:
    found: dict[int, _Record] = {}
    for one in _records(content, key, path):
        number = one.get("id")
        if not isinstance(number, int) or number in found:
            raise DataError(
                f"{path}: {key}: id is {number!r}; expected a whole number that no other has"
            )
        found[number] = one
    return found


def _image(record: _Record, path: Path) -> CocoImage:
    name, height, width = (record.get(key) for key in ("file_name", "height", "width"))
    if not isinstance(name, str) or not is_inside(name):
        raise DataError(
            f"{path}: image {record['id']}: file_name is {name!r}; expected a path below the "
            "folder of the images"
        )
    if not all(isinstance(side, int) and side > 0 for side in (height, width)):
        raise DataError(
            f"{path}: image {name}: height is {height!r} and width {width!r}; expected pixels"
        )
    return CocoImage(record["id"], name, (height, width))


def _named(images: Sequence[CocoImage]) -> dict[str, CocoImage]:
    stems = [PurePosixPath(image.file_name).stem for image in images]
    times = Counter(stems)
    return {
        stem if times[stem] == 1 else f"{stem}@{image.id}": image
        for stem, image in zip(stems, images, strict=True)
    }


def _mask(annotation: _Record, size: tuple[int, int], where: str) -> Rle:
    """The compressed RLE of an annotation's segmentation."""
    shape = annotation.get("segmentation")
    if isinstance(shape, list):
        return _of_polygons(shape, size, where)
    if not isinstance(shape, dict) or not {"size", "counts"} <= shape.keys():
        raise DataError(
            f"{where}: segmentation is a {type(shape).__name__}; expected a list of polygons or "
            "run lengths ('size' and 'counts')"
        )
    if list(shape["size"]) != list(size):
        raise DataError(
            f"{where}: its run lengths are of size {shape['size']}, the image of {list(size)} "
            "(height, width); expected the same: replace the one that was resized or turned"
        )
    return _of_runs(shape["counts"], size, where)


def _of_polygons(polygons: list[Any], size: tuple[int, int], where: str) -> Rle:
    from faster_coco_eval import mask as coco_mask

    for polygon in polygons or [None]:
        numbers = isinstance(polygon, list) and all(map(_is_number, polygon))
        if not numbers or len(polygon) < 6 or len(polygon) % 2:
            found = f"{len(polygon)} numbers" if numbers else repr(polygon)[:60]
            raise DataError(
                f"{where}: malformed polygon ({found}); expected x and y in turn of at least three "
                "corners, finite numbers: correct or remove the annotation"
            )
    return _plain(coco_mask.merge(coco_mask.frPyObjects(polygons, *size)))


def _of_runs(counts: Any, size: tuple[int, int], where: str) -> Rle:
    """Checked run lengths, a list of whole numbers or compressed to text."""
    from faster_coco_eval import mask as coco_mask

    problem = ""
    if isinstance(counts, list):
        whole = all(isinstance(one, int) and one >= 0 for one in counts)
        if not whole or sum(counts) != size[0] * size[1]:
            problem = f"they add up to {sum(counts)} pixels" if whole else "not all whole numbers"
        else:
            runs = {"size": list(size), "counts": counts}
            return _plain(coco_mask.frPyObjects(runs, *size))
    elif isinstance(counts, str) and counts.isascii():
        rle = {"size": list(size), "counts": counts.encode()}
        try:
            coco_mask.decode([rle])
        except _BAD_RUNS as error:
            problem = str(error)
        else:
            return rle
    else:
        problem = f"counts is a {type(counts).__name__}"
    raise DataError(
        f"{where}: malformed run lengths ({problem}); expected those of {size[0]} x {size[1]} "
        "pixels: correct or remove the annotation"
    )


def _plain(rle: Rle) -> Rle:
    return {"size": [int(side) for side in rle["size"]], "counts": bytes(rle["counts"])}


def _is_number(value: Any) -> bool:
    is_bool = isinstance(value, bool)
    return isinstance(value, int | float) and not is_bool and math.isfinite(value)


def _crowd(annotation: _Record, where: str) -> bool:
    crowd = annotation.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise DataError(f"{where}: iscrowd is {crowd!r}; expected 0 or 1")
    return bool(crowd)


def _boxes(found: Sequence[tuple[_Record, str]], masks: Sequence[Rle]) -> np.ndarray:
    """Boxes, float32 (n, 4) of x1 y1 x2 y2: as stated, else around the masks."""
    boxes = mask_boxes(masks).astype(np.float64)
    areas = mask_areas(masks)
    for k, (one, where) in enumerate(found):
        if (box := one.get("bbox")) is None:
            continue
        numbers = isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))
        if not numbers or min(box[2:]) < 0:
            raise DataError(
                f"{where}: bbox is {box!r}; expected x, y, width and height, no side below 0"
            )
        stated = np.array([box[0], box[1], box[0] + box[2], box[1] + box[3]])
        room = FAR + FAR_SHARE * max(boxes[k][2:] - boxes[k][:2])
        if areas[k] and np.abs(stated - boxes[k]).max() > room:
            own = to_xywh(boxes[k : k + 1])[0].round(1).tolist()
            raise DataError(
                f"{where}: bbox is {box!r}, but its mask lies in {own} (x, y, width and height). "
                "Expected the same: write width and height, not the other corner, or remove bbox"
            )
        boxes[k] = stated
    return boxes.astype(np.float32)


def _area(annotation: _Record, where: str) -> float:
    """The stated area; NaN if none is."""
    area = annotation.get("area")
    if area is None:
        return math.nan
    if not _is_number(area) or area < 0:
        raise DataError(f"{where}: area is {area!r}; expected square pixels, 0 or more")
    return float(area)
