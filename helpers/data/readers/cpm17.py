"""CPM-17 (2017 challenge) as HoVer-Net's authors pass it on: nuclei, H&E of four tumours."""

from pathlib import Path

import numpy as np

from helpers.data.readers.base import Item, require_items, require_partners
from helpers.data.readers.images import as_labels
from helpers.data.readers.pairs import PairReader
from helpers.errors import DataError
from helpers.files import find_files

LAYOUT = "cpm17/PART/Images/NAME.png with cpm17/PART/Labels/NAME.mat, PART train or test"
KEY = "inst_map"
_PARTS = ("train", "test")


class Cpm17Reader(PairReader):
    """``PART/Images/NAME.png`` and ``PART/Labels/NAME.mat`` (MATLAB 5 to 7, array ``inst_map``).

    500 x 500 to 600 x 600 pixels. The folders ``Overlay`` are left out. The id is ``PART/NAME``,
    since both parts count from ``image_00``. Which images are of one patient, or of which tumour,
    is not told: the group is the id.
    """

    def items(self, root: Path) -> list[Item]:
        """One item per image; see :class:`helpers.data.readers.base.Reader`."""
        files = [
            path
            for path in find_files(root, frozenset({".png", ".mat"}))
            if path.parent.parent.name in _PARTS
        ]
        images = {
            _key(p): p for p in files if (p.parent.name, p.suffix.lower()) == ("Images", ".png")
        }
        labels = {
            _key(p): p for p in files if (p.parent.name, p.suffix.lower()) == ("Labels", ".mat")
        }
        require_partners(images, labels, "labels", LAYOUT)
        return require_items(
            (_item(path, labels[key]) for key, path in images.items()), root, LAYOUT
        )

    def labels_of(self, path: Path) -> np.ndarray:
        """The array of the MATLAB file."""
        return read_instance_map(path)


def _key(path: Path) -> tuple[Path, str]:
    return path.parents[1], path.stem


def _item(image: Path, labels: Path) -> Item:
    part = image.parents[1].name
    name = f"{part}/{image.stem}"
    return Item(name, name, image, labels, part, "histology")


def read_instance_map(path: Path) -> np.ndarray:
    """The array ``inst_map`` of a MATLAB file: int32 (height, width), 0 background.

    MATLAB saves numbers as float64; whole ones pass.

    Raises:
        DataError: the file is unreadable or of version 7.3 (HDF5), or has no such array of two
            axes; or a value is negative, fractional or beyond int32.
    """
    content = _load_mat(path)
    if KEY not in content:
        held = [name for name in content if not name.startswith("__")]
        raise DataError(
            f"{path}: has no {KEY!r}, but {', '.join(map(repr, held)) or 'nothing'}. The file is "
            "of another data set: replace it."
        )
    values = content[KEY]
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype.kind not in "buif":
        found = f"{type(values).__name__} of shape {np.shape(values)}"
        raise DataError(
            f"{path}: {KEY!r} is a {found}. Expected an array of numbers with two axes, height and "
            "width: replace the file."
        )
    return as_labels(values, path)


def _load_mat(path: Path) -> dict:
    import h5py
    from scipy.io import loadmat

    try:
        if h5py.is_hdf5(path):
            raise DataError(
                f"{path}: is a MATLAB 7.3 (HDF5) file. Expected version 5 to 7, in which the "
                "labels were released: replace it, or save it again in MATLAB with -v7."
            )
        return loadmat(path)
    except DataError:
        raise
    # scipy raises half a dozen kinds of exception on damaged files.
    except Exception as error:
        raise DataError(
            f"{path}: cannot be read ({type(error).__name__}: {error}). The file is damaged, cut "
            "short, or no MATLAB file: replace it."
        ) from error
