"""Masked-autoencoder pretraining on unlabelled images (He et al., CVPR 2022, arXiv 2111.06377).

As in the paper (appendix A): AdamW with betas 0.9 and 0.95, weight decay 0.05 except on biases and
normalisation layers, linear warm-up, then half a cosine down to zero, learning rate = base x batch
/ 256, random resized crops, 75 % of the patches hidden. Named deviations: a number of steps instead
of epochs, with batches, steps and base rate for small data; all eight orientations instead of
horizontal flips alone, because a micrograph has no upright; crops are resampled bilinearly with
antialiasing, not bicubically; inputs are clipped to 0..1 and normalised by mean and spread of the
data themselves, not of ImageNet.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from helpers.errors import ParameterError
from helpers.models.device import autocast, set_rate
from helpers.models.mae import (
    Mae,
    MaeArchitecture,
    build_mae,
    draw_visible,
    from_patches,
    hidden_mask,
    load_mae,
    masked_loss,
    patch_statistics,
    save_mae,
    to_patches,
)
from helpers.pretraining.progress import STEPS, require_same, resume_point, save_point
from helpers.pretraining.schedules import parameter_groups
from helpers.randomness import step_generator

BETAS = (0.9, 0.95)


@dataclass(frozen=True)
class MaePlan:
    """How one autoencoder is trained.

    Attributes:
        steps: optimisation steps.
        batch_size: images per step.
        learning_rate: base rate; the optimiser's is this x batch_size / 256. The default suits the
            default architecture and batch; the paper has 1.5e-4 for ViT-B and up, batch 4,096.
        warmup_share: first share of the steps, in which the rate grows linearly.
        weight_decay: of AdamW; not on biases, normalisation layers and single tokens.
        mask_ratio: share of the patches that the encoder does not see.
        smallest_crop: random crops cover between this share of the image's area and all of it.
        precision: ``"bfloat16"`` or ``"float32"`` for the network's arithmetic.
        checkpoint_every: steps between checkpoints; 0 writes none.
    """

    steps: int
    batch_size: int = 64
    learning_rate: float = 8e-3
    warmup_share: float = 0.05
    weight_decay: float = 0.05
    mask_ratio: float = 0.75
    smallest_crop: float = 0.2
    precision: str = "float32"
    checkpoint_every: int = 200


@dataclass
class MaeLog:
    """What a pretraining leaves besides the weights: loss per step and seconds spent."""

    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0


def learning_rate_at(step: int, plan: MaePlan) -> float:
    """Learning rate of step 0, 1, ..., ``plan.steps - 1``: linear warm-up, then half a cosine."""
    peak = plan.learning_rate * plan.batch_size / 256
    warmup = max(1, round(plan.warmup_share * plan.steps))
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, plan.steps - warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * done))


def pretrain_mae(
    images: np.ndarray,
    architecture: MaeArchitecture,
    plan: MaePlan,
    seed: int,
    path: Path,
    on_step: Callable[[int, float], None] | None = None,
    device: str = "cpu",
) -> MaeLog:
    """Train an autoencoder and write it to ``path``; resume, or return at once if it is there.

    On the CPU equal arguments and threads give identical weights, interrupted or not.

    Args:
        images: (n, h, w) grey, scaled to about 0..1 (see
            :func:`helpers.data.preprocess.scale_percentiles`), any float dtype, memory-mapped or
            not; sides of at least 8 pixels.
        seed: of weights, order, crops and masks.
        path: file of the finished autoencoder, as :func:`helpers.models.mae.load_mae` and
            :func:`helpers.features.encoders.local_mae` read it. Beside it lies a ``.checkpoint``
            until then.
        on_step: called with (steps done, loss) after every step.

    Raises:
        ParameterError: the training diverged.
        DataError: the file or checkpoint belongs to another training.
    """
    mean, std = image_statistics(images)
    identity = {
        "architecture": asdict(architecture),
        "plan": asdict(plan),
        "seed": seed,
        "images": [*images.shape, mean, std],
    }
    if path.is_file():
        _, state = load_mae(path)
        require_same(path, state.get("identity"), identity)
        return MaeLog(list(state["losses"]), float(state["seconds"]))
    mae = build_mae(architecture, seed).to(device).train()
    optimiser = torch.optim.AdamW(parameter_groups(mae, plan.weight_decay), betas=BETAS)
    checkpoint = path.with_name(f"{path.name}.checkpoint")
    log = resume_point(checkpoint, identity, mae, optimiser, lambda state: MaeLog(**state))
    log = log or MaeLog()
    order = batch_order(len(images), plan, seed)
    for step in range(len(log.losses), plan.steps):
        begin = time.perf_counter()
        set_rate(optimiser, learning_rate_at(step, plan))
        generator = step_generator(seed, STEPS, step)
        crops = random_crops(images, order[step], architecture.size, plan.smallest_crop, generator)
        batch = ((crops - mean) / std).to(device)
        log.losses.append(_step(mae, optimiser, batch, plan, generator))
        log.seconds += time.perf_counter() - begin
        if on_step:
            on_step(step + 1, log.losses[-1])
        if plan.checkpoint_every and (step + 1) % plan.checkpoint_every == 0:
            save_point(checkpoint, identity, mae, optimiser, log)
    extra = {"identity": identity, "losses": log.losses, "seconds": log.seconds}
    save_mae(path, mae.cpu(), (mean, std), plan.steps, extra)
    checkpoint.unlink(missing_ok=True)
    return log


def batch_order(n: int, plan: MaePlan, seed: int) -> np.ndarray:
    """Which of n images each step sees, int64 (steps, batch_size): whole permutations in a row."""
    rng = np.random.default_rng([seed, 1])
    needed = plan.steps * plan.batch_size
    passes = [rng.permutation(n) for _ in range(-(-needed // n))]
    return np.concatenate(passes)[:needed].reshape(plan.steps, plan.batch_size)


def random_crops(
    images: np.ndarray,
    indices: np.ndarray,
    size: int,
    smallest: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """Random resized crops in random orientations, float32 (n, 1, size, size), clipped to 0..1.

    Area uniform in ``smallest``..1 of the image, aspect ratio log-uniform in 3/4..4/3, place
    uniform, one of the eight orientations of the square.
    """
    drawn = torch.rand((len(indices), 5), generator=generator).numpy()
    batch = torch.empty((len(indices), 1, size, size))
    for row, (index, (area, ratio, y, x, turn)) in enumerate(zip(indices, drawn, strict=True)):
        window = _window(images.shape[1:], smallest + (1 - smallest) * area, ratio, y, x)
        crop = torch.from_numpy(np.asarray(images[index][window], np.float32))
        resized = resize(crop[None, None].clamp(0, 1), size)
        batch[row] = _oriented(resized[0], int(turn * 8))
    return batch


def resize(images: torch.Tensor, size: int) -> torch.Tensor:
    """(n, c, h, w) to (n, c, size, size), bilinear with antialiasing."""
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True)


def reconstruct(
    path: Path, images: np.ndarray, rng: np.random.Generator, mask_ratio: float = 0.75
) -> tuple[np.ndarray, np.ndarray]:
    """What the encoder sees and what the decoder makes of it.

    The network predicts normalised patches, so the hidden ones are shown with mean and standard
    deviation of the true patch: their structure is predicted, their brightness and contrast are
    not. Visible patches are shown as they are.

    Args:
        path: file of the autoencoder.
        images: (n, h, w), grey, about 0..1.

    Returns:
        Masked input (NaN where hidden) and reconstruction, both float32 (n, size, size).
    """
    mae, state = load_mae(path)
    a = mae.architecture
    pixels = torch.from_numpy(np.asarray(images, np.float32))[:, None].clamp(0, 1)
    pixels = resize(pixels, a.size)
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    visible = draw_visible(len(pixels), a.tokens, mask_ratio, generator)
    with torch.inference_mode():
        predicted = mae((pixels - state["mean"]) / state["std"], visible)
        truth = to_patches(pixels, a.patch)
        patch_mean, patch_std = patch_statistics(truth)
        hidden = hidden_mask(visible, a.tokens)[:, :, None]
        painted = torch.where(hidden, predicted * patch_std + patch_mean, truth)
        masked = torch.where(hidden, torch.nan, truth)
    shown, whole = (from_patches(part, a.patch, 1)[:, 0].numpy() for part in (masked, painted))
    return shown, whole


def _step(
    mae: Mae,
    optimiser: torch.optim.Optimizer,
    batch: torch.Tensor,
    plan: MaePlan,
    generator: torch.Generator,
) -> float:
    a = mae.architecture
    visible = draw_visible(len(batch), a.tokens, plan.mask_ratio, generator).to(batch.device)
    with autocast(batch.device, plan.precision):
        prediction = mae(batch, visible)
    loss = masked_loss(prediction.float(), batch, visible, a.patch)
    if not torch.isfinite(loss):
        raise ParameterError(
            f"pretraining diverged: loss is {loss.item()}. "
            f"Lower learning_rate (now {plan.learning_rate}) or raise warmup_share."
        )
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()


def _window(
    shape: tuple[int, int], area: float, ratio: float, y: float, x: float
) -> tuple[slice, slice]:
    """Rows and columns of a crop from four numbers in 0..1."""
    stretch = math.exp((2 * ratio - 1) * math.log(4 / 3) / 2)
    height = min(shape[0], max(8, round(shape[0] * area**0.5 * stretch)))
    width = min(shape[1], max(8, round(shape[1] * area**0.5 / stretch)))
    top = int(y * (shape[0] - height + 1))
    left = int(x * (shape[1] - width + 1))
    return slice(top, top + height), slice(left, left + width)


def _oriented(image: torch.Tensor, turn: int) -> torch.Tensor:
    """One of the eight orientations of (c, size, size)."""
    turned = torch.rot90(image, turn % 4, dims=(1, 2))
    return turned.flip(2) if turn >= 4 else turned


def image_statistics(images: np.ndarray, most: int = 512) -> tuple[float, float]:
    """Mean and standard deviation of at most ``most`` evenly spaced images, clipped to 0..1."""
    chosen = np.unique(np.linspace(0, len(images) - 1, min(most, len(images))).astype(int))
    sums = np.zeros(2)
    for index in chosen:
        pixels = np.clip(np.asarray(images[index], np.float64), 0, 1)
        sums += pixels.mean(), (pixels**2).mean()
    mean, square = sums / len(chosen)
    return float(mean), float(max(np.sqrt(max(square - mean**2, 0)), 1e-3))
