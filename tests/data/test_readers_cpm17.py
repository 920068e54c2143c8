"""CPM-17: images and MATLAB files written here in the layout that HoVer-Net's authors pass on."""

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from helpers.data.readers.cpm17 import Cpm17Reader, read_instance_map
from helpers.errors import DataError

READER = Cpm17Reader()
SHAPE = (10, 14)
NUCLEI = np.zeros(SHAPE)
NUCLEI[1:4, 1:5] = 1
NUCLEI[1:4, 5:9] = 7


def write_pair(root, part="train", name="image_00", content=None, **options):
    folder = root / "cpm17" / part
    pixels = np.random.default_rng(len(part)).integers(0, 256, (*SHAPE, 3)).astype(np.uint8)
    for inner in ("Images", "Overlay"):
        (folder / inner).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / inner / f"{name}.png")
    path = folder / "Labels" / f"{name}.mat"
    path.parent.mkdir(exist_ok=True)
    savemat(path, {"inst_map": NUCLEI} if content is None else content, **options)
    return folder / "Images" / f"{name}.png", path


def test_parts_make_items_with_names_of_their_own(tmp_path):
    for part in ("train", "test"):
        write_pair(tmp_path, part)
    assert [(i.id, i.group, i.split, i.modality) for i in READER.items(tmp_path)] == [
        ("test/image_00", "test/image_00", "test", "histology"),
        ("train/image_00", "train/image_00", "train", "histology"),
    ]


@pytest.mark.parametrize("options", [{}, {"do_compression": True}, {"format": "4"}])
@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.uint16])
def test_rows_columns_and_numbers_are_those_of_the_file(tmp_path, dtype, options):
    image, _ = write_pair(tmp_path, content={"inst_map": NUCLEI.astype(dtype)}, **options)
    reading = READER.load(READER.items(tmp_path)[0])
    expected = np.select([NUCLEI == 1, NUCLEI == 7], [1, 2], 0)
    np.testing.assert_array_equal(reading.sample.labels, expected)
    np.testing.assert_array_equal(reading.sample.image, np.asarray(Image.open(image)))
    assert reading.sample.labels.dtype == np.int32


def test_unpaired_files_are_named(tmp_path):
    image, labels = write_pair(tmp_path)
    write_pair(tmp_path, "test")
    content = labels.read_bytes()
    labels.unlink()
    with pytest.raises(DataError, match=r"images without labels:\n.*train/Images/image_00\.png"):
        READER.items(tmp_path)
    labels.write_bytes(content)
    image.unlink()
    with pytest.raises(DataError, match=r"labels without an image:\n.*train/Labels/image_00\.mat"):
        READER.items(tmp_path)


def test_no_images_in_the_layout(tmp_path):
    with pytest.raises(DataError, match="holds no images in the layout cpm17/PART/Images"):
        READER.items(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"type_map": NUCLEI, "x": 1}, "has no 'inst_map', but 'type_map', 'x'"),
        ({}, "has no 'inst_map', but nothing"),
        ({"inst_map": NUCLEI[..., None].repeat(2, 2)}, r"ndarray of shape \(10, 14, 2\)"),
        ({"inst_map": "text"}, "Expected an array of numbers"),
        ({"inst_map": {"a": 1}}, "Expected an array of numbers"),
        ({"inst_map": NUCLEI - 1}, "label -1.0 is negative"),
        ({"inst_map": NUCLEI / 2}, "label 0.5 is not a whole number"),
    ],
)
def test_other_content_is_refused_by_name(tmp_path, content, message):
    _, path = write_pair(tmp_path, content=content)
    with pytest.raises(DataError, match=rf"image_00\.mat: .*{message}"):
        read_instance_map(path)


def test_labels_of_another_size_are_named(tmp_path):
    write_pair(tmp_path, content={"inst_map": NUCLEI.T})
    with pytest.raises(DataError, match=r"image_00\.mat: is 14 x 10 .* is 10 x 14"):
        READER.read(READER.items(tmp_path)[0])


@pytest.mark.parametrize("user_block", [0, 512])
def test_files_of_version_7_3_are_refused_with_the_way_out(tmp_path, user_block):
    path = tmp_path / "image_00.mat"
    with h5py.File(path, "w", userblock_size=user_block) as file:
        file["inst_map"] = NUCLEI.T
    if user_block:  # what MATLAB writes before the HDF5 part
        with path.open("r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    with pytest.raises(DataError, match=r"image_00\.mat: is a MATLAB 7\.3 .* -v7"):
        read_instance_map(path)


@pytest.mark.parametrize("content", [b"", b"no MATLAB file at all, whatever its name may be", None])
def test_damaged_files_are_refused_by_name(tmp_path, content):
    _, path = write_pair(tmp_path)
    path.write_bytes(path.read_bytes()[:300] if content is None else content)
    with pytest.raises(DataError, match=r"image_00\.mat: cannot be read"):
        read_instance_map(path)
    path.unlink()
    with pytest.raises(DataError, match=r"image_00\.mat: cannot be read"):
        read_instance_map(path)
