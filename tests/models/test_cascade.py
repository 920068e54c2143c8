import os
import resource
import time

import numpy as np
import pytest
import torch
from torch import nn

from helpers.metrics.detection import decode_masks
from helpers.models import cascade
from helpers.models.cascade import (
    AnchorSpec,
    DetectorSpec,
    anchor_backbone,
    build_detector,
    image_tensor,
    paste_masks,
    predict_instances,
)
from helpers.models.encoders import EncoderSpec, build_encoder
from helpers.models.l2sp import decay_groups
from tests.models.tiny_detector import EMPTY, SCENES, SPEC, spec

EVERYTHING = spec(score_threshold=0.0)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def target(objects):
    masks = torch.from_numpy(decode_masks(objects.masks, objects.size).astype(np.uint8))
    boxes, labels = (torch.from_numpy(part) for part in (objects.boxes, objects.labels))
    return {"boxes": boxes, "labels": labels, "masks": masks}


def same(first, second):
    return (
        np.array_equal(first.boxes, second.boxes)
        and np.array_equal(first.scores, second.scores)
        and np.array_equal(first.labels, second.labels)
        and first.masks == second.masks
    )


def test_defaults_are_those_of_livecell():
    spec = DetectorSpec(EncoderSpec("resnet18"), 1)
    assert spec.anchors.sizes == (4, 9, 17, 31, 64, 127)
    assert spec.anchors.levels == (2, 2, 3, 4, 5, 6)
    assert spec.anchors.ratios == (0.25, 0.5, 1.0, 2.0, 4.0)
    assert (spec.proposals_before, spec.proposals_after, spec.detections) == (12000, 3000, 3000)


def test_anchors_have_the_stated_area_and_ratio_at_every_stride():
    anchors = AnchorSpec((3, 5, 10), (1, 1, 2), (0.25, 1.0, 2.0))
    detector = build_detector(spec(anchors=anchors), 0)
    images, _ = detector.transform([torch.rand(3, 30, 20)])
    # Padded to the coarsest stride of the encoder, 16.
    assert images.tensors.shape == (1, 3, 32, 32)
    maps = detector.backbone(images.tensors)
    (boxes,) = detector.rpn.anchor_generator(images, [maps[name] for name in detector.rpn.names])
    sides = (boxes[:, 2:] - boxes[:, :2]).double()
    start = 0
    for size, level in zip(anchors.sizes, anchors.levels, strict=True):
        count = (32 // 2**level) ** 2
        part = sides[start : start + 3 * count]
        torch.testing.assert_close(
            part.prod(dim=1), torch.full((3 * count,), size**2.0).double(), rtol=1e-4, atol=0
        )
        ratios = torch.tensor(anchors.ratios).repeat(count).double()
        torch.testing.assert_close(part[:, 1] / part[:, 0], ratios, rtol=1e-4, atol=0)
        centres = ((boxes[:, :2] + boxes[:, 2:]) / 2)[start : start + 3 * count : 3]
        places = torch.arange(0.0, 32, 2**level)
        torch.testing.assert_close(centres, torch.cartesian_prod(places, places).flip(1))
        start += 3 * count
    assert start == len(boxes)


@pytest.mark.parametrize("size", [(96, 96), (33, 70), (20, 21)])
def test_images_of_any_size_keep_it(size):
    image = noise(*size)
    detector = build_detector(EVERYTHING, 0)
    images, _ = detector.transform([image_tensor(image)])
    padded = images.tensors[0]
    mean, std = (torch.tensor(part)[:, None, None] for part in (SPEC.mean, SPEC.std))
    inside = padded[:, : size[0], : size[1]] * std + mean
    np.testing.assert_allclose(inside * 255, image.transpose(2, 0, 1), atol=1e-3)
    assert padded[:, size[0] :].abs().sum() == padded[:, :, size[1] :].abs().sum() == 0
    (found,) = predict_instances(detector, [image])
    assert found.size == size
    assert 0 < len(found) <= SPEC.detections
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [size[1], size[0]] * 2).all()
    assert (np.diff(found.scores) <= 0).all()
    assert set(found.labels) <= {1, 2}


def test_what_was_seen_before_does_not_matter():
    small, image = noise(18, 18), noise(80, 64, 1)
    fresh, used = (build_detector(EVERYTHING, 0) for _ in range(2))
    _, second = predict_instances(used, [small, image])
    (first,) = predict_instances(fresh, [image])
    assert same(first, second)


def test_parts_change_nothing(monkeypatch):
    detector, image = build_detector(EVERYTHING, 0), noise(64, 64)
    (whole,) = predict_instances(detector, [image])
    monkeypatch.setattr(cascade, "_PIXELS_AT_ONCE", 3 * 64 * 64)
    monkeypatch.setattr(cascade, "_BOXES_AT_ONCE", 1)
    monkeypatch.setattr("helpers.models.cascade_heads._AT_ONCE", 7)
    (parts,) = predict_instances(detector, [image])
    assert len(whole) == 20
    np.testing.assert_allclose(parts.boxes, whole.boxes, atol=1e-4)
    np.testing.assert_allclose(parts.scores, whole.scores, atol=1e-6)
    masks = [decode_masks(one.masks, one.size) for one in (parts, whole)]
    assert (masks[0] != masks[1]).mean() < 1e-3


