"""COCO's JSON against the library that defines it."""

import json

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster

from helpers.data.coco import read_coco
from helpers.errors import DataError
from helpers.metrics.detection import (
    Instances,
    average_precision,
    decode_masks,
    encode_masks,
    mask_boxes,
    to_xywh,
)

SIZE = (60, 80)
STATS = ("ap", "ap_50", "ap_75", "ap_small", "ap_medium", "ap_large")


def square(x, y, side):
    return [x, y, x + side, y, x + side, y + side, x, y + side]


def runs(mask):
    """Uncompressed run lengths, counted by hand."""
    counts, value, length = [], 0, 0
    for pixel in mask.T.ravel():
        if pixel != value:
            counts.append(length)
            value, length = pixel, 0
        length += 1
    return {"size": list(mask.shape), "counts": [*map(int, counts), length]}


def random_mask(seed):
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    y, x, r = np.random.default_rng(seed).uniform(10, 50, 3)
    return ((rows - y) ** 2 + (columns - x) ** 2 <= (r / 3) ** 2).astype(np.uint8)


def annotation(number, image, category, shape, **more):
    return {"id": number, "image_id": image, "category_id": category, "segmentation": shape, **more}


def content():
    """Two annotated images and an empty one; categories with gaps and out of order."""
    text = encode_masks(random_mask(3)[None])[0]["counts"].decode()
    annotations = [
        annotation(1, 20, 90, [square(5.3, 4.1, 20.6)], bbox=[5.3, 4.1, 20.6, 20.6], area=424.36),
        annotation(2, 20, 3, [square(30, 30, 9), square(50.5, 30.5, 14)], area=277.0, iscrowd=0),
        annotation(3, 7, 17, runs(random_mask(1)), iscrowd=0),
        annotation(4, 7, 90, {"size": list(SIZE), "counts": text}, area=150.25),
        annotation(5, 7, 90, runs(random_mask(2)), iscrowd=1),
        annotation(6, 20, 90, [square(40, 1, 15)], bbox=[40, 1, 15, 15], area=225),
        annotation(7, 7, 3, [[3, 3, 30, 3, 30, 50]], bbox=[3, 3, 27, 47], area=634.5),
    ]
    images = {20: "b.jpg", 7: "deep/a.jpg", 300: "c.png"}
    return {
        "images": [
            {"id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1]}
            for number, name in images.items()
        ],
        "annotations": annotations,
        "categories": [
            {"id": 90, "name": "brush"},
            {"id": 3, "name": "car"},
            {"id": 17, "name": "cat"},
        ],
    }


def write(folder, value=None):
    path = folder / "instances.json"
    path.write_text(json.dumps(content() if value is None else value))
    return path


def assert_same(one: Instances, other: Instances):
    assert one.size == other.size
    assert one.masks == other.masks
    for name in ("boxes", "labels", "crowd", "areas", "scores"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


# ----------------------------------------------------------------------------------------- reading


def test_masks_are_those_of_the_library(tmp_path):
    path = write(tmp_path)
    file, library = read_coco(path), COCO(str(path))
    assert {name: image.id for name, image in file.images.items()} == {"b": 20, "a": 7, "c": 300}
    for name, image in file.images.items():
        instances = file.instances(name)
        annotations = library.loadAnns(library.getAnnIds(imgIds=[image.id]))
        assert len(instances) == len(annotations)
        masks = decode_masks(instances.masks, instances.size)
        for mask, one in zip(masks, annotations, strict=True):
            np.testing.assert_array_equal(mask, library.annToMask(one))
    assert len(file.instances("c")) == 0


def test_shapes_of_every_kind_cover_what_they_should(tmp_path):
    file = read_coco(write(tmp_path))
    first, second = file.instances("b"), file.instances("a")
    masks = decode_masks(first.masks, first.size)
    assert masks[1].sum() == pytest.approx(9 * 9 + 14 * 14, abs=30), "both parts of the polygon"
    assert masks[1, 33, 33]
    assert masks[1, 36, 57]
    assert not masks[1, 33, 45]
    seen = decode_masks(second.masks, second.size)
    for k, seed in ((0, 1), (1, 3), (2, 2)):
        np.testing.assert_array_equal(seen[k], random_mask(seed) == 1)


def test_categories_become_classes_in_the_order_of_their_numbers(tmp_path):
    file = read_coco(write(tmp_path))
    assert file.classes == ("car", "cat", "brush")
    assert file.instances("b").labels.tolist() == [3, 1, 3]
    assert file.instances("a").labels.tolist() == [2, 3, 3, 1]


def test_boxes_areas_and_crowds_are_those_stated_or_else_the_masks_own(tmp_path):
    file = read_coco(write(tmp_path))
    first, second = file.instances("b"), file.instances("a")
    np.testing.assert_allclose(first.boxes[0], [5.3, 4.1, 25.9, 24.7], rtol=1e-6)
    np.testing.assert_array_equal(second.boxes[:3], mask_boxes(second.masks[:3]))
    assert first.areas.tolist() == [424.36, 277, 225]
    assert second.areas[[1, 3]].tolist() == [150.25, 634.5]
    assert second.areas[0] == random_mask(1).sum()
    assert first.crowd is None
    assert second.crowd.tolist() == [False, False, True, False]


def test_records_may_be_mappings_from_their_numbers(tmp_path):
    value = content()
    listed = read_coco(write(tmp_path, value))
    for key in ("annotations", "images"):
        value[key] = {str(one["id"]): one for one in value[key]}
    (tmp_path / "other").mkdir()
    mapped = read_coco(write(tmp_path / "other", value))
    assert list(mapped.images) == list(listed.images)
    for name in listed.images:
        assert_same(mapped.instances(name), listed.instances(name))


def test_images_of_one_name_are_told_apart_by_their_numbers(tmp_path):
    value = content()
    value["images"][0]["file_name"] = "a.jpg"
    file = read_coco(write(tmp_path, value))
    assert list(file.images) == ["a@20", "a@7", "c"]
    assert (len(file.instances("a@20")), len(file.instances("a@7"))) == (3, 4)


def test_a_file_is_read_again_when_it_has_changed(tmp_path):
    path = write(tmp_path)
    before = read_coco(path)
    assert read_coco(path) is before
    value = content()
    value["annotations"].pop()
    write(tmp_path, value)
    assert len(read_coco(path).instances("a")) == 3


def changed(key, place, **more):
    value = content()
    value[key][place] |= more
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "no list 'images'"),
        ({"images": [], "categories": []}, "no list 'annotations' of records"),
        (changed("annotations", 2, image_id=8), "annotation 3 is of image 8, which the file does"),
        (changed("images", 1, id=20), "images: id is 20; expected a whole number that no other"),
        (changed("categories", 1, id=90), "categories: id is 90"),
        (changed("images", 1, file_name="../a.jpg"), r"file_name is '\.\./a\.jpg'"),
        (changed("images", 1, height=0), "height is 0 and width 80"),
    ],
)
def test_files_that_are_no_instances_are_refused(tmp_path, value, message):
    with pytest.raises(DataError, match=message):
        read_coco(write(tmp_path, value))


