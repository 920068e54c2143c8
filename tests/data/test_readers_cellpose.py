"""Cellpose: NNN_img.png with NNN_masks.png."""

import numpy as np
import pytest
from imagecodecs import png_encode

from helpers.data.readers.cellpose import CellposeReader
from helpers.errors import DataError

READER = CellposeReader()


def write(folder, number, shape=(20, 30), mask_shape=None, dtype=np.uint8):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(int(number))
    image = rng.integers(0, np.iinfo(dtype).max, (*shape, 3)).astype(dtype)
    masks = rng.integers(0, 300, mask_shape or shape).astype(np.uint16)
    masks[0, 0] = 0
    (folder / f"{number}_img.png").write_bytes(png_encode(image))
    (folder / f"{number}_masks.png").write_bytes(png_encode(masks))
    return image, masks


def test_sixteen_bit_colour_and_labels_beyond_255_are_kept(tmp_path):
    image, masks = write(tmp_path / "train", "007", dtype=np.uint16)
    reading = READER.load(READER.items(tmp_path)[0])
    np.testing.assert_array_equal(reading.sample.image, image)
    assert reading.dtype == "uint16"
    assert masks.max() > 255
    ranks = np.unique(masks, return_inverse=True)[1]
    np.testing.assert_array_equal(reading.sample.labels, ranks.reshape(masks.shape))


def test_train_and_test_may_hold_the_same_numbers(tmp_path):
    for folder in ("train", "test"):
        for number in ("001", "000"):
            write(tmp_path / folder, number)
    items = READER.items(tmp_path)
    assert [(item.id, item.split) for item in items] == [
        ("test/000", "test"),
        ("test/001", "test"),
        ("train/000", "train"),
        ("train/001", "train"),
    ]
    assert [item.id for item in READER.items(tmp_path / "train")] == ["000", "001"]


def test_unpaired_files_are_named(tmp_path):
    write(tmp_path, "000")
    write(tmp_path, "001")
    (tmp_path / "001_masks.png").unlink()
    with pytest.raises(DataError, match=r"1 images without masks:\n.*001_img\.png"):
        READER.items(tmp_path)
    (tmp_path / "001_img.png").unlink()
    (tmp_path / "000_img.png").unlink()
    with pytest.raises(DataError, match=r"1 masks without an image:\n.*000_masks\.png"):
        READER.items(tmp_path)


def test_masks_of_another_size_are_refused(tmp_path):
    write(tmp_path, "000", mask_shape=(30, 20))
    with pytest.raises(DataError, match=r"000_masks\.png: is 30 x 20 .*000_img\.png is 20 x 30"):
        READER.read(READER.items(tmp_path)[0])
