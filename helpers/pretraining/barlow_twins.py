"""Barlow Twins pretraining on unlabelled images (Zbontar et al., ICML 2021, arXiv 2103.03230).

Two views of each image (:mod:`helpers.pretraining.twin`) go through one encoder and a projector;
the cross-correlation matrix of the two batches of embeddings is driven towards the identity. As in
the paper: separate passes for the two views, a three-layer projector (linear layers without bias,
batch normalisation and ReLU between them), embeddings normalised over the batch, trade-off 0.0051,
linear warm-up and half a cosine down to a thousandth. :func:`published_plan` has the paper's sizes
and LARS; without it AdamW and small sizes, our choice, for a few thousand images.

Deviations: a number of steps instead of epochs; batches are parts of whole permutations, what does
not fill a batch is left out; inputs are normalised by mean and spread of the data themselves;
residual branches do not start at zero (the released code sets ``zero_init_residual``); one device,
so that the batch's statistics need no exchange; bfloat16 in place of float16, loss always in
float32; LARS is timm's, whose trust ratio divides by |gradient| + decay x |weight| and not by the
norm of their sum; the warm-up starts at ``final_rate`` and not at 0.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.errors import ParameterError
from helpers.models.device import resolve_device
from helpers.models.encoders import EncoderSpec, build_encoder
from helpers.pretraining.collapse import effective_rank, relative_spread
from helpers.pretraining.identity import STEPS
from helpers.pretraining.mae import resize
from helpers.pretraining.schedules import parameter_groups
from helpers.pretraining.stepwise import (
    Milestones,
    OnStep,
    PooledNetwork,
    Setting,
    StepwiseRun,
    autocast,
    check_options,
    once,
    read_ahead,
    rows_of_steps,
)
from helpers.pretraining.stepwise import encoder_path as encoder_path
from helpers.pretraining.supervised import BETAS, SMALLEST_SIDE, channel_statistics
from helpers.pretraining.twin import RECIPES, SMALLEST_CROP, TwinViews
from helpers.randomness import global_seed, step_generator
from helpers.views.stain import fit_stains

OPTIMISERS = ("adamw", "lars")
MOMENTUM = 0.9
# Biases and normalisation layers learn at 0.0048 where weights learn at 0.2 (LARS, as published).
SPARED_SCALE = 0.0048 / 0.2
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


def barlow_twins_loss(z_a: Tensor, z_b: Tensor, trade_off: float = 0.0051) -> Tensor:
    """Loss of Barlow Twins (eq. 1): invariance + trade_off x redundancy.

    Args:
        z_a, z_b: see :func:`barlow_twins_terms`, also for errors.
        trade_off: lambda in the paper.
    """
    invariance, redundancy = barlow_twins_terms(z_a, z_b)
    return invariance + trade_off * redundancy


@dataclass(frozen=True)
class BarlowTwinsPlan(Milestones):
    """How one encoder is pretrained.

    Attributes:
        steps: optimisation steps.
        batch_size: images per step, at least 2; 2,048 in the paper, which reports
            little loss down to 256.
        learning_rate: the highest. The default is for AdamW.
        final_rate: what the rate starts from and ends at.
        warmup_share: first share of the steps, in which the rate grows linearly.
        weight_decay: not on biases, normalisation layers and tables of positions.
        optimiser: ``"adamw"``, or ``"lars"`` as published (large batches; momentum 0.9; biases and
            normalisation layers are not adapted and learn at 0.024 of the rate).
        projector: widths of its layers; the last is the number of dimensions d of the embedding.
        trade_off: weight of the redundancy term, lambda in the paper.
        setting: ``"natural"`` or ``"pathology"``, which views are drawn.
        smallest_crop: crops cover between this share of the image's area and all of it.
        stain_components: for ``"pathology"``, see :func:`helpers.views.stain.fit_stains`.
        size: side of the views in pixels; 0 for that of the images.
        precision: ``"bfloat16"`` or ``"float32"`` for the network's arithmetic.
        checkpoints: steps after which the encoder is kept, besides 0 (random weights) and the last.
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
    optimiser: str = "adamw"
    projector: tuple[int, ...] = (1024, 1024, 1024)
    trade_off: float = 0.0051
    setting: str = "natural"
    smallest_crop: float = SMALLEST_CROP
    stain_components: int = 0
    size: int = 0
    precision: str = "float32"
    checkpoints: tuple[int, ...] = ()
    checkpoint_every: int = 200
    look_every: int = 200

    def __post_init__(self) -> None:
        self.check_milestones()
        self._check_sizes()
        if not 0 <= self.warmup_share < 1 or not 0 < self.smallest_crop <= 1:
            raise ParameterError(
                f"warmup_share={self.warmup_share}, smallest_crop={self.smallest_crop}: expected "
                "shares from 0 to below 1, and above 0 to 1"
            )
        if self.trade_off < 0 or self.weight_decay < 0:
            raise ParameterError(
                f"trade_off={self.trade_off}, weight_decay={self.weight_decay}: expected 0 or above"
            )
        options = {
            "optimiser": OPTIMISERS,
            "setting": tuple(RECIPES),
            "precision": ("float32", "bfloat16"),
        }
        check_options(self, options)
        if self.optimiser == "lars" and self.weight_decay == 0:
            raise ParameterError("weight_decay=0: LARS tells weights from biases by it; use 1e-6")

    def _check_sizes(self) -> None:
        if not self.projector or min(self.projector) < 1:
            raise ParameterError(f"projector={self.projector}: expected widths of at least 1")
        if self.size and self.size < SMALLEST_SIDE:
            raise ParameterError(
                f"size={self.size}: expected 0, or at least {SMALLEST_SIDE} pixels"
            )
        if self.stain_components < 0:
            raise ParameterError(f"stain_components={self.stain_components}: expected 0 or above")
        if self.stain_components and self.setting != "pathology":
            raise ParameterError(
                f"stain_components={self.stain_components}: only setting='pathology' draws stains"
            )


