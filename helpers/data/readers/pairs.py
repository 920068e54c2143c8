"""Readers of data sets in which an image file and a label file belong together."""

from pathlib import Path

import numpy as np

from helpers.data.readers.base import Item, Reader, Reading, make_sample
from helpers.data.readers.images import decode, read_labels, to_float


class PairReader(Reader):
    """Knows how to read such a pair; where the pairs lie is told by ``items`` of its subclasses."""

    def load(self, item: Item) -> Reading:
        """Read one item; without a label file its labels are all 0.

        Raises:
            DataError: an unreadable file, no labels, or labels of another size than the image.
        """
        alone = item.labels is None
        pixels = decode(item.image, alone=alone)
        labels = np.zeros(pixels.shape[:2], np.int32) if alone else self.labels_of(item.labels)
        sample = make_sample(item, to_float(pixels, item.image), labels)
        return Reading(sample, dtype=pixels.dtype.name)

    def labels_of(self, path: Path) -> np.ndarray:
        """Label image of a file: int32 (height, width), 0 background."""
        return read_labels(path)
