"""Heads of a Cascade Mask R-CNN (Cai & Vasconcelos 2018, arXiv 1712.00726) out of torchvision's.

Every stage is one of torchvision's box heads (``RoIHeads``) with its own IoU and box weights:
sampling, assignment, box coding, losses and the suppression of duplicates are torchvision's. New
here is what lies between them: each stage is asked about the boxes that the one before has moved,
the scores of all stages are averaged, and the masks are those of the final boxes.

As in detectron2, proposals are sampled once, before the first stage, and only re-assigned at later
ones, without the annotated boxes being added anew; the mask head learns from the sampled proposals
of the first stage; box regression is the same for all classes. Differences from detectron2 that
come with torchvision: the box loss is smooth L1 with beta 1/9 (there L1), and regions are pooled
with two samples per bin on a grid half a cell off. Masks are free of that shift: their targets are
sampled at the pixels' centres.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import (
    RoIHeads,
    fastrcnn_loss,
    maskrcnn_inference,
    maskrcnn_loss,
)
from torchvision.ops import MultiScaleRoIAlign, clip_boxes_to_image, remove_small_boxes

Maps = dict[str, torch.Tensor]
Target = dict[str, torch.Tensor]

MASK_SIDE = 28
"""Of the predicted masks; half of it is pooled."""

_BOX_SIDE = 7
# Regions whose features are held at a time in prediction.
_AT_ONCE = 256
# Sides in pixels below which a moved box is dropped in training, where its logarithm is needed.
_SMALLEST = 1e-3


@dataclass(frozen=True)
class HeadSpec:
    """Size of the heads; the defaults are LIVECell's (4 + 1 layers for boxes, 8 for masks).

    Behind each convolution is a group normalisation (Wu & He 2018, arXiv 1803.08494; at most 32
    groups), which does with any number of images what LIVECell's box heads do by batch statistics
    over 16 images on several devices.

    Attributes:
        channels: of the convolutions.
        box_convs, box_features: convolutions of a box head, and width of the layer behind them.
        mask_convs: convolutions of the mask head before it is upsampled.
    """

    channels: int = 256
    box_convs: int = 4
    box_features: int = 1024
    mask_convs: int = 8


class CascadeHeads(nn.Module):
    """Stages and mask head, in the place of torchvision's ``RoIHeads``.

    Losses of the stages are unweighted, and gradients that reach the maps are divided by the number
    of stages, as in detectron2.

    Args:
        spec: of the detector (:class:`helpers.models.cascade.DetectorSpec`).
        strides: of the maps to pool from, by name, fine to coarse.

    Attributes:
        stages: torchvision's box heads, one per IoU.
    """

    def __init__(self, spec: Any, strides: dict[str, int]) -> None:
        super().__init__()
        heads = spec.heads
        self.strides = strides
        self.stages = nn.ModuleList(
            _stage(spec, number, list(strides)) for number in range(len(spec.stage_ious))
        )
        self.mask_roi_pool = MultiScaleRoIAlign(list(strides), MASK_SIDE // 2, sampling_ratio=2)
        layers = [heads.channels] * heads.mask_convs
        self.mask_head = MaskRCNNHeads(spec.channels, layers, 1, _group_norm)
        self.mask_predictor = MaskRCNNPredictor(heads.channels, heads.channels, spec.n_classes + 1)

    def forward(
        self,
        features: Maps,
        proposals: list[torch.Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[Target] | None = None,
    ) -> tuple[list[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
        """As torchvision's ``RoIHeads``.

        Args:
            features: maps (n, channels, h / stride, w / stride) by name; others are not used.
            proposals: float32 (k, 4) for each of n images, x1 y1 x2 y2 in pixels.
            image_shapes: height and width of each image without padding.
            targets: torchvision's, in training.

        Returns:
            In training no detections, and the losses, whose sum is to be minimised: of the stages
            ``loss_classifier_K`` and ``loss_box_reg_K``, and ``loss_mask``. Else for each
            image ``boxes``, ``labels``, ``scores`` and ``masks``, probabilities float32
            (detections, 28, 28) within the boxes; and no losses.
        """
        if self.training:
            return [], self._losses(features, proposals, image_shapes, targets)
        return self._detections(features, proposals, image_shapes), {}

    def _losses(
        self,
        features: Maps,
        proposals: list[torch.Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[Target],
    ) -> dict[str, torch.Tensor]:
        first = self.stages[0]
        boxes, matched, labels, goals = first.select_training_samples(proposals, targets)
        losses = {"loss_mask": self._mask_loss(features, boxes, matched, labels, targets)}
        for number, stage in enumerate(self.stages):
            logits, deltas = self._run(stage, features, boxes)
            parts = _stage_losses(logits, deltas, labels, goals)
            for name, part in zip(("classifier", "box_reg"), parts, strict=True):
                losses[f"loss_{name}_{number + 1}"] = part
            if number + 1 < len(self.stages):
                boxes = move_boxes(stage, deltas.detach(), boxes, image_shapes)
                boxes = [one[remove_small_boxes(one, _SMALLEST)] for one in boxes]
                labels, goals = assign(self.stages[number + 1], boxes, targets)
        return losses

    def _run(
        self, stage: RoIHeads, features: Maps, boxes: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (k, n_classes + 1) and regression (k, (n_classes + 1) * 4) of all boxes."""
        pooled = stage.box_roi_pool(features, boxes, self._shapes(features))
        pooled = scale_gradient(pooled, 1 / len(self.stages))
        return stage.box_predictor(stage.box_head(pooled))

    def _mask_logits(self, features: Maps, boxes: list[torch.Tensor]) -> torch.Tensor:
        pooled = self.mask_roi_pool(features, boxes, self._shapes(features))
        return self.mask_predictor(self.mask_head(pooled)).float()

    def _mask_loss(
        self,
        features: Maps,
        boxes: list[torch.Tensor],
        matched: list[torch.Tensor],
        labels: list[torch.Tensor],
        targets: list[Target],
    ) -> torch.Tensor:
        """Of the sampled proposals that show an object; 0 where none does."""
        chosen = [torch.where(one > 0)[0] for one in labels]
        boxes = [one[here] for one, here in zip(boxes, chosen, strict=True)]
        if not sum(map(len, boxes)):
            return boxes[0].new_zeros(())
        # torchvision makes numbers of 4 bytes of every mask it is given: only those asked for.
        asked = [
            one[here].unique(return_inverse=True) for one, here in zip(matched, chosen, strict=True)
        ]
        masks, classes = (
            [target[name][kept] for target, (kept, _) in zip(targets, asked, strict=True)]
            for name in ("masks", "labels")
        )
        # torchvision samples masks as if a pixel's centre had whole coordinates: half a pixel less
        # is right for boxes that count from the pixels' edges.
        centred = [one - 0.5 for one in boxes]
        places = [place for _, place in asked]
        return maskrcnn_loss(self._mask_logits(features, boxes), centred, masks, classes, places)

    def _detections(
        self,
        features: Maps,
        proposals: list[torch.Tensor],
        image_shapes: list[tuple[int, int]],
    ) -> list[dict[str, torch.Tensor]]:
        boxes, logits = proposals, []
        deltas = None
        for number, stage in enumerate(self.stages):
            if number:
                boxes = move_boxes(self.stages[number - 1], deltas, boxes, image_shapes)
            parts = [self._run(stage, one, [part]) for one, part in _in_parts(features, boxes)]
            scores, deltas = (torch.cat(part) for part in zip(*parts, strict=True))
            logits.append(scores)
        # What torchvision takes the softmax of: these give back the averages.
        averaged = average_scores(logits).log()
        found = self.stages[-1].postprocess_detections(averaged, deltas, boxes, image_shapes)
        results = [
            dict(zip(("boxes", "scores", "labels"), one, strict=True))
            for one in zip(*found, strict=True)
        ]
        for number, result in enumerate(results):
            result["masks"] = self._masks(_one(features, number), result)
        return results

    def _masks(self, features: Maps, result: dict[str, torch.Tensor]) -> torch.Tensor:
        parts = [result["boxes"].new_zeros((0, MASK_SIDE, MASK_SIDE))]
        for first in range(0, len(result["boxes"]), _AT_ONCE):
            boxes, labels = (result[n][first : first + _AT_ONCE] for n in ("boxes", "labels"))
            logits = self._mask_logits(features, [boxes])
            parts.append(maskrcnn_inference(logits, [labels])[0][:, 0])
        return torch.cat(parts)

    def _shapes(self, features: Maps) -> list[tuple[int, int]]:
        """Height and width with padding, from which torchvision infers the strides, once."""
        name, stride = next(iter(self.strides.items()))
        height, width = features[name].shape[-2:]
        return [(height * stride, width * stride)]


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: torch.Tensor, factor: float) -> torch.Tensor:
        context.factor = factor
        return values.view_as(values)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient * context.factor, None


