import math

import numpy as np
import pytest
import torch

from helpers.models import cascade_heads
from helpers.models.cascade import build_detector
from helpers.models.cascade_heads import (
    HeadSpec,
    assign,
    average_scores,
    move_boxes,
    scale_gradient,
)
from helpers.randomness import global_seed
from tests.models.tiny_detector import spec

STAGES = (0, 1, 2)


@pytest.fixture(scope="module")
def stages():
    return build_detector(spec(), 0).roi_heads.stages


def random_boxes(n, seed, side=90.0):
    rng = np.random.default_rng(seed)
    corners, sides = rng.uniform(0, side / 2, (n, 2)), rng.uniform(4, side / 2, (n, 2))
    return torch.tensor(np.hstack([corners, corners + sides]), dtype=torch.float32)


def near(boxes, n, seed):
    """Boxes around others, so that every stage has some that it takes and some that it does not."""
    shift = torch.tensor(np.random.default_rng(seed).uniform(-6, 6, (n, 4)), dtype=torch.float32)
    moved = boxes[torch.arange(n) % len(boxes)] + shift
    return torch.cat([moved[:, :2], torch.maximum(moved[:, 2:], moved[:, :2] + 1)], dim=1)


def code(truth, box, weights):
    """Box code of one pair, arXiv 1712.00726 Eq. 2 with weights in place of deviations."""
    (tx1, ty1, tx2, ty2), (x1, y1, x2, y2) = truth, box
    width, height = x2 - x1, y2 - y1
    return [
        weights[0] * ((tx1 + tx2) / 2 - (x1 + x2) / 2) / width,
        weights[1] * ((ty1 + ty2) / 2 - (y1 + y2) / 2) / height,
        weights[2] * math.log((tx2 - tx1) / width),
        weights[3] * math.log((ty2 - ty1) / height),
    ]


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    areas = sum((one[2] - one[0]) * (one[3] - one[1]) for one in (a, b))
    return both / (areas - both)


@pytest.mark.parametrize("number", STAGES)
def test_codes_are_those_of_a_double_loop(stages, number):
    truth, boxes = random_boxes(5, 1), random_boxes(7, 2)
    weights = spec().box_weights[number]
    for t in truth:
        found = stages[number].box_coder.encode_single(t.expand(7, 4), boxes)
        expected = [code(t.tolist(), box.tolist(), weights) for box in boxes]
        torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("number", STAGES)
def test_boxes_that_follow_their_codes_arrive(stages, number):
    truth, boxes = random_boxes(7, 3), random_boxes(7, 4)
    deltas = stages[number].box_coder.encode_single(truth, boxes).repeat(1, 3)
    moved = move_boxes(stages[number], deltas, [boxes[:4], boxes[4:]], [(90, 90), (30, 40)])
    torch.testing.assert_close(moved[0], truth[:4], rtol=1e-4, atol=1e-3)
    border = torch.tensor([40.0, 30.0, 40.0, 30.0])
    torch.testing.assert_close(moved[1], truth[4:].minimum(border), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("number", STAGES)
def test_assignment_is_that_of_brute_force(stages, number):
    truth = random_boxes(4, 5)
    boxes = torch.cat([near(truth, 60, 6), random_boxes(20, 7)])
    classes = torch.tensor([1, 2, 2, 1])
    (labels,), (goals,) = assign(stages[number], [boxes], [{"boxes": truth, "labels": classes}])
    threshold, weights = spec().stage_ious[number], spec().box_weights[number]
    for k, box in enumerate(boxes.tolist()):
        overlaps = [iou(t, box) for t in truth.tolist()]
        best = int(np.argmax(overlaps))
        assert labels[k] == (classes[best] if overlaps[best] >= threshold else 0)
        if labels[k]:
            expected = torch.tensor(code(truth[best].tolist(), box, weights))
            torch.testing.assert_close(goals[k], expected, rtol=1e-3, atol=1e-3)
    assert 0 < (labels > 0).sum() < 60


def test_later_stages_ask_for_more(stages):
    truth = random_boxes(4, 5)
    boxes, target = [near(truth, 200, 8)], [{"boxes": truth, "labels": torch.ones(4).long()}]
    counts = [int(assign(stage, boxes, target)[0][0].sum()) for stage in stages]
    assert counts[0] > counts[1] > counts[2] > 0


def test_without_objects_or_boxes_nothing_is_assigned(stages):
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()}
    something = {"boxes": random_boxes(2, 0), "labels": torch.ones(2).long()}
    boxes = [random_boxes(3, 1), torch.zeros(0, 4)]
    labels, goals = assign(stages[1], boxes, [nothing, something])
    assert labels[0].tolist() == [0, 0, 0]
    assert labels[1].shape == (0,)
    assert [g.shape for g in goals] == [(3, 4), (0, 4)]


def test_scores_are_averaged_over_the_stages():
    shares = [[0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]]
    # Any constant may be added to logits.
    logits = [torch.tensor([p]).log() + 3 * k for k, p in enumerate(shares)]
    expected = torch.tensor([[0.3, 0.3, 0.4]])
    torch.testing.assert_close(average_scores(logits), expected)


