"""Run records: how a result came about, as JSON beside the result.

Every record says ``chapter``, ``title``, ``profile``, ``parameters``, ``seeds`` and ``threads``;
``status`` ("ok" or "failed") and ``error``; ``started`` and ``duration_s`` (of this execution);
what :func:`environment` adds; ``key``, the fingerprint of all that went in (a run with an equal key
need not be repeated), with ``code_fingerprint`` and ``notebook_fingerprint``; ``data``, for each
data set its name, source, coverage, fingerprint and whether it is complete; ``work``, the number of
models and the seconds spent on training them, now or in an earlier run whose trials were reused;
``competence``, for each of the chapter's gates whether the models pass it, and why; ``files``, the
path and sha256 of each result.
"""

import json
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from helpers.errors import DataError
from helpers.paths import PROJECT

PACKAGES = (
    *("cellpose", "joblib", "numba", "numpy", "papermill", "scikit-image", "scikit-learn"),
    *("scipy", "torch", "torchvision"),
)


def environment(device: str) -> dict[str, Any]:
    """Time, commit, versions, platform and the device that ``device`` resolves to."""
    from importlib.metadata import version

    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": git_state(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": {name: version(name) for name in PACKAGES},
        "device": describe_device(device),
    }


def describe_device(name: str) -> dict[str, Any]:
    """Kind, name, cores and memory of the device that ``name`` resolves to."""
    import psutil
    import torch

    from helpers.models.device import resolve_device, resolve_precision

    device = resolve_device(name)
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count()
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        memory, label = properties.total_memory, properties.name
    else:
        memory = psutil.virtual_memory().total
        label = torch.cpu.get_capabilities().get("cpu_name") or platform.processor()
    return {
        "kind": device.type,
        "name": label,
        "cores": cores,
        "memory_gb": round(memory / 2**30, 1),
        "native_bfloat16": resolve_precision("auto", device) == torch.bfloat16,
    }


def git_state() -> dict[str, Any]:
    """Commit and dirty flag of the project; empty outside a git checkout."""
    commit = ask_git("rev-parse", "HEAD")
    if commit is None:
        return {}
    changes = ask_git("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": bool(changes)}


def ask_git(*arguments: str) -> str | None:
    """What git says of the project; ``None`` without git, history or an answer."""
    command = ["git", "-C", str(PROJECT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def read_record(path: Path) -> dict[str, Any] | None:
    """The record of a run or of a benchmark, or ``None`` if there is none.

    Raises:
        DataError: the file is no JSON object.
    """
    if not path.is_file():
        return None
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: not a run record ({error}). Delete it and run the chapter again."
        ) from error
