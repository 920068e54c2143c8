"""Weights of a network and checkpoints of its training: whose they are, and taking them up."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from helpers.errors import DataError


def weights_digest(network: nn.Module) -> str:
    """sha256 of names and values, wherever they lie."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def resuming(path: Path | None, kind: str = "training") -> Iterator[None]:
    """Within the block, what a checkpoint lacks or has too much is an error that names its file.

    Args:
        path: of the checkpoint; ``None`` for a state that comes from no file.
        kind: whose checkpoint it should be.

    Raises:
        DataError: in place of what loading raises.
    """
    try:
        yield
    except (RuntimeError, TypeError, KeyError, ValueError) as error:
        raise DataError(
            f"{path or 'state'}: not a checkpoint of this {kind} ({error}). "
            "Delete it to start afresh."
        ) from error