def test_nothing_found_is_no_error():
    (found,) = predict_instances(build_detector(spec(score_threshold=1.0), 0), [noise(40, 40)])
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)
    assert found.masks == ()


def test_half_precision_keeps_boxes_in_full():
    detector, image = build_detector(EVERYTHING, 0), noise(64, 64)
    seen = []
    detector.roi_heads.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1][0]))
    (found,) = predict_instances(detector, [image], precision="bfloat16")
    assert seen[0].dtype == torch.float32
    # Numbers of eight bits would have no fraction at half of the image.
    assert (seen[0] > 32).any()
    assert (seen[0][seen[0] > 32] % 0.25 != 0).any()
    assert len(found) > 0


def test_empty_images_are_trained_on_beside_others_and_alone():
    detector = build_detector(SPEC, 0).train()
    batches = [[EMPTY, SCENES[0]], [EMPTY]]
    for batch in batches:
        detector.zero_grad()
        images = [image_tensor(image) for image, _ in batch]
        losses = detector(images, [target(objects) for _, objects in batch])
        assert all(torch.isfinite(loss) for loss in losses.values())
        assert set(losses) == {
            "loss_objectness",
            "loss_rpn_box_reg",
            "loss_mask",
            *(f"loss_{part}_{k}" for part in ("classifier", "box_reg") for k in (1, 2, 3)),
        }
        sum(losses.values()).backward()
    assert losses["loss_mask"] == 0
    assert losses["loss_box_reg_1"] == 0


def test_pasted_masks_are_those_of_a_double_loop():
    rng = np.random.default_rng(0)
    masks, size = rng.random((2, 6, 6)), (14, 17)
    boxes = np.array([[2.3, 1.6, 11.2, 12.9], [-3.0, 5.5, 4.5, 9.0]])
    expected = np.zeros((2, *size))
    for k, (x1, y1, x2, y2) in enumerate(boxes):
        for row in range(size[0]):
            for column in range(size[1]):
                if not (y1 <= row + 0.5 <= y2 and x1 <= column + 0.5 <= x2):
                    continue
                v = min(max((row + 0.5 - y1) / (y2 - y1) * 6 - 0.5, 0), 5)
                u = min(max((column + 0.5 - x1) / (x2 - x1) * 6 - 0.5, 0), 5)
                i, j = min(int(v), 4), min(int(u), 4)
                v, u = v - i, u - j
                expected[k, row, column] = (
                    masks[k, i, j] * (1 - v) * (1 - u)
                    + masks[k, i, j + 1] * (1 - v) * u
                    + masks[k, i + 1, j] * v * (1 - u)
                    + masks[k, i + 1, j + 1] * v * u
                )
    found = paste_masks(torch.tensor(masks), torch.tensor(boxes), size)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_a_full_mask_fills_its_box_to_the_pixel():
    found = paste_masks(torch.ones(1, 28, 28), torch.tensor([[3.0, 5.0, 10.0, 9.0]]), (12, 12))[0]
    expected = torch.zeros(12, 12)
    expected[5:9, 3:10] = 1
    torch.testing.assert_close(found, expected)


def test_heads_depend_on_the_seed_and_not_on_the_backbone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = build_detector(SPEC, 0)
    second = build_detector(SPEC, 0, build_encoder(SPEC.backbone, 9))
    other = build_detector(SPEC, 1)
    assert torch.equal(torch.get_rng_state(), state)
    differ = [
        n for n, w in first.state_dict().items() if not torch.equal(w, second.state_dict()[n])
    ]
    assert differ
    assert all(name.startswith("backbone.body.") for name in differ)
    assert not torch.equal(first.rpn.head.cls_logits.weight, other.rpn.head.cls_logits.weight)


def test_the_anchor_holds_the_encoder_alone_and_takes_its_decay_away():
    detector = build_detector(SPEC, 0)
    anchor = anchor_backbone(detector, 0.1)
    convolutions = [
        f"backbone.body.{name}.weight"
        for name, module in detector.backbone.body.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    assert sorted(anchor.names) == sorted(convolutions)
    groups = decay_groups(detector, 1e-4, anchor)
    assert {g["weight_decay"]: len(g["params"]) for g in groups}[0.0] == len(convolutions)


@pytest.mark.slow
@pytest.mark.skipif("RESNEST_200" not in os.environ, reason="70 million weights: set RESNEST_200=1")
def test_resnest_200_trains_and_predicts():
    detector = build_detector(DetectorSpec(EncoderSpec("tu-resnest200e"), 2), 0).train()
    pairs = SCENES[:2]
    begin = time.perf_counter()
    losses = detector([image_tensor(i) for i, _ in pairs], [target(o) for _, o in pairs])
    sum(losses.values()).backward()
    stepped = time.perf_counter()
    found = predict_instances(detector, [image for image, _ in pairs])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"step {stepped - begin:.1f} s, two predictions {time.perf_counter() - stepped:.1f} s, "
          f"{peak:.1f} GiB")  # fmt: skip
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert len(found) == 2
