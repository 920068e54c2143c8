"""COVID-QU-Ex: images and masks written here in the official layout."""

import numpy as np
import pytest
from PIL import Image

from helpers.data.readers.covid_qu import CovidQuReader
from helpers.errors import DataError, ParameterError

SIDE = 16
LUNGS = np.zeros((SIDE, SIDE), np.uint8)
LUNGS[2:14, 2:7] = LUNGS[2:14, 9:14] = 255
INFECTION = np.zeros_like(LUNGS)
INFECTION[8:13, 3:6] = 255
NONE = np.zeros_like(LUNGS)
FOLDERS = ("images", "lung masks", "infection masks")


def write_case(root, key="Test/COVID-19", name="covid_1579", infection=INFECTION):
    """Image, lung mask and infection mask, as 8-bit grey PNG of one name; returns their paths."""
    image = np.add.outer(np.arange(SIDE), 3 * np.arange(SIDE)) + len(name)
    paths = []
    for folder, pixels in zip(FOLDERS, (image.astype(np.uint8), LUNGS, infection), strict=True):
        path = root / "Infection Segmentation Data" / key / folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        paths.append(path)
    return paths


def test_parts_classes_and_names_make_the_items(tmp_path):
    write_case(tmp_path, "Train/COVID-19", "covid_1")
    write_case(tmp_path, "Val/Normal", "Normal (1)", NONE)
    write_case(tmp_path, "Test/Non-COVID", "non_COVID (11905)", NONE)
    items = CovidQuReader().items(tmp_path)
    assert [(i.id, i.group, i.split) for i in items] == [
        ("Test/Non-COVID/non_COVID (11905)", "non_COVID (11905)", "test"),
        ("Train/COVID-19/covid_1", "covid_1", "train"),
        ("Val/Normal/Normal (1)", "Normal (1)", "train"),
    ]
    assert {item.modality for item in items} == {"x-ray/chest"}


@pytest.mark.parametrize(
    ("structure", "expected"),
    [("infection", INFECTION), ("lung", LUNGS)],
    ids=["infection", "lung"],
)
def test_the_masks_of_the_structure_are_read(tmp_path, structure, expected):
    image, *_ = write_case(tmp_path)
    reader = CovidQuReader(structure)
    reading = reader.load(reader.items(tmp_path)[0])
    np.testing.assert_array_equal(reading.sample.labels, expected // 255)
    np.testing.assert_array_equal(reading.sample.image[..., 0], np.asarray(Image.open(image)))
    assert (reading.dtype, reading.sample.image.shape) == ("uint8", (SIDE, SIDE, 1))
    assert reader.classes == (structure,)


def test_outside_of_covid_nothing_is_infected(tmp_path):
    write_case(tmp_path, "Test/Normal", "Normal (10)", NONE)
    reader = CovidQuReader()
    assert not reader.read(reader.items(tmp_path)[0]).labels.any()


def test_a_folder_within_a_folder_of_the_same_name_and_other_parts_do_no_harm(tmp_path):
    """So it is in the archive that Kaggle serves."""
    write_case(tmp_path / "Infection Segmentation Data")
    lungs = tmp_path / "Lung Segmentation Data" / "Lung Segmentation Data" / "Test" / "COVID-19"
    for folder in FOLDERS[:2]:
        (lungs / folder).mkdir(parents=True)
        Image.fromarray(LUNGS).save(lungs / folder / "covid_1579.png")
    assert [item.id for item in CovidQuReader().items(tmp_path)] == ["Test/COVID-19/covid_1579"]


def test_the_same_name_in_two_parts_is_one_group_of_two_items(tmp_path):
    write_case(tmp_path, "Train/COVID-19")
    write_case(tmp_path, "Test/COVID-19")
    one, other = CovidQuReader().items(tmp_path)
    assert one.group == other.group
    assert CovidQuReader().read(one).id != CovidQuReader().read(other).id


@pytest.mark.parametrize("structure", ["infection", "lung"])
@pytest.mark.parametrize("which", [1, 2])
def test_an_image_without_one_of_its_masks_is_named(tmp_path, structure, which):
    image, *masks = write_case(tmp_path)
    masks[which - 1].unlink()
    write_case(tmp_path, name="covid_1582")
    message = rf"1 images without files in '{FOLDERS[which]}':\n.*{image.name}"
    with pytest.raises(DataError, match=message):
        CovidQuReader(structure).items(tmp_path)


@pytest.mark.parametrize("folder", FOLDERS[1:])
def test_a_mask_without_an_image_is_named(tmp_path, folder):
    _, lung, infection = write_case(tmp_path)
    mask = {"lung masks": lung, "infection masks": infection}[folder]
    Image.fromarray(NONE).save(mask.with_name("covid_9.png"))
    with pytest.raises(DataError, match=rf"files in .* without an image:\n.*{folder}/covid_9\.png"):
        CovidQuReader().items(tmp_path)


def test_a_second_copy_and_an_empty_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match="holds no images in the layout Infection Segm"):
        CovidQuReader().items(tmp_path)
    write_case(tmp_path)
    write_case(tmp_path / "copy")
    with pytest.raises(DataError, match="both have the id 'Test/COVID-19/covid_1579'"):
        CovidQuReader().items(tmp_path)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (INFECTION // 255 * 7, r"no mask of one structure: \[\[7\]\] beside 0"),
        (INFECTION + LUNGS // 5, "no mask of one structure"),
        (INFECTION[:-2], "is 14 x 16 pixels .* but its image .* is 16 x 16"),
    ],
)
def test_faulty_masks_are_refused_by_name(tmp_path, mask, message):
    path = write_case(tmp_path, infection=mask)[2]
    reader = CovidQuReader()
    with pytest.raises(DataError, match=rf"infection masks/{path.name}: .*{message}"):
        reader.read(reader.items(tmp_path)[0])


@pytest.mark.parametrize("which", [0, 2])
def test_truncated_files_are_refused_by_name(tmp_path, which):
    path = write_case(tmp_path)[which]
    path.write_bytes(path.read_bytes()[:60])
    reader = CovidQuReader()
    with pytest.raises(DataError, match=rf"{FOLDERS[which]}/{path.name}: cannot be decoded"):
        reader.read(reader.items(tmp_path)[0])


def test_an_unknown_structure_is_refused():
    with pytest.raises(ParameterError, match="structure='heart': expected one of 'infection'"):
        CovidQuReader("heart")
