"""TNBC (Naylor et al. 2019): nuclei in triple-negative breast cancer, H&E."""

import re
from pathlib import Path

import numpy as np

from helpers.data.readers.base import Item, require_items, require_partners
from helpers.data.readers.images import read_labels
from helpers.data.readers.pairs import PairReader
from helpers.files import find_files

LAYOUT = "Slide_NN/NN_K.png with GT_NN/NN_K.png"
_FOLDER = re.compile(r"(Slide|GT)_(\d+)")
_Key = tuple[Path, str, str]  # folder that holds both, number of the patient, name of the image
# In the code of the owner (repository PeterJackNaylor/NucSeg), which knows 14 slides.
_LAST_BREAST = 12


class TnbcReader(PairReader):
    """``Slide_NN/NN_K.png`` (RGBA, 512 x 512) and ``GT_NN/NN_K.png``, 50 images of 11 patients.

    The annotation is taken for a mask of all nuclei, as it is by the owner's own code and by other
    public loaders: an instance is an 8-connected set of pixels of one value above 0. So nuclei that
    touch are one instance, unless the file numbers them. (The archive itself has not been opened
    here.) Alpha is dropped.

    There is no official split. The group is the patient NN, so that a split by group is one by
    patient. Versions of the data with more slides hold brain tissue from slide 13 on, which the
    modality tells.
    """

    def items(self, root: Path) -> list[Item]:
        """One item per image; see :class:`helpers.data.readers.base.Reader`."""
        images: dict[_Key, Path] = {}
        masks: dict[_Key, Path] = {}
        for path in find_files(root, frozenset({".png"})):
            if match := _FOLDER.fullmatch(path.parent.name):
                found = images if match[1] == "Slide" else masks
                found[path.parents[1], match[2], path.stem] = path
        require_partners(images, masks, "annotations", LAYOUT)
        return require_items(
            (_item(key, path, masks[key]) for key, path in images.items()), root, LAYOUT
        )

    def labels_of(self, path: Path) -> np.ndarray:
        """The components of the annotation."""
        return split_components(read_labels(path))


def _item(key: _Key, image: Path, mask: Path) -> Item:
    _, patient, name = key
    organ = "breast" if int(patient) <= _LAST_BREAST else "brain"
    return Item(name, patient, image, mask, "", f"histology/{organ}")


def split_components(values: np.ndarray) -> np.ndarray:
    """Number the 8-connected sets of pixels of equal value above 0: int32 (H, W) to int32 (H, W).

    Of a mask these are its components; of a label image its instances, as far as each is in one
    piece.
    """
    from skimage.measure import label

    return label(values, connectivity=2).astype(np.int32)
