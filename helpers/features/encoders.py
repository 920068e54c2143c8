"""Frozen networks that turn an image into one vector, and everything needed to use them."""

import copy
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from helpers.data.preprocess import HISTOLOGY_MEAN, HISTOLOGY_STD
from helpers.errors import DataError, ParameterError
from helpers.files import read_torch
from helpers.randomness import global_seed

Pooling = Literal["mean", "mean+cls"]
IN_HOUSE = "in_house_mae_"
# As the autoencoders of this project start (`helpers.models.mae`).
ATTENTION_GAIN = 2.0


@dataclass(frozen=True, eq=False)
class Encoder:
    """A frozen network and how its input is prepared.

    Attributes:
        name: of the architecture and of where the weights come from.
        module: a timm model without classifier, in evaluation mode, no gradients.
        size: side of its square input in pixels.
        channels: of its input, 1 or 3.
        mean, std: per channel; an input in 0..1 becomes (x - mean) / std.
        dimension: length of a feature vector.
        fingerprint: sha256 over name, input and every weight.
    """

    name: str
    module: nn.Module
    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dimension: int
    fingerprint: str


@dataclass(frozen=True)
class PublishedVit:
    """A published vision transformer.

    Attributes:
        model: timm's name of the architecture.
        statistics: mean and spread per channel of its inputs in 0..1; ``None``: as timm states.
    """

    model: str
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None


# By their names in the data manifest: the masked autoencoder of arXiv 2511.04803 (He et al. 2022),
# and DINO on histology (Kang et al., CVPR 2023, arXiv 2212.04690).
PUBLISHED_VITS = {
    "mae-vit-base": PublishedVit("vit_base_patch16_224.mae"),
    "lunit-dino-vits16": PublishedVit("vit_small_patch16_224", (HISTOLOGY_MEAN, HISTOLOGY_STD)),
    "lunit-dino-vits8": PublishedVit("vit_small_patch8_224", (HISTOLOGY_MEAN, HISTOLOGY_STD)),
}


def timm_encoder(
    name: str,
    weights: Path | None = None,
    seed: int = 0,
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
) -> Encoder:
    """Any model of timm, with the input size, mean and spread that timm states for it.

    Args:
        name: as ``timm.create_model`` takes it, e.g. ``"vit_base_patch16_224.mae"``.
        weights: file with a state dict of exactly this model (torch or safetensors), bare or under
            the key ``model`` or ``state_dict``; a classifier in it is left out. ``None``: random
            weights, and the encoder's name says so.
        seed: of random weights.
        statistics: mean and spread per channel of inputs in 0..1, where the weights were trained
            with others than timm states.

    Raises:
        ParameterError: timm has no such model, or its input is not square.
        DataError: the file is unreadable, or keys or shapes are not those of the model.
    """
    import timm

    try:
        with global_seed(seed):
            module = timm.create_model(name, pretrained=False, num_classes=0)
    except RuntimeError as error:
        raise ParameterError(
            f"encoder {name!r}: timm {timm.__version__} does not make it ({error}). "
            "timm.list_models('*vit*') lists names."
        ) from error
    config = module.pretrained_cfg
    _, height, width = config["input_size"]
    if height != width:
        raise ParameterError(f"encoder {name!r}: input {height} x {width}, expected a square")
    if weights is None:
        title = f"{name} (random, seed {seed})"
    else:
        title = f"{name} ({weights.name})"
        load_strictly(module, _without_classifier(read_weights(weights), config), weights)
    mean, std = statistics or (tuple(config["mean"]), tuple(config["std"]))
    return make_encoder(title, module, height, mean, std)


def published_vit(
    name: str, accept_licences: frozenset[str] = frozenset(), progress: bool = True
) -> Encoder:
    """A vision transformer with its official weights, found or fetched.

    Args:
        name: key of :data:`PUBLISHED_VITS`.
        accept_licences: must hold ``name`` for a download: none of them is for commercial use.

    Raises:
        DataError: licence not accepted, no network, or not these weights.
    """
    from helpers.data.fetch import locate

    (path,) = locate(name, accept_licences=accept_licences, progress=progress).files
    published = PUBLISHED_VITS[name]
    return timm_encoder(published.model, path, statistics=published.statistics)


