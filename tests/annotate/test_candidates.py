"""What of a folder can be chosen, and what is described of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.annotate.candidates import MARK, Cut, companions, find_images, resize, square, windows
from helpers.errors import DataError, ParameterError


def test_masks_and_earlier_results_are_no_images(folder):
    results = folder / "b" / "chosen"
    (results / "earlier").mkdir(parents=True)
    (results / MARK).write_text("{}")
    for path in (results / "map.png", results / "earlier" / "map.png"):
        path.write_bytes((folder / "a" / "0.png").read_bytes())
    found = find_images(folder)
    assert len(found.masks) == 2
    assert [path.relative_to(folder).as_posix() for path in found.images] == [
        "a/0.png", "a/1.png", "a/2.png", "a/3.png", "b/colour.jpg", "b/deep.tif", "b/float.tif",
        "broken.tif", "empty.png", "stack.tif",
    ]  # fmt: skip


def test_names_that_add_a_word_to_another_are_told(tmp_path):
    names = ["a.tif", "a_seg.png", "a-DAPI.tif", "b.tif", "c_seg.tif", "a2.tif", "a_2.tif"]
    pairs = companions([tmp_path / name for name in names])
    assert [path.name for path, other in pairs] == ["a_seg.png", "a-DAPI.tif"]
    assert {other.name for _, other in pairs} == {"a.tif"}


def test_results_around_the_folder_hide_nothing(folder):
    (folder / MARK).write_text("{}")
    assert len(find_images(folder).images) == 10


def test_what_is_no_folder_of_images_is_refused(tmp_path):
    with pytest.raises(DataError, match="nowhere: does not exist"):
        find_images(tmp_path / "nowhere")
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError, match="holds no image"):
        find_images(tmp_path)
    with pytest.raises(DataError, match=r"a\.txt: is not a folder"):
        find_images(tmp_path / "a.txt")
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.png").touch()
    with pytest.raises(DataError, match="1 files that look like masks"):
        find_images(tmp_path)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(16, 40), st.integers(1, 40))
def test_patches_lie_within_the_picture_and_leave_no_strip_out(height, width, size, stride):
    covered = np.zeros((height, width), int)
    parts = windows(height, width, Cut(size, stride))
    assert len(set(parts)) == len(parts)
    for top, left, tall, wide in parts:
        assert (tall, wide) == (min(size, height), min(size, width))
        assert covered[top : top + tall, left : left + wide].shape == (tall, wide)
        covered[top : top + tall, left : left + wide] += 1
    if stride <= size:
        assert covered.all()
    assert covered[-1, -1]


def test_a_patch_keeps_its_pixels_and_a_small_picture_is_mirrored():
    image = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(square(image, (0, 1, 3, 3), Cut(16, 16))[:3, :3], image[:, 1:])
    filled = square(image, (0, 0, 3, 4), Cut(16, 16))
    assert filled.shape == (16, 16)
    np.testing.assert_array_equal(filled[3:6, :4], image[::-1])
    assert square(np.zeros((20, 20, 3)), (0, 0, 16, 16), Cut(16, 16)).shape == (16, 16, 3)


def test_whole_images_of_any_shape_become_one_square_with_the_same_mean():
    for shape in [(448, 672), (2, 900), (900, 3), (10, 10)]:
        image = np.add.outer(np.arange(shape[0]), np.arange(shape[1])).astype(np.float32)
        whole = square(image, (0, 0, *shape), Cut())
        assert whole.shape == (224, 224)
        assert whole.mean() == pytest.approx(image.mean(), rel=0.02)


def test_shrinking_averages_areas():
    image = np.random.default_rng(0).random((40, 60, 3))
    expected = image.reshape(4, 10, 6, 10, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resize(image, (4, 6)), expected, rtol=1e-5)


@pytest.mark.parametrize(("size", "stride"), [(8, 8), (-1, 1), (224, 0), (224, -3)])
def test_cuts_that_make_no_sense_are_refused(size, stride):
    with pytest.raises(ParameterError, match=f"patch size {size}, stride {stride}"):
        Cut(size, stride)
