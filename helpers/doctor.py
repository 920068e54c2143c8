"""Is this machine ready? One line per thing that has gone wrong for somebody."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from helpers.errors import UserError
from helpers.paths import PROJECT, bundle_dir, code_cache, data_dir, runs_dir, why_not_writable
from helpers.text import aligned

MIN_MEMORY_GB = 4
MIN_DISK_GB = 5
# Written out, so that a broken installation is examined and not imported; a test compares.
GENERATED = tuple(
    f"synthetic-{name}"
    for name in (
        "cyto",
        "histo",
        "multi",
        "cardiac",
        "histo-b",
        "glands",
        "glands-b",
        "natural",
        "objects",
    )
)


@dataclass(frozen=True)
class Finding:
    """One line of the report: what was looked at, whether it will do, what was found."""

    ok: bool
    what: str
    found: str


def examine() -> list[Finding]:
    """All findings, in the order in which they are worth mending."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _packages,
        _torch_pair,
        _device,
        _memory,
        _disk,
        _write_access,
        _data,
    ]
    return [finding for check in checks for finding in check()]


def format_findings(findings: list[Finding]) -> str:
    """The report: ``[OK]`` or ``[FAIL]``, what, what was found."""
    return aligned([(f"[{'OK' if f.ok else 'FAIL'}]", f.what, f.found) for f in findings])


def _python() -> Iterator[Finding]:
    found = sys.version.split()[0]
    ok = (3, 11) <= sys.version_info < (3, 13)
    hint = "" if ok else "; Cellpose 3 needs 3.11 or 3.12: make the environment with one of them"
    yield Finding(ok, "Python", f"{found} ({sys.executable}){hint}")


def _packages() -> Iterator[Finding]:
    wrong = list(_differing_packages())
    if not wrong:
        yield Finding(True, "packages", "all direct dependencies as locked")
        return
    fix = "; run 'make setup', or pip install -r requirements.lock"
    yield Finding(False, "packages", "; ".join(wrong) + fix)


def _differing_packages() -> Iterator[str]:
    """Direct dependencies that are missing or not at the locked version."""
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    locked = _locked_versions()
    for text in project["dependencies"]:
        name = Requirement(text).name
        try:
            found = version(name)
        except PackageNotFoundError:
            yield f"{name} is missing"
            continue
        # A local part such as +cu132 or +cpu is a build of the same version.
        if found.split("+")[0] not in locked.get(name, set()):
            yield f"{name} {found} instead of {' or '.join(sorted(locked.get(name, {'?'})))}"


def _locked_versions() -> dict[str, set[str]]:
    """Versions in the lock; a package may have one per Python version."""
    versions: dict[str, set[str]] = {}
    for line in (PROJECT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        name, sign, rest = line.partition("==")
        if sign and not line.startswith((" ", "#")):
            versions.setdefault(name, set()).add(rest.split(";")[0].strip())
    return versions


def _torch_pair() -> Iterator[Finding]:
    try:
        import torch
        import torchvision

        torchvision.ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)
    except (ImportError, RuntimeError) as error:
        message = (str(error).splitlines() or [""])[0]
        hint = "install torch and torchvision as the pair in requirements.lock"
        yield Finding(False, "torch pair", f"{message}; {hint}")
        return
    yield Finding(
        True, "torch pair", f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    )


def _device() -> Iterator[Finding]:
    from helpers.book.records import describe_device
    from helpers.models.device import resolve_device, resolve_precision

    device = describe_device("auto")
    precision = str(resolve_precision("auto", resolve_device("auto"))).removeprefix("torch.")
    yield Finding(
        True, "device", f"{device['kind']}: {device['name']}, {device['cores']} cores, {precision}"
    )


def _memory() -> Iterator[Finding]:
    import psutil

    free = psutil.virtual_memory().available / 2**30
    hint = "" if free >= MIN_MEMORY_GB else "; close other programs, or run with -p workers=1"
    yield Finding(
        free >= MIN_MEMORY_GB, "memory", f"{free:.1f} GB free (wanted {MIN_MEMORY_GB}){hint}"
    )


def _disk() -> Iterator[Finding]:
    for what, folder in (("disk, runs", runs_dir()), ("disk, data", data_dir())):
        free = shutil.disk_usage(_existing(folder)).free / 2**30
        ok = free >= MIN_DISK_GB
        variable = "BOOK_RUNS_DIR" if "runs" in what else "BOOK_DATA_DIR"
        hint = "" if ok else f"; name another folder with {variable}"
        yield Finding(ok, what, f"{free:.0f} GB free at {folder} (wanted {MIN_DISK_GB}){hint}")


def _write_access() -> Iterator[Finding]:
    for folder, variable in ((runs_dir(), "BOOK_RUNS_DIR"), (data_dir(), "BOOK_DATA_DIR")):
        why = why_not_writable(folder)
        hint = f": {why}; name another folder with {variable}" if why else ""
        yield Finding(not why, "write access", f"{folder}{hint}")
    yield Finding(True, "compiled code", str(code_cache()))


def _data() -> Iterator[Finding]:
    yield Finding(True, "data, generated", ", ".join(GENERATED))
    try:
        bundle = bundle_dir()
    except UserError as error:
        yield Finding(False, "data, bundle", str(error))
        return
    if bundle is None:
        yield Finding(True, "data, bundle", "none named (BOOK_DATA_BUNDLE); generated data will do")
        return
    from helpers.data.bundle import load_bundle

    try:
        names = sorted(load_bundle(bundle).datasets)
    except UserError as error:
        yield Finding(False, "data, bundle", str(error))
    else:
        yield Finding(True, "data, bundle", f"{len(names)} data sets: {', '.join(names)}")


def _existing(folder: Path) -> Path:
    """The folder or its nearest parent that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder if os.access(folder, os.R_OK) else Path.home()
