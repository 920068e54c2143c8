"""Generated scenes of objects: exact visible masks, reproducible, and told by shape, not colour."""

from collections import Counter

import numpy as np
import pytest
from scipy import ndimage
from skimage.draw import polygon
from skimage.measure import euler_number
from skimage.transform import downscale_local_mean, resize

from helpers.data.objects import GeneratedObjects, generated_objects
from helpers.data.synthetic.natural.outlines import Part
from helpers.data.synthetic.natural.textures import TEXTURES
from helpers.data.synthetic.objects import (
    MIN_SIZE,
    OBJECT_CLASSES,
    draw_scene,
    layout,
    painting,
    scene_layout,
)
from helpers.data.synthetic.objects.outlines import KINDS, ball
from helpers.data.synthetic.shapes import MIN_AREA
from helpers.errors import ParameterError
from helpers.metrics.detection import decode_masks

K = len(OBJECT_CLASSES)
N, SIZE = 40, 96
INKS = {ink: np.full(3, 200.0) for ink in ("body", "dark", "light", "accent")}


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(index, 3, SIZE) for index in range(N)]


def rng(seed=0):
    return np.random.default_rng(seed)


def posed(name, seed=0, reach=0.4):
    """One object in the middle of the picture."""
    label = OBJECT_CLASSES.index(name) + 1
    return layout._posed(rng(seed), KINDS[name], label, (0.5, 0.5), reach)


def solid(thing, size=128):
    """Pixels of a thing that nothing hides, in the whole picture."""
    mask = np.zeros((size, size), bool)
    cut = painting.cut_out(thing.parts, INKS, size)
    if cut is not None:
        mask[cut.window] = cut.solid
    return mask


def covered(thing, size, fine=4):
    """Share of each pixel that a thing covers, by another rasteriser on a finer grid."""
    mask = np.zeros((fine * size, fine * size))
    for points, ink in thing.parts:
        # It counts from the middle of the first pixel.
        columns, rows = (points * fine * size - 0.5).T
        mask[polygon(rows, columns, mask.shape)] = ink != "hole"
    return downscale_local_mean(mask, (fine, fine))


# ------------------------------------------------------------------------------ contract


def test_classes():
    assert 20 <= K <= 40
    assert len(set(OBJECT_CLASSES)) == K
    assert {kind.material for kind in KINDS.values()} - {""} <= set(TEXTURES)


@pytest.mark.parametrize("size", [48, 97, 160, 320])
def test_any_size(size):
    pictures = generated_objects(3, 1, size)
    assert len(pictures) == 3
    for image, found in pictures:
        assert (image.dtype, image.shape) == (np.uint8, (size, size, 3))
        assert found.size == (size, size)
        assert found.scores is None
        assert image.std() > 5


def test_masks_are_disjoint_and_boxes_tight():
    for image, found in generated_objects(12, 7, SIZE):
        masks = decode_masks(found.masks, image.shape[:2])
        assert len(masks) == len(found) > 0
        assert masks.sum(axis=0).max() == 1
        assert masks.sum(axis=(1, 2)).min() >= MIN_AREA
        assert set(found.labels) <= set(range(1, K + 1))
        for mask, box in zip(masks, found.boxes, strict=True):
            rows, columns = np.nonzero(mask)
            tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert box.tolist() == tight


def test_instances_are_those_of_the_scene():
    _, found = generated_objects(5, 7, SIZE)[4]
    scene = draw_scene(4, 7, SIZE)
    assert found.labels.tolist() == scene.classes.tolist()
    stacked = decode_masks(found.masks, (SIZE, SIZE)) * np.arange(1, len(found) + 1)[:, None, None]
    assert np.array_equal(stacked.sum(axis=0), scene.labels)


def test_labels_and_classes_belong_together(scenes):
    for scene in scenes:
        assert (scene.labels.dtype, scene.classes.dtype) == (np.int32, np.int64)
        numbers = np.unique(np.append(scene.labels, 0))
        assert np.array_equal(numbers, np.arange(len(scene.classes) + 1))
    counts = [len(scene.classes) for scene in scenes]
    assert 1 <= min(counts) < max(counts) <= layout.MOST


def test_a_picture_depends_on_index_seed_and_size_alone():
    short, long = generated_objects(2, 5, 64), generated_objects(9, 5, 64)
    (image, found), (again, same) = short[-1], long[1]
    assert image.tobytes() == again.tobytes()
    assert found.masks == same.masks
    assert found.boxes.tobytes() == same.boxes.tobytes()
    pictures = {draw_scene(i, seed, 64).image.tobytes() for i in range(3) for seed in (5, 6)}
    assert len(pictures) == 6


