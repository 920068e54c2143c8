"""Images with objects: splits, sizes, and what resizing does to masks whose geometry is known."""

import json
from dataclasses import replace

import numpy as np
import pytest

from helpers.data.objects import OBJECT_CLASSES
from helpers.data.readers import Item
from helpers.experiments.objects import (
    ObjectSettings,
    Scenes,
    found_without_training,
    joined,
    labels_of,
    pack,
    prepare_objects,
    resize_objects,
    stretch_contrast,
    unpack,
)
from helpers.experiments.tasks import hold_out
from helpers.metrics.detection import average_precision, decode_masks, from_labels

CELLS = ObjectSettings("synthetic-cyto", 6, 64, 1.0, True, 0.34, 0, 0)
SOURCE = ObjectSettings("synthetic-objects", 5, 64, 1.0, False, 0.2, 0, 7)


def block(rows, columns, size=(40, 60)):
    labels = np.zeros(size, np.int32)
    labels[rows, columns] = 1
    return from_labels(labels)


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    return prepare_objects(CELLS, tmp_path_factory.mktemp("cells"))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return prepare_objects(SOURCE, tmp_path_factory.mktemp("source"))


def test_parts_hold_what_the_counts_say(cells):
    parts = {name: cells.part(name) for name in ("train", "test")}
    assert sum(len(part) for part in parts.values()) == 6
    for name, part in parts.items():
        n_objects = sum(map(len, part.objects))
        assert cells.counts[name] == [len(part), len(set(part.groups)), n_objects]
        assert n_objects > 0
        for image, objects in part:
            assert image.shape == (*objects.size, 3)
            assert image.dtype == np.uint8
    assert not set(parts["train"].groups) & set(parts["test"].groups)


def test_a_second_call_reads_what_the_first_wrote(cells):
    again = prepare_objects(CELLS, cells.folder.parent)
    assert again == cells
    assert prepare_objects(replace(CELLS, seed=1), cells.folder.parent).content != cells.content


def test_images_are_stretched_to_the_whole_range(cells):
    for image in cells.part("train").images:
        assert (image.min(), image.max()) == (0, 255)


def test_generated_scenes_are_held_out_from_the_end(source):
    assert source.classes == OBJECT_CLASSES
    assert (len(source.part("train")), len(source.part("test"))) == (4, 1)
    assert source.provenance["source"] == "synthetic"


def test_classes_of_joined_sets_follow_one_another(cells, source):
    whole = joined([source, cells], "train")
    n = len(source.part("train"))
    assert len(whole) == n + len(cells.part("train"))
    assert max(one.labels.max() for one in whole.objects[:n]) <= len(OBJECT_CLASSES)
    assert {int(v) for one in whole.objects[n:] for v in one.labels} == {len(OBJECT_CLASSES) + 1}
    assert len(set(whole.ids)) == len(whole)


def test_a_share_holds_whole_images_and_smaller_ones_lie_in_larger(cells):
    part = cells.part("train")
    half, all_of_it = part.share(0.5, 3), part.share(1.0, 3)
    assert set(half.ids) < set(all_of_it.ids)
    assert len(part.share(0.01, 3)) == 1


def test_resizing_halves_a_block():
    objects = block(slice(10, 30), slice(20, 50))
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:30, 20:50] = 200
    smaller, found = resize_objects(image, objects, 0.5)
    assert smaller.shape == (20, 30, 3)
    np.testing.assert_array_equal(found.boxes, [[10, 5, 25, 15]])
    (mask,) = decode_masks(found.masks, found.size)
    assert mask.sum() == 150
    # Antialiasing blends the block's outermost pixels with the ground.
    assert (smaller[mask] > 190).mean() > 0.6
    assert (smaller[~mask] < 60).all()


def test_resizing_drops_objects_without_a_pixel_left():
    labels = np.zeros((40, 60), np.int32)
    labels[3, 3] = 1
    labels[10:30, 20:50] = 2
    _, found = resize_objects(np.zeros((40, 60, 3), np.uint8), from_labels(labels), 0.25)
    assert len(found) == 1


def test_a_scale_of_one_changes_nothing():
    image, objects = np.zeros((40, 60, 3), np.uint8), block(slice(1, 4), slice(1, 4))
    assert resize_objects(image, objects, 1) == (image, objects)


def test_stretching_maps_percentiles_to_black_and_white():
    image = np.linspace(20, 60, 101).round().astype(np.uint8).reshape(1, 101, 1)
    stretched = stretch_contrast(image)
    assert (stretched.min(), stretched.max()) == (0, 255)
    assert (np.diff(stretched.ravel().astype(int)) >= 0).all()


@pytest.mark.parametrize("scores", [None, np.array([0.5], np.float32)])
def test_packing_loses_nothing(scores):
    objects = replace(block(slice(3, 9), slice(2, 5)), scores=scores)
    again = unpack(json.loads(json.dumps(pack(objects))))
    assert again.masks == objects.masks
    np.testing.assert_array_equal(again.boxes, objects.boxes)
    assert (again.scores is None) == (scores is None)


@pytest.mark.parametrize(
    ("splits", "trained", "tested"),
    [
        (("train", "train", "test"), 2, 1),
        (("train", "train", "val"), 2, 1),
        (("train", "val", "test"), 1, 1),
        (("", "", ""), 2, 1),
    ],
)
def test_official_parts_are_taken_where_there_are_some(splits, trained, tested):
    items = [Item(str(i), str(i), None, None, split) for i, split in enumerate(splits)]
    rest, held = hold_out(
        items, replace(CELLS, dataset="any", n_images=0), np.random.default_rng(0)
    )
    assert (len(rest), len(held)) == (trained, tested)
    if any(splits):
        assert {item.split for item in held} == {"test" if "test" in splits else "val"}


def test_without_training_bright_blocks_are_found_and_one_box_is_not_them():
    labels = np.zeros((40, 60), np.int32)
    labels[5:15, 5:20], labels[20:35, 30:50] = 1, 2
    image = np.repeat(np.uint8(200 * (labels > 0))[..., None], 3, axis=2)
    scenes = Scenes([image], [from_labels(labels)], ["a"], ["a"])
    found = found_without_training(scenes)
    assert list(found) == ["Otsu", "every pixel"]
    scores = {n: average_precision(scenes.objects, one).boxes.ap for n, one in found.items()}
    assert scores == {"Otsu": 1.0, "every pixel": 0.0}
    # The surest is the largest.
    assert list(found["Otsu"][0].scores) == [300, 150]
    np.testing.assert_array_equal(found["every pixel"][0].boxes, [[0, 0, 60, 40]])


def test_labels_are_those_of_the_objects():
    labels = np.zeros((20, 30), np.int32)
    labels[2:8, 3:10], labels[2:8, 10:16] = 1, 2
    np.testing.assert_array_equal(labels_of(from_labels(labels)), labels)
