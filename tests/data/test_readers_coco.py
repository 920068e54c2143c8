"""COCO's layout, written here: which image belongs to which annotation, and label images of it."""

import json

import numpy as np
import pytest
from PIL import Image

from helpers.data.readers.coco import CocoReader
from helpers.errors import DataError
from helpers.metrics.detection import decode_masks

READER = CocoReader()
HEIGHT, WIDTH = 20, 30


def square(x, y, side):
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


def record(number, image, shape, category=1, crowd=0):
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": shape,
        "iscrowd": crowd,
    }


def write_part(root, part, annotations=(), names=("000000000009", "000000000025"), inner=True):
    """A file of annotations and its images, whose pixels tell part and number."""
    folder = root / "images" / part if inner else root / part
    folder.mkdir(parents=True)
    images = []
    for k, name in enumerate(names):
        pixels = np.full((HEIGHT, WIDTH, 3), len(part) + 40 * k, np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
        size = {"height": HEIGHT, "width": WIDTH}
        images.append({"id": k + 1, "file_name": f"{name}.png", **size})
    value = {
        "images": images,
        "annotations": list(annotations),
        "categories": [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}],
    }
    path = root / "annotations" / f"instances_{part}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))
    return path


@pytest.mark.parametrize("inner", [True, False])
def test_images_are_found_by_part_in_both_layouts(tmp_path, inner):
    for part in ("train2017", "val2017"):
        write_part(tmp_path, part, inner=inner)
    (tmp_path / "annotations" / "captions_train2017.json").write_text("[]")
    items = READER.items(tmp_path)
    assert [item.id for item in items] == [
        "train2017/000000000009",
        "train2017/000000000025",
        "val2017/000000000009",
        "val2017/000000000025",
    ]
    assert [item.split for item in items] == ["train", "train", "val", "val"]
    assert len({item.group for item in items}) == 4
    assert [READER.load_instances(item)[0][0, 0, 0] for item in items] == [9, 49, 7, 47]
    assert READER.object_classes(items) == ("cat", "dog")


def test_objects_of_an_image_are_those_of_its_annotations(tmp_path):
    annotations = [
        record(1, 2, square(2, 3, 5), 7),
        record(2, 1, square(10, 10, 4)),
        record(3, 2, square(20, 1, 6), 1, crowd=1),
    ]
    write_part(tmp_path, "train2017", annotations)
    first, second = READER.items(tmp_path)
    pixels, instances = READER.load_instances(second)
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert instances.labels.tolist() == [2, 1]
    assert instances.crowd.tolist() == [False, True]
    masks = decode_masks(instances.masks, instances.size)
    assert masks[0, 3:8, 2:7].all()
    assert masks.sum(axis=(1, 2)).tolist() == [25, 36]
    assert len(READER.load_instances(first)[1]) == 1


def test_a_label_image_gives_contested_pixels_to_the_smallest_and_leaves_crowds_out(tmp_path):
    annotations = [
        record(1, 1, square(2, 2, 10)),
        record(2, 1, square(8, 8, 6)),
        record(3, 1, square(20, 2, 8), crowd=1),
        record(4, 1, square(15, 2, 4), 7),
        record(5, 1, square(15, 2, 4)),
        record(6, 1, [[25.1, 15, 25.2, 15, 25.2, 15.1]]),
        record(7, 1, square(26, 16, 6)) | {"bbox": [26, 16, 6, 6]},
    ]
    write_part(tmp_path, "train2017", annotations)
    reading = READER.load(READER.items(tmp_path)[0])
    labels = reading.sample.labels
    assert (labels[3, 3], labels[9, 9], labels[12, 12]) == (1, 2, 2)
    assert (labels[2:10, 20:28] == 0).all()
    assert reading.sample.n_instances == 4
    assert reading.overlap == 4 * 4 + 4 * 4
    assert reading.clipped == 1
    assert reading.lost == (
        "train2017/000000000009: crowd region",
        "train2017/000000000009: object 4 is covered by others",
        "train2017/000000000009: object 5 covers no pixel",
    )
    assert reading.dtype == "uint8"
    assert reading.sample.modality == "photograph"


def test_missing_images_and_images_of_another_size_are_named(tmp_path):
    write_part(tmp_path, "train2017")
    path = tmp_path / "images" / "train2017" / "000000000025.png"
    Image.fromarray(np.zeros((WIDTH, HEIGHT, 3), np.uint8)).save(path)
    item = READER.items(tmp_path)[1]
    for read in (READER.load, READER.load_instances):
        with pytest.raises(DataError, match=r"is 20 x 30 pixels.*000000000025\.png is 30 x 20"):
            read(item)
    path.unlink()
    message = r"1 images that instances_train2017\.json names are not there:\n.*000000000025\.png"
    with pytest.raises(DataError, match=message):
        READER.items(tmp_path)


def test_folders_without_annotations_and_parts_of_other_classes_are_refused(tmp_path):
    with pytest.raises(DataError, match="holds no images in the layout annotations/instances_"):
        READER.items(tmp_path)
    write_part(tmp_path, "train2017")
    path = write_part(tmp_path, "val2017")
    value = json.loads(path.read_text())
    value["categories"][1]["name"] = "horse"
    path.write_text(json.dumps(value))
    with pytest.raises(DataError, match=r"names other classes \(cat, horse"):
        READER.object_classes(READER.items(tmp_path))
