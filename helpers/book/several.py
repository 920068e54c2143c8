"""Running all chapters that are not up to date, several at a time, each in a process of its own.

Most of a chapter keeps one core busy; with a second chapter beside it the others are used too, and
neither starts workers that would import all again. What two chapters share is computed once
(:func:`helpers.experiments.trials.run_trials`). A chapter whose process dies takes no other with
it.
"""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

from tqdm import tqdm

from helpers.book.registry import CHAPTERS
from helpers.book.runner import Run, find_run, run_folder
from helpers.errors import DataError
from helpers.paths import CHAPTERS_AT_ONCE, PROJECT

# More would not use two cores better, and each needs a notebook and its workers in memory.
MOST_JOBS = 2
GIGABYTES_PER_JOB = 3
LOG_LINES = 15


def run_all(profile: str, jobs: int = 0) -> dict[str, Run]:
    """Run every chapter as far as needed; what is up to date starts no process.

    What a run writes to the standard error (its bars) goes to ``PROFILE.log`` beside its folder.

    Args:
        jobs: chapters at a time; 0 for what suits the machine.

    Returns:
        By chapter, in the order of the book.

    Raises:
        ParameterError: before any run, if a chapter has no such profile.
    """
    runs = {name: _look(name, profile) for name in CHAPTERS}
    stale = [name for name, run in runs.items() if not run.reused]
    print(f"Unchanged, reused ({profile}): {len(runs) - len(stale)} of {len(runs)} chapters")
    if not stale:
        return runs
    jobs = jobs or job_count(stale, profile)
    with ThreadPoolExecutor(jobs) as pool:
        # After an interruption no further chapter is begun.
        found = pool.map(_run_apart, stale, repeat(profile), repeat(jobs))
        bar = tqdm(found, "chapters", len(stale), unit="chapter", disable=None)
        return runs | dict(zip(stale, bar, strict=True))


def _look(name: str, profile: str) -> Run:
    try:
        return find_run(name, profile)
    except DataError:
        # The chapter's own process says it better, and the others go on.
        return Run(run_folder(name, profile, {}))


def job_count(names: Sequence[str], profile: str) -> int:
    """Chapters at a time on this machine: two, if cores and memory allow; one on a GPU."""
    import psutil

    from helpers.models.device import resolve_device

    devices = {CHAPTERS[name].given(profile).get("device", "cpu") for name in names}
    if any(resolve_device(device).type != "cpu" for device in devices):
        return 1
    memory = psutil.virtual_memory().total // (GIGABYTES_PER_JOB * 2**30)
    return max(1, min(MOST_JOBS, os.cpu_count() or 1, memory))


def _run_apart(name: str, profile: str, jobs: int) -> Run:
    folder = run_folder(name, profile, {})
    log = folder.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    tqdm.write(f"{name} ({profile}) ...")
    with log.open("w", encoding="utf-8") as stream:
        done = subprocess.run(
            command(name, profile),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
            cwd=PROJECT,
            env={**os.environ, CHAPTERS_AT_ONCE: str(jobs)},
        )
    if not done.returncode:
        tqdm.write(done.stdout.splitlines()[0])
        return Run(folder)
    error = explain(log.read_text(encoding="utf-8"), done.returncode)
    tqdm.write(f"{name}: {error}\nWhole log: {log}", file=sys.stderr)
    return Run(folder, error=error)


def command(name: str, profile: str) -> list[str]:
    """What runs one chapter."""
    return [sys.executable, "-m", "helpers", "run", name, "--profile", profile]


def explain(log: str, status: int) -> str:
    """Why a run failed: what the command says of it, or else its status and the end of its log."""
    # At the beginning of a line, or behind a bar that was left open.
    _, *said = re.split(r"(?:\A|[\r\n\]])error: ", log)
    if said:
        return said[-1].strip()
    # Every state of a bar is a line.
    lines = [line for line in re.split(r"[\r\n]+", log) if line.strip()]
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    return "\n".join([f"the run {how}", *lines[-LOG_LINES:]])
