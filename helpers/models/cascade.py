"""Cascade Mask R-CNN on a feature pyramid, for small and crowded objects.

The detector of CUPre (arXiv 2310.03981), which builds on the anchor-based configuration of
LIVECell (Edlund et al. 2021): its anchors, proposals and detections per image are the defaults
here. Proposal network, box heads, mask head and frame are torchvision's, used as they are; see
:mod:`helpers.models.pyramid` and :mod:`helpers.models.cascade_heads` for what is added.

Named deviations from LIVECell's configuration: no deformable convolutions in the backbone; no batch
statistics over several devices; a pyramid without normalisation; heads with group normalisation;
images are not resized.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import box_iou

from helpers.metrics.detection import Instances, Rle, encode_masks
from helpers.models.cascade_heads import CascadeHeads, HeadSpec
from helpers.models.device import autocast, resolve_device, resolve_precision
from helpers.models.encoders import EncoderSpec, SavedEncoder, build_encoder, fill_encoder
from helpers.models.l2sp import Anchor
from helpers.models.pyramid import BatchNorm, Pyramid
from helpers.randomness import global_seed

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of red, green and blue in 0..1."""

NOT_BACKBONE = ("backbone.fpn.", "rpn.", "roi_heads.")
"""What names of parameters begin with that are not the encoder's."""

CLASS_LAYERS = (".box_predictor.cls_score.", ".mask_predictor.mask_fcn_logits.")
"""What names of parameters contain whose shapes depend on the number of classes."""

# Of detectron2: anchors per image in the loss and their share of objects, IoU above which an anchor
# is one and below which it is none, IoU above which proposals are duplicates.
_ANCHORS_PER_IMAGE, _ANCHOR_SHARE, _OBJECT_IOU, _GROUND_IOU, _PROPOSAL_NMS = 256, 0.5, 0.7, 0.3, 0.7
# Annotated boxes that are compared with all anchors at a time.
_BOXES_AT_ONCE = 32
# Pixels of masks that are pasted at a time.
_PIXELS_AT_ONCE = 2**24


@dataclass(frozen=True)
class AnchorSpec:
    """Boxes that proposals start from; the defaults are LIVECell's.

    Attributes:
        sizes: square root of the area in pixels, one per entry of ``levels``.
        levels: of the pyramid, 2 for a stride of 4 and so on. A level that stands twice, as in
            LIVECell's configuration, gives both sizes the same answers of the proposal network,
            whose weights all levels share.
        ratios: height / width, all of them at every size.
    """

    sizes: tuple[float, ...] = (4, 9, 17, 31, 64, 127)
    levels: tuple[int, ...] = (2, 2, 3, 4, 5, 6)
    ratios: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class DetectorSpec:
    """Which detector.

    Attributes:
        backbone: of three channels; it needs the finest of the anchors' levels.
        n_classes: without the background.
        anchors: see :class:`AnchorSpec`.
        heads: see :class:`helpers.models.cascade_heads.HeadSpec`.
        channels: of the pyramid.
        batch_norm: of the backbone, see :class:`helpers.models.pyramid.Pyramid`. ``"trained"`` is
            LIVECell's and works from random weights; with a pretrained backbone and batches of a
            few images take ``"frozen"``, because statistics of so few images differ from those that
            predictions use.
        stage_ious: at which the stages call a box an object (arXiv 1712.00726).
        box_weights: by which the stages multiply shifts and logarithms of scales, x y w h.
        regions, positive_share: sampled proposals per image, and the most that show objects.
        proposals_before, proposals_after: per level before the suppression of duplicates, and per
            image after it, in training and prediction.
        detections, score_threshold, nms_iou: most detections per image, their lowest score, and the
            IoU above which the lower of two of a class is dropped.
        mean, std: per channel, by which images in 0..1 are normalised.
    """

    backbone: EncoderSpec
    n_classes: int
    anchors: AnchorSpec = field(default_factory=AnchorSpec)
    heads: HeadSpec = field(default_factory=HeadSpec)
    channels: int = 256
    batch_norm: BatchNorm = "trained"
    stage_ious: tuple[float, ...] = (0.5, 0.6, 0.7)
    box_weights: tuple[tuple[float, float, float, float], ...] = (
        (10.0, 10.0, 5.0, 5.0),
        (20.0, 20.0, 10.0, 10.0),
        (30.0, 30.0, 15.0, 15.0),
    )
    regions: int = 512
    positive_share: float = 0.25
    proposals_before: int = 12_000
    proposals_after: int = 3_000
    detections: int = 3_000
    score_threshold: float = 0.05
    nms_iou: float = 0.5
    mean: tuple[float, ...] = IMAGENET[0]
    std: tuple[float, ...] = IMAGENET[1]


