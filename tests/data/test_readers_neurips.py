"""NeurIPS 2022 Cell Segmentation: folders of images and labels in mixed formats."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers.data.readers.neurips_cellseg import NeurIPSCellSegReader
from helpers.errors import DataError

READER = NeurIPSCellSegReader()
SHAPE = (20, 30)


def write(root, folder, name, dtype=np.uint8, channels=3):
    image = root / folder / "images" / name
    labels = root / folder / "labels" / f"{image.stem}_label.tiff"
    for path in (image, labels):
        path.parent.mkdir(parents=True, exist_ok=True)
    data = np.full((*SHAPE, channels), 7, dtype).squeeze()
    if image.suffix in (".tif", ".tiff"):
        tifffile.imwrite(image, data)
    else:
        Image.fromarray(data).save(image)
    tifffile.imwrite(labels, np.arange(600, dtype=np.int16).reshape(SHAPE) // 300)
    return image, labels


def test_mixed_formats_types_and_channels(tmp_path):
    write(tmp_path, "Training-labeled", "cell_00001.png")
    write(tmp_path, "Training-labeled", "cell_00002.tif", np.uint16, 1)
    write(tmp_path, "Training-labeled", "cell_00003.bmp", np.uint8, 1)
    readings = [READER.load(item) for item in READER.items(tmp_path)]
    assert [r.sample.image.shape[2] for r in readings] == [3, 1, 1]
    assert [r.dtype for r in readings] == ["uint8", "uint16", "uint8"]
    assert all(r.sample.n_instances == 1 for r in readings)


def test_equal_names_in_several_parts_and_unlabelled_images(tmp_path):
    for folder in ("Training-labeled", "Tuning", "Testing/Public"):
        write(tmp_path, folder, "cell_00001.png")
    extra = tmp_path / "release-part1" / "images" / "unlabeled_1.png"
    extra.parent.mkdir(parents=True)
    Image.new("L", (5, 5)).save(extra)
    assert [(item.id, item.split) for item in READER.items(tmp_path)] == [
        ("Testing/Public/cell_00001", "test"),
        ("Training-labeled/cell_00001", "train"),
        ("Tuning/cell_00001", ""),
    ]


def test_folders_directly_at_the_root(tmp_path):
    write(tmp_path, ".", "cell_00001.png")
    assert [item.id for item in READER.items(tmp_path)] == ["cell_00001"]


def test_unpaired_files_are_named(tmp_path):
    write(tmp_path, "Train", "cell_00001.png")
    image, labels = write(tmp_path, "Train", "cell_00002.png")
    content = labels.read_bytes()
    labels.unlink()
    with pytest.raises(DataError, match=rf"images without labels:\n.*{image.name}"):
        READER.items(tmp_path)
    labels.write_bytes(content)
    image.unlink()
    with pytest.raises(DataError, match=rf"labels without an image:\n.*{labels.name}"):
        READER.items(tmp_path)