def test_detections_have_averaged_scores_and_the_boxes_of_the_last_stage():
    detector = build_detector(spec(score_threshold=0.0, nms_iou=1.0, detections=1000), 0).eval()
    heads = detector.roi_heads
    said, seen = [], []
    for stage in heads.stages:
        # Far from their start, so that stages differ in scores and move their boxes.
        torch.nn.init.normal_(stage.box_predictor.cls_score.weight, std=0.5)
        torch.nn.init.normal_(stage.box_predictor.bbox_pred.weight, std=0.3)
        stage.box_predictor.register_forward_hook(lambda module, inputs, out: said.append(out))
        stage.box_roi_pool.register_forward_pre_hook(
            lambda module, inputs: seen.append(inputs[1][0])
        )
    with torch.no_grad():
        (found,) = detector([torch.rand(3, 64, 64)])
    scores = torch.stack([logits.softmax(1) for logits, _ in said]).mean(0)[:, 1:]
    first, second, third = seen
    assert len(first) == len(second) == len(third) == 50
    coders = [stage.box_coder for stage in heads.stages]
    for before, after, (_, deltas), coder in zip(seen, seen[1:], said, coders, strict=False):
        expected = coder.decode_single(deltas[:, :4], before).clamp(0, 64)
        torch.testing.assert_close(after, expected)
    last = coders[2].decode_single(said[2][1][:, :4], third).clamp(0, 64)
    kept = ((last[:, 2:] - last[:, :2]) >= 1e-2).all(dim=1)
    order = scores[kept].flatten().sort(descending=True)
    torch.testing.assert_close(found["scores"], order.values)
    torch.testing.assert_close(found["boxes"], last[kept][order.indices // 2])
    assert found["labels"].tolist() == (order.indices % 2 + 1).tolist()


def test_a_scaled_gradient_leaves_the_values():
    values = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    out = scale_gradient(values, 1 / 3)
    assert torch.equal(out, values)
    (out**2).sum().backward()
    torch.testing.assert_close(values.grad, 2 * values.detach() / 3)


def losses_and_gradients():
    """Per stage: loss of the scores, its gradient at the maps and at the stage's own layer."""
    detector = build_detector(spec(), 0).train()
    heads = detector.roi_heads
    rng = torch.Generator().manual_seed(0)
    maps = {
        name: torch.rand(1, 16, 64 // stride, 64 // stride, generator=rng).requires_grad_()
        for name, stride in heads.strides.items()
    }
    truth = torch.tensor([[5.0, 5.0, 30.0, 35.0], [30.0, 32.0, 60.0, 60.0]])
    masks = torch.ones(2, 64, 64, dtype=torch.uint8)
    target = {"boxes": truth, "labels": torch.tensor([1, 2]), "masks": masks}
    proposals = [near(truth, 40, 9).clamp(0, 64)]
    with global_seed(0):
        _, losses = heads(maps, proposals, [(64, 64)], [target])
    out = []
    for number, stage in enumerate(heads.stages, 1):
        loss = losses[f"loss_classifier_{number}"]
        to = (maps["p2"], stage.box_predictor.cls_score.weight)
        out.append((loss.detach(), *torch.autograd.grad(loss, to, retain_graph=True)))
    return out


def test_a_third_of_the_gradient_reaches_the_maps(monkeypatch):
    scaled = losses_and_gradients()
    monkeypatch.setattr(cascade_heads, "scale_gradient", lambda values, factor: values)
    for one, other in zip(scaled, losses_and_gradients(), strict=True):
        assert one[1].abs().sum() > 0
        torch.testing.assert_close(other[0], one[0])
        torch.testing.assert_close(one[1], other[1] / 3)
        torch.testing.assert_close(one[2], other[2])


def test_mask_targets_lie_on_the_pixels_and_only_those_asked_for_are_sampled(monkeypatch):
    from torchvision.models.detection.roi_heads import project_masks_on_boxes

    heads = build_detector(spec(), 0).roi_heads.train()
    asked = {}

    def loss(logits, boxes, masks, labels, places):
        asked.update(boxes=boxes[0], masks=masks[0], labels=labels[0], places=places[0])
        return logits.sum()

    monkeypatch.setattr(cascade_heads, "maskrcnn_loss", loss)
    masks = torch.zeros(3, 64, 64, dtype=torch.uint8)
    masks[1, 8:36, 8:36] = 1
    masks[2, 10:38, 24:52] = 1
    target = {"masks": masks, "labels": torch.tensor([1, 2, 1])}
    # The second object exactly, twice as wide, and a box of the ground.
    boxes = torch.tensor([[8.0, 8.0, 36.0, 36.0], [8.0, 8.0, 64.0, 36.0], [0.0, 0.0, 9.0, 9.0]])
    maps = {n: torch.rand(1, 16, 64 // s, 64 // s) for n, s in heads.strides.items()}
    matched, labels = [torch.tensor([1, 1, 0])], [torch.tensor([2, 2, 0])]
    heads._mask_loss(maps, [boxes], matched, labels, [target])
    assert torch.equal(asked["masks"], masks[1:2])
    assert asked["labels"].tolist() == [2]
    exact, wide = project_masks_on_boxes(
        asked["masks"], asked["boxes"], asked["places"], cascade_heads.MASK_SIDE
    )
    torch.testing.assert_close(exact, torch.ones(28, 28))
    torch.testing.assert_close(wide[:, :14], torch.ones(28, 14))
    assert wide[:, 15:].abs().sum() == 0


def test_norms_of_the_heads():
    heads = HeadSpec(channels=36, box_convs=2, box_features=8, mask_convs=2)
    modules = list(build_detector(spec(heads=heads), 0).roi_heads.modules())
    # Two for each of three stages and two for the masks; 18 is the most that divides 36.
    assert [m.num_groups for m in modules if isinstance(m, torch.nn.GroupNorm)] == [18] * 8