class Detector(GeneralizedRCNN):
    """torchvision's frame around backbone, proposal network and heads; see `build_detector`.

    In training ``detector(images, targets)`` gives the losses by name. Else ``detector(images)``
    gives torchvision's detections, except that masks are not yet pasted: float32 (n, 28, 28) within
    the boxes (`paste_masks`). Images are float32 (3, h, w) in 0..1, of any size.

    Attributes:
        spec: which detector it is.
        backbone: its ``body`` is the encoder.
    """

    def __init__(self, spec: DetectorSpec, encoder: nn.Module) -> None:
        levels = spec.anchors.levels
        backbone = Pyramid(encoder, spec.channels, min(levels), max(levels), spec.batch_norm)
        strides = {name: backbone.strides[name] for name in backbone.own}
        super().__init__(
            backbone,
            _ProposalNetwork(spec),
            CascadeHeads(spec, strides),
            _SameSize(spec, 2 ** max(*levels, backbone.deepest)),
        )
        self.spec = spec


def build_detector(
    spec: DetectorSpec, seed: int, backbone: nn.Module | SavedEncoder | None = None
) -> Detector:
    """A detector whose backbone may be pretrained and whose other weights are random.

    The random weights depend on ``seed`` and shapes alone, not on what the backbone holds: arms
    that differ in pretraining start from the same pyramid and heads. The global generator is left
    as it was.

    Args:
        backbone: an encoder of ``spec.backbone``, used and not copied; without one it is random as
            well.

    Raises:
        ParameterError: the backbone lacks the anchors' finest level.
    """
    if isinstance(backbone, SavedEncoder):
        backbone = backbone.encoder
    encoder = build_encoder(spec.backbone, seed) if backbone is None else backbone
    with global_seed(seed):
        return Detector(spec, encoder)


