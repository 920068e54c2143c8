"""MoCo v2 pretraining on unlabelled images (Chen et al. 2020, arXiv 2003.04297).

Two views of each image (:mod:`helpers.pretraining.moco_views`): a query and a key that must be told
from the keys of other images, which a queue holds (:mod:`helpers.pretraining.momentum`, also on
batch normalisation on one device). :func:`published_plan` has the published sizes: SGD with
momentum 0.9, rate 0.03 for batches of 256, weight decay 1e-4 on all weights, half a cosine, 65,536
keys of 128 numbers, a key encoder that moves by a thousandth, temperature 0.2.

The defaults of :class:`MocoPlan` are the same but for three, our choice for a few hundred to a few
thousand images: batches of 128, with the rate in proportion; a key encoder that moves by a
hundredth, because a run has thousands of steps and not a million; and a queue of half as many keys
as there are images, 4,096 at most (:func:`queue_length`). Where data are few a long queue holds
several old keys of each image, and of the query's own: a queue longer than the data is refused, and
keys of the query's own image, or of one with the same pixels, are no negatives.

In a short run the embeddings of all images may drift together, so fast that the new key is told
from those in the queue by its age. The loss is low at once and then rises to log(1 + K): the
embeddings have become the same. It shows as many matches (:class:`MocoLog`) with an embedding rank
near 1. Fast drift needs a high rate and a key encoder that follows quickly: with a small U-Net,
batches of 32 and 64 keys, a rate of 0.12 with a key momentum of 0.9 did it within ten steps. With
0.99, the default, and rates of 0.03 to 0.06 (the default is 0.015 for batches of 128) it did not
occur in 40 to 600 steps.

Deviations: a number of steps instead of epochs, the rate falls with every step; batches are parts
of whole permutations, what does not fill a batch is left out; inputs are normalised by mean and
spread of the data themselves; one device; bfloat16 if asked for, the loss always in float32; places
of the queue that no key has filled yet count nothing, so that the loss of the first step is 0.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.errors import ParameterError
from helpers.features.knn import knn_accuracy
from helpers.models.device import resolve_device
from helpers.models.encoders import EncoderSpec, build_encoder
from helpers.pretraining.collapse import effective_rank, relative_spread
from helpers.pretraining.moco_views import (
    SMALLEST_CROP,
    Images,
    Pairs,
    PairSource,
    central_views,
    check_images,
    identify,
    unit,
)
from helpers.pretraining.momentum import ContrastSettings, MomentumContrast, check_groups
from helpers.pretraining.stepwise import (
    Milestones,
    OnStep,
    Setting,
    StepwiseRun,
    autocast,
    once,
    rows_of_steps,
)
from helpers.pretraining.stepwise import encoder_path as encoder_path
from helpers.pretraining.supervised import SMALLEST_SIDE, channel_statistics
from helpers.randomness import global_seed

MOMENTUM = 0.9
MOST_KEYS = 4096
WATCHED = 256
PUBLISHED_BATCH, PUBLISHED_RATE = 256, 0.03


@dataclass(frozen=True)
class MocoPlan(Milestones):
    """How one encoder is pretrained.

    Attributes:
        steps: optimisation steps.
        batch_size: images per step; a multiple of ``groups``, no more than images or keys.
        learning_rate: the highest; 0.03 for a batch of 256 in the paper, others in proportion.
        final_rate: what the rate starts from, if there is a warm-up, and ends at.
        warmup_share: first share of the steps, in which the rate grows linearly; none in the paper.
        weight_decay: on all weights.
        queue: K, number of keys; 0 for :func:`queue_length`'s choice.
        dim, temperature, key_momentum, groups: see
            :class:`helpers.pretraining.momentum.ContrastSettings`. A key momentum well below 0.99
            wants a low rate (see above).
        smallest_crop: crops cover between this share of the image's area and all of it.
        size: side of the views in pixels; 0 for that of the images, if they are one array of square
            ones.
        precision: ``"bfloat16"`` or ``"float32"`` for the networks' arithmetic.
        checkpoints: steps after which the encoder is kept, besides 0 (random weights) and the last.
        checkpoint_every: steps between points from which a killed run goes on; 0 for none.
        look_every: steps between looks at the embeddings (:class:`Look`), besides 0 and the last;
            0 for none between.
    """

    steps: int
    batch_size: int = 128
    learning_rate: float = PUBLISHED_RATE / 2
    final_rate: float = 0.0
    warmup_share: float = 0.0
    weight_decay: float = 1e-4
    queue: int = 0
    dim: int = 128
    temperature: float = 0.2
    key_momentum: float = 0.99
    groups: int = 8
    smallest_crop: float = SMALLEST_CROP
    size: int = 0
    precision: str = "float32"
    checkpoints: tuple[int, ...] = ()
    checkpoint_every: int = 200
    look_every: int = 200

    def __post_init__(self) -> None:
        self.check_milestones()
        if not 0 <= self.warmup_share < 1 or not 0 < self.smallest_crop <= 1:
            raise ParameterError(
                f"warmup_share={self.warmup_share}, smallest_crop={self.smallest_crop}: expected "
                "shares from 0 to below 1, and above 0 to 1"
            )
        if self.weight_decay < 0 or self.queue < 0:
            raise ParameterError(
                f"weight_decay={self.weight_decay}, queue={self.queue}: expected 0 or above"
            )
        if 0 < self.queue < self.batch_size:
            raise ParameterError(
                f"queue={self.queue}: shorter than a batch of {self.batch_size}. Lengthen it, or "
                "give 0 to have it chosen"
            )
        if self.size and self.size < SMALLEST_SIDE:
            raise ParameterError(
                f"size={self.size}: expected 0, or at least {SMALLEST_SIDE} pixels"
            )
        self.contrast(max(1, self.queue))
        if self.batch_size % self.groups:
            raise ParameterError(
                f"groups={self.groups}: batch_size={self.batch_size} is no multiple. Change either."
            )

    def contrast(self, queue: int) -> ContrastSettings:
        """Settings of loss and queue, with a queue of this length."""
        return ContrastSettings(
            queue=queue,
            dim=self.dim,
            temperature=self.temperature,
            key_momentum=self.key_momentum,
            groups=self.groups,
            precision=self.precision,
        )


def published_plan(n_images: int, epochs: int = 200, **changes: Any) -> MocoPlan:
    """The recipe for ImageNet (arXiv 2003.04297, 200 epochs of batches of 256).

    Args:
        n_images: of the training set; at least as many as the 65,536 keys, or else give ``queue``.
        changes: of single attributes; the rate follows ``batch_size`` in proportion.

    Raises:
        ParameterError: fewer images than one batch, or than the queue is long.
    """
    batch_size = changes.get("batch_size", PUBLISHED_BATCH)
    if n_images < batch_size or epochs < 1:
        raise ParameterError(
            f"n_images={n_images}, epochs={epochs}: expected at least one batch of {batch_size} "
            "and one epoch"
        )
    published = {
        "steps": epochs * (n_images // batch_size),
        "batch_size": batch_size,
        "learning_rate": PUBLISHED_RATE * batch_size / PUBLISHED_BATCH,
        "queue": 65536,
        "key_momentum": 0.999,
        "checkpoint_every": n_images // batch_size,
        "look_every": n_images // batch_size,
    }
    plan = MocoPlan(**{**published, **changes})
    queue_length(plan, n_images)
    return plan


def queue_length(plan: MocoPlan, n_images: int) -> int:
    """Number of keys for a data set: the plan's, or chosen if that is 0.

    Chosen are half as many as there are images, so that most queries find no older key of their own
    image (the others' are left out of the loss), at most 4,096, at least one batch.

    Raises:
        ParameterError: the plan's queue is longer than the data, or the data fewer than a batch.
    """
    if plan.batch_size > n_images:
        raise ParameterError(
            f"batch_size={plan.batch_size}: more than the {n_images} images. Lower it."
        )
    if not plan.queue:
        return max(plan.batch_size, min(MOST_KEYS, n_images // 2))
    if plan.queue > n_images:
        raise ParameterError(
            f"queue={plan.queue}: longer than the {n_images} images, so it would hold old keys of "
            "every one. Lower it, or give 0 to have it chosen."
        )
    return plan.queue


@dataclass(frozen=True, eq=False)
class Monitor:
    """Labelled images on which the encoder is watched; nothing is trained on the labels.

    At every look :func:`helpers.features.knn.knn_accuracy` of its pooled output, brought to length
    1 so that near means a large cosine.

    Attributes:
        images: as those that are trained on; seen are their central squares.
        labels: n class names or numbers.
        groups: n group names (source image, patient): no neighbour is taken from one's own.
        k: neighbours.
    """

    images: Images
    labels: Sequence
    groups: Sequence
    k: int = 5


@dataclass(frozen=True)
class Look:
    """What shows learning and collapse, in evaluation mode, on images as they are.

    Attributes:
        step: steps done.
        representation_spread, representation_rank:
            :func:`helpers.pretraining.collapse.relative_spread` and
            :func:`helpers.pretraining.collapse.effective_rank` of the query encoder's pooled
            output, which is used afterwards, on up to 256 evenly spaced training images.
        embedding_spread, embedding_rank: of the head's output, on which the loss acts.
        neighbours: balanced accuracy of nearest neighbours (:class:`Monitor`); ``None`` without.
    """

    step: int
    representation_spread: float
    representation_rank: float
    embedding_spread: float
    embedding_rank: float
    neighbours: float | None = None


@dataclass
class MocoLog:
    """What a pretraining leaves besides the weights.

    Attributes:
        losses: of each step. They grow while the queue fills.
        matches: share of each step's queries that are nearer to their own key than to any other. A
            share near 1 once the queue is full, after few steps, may mean that keys are told by
            something else than what the images show.
        looks: from step 0 on.
        kept: steps whose encoder was written (:func:`encoder_path`).
        seconds: spent on training, looks and files.
    """

    losses: list[float] = field(default_factory=list)
    matches: list[float] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    seconds: float = 0.0


def pretrain_moco(
    images: Images,
    spec: EncoderSpec,
    plan: MocoPlan,
    seed: int,
    folder: Path,
    monitor: Monitor | None = None,
    on_step: OnStep | None = None,
    device: str = "cpu",
    progress: bool = True,
) -> MocoLog:
    """Pretrain an encoder; resume, or return at once if it is done.

    The folder gets ``encoder-SSSSSS.pt`` (of queries, without head) for the kept steps,
    ``log.json``, and until the end ``checkpoint.pt`` with both encoders and the queue. On the CPU
    two runs with equal arguments and an equal number of threads give identical weights, with or
    without an interruption in between: what is random depends on (seed, epoch or step) alone. A
    second process waits for the first.

    Args:
        images: uint8 (n, h, w, 3), memory-mapped or not, or n arrays (h, w, 3) of any sizes, of
            which crops are taken. All are read once to find those with the same pixels.
        spec: 3 channels, or 1: then the mean of the three is used.
        seed: of weights, order and views.
        folder: of this pretraining alone.
        monitor: labelled images to watch the encoder on.
        on_step: called with (steps done, loss) after every step; on a GPU for ten steps at a time,
            because reading a loss makes the processor wait. Steps that are done again after an
            interruption are called again.
        device: ``"cpu"``, ``"cuda"``, ``"mps"`` or ``"auto"``.
        progress: show a bar with loss, effective rank at the last look, and time left.

    Raises:
        ParameterError: images, channels, groups or queue that do not fit, a device that is not
            there, a monitor that :func:`helpers.features.knn.knn_accuracy` refuses, or the training
            diverged.
        DataError: the folder holds another pretraining, or files that are not readable.
    """
    _check(images, spec, plan, monitor)
    ids, fingerprint = identify(images)
    known = {
        "encoder": asdict(spec),
        "plan": {**asdict(plan), "queue": queue_length(plan, len(images))},
        "seed": seed,
        "images": [len(images), fingerprint],
        "monitor": _described(monitor),
    }
    # As JSON gives it back: lists for tuples.
    identity = json.loads(json.dumps(known))

    def run() -> MocoLog:
        statistics = channel_statistics(images, spec.channels)
        setting = Setting(spec, plan, seed, statistics, resolve_device(device))
        return _Run(images, ids, monitor, setting).go(folder, identity, on_step, progress)

    return once(folder, identity, _Run.as_log, run)


def view_size(images: Images, plan: MocoPlan) -> int:
    """Side of the views in pixels.

    Raises:
        ParameterError: the plan does not tell, and neither do the images.
    """
    if plan.size:
        return plan.size
    if not isinstance(images, np.ndarray) or images.shape[1] != images.shape[2]:
        raise ParameterError(
            "size=0: images are not one array of square ones. Give the side of the views in pixels."
        )
    if images.shape[1] < SMALLEST_SIDE:
        raise ParameterError(
            f"images of {images.shape[1]} pixels: expected at least {SMALLEST_SIDE}; give size to "
            "enlarge the views"
        )
    return images.shape[1]


class _Run(StepwiseRun):
    """One call of :func:`pretrain_moco`."""

    title = "MoCo v2"
    network: MomentumContrast
    log: MocoLog

    def __init__(
        self, images: Images, ids: np.ndarray, monitor: Monitor | None, setting: Setting
    ) -> None:
        super().__init__(setting)
        plan, seed, size = self.plan, self.seed, view_size(images, self.plan)
        self.monitor = monitor
        self.source = PairSource(images, size, ids, seed, self.device, plan.smallest_crop)
        contrast = plan.contrast(queue_length(plan, len(images)))
        network = MomentumContrast(build_encoder(self.spec, seed), contrast, seed)
        check_groups(network, plan.batch_size, plan.groups)
        self.network = network.to(self.device, memory_format=torch.channels_last)
        self.optimiser = build_optimiser(self.network, plan)
        self.log = MocoLog()

    @property
    def encoder(self) -> nn.Module:
        return self.network.query.encoder

    def batches(self, first: int) -> Iterator[Pairs]:
        rows = rows_of_steps(len(self.source.images), self.plan, self.seed, first)
        return self.source.pairs(rows, first)

    def step(self, number: int, batch: Pairs) -> Tensor:
        """Loss, and share of the queries that find their key."""
        return contrast_step(self.network, self.optimiser, batch, self.normalised)

    def note(self, values: list[float]) -> None:
        self.log.losses.append(values[0])
        self.log.matches.append(values[1])

    @torch.inference_mode()
    def look(self, step: int) -> Look:
        self.network.eval()
        n = len(self.source.images)
        chosen = np.unique(np.linspace(0, n - 1, min(n, WATCHED)).astype(int))
        measured = [
            value
            for vectors in self._vectors(self.source.images, chosen)
            for value in (relative_spread(vectors), effective_rank(vectors))
        ]
        neighbours = self._neighbours(self.monitor) if self.monitor else None
        self.network.train()
        return Look(step, *measured, neighbours)

    def shown(self) -> dict[str, str]:
        last = self.log.looks[-1]
        shown = {"loss": f"{self.log.losses[-1]:.3f}", "rank": f"{last.representation_rank:.1f}"}
        return shown if last.neighbours is None else {**shown, "k-NN": f"{last.neighbours:.3f}"}

    @staticmethod
    def as_log(values: dict) -> MocoLog:
        return MocoLog(**{**values, "looks": [Look(**one) for one in values["looks"]]})

    def _neighbours(self, monitor: Monitor) -> float:
        vectors, _ = self._vectors(monitor.images, range(len(monitor.images)))
        features = F.normalize(vectors, dim=1).cpu().numpy()
        return knn_accuracy(features, monitor.labels, monitor.groups, monitor.k)

    def _vectors(self, images: Images, rows: Sequence[int] | np.ndarray) -> tuple[Tensor, Tensor]:
        """Pooled output and embeddings of images as they are, float32."""
        parts = []
        for start in range(0, len(rows), self.plan.batch_size):
            chosen = rows[start : start + self.plan.batch_size]
            views = unit(central_views(images, chosen, self.source.size), self.device)
            with autocast(self.device, self.plan.precision):
                vectors = self.network.query.represent(self.normalised(views))
                parts.append((vectors.float(), self.network.query.projector(vectors).float()))
        vectors, embeddings = map(torch.cat, zip(*parts, strict=True))
        return vectors, embeddings


def build_optimiser(network: MomentumContrast, plan: MocoPlan) -> torch.optim.SGD:
    """SGD of the query encoder and its head, as published: weight decay on biases too."""
    groups = [{"params": list(network.query.parameters()), "lr_scale": 1.0}]
    return torch.optim.SGD(
        groups,
        lr=plan.learning_rate,
        momentum=MOMENTUM,
        weight_decay=plan.weight_decay,
        fused=True,
    )


def contrast_step(
    network: MomentumContrast,
    optimiser: torch.optim.Optimizer,
    batch: Pairs,
    normalised: Callable[[Tensor], Tensor],
) -> Tensor:
    """One optimisation step of the query encoder and its head.

    Args:
        normalised: from views (n, 3, h, w) in 0..1 to the network's input.

    Returns:
        Loss, and share of the queries that find their key: float32 (2,), on the device.
    """
    # Some encoders drop at random, from the global generators.
    drawn = int(torch.randint(2**62, (), generator=batch.generator))
    with global_seed(drawn, batch.first.device):
        loss, matches = network(normalised(batch.first), normalised(batch.second), batch.ids)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return torch.stack([loss, matches]).detach()


def _described(monitor: Monitor | None) -> list | None:
    """What a run must have in common with another that is watched on the same."""
    if monitor is None:
        return None
    digest = hashlib.sha256()
    for values in (monitor.labels, monitor.groups):
        digest.update(json.dumps([str(one) for one in values]).encode())
    return [identify(monitor.images)[1], digest.hexdigest(), monitor.k]


def _check(images: Images, spec: EncoderSpec, plan: MocoPlan, monitor: Monitor | None) -> None:
    check_images(images)
    if monitor:
        check_images(monitor.images)
    if spec.channels not in (1, 3):
        raise ParameterError(f"channels={spec.channels}: the images have 3; expected 3 or 1")
    queue_length(plan, len(images))
    view_size(images, plan)
