"""LIVECell in its official layout, with files made here in its exact format."""

import json
import zipfile

import numpy as np
import pytest
import tifffile

from helpers.data.check import check_dataset
from helpers.data.datasets import open_dataset
from helpers.data.instances import open_instances
from helpers.data.manifest import load_manifest
from helpers.data.readers.livecell import PARTS, SUBSETS, LiveCellReader
from helpers.errors import DataError, ParameterError

SIZE = (26, 35)
TRAIN = (
    "A172_Phase_A7_1_00d00h00m_1",
    "A172_Phase_A7_1_00d04h00m_2",
    "BV2_Phase_B3_2_01d16h00m_3",
    "SkBr3_Phase_H3_2_00d00h00m_1",
)
VAL, TEST = ("A172_Phase_A7_1_00d08h00m_1", TRAIN[2]), ("SHSY5Y_Phase_D10_1_01d16h00m_4",)


def cell(x, y, side=6):
    return [[x, y, x + side, y + 0.5, x + side, y + side, x + 0.25, y + side]]


def annotations(names, first=1, mapping=False, twice=()):
    """As released: image names without folder, three cells an image, list or mapping."""
    listed = [*names, *twice]
    images = [
        {
            "id": first + 100 * k,
            "width": SIZE[1],
            "height": SIZE[0],
            "file_name": f"{name}.tif",
            "original_filename": f"{name}.png",
            "url": f"https://example.org/{name}.tif",
        }
        for k, name in enumerate(listed)
    ]
    records = [
        {
            "segmentation": cell(2 + 9 * j, 3 + 5 * j),
            "area": 34.5,
            "iscrowd": 0,
            "image_id": image["id"],
            "bbox": [2 + 9 * j, 3 + 5 * j, 6, 6],
            "category_id": 1,
            "id": first + 10 * k + j,
        }
        for k, image in enumerate(images)
        for j in range(3)
    ]
    return {
        "images": images,
        "categories": [{"supercategory": "cell", "id": 1, "name": "cell"}],
        "info": {"version": "1.0", "year": 2020},
        "annotations": {str(one["id"]): one for one in records} if mapping else records,
        "licenses": [{"id": 1, "name": "Attribution-NonCommercial 4.0 International License"}],
    }


def write_json(folder, name, *args, **options):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(annotations(*args, **options)))


def write_all_json(folder):
    """Every file of annotations; the training file as a mapping, with one image listed twice."""
    write_json(folder, PARTS["train"], TRAIN, 1, mapping=True, twice=TRAIN[1:2])
    write_json(folder, PARTS["val"], VAL, 5001)
    write_json(folder, PARTS["test"], TEST, 9001)
    for k, name in enumerate(SUBSETS.values()):
        write_json(folder, name, TRAIN[: k + 1][:3], 1)


def write_images(root, by_type=False):
    for part, names in (("train_val", {*TRAIN, *VAL}), ("test", TEST)):
        for name in sorted(names):
            folder = root / "images" / f"livecell_{part}_images"
            folder = folder / name.split("_")[0] if by_type else folder
            folder.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(len(name)).integers(90, 170, SIZE).astype(np.uint8)
            pixels[0, 0] = sum(map(ord, name)) % 256
            tifffile.imwrite(folder / f"{name}.tif", pixels)


@pytest.fixture
def root(tmp_path):
    write_images(tmp_path)
    write_all_json(tmp_path)
    return tmp_path


def test_parts_are_those_of_the_files_and_groups_are_fields(root):
    items = LiveCellReader().items(root)
    assert [item.id for item in items] == [
        "test/SHSY5Y_Phase_D10_1_01d16h00m_4",
        "train/A172_Phase_A7_1_00d00h00m_1",
        "train/A172_Phase_A7_1_00d04h00m_2@101",
        "train/A172_Phase_A7_1_00d04h00m_2@401",
        "train/BV2_Phase_B3_2_01d16h00m_3",
        "train/SkBr3_Phase_H3_2_00d00h00m_1",
        "val/A172_Phase_A7_1_00d08h00m_1",
        "val/BV2_Phase_B3_2_01d16h00m_3",
    ]
    assert [item.split for item in items] == ["test"] + 5 * ["train"] + 2 * ["val"]
    fields = {item.id: item.group for item in items}
    assert fields["train/A172_Phase_A7_1_00d04h00m_2@401"] == "A172_A7_1"
    assert len(set(fields.values())) == 4
    assert items[0].modality == "phase-contrast/SHSY5Y"