def test_missing_and_cut_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.json: cannot be read"):
        read_coco(tmp_path / "none.json")
    path = write(tmp_path)
    path.write_text(path.read_text()[:200])
    with pytest.raises(DataError, match=r"instances\.json: cannot be read as JSON .* cut short"):
        read_coco(path)
    with pytest.raises(DataError, match="has no image 'd'"):
        read_coco(write(tmp_path)).instances("d")


def sized(height, width, counts):
    return {"size": [height, width], "counts": counts}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"segmentation": []}, "malformed polygon"),
        ({"segmentation": [[1, 2, 3, 4]]}, r"malformed polygon \(4 numbers\)"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, r"malformed polygon \(7 numbers\)"),
        ({"segmentation": [[1, 2, 3, 4, 5, None]]}, "malformed polygon"),
        ({"segmentation": [[1, 2, 3, 4, 5, float("nan")]]}, "malformed polygon"),
        ({"segmentation": [5, 6]}, "malformed polygon"),
        ({"segmentation": None}, "segmentation is a NoneType"),
        ({"segmentation": {"counts": [4800]}}, "segmentation is a dict"),
        ({"segmentation": sized(80, 60, [4800])}, r"of size \[80, 60\], the image of \[60, 80\]"),
        ({"segmentation": sized(*SIZE, [4000])}, "add up to 4000 pixels"),
        ({"segmentation": sized(*SIZE, [4801, -1])}, "not all whole numbers"),
        ({"segmentation": sized(*SIZE, 4800)}, "counts is a int"),
        ({"segmentation": sized(*SIZE, "PPPPPP")}, "malformed run lengths"),
        ({"segmentation": sized(*SIZE, "52")}, "malformed run lengths"),
        ({"segmentation": sized(*SIZE, "ø")}, "malformed run lengths"),
        ({"category_id": 4}, r"category_id is 4; expected one of .*\(3, 17, 90"),
        ({"bbox": [1, 2, 3]}, "bbox is"),
        ({"bbox": [1, 2, 3, -4]}, "bbox is"),
        ({"area": -1}, "area is -1"),
        ({"area": "large"}, "area is 'large'"),
        ({"area": True}, "area is True"),
        ({"iscrowd": 0.5}, r"iscrowd is 0\.5; expected 0 or 1"),
        ({"iscrowd": "0"}, "iscrowd is '0'"),
        ({"iscrowd": None}, "iscrowd is None"),
        ({"bbox": [0, 0, 1e4, 1e4]}, "but its mask lies in"),
    ],
)
def test_malformed_annotations_are_named(tmp_path, more, message):
    file = read_coco(write(tmp_path, changed("annotations", 0, **more)))
    with pytest.raises(DataError, match=rf"annotation 1 of b\.jpg.*{message}"):
        file.instances("b")
    assert len(file.instances("a")) == 4, "other images can still be read"


