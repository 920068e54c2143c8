"""A plain folder: pairing by name, optional masks, groups."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers.data.datasets import open_dataset
from helpers.data.readers import FolderReader
from helpers.errors import DataError

READER = FolderReader()
SHAPE = (12, 16)


def write(root, *names):
    """Files by name: small label images or grey images, TIFF or what Pillow makes of the ending."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = (np.arange(192).reshape(SHAPE) // 64).astype(np.uint8)
        if path.suffix.lower() in (".tif", ".tiff"):
            tifffile.imwrite(path, data)
        else:
            Image.fromarray(data).save(path)
    return root


@pytest.mark.parametrize(
    ("image", "mask", "name"),
    [
        ("a.tif", "a_masks.tif", "a"),
        ("a.png", "a_mask.tif", "a"),
        ("a.jpg", "a_labels.png", "a"),
        ("a.JPEG", "a_Label.TIFF", "a"),
        ("a.bmp", "a_cp_masks.png", "a"),
        ("a_img.tif", "a_masks.tif", "a"),
        ("a_img.tif", "a_img_masks.tif", "a"),
        ("a_IM.tif", "a_GT.tif", "a"),
        ("a.ome.tif", "a_masks.ome.tif", "a"),
        ("slide [x=0,y=0].tif", "slide [x=0,y=0]-labelled.png", "slide [x=0,y=0]"),
        ("a.tif", "a-mask.png", "a"),
        ("a.tif", "a.labels.tif", "a"),
        ("M\u00fcller.tif", "Mu\u0308ller_masks.tif", "M\u00fcller"),
        ("e\u0301/a.tif", "e\u0301/a_masks.tif", "\u00e9/a"),
        ("images/a.tif", "masks/a.png", "a"),
        ("images/a.tif", "labels/a_label.tif", "a"),
        ("day1/images/w2/a.tif", "day1/masks/w2/a.tif", "day1/w2/a"),
        ("day1/a.tif", "day1/a_masks.tif", "day1/a"),
        ("day1/a.tif", "day1/masks/a.tif", "day1/a"),
    ],
)
def test_names_that_belong_together(tmp_path, image, mask, name):
    [item] = READER.items(write(tmp_path, image, mask))
    assert (item.image, item.labels) == (tmp_path / image, tmp_path / mask)
    assert item.id == item.group == name
    sample = READER.read(item)
    assert sample.n_instances == 2
    assert sample.image.shape == (*SHAPE, 1)


def test_equal_names_in_two_folders_do_not_mix(tmp_path):
    write(tmp_path, "x/a.tif", "x/a_masks.tif", "y/a.tif", "y/a_masks.tif")
    items = READER.items(tmp_path)
    assert [item.id for item in items] == ["x/a", "y/a"]
    assert all(item.image.parent == item.labels.parent for item in items)


def test_split_folders(tmp_path):
    write(tmp_path, "train/a.tif", "train/a_masks.tif", "test/b.tif", "test/b_masks.tif")
    assert {item.id: item.split for item in READER.items(tmp_path)} == {
        "test/b": "test",
        "train/a": "train",
    }


def test_missing_masks_are_named_unless_they_are_optional(tmp_path):
    write(tmp_path, "a.tif", "a_masks.tif", "b.tif", "sub/c.png")
    with pytest.raises(DataError, match=r"2 images without a mask:(?s:.)*b\.tif(?s:.)*c\.png"):
        READER.items(tmp_path)
    optional = FolderReader(labels="optional")
    samples = {item.id: optional.read(item) for item in optional.items(tmp_path)}
    assert {name: sample.n_instances for name, sample in samples.items()} == {
        "a": 2,
        "b": 0,
        "sub/c": 0,
    }
    assert samples["b"].labels.shape == SHAPE


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a_masks.tif"], "1 masks without an image"),
        (["a.tif", "a_masks.tif", "b_masks.tif"], "1 masks without an image:\n.*b_masks"),
        (["a.tif", "a_masks.tif", "a_label.png"], "has 2 masks"),
        (["a.tif", "a.png", "a_masks.tif"], "both have the id 'a'"),
        (["notes.bmp.gif"], "holds no images"),
    ],
)
def test_what_does_not_pair_up_is_refused(tmp_path, names, message):
    with pytest.raises(DataError, match=message):
        READER.items(write(tmp_path, *names))


def test_what_cellpose_leaves_is_told_and_its_own_format_explained(tmp_path):
    left = ["cp_output_cp_masks", "flows", "flows_cp_masks", "flows_0", "cellprob", "dP_cp_masks"]
    write(tmp_path, "a.tif", "a_masks.tif", *(f"a_{one}.tif" for one in left), "a_outlines.png")
    dataset = open_dataset(f"folder:{tmp_path}")
    assert [item.id for item in dataset.items] == ["a"]
    assert "left out: 7 that Cellpose wrote, as a_cellprob.tif" in dataset.coverage
    (tmp_path / "a_masks.tif").unlink()
    np.save(tmp_path / "a_seg.npy", {"masks": 1}, allow_pickle=True)
    with pytest.raises(DataError, match=r"without a mask(?s:.)*NAME_seg\.npy(?s:.)*imwrite"):
        READER.items(tmp_path)


def test_hidden_files_do_not_count(tmp_path):
    write(tmp_path, "a.tif", "a_masks.tif")
    write(tmp_path, "._a.tif", ".cache/b.tif")
    assert [item.id for item in READER.items(tmp_path)] == ["a"]


def test_groups_come_from_the_csv(tmp_path):
    write(tmp_path, "s/a.tif", "s/a_masks.tif", "s/b.tif", "s/b_masks.tif")
    (tmp_path / "groups.csv").write_text("id, group\ns/a, mouse 1\ns/b, mouse 1\n")
    assert {item.group for item in READER.items(tmp_path)} == {"mouse 1"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,group\ns/a,1\n", "1 images have no row .*s/b"),
        ("id,group\ns/a,1\ns/b,1\nz,2\n", "1 rows name no image .*z"),
        ("name,mouse\ns/a,1\n", "has the columns name, mouse"),
        ("id,group\ns/a,1\ns/a,2\ns/b,2\n", "stands twice"),
        ("id,group\ns/a,1\ns/b,\n", "has no group"),
        ("", "no rows"),
    ],
)
def test_groups_that_do_not_fit_are_refused(tmp_path, content, message):
    write(tmp_path, "s/a.tif", "s/a_masks.tif", "s/b.tif", "s/b_masks.tif")
    (tmp_path / "groups.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        READER.items(tmp_path)


def test_mask_of_another_size_is_refused(tmp_path):
    write(tmp_path, "a.tif")
    tifffile.imwrite(tmp_path / "a_masks.tif", np.zeros((16, 12), np.uint8))
    with pytest.raises(DataError, match=r"a_masks\.tif: is 16 x 12 .*a\.tif is 12 x 16"):
        READER.read(READER.items(tmp_path)[0])
