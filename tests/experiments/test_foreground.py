import itertools
from dataclasses import replace

import numpy as np
import pytest

from helpers.data.readers import Item
from helpers.errors import DataError, ParameterError
from helpers.experiments.foreground import (
    ForegroundSettings,
    as_bytes,
    prepare_foreground,
    share_of,
    shrink,
)
from helpers.experiments.tasks import split_items

SETTINGS = ForegroundSettings("synthetic-histo", 8, 64, 1.0, 0.25, 0.2, 0, 0)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return prepare_foreground(SETTINGS, tmp_path_factory.mktemp("cache"))


def test_parts_hold_every_image_once_in_its_own_colours(task):
    from helpers.data.datasets import SyntheticSpec, open_dataset

    dataset = open_dataset("synthetic-histo", synthetic=SyntheticSpec(8, 0, (64, 64)))
    samples = {sample.id: sample for sample in dataset}
    parts = {name: task.part(name) for name in ("train", "validation", "test")}
    assert sorted(i for part in parts.values() for i in part.ids) == sorted(samples)
    assert {name: [len(p), len(set(p.groups))] for name, p in parts.items()} == task.counts
    for part in parts.values():
        for name, image, mask in zip(part.ids, part.images, part.masks, strict=True):
            assert (image == samples[name].image).all()
            assert (mask == (samples[name].labels > 0)).all()


def test_prepared_once_and_found_again(task, monkeypatch):
    def fail(*_):
        raise AssertionError("read again")

    monkeypatch.setattr("helpers.experiments.foreground._build", fail)
    assert prepare_foreground(SETTINGS, task.folder.parent) == task


def test_at_most_so_many_are_tested_on(tmp_path):
    few = prepare_foreground(replace(SETTINGS, max_test_images=1), tmp_path)
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


@pytest.mark.parametrize(("n", "share"), [(0, 0.5), (5, 0.0), (5, 1.1)])
def test_no_share_of_nothing(n, share):
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


def test_grey_is_repeated_and_other_images_are_refused():
    grey = np.full((4, 5, 1), 7.0, np.float32)
    assert as_bytes(grey, "a").shape == (4, 5, 3)
    for wrong in (np.full((4, 5, 3), 300.0, np.float32), np.zeros((4, 5, 2), np.float32)):
        with pytest.raises(DataError, match=r"image 'b'.*8 bits"):
            as_bytes(wrong, "b")


def test_a_scale_above_one_is_refused():
    with pytest.raises(ParameterError, match="scale=2"):
        replace(SETTINGS, scale=2)


def _items(groups, parts):
    return [
        Item(f"i{k}", group, None, None, part)
        for k, (group, part) in enumerate(zip(groups, parts, strict=True))
    ]


def test_an_official_split_is_taken_unless_it_tears_patients_apart():
    parts = ["train"] * 6 + ["test"] * 2
    sound = _items("aabbccdd", parts)
    assert {i.group for i in split_items(sound, SETTINGS)[2]} == {"d"}
    torn = _items("aabbccad", parts)
    found = [{i.group for i in part} for part in split_items(torn, SETTINGS)]
    assert not (found[0] | found[1]) & found[2]
