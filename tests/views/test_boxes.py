import numpy as np
import pytest
import torch

from helpers.metrics.detection import Instances, encode_masks, from_labels
from helpers.views.boxes import BoxView, draw_box_view, view_image, view_objects

LABELS = np.zeros((20, 30), np.int32)
LABELS[2:7, 3:9] = 1
LABELS[10:18, 12:25] = 2
LABELS[0:3, 26:30] = 3


def objects(crowd=None):
    one = from_labels(LABELS, classes=[2, 1, 3])
    return Instances(one.size, one.boxes, one.labels, one.masks, crowd=crowd)


def drawn(n, size=(20, 30), crop=12, flip="both"):
    generator = torch.Generator().manual_seed(0)
    return [draw_box_view(size, crop, flip, generator) for _ in range(n)]


@pytest.mark.parametrize("flip", ["none", "horizontal", "both"])
def test_objects_move_with_their_image(flip):
    """The label image, seen as an image, shows the same objects."""
    for view in drawn(40, flip=flip):
        labels = view_image(LABELS[:, :, None], view)[:, :, 0]
        seen = view_objects(objects(), view)
        numbers = [n for n in (1, 2, 3) if (labels == n).any()]
        assert seen.labels.tolist() == [{1: 2, 2: 1, 3: 3}[n] for n in numbers]
        for number, mask, box in zip(numbers, seen.masks, seen.boxes, strict=True):
            assert np.array_equal(mask, labels == number)
            rows, columns = np.nonzero(labels == number)
            expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert box.tolist() == expected


def test_boxes_that_are_not_cut_keep_their_width():
    wide = objects()
    wide.boxes[0] = [1.5, 0.5, 10.25, 8.75]
    seen = view_objects(wide, BoxView(0, 0, 12, 12, mirror=True))
    assert seen.boxes[0].tolist() == [12 - 10.25, 0.5, 12 - 1.5, 8.75]


def test_crowds_and_empty_boxes_and_masks_are_left_out():
    crowd = np.array([False, True, False])
    whole = BoxView(0, 0, 20, 30)
    assert view_objects(objects(crowd), whole).labels.tolist() == [2, 3]
    flat = objects()
    flat.boxes[0, 2] = flat.boxes[0, 0]
    assert view_objects(flat, whole).labels.tolist() == [1, 3]
    nothing = encode_masks(np.zeros((1, 20, 30), bool))
    hollow = Instances((20, 30), flat.boxes[2:], flat.labels[2:], nothing)
    seen = view_objects(hollow, whole)
    assert seen.masks.shape == (0, 20, 30)
    assert seen.boxes.shape == (0, 4)


def test_views_are_spread_over_the_image_and_repeat():
    views = drawn(400)
    assert {v.top for v in views} == set(range(9))
    assert {v.left for v in views} == set(range(19))
    assert {(v.mirror, v.upend) for v in views} == {(a, b) for a in (0, 1) for b in (0, 1)}
    assert views == drawn(400)
    assert not any(v.mirror or v.upend for v in drawn(20, flip="none"))
    assert not any(v.upend for v in drawn(20, flip="horizontal"))


def test_a_side_shorter_than_the_window_is_kept_whole():
    (view,) = drawn(1, crop=25, flip="none")
    assert (view.top, view.height, view.width) == (0, 20, 25)
    assert drawn(1, crop=0, flip="none") == [BoxView(0, 0, 20, 30)]