def test_another_size_shows_the_same_objects():
    agree = []
    for index in range(8):
        small, large = draw_scene(index, 2, 96), draw_scene(index, 2, 192)
        kinds = [np.append(0, scene.classes)[scene.labels] for scene in (small, large)]
        coarse = kinds[1][::2, ::2]
        agree.append(np.mean(kinds[0] == coarse))
    assert np.mean(agree) > 0.93


def test_iteration_ends():
    assert len(list(generated_objects(2, 0, MIN_SIZE))) == 2


def test_fingerprint_follows_what_is_made():
    marks = [GeneratedObjects(*made).fingerprint for made in ((4, 0, 64), (5, 0, 64), (4, 1, 64))]
    assert len({*marks, GeneratedObjects(4, 0, 65).fingerprint}) == 4
    assert GeneratedObjects(4, 0, 64).fingerprint == marks[0]
    assert all(len(mark) == 64 and int(mark, 16) >= 0 for mark in marks)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: generated_objects(0, 0, 64), ParameterError, "n=0: expected 1 or more"),
        (lambda: generated_objects(1, -1, 64), ParameterError, "seed=-1"),
        (lambda: generated_objects(1, 0, 47), ParameterError, "size=47: expected 48"),
        (lambda: draw_scene(-1, 0, 64), ParameterError, "index=-1"),
        (lambda: draw_scene(0, -1, 64), ParameterError, "seed=-1"),
        (lambda: draw_scene(0, 0, 20), ParameterError, "size=20: expected 48"),
        (lambda: generated_objects(2, 0, 64)[2], IndexError, "picture 2 of 2"),
        (lambda: generated_objects(2, 0, 64)[-3], IndexError, "picture -3 of 2"),
    ],
)
def test_unusable_requests_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ------------------------------------------------------------------------------ occlusion


@pytest.mark.parametrize("index", range(4))
def test_what_is_nearer_hides_what_is_farther(index):
    """From front to back with another rasteriser; the two may differ along outlines."""
    size, square = 96, np.ones((3, 3))
    planned = scene_layout(index, 9)
    _, owner = painting.paint(rng(), planned, size)
    surely, perhaps = np.zeros((2, size, size), bool)
    for k in reversed(range(len(planned.things))):
        share, found = covered(planned.things[k], size), owner == k + 1
        inside = ndimage.binary_erosion(share == 1, square)
        around = ndimage.binary_dilation(share > 0, square)
        assert found[inside & ~perhaps].all()
        assert not found[~around | surely].any()
        surely, perhaps = surely | inside, perhaps | around
    assert np.all(owner[~perhaps] == 0)
    assert surely.mean() > 0.03


def test_objects_are_hidden_in_part_and_seen_in_parts(scenes):
    hidden, parts, filled = [], [], []
    for index, scene in enumerate(scenes):
        filled.append((scene.labels > 0).mean())
        parts += [ndimage.label(scene.labels == k)[1] for k in range(1, len(scene.classes) + 1)]
        whole = sum(solid(t, SIZE).sum() for t in scene_layout(index, 3).things if t.label)
        hidden.append(1 - (scene.labels > 0).sum() / whole)
    assert 0.15 < np.mean(filled) < 0.5
    assert 0.08 < np.mean(hidden) < 0.5
    assert 0.1 < np.mean(np.array(parts) > 1) < 0.5


def test_what_is_nearly_hidden_is_not_annotated():
    far, near = (posed("tartan cushion", reach=reach) for reach in (0.2, 0.4))
    setting = scene_layout(0, 0).setting
    _, owner = painting.paint(rng(), layout.Layout(setting, (far, near)), 96)
    assert set(np.unique(owner)) == {0, 2}
    _, owner = painting.paint(rng(), layout.Layout(setting, (near, far)), 96)
    assert set(np.unique(owner)) == {0, 1, 2}


def test_clutter_hides_and_is_not_annotated():
    thing = posed("checked ball")
    stick = np.array([[0.48, 0.0], [0.52, 0.0], [0.52, 1.0], [0.48, 1.0]])
    pole = layout._thing(rng(), 0, [Part(stick)], (0.5, 0.5), 0.02)
    setting = scene_layout(0, 0).setting
    _, owner = painting.paint(rng(), layout.Layout(setting, (thing, pole)), 100)
    assert ndimage.label(owner == 1)[1] == 2
    assert np.all(owner[:, 48:52] == 2)


# ------------------------------------------------------------------------------ objects


