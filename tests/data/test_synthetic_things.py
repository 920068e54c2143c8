"""Generated everyday things, for pretraining: reproducible, balanced, exact, told by shape."""

from collections import Counter

import numpy as np
import pytest
from scipy import ndimage
from skimage.feature import hog
from sklearn.linear_model import RidgeClassifier

from helpers.data.check import check_all
from helpers.data.datasets import open_dataset
from helpers.data.manifest import load_manifest
from helpers.data.objects import GeneratedObjects, generated_objects
from helpers.data.synthetic import objects, things
from helpers.data.synthetic.natural import CLASS_NAMES, natural_image, natural_images
from helpers.data.synthetic.objects import OBJECT_CLASSES, draw_scene
from helpers.data.synthetic.shapes import MIN_AREA
from helpers.errors import NoLabelsError, ParameterError
from helpers.metrics.detection import decode_masks

K = len(CLASS_NAMES)
SIZE = 96


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(index, 3, SIZE) for index in range(40)]


def rng(seed=0):
    return np.random.default_rng(seed)


def test_the_manifest_names_the_numbers_of_classes():
    assert K == len(set(CLASS_NAMES)) >= 32
    assert f" {K} classes" in load_manifest().entry("synthetic-natural").contents
    assert f" {len(OBJECT_CLASSES)} classes" in load_manifest().entry("synthetic-objects").contents
    assert set(things.THINGS) >= things.LOOSE >= set(things.MATERIALS)
    assert set(things.MATERIALS.values()) <= set(things.TEXTURES)


# ------------------------------------------------------------------------------ parts


@pytest.mark.parametrize("name", things.THINGS)
def test_things_fill_their_square_and_vary(name):
    drawn = [things.drawing(rng(seed), name) for seed in range(6)]
    for parts in drawn:
        points = np.concatenate([outline for ink, outline in parts if ink != "hole"])
        assert np.abs(points).max() < 1.7
        assert np.ptp(points, axis=0).max() > 1.0
    assert len({b"".join(outline.tobytes() for _, outline in parts) for parts in drawn}) == 6


def test_textures_are_maps_with_contrast_and_turn_with_their_angle():
    for name in things.TEXTURES:
        pattern = things.texture(rng(1), name, (48, 64), 12.0, 0.4)
        assert pattern.shape == (48, 64)
        assert 0 <= pattern.min() < pattern.max() <= 1
        assert pattern.std() > 0.03
    for turn in (0.0, 0.6):
        dy, dx = np.gradient(things.texture(rng(), "stripes", (128, 128), 16.0, turn))
        found = 0.5 * np.arctan2(2 * (dx * dy).sum(), (dx**2 - dy**2).sum())
        assert found == pytest.approx(turn, abs=0.1)


@pytest.mark.parametrize(("name", "holes"), [("wheel", 8), ("teacup", 1), ("key", 1), ("fish", 0)])
def test_the_ground_is_seen_through_holes(name, holes):
    image = np.full((300, 300, 3), 120, np.float32)
    _, solid = objects.put(rng(1), image, name, np.array([0.5, 0.5]), 0.28)
    assert ndimage.label(~solid)[1] - 1 == holes
    assert 0.03 < solid.mean() < 0.8


# ------------------------------------------------------------------------------ one thing each


def test_a_set_is_made_of_its_pictures_and_classes_are_balanced():
    images, labels = natural_images(2 * K + 5, 4, 24)
    assert (images.dtype, images.shape) == (np.uint8, (2 * K + 5, 24, 24, 3))
    assert labels.dtype == np.int64
    assert set(np.bincount(labels, minlength=K)) == {2, 3}
    for index in (0, K + 2):
        image, label = natural_image(index, 4, 24)
        assert image.tobytes() == images[index].tobytes()
        assert label == labels[index] == index % K
    other, _ = natural_images(4, 5, 24)
    assert not any(np.array_equal(a, b) for a, b in zip(images, other, strict=False))
    assert len({image.tobytes() for image in images}) == len(images)


