"""Reading a folder: everything that can be read, once, and names for the rest."""

import os

import numpy as np
import pytest
import tifffile

from helpers.annotate.candidates import Cut, find_images
from helpers.annotate.survey import displayed, fit, survey
from helpers.errors import DataError
from helpers.features.descriptor import DIMENSION


def look(folder, tmp_path, cut=Cut()):  # noqa: B008 (frozen)
    return survey(folder, find_images(folder), cut, tmp_path / f"store-{cut.name}")


def test_every_picture_is_a_candidate_and_the_unreadable_are_named(folder, tmp_path):
    found = look(folder, tmp_path)
    places = [(one.file, one.page, one.height, one.width) for one in found.candidates]
    assert places == [
        *((f"a/{i}.png", 1, 40, 50) for i in range(4)),
        ("b/colour.jpg", 1, 40, 50),
        ("b/deep.tif", 1, 40, 50),
        ("b/float.tif", 1, 40, 50),
        *(("stack.tif", page, 40, 50) for page in (1, 2, 3)),
    ]
    assert found.values.shape == (10, DIMENSION)
    assert {one.file: "empty" in one.reason for one in found.skipped} == {
        "broken.tif": False,
        "empty.png": True,
    }
    assert (len(found.found.images), len(found.found.masks), found.read) == (10, 2, 10)


def test_bit_depth_and_units_do_not_matter(folder, tmp_path):
    """The same picture in 8 bits, 16 bits and as a float looks the same to a method."""
    own = tmp_path / "own"
    own.mkdir()
    data = np.random.default_rng(0).integers(0, 255, (64, 64))
    tifffile.imwrite(own / "a.tif", data.astype(np.uint8))
    tifffile.imwrite(own / "b.tif", (data * 200 + 77).astype(np.uint16))
    tifffile.imwrite(own / "c.tif", (data / 255 - 3).astype(np.float32))
    values = look(own, tmp_path).values
    np.testing.assert_allclose(values[1], values[0], atol=2e-3)
    np.testing.assert_allclose(values[2], values[0], atol=2e-3)


def test_patches_are_those_of_each_picture(folder, tmp_path):
    found = look(folder, tmp_path, Cut(32, 32))
    first = [one for one in found.candidates if one.file == "a/0.png"]
    assert [(one.top, one.left) for one in first] == [(0, 0), (0, 18), (8, 0), (8, 18)]
    assert len(found.candidates) == 40


def test_content_decides_what_is_read_again(folder, tmp_path):
    before = look(folder, tmp_path)
    second = look(folder, tmp_path)
    assert second.read == 2  # the two that cannot be read
    np.testing.assert_array_equal(second.values, before.values)
    deep = folder / "b" / "deep.tif"
    status = deep.stat()
    tifffile.imwrite(deep, 65535 - tifffile.imread(deep))
    os.utime(deep, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (deep.stat().st_size, deep.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    (folder / "a" / "1.png").rename(folder / "a" / "4.png")
    third = look(folder, tmp_path)
    assert third.read == 3
    order = [one.file for one in third.candidates]
    inverted, kept = third.values[order.index("b/deep.tif")], before.values[5]
    assert not np.allclose(inverted, kept)
    np.testing.assert_array_equal(third.values[order.index("a/4.png")], before.values[1])
    places = np.array([0, order.index("a/4.png"), 9])
    np.testing.assert_array_equal(third.thumbnails[places][1:], before.thumbnails[np.array([1, 9])])


def test_a_killed_run_loses_one_file(folder, tmp_path, monkeypatch):
    from helpers.annotate import survey as module

    original, seen = module.describe, []

    def dies(square):
        seen.append(square)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return original(square)

    monkeypatch.setattr(module, "describe", dies)
    with pytest.raises(KeyboardInterrupt):
        look(folder, tmp_path)
    assert look(folder, tmp_path).read == 10 - 2


def test_pages_before_and_after_a_bad_one_are_kept_and_it_is_named_each_time(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    pages = np.random.default_rng(0).random((3, 20, 20)).astype(np.float32)
    pages[1, 0, 0] = np.nan
    tifffile.imwrite(own / "a.tif", pages, photometric="minisblack", metadata={"axes": "TYX"})
    for _ in range(2):
        found = look(own, tmp_path)
        assert [one.page for one in found.candidates] == [1, 3]
        assert [(one.page, "NaN" in one.reason) for one in found.skipped] == [(2, True)]


def test_a_folder_with_nothing_readable_is_refused(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a.png").touch()
    with pytest.raises(DataError, match=r"none of its 1 image files can be read.*a\.png"):
        look(tmp_path / "own", tmp_path)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_pictures_for_the_eye_use_the_whole_range(channels):
    image = np.random.default_rng(0).random((30, 40, channels)).astype(np.float32) * 1e-3
    shown = displayed(image)
    assert shown.shape == (30, 40, 3)
    assert (shown.min(), shown.max()) == (0, 255)
    assert (shown[..., 0] == shown[..., 1]).all() == (channels != 3)
    assert displayed(np.ones((5, 5, 1), np.float32)).shape == (5, 5, 3)


def test_a_thumbnail_keeps_its_proportions_on_white():
    small = fit(np.zeros((100, 50, 3), np.uint8), (0, 0, 100, 50), 48)
    assert small.shape == (48, 48, 3)
    assert (small[:, :12] == 255).all()
    assert (small[:, 12:36] == 0).all()
    assert (small[:, 36:] == 255).all()
