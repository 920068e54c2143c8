import numpy as np
import pytest
from PIL import Image

from helpers.data.classified import (
    classified,
    generated_natural,
    listing_fingerprint,
    open_image_folder,
    open_train_and_validation,
)
from helpers.errors import DataError

PIXELS = np.zeros((4, 8, 8, 3), np.uint8)
LABELS = np.array([0, 1, 1, 0])
NAMES = ("cat", "dog")


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def paint(root, sizes=((8, 8), (8, 8), (8, 8))):
    """Two dogs and a cat, each file another colour."""
    for k, (name, (height, width)) in enumerate(
        zip(("dog/b.png", "cat/a.PNG", "dog/deep/a.png"), sizes, strict=True)
    ):
        colour = np.array([10 * k, 20 + k, 200], np.uint8)
        write(root / name, np.broadcast_to(colour, (height, width, 3)).copy())
    return root


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path):
    found = open_image_folder(paint(tmp_path / "in"), 8, tmp_path / "cache", progress=False)
    assert found.names == NAMES
    assert found.labels.tolist() == [0, 1, 1]
    assert found.labels.dtype == np.int64
    assert isinstance(found.images, np.memmap)
    assert not found.images.flags.writeable
    expected = [[10, 21, 200], [0, 20, 200], [20, 22, 200]]
    assert found.images.shape == (3, 8, 8, 3)
    assert (found.images == np.array(expected)[:, None, None]).all()


def test_a_listing_knows_other_files_without_reading_them(tmp_path):
    root = paint(tmp_path / "in")
    before = listing_fingerprint(root)
    (root / "notes.txt").write_text("no picture")
    assert listing_fingerprint(root) == before
    write(root / "cat/b.png", np.zeros((8, 8, 3), np.uint8))
    assert listing_fingerprint(root) != before
    with pytest.raises(DataError, match="is not a folder"):
        listing_fingerprint(tmp_path / "none")


def test_the_central_square_is_cut_out_of_the_resized_picture(tmp_path):
    # Brightness grows along the longer side: what is left is its middle half.
    ramp = np.arange(128, dtype=np.uint8)
    wide = np.broadcast_to(ramp[None, :, None], (64, 128, 3)).copy()
    write(tmp_path / "in/a/wide.png", wide)
    write(tmp_path / "in/b/tall.png", wide.transpose(1, 0, 2).copy())
    images = open_image_folder(tmp_path / "in", 16, tmp_path, progress=False).images
    expected = 32 + 4 * np.arange(16) + 1.5
    np.testing.assert_allclose(images[0, 8, 1:-1, 0], expected[1:-1], atol=1)
    np.testing.assert_array_equal(images[1], images[0].transpose(1, 0, 2))


def test_grey_and_jpeg_pictures_become_three_channels(tmp_path):
    write(tmp_path / "in/a/grey.png", np.full((20, 30), 77, np.uint8))
    write(tmp_path / "in/b/photo.JPEG", np.full((20, 30, 3), 90, np.uint8))
    images = open_image_folder(tmp_path / "in", 16, tmp_path, progress=False).images
    assert (images[0] == 77).all()
    np.testing.assert_allclose(images[1], 90, atol=1)


def test_pictures_are_decoded_once_and_again_when_a_file_changes(tmp_path, monkeypatch):
    from helpers.data import classified as module

    calls = []
    decode = module.decode
    monkeypatch.setattr(
        module, "decode", lambda path, **how: calls.append(path.name) or decode(path, **how)
    )
    root = paint(tmp_path / "in")
    first = open_image_folder(root, 8, tmp_path, workers=2, progress=False)
    again = open_image_folder(root, 8, tmp_path, progress=False)
    assert sorted(calls) == ["a.PNG", "a.png", "b.png"]
    assert first.fingerprint == again.fingerprint
    assert open_image_folder(root, 9, tmp_path, progress=False).fingerprint != first.fingerprint
    write(root / "dog/c.png", np.ones((8, 8, 3), np.uint8))
    more = open_image_folder(root, 8, tmp_path, progress=False)
    assert len(more) == 4
    assert more.fingerprint != first.fingerprint


def test_the_fingerprint_is_that_of_the_same_arrays_in_memory(tmp_path):
    found = open_image_folder(paint(tmp_path / "in"), 8, tmp_path, progress=False)
    images = np.array(found.images)
    assert classified(images, found.labels, NAMES).fingerprint == found.fingerprint
    others = [
        classified(images[::-1], found.labels, NAMES),
        classified(images, found.labels[::-1], NAMES),
        classified(images, found.labels, ("dog", "cat")),
    ]
    assert len({found.fingerprint, *(one.fingerprint for one in others)}) == 4


def test_all_unusable_files_are_named_and_nothing_is_kept(tmp_path):
    root = paint(tmp_path / "in")
    (root / "dog/broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (root / "cat/empty.png").write_bytes(b"")
    write(root / "cat/deep.png", np.full((8, 8), 40_000, np.uint16))
    with pytest.raises(DataError, match="3 of 6 files") as caught:
        open_image_folder(root, 8, tmp_path / "cache", progress=False)
    assert all(name in str(caught.value) for name in ("broken.jpg", "empty.png", "deep.png"))
    assert not list((tmp_path / "cache").glob("*.npy"))


def test_folders_in_another_layout_are_refused(tmp_path):
    root, cache = paint(tmp_path / "in"), tmp_path / "cache"
    with pytest.raises(DataError, match="is not a folder"):
        open_image_folder(root / "none", 8, cache)
    with pytest.raises(DataError, match=r"1 class folder\(s\)"):
        open_image_folder(root / "dog", 8, cache)
    (root / "emu").mkdir()
    with pytest.raises(DataError, match="emu: holds no"):
        open_image_folder(root, 8, cache)
    (root / "emu").rmdir()
    write(root / "loose.png", PIXELS[0])
    with pytest.raises(DataError, match=r"loose\.png: lies outside"):
        open_image_folder(root, 8, cache)


def test_training_and_validation_must_have_the_same_classes(tmp_path):
    first, second = paint(tmp_path / "train"), paint(tmp_path / "val")
    train, validation = open_train_and_validation(first, second, 8, tmp_path, progress=False)
    assert train.names == validation.names
    write(second / "emu/a.png", PIXELS[0])
    with pytest.raises(DataError, match=r"one of them only: emu\."):
        open_train_and_validation(first, second, 8, tmp_path, progress=False)


def test_generated_images_come_with_labels_names_and_a_fingerprint():
    found, again, other = (generated_natural(2, seed, 32) for seed in (1, 1, 2))
    assert found.images.shape == (2, 32, 32, 3)
    assert len(found.names) > 2
    assert found.fingerprint == again.fingerprint != other.fingerprint