@pytest.mark.parametrize("name", KINDS)
def test_objects_fill_their_square_and_vary(name):
    drawn = [KINDS[name].draw(rng(seed)) for seed in range(6)]
    for parts in drawn:
        points = np.concatenate([part.points for part in parts if part.ink != "hole"])
        assert np.abs(points).max() < 1.35
        assert np.ptp(points, axis=0).max() > 1.2
    if KINDS[name].draw is not ball:
        assert len({b"".join(part.points.tobytes() for part in parts) for parts in drawn}) == 6
    areas = [solid(posed(name, seed)).mean() for seed in range(6)]
    assert 0.01 < min(areas) <= max(areas) < 0.65


# Least and greatest number of holes in a whole object.
@pytest.mark.parametrize(
    ("name", "fewest", "most"),
    [
        ("ring", 1, 1),
        ("frame", 1, 1),
        ("spectacles", 2, 2),
        ("ladder", 3, 6),
        ("chain", 5, 5),
        ("wicker basket", 1, 1),
        ("wheel", 5, 12),
        ("striped ball", 0, 0),
        ("knitted cushion", 0, 0),
    ],
)
def test_holes(name, fewest, most):
    for seed in range(5):
        mask = solid(posed(name, seed), 256)
        holes = ndimage.label(mask, np.ones((3, 3)))[1] - euler_number(mask, 2)
        assert fewest <= holes <= most


def test_the_ground_is_seen_through_holes():
    thing, setting = posed("ring"), scene_layout(0, 0).setting
    _, owner = painting.paint(rng(), layout.Layout(setting, (thing,)), 100)
    filled = ndimage.binary_fill_holes(owner == 1)
    assert owner[50, 50] == 0
    assert 0.15 < 1 - (owner == 1).sum() / filled.sum() < 0.5


def test_a_ball_is_light_on_the_side_of_the_light():
    disc = solid(posed("striped ball"), 120)
    for way in np.arange(0, 2 * np.pi, np.pi / 3):
        light = np.array([0.8 * np.cos(way), 0.8 * np.sin(way), 0.6])
        shade, _, height = painting._relief(rng(), disc, light)
        y, x = np.nonzero(disc)
        toward = (x - 59.5) * light[0] + (y - 59.5) * light[1]
        assert np.corrcoef(toward, shade[disc])[0, 1] > 0.7
        assert 0 <= height.min() < height.max() <= 1.01
        assert abs(height[59, 59] - height.max()) < 0.05


def test_things_outside_the_picture_are_left_out():
    moved = [Part(part.points + 3, part.ink) for part in posed("key").parts]
    assert painting.cut_out(tuple(moved), INKS, 64) is None
    beside = layout._thing(rng(), 1, moved, (3.5, 3.5), 0.4)
    _, owner = painting.paint(rng(), layout.Layout(scene_layout(0, 0).setting, (beside,)), 64)
    assert not owner.any()


# ------------------------------------------------------------------------------ statistics


def test_classes_are_balanced_and_scenes_have_3_to_15_objects():
    planned = [
        [thing.label for thing in scene_layout(index, 0).things if thing.label]
        for index in range(150)
    ]
    numbers = Counter(map(len, planned))
    assert set(numbers) == set(range(layout.FEWEST, layout.MOST + 1))
    counts = np.bincount(np.concatenate(planned), minlength=K + 1)[1:]
    assert 0.5 * counts.mean() < counts.min() <= counts.max() < 1.7 * counts.mean()


def test_sizes_vary_widely(scenes):
    areas = np.concatenate([np.bincount(scene.labels.ravel())[1:] for scene in scenes])
    low, high = np.quantile(areas / SIZE**2, [0.1, 0.9])
    assert low < 0.006
    assert high > 0.05


def crops(size=80, n=100):
    """Masks (16 x 16), mean colours and classes of annotated objects."""
    shapes, colours, classes = [], [], []
    for index in range(n):
        scene = draw_scene(index, 12, size)
        for k, window in enumerate(ndimage.find_objects(scene.labels), start=1):
            mask = scene.labels[window] == k
            pixels = scene.image[window][mask].astype(float)
            colours.append(np.concatenate([pixels.mean(axis=0), pixels.std(axis=0)]))
            shapes.append(resize(mask.astype(float), (16, 16)).ravel())
        classes += scene.classes.tolist()
    return np.array(shapes), np.array(colours), np.array(classes)


def accuracy(features, classes):
    """Of the five nearest neighbours of the second half in the first."""
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.preprocessing import StandardScaler

    half = len(classes) // 2
    values = StandardScaler().fit_transform(features)
    model = KNeighborsClassifier(5).fit(values[:half], classes[:half])
    return np.mean(model.predict(values[half:]) == classes[half:])


def test_colour_does_not_tell_the_class_and_outline_does():
    shapes, colours, classes = crops()
    assert accuracy(colours[:, :3], classes) < 2.5 / K
    assert accuracy(shapes, classes) > 5 / K