def scale_gradient(values: torch.Tensor, factor: float) -> torch.Tensor:
    """The values as they are; on the way back their gradient is multiplied by ``factor``."""
    return _ScaleGradient.apply(values, factor)


def average_scores(logits: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean over the stages of the class probabilities, (k, n_classes + 1) of as many logits."""
    return torch.stack([one.softmax(dim=1) for one in logits]).mean(dim=0)


def move_boxes(
    stage: RoIHeads,
    deltas: torch.Tensor,
    boxes: list[torch.Tensor],
    image_shapes: list[tuple[int, int]],
) -> list[torch.Tensor]:
    """Boxes (k, 4) per image after a stage, clipped to the images.

    Args:
        deltas: (k over all images, (n_classes + 1) * 4) of that stage, equal for all classes.
    """
    moved = stage.box_coder.decode_single(deltas[:, :4], torch.cat(boxes))
    parts = moved.split([len(one) for one in boxes])
    return [clip_boxes_to_image(one, size) for one, size in zip(parts, image_shapes, strict=True)]


def assign(
    stage: RoIHeads, boxes: list[torch.Tensor], targets: list[Target]
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Labels and regression goals of boxes by the IoU and the box weights of a stage.

    A box has the class of the annotated object that it overlaps most, if their IoU reaches the
    stage's, and 0 otherwise.

    Args:
        boxes: float32 (k, 4) per image, none of them empty.
        targets: ``boxes`` and ``labels`` are used.

    Returns:
        Int64 (k,) and float32 (k, 4) per image; goals of boxes with label 0 mean nothing.
    """
    labels, goals = [], []
    for one, target in zip(boxes, targets, strict=True):
        truth = target["boxes"].to(one.dtype)
        if not len(truth) or not len(one):
            labels.append(torch.zeros(len(one), dtype=torch.int64, device=one.device))
            goals.append(torch.zeros_like(one))
            continue
        matched, classes = stage.assign_targets_to_proposals([one], [truth], [target["labels"]])
        labels.append(classes[0])
        goals.append(stage.box_coder.encode_single(truth[matched[0]], one))
    return labels, goals


class _StagePredictor(FastRCNNPredictor):
    """Scores per class; one regression, repeated for all classes as torchvision expects it.

    Weights are drawn as in detectron2, so that a new stage hardly moves its boxes.
    """

    def __init__(self, features: int, n_classes: int) -> None:
        super().__init__(features, n_classes + 1)
        self.bbox_pred = nn.Linear(features, 4)
        for layer, spread in ((self.cls_score, 0.01), (self.bbox_pred, 0.001)):
            nn.init.normal_(layer.weight, std=spread)
            nn.init.zeros_(layer.bias)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits, deltas = super().forward(features)
        return logits.float(), deltas.float().repeat(1, logits.shape[1])


def _stage(spec: Any, number: int, names: list[str]) -> RoIHeads:
    heads = spec.heads
    return RoIHeads(
        box_roi_pool=MultiScaleRoIAlign(names, _BOX_SIDE, sampling_ratio=2),
        box_head=FastRCNNConvFCHead(
            (spec.channels, _BOX_SIDE, _BOX_SIDE),
            [heads.channels] * heads.box_convs,
            [heads.box_features],
            _group_norm,
        ),
        box_predictor=_StagePredictor(heads.box_features, spec.n_classes),
        fg_iou_thresh=spec.stage_ious[number],
        bg_iou_thresh=spec.stage_ious[number],
        batch_size_per_image=spec.regions,
        positive_fraction=spec.positive_share,
        bbox_reg_weights=spec.box_weights[number],
        score_thresh=spec.score_threshold,
        nms_thresh=spec.nms_iou,
        detections_per_img=spec.detections,
    )


def _stage_losses(
    logits: torch.Tensor,
    deltas: torch.Tensor,
    labels: list[torch.Tensor],
    goals: list[torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy and box loss; 0 where there is no box at all."""
    if not len(logits):
        return logits.new_zeros(()), logits.new_zeros(())
    return fastrcnn_loss(logits, deltas, labels, goals)


def _one(features: Maps, number: int) -> Maps:
    """The maps of one image of the batch."""
    return OrderedDict((name, one[number : number + 1]) for name, one in features.items())


def _in_parts(features: Maps, boxes: list[torch.Tensor]) -> Iterator[tuple[Maps, torch.Tensor]]:
    """Boxes in the order of the images, some at a time, each with the maps of its image."""
    for number, one in enumerate(boxes):
        for part in one.split(_AT_ONCE):
            yield _one(features, number), part


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(
        next(n for n in range(min(32, channels), 0, -1) if channels % n == 0), channels
    )
