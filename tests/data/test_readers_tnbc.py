"""TNBC: images and annotations written here in the layout of the release."""

import numpy as np
import pytest
from PIL import Image

from helpers.data.readers.tnbc import TnbcReader, split_components
from helpers.data.splits import split_by_group
from helpers.errors import DataError

READER = TnbcReader()
SHAPE = (16, 16)
MASK = np.zeros(SHAPE, np.uint8)
MASK[1:5, 1:5] = 255
MASK[5:8, 5:8] = 255  # touches the first one at a corner
MASK[10:14, 10:14] = 255


def write_pair(root, patient=1, number=1, mask=MASK, mode="RGBA"):
    name = f"{patient:02}_{number}.png"
    paths = []
    pixels = np.random.default_rng(number).integers(0, 256, (*SHAPE, len(mode))).astype(np.uint8)
    for kind, content in (("Slide", pixels), ("GT", mask)):
        path = root / "TNBC_NucleiSegmentation" / f"{kind}_{patient:02}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(content).save(path)
        paths.append(path)
    return paths


def test_patients_are_groups_and_there_is_no_split(tmp_path):
    for patient, number in [(1, 1), (1, 2), (11, 1), (13, 1)]:
        write_pair(tmp_path, patient, number)
    assert [(i.id, i.group, i.split, i.modality) for i in READER.items(tmp_path)] == [
        ("01_1", "01", "", "histology/breast"),
        ("01_2", "01", "", "histology/breast"),
        ("11_1", "11", "", "histology/breast"),
        ("13_1", "13", "", "histology/brain"),
    ]


def test_a_split_of_34_and_16_images_tears_no_patient(tmp_path):
    for patient in range(1, 12):
        for number in range(1, 6 if patient <= 6 else 5):
            write_pair(tmp_path, patient, number)
    items = READER.items(tmp_path)
    assert len(items) == 50
    rng = np.random.default_rng(0)
    train, test = split_by_group([item.group for item in items], 16 / 50, rng)
    assert not {items[i].group for i in train} & {items[i].group for i in test}
    assert 12 <= len(test) <= 20


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_components_are_instances_and_alpha_goes(tmp_path, mode):
    image, _ = write_pair(tmp_path, mode=mode)
    sample = READER.read(READER.items(tmp_path)[0])
    np.testing.assert_array_equal(sample.image, np.asarray(Image.open(image))[..., :3])
    assert np.bincount(sample.labels.ravel())[1:].tolist() == [16 + 9, 16]
    np.testing.assert_array_equal(sample.labels > 0, MASK > 0)


def test_files_that_number_the_nuclei_keep_touching_ones_apart(tmp_path):
    numbered = MASK.copy()
    numbered[5:8, 5:8] = 7
    write_pair(tmp_path, mask=numbered)
    sample = READER.read(READER.items(tmp_path)[0])
    assert sorted(np.bincount(sample.labels.ravel())[1:].tolist()) == [9, 16, 16]


def test_components_equal_a_flood_fill():
    values = np.random.default_rng(3).integers(0, 3, (20, 20)).astype(np.int32)
    found = split_components(values)
    steps = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    expected, number = np.zeros_like(values), 0
    for start in zip(*np.nonzero(values), strict=True):
        if not expected[start]:
            number += 1
            open_ends = [start]
            while open_ends:
                row, column = open_ends.pop()
                if expected[row, column] == 0 and values[row, column] == values[start]:
                    expected[row, column] = number
                    near = [(row + i, column + j) for i, j in steps]
                    open_ends += [one for one in near if min(one) >= 0 and max(one) < 20]
    np.testing.assert_array_equal(found, expected)


def test_unpaired_files_are_named(tmp_path):
    image, mask = write_pair(tmp_path)
    mask.unlink()
    with pytest.raises(DataError, match=r"without annotations:\n.*Slide_01/01_1\.png"):
        READER.items(tmp_path)
    Image.fromarray(MASK).save(mask)
    image.unlink()
    with pytest.raises(DataError, match=r"without an image:\n.*GT_01/01_1\.png"):
        READER.items(tmp_path)


def test_no_images_in_the_layout(tmp_path):
    with pytest.raises(DataError, match="holds no images in the layout Slide_NN/NN_K"):
        READER.items(tmp_path)


def test_an_annotation_of_another_size_is_named(tmp_path):
    write_pair(tmp_path, mask=MASK[:-3])
    with pytest.raises(DataError, match=r"GT_01/01_1\.png: is 13 x 16 .* is 16 x 16"):
        READER.read(READER.items(tmp_path)[0])


def test_a_truncated_file_is_named(tmp_path):
    _, mask = write_pair(tmp_path)
    mask.write_bytes(mask.read_bytes()[:50])
    with pytest.raises(DataError, match=r"GT_01/01_1\.png: cannot be decoded"):
        READER.read(READER.items(tmp_path)[0])
