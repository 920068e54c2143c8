"""What the files of a pretraining say of it: its log, and the point from which it can go on.

Logs are dataclasses; ``as_log`` makes one of the values that JSON gives back.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from helpers.errors import DataError
from helpers.files import read_torch, write_json, write_torch
from helpers.models.weights import resuming

# Stream of random numbers for what happens in a step.
STEPS = 2

Log = TypeVar("Log")
AsLog = Callable[[dict], Log]


def require_same(path: Path, found: dict | None, expected: dict) -> None:
    """Refuse the file of another pretraining.

    Raises:
        DataError: its settings are not the expected ones.
    """
    if found != expected:
        raise DataError(
            f"{path}: belongs to another pretraining ({found}; expected {expected}). "
            "Name another file, or delete this one to train anew."
        )


def finished_log(
    folder: Path, identity: dict, as_log: AsLog[Log], encoder_path: Callable[[Path, int], Path]
) -> Log | None:
    """The log of a finished run; ``None`` if there is none or it is still going on.

    Args:
        identity: what the run must have in common with the one asked for, as JSON gives it back.
        encoder_path: where the encoder lies that was kept at each of the log's ``kept``.

    Raises:
        DataError: the log is unreadable or of another pretraining, or an encoder is missing.
    """
    path = folder / "log.json"
    if not path.is_file():
        return None
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        found, finished, log = state["identity"], state["finished"], as_log(state["log"])
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{path}: not the log of a pretraining ({error}). Delete the folder to train anew."
        ) from error
    require_same(path, found, identity)
    if not finished:
        return None
    lost = [place for place in log.kept if not encoder_path(folder, place).is_file()]
    if lost:
        raise DataError(
            f"{encoder_path(folder, lost[0])}: is missing, though {path.name} says that the "
            "pretraining is finished. Delete the folder to train anew."
        )
    return log


def write_log(folder: Path, identity: dict, log: Any, finished: bool) -> None:
    """Write what :func:`finished_log` reads."""
    state = {"identity": identity, "finished": finished, "log": asdict(log)}
    write_json(folder / "log.json", state)


def save_point(
    path: Path, identity: dict, network: nn.Module, optimiser: torch.optim.Optimizer, log: Any
) -> None:
    """Write the point from which :func:`resume_point` lets a killed run go on."""
    state = {
        "identity": identity,
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "log": json.dumps(asdict(log)),
    }
    write_torch(path, state)


def resume_point(
    path: Path,
    identity: dict,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    as_log: AsLog[Log],
) -> Log | None:
    """Fill network and optimiser and return the log; ``None``, and nothing changed, without a file.

    Raises:
        DataError: the file is not a point of this pretraining.
    """
    if not path.is_file():
        return None
    state = read_torch(path)
    with resuming(path, "pretraining"):
        require_same(path, state["identity"], identity)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        return as_log(json.loads(state["log"]))
