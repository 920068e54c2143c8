"""Clearing away what killed processes left half-written."""

import shutil
from pathlib import Path


def remove_leftovers(folder: Path, stem: str) -> list[Path]:
    """Delete ``STEM.PID.part`` in ``folder`` where process PID no longer runs.

    Returns:
        What was deleted.
    """
    import psutil

    removed = []
    for path in folder.glob(f"{stem}.*.part"):
        pid = path.name.removesuffix(".part").rpartition(".")[2]
        if not pid.isdecimal() or psutil.pid_exists(int(pid)):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        removed.append(path)
    return removed
