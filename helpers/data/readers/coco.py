"""COCO (Lin et al. 2014) and what is laid out like it: photographs with annotated objects."""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from helpers.data.coco import CocoFile, read_coco
from helpers.data.readers.base import (
    Item,
    Reader,
    Reading,
    make_sample,
    paint,
    require_items,
    require_pairs,
    shape_mismatch,
)
from helpers.data.readers.images import decode, to_float
from helpers.errors import DataError
from helpers.files import find_files
from helpers.metrics.detection import Instances, decode_masks

LAYOUT = "annotations/instances_PART.json with images/PART/FILE_NAME or PART/FILE_NAME"
_FILE = re.compile(r"instances_(.+)(?i:\.json)")
_SPLITS = ("train", "val", "test")


class CocoReader(Reader):
    """``annotations/instances_PART.json`` and the images it names, PART for example ``train2017``.

    Objects have classes and may overlap, and regions may be marked as crowds. All that is in
    :meth:`load_instances`. As a label image, which :meth:`load` gives, objects lose their class,
    crowds are left out, and of overlapping objects the smallest has the contested pixels
    (:func:`helpers.data.readers.base.paint`).

    The id is PART and the name of the image. The split is what PART begins with (``train``,
    ``val`` or ``test``), the group the image.
    """

    def items(self, root: Path) -> list[Item]:
        """One item per image; see :class:`helpers.data.readers.base.Reader`.

        Raises:
            DataError: as there, or a file of annotations that
                :func:`helpers.data.coco.read_coco` refuses.
        """
        found: list[Item] = []
        for path in find_files(root, frozenset({".json"})):
            if match := _FILE.fullmatch(path.name):
                found += _items(path, read_coco(path), match[1])
        return require_items(found, root, LAYOUT)

    def object_classes(self, items: Iterable[Item]) -> tuple[str, ...]:
        """Names of the classes 1..K of the objects, read from the files of annotations.

        Raises:
            DataError: two files name different classes.
        """
        paths = sorted({item.labels for item in items})
        known = {path: read_coco(path).classes for path in paths}
        for path, classes in known.items():
            if classes != known[paths[0]]:
                raise DataError(
                    f"{path}: names other classes ({', '.join(classes[:5])} ...) than {paths[0]} "
                    f"({', '.join(known[paths[0]][:5])} ...). Expected the same in all parts."
                )
        return known[paths[0]]

    def load_instances(self, item: Item) -> tuple[np.ndarray, Instances]:
        """Pixels of one item as stored (h, w, channels), and its objects.

        Raises:
            DataError: an unreadable image, one of another size than its annotation says, or an
                annotation that :meth:`helpers.data.coco.CocoFile.instances` refuses.
        """
        pixels = decode(item.image)
        instances = read_coco(item.labels).instances(item.id.rpartition("/")[2])
        if pixels.shape[:2] != tuple(instances.size):
            raise shape_mismatch(item, pixels.shape[:2], item.labels, instances.size)
        return pixels, instances

    def load(self, item: Item) -> Reading:
        """Read one item with its objects painted as a label image.

        Raises:
            DataError: as :meth:`load_instances`.
        """
        pixels, instances = self.load_instances(item)
        single = np.ones(len(instances), bool) if instances.crowd is None else ~instances.crowd
        objects = instances.take(single)
        # One by one: all masks of a LIVECell image would take a gigabyte.
        flat = [np.flatnonzero(decode_masks([mask], objects.size)) for mask in objects.masks]
        painted = paint(flat, objects.size)
        lost = [f"{item.id}: crowd region" for _ in range(len(instances) - len(objects))]
        for i in painted.hidden:
            reason = "is covered by others" if len(flat[i]) else "covers no pixel"
            lost.append(f"{item.id}: object {i + 1} {reason}")
        return Reading(
            make_sample(item, to_float(pixels, item.image), painted.labels),
            dtype=pixels.dtype.name,
            overlap=painted.overlap,
            clipped=_count_beyond(objects),
            lost=tuple(lost),
        )


def _count_beyond(objects: Instances) -> int:
    height, width = objects.size
    beyond = (objects.boxes[:, :2] < 0) | (objects.boxes[:, 2:] > (width, height))
    return int(np.count_nonzero(beyond.any(axis=1)))


def _items(path: Path, file: CocoFile, part: str) -> list[Item]:
    base = path.parents[1] if path.parent.name == "annotations" else path.parent
    folders = [base / "images" / part, base / part]
    folder = next((one for one in folders if one.is_dir()), folders[0])
    images = {name: folder / image.file_name for name, image in file.images.items()}
    missing = [image for image in images.values() if not image.is_file()]
    require_pairs(missing, f"images that {path.name} names are not there", LAYOUT)
    split = next((one for one in _SPLITS if part.startswith(one)), "")
    return [
        Item(f"{part}/{name}", f"{part}/{name}", image, path, split, "photograph")
        for name, image in images.items()
    ]
