"""Run records: how a result came about, as JSON beside the result."""

import json
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from helpers import fingerprints
from helpers.errors import DataError
from helpers.files import write_json
from helpers.paths import PROJECT

PACKAGES = (
    "cellpose",
    "joblib",
    "numba",
    "numpy",
    "papermill",
    "scikit-image",
    "scikit-learn",
    "scipy",
    "torch",
    "torchvision",
)


@dataclass
class RunRecord:
    """What is known of one run of a chapter.

    Attributes:
        status: ``"ok"`` or ``"failed"``; ``error`` says what failed.
        key: fingerprint of all that went in; a run with an equal key need not be repeated.
        git: commit and whether the tree held changes that are not in it.
        data: one entry per data set: name, source, complete, coverage, fingerprint.
        work: number of models and the seconds spent on training them, now or in an earlier run
            whose trials were reused; ``duration_s`` is that of this execution alone.
        files: one entry per result file: path within the run's folder, sha256.
    """

    chapter: str
    title: str
    profile: str
    parameters: dict[str, Any]
    seeds: list[int]
    key: str
    code_fingerprint: str
    notebook_fingerprint: str
    status: str = "ok"
    error: str = ""
    started: str = ""
    duration_s: float = 0.0
    threads: int = 1
    git: dict[str, Any] = field(default_factory=dict)
    python: str = ""
    platform: str = ""
    packages: dict[str, str] = field(default_factory=dict)
    device: dict[str, Any] = field(default_factory=dict)
    data: list[dict[str, Any]] = field(default_factory=list)
    work: dict[str, Any] = field(default_factory=dict)
    files: list[dict[str, str]] = field(default_factory=list)


def describe_environment(record: RunRecord, device: str) -> None:
    """Fill in commit, versions, platform and device."""
    from importlib.metadata import version

    record.git = git_state()
    record.python = platform.python_version()
    record.platform = f"{platform.system()} {platform.machine()}"
    record.packages = {name: version(name) for name in PACKAGES}
    record.device = describe_device(device)
    record.started = datetime.now(UTC).isoformat(timespec="seconds")


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
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {}
    return {"commit": commit, "dirty": bool(_git("status", "--porcelain", "--untracked-files=no"))}


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(PROJECT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        # No git, or a copy without its history: the record then has no commit.
        return None
    return done.stdout.strip()


def list_files(folder: Path, names: list[str]) -> list[dict[str, str]]:
    """Path and sha256 of the named files of a run."""
    return [{"path": n, "sha256": fingerprints.of_file(folder / n)} for n in sorted(names)]


def write_record(record: RunRecord, path: Path) -> None:
    """Write a record as JSON, whole or not at all."""
    write_json(path, asdict(record))


def read_record(path: Path) -> RunRecord | None:
    """The record at ``path``, or ``None`` if there is none.

    Raises:
        DataError: the file is no run record.
    """
    if not path.is_file():
        return None
    values = read_plain(path)
    try:
        return RunRecord(**values)
    except TypeError as error:
        raise _no_record(path, error) from None


def read_plain(path: Path) -> dict[str, Any]:
    """A record of a run or of a benchmark as the JSON that it is.

    Raises:
        DataError: the file is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _no_record(path, error) from error


def _no_record(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: not a run record ({error}). Delete it and run the chapter again.")
