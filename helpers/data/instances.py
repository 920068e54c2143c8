"""One door to pictures with annotated objects: COCO, LIVECell, and every set of label images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from helpers.data.datasets import Dataset, SyntheticSpec, open_dataset, split_name
from helpers.data.fetch import describe_source
from helpers.data.preprocess import scale_percentiles
from helpers.data.readers import Item
from helpers.data.readers.coco import CocoReader
from helpers.errors import DataError
from helpers.metrics.detection import Instances, from_labels

# Sets of label images whose objects are nuclei; those of the others are called cells, or glands.
_OBJECTS = {
    "bbbc038": "nucleus",
    "monuseg": "nucleus",
    "cpm17": "nucleus",
    "tnbc": "nucleus",
    "synthetic-histo": "nucleus",
    "synthetic-histo-b": "nucleus",
    "glas": "gland",
    "crag": "gland",
    "synthetic-glands": "gland",
    "synthetic-glands-b": "gland",
}


@dataclass(frozen=True)
class InstanceDataset(Sequence[tuple[np.ndarray, Instances]]):
    """An ordered set of pictures with annotated objects, read one by one when asked for.

    As a sequence it gives what :meth:`read` returns, in the order of the items.

    Attributes:
        classes: names of the objects' classes 1..K.
        dataset: the same data as label images; whence name, items, source and fingerprint.
    """

    classes: tuple[str, ...]
    dataset: Dataset

    @property
    def name(self) -> str:
        """As it was asked for."""
        return self.dataset.name

    @property
    def items(self) -> tuple[Item, ...]:
        """What there is, ordered by id: id, group, split and modality, no pixels."""
        return self.dataset.items

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits; another content has another fingerprint."""
        return self.dataset.fingerprint

    @property
    def provenance(self) -> dict[str, Any]:
        """What a run record keeps of it: name, source, complete, coverage, fingerprint."""
        return describe_source(self.dataset)

    def read(self, item: Item) -> tuple[np.ndarray, Instances]:
        """Picture, uint8 (h, w, 3), and annotated objects of one item.

        Of a set of label images each number is one object, of class 1.

        A picture of 8 bits stays as it is; any other is scaled so that its 1st and 99th percentile
        (over all pixels and channels) become 0 and 255, clipped. One channel is repeated, after two
        comes an empty third.

        Raises:
            DataError: a file is unreadable, picture and annotation do not fit each other, or the
                picture has more than three channels.
        """
        if isinstance(self.dataset.reader, CocoReader):
            pixels, instances = self.dataset.reader.load_instances(item)
            return to_colour(pixels, item), instances
        reading = self.dataset.load(item)
        pixels = reading.sample.image
        # Generated pictures hold whole grey values of 8 bits, too.
        if reading.dtype == "uint8" or self.dataset.source == "synthetic":
            pixels = pixels.astype(np.uint8)
        return to_colour(pixels, item), from_labels(reading.sample.labels)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[np.ndarray, Instances]:
        """Picture and objects number ``index``; negative numbers count from the end."""
        return self.read(self.items[index])


def open_instances(
    name: str,
    *,
    accept_licences: frozenset[str] = frozenset(),
    progress: bool = True,
    synthetic: SyntheticSpec | None = None,
) -> InstanceDataset:
    """Find (and if need be fetch) a data set with annotated objects.

    Args:
        name: as for :func:`helpers.data.datasets.open_dataset`, but one data set at a time:
            ``"coco-tiny"``, ``"livecell"``, ``"livecell:5percent"`` (an official subset in place of
            the training part), ``"bbbc038"``, ``"synthetic-cyto"``, ``"folder:PATH"``.
        accept_licences, progress, synthetic: as there.

    Raises:
        DataError: as there; or several data sets, or one whose labels are classes of pixels.
        ParameterError: as there.
    """
    if len(split_name(name)) > 1:
        raise DataError(f"data set {name!r}: objects are read from one data set at a time")
    dataset = open_dataset(
        name, accept_licences=accept_licences, progress=progress, synthetic=synthetic
    )
    if isinstance(dataset.reader, CocoReader):
        return InstanceDataset(dataset.reader.object_classes(dataset.items), dataset)
    if dataset.classes:
        raise DataError(
            f"data set {name!r} labels pixels by class ({', '.join(dataset.classes)}), not "
            "objects. Expected a data set whose labels tell one object from another."
        )
    return InstanceDataset((_OBJECTS.get(name.partition(":")[0], "cell"),), dataset)


def to_colour(pixels: np.ndarray, item: Item) -> np.ndarray:
    """Pixels (h, w, channels) of any real type as uint8 (h, w, 3); see `InstanceDataset.read`.

    Raises:
        DataError: more than three channels.
    """
    if pixels.dtype != np.uint8:
        pixels = _to_bytes(pixels)
    height, width, channels = pixels.shape
    if channels > 3:
        raise DataError(f"{item.image}: has {channels} channels; expected at most three")
    if channels == 1:
        return np.repeat(pixels, 3, axis=2)
    padding = np.zeros((height, width, 3 - channels), np.uint8)
    return np.ascontiguousarray(np.concatenate((pixels, padding), axis=2))


def _to_bytes(pixels: np.ndarray) -> np.ndarray:
    scaled = scale_percentiles(pixels.astype(np.float32))
    return np.rint(255 * scaled.clip(0, 1)).astype(np.uint8)
