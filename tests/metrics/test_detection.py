"""Average precision against plain loops and closed forms; masks against arrays."""

import numpy as np
import pytest

from helpers.metrics.detection import (
    AREA_RANGES,
    Instances,
    average_precision,
    decode_masks,
    encode_masks,
    from_labels,
    mask_areas,
    mask_boxes,
)
from tests.metrics.oracles import scattered_discs

SIZE = (40, 50)
THRESHOLDS = [(50 + 5 * k) / 100 for k in range(10)]


def make(masks, scores=None, labels=None, crowd=None, boxes=None, areas=None) -> Instances:
    """Objects of bool masks (n, h, w), in their tight boxes."""
    masks = np.asarray(masks, bool).reshape(-1, *np.shape(masks)[-2:])
    n = len(masks)
    rles = encode_masks(masks)
    return Instances(
        size=masks.shape[1:],
        boxes=mask_boxes(rles) if boxes is None else np.asarray(boxes, np.float32),
        labels=np.asarray(np.ones(n) if labels is None else labels, np.int64),
        masks=rles,
        scores=None if scores is None else np.asarray(scores, np.float32),
        crowd=None if crowd is None else np.asarray(crowd, bool),
        areas=None if areas is None else np.asarray(areas, np.float64),
    )


def bar(start: int, end: int, height: int = 10) -> np.ndarray:
    """Mask (12, 120) of a bar along the columns."""
    mask = np.zeros((12, 120), bool)
    mask[:height, start:end] = True
    return mask


# ----------------------------------------------------------------------------- an own evaluation


