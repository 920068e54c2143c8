"""The one call: its fields, and what it says of empty maps."""

import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from helpers.metrics import METRICS, evaluate

EMPTY = np.zeros((6, 8), np.int32)
OBJECTS = EMPTY.copy()
OBJECTS[1:3, 1:4] = 1
OBJECTS[4:, 5:] = 2
SCORES = [name for name in METRICS if name not in ("accuracy", "n_true", "n_predicted")]


def test_fields_and_their_order():
    found = evaluate(OBJECTS, OBJECTS)
    assert tuple(found.as_dict()) == METRICS
    assert [name for name in METRICS if name.startswith("ap_")] == [
        f"ap_{t}" for t in range(50, 100, 5)
    ]
    assert all(type(value) in (int, float) for value in found.as_dict().values())
    with pytest.raises(FrozenInstanceError):
        found.iou = 0


def test_as_dict_is_a_copy():
    found = evaluate(OBJECTS, OBJECTS)
    found.as_dict()["iou"] = 0
    assert found.iou == 1


@pytest.mark.parametrize(("truth", "prediction"), [(EMPTY, OBJECTS), (OBJECTS, EMPTY)])
@pytest.mark.filterwarnings("error")
def test_one_empty_map_scores_zero(truth, prediction):
    found = evaluate(truth, prediction)
    assert [getattr(found, name) for name in SCORES] == [0] * len(SCORES)
    assert found.accuracy == pytest.approx(1 - 12 / 48)
    assert {found.n_true, found.n_predicted} == {0, 2}


@pytest.mark.filterwarnings("error")
def test_two_empty_maps_are_undefined():
    found = evaluate(EMPTY, EMPTY)
    assert all(math.isnan(getattr(found, name)) for name in SCORES)
    assert (found.accuracy, found.n_true, found.n_predicted) == (1, 0, 0)


def test_no_background_at_all():
    found = evaluate(OBJECTS + 1, OBJECTS + 1)
    assert (found.accuracy, found.iou, found.pq, found.n_true) == (1, 1, 1, 3)


def test_disjoint_foregrounds():
    found = evaluate(OBJECTS, OBJECTS[::-1, ::-1] * (OBJECTS == 0))
    assert found.iou == found.aji == found.aji_cellpose == found.ap == 0
    assert found.accuracy < 1


def test_gaps_in_the_labels_are_no_objects():
    assert evaluate(OBJECTS * 50, OBJECTS * 7) == evaluate(OBJECTS, OBJECTS)


def test_an_object_may_have_parts():
    parted = np.array([[3, 3, 0, 3, 3]])
    whole = np.array([[1, 1, 1, 1, 1]])
    found = evaluate(parted, whole)
    assert (found.n_true, found.pq) == (1, pytest.approx(4 / 5))


def test_numba_is_loaded_at_the_first_call_only():
    import subprocess
    import sys

    code = "import sys, helpers.metrics; assert not {'numba', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