def test_shape_tells_classes_apart_and_colour_does_not():
    (train, labels), (test, truth) = natural_images(12 * K, 0, 32), natural_images(4 * K, 1, 32)

    def accuracy(describe):
        model = RidgeClassifier(1.0).fit([describe(image) for image in train], labels)
        return np.mean(model.predict([describe(image) for image in test]) == truth)

    colour = accuracy(lambda image: np.append(image.mean(axis=(0, 1)), image.std(axis=(0, 1))))
    shape = accuracy(lambda image: hog(image.mean(axis=2), 9, (8, 8), (1, 1)))
    assert colour < 4 / K
    assert shape > max(4 / K, 1.5 * colour)


# ------------------------------------------------------------------------------ scenes


def test_labels_and_classes_of_a_scene_belong_together(scenes):
    for scene in scenes:
        assert (scene.image.dtype, scene.image.shape) == (np.uint8, (SIZE, SIZE, 3))
        assert (scene.labels.dtype, scene.classes.dtype) == (np.int32, np.int64)
        areas = np.bincount(scene.labels.ravel(), minlength=len(scene.classes) + 1)
        assert len(areas) == len(scene.classes) + 1
        assert np.all(areas[1:] >= MIN_AREA)
    classes = np.concatenate([scene.classes for scene in scenes])
    assert 1 <= classes.min() < classes.max() <= len(OBJECT_CLASSES)
    assert len(set(classes)) > 0.9 * len(OBJECT_CLASSES)
    counts = Counter(len(scene.classes) for scene in scenes)
    assert objects.COUNT[0] - 1 <= min(counts) < max(counts) <= objects.COUNT[1]
    parts = [
        ndimage.label(scene.labels == k)[1]
        for scene in scenes
        for k in range(1, len(scene.classes) + 1)
    ]
    assert 0.02 < np.mean(np.array(parts) > 1) < 0.5
    assert 0.1 < np.mean([scene.labels > 0 for scene in scenes]) < 0.5


def test_instances_are_those_of_the_scene(scenes):
    image, found = generated_objects(5, 3, SIZE)[4]
    assert image.tobytes() == scenes[4].image.tobytes()
    assert found.labels.tolist() == scenes[4].classes.tolist()
    masks = decode_masks(found.masks, (SIZE, SIZE))
    stacked = masks * np.arange(1, len(found) + 1)[:, None, None]
    assert np.array_equal(stacked.sum(axis=0), scenes[4].labels)
    for mask, box in zip(masks, found.boxes, strict=True):
        rows, columns = np.nonzero(mask)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert len(list(generated_objects(2, 0, objects.MIN_SIZE))) == 2


def test_fingerprint_follows_what_is_made():
    made = [(4, 0, 64), (5, 0, 64), (4, 1, 64), (4, 0, 65), (4, 0, 64)]
    marks = [GeneratedObjects(*one).fingerprint for one in made]
    assert len(set(marks)) == 4
    assert marks[0] == marks[-1]


# ------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("n", "seed", "size", "message"),
    [(1, 0, 47, "size=47: expected 48"), (0, 0, 64, "n=0"), (1, -1, 64, "seed=-1")],
)
def test_unusable_requests_are_refused(n, seed, size, message):
    with pytest.raises(ParameterError, match=message):
        generated_objects(n, seed, size)
    with pytest.raises(IndexError, match="picture 2 of 2"):
        generated_objects(2, 0, 64)[2]


@pytest.mark.parametrize("name", ["natural", "objects"])
def test_pictures_without_label_images_are_refused_with_a_way_out(name):
    with pytest.raises(NoLabelsError, match=rf"synthetic-{name}.*{name} makes its.*synthetic-cyto"):
        open_dataset(f"synthetic-{name}")
    (report,) = check_all([f"synthetic-{name}"], progress=False)
    assert not report.available
    assert not report.problems
    assert "no label images" in report.notes[0]
