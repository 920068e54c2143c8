"""MoCo v2 pretraining on unlabelled images (Chen et al. 2020, arXiv 2003.04297).

Two views of each image (:mod:`helpers.pretraining.moco_views`): a query and a key that must be told
from the keys of other images, which a queue holds (:mod:`helpers.pretraining.momentum`, also on
batch normalisation on one device). Published are SGD with momentum 0.9, rate 0.03 for batches of
256, weight decay 1e-4 on all weights, half a cosine, 65,536 keys of 128 numbers, a key encoder that
moves by a thousandth, temperature 0.2.

The defaults of :class:`MocoPlan` are the same but for three, our choice for a few hundred to a few
thousand images: batches of 128, with the rate in proportion; a key encoder that moves by a
hundredth, because a run has thousands of steps and not a million; and a queue of half as many keys
as there are images, 4,096 at most (:func:`queue_length`). Where data are few a long queue holds
several old keys of each image, and of the query's own: a queue longer than the data is refused, and
keys of the query's own image, or of one with the same pixels, are no negatives.

In a short run the embeddings of all images may drift together, so fast that the new key is told
from those in the queue by its age. The loss is low at once and then rises to log(1 + K): the
embeddings have become the same. It shows as many matches (:class:`MocoLog`) in the first steps
after the queue is full. Fast drift needs a high rate and a key encoder that follows quickly: with a
small U-Net, batches of 32 and 64 keys, a rate of 0.12 with a key momentum of 0.9 did it within ten
steps. With 0.99, the default, and rates of 0.03 to 0.06 (the default is 0.015 for batches of 128)
it did not occur in 40 to 600 steps.

Deviations: a number of steps instead of epochs, the rate falls with every step; batches are parts
of whole permutations, what does not fill a batch is left out; inputs are normalised by mean and
spread of the data themselves; one device; bfloat16 if asked for, the loss always in float32; places
of the queue that no key has filled yet count nothing, so that the loss of the first step is 0.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from helpers.errors import ParameterError
from helpers.models.device import resolve_device
from helpers.models.encoders import EncoderSpec, SavedEncoder
from helpers.models.weights import weights_digest
from helpers.pretraining.moco_views import Pairs, PairSource, identify
from helpers.pretraining.momentum import MomentumContrast
from helpers.pretraining.stepwise import (
    Milestones,
    OnStep,
    Setting,
    StepwiseRun,
    once,
    rows_of_steps,
)
from helpers.pretraining.stepwise import encoder_path as encoder_path
from helpers.pretraining.supervised import channel_statistics
from helpers.randomness import global_seed

MOMENTUM = 0.9
MOST_KEYS = 4096


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
        dim: d, of the embedding.
        temperature: T.
        key_momentum: m, of the key encoder: theta_k becomes m theta_k + (1 - m) theta_q. One well
            below 0.99 wants a low rate (see above).
        groups: G, in which batch normalisation takes its statistics; 8 GPUs in the paper.
        precision: ``"bfloat16"`` or ``"float32"`` for the networks' arithmetic; the loss is always
            in float32.
        checkpoint_every: steps between points from which a killed run goes on; 0 for none.
    """

    steps: int
    batch_size: int = 128
    learning_rate: float = 0.015
    final_rate: float = 0.0
    warmup_share: float = 0.0
    weight_decay: float = 1e-4
    queue: int = 0
    dim: int = 128
    temperature: float = 0.2
    key_momentum: float = 0.99
    groups: int = 8
    precision: str = "float32"
    checkpoint_every: int = 200


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


@dataclass
class MocoLog:
    """What a pretraining leaves besides the weights.

    Attributes:
        losses: of each step. They grow while the queue fills.
        matches: share of each step's queries that are nearer to their own key than to any other. A
            share near 1 once the queue is full, after few steps, may mean that keys are told by
            something else than what the images show.
        kept: steps whose encoder was written (:func:`encoder_path`).
        seconds: spent on training and files.
    """

    losses: list[float] = field(default_factory=list)
    matches: list[float] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    seconds: float = 0.0


def pretrain_moco(
    images: np.ndarray,
    spec: EncoderSpec,
    plan: MocoPlan,
    seed: int,
    folder: Path,
    on_step: OnStep | None = None,
    device: str = "cpu",
    start: SavedEncoder | None = None,
) -> MocoLog:
    """Pretrain an encoder; resume, or return at once if it is done.

    The folder gets ``encoder-SSSSSS.pt`` (of queries, without head) for the kept steps,
    ``log.json``, and until the end ``checkpoint.pt`` with both encoders and the queue. On the CPU
    two runs with equal arguments and an equal number of threads give identical weights, with or
    without an interruption in between: what is random depends on (seed, epoch or step) alone. A
    second process waits for the first.

    Args:
        images: uint8 (n, h, h, 3), memory-mapped or not. All are read once to find those with the
            same pixels.
        spec: 3 channels, or 1: then the mean of the three is used.
        seed: of weights, order and views.
        folder: of this pretraining alone.
        on_step: called with (steps done, loss) after every step; on a GPU for ten steps at a time,
            because reading a loss makes the processor wait. Steps that are done again after an
            interruption are called again.
        device: ``"cpu"``, ``"cuda"``, ``"mps"`` or ``"auto"``.
        start: weights to begin from, with mean and std of their inputs; random ones otherwise.

    Raises:
        ParameterError: groups or queue that do not fit, a device that is not there, or the training
            diverged.
        DataError: the folder holds another pretraining, or files that are not readable.
    """
    queue = queue_length(plan, len(images))
    ids, fingerprint = identify(images)
    known = {
        "encoder": asdict(spec),
        "plan": {**asdict(plan), "queue": queue},
        "seed": seed,
        "images": [len(images), fingerprint],
        "start": "" if start is None else weights_digest(start.encoder),
    }
    # As JSON gives it back: lists for tuples.
    identity = json.loads(json.dumps(known))

    def run() -> MocoLog:
        statistics = channel_statistics(images, spec.channels)
        if start is not None:
            statistics = start.mean, start.std
        setting = Setting(spec, plan, seed, statistics, resolve_device(device), start)
        return _Run(images, ids, setting).go(folder, identity, on_step)

    return once(folder, identity, _Run.as_log, run)


class _Run(StepwiseRun):
    """One call of :func:`pretrain_moco`."""

    network: MomentumContrast
    log: MocoLog

    def __init__(self, images: np.ndarray, ids: np.ndarray, setting: Setting) -> None:
        super().__init__(setting)
        plan, seed = self.plan, self.seed
        self.source = PairSource(images, ids, seed, self.device)
        queue = queue_length(plan, len(images))
        network = MomentumContrast(self.first_encoder(), plan, queue, seed)
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

    @staticmethod
    def as_log(values: dict) -> MocoLog:
        return MocoLog(**values)


def build_optimiser(network: MomentumContrast, plan: MocoPlan) -> torch.optim.SGD:
    """SGD of the query encoder and its head, as published: weight decay on biases too."""
    return torch.optim.SGD(
        network.query.parameters(),
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
