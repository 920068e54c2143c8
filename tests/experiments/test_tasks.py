"""Tasks of all kinds: split by group, prepared once, seen as networks take them."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from helpers.data.datasets import SyntheticSpec, open_dataset
from helpers.data.objects import OBJECT_CLASSES
from helpers.data.readers import Item
from helpers.errors import DataError, ParameterError
from helpers.experiments import tasks
from helpers.experiments.tasks import (
    TaskSettings,
    as_bytes,
    joined,
    label_change,
    prepare_task,
    share_of,
    shrink,
    split_items,
)
from helpers.metrics.detection import decode_masks, from_labels

CLASSES = TaskSettings("synthetic-cardiac", "classes", 36, 32, 0.3, 0, validation_share=0.25)
FOREGROUND = TaskSettings("synthetic-histo", "foreground", 8, 64, 0.25, 0, validation_share=0.2)
CELLS = TaskSettings("synthetic-cyto", "objects", 6, 64, 0.34, 0, stretch=True)
SCENES = TaskSettings("synthetic-objects", "objects", 5, 64, 0.2, 7)
EVERY = {one.kind: one for one in (CLASSES, FOREGROUND, CELLS)}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("tasks")


@pytest.mark.parametrize("settings", EVERY.values(), ids=EVERY)
def test_no_group_is_on_two_sides_and_nothing_is_prepared_twice(settings, cache, monkeypatch):
    task = prepare_task(settings, cache)
    parts = {name: task.part(name) for name in task.counts}
    assert sum(len(part) for part in parts.values()) == settings.n_images
    for one, other in itertools.combinations(parts.values(), 2):
        assert set(one.groups).isdisjoint(other.groups)
    for name, part in parts.items():
        assert task.counts[name][:2] == [len(part), len(set(part.groups))]
    assert prepare_task(replace(settings, seed=1), cache).content != task.content
    monkeypatch.setattr(tasks, "_build", None)
    assert prepare_task(settings, cache) == task


def test_classes_are_squares_as_networks_take_them(cache):
    task = prepare_task(CLASSES, cache)
    assert task.classes == ["right ventricle", "myocardium", "left ventricle"]
    part = task.part("train")
    images, masks = np.stack(part.images), np.stack(part.labels)
    assert images.shape[1:] == (3, 32, 32)
    assert images.dtype == np.float32
    assert 0 <= images.min() < 0.2 < 0.8 < images.max() <= 1
    assert masks.shape == (len(part), 32, 32)
    assert set(np.unique(masks)) == {0, 1, 2, 3}


def test_foreground_keeps_every_image_in_its_own_colours(cache):
    task = prepare_task(FOREGROUND, cache)
    dataset = open_dataset("synthetic-histo", synthetic=SyntheticSpec(8, 0, (64, 64)))
    samples = {sample.id: sample for sample in dataset}
    for part in map(task.part, task.counts):
        for name, (image, mask) in zip(part.ids, part, strict=True):
            assert (image == samples.pop(name).image).all()
            assert set(np.unique(mask)) == {0, 1}
    assert not samples


def test_objects_are_counted_and_images_stretched(cache):
    task = prepare_task(CELLS, cache)
    for name in ("train", "test"):
        part = task.part(name)
        assert task.counts[name][2] == sum(len(objects) for objects in part.labels) > 0
        for image, objects in part:
            assert image.shape == (*objects.size, 3)
            assert (image.min(), image.max()) == (0, 255)


def test_classes_of_joined_sets_follow_one_another(cache):
    scenes, cells = prepare_task(SCENES, cache), prepare_task(CELLS, cache)
    assert tuple(scenes.classes) == OBJECT_CLASSES
    assert scenes.provenance["source"] == "synthetic"
    whole = joined([scenes, cells], "train")
    n = len(scenes.part("train"))
    assert len(set(whole.ids)) == len(whole) == n + len(cells.part("train"))
    assert max(one.labels.max() for one in whole.labels[:n]) <= len(OBJECT_CLASSES)
    assert {int(v) for one in whole.labels[n:] for v in one.labels} == {len(OBJECT_CLASSES) + 1}


def items(groups, splits=""):
    splits = splits or [""] * len(groups)
    return [
        Item(f"{group}{i}", group, None, None, split)
        for i, (group, split) in enumerate(zip(groups, splits, strict=True))
    ]


@pytest.mark.parametrize(
    ("groups", "splits", "tested"),
    [
        ("abc", ("train", "train", "test"), {"c"}),
        ("abc", ("train", "train", "val"), {"c"}),
        ("abc", ("train", "val", "test"), {"c"}),
        ("aabbccdd", ("train",) * 6 + ("test",) * 2, {"d"}),
    ],
)
def test_official_parts_are_taken_where_there_are_some(groups, splits, tested):
    settings = replace(CELLS, n_images=0)
    parts = split_items(items(groups, splits), settings)
    assert {item.group for item in parts["test"]} == tested
    assert {item.split for item in parts["train"]} == {"train"}


@pytest.mark.parametrize(
    ("groups", "splits"),
    [("aabbccad", ["train"] * 6 + ["test"] * 2), ("abcdefghij", ["test"] * 10), ("abc", "")],
    ids=["patients torn apart", "all test", "no parts"],
)
def test_other_parts_are_drawn_by_group(groups, splits):
    parts = split_items(items(groups, splits), replace(CLASSES, n_images=0, validation_share=0))
    assert len(parts["train"]) + len(parts["test"]) == len(groups)
    assert {i.group for i in parts["train"]}.isdisjoint({i.group for i in parts["test"]})


def test_drawing_takes_whole_groups():
    parts = split_items(items("abcdefgh" * 5), replace(CLASSES, n_images=18))
    drawn = [one for part in parts.values() for one in part]
    assert len(drawn) == 20
    assert all(sum(one.group == g for one in drawn) in (0, 5) for g in "abcdefgh")


def test_at_most_so_many_are_tested_on(tmp_path):
    few = prepare_task(replace(FOREGROUND, max_test_images=1), tmp_path)
    assert few.counts["test"] == [1, 1]
    assert few.counts["train"][0] == 5


@pytest.mark.parametrize(
    ("n", "share", "taken"), [(10, 1.0, 10), (10, 0.3, 3), (10, 0.01, 1), (1, 0.1, 1), (1, 1, 1)]
)
def test_a_share_is_at_least_one_image(n, share, taken):
    assert len(share_of(n, share, seed=3)) == taken


def test_smaller_shares_lie_inside_larger_ones():
    parts = [set(share_of(40, share, seed=1)) for share in (0.1, 0.3, 0.5, 1.0)]
    assert all(small < large for small, large in itertools.pairwise(parts))
    assert set(share_of(40, 0.3, seed=1)) != set(share_of(40, 0.3, seed=2))


def test_what_cannot_be_prepared_is_refused(tmp_path):
    with pytest.raises(DataError, match="tell instances"):
        prepare_task(replace(CLASSES, dataset="synthetic-cyto"), tmp_path)
    for wrong in (np.full((4, 5, 3), 300.0, np.float32), np.zeros((4, 5, 2), np.float32)):
        with pytest.raises(DataError, match=r"image 'b'.*8 bits"):
            as_bytes(wrong, "b")
    for n, share in ((0, 0.5), (5, 0.0), (5, 1.1)):
        with pytest.raises(ParameterError, match="expected above 0"):
            share_of(n, share, 0)


def test_shrinking_keeps_the_share_of_the_objects_and_the_mean_colour():
    y, x = np.mgrid[:200, :160]
    mask = np.uint8((y - 90) ** 2 + (x - 70) ** 2 < 50**2)
    image = np.dstack([np.where(mask, 200, 40)] * 3).astype(np.uint8)
    small, small_mask = shrink(image, mask, 0.25)
    assert small.shape == (50, 40, 3)
    assert small_mask.mean() == pytest.approx(mask.mean(), rel=0.02)
    assert small.mean() == pytest.approx(image.mean(), rel=0.02)
    assert (small[small_mask == 0] < 130).mean() > 0.97


def test_shrinking_halves_a_block_and_drops_objects_without_a_pixel_left():
    labels = np.zeros((40, 60), np.int32)
    labels[2, 2], labels[10:30, 20:50] = 1, 2
    image = np.uint8(200 * (labels > 0))[..., None].repeat(3, axis=2)
    smaller, found = shrink(image, from_labels(labels), 0.5)
    assert smaller.shape == (20, 30, 3)
    np.testing.assert_array_equal(found.boxes, [[10, 5, 25, 15]])
    (mask,) = decode_masks(found.masks, found.size)
    assert mask.sum() == 150
    # Antialiasing blends the block's outermost pixels with the ground.
    assert (smaller[mask] > 190).mean() > 0.6


def test_interpolated_labels_change_the_foreground():
    change = label_change(CLASSES, most=6)
    assert 0 < change.foreground < 0.5
    assert len(change.area_ratio) == 4
