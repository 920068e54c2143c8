"""ACDC: slices of both versions, written here in their layouts, against the arrays they hold."""

import gzip
from dataclasses import replace

import h5py
import nibabel
import numpy as np
import pytest

from helpers.data.readers.acdc import AcdcReader
from helpers.errors import DataError

READER = AcdcReader()
COLUMNS, ROWS, SLICES = 9, 7, 3


def volume(seed=0, slices=SLICES):
    """Image int16 and labels uint8, both (columns, rows, slices) as NIfTI has them."""
    rng = np.random.default_rng(seed)
    shape = (COLUMNS, ROWS, slices)
    return rng.integers(0, 900, shape).astype(np.int16), rng.integers(0, 4, shape).astype(np.uint8)


def write_nifti(root, frame="patient001_frame01", image=None, labels=None, part="training"):
    """As distributed: a folder per patient, which also holds the whole cine and a text file."""
    folder = root / part / frame.split("_")[0]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Info.cfg").write_text("ED: 1\nES: 12\nGroup: DCM\n")
    cine = nibabel.Nifti1Image(np.zeros((4, 4, 2, 5), np.int16), np.eye(4))
    nibabel.save(cine, folder / f"{folder.name}_4d.nii.gz")
    default = volume()
    for ending, array, other in (("", image, default[0]), ("_gt", labels, default[1])):
        made = nibabel.Nifti1Image(other if array is None else array, np.diag([1.5, 1.5, 10, 1]))
        nibabel.save(made, folder / f"{frame}{ending}.nii.gz")
    return folder / f"{frame}.nii.gz", folder / f"{frame}_gt.nii.gz"


def write_hdf5(root, name, image, labels, **more):
    path = root / "ACDC" / "data" / f"{name}.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for key, array in {"image": image, "label": labels, **more}.items():
            if array is not None:
                file.create_dataset(key, data=array, compression="gzip")
    return path


def as_hdf5(image, labels):
    """A volume as the HDF5 version has it: slices first, then rows; pixels scaled to 0..1."""
    image = (image.astype(np.float32) - image.min()) / np.ptp(image)
    return image.transpose(2, 1, 0), labels.transpose(2, 1, 0)


def write_volume(root, frame="patient001_frame01", seed=0):
    image, labels = as_hdf5(*volume(seed))
    return write_hdf5(root, frame, image, labels)


def write_slices(root, frame="patient002_frame01", seed=1, slices=SLICES):
    image, labels = as_hdf5(*volume(seed, slices))
    names = [f"{frame}_slice_{i + 1}" for i in range(slices)]
    return [write_hdf5(root, n, image[i], labels[i]) for i, n in enumerate(names)]


# ------------------------------------------------------------------ what is there


def test_nifti_gives_an_item_per_slice_with_patient_and_part(tmp_path):
    write_nifti(tmp_path, "patient001_frame01")
    write_nifti(tmp_path, "patient001_frame12")
    write_nifti(tmp_path, "patient101_frame01", part="testing")
    items = READER.items(tmp_path)
    frames = ["patient001_frame01", "patient001_frame12", "patient101_frame01"]
    assert [i.id for i in items] == [f"{frame}_slice_{n}" for frame in frames for n in (1, 2, 3)]
    assert [i.group for i in items] == ["patient001"] * 6 + ["patient101"] * 3
    assert [i.split for i in items] == ["train"] * 6 + ["test"] * 3
    assert {i.modality for i in items} == {"mri/cardiac-cine"}


def test_a_slice_of_nifti_is_that_of_its_file_with_rows_down(tmp_path):
    image, labels = volume()
    write_nifti(tmp_path, image=image, labels=labels)
    for number, item in enumerate(READER.items(tmp_path)):
        reading = READER.load(item)
        assert reading.sample.image.shape == (ROWS, COLUMNS, 1)
        for row in range(ROWS):
            for column in range(COLUMNS):
                here = column, row, number
                assert reading.sample.image[row, column, 0] == image[here]
                assert reading.sample.labels[row, column] == labels[here]
        assert reading.dtype == "int16"
        assert (reading.sample.id, reading.sample.group) == (item.id, "patient001")


def test_nifti_with_a_scale_is_read_in_its_units(tmp_path):
    path, _ = write_nifti(tmp_path)
    image = volume()[0]
    scaled = nibabel.Nifti1Image(image, np.eye(4))
    scaled.header.set_slope_inter(0.5, 10)
    nibabel.save(scaled, path)
    reading = READER.load(READER.items(tmp_path)[1])
    np.testing.assert_array_equal(reading.sample.image[..., 0], image[..., 1].T / 2 + 10)
    assert reading.dtype == "int16"


