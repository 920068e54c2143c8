"""From images to feature vectors: deterministic, resumable, kept on disk.

arXiv 2511.04803 (section III-B) embeds every patch with a frozen masked autoencoder. Its released
script hides a random, unseeded 75 % of each patch from the encoder; here nothing is hidden unless
``masking="released"`` asks for it (`methods.md`, section 1.2, has the analysis).
"""

import copy
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from helpers import fingerprints
from helpers.data.preprocess import scale_percentiles
from helpers.errors import DataError, ParameterError
from helpers.features.encoders import Encoder, Pooling
from helpers.files import write_json
from helpers.locks import once

Masking = Literal["none", "released"]
RELEASED_MASK_RATIO = 0.75
# The network always runs on this many images, the last ones padded with zeros: matrix products of
# another shape may round differently, and then features would depend on the batch size.
MICRO_BATCH = {"cpu": 8, "cuda": 64, "mps": 32}
# Images between two writes to the store, a multiple or less of those numbers.
WRITTEN = 16


@dataclass(frozen=True)
class EmbedSettings:
    """How features are computed.

    Attributes:
        pooling: of a transformer's tokens after its last norm: ``"mean"`` of the patch tokens;
            ``"mean+cls"``, the mean over class token and patch tokens alike (released script).
            Other networks know only ``"mean"``: timm's own pooling.
        masking: ``"none"``, or ``"released"``: the encoder sees a random quarter of the tokens, as
            in the released script; there anew in every run, here by (seed, place of the image).
        precision: ``"float32"``, or ``"bfloat16"`` for weights and arithmetic (relative error of
            features about 1e-2; several times faster where the processor has it).
        seed: of released masking.
        scaled: images are already scaled to about 0..1; else each is, by its own percentiles 1
            and 99 over all channels together.
    """

    pooling: Pooling = "mean"
    masking: Masking = "none"
    precision: str = "float32"
    seed: int = 0
    scaled: bool = False


def embed(
    images: Sequence[np.ndarray] | np.ndarray,
    encoder: Encoder,
    settings: EmbedSettings = EmbedSettings(),
    store: Path | None = None,
    data_key: str = "",
    device: str = "cpu",
) -> np.ndarray:
    """Features of images, float32 (n, dimension), finite.

    Args:
        images: n arrays (h, w) or (h, w, c) of any sizes and any real dtype. Three channels stay
            colours for an encoder that takes them; any other number is averaged to grey first.
            Images are resized to the encoder's square input, whatever their own shape.
        store: folder for results; ``None`` keeps them in memory. A finished result is opened at
            once, an interrupted one continued; a second process waits for the first.
        data_key: fingerprint of the images; with a store and without a key it is computed from all
            their pixels.
        device: as torch names it.

    Returns:
        An array, or a read-only ``np.memmap`` if there is a store. Neither batch size nor an
        interruption changes a bit of it (same device, same number of threads).

    Raises:
        ParameterError: pooling or masking that the encoder does not have.
        DataError: the encoder returns NaN or infinity.
    """
    _check(encoder, settings)
    if store is None:
        features = np.empty((len(images), encoder.dimension), np.float32)
        for start, rows in _computed(images, 0, encoder, settings, torch.device(device)):
            features[start : start + len(rows)] = rows
        return features
    key = _store_key(encoder, settings, data_key or _hash_images(images), len(images))
    return _stored(store / f"features-{key[:20]}", images, encoder, settings, torch.device(device))


def _stored(
    stem: Path,
    images: Sequence[np.ndarray],
    encoder: Encoder,
    settings: EmbedSettings,
    device: torch.device,
) -> np.ndarray:
    final = stem.with_name(f"{stem.name}.npy")
    once(final, lambda: _fill(stem, final, images, encoder, settings, device))
    return np.load(final, mmap_mode="r")