def published_plan(n_images: int, epochs: int = 1000, **changes: Any) -> BarlowTwinsPlan:
    """The paper's recipe for ImageNet (section 2.2, 1,000 epochs of batches of 2,048).

    Args:
        n_images: of the training set.
        epochs: warm-up takes 10 of them.
        changes: of single attributes, such as ``setting`` or ``precision``.

    Raises:
        ParameterError: fewer images than one batch, or no more epochs than the warm-up's.
    """
    batch_size = changes.get("batch_size", 2048)
    if n_images < batch_size or epochs <= 10:
        raise ParameterError(
            f"n_images={n_images}, epochs={epochs}: expected at least one batch of {batch_size} "
            "and more than the 10 epochs of the warm-up"
        )
    peak = 0.2 * batch_size / 256
    published = {
        "steps": epochs * (n_images // batch_size),
        "batch_size": batch_size,
        "learning_rate": peak,
        "final_rate": peak / 1000,
        "warmup_share": 10 / epochs,
        "weight_decay": 1e-6,
        "optimiser": "lars",
        "projector": (8192, 8192, 8192),
        "checkpoint_every": n_images // batch_size,
        "look_every": n_images // batch_size,
    }
    return BarlowTwinsPlan(**{**published, **changes})


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
    progress: bool = True,
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
        progress: show a bar with loss, effective rank at the last look, and time left.

    Raises:
        ParameterError: images or channels that do not fit, a device that is not there, or the
            training diverged.
        DataError: the folder holds another pretraining, or files that are not readable.
    """
    _check(images, spec, plan)
    statistics = channel_statistics(images, spec.channels)
    # As JSON gives it back: lists for tuples.
    identity = json.loads(json.dumps(_identity(images, statistics, spec, plan, seed)))

    def run() -> BarlowTwinsLog:
        setting = Setting(spec, plan, seed, statistics, resolve_device(device))
        return _Run(images, setting).go(folder, identity, on_step, progress)

    return once(folder, identity, _Run.as_log, run)


class _Run(StepwiseRun):
    """One call of :func:`pretrain_barlow_twins`."""

    title = "Barlow Twins"
    network: TwinNetwork
    log: BarlowTwinsLog

    def __init__(self, images: np.ndarray, setting: Setting) -> None:
        super().__init__(setting)
        self.images = images
        plan, seed = self.plan, self.seed
        stained = plan.setting == "pathology"
        stains = fit_stains(images, plan.stain_components, seed) if stained else None
        size = plan.size or images.shape[1]
        self.views = TwinViews(size, plan.setting, plan.smallest_crop, stains)
        network = TwinNetwork(build_encoder(self.spec, seed), plan.projector, seed)
        self.network = network.to(self.device, memory_format=torch.channels_last)
        self.optimiser = build_optimiser(self.network, plan)
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
        views = self.views.apply(self._unit(batch), generator)
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
    def look(self, step: int) -> Look:
        self.network.eval()
        n = len(self.images)
        chosen = np.unique(np.linspace(0, n - 1, min(n, WATCHED)).astype(int))
        parts = []
        for start in range(0, len(chosen), self.plan.batch_size):
            rows = chosen[start : start + self.plan.batch_size]
            pixels = torch.from_numpy(np.ascontiguousarray(self.images[rows]))
            images = resize(self._unit(pixels), self.views.size)
            with autocast(self.device, self.plan.precision):
                vectors = self.network.represent(self.normalised(images))
                parts.append((vectors.float(), self.network.projector(vectors).float()))
        measured = [
            value
            for vectors in map(torch.cat, zip(*parts, strict=True))
            for value in (relative_spread(vectors), effective_rank(vectors))
        ]
        self.network.train()
        return Look(step, *measured)

    def shown(self) -> dict[str, str]:
        rank = self.log.looks[-1].representation_rank
        return {"loss": f"{self.log.losses[-1]:.3f}", "rank": f"{rank:.1f}"}

    @staticmethod
    def as_log(values: dict) -> BarlowTwinsLog:
        return BarlowTwinsLog(**{**values, "looks": [Look(**one) for one in values["looks"]]})

    def _unit(self, pixels: Tensor) -> Tensor:
        """uint8 (n, h, w, 3) to float (n, 3, h, w) in 0..1 on the device."""
        return pixels.to(self.device).permute(0, 3, 1, 2).float() / 255


def build_optimiser(network: nn.Module, plan: BarlowTwinsPlan) -> torch.optim.Optimizer:
    """The plan's optimiser. ``lr_scale`` of a parameter group times the rate is its rate."""
    groups = parameter_groups(network, plan.weight_decay)
    for group in groups:
        group["lr_scale"] = 1.0
    if plan.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=BETAS)
    from timm.optim import Lars

    for group in groups:
        # Where there is no decay timm's LARS does not adapt the rate, as published for these.
        if not group["weight_decay"]:
            group["lr_scale"] = SPARED_SCALE
    return Lars(groups, lr=plan.learning_rate, momentum=MOMENTUM)


def _identity(
    images: np.ndarray,
    statistics: tuple[tuple[float, ...], tuple[float, ...]],
    spec: EncoderSpec,
    plan: BarlowTwinsPlan,
    seed: int,
) -> dict:
    return {
        "encoder": asdict(spec),
        "plan": asdict(plan),
        "seed": seed,
        "images": [list(images.shape), *statistics],
    }


def _check(images: np.ndarray, spec: EncoderSpec, plan: BarlowTwinsPlan) -> None:
    shape = images.shape
    if images.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3:
        raise ParameterError(
            f"images: {images.dtype} of shape {shape}, expected uint8 (n, h, h, 3); repeat grey "
            "images three times"
        )
    if shape[1] != shape[2] or shape[1] < SMALLEST_SIDE:
        raise ParameterError(
            f"images of {shape[1]} x {shape[2]} pixels: expected square ones of at least "
            f"{SMALLEST_SIDE}; cut them into patches"
        )
    if spec.channels not in (1, 3):
        raise ParameterError(f"channels={spec.channels}: the images have 3; expected 3 or 1")
    if plan.batch_size > shape[0]:
        raise ParameterError(
            f"batch_size={plan.batch_size}: more than the {shape[0]} images. Lower it."
        )
