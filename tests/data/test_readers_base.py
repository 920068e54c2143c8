"""Painting of overlapping instances and renaming of labels, against brute force."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from helpers.data.readers import READERS
from helpers.data.readers.base import make_consecutive, paint

SHAPE = (7, 9)


def disc(row, column, radius):
    rows, columns = np.indices(SHAPE)
    return np.flatnonzero((rows - row) ** 2 + (columns - column) ** 2 <= radius**2)


def test_a_small_instance_on_a_large_one_stays_whole():
    large, small = disc(3, 4, 3), disc(3, 4, 1)
    for order in ([large, small], [small, large]):
        painted = paint(order, SHAPE)
        areas = np.bincount(painted.labels.ravel())[1:]
        expected = [len(large) - len(small), len(small)]
        assert areas.tolist() == (expected if order[0] is large else expected[::-1])
        assert painted.overlap == len(small)
        assert painted.hidden == ()


def test_of_equal_instances_the_first_wins_and_the_hidden_one_is_named():
    painted = paint([disc(3, 4, 1), disc(3, 4, 1), disc(0, 0, 0)], SHAPE)
    assert painted.hidden == (1,)
    assert painted.labels[3, 4] == 1
    assert painted.labels[0, 0] == 2, "the labels close ranks"


def test_empty_instances_and_none_at_all():
    nothing = np.zeros(0, np.int64)
    assert paint([nothing, disc(1, 1, 0)], SHAPE).hidden == (0,)
    assert not paint([], SHAPE).labels.any()


@given(hnp.arrays(bool, (5, *SHAPE), elements=st.booleans()))
@settings(max_examples=60, deadline=None)
def test_painting_equals_a_decision_per_pixel(masks):
    painted = paint([np.flatnonzero(mask) for mask in masks], SHAPE)
    expected = np.zeros(SHAPE, np.int32)
    for place in np.ndindex(SHAPE):
        claims = [(masks[i].sum(), i) for i in range(5) if masks[(i, *place)]]
        expected[place] = min(claims)[1] + 1 if claims else 0
    kept = sorted(set(expected.ravel()) - {0})
    assert painted.hidden == tuple(i for i in range(5) if i + 1 not in kept)
    ranks = {0: 0, **{label: rank for rank, label in enumerate(kept, 1)}}
    np.testing.assert_array_equal(painted.labels, np.vectorize(ranks.get)(expected))
    assert painted.overlap == masks.sum() - masks.any(axis=0).sum()


@pytest.mark.parametrize("top", [5, 2**31 - 1])
@pytest.mark.parametrize("background", [True, False])
def test_labels_become_consecutive_in_their_order(top, background):
    values = np.array([0 if background else 2, 2, 3, top], np.int64)
    labels = np.random.default_rng(0).permutation(np.repeat(values, 6)).reshape(4, 6)
    found = make_consecutive(labels.astype(np.int32))
    assert found.dtype == np.int32
    for rank, value in enumerate([2, 3, top], 1):
        np.testing.assert_array_equal(found == rank, labels == value)
    assert ((found == 0) == (labels == 0)).all()


IDRID = ("A/1. Original Images/a. Training Set/IDRiD_01.JPG",)
IDRID += ("A/2. All Segmentation Groundtruths/a. Training Set/5. Optic Disc/IDRiD_01_OD.TIF",)
COVID = "Infection Segmentation Data/Train/Normal"
FOLDERS = ("images", "lung masks", "infection masks")


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("idrid:optic-disc", IDRID),
        ("covid-qu", [f"{COVID}/{folder}/a.PNG" for folder in FOLDERS]),
        ("cpm17", ["cpm17/train/Images/a.PNG", "cpm17/train/Labels/a.MAT"]),
        ("crag", ["CRAG/train/Images/a.PNG", "CRAG/train/Annotation/a.PNG"]),
        ("tnbc", ["Slide_01/01_1.PNG", "GT_01/01_1.PNG"]),
        ("cellpose", ["train/000_img.PNG", "train/000_masks.PNG"]),
        ("neurips-cellseg", ["Tuning/images/a.TIF", "Tuning/labels/a_label.TIFF"]),
        ("monuseg", ["Tissue Images/TCGA-AA-AAAA-1.TIF", "Annotations/TCGA-AA-AAAA-1.XML"]),
        ("folder", ["a.TIF", "a_MASKS.PNG"]),
    ],
)
def test_endings_in_capitals_count_and_hidden_files_do_not(tmp_path, name, files):
    for file in map(Path, files):
        for path in (file, file.with_name(f"._{file.name}")):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
    [item] = READERS[name].items(tmp_path)
    assert item.image == tmp_path / files[0]
    assert item.labels in {tmp_path / file for file in files[1:]}
