"""Readers of data sets in which an image file and a label file belong together."""

from helpers.data.readers.base import Item, Reader, Reading, make_sample
from helpers.data.readers.images import decode, read_labels, to_float


class PairReader(Reader):
    """Knows how to read such a pair; where the pairs lie is told by ``items`` of its subclasses."""

    def load(self, item: Item) -> Reading:
        """Read one item.

        Raises:
            DataError: an unreadable file, no labels, or labels of another size than the image.
        """
        pixels = decode(item.image)
        sample = make_sample(item, to_float(pixels, item.image), read_labels(item.labels))
        return Reading(sample, dtype=pixels.dtype.name)