def _fill(
    stem: Path,
    final: Path,
    images: Sequence[np.ndarray],
    encoder: Encoder,
    settings: EmbedSettings,
    device: torch.device,
) -> None:
    """Compute what is missing; the file gets its name when it is whole."""
    partial = stem.with_name(f"{stem.name}.partial.npy")
    progress = stem.with_name(f"{stem.name}.progress.json")
    done = _resume_point(partial, progress)
    features = np.lib.format.open_memmap(
        partial,
        mode="r+" if done else "w+",
        dtype=np.float32,
        shape=(len(images), encoder.dimension),
    )
    for start, rows in _computed(images, done, encoder, settings, device):
        features[start : start + len(rows)] = rows
        # Data first, then the note that they are there.
        features.flush()
        write_json(progress, {"done": start + len(rows)})
    del features
    partial.replace(final)
    progress.unlink()


def _resume_point(partial: Path, progress: Path) -> int:
    if not (partial.is_file() and progress.is_file()):
        return 0
    return int(json.loads(progress.read_text(encoding="utf-8"))["done"])


def _computed(
    images: Sequence[np.ndarray],
    done: int,
    encoder: Encoder,
    settings: EmbedSettings,
    device: torch.device,
) -> Iterator[tuple[int, np.ndarray]]:
    """(start, features) of one batch after the other, from image ``done`` on."""
    from tqdm import tqdm

    micro = MICRO_BATCH[device.type]
    batch = max(micro, WRITTEN)
    module = _placed(encoder.module, settings.precision, device)
    title = f"features, {encoder.name}"
    with tqdm(total=len(images), initial=done, desc=title, unit="image", mininterval=2) as bar:
        for start in range(done, len(images), batch):
            end = min(start + batch, len(images))
            parts = [
                _features(module, images, range(at, min(at + micro, end)), encoder, settings)
                for at in range(start, end, micro)
            ]
            yield start, np.concatenate(parts)
            bar.update(end - start)


def _placed(module: nn.Module, precision: str, device: torch.device) -> nn.Module:
    if precision == "float32" and device.type == "cpu":
        return module
    return copy.deepcopy(module).to(device, getattr(torch, precision))


@torch.inference_mode()
def _features(
    module: nn.Module,
    images: Sequence[np.ndarray],
    indices: range,
    encoder: Encoder,
    settings: EmbedSettings,
) -> np.ndarray:
    """Features of one micro-batch, padded to its fixed size."""
    weight = next(module.parameters())
    rows = MICRO_BATCH[weight.device.type]
    inputs = torch.zeros((rows, encoder.channels, encoder.size, encoder.size))
    for row, index in enumerate(indices):
        inputs[row] = prepare_input(images[index], encoder, settings.scaled)
    inputs = inputs.to(weight.device, weight.dtype)
    if not has_tokens(module):
        # Half again as fast with depthwise convolutions on processors.
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    if settings.masking == "released":
        places = range(indices.start, indices.start + len(inputs))
        visible = released_visible(places, module.patch_embed.num_patches, settings.seed)
        tokens = visible_tokens(module, inputs, visible.to(weight.device))
    else:
        tokens = module.forward_features(inputs)
    found = pool(module, tokens, settings.pooling).float().cpu().numpy()[: len(indices)]
    if not np.isfinite(found).all():
        bad = indices[int(np.flatnonzero(~np.isfinite(found).all(axis=1))[0])]
        raise DataError(
            f"image {bad}: {encoder.name} returns NaN or infinity. Check the weights, or use "
            "precision='float32'."
        )
    return found