def take_weights(detector: Detector, weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Put the weights of a detector of other classes into this one.

    Layers whose outputs are classes (:data:`CLASS_LAYERS`) keep the weights that they have: which
    of an object's classes is "cell" nobody can say.

    Args:
        weights: a state dict of a detector that differs in its classes alone.
        path: of the file they come from, for the message.

    Raises:
        DataError: naming missing keys, unexpected keys and differing shapes.
    """
    own = {
        name: value
        for name, value in detector.state_dict().items()
        if any(layer in name for layer in CLASS_LAYERS)
    }
    kept = {name: value for name, value in weights.items() if name not in own}
    fill_encoder(detector, kept | own, path)


def anchor_backbone(detector: Detector, weight: float) -> Anchor:
    """An L2-SP anchor at the present weights of the backbone's encoder, and of nothing else.

    Parameters keep the names that they have in the detector, as
    :func:`helpers.models.l2sp.decay_groups` needs them. ``refresh`` it when the encoder has been
    trained by something else in between.
    """
    return Anchor(detector, weight, heads=NOT_BACKBONE)


@torch.inference_mode()
def predict_instances(
    detector: Detector,
    images: Sequence[np.ndarray],
    device: str = "cpu",
    precision: str = "float32",
) -> list[Instances]:
    """Objects found, surest first; one image at a time.

    Memory: features of regions and pasted masks are held for a part of the detections at a time,
    so that thousands of them take no more than a few hundred.

    Args:
        detector: it is left on ``device`` and in evaluation mode.
        images: uint8 (h, w, 3), of any size.
        device, precision: see :mod:`helpers.models.device`.

    Returns:
        Per image its detections with scores above ``spec.score_threshold``, none or up to
        ``spec.detections``. A mask may be empty where no pixel is above one half.
    """
    where = resolve_device(device)
    dtype = resolve_precision(precision, where)
    detector.to(where).eval()
    results = []
    for image in images:
        with autocast(where, dtype):
            (found,) = detector([image_tensor(image).to(where)])
        size = image.shape[:2]
        results.append(
            Instances(
                size=size,
                boxes=found["boxes"].float().cpu().numpy(),
                labels=found["labels"].cpu().numpy(),
                masks=_encoded(found["masks"], found["boxes"], size),
                scores=found["scores"].float().cpu().numpy(),
            )
        )
    return results


def image_tensor(image: np.ndarray) -> torch.Tensor:
    """float32 (3, h, w) in 0..1 of an image uint8 (h, w, 3)."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255


def paste_masks(masks: torch.Tensor, boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Masks within boxes, resampled at the centres of an image's pixels.

    Bilinear, continued at its border by its outermost values; nothing outside of the box.
    torchvision's ``paste_masks_in_image`` rounds boxes to whole pixels and widens them by one,
    which is much for a cell of ten.

    Args:
        masks: float32 (n, side, side).
        boxes: float32 (n, 4), x1 y1 x2 y2 in pixels.
        size: height and width of the image.

    Returns:
        float32 (n, height, width): n * height * width * 4 bytes.
    """
    columns = _resampling(boxes[:, 0], boxes[:, 2], masks.shape[2], size[1])
    rows = _resampling(boxes[:, 1], boxes[:, 3], masks.shape[1], size[0])
    return rows @ masks @ columns.transpose(1, 2)


def _resampling(start: torch.Tensor, end: torch.Tensor, side: int, pixels: int) -> torch.Tensor:
    """Weights (n, pixels, side) of a mask's cells in each pixel; 0 outside start..end."""
    centres = torch.arange(pixels, device=start.device) + 0.5
    share = (centres - start[:, None]) / (end - start)[:, None]
    place = (share * side - 0.5).clamp(0, side - 1)
    cells = torch.arange(side, device=start.device)
    weights = (1 - (place[:, :, None] - cells).abs()).clamp(min=0)
    return weights * ((share >= 0) & (share <= 1))[:, :, None]


def _encoded(masks: torch.Tensor, boxes: torch.Tensor, size: tuple[int, int]) -> tuple[Rle, ...]:
    at_once = max(1, _PIXELS_AT_ONCE // (size[0] * size[1]))
    rles: list[Rle] = []
    for part, within in zip(
        masks.float().split(at_once), boxes.float().split(at_once), strict=True
    ):
        rles += encode_masks((paste_masks(part, within, size) > 0.5).cpu().numpy())
    return tuple(rles)


class _ExactAnchors(AnchorGenerator):
    """torchvision's, but not rounded: a side of 2.8 pixels would become one of 2."""

    def generate_anchors(
        self, scales: Sequence[float], aspect_ratios: Sequence[float], **options: Any
    ) -> torch.Tensor:
        sizes = torch.tensor(scales, dtype=torch.float32)
        heights = torch.tensor(aspect_ratios).sqrt()[:, None] * sizes
        widths = sizes**2 / heights
        half = torch.stack([widths.flatten(), heights.flatten()], dim=1) / 2
        return torch.cat([-half, half], dim=1)


class _ProposalHead(RPNHead):
    """torchvision's, with float32 numbers whatever the layers count in."""

    def forward(self, maps: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        scores, deltas = super().forward(maps)
        return [one.float() for one in scores], [one.float() for one in deltas]


class _ProposalNetwork(RegionProposalNetwork):
    """torchvision's, on the levels that the anchors name, one of them perhaps twice."""

    def __init__(self, spec: DetectorSpec) -> None:
        anchors = spec.anchors
        sizes = tuple((size,) for size in anchors.sizes)
        super().__init__(
            _ExactAnchors(sizes, (anchors.ratios,) * len(sizes)),
            _ProposalHead(spec.channels, len(anchors.ratios)),
            fg_iou_thresh=_OBJECT_IOU,
            bg_iou_thresh=_GROUND_IOU,
            batch_size_per_image=_ANCHORS_PER_IMAGE,
            positive_fraction=_ANCHOR_SHARE,
            pre_nms_top_n=dict.fromkeys(("training", "testing"), spec.proposals_before),
            post_nms_top_n=dict.fromkeys(("training", "testing"), spec.proposals_after),
            nms_thresh=_PROPOSAL_NMS,
        )
        self.names = [f"p{level}" for level in anchors.levels]
        self.box_similarity = _similarity

    def forward(
        self,
        images: ImageList,
        features: dict[str, torch.Tensor],
        targets: list[dict[str, torch.Tensor]] | None = None,
    ) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
        maps = {f"{place} {name}": features[name] for place, name in enumerate(self.names)}
        return super().forward(images, maps, targets)


def _similarity(truth: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """IoU (boxes, anchors), a few boxes at a time: what lies between takes eight times its size."""
    return torch.cat([box_iou(part, anchors) for part in truth.split(_BOXES_AT_ONCE)])


class _SameSize(GeneralizedRCNNTransform):
    """Normalises and pads, and leaves size and detections as they are."""

    def __init__(self, spec: DetectorSpec, multiple: int) -> None:
        super().__init__(0, 0, list(spec.mean), list(spec.std), size_divisible=multiple)

    def resize(
        self, image: torch.Tensor, target: dict[str, torch.Tensor] | None = None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor] | None]:
        return image, target

    def postprocess(
        self,
        result: list[dict[str, torch.Tensor]],
        image_shapes: list[tuple[int, int]],
        original_image_sizes: list[tuple[int, int]],
    ) -> list[dict[str, torch.Tensor]]:
        return result
