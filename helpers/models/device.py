"""Which device and number format a computation uses: asked for by name, never changed silently."""

import torch

from helpers.errors import ParameterError

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "bfloat16", "float32")


def resolve_device(name: str) -> torch.device:
    """The device for ``auto`` (a GPU if there is one, else the CPU) or for an explicit name.

    Raises:
        ParameterError: the named device is not on this machine; nothing falls back by itself.
    """
    if name not in DEVICES:
        raise ParameterError(f"device={name!r}: expected one of {', '.join(DEVICES)}")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not present[name]:
        raise ParameterError(
            f"device={name!r}: not on this machine. Use device='cpu', or run where it is."
        )
    return torch.device(name)


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """bfloat16 or float32 for the network's arithmetic (weights and losses stay float32).

    ``auto`` takes bfloat16 where the processor multiplies it natively (about 2-4 times faster for
    these networks) and float32 elsewhere, where it would be emulated and slower.
    """
    if name not in PRECISIONS:
        raise ParameterError(f"precision={name!r}: expected one of {', '.join(PRECISIONS)}")
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    native = device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16", False)
    return torch.bfloat16 if native else torch.float32


def autocast(device: torch.device, precision: str | torch.dtype) -> torch.autocast:
    """``"bfloat16"`` or ``"float32"`` arithmetic of networks on a device."""
    chosen = getattr(torch, precision) if isinstance(precision, str) else precision
    return torch.autocast(device.type, dtype=chosen, enabled=chosen != torch.float32)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Let all parameter groups learn at this rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def read_every(device: torch.device) -> int:
    """Steps between looks at losses: reading one makes the processor wait for a GPU."""
    return 1 if device.type == "cpu" else 10