def local_mae(path: Path) -> Encoder:
    """Encoder half of an autoencoder written by :func:`helpers.pretraining.mae.pretrain_mae`.

    Raises:
        DataError: not such a file.
    """
    from timm.models.vision_transformer import VisionTransformer

    state = read_torch(path)
    try:
        arguments, steps = state["encoder_arguments"], int(state["steps"])
        module = VisionTransformer(**arguments)
        own = {
            name.removeprefix("encoder."): value
            for name, value in state["weights"].items()
            if name.startswith("encoder.")
        }
        statistics = [(float(state[name]),) * arguments["in_chans"] for name in ("mean", "std")]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(
            f"{path}: not a masked autoencoder of this project ({type(error).__name__}: {error}). "
            "Name the file that the pretraining wrote."
        ) from error
    load_strictly(module, own, path)
    title = IN_HOUSE + "{embed_dim}x{depth}_patch{patch_size}_{img_size}".format(**arguments)
    return make_encoder(f"{title} ({steps:,} steps)", module, arguments["img_size"], *statistics)


def random_like(encoder: Encoder, seed: int = 0) -> Encoder:
    """An in-house encoder before its training: fresh weights, drawn as the pretraining draws them.

    Positions, which are fixed sines and cosines, and the normalisation of inputs stay. For models
    of timm, :func:`timm_encoder` without weights does the same.

    Raises:
        ParameterError: not an encoder of :func:`local_mae`.
    """
    if not encoder.name.startswith(IN_HOUSE):
        raise ParameterError(
            f"encoder {encoder.name!r}: not one of local_mae. Use timm_encoder(name, None, seed)."
        )
    module = copy.deepcopy(encoder.module)
    with global_seed(seed):
        for part in module.modules():
            if hasattr(part, "reset_parameters"):
                part.reset_parameters()
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight)
                nn.init.zeros_(part.bias)
        for block in module.blocks:
            block.attn.qkv.weight.data[: 2 * encoder.dimension] *= ATTENTION_GAIN
        nn.init.xavier_uniform_(module.patch_embed.proj.weight.data.flatten(1))
        nn.init.normal_(module.cls_token, std=0.02)
    title = f"{encoder.name.split(' (')[0]} (random, seed {seed})"
    return make_encoder(title, module, encoder.size, encoder.mean, encoder.std)


def make_encoder(
    name: str, module: nn.Module, size: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> Encoder:
    """Freeze a timm model and name it after its content."""
    module = module.eval().requires_grad_(False)
    return Encoder(
        name=name,
        module=module,
        size=size,
        channels=len(mean),
        mean=mean,
        std=std,
        dimension=module.num_features,
        fingerprint=_fingerprint(name, module, (size, mean, std)),
    )


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The state dict in a torch or safetensors file, out of its ``model`` or ``state_dict`` key.

    ``module.`` before all names, which training on several GPUs leaves, is taken away.

    Raises:
        DataError: missing, unreadable, or no dict of tensors.
    """
    state = _read_safetensors(path) if path.suffix == ".safetensors" else read_torch(path)
    for key in ("model", "state_dict"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        held = type(state).__name__
        if isinstance(state, dict):
            held = _listed([f"{name} ({type(value).__name__})" for name, value in state.items()])
        raise DataError(
            f"{path}: holds {held}; expected a state dict: names and tensors. Save it alone: "
            "torch.save(network.state_dict(), FILE)"
        )
    if all(str(name).startswith("module.") for name in state):
        return {name.removeprefix("module."): value for name, value in state.items()}
    return state


def load_strictly(module: nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    """Fill a module; every key must be there, with its shape, and none besides.

    Raises:
        DataError: naming up to five missing keys, unexpected keys and differing shapes.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    shapes = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    parts = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    if problems := [f"{what}: {_listed(names)}" for what, names in parts.items() if names]:
        raise DataError(
            f"{path}: not the weights of this {type(module).__name__}; {'; '.join(problems)}. "
            "Check the name of the model, or name another file."
        )
    module.load_state_dict(state)


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: not readable as safetensors ({error}).") from error


def _without_classifier(state: dict[str, torch.Tensor], config: dict) -> dict[str, torch.Tensor]:
    heads = config.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else heads
    prefixes = tuple(f"{head}." for head in heads)
    return {name: value for name, value in state.items() if not name.startswith(prefixes)}


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _fingerprint(name: str, module: nn.Module, inputs: tuple) -> str:
    digest = hashlib.sha256(repr((name, str(module), inputs)).encode())
    for key, value in module.state_dict().items():
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