def pool(module: nn.Module, tokens: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """(n, dimension) from what ``forward_features`` of a timm model returns."""
    if not has_tokens(module):
        return module.forward_head(tokens, pre_logits=True)
    tokens = tokens.float()
    if pooling == "mean":
        pooled = tokens[:, module.num_prefix_tokens :].mean(dim=1)
    else:
        patches = tokens[:, module.num_prefix_tokens :]
        pooled = torch.cat([tokens[:, :1], patches], dim=1).mean(dim=1)
    # Models that timm trains on mean tokens have their last norm after the pooling.
    norm = getattr(module, "fc_norm", None)
    return pooled if norm is None else norm(pooled.to(next(module.parameters()).dtype))


def visible_tokens(module: nn.Module, inputs: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """Tokens (n, 1 + k, d) of a ``VisionTransformer`` that is shown k of its patch tokens.

    Args:
        visible: int64 (n, k); position embeddings are added before the others are left out.
    """
    tokens = module._pos_embed(module.patch_embed(inputs))
    prefix = module.num_prefix_tokens
    where = visible[:, :, None].expand(-1, -1, tokens.shape[2])
    kept = torch.cat([tokens[:, :prefix], tokens[:, prefix:].gather(1, where)], dim=1)
    return module.norm(module.blocks(module.norm_pre(kept)))


def released_visible(places: range, tokens: int, seed: int) -> torch.Tensor:
    """int64 (n, tokens / 4): what the released script would let the encoder see.

    The first quarter of a random order of the tokens, drawn by (seed, place of the image) alone.
    """
    count = int(tokens * (1 - RELEASED_MASK_RATIO))
    orders = [np.random.default_rng([seed, place]).permutation(tokens)[:count] for place in places]
    return torch.from_numpy(np.sort(np.stack(orders), axis=1))


def prepare_input(image: np.ndarray, encoder: Encoder, scaled: bool) -> torch.Tensor:
    """One image as the encoder takes it: float32 (channels, size, size), normalised.

    Scaled by percentiles unless ``scaled``, clipped to 0..1 (as an 8-bit picture would be), resized
    bilinearly with antialiasing, normalised by the encoder's mean and spread.
    """
    pixels = np.asarray(image).astype(np.float32)
    if not scaled:
        pixels = scale_percentiles(pixels)
    if pixels.ndim == 3 and (encoder.channels == 1 or pixels.shape[2] != 3):
        pixels = pixels.mean(axis=2)
    stack = torch.from_numpy(np.ascontiguousarray(np.atleast_3d(pixels), np.float32))
    stack = stack.permute(2, 0, 1)[None].clamp(0, 1)
    if stack.shape[-2:] != (encoder.size, encoder.size):
        stack = F.interpolate(stack, (encoder.size, encoder.size), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(part)[:, None, None] for part in (encoder.mean, encoder.std))
    return (stack[0].expand(encoder.channels, -1, -1) - mean) / std


def has_tokens(module: nn.Module) -> bool:
    """Whether the network is a transformer that returns (n, prefix + patches, d)."""
    return hasattr(module, "num_prefix_tokens") and hasattr(module, "patch_embed")


def _check(encoder: Encoder, settings: EmbedSettings) -> None:
    from timm.models.vision_transformer import VisionTransformer

    module = encoder.module
    if settings.masking == "released" and not isinstance(module, VisionTransformer):
        raise ParameterError(
            f"masking='released': {encoder.name} is a {type(module).__name__}, masking needs a "
            "VisionTransformer. Use masking='none'."
        )
    if settings.pooling != "mean" and not (
        has_tokens(module) and getattr(module, "cls_token", None) is not None
    ):
        raise ParameterError(
            f"pooling={settings.pooling!r}: {encoder.name} has no class token. Use pooling='mean'."
        )


def _store_key(encoder: Encoder, settings: EmbedSettings, data_key: str, n: int) -> str:
    return fingerprints.of_json(
        {
            "encoder": encoder.fingerprint,
            "settings": asdict(settings),
            "data": data_key,
            "n": n,
            "code": fingerprints.of_code([__name__]),
        }
    )


def _hash_images(images: Sequence[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for image in images:
        pixels = np.ascontiguousarray(image)
        digest.update(f"{pixels.dtype} {pixels.shape}".encode())
        digest.update(pixels.data)
    return digest.hexdigest()
