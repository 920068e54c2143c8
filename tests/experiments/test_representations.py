"""Features of patches at three places of a network, and comparisons of them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from helpers.book.results import Cells
from helpers.errors import DataError, ParameterError
from helpers.experiments import representations
from helpers.experiments.representations import (
    ANOTHER,
    DECODER,
    DEEPEST,
    FIRST,
    PLACES,
    RANDOM,
    Patches,
    encoder_features,
    joint_maps,
    joint_overlap,
    lone_maps,
    measure,
    nearest_elsewhere,
    network_features,
    reordered,
    sample_patches,
    tell_apart,
)
from helpers.experiments.tasks import Pictures
from helpers.features.similarity import compare_representations
from helpers.models.encoders import EncoderSpec, SavedEncoder, build_encoder
from helpers.models.semantic import build_segmenter


def task_of(images, groups=None):
    """A task whose test part holds these images."""
    n = len(images)
    pictures = Pictures(
        images,
        [np.zeros(image.shape[:2], np.uint8) for image in images],
        [f"image {i}" for i in range(n)],
        groups or [f"group {i}" for i in range(n)],
    )
    return SimpleNamespace(part={"test": pictures}.__getitem__)


def telling(number, height, width):
    """An image whose pixels tell its number and their own place."""
    rows, columns = np.mgrid[:height, :width]
    return np.dstack([np.full((height, width), number), rows, columns]).astype(np.uint8)


def test_patches_lie_within_their_images_and_every_image_gives_as_many():
    images = [telling(i, 40 + 3 * i, 60 - 5 * i) for i in range(5)]
    tasks = {"a": task_of(images[:3], ["p", "p", "q"]), "b": task_of(images[3:])}
    found = sample_patches(tasks, 52, 16, np.random.default_rng(0))
    assert found.images.shape == (52, 16, 16, 3)
    numbers = found.images[:, 0, 0, 0]
    for patch, number in zip(found.images, numbers, strict=True):
        top, left = patch[0, 0, 1:]
        np.testing.assert_array_equal(patch, images[number][top : top + 16, left : left + 16])
    assert set(np.bincount(numbers)) == {10, 11}
    assert [found.sources[i] for i in (0, 51)] == ["a: image 0", "b: image 1"]
    assert set(zip(numbers.tolist(), found.groups, strict=True)) == {
        (0, "a: p"), (1, "a: p"), (2, "a: q"), (3, "b: group 0"), (4, "b: group 1"),
    }  # fmt: skip
    assert found.datasets == ["a" if number < 3 else "b" for number in numbers]
    corners = {tuple(patch[0, 0]) for patch in found.images}
    assert len(corners) > 45


def test_the_generator_decides_where_patches_lie():
    tasks = {"a": task_of([telling(0, 50, 50)])}
    first, again, other = (
        sample_patches(tasks, 5, 16, np.random.default_rng(seed)).images for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_patches_need_images():
    with pytest.raises(DataError, match="no data set"):
        sample_patches({}, 5, 16, np.random.default_rng(0))


class HandMade(nn.Module):
    """Two levels: twice the image; four times its means over 2 x 2 pixels, and their sum."""

    def __init__(self):
        super().__init__()
        self.out_channels = [3, 3, 4]

    def forward(self, images):
        mean = nn.functional.avg_pool2d(images, 2)
        return [images, 2 * images, torch.cat([4 * mean, mean.sum(dim=1, keepdim=True)], dim=1)]


def test_encoder_features_are_means_of_normalised_pixels():
    patches = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), np.uint8)
    saved = SavedEncoder(EncoderSpec("unet-1"), HandMade(), (0.5, 0.25, 0), (0.5, 1, 2))
    found = encoder_features(saved.encoder, saved, patches)
    mean = (patches.mean(axis=(1, 2)) / 255 - [0.5, 0.25, 0]) / [0.5, 1, 2]
    np.testing.assert_allclose(found[FIRST], 2 * mean, atol=1e-5)
    deepest = np.column_stack([4 * mean, mean.sum(axis=1)])
    np.testing.assert_allclose(found[DEEPEST], deepest, atol=1e-5)


@pytest.mark.parametrize("side", [32, 24])
@pytest.mark.parametrize("encoder", ["unet-2", "resnet18"])
def test_network_features_are_those_of_the_parts(encoder, side):
    spec = EncoderSpec(encoder)
    built = build_encoder(spec, 0).eval()
    widths = tuple(2 * 2**k for k in reversed(range(len(built.out_channels) - 1)))
    model = build_segmenter(built, 2, 0, "unet", widths).eval()
    saved = SavedEncoder(spec, built, (0.5,) * 3, (0.25,) * 3)
    patches = np.random.default_rng(0).integers(0, 256, (6, side, side, 3), np.uint8)
    found = network_features(model, saved, patches)
    assert set(found) == set(PLACES)
    images = (torch.from_numpy(patches).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    with torch.inference_mode():
        maps = built(images)
        np.testing.assert_allclose(found[FIRST], maps[1].mean(dim=(2, 3)), atol=1e-4)
        np.testing.assert_allclose(found[DEEPEST], maps[-1].mean(dim=(2, 3)), atol=1e-4)
        if side % model.stride == 0:
            decoded = model.decoder(maps).mean(dim=(2, 3))
            np.testing.assert_allclose(found[DECODER], decoded, atol=1e-4)
    assert found[DECODER].shape == (6, widths[-1])
    # No hook stays behind.
    assert not model.decoder._forward_hooks


def test_batches_make_no_difference(monkeypatch):
    built = build_encoder(EncoderSpec("unet-2"), 0)
    saved = SavedEncoder(EncoderSpec("unet-2"), built, (0.5,) * 3, (0.25,) * 3)
    patches = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), np.uint8)
    at_once = encoder_features(built, saved, patches)
    monkeypatch.setattr(representations, "BATCH", 3)
    in_parts = encoder_features(built, saved, patches)
    for place in (FIRST, DEEPEST):
        np.testing.assert_allclose(at_once[place], in_parts[place], atol=1e-6)


@pytest.fixture(scope="module")
def clouds():
    """40 patches of 10 groups, features of 6 dimensions."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(40, 6)) + 2, [f"group {i // 4}" for i in range(40)]


def test_one_cloud_is_not_told_apart_and_two_are(clouds):
    rows, groups = clouds
    rng = np.random.default_rng(2)
    same = {name: rng.normal(size=(40, 6)) for name in "abc"}
    assert tell_apart(same, groups, "euclidean") == pytest.approx(1 / 3, abs=0.12)
    apart = {"a": rows, "b": rows * np.array([1, 1, 1, -1, -1, -1])}
    for metric in ("cosine", "euclidean"):
        assert tell_apart(apart, groups, metric) > 0.95
    # Twice as long in the same direction: apart, but not for cosine distances.
    longer = {"a": rows, "b": 50 * rows}
    assert tell_apart(longer, groups, "euclidean") > 0.9
    assert tell_apart(longer, groups, "cosine") < 0.75


def test_patches_of_a_group_do_not_vouch_for_each_other():
    """Every group has a place of its own per network: nothing to be learnt from other groups."""
    rng = np.random.default_rng(3)
    groups = [f"group {i // 4}" for i in range(80)]
    features = {
        name: np.repeat(10 * rng.normal(size=(20, 3)), 4, axis=0) + rng.normal(size=(80, 3)) / 10
        for name in "ab"
    }
    assert tell_apart(features, groups, "euclidean") < 0.75
    assert tell_apart(features, list(map(str, range(80))), "euclidean") > 0.95


def test_clouds_that_cannot_be_asked_or_compared(clouds):
    rows, groups = clouds
    assert np.isnan(tell_apart({"a": rows, "b": rows}, ["one"] * 40))
    for features in ({"a": rows}, {"a": rows, "b": rows[:, :3]}):
        with pytest.raises(ParameterError, match="at least two networks of one architecture"):
            tell_apart(features, groups)


@pytest.mark.parametrize(("accuracy", "overlap"), [(0.25, 1), (1, 0), (0.625, 0.5), (0.1, 1.2)])
def test_overlap_is_accuracy_turned_round(accuracy, overlap):
    assert joint_overlap(accuracy, 4) == pytest.approx(overlap)


def test_reordered_channels_are_the_same_representation(clouds):
    rows, groups = clouds
    # Channels with means of their own, as those of a network have.
    rows = rows + 5 * np.arange(6)
    other = reordered(rows, np.random.default_rng(0))
    assert not np.array_equal(rows, other)
    np.testing.assert_array_equal(np.sort(rows, axis=1), np.sort(other, axis=1))
    assert tell_apart({"itself": rows, "reordered": other}, groups) > 0.95
    found = compare_representations(rows, other, np.random.default_rng(0), k=5, n_shuffles=20)
    assert found["procrustes"].value == pytest.approx(0, abs=1e-9)
    assert found["neighbours"].value == pytest.approx(1)


def settings(**changes):
    p = {"neighbours": 3, "shuffles": 20, "metric": "cosine", "seed": 0, "projections": ["pca"]}
    return SimpleNamespace(**{**p, "min_dist": 0.1, **changes})


def small(n: int = 12) -> Patches:
    names = [f"image {i // 2}" for i in range(n)]
    return Patches(np.zeros((n, 8, 8, 3), np.uint8), ["one"] * n, names, names)


def test_what_is_measured_follows_the_features():
    """Two starts with one network, a third with one of its own; nothing was trained."""
    rng = np.random.default_rng(0)
    shared, own, another = rng.normal(size=(3, 12, 5))
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    starts = {RANDOM: shared, "b": 3 * shared @ turn + 1, "c": own}
    seen = {("", name, 7): {FIRST: x, DEEPEST: x} for name, x in starts.items()}
    seen |= {("", ANOTHER, 7): {FIRST: another, DEEPEST: another}}
    seen |= {("one", name, 7): dict.fromkeys(PLACES, x) for name, x in starts.items()}
    table = measure(settings(), seen, small())
    c = Cells(table)
    assert set(table["seed"]) == {7}
    at = {"table": "pairs", "place": DECODER, "train": "one", "number": "value"}
    for metric, same in (("debiased_cka", 1), ("neighbours", 1), ("procrustes", 0)):
        assert c(metric, start=RANDOM, other="b", **at)[7] == pytest.approx(same, abs=1e-9)
    assert c("debiased_cka", start=RANDOM, other="c", **at)[7] < 0.7
    before = {"table": "before", "place": FIRST, "train": None, "number": "value"}
    assert c("debiased_cka", start=RANDOM, other=ANOTHER, **before)[7] < 0.7
    moved = c.where(table="moved", metric="debiased_cka", number="value")
    assert len(moved) == 3 * 2
    assert moved["value"].to_numpy() == pytest.approx(np.ones(6))
    assert measure(settings(), seen, small()).equals(table)


def test_maps_hold_all_starts_and_lone_ones_are_turned_onto_the_first():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(12, 5))
    turned = rows @ np.linalg.qr(rng.normal(size=(5, 5)))[0]
    features = {FIRST: {"a": rows, "b": turned, "c": rng.normal(size=(12, 5))}}
    p = settings(metric="euclidean")
    joint = joint_maps(p, features, small())
    assert joint.groupby("start").size().to_dict() == dict.fromkeys("abc", 12)
    assert joint["trust"].between(0, 1).all()
    lone = lone_maps(p, features, small()).set_index(["start", "image"])[["x", "y"]]
    np.testing.assert_allclose(lone.loc["b"], lone.loc["a"], atol=1e-4)
    assert not np.allclose(lone.loc["c"], lone.loc["a"], atol=0.02)


def test_nearest_patches_are_of_other_images():
    angles = np.deg2rad([0, 1, 10, 20, 90, 180, 270])
    # Balanced, so that centring leaves directions as they are.
    rows = np.column_stack([np.cos(angles), np.sin(angles)])
    rows = np.concatenate([rows, -rows])
    sources = ["a", "a", "b", "b", "c", "d", "e", *"fghijkl"]
    # The last but one is the mirror image of 180 degrees, in the query's own direction.
    assert nearest_elsewhere(rows, sources, 0, 3).tolist() == [12, 2, 3]
    assert 1 not in nearest_elsewhere(rows, sources, 0, 99)
    assert len(nearest_elsewhere(rows, sources, 0, 99)) == 12