def test_both_versions_of_a_volume_give_the_same_items_labels_and_views(tmp_path):
    image, labels = volume()
    write_nifti(tmp_path / "nifti", image=image, labels=labels)
    write_hdf5(tmp_path / "volume", "patient001_frame01", *as_hdf5(image, labels))
    for i, (pixels, classes) in enumerate(zip(*as_hdf5(image, labels), strict=True)):
        write_hdf5(tmp_path / "slices", f"patient001_frame01_slice_{i + 1}", pixels, classes)
    listed = [READER.items(tmp_path / name) for name in ("nifti", "volume", "slices")]
    for items in zip(*listed, strict=True):
        assert len({item.id for item in items}) == 1
        nifti, *others = map(READER.read, items)
        for other in others:
            np.testing.assert_array_equal(other.labels, nifti.labels)
            back = other.image * np.ptp(image) + image.min()
            np.testing.assert_allclose(back, nifti.image, atol=1e-3)


def test_slice_files_of_a_frame_that_has_a_volume_are_left_out(tmp_path):
    write_volume(tmp_path, "patient001_frame01", seed=0)
    write_slices(tmp_path, "patient001_frame01", seed=5, slices=4)
    write_slices(tmp_path, "patient001_frame02", seed=6, slices=2)
    items = READER.items(tmp_path)
    numbers = [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]
    assert [i.id for i in items] == [f"patient001_frame0{f}_slice_{s}" for f, s in numbers]
    expected = as_hdf5(*volume(0))[0]
    for number, item in enumerate(items[:3]):
        np.testing.assert_array_equal(READER.read(item).image[..., 0], expected[number])


def test_slices_are_found_in_a_folder_of_their_own(tmp_path):
    write_volume(tmp_path)
    for path in write_slices(tmp_path):
        (path.parent / "slices").mkdir(exist_ok=True)
        path.rename(path.parent / "slices" / path.name)
    assert len(READER.items(tmp_path)) == 2 * SLICES


def test_an_item_is_read_whatever_stands_before_its_id(tmp_path):
    write_volume(tmp_path)
    item = READER.items(tmp_path)[1]
    joined = READER.read(replace(item, id=f"acdc/{item.id}"))
    np.testing.assert_array_equal(joined.image, READER.read(item).image)
    assert joined.id == f"acdc/{item.id}"


def test_lists_of_the_hdf5_version_tell_the_split_and_validation_is_training(tmp_path):
    for number in (1, 2, 3, 4):
        write_volume(tmp_path, f"patient00{number}_frame01")
    lists = {"train": 1, "val": 2, "test": 3}
    for name, number in lists.items():
        text = f"patient00{number}_frame01\npatient099_frame01\n" if name == "train" else ""
        path = tmp_path / "ACDC" / f"{name}.list"
        path.write_text(text or f"patient00{number}_frame01\n")
    (tmp_path / "ACDC" / "all_slices.list").write_text("patient003_frame01_slice_1\n")
    splits = {item.group[-1]: item.split for item in READER.items(tmp_path)}
    assert splits == {"1": "train", "2": "train", "3": "test", "4": ""}


def test_a_frame_in_lists_of_both_parts_is_refused(tmp_path):
    write_volume(tmp_path)
    for name in ("train", "test"):
        (tmp_path / "ACDC" / f"{name}.list").write_text("patient001_frame01\n")
    with pytest.raises(DataError, match=r"train\.list: names patient001_frame01, which another"):
        READER.items(tmp_path)


# ------------------------------------------------------------------ what is wrong


def test_volume_without_labels_and_labels_without_volume_are_named(tmp_path):
    image, labels = write_nifti(tmp_path)
    content = labels.read_bytes()
    labels.unlink()
    with pytest.raises(DataError, match=rf"volumes without labels .*\n.*{image.name}"):
        READER.items(tmp_path)
    labels.write_bytes(content)
    image.unlink()
    with pytest.raises(DataError, match=rf"label volumes without an image:\n.*{labels.name}"):
        READER.items(tmp_path)


def test_both_versions_in_one_folder_are_refused(tmp_path):
    write_nifti(tmp_path)
    write_volume(tmp_path)
    with pytest.raises(DataError, match="holds ACDC twice"):
        READER.items(tmp_path)


@pytest.mark.parametrize("name", ["patient1_frame01", "patient001", "patient001_frame01_slice_"])
def test_names_that_tell_no_frame_are_refused(tmp_path, name):
    write_volume(tmp_path).with_name(f"{name}.h5").write_bytes(b"")
    with pytest.raises(DataError, match=rf"tell no patient and frame:\n.*{name}\.h5"):
        READER.items(tmp_path)


