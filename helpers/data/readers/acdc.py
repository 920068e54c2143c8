"""ACDC (2017 challenge): short-axis cine MRI of the heart, its ventricles and its muscle."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from helpers.data.readers.base import (
    Item,
    Reader,
    Reading,
    make_class_sample,
    require_items,
    require_pairs,
    split_of,
)
from helpers.data.readers.images import to_float
from helpers.errors import DataError
from helpers.files import find_files

LAYOUT = (
    "training/patientPPP/patientPPP_frameFF.nii.gz with patientPPP_frameFF_gt.nii.gz (and "
    "testing/), or patientPPP_frameFF.h5 and patientPPP_frameFF_slice_S.h5"
)
_NIFTI = re.compile(r"((patient\d{3})_frame\d{2})(_gt)?(?i:\.nii\.gz)")
_HDF5 = re.compile(r"((patient\d{3})_frame\d{2})(?:_slice_(\d+))?(?i:\.h5)")
# The validation part is drawn from the patients to train on; the test part stays for the end.
_LISTS = {"train": "train", "val": "train", "test": "test"}


class AcdcReader(Reader):
    """Slices of short-axis volumes, as NIfTI (official) or in the widespread HDF5 version.

    NIfTI: ``patientPPP_frameFF.nii.gz`` with ``patientPPP_frameFF_gt.nii.gz`` below ``training``
    and ``testing``; ``patientPPP_4d.nii.gz`` and ``Info.cfg`` are left out. HDF5:
    ``patientPPP_frameFF_slice_S.h5`` (one slice) and ``patientPPP_frameFF.h5`` (a volume, slices
    first), with the keys ``image`` and ``label``. That version is of the 100 official training
    patients alone; its frames are numbered 01 and 02. ``train.list``, ``val.list`` and
    ``test.list`` divide it, of which the first two are taken for the training part here; without
    them the split is not known.

    Each slice is an item, whose id ends in its number: ``patientPPP_frameFF_slice_S``, from 1 on,
    whatever file it lies in. Where there is a volume, slice files of the same frame are left out.
    The group is the patient.

    Images are as stored: NIfTI holds the scanner's numbers; in HDF5 every volume was scaled so that
    its smallest value is 0 and its largest 1. Slices of NIfTI are turned so that rows run along the
    second axis of the file and columns along the first, as in the HDF5 version.
    """

    classes = ("right ventricle", "myocardium", "left ventricle")

    def items(self, root: Path) -> list[Item]:
        """One item per slice; see :class:`helpers.data.readers.base.Reader`.

        Of a volume its header is read, which tells the number of slices.

        Raises:
            DataError: no images; both versions in one folder; a file of another name; a NIfTI
                volume without labels or the reverse; an unreadable volume.
        """
        files = find_files(root, frozenset({".h5", ".gz"}))
        hdf5 = [path for path in files if path.suffix.lower() == ".h5"]
        nifti = [path for path in files if path.name.lower().endswith(".nii.gz")]
        nifti = [path for path in nifti if not path.name.lower().endswith("_4d.nii.gz")]
        if hdf5 and nifti:
            raise DataError(
                f"{root}: holds ACDC twice, as NIfTI ({nifti[0].name}) and as HDF5 "
                f"({hdf5[0].name}), so that patients would come up twice. Remove one of them."
            )
        found = _hdf5_items(hdf5, root) if hdf5 else _nifti_items(nifti, root)
        return require_items(found, root, LAYOUT)

    def load(self, item: Item) -> Reading:
        """Read one slice: image (H, W, 1), labels 0 to 3.

        Raises:
            DataError: an unreadable file, a key of HDF5 missing, labels that are not 0 to 3, or
                labels of another shape than the image.
        """
        number = int(item.id.rpartition("_slice_")[2])
        read = _read_nifti if item.image.suffix.lower() == ".gz" else _read_hdf5
        pixels, labels, dtype = read(item, number)
        if (labels != np.rint(labels)).any():
            raise DataError(
                f"{item.labels}: labels are not whole numbers. Expected 0 to 3: the file was "
                "resampled or is damaged, replace it."
            )
        image = to_float(pixels, item.image)[..., None]
        return Reading(make_class_sample(item, image, labels, self.classes), dtype=dtype)


def _nifti_items(files: Sequence[Path], root: Path) -> Iterator[Item]:
    images, labels = {}, {}
    for path, match in _matched(files, _NIFTI):
        (labels if match[3] else images)[path.parent, match[1]] = path, match[2]
    lacking = [path for key, (path, _) in images.items() if key not in labels]
    require_pairs(lacking, "volumes without labels (_gt.nii.gz)", LAYOUT)
    orphans = [path for key, (path, _) in labels.items() if key not in images]
    require_pairs(orphans, "label volumes without an image", LAYOUT)
    for key, (path, patient) in images.items():
        for number in range(1, _open_nifti(path).shape[2] + 1):
            yield _item(key[1], number, patient, path, labels[key][0], split_of(path, root))


def _hdf5_items(files: Sequence[Path], root: Path) -> Iterator[Item]:
    splits = _read_lists(root)
    matched = _matched(files, _HDF5)
    volumes = {match[1] for _, match in matched if match[3] is None}
    for path, match in matched:
        frame, patient, number = match.groups()
        if number is None:
            with _open_hdf5(path) as (image, _):
                numbers = range(1, len(image) + 1)
        else:
            numbers = [] if frame in volumes else [int(number)]
        for one in numbers:
            yield _item(frame, one, patient, path, path, splits.get(frame, ""))


def _matched(files: Sequence[Path], names: re.Pattern[str]) -> list[tuple[Path, re.Match[str]]]:
    """Files with the match of their names; other names are refused."""
    require_pairs(
        [path for path in files if not names.fullmatch(path.name)],
        "files whose names tell no patient and frame",
        LAYOUT,
    )
    return [(path, names.fullmatch(path.name)) for path in files]


def _item(frame: str, number: int, patient: str, image: Path, labels: Path, split: str) -> Item:
    name = f"{frame}_slice_{number}"
    return Item(name, patient, image, labels, split, "mri/cardiac-cine")


def _read_lists(root: Path) -> dict[str, str]:
    """Split of each frame that ``train.list``, ``val.list`` or ``test.list`` name, one a line."""
    splits: dict[str, str] = {}
    for path in find_files(root, frozenset({".list"})):
        split = _LISTS.get(path.stem)
        for frame in path.read_text().split() if split else ():
            if splits.setdefault(frame, split) != split:
                raise DataError(
                    f"{path}: names {frame}, which another list gives to the other part. A frame "
                    "is for training or for testing: correct the lists, or remove them."
                )
    return splits


def _read_nifti(item: Item, number: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Pixels and labels of a slice, both (rows, columns), and the pixel type in the file."""
    image, labels = (_open_nifti(path) for path in (item.image, item.labels))
    _require_alike(item, image.shape, labels.shape)
    slices = []
    for path, volume in ((item.image, image), (item.labels, labels)):
        with _reading(path):
            slices.append(np.asarray(volume[..., number - 1]).T)
    return slices[0], slices[1], image.dtype.name