@pytest.mark.parametrize("by_type", [False, True])
def test_images_are_found_in_folders_by_cell_type_or_without(tmp_path, by_type):
    write_images(tmp_path, by_type)
    # As the owner's storage has them.
    write_json(tmp_path / "annotations" / "LIVECell", PARTS["test"], TEST)
    (item,) = LiveCellReader().items(tmp_path)
    pixels, instances = LiveCellReader().load_instances(item)
    assert pixels.shape == (*SIZE, 1)
    assert pixels[0, 0, 0] == sum(map(ord, TEST[0])) % 256
    assert len(instances) == 3
    np.testing.assert_array_equal(instances.boxes[1], [11, 8, 17, 14])
    assert instances.areas.tolist() == [34.5] * 3


@pytest.mark.parametrize("subset", SUBSETS)
def test_a_subset_takes_the_place_of_the_training_part(root, subset):
    whole = {item.id: item for item in LiveCellReader().items(root)}
    items = LiveCellReader(subset).items(root)
    train = [item for item in items if item.split == "train"]
    assert len(train) == min(3, list(SUBSETS).index(subset) + 1)
    assert {item.image for item in train} < {item.image for item in whole.values()}
    assert {item.labels.name for item in train} == {SUBSETS[subset]}
    rest = [item for item in items if item.split != "train"]
    assert rest == [item for item in whole.values() if item.split != "train"]


def test_what_is_missing_is_named(root):
    with pytest.raises(ParameterError, match="subset='3percent': expected one of '2percent'"):
        LiveCellReader("3percent")
    (root / SUBSETS["5percent"]).unlink()
    with pytest.raises(DataError, match=r"2_train5percent\.json, the official subset '5percent'"):
        LiveCellReader("5percent").items(root)
    image = next(root.rglob(f"{TEST[0]}.tif"))
    image.rename(image.with_name("other.tif"))
    message = rf"1 images that livecell_coco_test\.json names are not there:\n  {TEST[0]}\.tif"
    with pytest.raises(DataError, match=message):
        LiveCellReader().items(root)
    with pytest.raises(DataError, match="holds no images in the layout livecell_coco_"):
        LiveCellReader().items(root / "images")


def test_doubled_files_and_names_without_a_cell_type_are_refused(root):
    copy = root / "images" / "copy" / f"{TEST[0]}.tif"
    copy.parent.mkdir()
    copy.write_bytes(next(root.rglob(f"{TEST[0]}.tif")).read_bytes())
    with pytest.raises(DataError, match="have the same name"):
        LiveCellReader().items(root)
    copy.rename(copy.with_name("cells.tif"))
    write_json(root, PARTS["val"], ["cells"], 5001)
    with pytest.raises(DataError, match=r"tell no cell type, well and location:\n.*cells\.tif"):
        LiveCellReader().items(root)


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """The files of the manifest, as a download leaves them."""
    monkeypatch.setenv("BOOK_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("BOOK_DATA_BUNDLE", raising=False)
    folder = tmp_path / "data" / "livecell"
    write_all_json(folder)
    write_images(tmp_path / "made")
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for path in sorted((tmp_path / "made").rglob("*.tif")):
            archive.write(path, path.relative_to(tmp_path / "made"))
    return folder


def test_the_manifest_lists_what_the_reader_wants(fetched):
    listed = {file.name for file in load_manifest().entry("livecell").files}
    assert listed == {path.name for path in fetched.iterdir()}
    assert listed == {"images.zip", *PARTS.values(), *SUBSETS.values()}


def test_it_opens_through_the_manifest_with_objects(fetched):
    dataset = open_instances("livecell", progress=False)
    assert (dataset.classes, len(dataset)) == (("cell",), 8)
    assert dataset.provenance["source"] == "download"
    for pixels, instances in dataset:
        assert (pixels.shape, pixels.dtype) == ((*SIZE, 3), np.uint8)
        assert (len(instances), instances.size) == (3, SIZE)
    few = open_instances("livecell:5percent", progress=False)
    assert [item.split for item in few.items].count("train") == 3
    assert few.fingerprint != dataset.fingerprint
    assert open_instances("livecell", progress=False).fingerprint == dataset.fingerprint


def test_the_check_counts_it(fetched):
    report = check_dataset(open_dataset("livecell", progress=False), progress=False)
    assert report.problems == ()
    assert (report.n_images, report.n_instances, report.n_groups) == (8, 24, 4)
    assert report.splits == {"test": 1, "train": 5, "val": 2}
    assert report.modalities["phase-contrast/A172"] == 4