def test_a_slice_given_twice_is_refused(tmp_path):
    write_slices(tmp_path)
    write_slices(tmp_path / "copy")
    with pytest.raises(DataError, match="both have the id 'patient002_frame01_slice_1'"):
        READER.items(tmp_path)


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "patient001_4d.nii.gz").write_bytes(b"")
    with pytest.raises(DataError, match="holds no images in the layout training/"):
        READER.items(tmp_path)


PIXELS = np.zeros((ROWS, COLUMNS), np.float32)
CLASSES = np.ones((ROWS, COLUMNS), np.uint8)


@pytest.mark.parametrize(
    ("image", "labels", "message"),
    [
        (PIXELS, None, r"has no 'label', but 'image'"),
        (None, CLASSES, r"has no 'image', but 'label'"),
        (None, None, r"has no 'image' and no 'label', but nothing"),
        (PIXELS, CLASSES * 7, r"labels \[7\]; expected 0 .* to 3 \(right ventricle, myocardium"),
        (PIXELS, CLASSES * 0.5, "labels are not whole numbers"),
        (PIXELS, CLASSES * np.nan, "labels are not whole numbers"),
        (PIXELS, -1 * CLASSES.astype(np.int8), r"labels \[-1\]"),
        (PIXELS, CLASSES.T, r"labels have the shape \(9, 7\), but the image .* has \(7, 9\)"),
        (PIXELS[None], CLASSES[None], r"array of shape \(1, 7, 9\). Expected one slice"),
        (PIXELS, CLASSES[None], r"array of shape \(1, 7, 9\). Expected one slice"),
        (PIXELS * np.nan, CLASSES, "63 of 63 pixel values are NaN"),
    ],
)
def test_faulty_slice_files_are_refused_by_name(tmp_path, image, labels, message):
    write_hdf5(tmp_path, "patient001_frame01_slice_1", image, labels)
    [item] = READER.items(tmp_path)
    with pytest.raises(DataError, match=rf"patient001_frame01_slice_1\.h5: .*{message}"):
        READER.load(item)


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.9])
def test_truncated_hdf5_is_refused_by_name(tmp_path, keep):
    path = write_slices(tmp_path, slices=1)[0]
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    [item] = READER.items(tmp_path)
    with pytest.raises(DataError, match=rf"{path.name}: cannot be read .*replace it"):
        READER.load(item)


def test_damaged_volumes_are_refused_where_their_slices_are_counted(tmp_path):
    path = write_volume(tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=rf"{path.name}: cannot be read"):
        READER.items(tmp_path)
    write_hdf5(tmp_path, path.stem, PIXELS, CLASSES)
    with pytest.raises(DataError, match=r"array of shape \(7, 9\). Expected a volume"):
        READER.items(tmp_path)
    write_hdf5(tmp_path, path.stem, PIXELS[None][:0], CLASSES[None][:0])
    with pytest.raises(DataError, match=r"array of shape \(0, 7, 9\)"):
        READER.items(tmp_path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (volume()[1] + np.uint8(4), r"labels \[4, 5, 6, 7\]"),
        (volume(slices=SLICES - 1)[1], r"shape \(9, 7, 2\), but the image .* has \(9, 7, 3\)"),
        (volume()[1].transpose(1, 0, 2), r"shape \(7, 9, 3\), but the image .* has \(9, 7, 3\)"),
        (volume()[1] / np.float32(2), "labels are not whole numbers"),
        (volume()[1][..., None].repeat(2, axis=3), r"array of shape \(9, 7, 3, 2\)"),
    ],
)
def test_faulty_label_volumes_are_refused_by_name(tmp_path, labels, message):
    _, path = write_nifti(tmp_path, labels=labels)
    with pytest.raises(DataError, match=rf"{path.name}: .*{message}"):
        READER.load(READER.items(tmp_path)[SLICES - 1])


@pytest.mark.parametrize("which", [0, 1])
def test_truncated_nifti_is_refused_by_name(tmp_path, which):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 900, (40, 40, 8)).astype(np.int16)
    path = write_nifti(tmp_path, image=image, labels=(image % 4).astype(np.uint8))[which]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    item = next(item for item in READER.items(tmp_path) if item.id.endswith("_8"))
    with pytest.raises(DataError, match=rf"{path.name}: cannot be read"):
        READER.load(item)


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", gzip.compress(b"no volume" * 99, mtime=0)],
    ids=["empty", "text", "gzip"],
)
def test_files_that_are_no_nifti_are_refused_by_name(tmp_path, content):
    path, _ = write_nifti(tmp_path)
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path.name}: cannot be read"):
        READER.items(tmp_path)