def _open_nifti(path: Path) -> Any:
    """The array of a volume (columns, rows, slices), of which only the header is read here."""
    import nibabel

    with _reading(path):
        volume = nibabel.load(path).dataobj
        _require_axes(path, volume.shape, 3)
    return volume


def _read_hdf5(item: Item, number: int) -> tuple[np.ndarray, np.ndarray, str]:
    """As :func:`_read_nifti`."""
    with _open_hdf5(item.image) as (image, labels):
        _require_alike(item, image.shape, labels.shape)
        place = number - 1 if image.ndim == 3 else ()
        return image[place], labels[place], image.dtype.name


@contextmanager
def _open_hdf5(path: Path) -> Iterator[list[Any]]:
    """The arrays ``image`` and ``label``: (slices, rows, columns), of a slice (rows, columns)."""
    import h5py

    n_axes = 3 if _HDF5.fullmatch(path.name)[3] is None else 2
    with _reading(path), h5py.File(path) as file:
        if lacking := [key for key in ("image", "label") if key not in file]:
            raise DataError(
                f"{path}: has no {' and no '.join(map(repr, lacking))}, but "
                f"{', '.join(map(repr, file)) or 'nothing'}. Expected 'image' and 'label': the "
                "file is of another data set or version."
            )
        arrays = [file[key] for key in ("image", "label")]
        for array in arrays:
            _require_axes(path, array.shape, n_axes)
        yield arrays


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Whatever goes wrong with a file becomes one kind of exception, which names it."""
    try:
        yield
    except DataError:
        raise
    # h5py, nibabel and gzip raise half a dozen kinds of exception on damaged files.
    except Exception as error:
        raise DataError(
            f"{path}: cannot be read ({type(error).__name__}: {error}). The file is damaged, cut "
            "short, or of another format: replace it."
        ) from error


def _require_axes(path: Path, shape: tuple[int, ...], n_axes: int) -> None:
    if len(shape) != n_axes or 0 in shape:
        what = "a volume, an array of 3 axes" if n_axes == 3 else "one slice, an array of 2 axes"
        raise DataError(
            f"{path}: holds an array of shape {shape}. Expected {what}, as its name says: replace "
            "the file."
        )


def _require_alike(item: Item, image: tuple[int, ...], labels: tuple[int, ...]) -> None:
    if image != labels:
        raise DataError(
            f"{item.labels}: the labels have the shape {labels}, but the image in "
            f"{item.image.name} has {image}. Expected the same: replace the one that was cropped, "
            "resized or turned."
        )
