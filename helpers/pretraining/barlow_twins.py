"""Barlow Twins pretraining on unlabelled images (Zbontar et al., ICML 2021, arXiv 2103.03230).

Two views of each image (:mod:`helpers.pretraining.twin`) go through one encoder and a projector;
the cross-correlation matrix of the two batches of embeddings is driven towards the identity. As in
the paper: separate passes for the two views, a three-layer projector (linear layers without bias,
batch normalisation and ReLU between them), embeddings normalised over the batch, trade-off 0.0051,
linear warm-up and half a cosine. The optimiser is AdamW, the sizes are small, and the rate falls to
a thousandth of the default peak: our choice, for a few thousand images (published: LARS, batches of
2,048 and widths of 8,192).

Deviations: a number of steps instead of epochs; batches are parts of whole permutations, what does
not fill a batch is left out; inputs are normalised by mean and spread of the data themselves;
residual branches do not start at zero (the released code sets ``zero_init_residual``); one device,
so that the batch's statistics need no exchange; bfloat16 in place of float16, loss always in
float32; the warm-up starts at ``final_rate`` and not at 0.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.errors import ParameterError
from helpers.models.device import autocast, resolve_device
from helpers.models.encoders import EncoderSpec, SavedEncoder
from helpers.models.weights import weights_digest
from helpers.pretraining.collapse import effective_rank, relative_spread
from helpers.pretraining.moco_views import unit
from helpers.pretraining.progress import STEPS
from helpers.pretraining.schedules import parameter_groups
from helpers.pretraining.stepwise import (
    Milestones,
    OnStep,
    PooledNetwork,
    Setting,
    StepwiseRun,
    once,
    read_ahead,
    rows_of_steps,
)
from helpers.pretraining.stepwise import encoder_path as encoder_path
from helpers.pretraining.supervised import BETAS, channel_statistics
from helpers.pretraining.twin import TwinViews
from helpers.randomness import global_seed, step_generator
from helpers.views.stain import fit_stains

EPSILON = 1e-5
WATCHED = 256


def barlow_twins_terms(z_a: Tensor, z_b: Tensor) -> tuple[Tensor, Tensor]:
    """The two terms of the loss, sum_i (1 - C_ii)^2 and sum_i sum_{j != i} C_ij^2.

    C_ij = sum_b z_a[b, i] z_b[b, j] / n, with every dimension of either batch first brought to mean
    0 and variance 1 over the batch (eqs. 1 and 2; as in the released code 1e-5 is added to the
    variance). So a dimension that is the same for all images has C_ii = 0 and adds 1 to the first
    term, and its gradient is finite; scale and offset of a dimension do not matter as long as its
    variance is far above 1e-5.

    Args:
        z_a, z_b: (n, d) embeddings of two views of the same n images, at least 2; float32 or
            float64.

    Raises:
        ParameterError: other shapes, or a single image.
    """
    if z_a.ndim != 2 or z_a.shape != z_b.shape or len(z_a) < 2:
        raise ParameterError(
            f"embeddings of shapes {tuple(z_a.shape)} and {tuple(z_b.shape)}: expected twice "
            "(n, d) with n of at least 2, because they are normalised over the batch"
        )
    a, b = (F.batch_norm(z, None, None, training=True, eps=EPSILON) for z in (z_a, z_b))
    correlation = a.T @ b / len(a)
    diagonal = correlation.diagonal()
    return (diagonal - 1).square().sum(), (correlation - diagonal.diag()).square().sum()


@dataclass(frozen=True)
class BarlowTwinsPlan(Milestones):
    """How one encoder is pretrained.

    Attributes:
        steps: optimisation steps.
        batch_size: images per step, at least 2; 2,048 in the paper, which reports
            little loss down to 256.
        learning_rate: the highest, of AdamW.
        final_rate: what the rate starts from and ends at.
        warmup_share: first share of the steps, in which the rate grows linearly.
        weight_decay: not on biases, normalisation layers and tables of positions.
        projector: widths of its layers; the last is the number of dimensions d of the embedding.
        trade_off: weight of the redundancy term, lambda in the paper.
        setting: ``"natural"`` or ``"pathology"``, which views are drawn.
        precision: ``"bfloat16"`` or ``"float32"`` for the network's arithmetic.
        checkpoint_every: steps between points from which a killed run goes on; 0 for none.
        look_every: steps between looks at the embeddings (:class:`Look`), besides 0 and the last;
            0 for none between.
    """

    steps: int
    batch_size: int = 128
    learning_rate: float = 1e-3
    final_rate: float = 1e-6
    warmup_share: float = 0.05
    weight_decay: float = 1e-4
    projector: tuple[int, ...] = (1024, 1024, 1024)
    trade_off: float = 0.0051
    setting: str = "natural"
    precision: str = "float32"
    checkpoint_every: int = 200
    look_every: int = 200


@dataclass(frozen=True)
class Look:
    """What shows a collapse, measured on up to 256 evenly spaced images as they are.

    Attributes:
        step: steps done.
        representation_spread, representation_rank: :func:`relative_spread` and
            :func:`effective_rank` of the encoder's pooled output, which is used afterwards.
        embedding_spread, embedding_rank: of the projector's output, on which the loss acts.
    """

    step: int
    representation_spread: float
    representation_rank: float
    embedding_spread: float
    embedding_rank: float


@dataclass
class BarlowTwinsLog:
    """What a pretraining leaves besides the weights.

    Attributes:
        losses, invariance, redundancy: of each step; loss = invariance + trade_off x redundancy.
        looks: from step 0 on.
        kept: steps whose encoder was written (:func:`encoder_path`).
        seconds: spent on training, looks and files.
    """

    losses: list[float] = field(default_factory=list)
    invariance: list[float] = field(default_factory=list)
    redundancy: list[float] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    seconds: float = 0.0


class TwinNetwork(PooledNetwork):
    """An encoder, the mean over its deepest map, and the projector.

    Args:
        encoder: as :func:`helpers.models.encoders.build_encoder` gives it.
        widths: of the projector's layers.
        seed: of the projector's weights, which are drawn as torch draws them.
    """

    def __init__(self, encoder: nn.Module, widths: tuple[int, ...], seed: int) -> None:
        layers: list[nn.Module] = []
        inputs = encoder.out_channels[-1]
        with global_seed(seed):
            for width in widths[:-1]:
                layers += [nn.Linear(inputs, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
                inputs = width
            layers.append(nn.Linear(inputs, widths[-1], bias=False))
        super().__init__(encoder, nn.Sequential(*layers))


def pretrain_barlow_twins(
    images: np.ndarray,
    spec: EncoderSpec,
    plan: BarlowTwinsPlan,
    seed: int,
    folder: Path,
    on_step: OnStep | None = None,
    device: str = "cpu",
    start: SavedEncoder | None = None,
) -> BarlowTwinsLog:
    """Pretrain an encoder; resume, or return at once if it is done.

    The folder gets ``encoder-SSSSSS.pt`` for the kept steps, ``log.json``, and until the end
    ``checkpoint.pt``. On the CPU two runs with equal arguments and an equal number of threads give
    identical weights, with or without an interruption in between: what is random depends on (seed,
    epoch or step) alone. A second process waits for the first.

    Args:
        images: uint8 (n, h, h, 3), memory-mapped or not, sides of at least 32 pixels.
        spec: 3 channels, or 1: then the mean of the three is used.
        seed: of weights, order and views.
        folder: of this pretraining alone.
        on_step: called with (steps done, loss) after every step; on a GPU for ten steps at a time,
            because reading a loss makes the processor wait. Steps that are done again after an
            interruption are called again.
        device: ``"cpu"``, ``"cuda"``, ``"mps"`` or ``"auto"``.
        start: weights to begin from, with mean and std of their inputs; random ones otherwise.

    Raises:
        ParameterError: fewer images than a batch, a device that is not there, or the training
            diverged.
        DataError: the folder holds another pretraining, or files that are not readable.
    """
    if plan.batch_size > len(images):
        raise ParameterError(
            f"batch_size={plan.batch_size}: more than the {len(images)} images. Lower it."
        )
    statistics = channel_statistics(images, spec.channels)
    if start is not None:
        statistics = list(start.mean), list(start.std)
    known = {
        "encoder": asdict(spec),
        "plan": asdict(plan),
        "seed": seed,
        "images": [images.shape, *statistics],
        "start": "" if start is None else weights_digest(start.encoder),
    }
    # As JSON gives it back: lists for tuples.
    identity = json.loads(json.dumps(known))

    def run() -> BarlowTwinsLog:
        setting = Setting(spec, plan, seed, statistics, resolve_device(device), start)
        return _Run(images, setting).go(folder, identity, on_step)

    return once(folder, identity, _Run.as_log, run)


class _Run(StepwiseRun):
    """One call of :func:`pretrain_barlow_twins`."""

    network: TwinNetwork
    log: BarlowTwinsLog

    def __init__(self, images: np.ndarray, setting: Setting) -> None:
        super().__init__(setting)
        self.images = images
        plan, seed = self.plan, self.seed
        stains = fit_stains(images) if plan.setting == "pathology" else None
        self.views = TwinViews(images.shape[1], plan.setting, stains)
        network = TwinNetwork(self.first_encoder(), plan.projector, seed)
        self.network = network.to(self.device, memory_format=torch.channels_last)
        groups = parameter_groups(self.network, plan.weight_decay)
        self.optimiser = torch.optim.AdamW(groups, lr=plan.learning_rate, betas=BETAS)
        self.log = BarlowTwinsLog()

    @property
    def encoder(self) -> nn.Module:
        return self.network.encoder

    def batches(self, first: int) -> Iterator[Tensor]:
        """Pixels, uint8 (n, h, w, 3)."""

        def gather(rows: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(self.images[rows]))

        return read_ahead(gather, rows_of_steps(len(self.images), self.plan, self.seed, first))

    def step(self, number: int, batch: Tensor) -> Tensor:
        """Loss and its two terms."""
        generator = step_generator(self.seed, STEPS, number)
        views = self.views.apply(unit(batch, self.device), generator)
        # Some encoders drop at random, from the global generators.
        with global_seed(int(torch.randint(2**62, (), generator=generator)), self.device):
            with autocast(self.device, self.plan.precision):
                z_a, z_b = (self.network(self.normalised(view)) for view in views)
            invariance, redundancy = barlow_twins_terms(z_a.float(), z_b.float())
            loss = invariance + self.plan.trade_off * redundancy
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
        return torch.stack([loss, invariance, redundancy]).detach()

    def note(self, values: list[float]) -> None:
        lists = (self.log.losses, self.log.invariance, self.log.redundancy)
        for kept, value in zip(lists, values, strict=True):
            kept.append(value)

    @torch.inference_mode()
    def look(self, step: int) -> None:
        self.network.eval()
        n = len(self.images)
        chosen = np.unique(np.linspace(0, n - 1, min(n, WATCHED)).astype(int))
        parts = []
        for start in range(0, len(chosen), self.plan.batch_size):
            rows = chosen[start : start + self.plan.batch_size]
            pixels = torch.from_numpy(np.ascontiguousarray(self.images[rows]))
            with autocast(self.device, self.plan.precision):
                vectors = self.network.represent(self.normalised(unit(pixels, self.device)))
                parts.append((vectors.float(), self.network.projector(vectors).float()))
        measured = [
            value
            for vectors in map(torch.cat, zip(*parts, strict=True))
            for value in (relative_spread(vectors), effective_rank(vectors))
        ]
        self.network.train()
        self.log.looks.append(Look(step, *measured))

    @staticmethod
    def as_log(values: dict) -> BarlowTwinsLog:
        return BarlowTwinsLog(**{**values, "looks": [Look(**one) for one in values["looks"]]})