def box_iou(a, b, crowd):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    own, other = ((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
    return common / (own if crowd else own + other - common)


def mask_iou(a, b, crowd):
    return (a & b).sum() / (a.sum() if crowd else (a | b).sum())


def tabled(one: Instances, kind: str) -> list[dict]:
    """The objects of an image as plain records."""
    masks, boxes = decode_masks(one.masks, one.size), one.boxes.astype(float)
    records = []
    for k in range(len(one)):
        x1, y1, x2, y2 = boxes[k]
        own = (x2 - x1) * (y2 - y1) if one.scores is not None and kind == "box" else masks[k].sum()
        records.append(
            {
                "shape": boxes[k] if kind == "box" else masks[k],
                "label": one.labels[k],
                "score": None if one.scores is None else float(one.scores[k]),
                "crowd": one.crowd is not None and one.crowd[k],
                "area": own if one.areas is None else one.areas[k],
            }
        )
    return records


def match(truth, found, threshold, overlap):
    """For each object found, from the surest down: 1 right, 0 wrong, None not counted."""
    taken, results = set(), []
    for one in found:
        best = {False: None, True: None}
        for k, other in enumerate(truth):
            if k in taken and not other["crowd"]:
                continue
            iou = overlap(one["shape"], other["shape"], other["crowd"])
            ignored = other["ignored"]
            if iou >= threshold and (best[ignored] is None or iou >= best[ignored][0]):
                best[ignored] = iou, k
        chosen = best[False] or best[True]
        if chosen:
            taken.add(chosen[1])
            results.append(None if truth[chosen[1]]["ignored"] else 1)
        else:
            results.append(None if one["outside"] else 0)
    return results


def curve(results, n):
    """Interpolated precision at 101 recalls, and the final recall."""
    right = wrong = 0
    points = []
    for one in results:
        if one is None:
            continue
        right, wrong = right + one, wrong + 1 - one
        points.append((right / n, right / (right + wrong)))
    at = [max([p for r, p in points if r >= k / 100], default=0) for k in range(101)]
    return np.mean(at), right / n


def oracle(truth, found, kind, ends=(0, 1e10), limit=100):
    """AP by class and threshold, and recall; classes without objects left out."""
    overlap = box_iou if kind == "box" else mask_iou
    precision, recall = {}, {}
    for label in sorted({int(k) for one in truth for k in one.labels}):
        images = []
        for true, mine in zip(truth, found, strict=True):
            objects = [one for one in tabled(true, kind) if one["label"] == label]
            seen = [one for one in tabled(mine, kind) if one["label"] == label]
            for one in objects + seen:
                one["outside"] = not ends[0] <= one["area"] <= ends[1]
                one["ignored"] = bool(one["crowd"] or one["outside"])
            images.append((objects, sorted(seen, key=lambda one: -one["score"])[:limit]))
        n = sum(not one["ignored"] for objects, _ in images for one in objects)
        for threshold in THRESHOLDS if n else ():
            pool = []
            for objects, seen in images:
                results = match(objects, seen, threshold, overlap)
                pool += zip((one["score"] for one in seen), results, strict=True)
            ordered = [result for _, result in sorted(pool, key=lambda pair: -pair[0])]
            precision[label, threshold], recall[label, threshold] = curve(ordered, n)
    return precision, recall


def mean(values):
    return np.mean(values) if len(values) else np.nan


def ellipse(rng):
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    y, x = rng.uniform(4, 36), rng.uniform(4, 46)
    a, b = rng.uniform(2, 22, size=2)
    return ((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 <= 1


def random_images(seed, n_images=5):
    """Annotated objects with crowds, and objects found: shifted, doubled, invented; tied scores."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(n_images):
        n = int(rng.integers(0, 7))
        masks = np.array([ellipse(rng) for _ in range(n)]).reshape(-1, *SIZE)
        labels = rng.integers(1, 4, n)
        crowd = rng.random(n) < 0.2
        truth.append(make(masks, labels=labels, crowd=crowd if crowd.any() else None))
        seen, named = [], []
        for mask, label in zip(masks, labels, strict=True):
            for _ in range(rng.integers(0, 3)):
                seen.append(np.roll(mask, rng.integers(-2, 3, size=2), axis=(0, 1)))
                named.append(label if rng.random() < 0.8 else rng.integers(1, 5))
        for _ in range(rng.integers(0, 3)):
            seen.append(ellipse(rng))
            named.append(rng.integers(1, 4))
        scores = rng.integers(1, 6, len(seen)) / 8
        found.append(make(np.array(seen).reshape(-1, *SIZE), scores, named))
    return truth, found


@pytest.mark.parametrize("areas", ["coco", "livecell"])
@pytest.mark.parametrize(("seed", "limit"), [(0, 100), (1, 2), (2, 100), (3, 1)])
def test_scores_are_those_of_plain_loops(seed, limit, areas):
    truth, found = random_images(seed)
    scores = average_precision(truth, found, areas=areas, max_detections=limit)
    for kind, mine in (("box", scores.boxes), ("mask", scores.masks)):
        precision, recall = oracle(truth, found, kind, limit=limit)
        assert mine.ap == pytest.approx(mean(list(precision.values())))
        assert mine.ar == pytest.approx(mean(list(recall.values())))
        for value, threshold in ((mine.ap_50, 0.5), (mine.ap_75, 0.75)):
            expected = [ap for (_, t), ap in precision.items() if t == threshold]
            assert value == pytest.approx(mean(expected))
        for name, ends in AREA_RANGES[areas].items():
            expected = mean(list(oracle(truth, found, kind, ends, limit)[0].values()))
            assert getattr(mine, f"ap_{name}") == pytest.approx(expected, nan_ok=True), name


# ----------------------------------------------------------------------------------- closed forms


def test_everything_found_and_nothing_else_is_1():
    masks = [bar(0, 20), bar(30, 70)]
    scores = average_precision([make(masks)], [make(masks, [0.1, 0.9])])
    for mine in (scores.boxes, scores.masks):
        assert (mine.ap, mine.ap_50, mine.ap_75, mine.ar) == (1, 1, 1, 1)
        assert mine.ap_small == 1
        assert np.isnan([mine.ap_medium, mine.ap_large]).all()
    assert scores.as_dict()["mask_ap_75"] == 1
    assert len(scores.as_dict()) == 14


@pytest.mark.parametrize(("overlap", "thresholds"), [(0.47, 0), (0.52, 1), (0.62, 3), (0.97, 10)])
def test_ap_of_one_object_is_the_share_of_thresholds_below_its_iou(overlap, thresholds):
    found = make([bar(0, round(100 * overlap))], [0.5])
    scores = average_precision([make([bar(0, 100)])], [found])
    assert scores.masks.ap == pytest.approx(thresholds / 10)
    assert scores.boxes.ap == pytest.approx(thresholds / 10)
    assert scores.boxes.ar == pytest.approx(thresholds / 10)


def test_a_wrong_one_between_two_right_ones():
    # Precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1: of the 101 recalls 51 see 1 and 50 see 2/3.
    truth = make([bar(0, 20), bar(30, 50)])
    found = make([bar(0, 20), bar(60, 80), bar(30, 50)], [0.9, 0.8, 0.7])
    assert average_precision([truth], [found]).masks.ap == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_the_limit_keeps_the_surest_of_each_image():
    masks = [bar(0, 20), bar(30, 50)]
    scores = average_precision([make(masks)], [make(masks, [0.3, 0.4])], max_detections=1)
    assert scores.masks.ap == pytest.approx(51 / 101)
    assert scores.masks.ar == 0.5


def test_what_lies_in_a_crowd_counts_neither_way():
    truth = make([bar(0, 20), bar(40, 100)], crowd=[False, True])
    inside = make([bar(40, 50), bar(60, 70), bar(0, 20)], [0.9, 0.8, 0.1])
    scores = average_precision([truth], [inside])
    assert scores.masks.ap == scores.boxes.ap == 1


def test_without_objects_undefined_and_without_findings_0():
    nothing = make(np.zeros((0, 12, 120)), [])
    some, seen = make([bar(0, 20)]), make([bar(0, 20)], [0.5])
    empty = make(np.zeros((0, 12, 120)))
    for found in (nothing, seen):
        assert np.isnan(list(average_precision([empty], [found]).as_dict().values())).all()
    crowd = make([bar(0, 20)], crowd=[True])
    for found in (nothing, seen):
        assert np.isnan(list(average_precision([crowd], [found]).as_dict().values())).all()
    missed = average_precision([some, empty], [nothing, nothing])
    assert (missed.masks.ap, missed.boxes.ap_50, missed.masks.ar) == (0, 0, 0)
    assert average_precision([some, empty], [nothing, seen]).masks.ap == 0
    assert np.isnan(average_precision([], []).masks.ap)


@pytest.mark.parametrize(("areas", "medium"), [("coco", (32, 96)), ("livecell", (18, 31))])
def test_both_ends_belong_to_a_range_of_areas(areas, medium):
    for name, side in (("small", medium[0]), ("medium", medium[0]), ("medium", medium[1])):
        mask = np.zeros((100, 100), bool)
        mask[:side, :side] = True
        mine = average_precision([make([mask])], [make([mask], [0.5])], areas=areas).masks
        assert getattr(mine, f"ap_{name}") == 1


def test_stated_areas_decide_the_size_of_annotated_objects():
    mask = np.zeros((100, 100), bool)
    mask[:40, :40] = True
    found = [make([mask], [0.5])]
    own = average_precision([make([mask])], found).masks
    stated = average_precision([make([mask], areas=[900.0])], found).masks
    assert (own.ap_medium, stated.ap_small) == (1, 1)
    assert np.isnan([own.ap_small, stated.ap_medium]).all()


# ------------------------------------------------------------------------------ masks and objects


@pytest.mark.parametrize("seed", range(4))
def test_label_images_become_the_masks_and_boxes_of_their_numbers(seed):
    rng = np.random.default_rng(seed)
    labels = scattered_discs(rng, (37, 23), 12, 9) * 3
    if seed == 3:  # noise: many pieces, runs across the ends of columns
        labels = rng.integers(0, 5, (9, 8)).astype(np.int32)
    present = np.unique(labels[labels > 0])
    masks = labels == present[:, None, None]
    objects = from_labels(labels)
    np.testing.assert_array_equal(decode_masks(objects.masks, objects.size), masks)
    assert [one["counts"] for one in objects.masks] == [
        one["counts"] for one in encode_masks(masks)
    ]
    np.testing.assert_array_equal(mask_areas(objects.masks), masks.sum(axis=(1, 2)))
    for box, mask in zip(objects.boxes, masks, strict=True):
        rows, columns = np.nonzero(mask)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert (objects.labels == 1).all()
    assert objects.scores is objects.crowd is objects.areas is None


@pytest.mark.parametrize("value", [0, 1])
def test_label_images_of_one_value(value):
    objects = from_labels(np.full((3, 4), value, np.uint16))
    assert len(objects) == value
    assert decode_masks(objects.masks, (3, 4)).sum() == 12 * value
    assert objects.boxes.shape == (value, 4)


def test_masks_survive_encoding():
    masks = np.random.default_rng(0).random((6, 11, 7)) < np.linspace(0, 1, 6)[:, None, None]
    rles = encode_masks(masks)
    assert all(isinstance(one["counts"], bytes) for one in rles)
    np.testing.assert_array_equal(decode_masks(rles, (11, 7)), masks)
    assert encode_masks(np.zeros((0, 5, 6))) == ()
    assert decode_masks((), (5, 6)).shape == (0, 5, 6)
