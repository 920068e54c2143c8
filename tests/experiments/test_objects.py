"""Annotated objects: kept as text, found without training."""

import json
from dataclasses import replace

import numpy as np
import pytest

from helpers.experiments.objects import found_without_training, labels_of, pack, unpack
from helpers.metrics.detection import average_precision, from_labels


@pytest.mark.parametrize("scores", [None, np.array([0.5], np.float32)])
def test_packing_loses_nothing(scores):
    labels = np.zeros((40, 60), np.int32)
    labels[3:9, 2:5] = 1
    objects = replace(from_labels(labels), scores=scores)
    again = unpack(json.loads(json.dumps(pack(objects))))
    assert again.masks == objects.masks
    np.testing.assert_array_equal(again.boxes, objects.boxes)
    assert (again.scores is None) == (scores is None)


def test_without_training_bright_blocks_are_found_and_one_box_is_not_them():
    labels = np.zeros((40, 60), np.int32)
    labels[5:15, 5:20], labels[20:35, 30:50] = 1, 2
    image = np.repeat(np.uint8(200 * (labels > 0))[..., None], 3, axis=2)
    truth = from_labels(labels)
    found = found_without_training([(image, truth)])
    assert list(found) == ["Otsu", "every pixel"]
    scores = {n: average_precision([truth], one).boxes.ap for n, one in found.items()}
    assert scores == {"Otsu": 1.0, "every pixel": 0.0}
    # The surest is the largest.
    assert list(found["Otsu"][0].scores) == [300, 150]
    np.testing.assert_array_equal(found["every pixel"][0].boxes, [[0, 0, 60, 40]])


def test_labels_are_those_of_the_objects():
    labels = np.zeros((20, 30), np.int32)
    labels[2:8, 3:10], labels[2:8, 10:16] = 1, 2
    np.testing.assert_array_equal(labels_of(from_labels(labels)), labels)
