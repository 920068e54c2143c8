"""Cellpose 3's network from random weights, at any width."""

from pathlib import Path

import torch

from helpers.errors import DataError, ParameterError
from helpers.files import read_torch, write_torch
from helpers.randomness import global_seed

# Channels of the widest level of Cellpose's own network.
WIDEST = 256


def build_cpnet(width: int, seed: int, channels: int = 1) -> torch.nn.Module:
    """A CPnet with random weights (Stringer et al. 2021; cellpose 3.1 ``resnet_torch.CPnet``).

    The network takes (n, channels, height, width), sides divisible by 8, and returns a tuple whose
    first element is (n, 3, height, width): flow in y and x (times 5) and the foreground logit.

    Args:
        width: channels of the first of four levels, doubled at each further one; 32 is Cellpose's
            own network (6.6 M parameters), 16 has 1.7 M, 8 has 0.4 M.
        seed: of the weights; the global generator is left as it was.
        channels: of the input.
    """
    if width < 1:
        raise ParameterError(f"width={width}: expected at least 1")
    from cellpose.resnet_torch import CPnet

    with global_seed(seed):
        return CPnet([channels, *(width * 2**level for level in range(4))], nout=3, sz=3)


def save_weights(network: torch.nn.Module, path: Path) -> None:
    """Write the state dict, complete or not at all."""
    write_torch(path, network.state_dict())


def memory_format(network: torch.nn.Module, precision: torch.dtype) -> torch.memory_format:
    """In which order of axes this network trains fastest where it is.

    Channels last, but for networks of Cellpose's full width in float32 on the CPU. On one thread of
    an AMD EPYC a step at 224 pixels took a seventh to a third less time with the channels first,
    one of a half-wide network at 112 pixels a tenth more.
    """
    weights = [p for p in network.parameters() if p.ndim == 4 and p.device.type == "cpu"]
    if precision == torch.float32 and any(len(p) >= WIDEST for p in weights):
        return torch.contiguous_format
    return torch.channels_last


def load_weights(network: torch.nn.Module, path: Path) -> None:
    """Fill ``network`` from a state dict; missing or unexpected keys are refused.

    Not ``CPnet.load_model``: on the CPU that rebuilds the network with ``diam_mean`` in the place
    of ``max_pool`` and skips keys that do not match.

    Raises:
        DataError: the file is no state dict, or not one of this network.
    """
    state = read_torch(path)
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        lines = str(error).splitlines()
        raise DataError(
            f"{path}: not weights of this network ({' '.join(lines[:2])}). "
            "Check that the width is the one it was trained with, or name another file."
        ) from error
