"""CRAG: images and annotations written here in the layout of the release."""

import numpy as np
import pytest
from PIL import Image

from helpers.data.readers.crag import CragReader
from helpers.errors import DataError

READER = CragReader()
SHAPE = (20, 24)
GLANDS = np.zeros(SHAPE, np.uint8)
GLANDS[2:8, 2:8] = 2
GLANDS[2:8, 8:14] = 5


def write_pair(root, part="train", name="train_1", labels=GLANDS, annotation="Annotation"):
    """Image, annotation and the picture of both that the release has beside them."""
    folder = root / "CRAG" / part
    pixels = np.random.default_rng(len(name)).integers(0, 256, (*SHAPE, 3)).astype(np.uint8)
    paths = []
    for inner, content in (("Images", pixels), (annotation, labels), ("Overlay", pixels)):
        path = folder / inner / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(content).save(path)
        paths.append(path)
    return paths


def test_parts_make_items_and_overlays_are_left_out(tmp_path):
    write_pair(tmp_path, "valid", "test_1")
    write_pair(tmp_path, "train", "train_1")
    items = READER.items(tmp_path)
    assert [(i.id, i.group, i.split, i.modality) for i in items] == [
        ("train/train_1", "train/train_1", "train", "histology/colon"),
        ("valid/test_1", "valid/test_1", "test", "histology/colon"),
    ]


@pytest.mark.parametrize(
    ("part", "annotation", "inner"),
    [
        ("valid", "Annotation", "."),
        ("test", "Annotations", "."),
        ("train", "Annotation", "CRAG"),
    ],
)
def test_folders_may_have_the_names_of_the_notes_and_the_root_any(
    tmp_path, part, annotation, inner
):
    image, mask, _ = write_pair(tmp_path, part, annotation=annotation)
    [item] = READER.items(tmp_path / inner)
    assert (item.image, item.labels) == (image, mask)
    assert item.split == ("train" if part == "train" else "test")


def test_numbers_are_glands(tmp_path):
    image, *_ = write_pair(tmp_path)
    reading = READER.load(READER.items(tmp_path)[0])
    expected = np.select([GLANDS == 2, GLANDS == 5], [1, 2], 0)
    np.testing.assert_array_equal(reading.sample.labels, expected)
    np.testing.assert_array_equal(reading.sample.image, np.asarray(Image.open(image)))
    assert reading.dtype == "uint8"


def test_unpaired_files_are_named(tmp_path):
    """The first version of the release has annotations without an image."""
    image, mask, _ = write_pair(tmp_path, "valid", "test_1")
    write_pair(tmp_path, "train", "test_1")  # the partner of the other part does not count
    mask.unlink()
    with pytest.raises(DataError, match=r"without annotations:\n.*valid/Images/test_1\.png"):
        READER.items(tmp_path)
    Image.fromarray(GLANDS).save(mask)
    image.unlink()
    with pytest.raises(DataError, match=r"without an image:\n.*valid/Annotation/test_1\.png"):
        READER.items(tmp_path)


def test_no_images_in_the_layout(tmp_path):
    (tmp_path / "Images").mkdir()
    Image.fromarray(GLANDS).save(tmp_path / "Images" / "a.png")
    with pytest.raises(DataError, match="holds no images in the layout CRAG/PART/Images"):
        READER.items(tmp_path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (GLANDS[1:], r"is 19 x 24 .* is 20 x 24"),
        (np.arange(SHAPE[0] * SHAPE[1] * 3, dtype=np.uint8).reshape(*SHAPE, 3), "channels that"),
    ],
    ids=["size", "colours"],
)
def test_faulty_annotations_are_named(tmp_path, labels, message):
    write_pair(tmp_path, labels=labels)
    with pytest.raises(DataError, match=rf"Annotation/train_1\.png: .*{message}"):
        READER.read(READER.items(tmp_path)[0])