# ------------------------------------------------------------------------------ average precision


def perturbed(truth: Instances, seed: int) -> Instances:
    """Objects found: most of the annotated ones, shifted, some of another class, some invented."""
    rng = np.random.default_rng(seed)
    masks = decode_masks(truth.masks, truth.size)
    kept = rng.random(len(masks)) < 0.85
    shifts = rng.integers(-2, 3, (len(masks), 2))
    moved = [np.roll(m, s, (0, 1)) for m, s in zip(masks[kept], shifts[kept], strict=True)]
    labels = truth.labels[kept]
    labels = np.where(rng.random(len(labels)) < 0.1, 1, labels)
    invented = np.zeros(truth.size, bool)
    invented[3:20, 4:30] = True
    rles = encode_masks(np.array([*moved, invented]))
    scores = rng.integers(1, 9, len(rles)) / 8
    return Instances(
        truth.size,
        mask_boxes(rles) + rng.uniform(-0.5, 0.5, (len(rles), 4)).astype(np.float32),
        np.append(labels, rng.integers(1, truth.labels.max(initial=1) + 1)).astype(np.int64),
        rles,
        scores.astype(np.float32),
    )


def library_scores(path, results, kind):
    """The library's summary of a file of annotations and one of results."""
    library = COCO(str(path))
    records = json.loads(results.read_text())
    if kind == "segm":
        # Where results have boxes, it takes the size of an object from its box.
        records = [{k: v for k, v in one.items() if k != "bbox"} for one in records]
    evaluation = COCOeval_faster(library, library.loadRes(records), kind)
    evaluation.run()
    stats = dict(zip(STATS, evaluation.stats, strict=False)) | {"ar": evaluation.stats[8]}
    return {name: np.nan if value == -1 else value for name, value in stats.items()}


def assert_scores_of_the_library(path, truth, found, results):
    scores = average_precision(truth, found)
    for kind, mine in (("bbox", scores.boxes), ("segm", scores.masks)):
        for name, expected in library_scores(path, results, kind).items():
            value = getattr(mine, name)
            assert value == pytest.approx(expected, abs=1e-9, nan_ok=True), (kind, name)
    return scores


@pytest.mark.parametrize("seed", range(2))
def test_scores_are_the_librarys_on_the_original_file(tmp_path, seed):
    """The library rasterises the polygons itself and looks at the stated boxes and areas."""
    file = read_coco(write(tmp_path))
    # The library goes through images by their numbers, which decides between equal scores.
    numbers = sorted(image.id for image in file.images.values())
    names = {image.id: name for name, image in file.images.items()}
    truth = [file.instances(names[number]) for number in numbers]
    found = [perturbed(one, seed * 10 + k) for k, one in enumerate(truth)]
    results = tmp_path / "results.json"
    category = {label: number for number, label in file.labels.items()}
    records = [
        {
            "image_id": number,
            "category_id": category[one.labels[k]],
            "bbox": to_xywh(one.boxes)[k].tolist(),
            "segmentation": {"size": list(mask["size"]), "counts": mask["counts"].decode()},
            "score": float(one.scores[k]),
        }
        for number, one in zip(numbers, found, strict=True)
        for k, mask in enumerate(one.masks)
    ]
    results.write_text(json.dumps(records))
    value = content()
    for one, instance, box in _with_boxes(value, file):
        one["bbox"], one["area"] = box, instance
    whole = tmp_path / "whole.json"
    whole.write_text(json.dumps(value))
    assert_scores_of_the_library(whole, truth, found, results)


def _with_boxes(value, file):
    """Annotations with the areas and boxes that this project fills in where none are stated."""
    places = {image.id: name for name, image in file.images.items()}
    seen = dict.fromkeys(places.values(), 0)
    for one in value["annotations"]:
        name = places[one["image_id"]]
        instances = file.instances(name)
        x1, y1, x2, y2 = instances.boxes[seen[name]].astype(float).tolist()
        area = instances.areas[seen[name]]
        seen[name] += 1
        yield one, one.get("area", area), one.get("bbox", [x1, y1, x2 - x1, y2 - y1])
