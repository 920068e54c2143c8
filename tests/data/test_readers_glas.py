"""GlaS: images, annotations and the table of grades written here in the official layout."""

import numpy as np
import pytest
from PIL import Image

from helpers.data.readers.glas import GlasReader, read_grades
from helpers.errors import DataError, ParameterError

SHAPE = (12, 18)
HEADER = "name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)"
ROWS = ("train_1,4, benign, adenomatous", "testA_2,4, malignant, poorly differentiated")
GLANDS = np.zeros(SHAPE, np.uint8)
GLANDS[1:5, 1:7] = 1
GLANDS[1:5, 7:12] = 3  # touches the first one; numbers need not be consecutive
FOLDER = "Warwick QU Dataset (Released 2016_07_08)"


def write_image(root, name, labels=GLANDS):
    folder = root / FOLDER
    folder.mkdir(exist_ok=True)
    pixels = np.random.default_rng(len(name)).integers(0, 256, (*SHAPE, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / f"{name}.bmp")
    Image.fromarray(labels).save(folder / f"{name}_anno.bmp")
    return pixels


def write_table(root, *rows, header=HEADER):
    """As the official file: lines end with a carriage return, the last one with nothing."""
    path = root / FOLDER / "Grade.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes("\r".join((header, *rows)).encode())
    return path


@pytest.fixture
def whole(tmp_path):
    for name in ("train_1", "testA_2"):
        write_image(tmp_path, name)
    write_table(tmp_path, *ROWS, "testB_3,7, benign, healthy")  # it lists more than is there
    return tmp_path


def test_table_and_names_make_the_items(whole):
    assert [(i.id, i.group, i.split, i.modality) for i in GlasReader().items(whole)] == [
        ("testA_2", "4", "test", "malignant"),
        ("train_1", "4", "train", "benign"),
    ]


@pytest.mark.parametrize(
    ("grade", "expected"), [("benign", ["train_1"]), ("malignant", ["testA_2"])]
)
def test_a_grade_alone(whole, grade, expected):
    assert [item.id for item in GlasReader(grade).items(whole)] == expected


def test_pixels_and_glands_are_read_as_stored(tmp_path):
    pixels = write_image(tmp_path, "train_1")
    write_table(tmp_path, *ROWS)
    [item] = GlasReader().items(tmp_path)
    reading = GlasReader().load(item)
    np.testing.assert_array_equal(reading.sample.image, pixels)
    np.testing.assert_array_equal(reading.sample.labels, np.where(GLANDS == 3, 2, GLANDS))
    assert (reading.dtype, reading.sample.n_instances) == ("uint8", 2)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("train_1_anno.bmp", r"1 images without annotations:\n.*train_1\.bmp"),
        ("train_1.bmp", r"1 annotations without an image:\n.*train_1_anno\.bmp"),
        ("Grade.csv", r"Grade\.csv: cannot be read"),
    ],
)
def test_missing_files_are_named(whole, missing, message):
    (whole / FOLDER / missing).unlink()
    with pytest.raises(DataError, match=message):
        GlasReader().items(whole)


def test_an_image_that_the_table_does_not_list_is_named(whole):
    write_table(whole, *ROWS[:1])
    with pytest.raises(DataError, match=r"Grade\.csv does not list:\n.*testA_2\.bmp"):
        GlasReader().items(whole)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (("train_1,4, healthy, healthy",), "healthy, healthy' cannot be used"),
        (("train_1,, benign, healthy",), "cannot be used. Expected a name of its own, a patient"),
        (("train_1,4",), "4' cannot be used"),
        ((ROWS[0], ROWS[0]), "adenomatous' cannot be used"),
    ],
)
def test_lines_that_do_not_tell_patient_and_grade_are_named(tmp_path, rows, message):
    path = write_table(tmp_path, *rows)
    with pytest.raises(DataError, match=rf"Grade\.csv: the line .*{message}"):
        read_grades(path)


@pytest.mark.parametrize("header", ["", "name,patient,grade"])
def test_a_table_of_other_columns_is_refused(tmp_path, header):
    path = write_table(tmp_path, *ROWS, header=header)
    with pytest.raises(DataError, match=r"Grade\.csv: has no column .*'grade \(GlaS\)', but"):
        read_grades(path)


def test_lines_may_end_in_any_way_and_cells_have_no_blanks(tmp_path):
    path = write_table(tmp_path)
    path.write_bytes("\r\n".join((HEADER, *ROWS, "")).replace(",", " , ").encode())
    assert read_grades(path) == {"train_1": ("4", "benign"), "testA_2": ("4", "malignant")}


def test_an_annotation_of_another_size_is_named(whole):
    Image.fromarray(GLANDS[:-1]).save(whole / FOLDER / "train_1_anno.bmp")
    reader = GlasReader("benign")
    with pytest.raises(DataError, match=r"train_1_anno\.bmp: is 11 x 18 .* is 12 x 18"):
        reader.read(reader.items(whole)[0])


def test_no_images_of_the_grade_and_an_unknown_grade(tmp_path):
    with pytest.raises(DataError, match="holds no images in the layout NAME"):
        GlasReader().items(tmp_path)
    write_image(tmp_path, "train_1")
    write_table(tmp_path, *ROWS)
    with pytest.raises(DataError, match=r"holds no images .*, malignant grade"):
        GlasReader("malignant").items(tmp_path)
    with pytest.raises(ParameterError, match="grade='good': expected one of 'benign', 'malignant'"):
        GlasReader("good")
