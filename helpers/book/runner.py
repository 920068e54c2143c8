"""Running a chapter: look whether it is done already, validate, execute, record."""

import os
import shutil
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from helpers import fingerprints
from helpers.book import results
from helpers.book.records import environment, read_record
from helpers.book.registry import Chapter, find_chapter
from helpers.errors import UserError
from helpers.files import write_json
from helpers.leftovers import remove_leftovers
from helpers.paths import PROJECT, runs_dir

LOCK = PROJECT / "requirements.lock"
# Parameters of chapters that name a data set, or several in a list.
DATA_PARAMETERS = (
    *("dataset", "contrast", "target", "third", "tasks", "glands", "nuclei"),
    *("within", "cells", "sources", "unseen"),
)
NOTEBOOK, RECORD, RESULTS = "executed.ipynb", "record.json", results.RESULTS


@dataclass(frozen=True)
class Run:
    """A run of a chapter: finished, failed or still to come.

    Attributes:
        folder: holds, once run, ``executed.ipynb``, ``results.csv`` and ``record.json``.
        reused: whether nothing had to be computed.
        error: why the run that was asked for did not succeed; empty if it did.
    """

    folder: Path
    reused: bool = False
    error: str = ""

    @property
    def record(self) -> dict[str, Any] | None:
        """The run's record; ``None`` if it was never run."""
        return read_record(self.folder / RECORD)


def run_folder(chapter: str, profile: str, overrides: dict[str, Any]) -> Path:
    """Where the run of a chapter lies; one with overrides does not take a profile's place."""
    suffix = f"-{fingerprints.of_json(overrides)[:8]}" if overrides else ""
    return runs_dir() / "chapters" / chapter / f"{profile}{suffix}"


def find_run(name: str, profile: str, overrides: dict[str, Any] | None = None) -> Run:
    """The run as it lies there; ``reused`` if nothing that went into it has changed.

    Nothing that the chapter needs is imported for this.

    Raises:
        ParameterError: unknown chapter or profile.
        DataError: the record, or data that the run reads, cannot be read.
    """
    chapter = find_chapter(name)
    given = chapter.given(profile, overrides)
    run = Run(run_folder(name, profile, overrides or {}))
    record = run.record
    if record is None or record["status"] != "ok":
        return run
    return Run(run.folder, reused=record["key"] == describe_inputs(chapter, given)["key"])


def run_chapter(
    name: str, profile: str, overrides: dict[str, Any] | None = None, force: bool = False
) -> Run:
    """Execute a chapter's notebook, or reuse the run whose inputs are all unchanged.

    Args:
        overrides: parameters that differ from the profile.
        force: execute even if nothing changed (trials that exist are still reused).

    Raises:
        ParameterError: before anything starts, for unknown or ill-typed parameters.
        UserError: the notebook failed; the failed run is on disk with its record.
    """
    run = find_run(name, profile, overrides)
    if run.reused and not force:
        return run
    chapter = find_chapter(name)
    given = chapter.given(profile, overrides)
    parameters = chapter.schema.check(given).model_dump(mode="json")
    record = {
        "chapter": name,
        "title": chapter.title,
        "profile": profile,
        "parameters": parameters,
        "seeds": parameters.get("seeds", []),
        "threads": parameters.get("threads", 1),
        **describe_inputs(chapter, given),
        **environment(parameters.get("device", "cpu")),
    }
    _execute(chapter, record, run.folder)
    return run


def describe_inputs(chapter: Chapter, given: dict[str, Any]) -> dict[str, str]:
    """Fingerprints: ``key`` of all that goes into a run, and those of code and notebook alone."""
    notebook = fingerprints.of_json(chapter.cells())
    code = fingerprints.of_code(imported_by(chapter))
    inputs = {
        "notebook": notebook,
        "code": code,
        "parameters": given,
        "lock": fingerprints.of_file(LOCK),
        "data": _data_fingerprint(given),
        "results": [fingerprints.of_file(path) for path in results.files_read_by(chapter.name)],
    }
    key = fingerprints.of_json(inputs)
    return {"key": key, "code_fingerprint": code, "notebook_fingerprint": notebook}


def imported_by(chapter: Chapter) -> list[str]:
    """Modules of this package that the notebook's code cells import."""
    source = "\n".join(
        line
        for kind, text, _ in chapter.cells()
        if kind == "code"
        for line in text.splitlines()
        if not line.lstrip().startswith(("%", "!"))
    )
    return sorted(n for n in fingerprints.imports_of_source(source) if n.startswith("helpers"))


def _data_fingerprint(given: dict[str, Any]) -> list[str | None]:
    """Fingerprints of the data a run reads; generated data are covered by parameters and code."""
    held = [given[key] for key in DATA_PARAMETERS if given.get(key)]
    names = [str(name) for one in held for name in (one if isinstance(one, list) else [one])]
    found = [mark for name in names if not _is_generated(name) for mark in _marks_of(name)]
    if (source := given.get("source")) and not _is_generated(source):
        from helpers.data.classified import listing_fingerprint

        found.append(listing_fingerprint(Path(source).expanduser()))
    return found


def _is_generated(name: str) -> bool:
    return name.startswith("synthetic-")


def _marks_of(name: str) -> list[str | None]:
    from helpers.data.datasets import open_dataset, split_name
    from helpers.data.fetch import fingerprint_of

    found = split_name(name)
    return [open_dataset(one).fingerprint if ":" in one else fingerprint_of(one) for one in found]


def _execute(chapter: Chapter, record: dict[str, Any], folder: Path) -> None:
    """Run papermill into a new folder, then put it in the place of the old one."""
    remove_leftovers(folder.parent, folder.name)
    work = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    work.mkdir(parents=True)
    begin = time.perf_counter()
    error = _papermill(chapter, record["parameters"], work)
    record |= {"status": "failed" if error else "ok", "error": error}
    record["duration_s"] = round(time.perf_counter() - begin, 1)
    record |= results.read_provenance(work)
    if not error:
        images = results.read_images(work / results.IMAGES)
        cells = results.Cells(results.read_table(work / RESULTS), images)
    record["competence"] = [] if error else judge_models(chapter, cells)
    files = sorted(work.iterdir())
    record["files"] = [{"path": p.name, "sha256": fingerprints.of_file(p)} for p in files]
    write_json(work / RECORD, record)
    _swap(work, folder)
    if error:
        raise UserError(
            f"chapter '{chapter.name}' failed: {error}\n"
            f"The notebook up to the failure: {folder / NOTEBOOK}"
        )


def _papermill(chapter: Chapter, parameters: dict[str, Any], work: Path) -> str:
    """Execute the notebook; what a failing cell says is returned, not raised."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    os.environ[results.OUTPUT_VARIABLE] = str(work)
    try:
        papermill.execute_notebook(
            str(chapter.notebook),
            str(work / NOTEBOOK),
            parameters=parameters,
            kernel_name="python3",
            cwd=str(chapter.notebook.parent),
            progress_bar=False,
            log_output=False,
            stderr_file=sys.stderr,
        )
    except PapermillExecutionError as error:
        return f"{error.ename}: {error.evalue}"
    finally:
        del os.environ[results.OUTPUT_VARIABLE]
    return ""


def judge_models(chapter: Chapter, cells: results.Cells) -> list[dict[str, Any]]:
    """For each gate of the chapter that a run has models for whether they pass it, and why.

    It stands in the record, so that the book can say it without importing what chapters need.
    """
    gates = getattr(import_module(chapter.module), "GATES", ())
    found = [gate.look(cells) for gate in gates]
    return [{"competent": bool(one.passed), "why": str(one)} for one in found if one.measured]


def _swap(work: Path, folder: Path) -> None:
    """Put a finished folder in the place of an older one; of two runners the later one stays."""
    from filelock import FileLock

    with FileLock(f"{folder}.lock"):
        shutil.rmtree(folder, ignore_errors=True)
        work.rename(folder)


def record_run(run: Run) -> list[Path]:
    """Write the numbers and the record of a run into the book as recorded results.

    A run with a part of its profile's seeds is that profile's record, with fewer seeds, and joins
    what is recorded of other seeds with the same parameters, so that seeds may be run one by one or
    on several machines. A run with any other override is kept under a name of its own.

    Returns:
        The files written: ``book/results/recorded/CHAPTER-PROFILE.csv`` and ``.json``, and
        ``CHAPTER-PROFILE-images.csv.gz`` where images were tested.
    """
    record = run.record
    chapter, profile = find_chapter(record["chapter"]), record["profile"]
    planned = chapter.parameters(profile).model_dump(mode="json")
    differing = {name for name, value in record["parameters"].items() if planned[name] != value}
    partial = differing == {"seeds"} and set(record["seeds"]) < set(planned["seeds"])
    stem = f"{chapter.name}-{profile if partial or not differing else run.folder.name}"
    target = results.FOLDER / "recorded"
    target.mkdir(parents=True, exist_ok=True)
    written = [target / f"{stem}.csv", target / f"{stem}.json", target / f"{stem}-{results.IMAGES}"]
    table = results.read_table(run.folder / RESULTS)
    images = results.read_images(run.folder / results.IMAGES)
    kept = read_record(written[1])
    if kept and (others := _other_seeds(kept, record)):
        table = _with_seeds(results.read_table(written[0]), others, table)
        images = _with_seeds(results.read_images(written[2]), others, images)
        record = _joined_record(kept, others, record)
        record["competence"] = judge_models(chapter, results.Cells(table, images))
    results.write_table(table, written[0])
    write_json(written[1], record)
    if images.empty:
        return written[:2]
    results.write_images(images, written[2])
    return written


def _other_seeds(kept: dict[str, Any], record: dict[str, Any]) -> list[int]:
    """Seeds that are recorded with the same parameters and that the run does not have."""
    first, second = (one["parameters"] | {"seeds": []} for one in (kept, record))
    if first != second:
        return []
    return [seed for seed in kept["seeds"] if seed not in record["seeds"]]


def _with_seeds(kept: pd.DataFrame, seeds: list[int], rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of a run, after those that are kept of other seeds."""
    if kept.empty:
        return rows
    return results.joined([kept[kept["seed"].isin(seeds)], rows])


def _joined_record(
    kept: dict[str, Any], others: list[int], record: dict[str, Any]
) -> dict[str, Any]:
    """The record of the run, with what it says of itself under ``earlier`` for the seeds kept."""
    seeds = sorted([*others, *record["seeds"]])
    sums = ("models", "train_seconds")
    told = ("git", "started", "duration_s", "code_fingerprint")
    earlier = kept.get("earlier", [])
    before = [seed for one in earlier for seed in one["seeds"]]
    last = {name: kept[name] for name in told} | {
        "seeds": [seed for seed in kept["seeds"] if seed not in before]
    }
    earlier = [
        one | {"seeds": [seed for seed in one["seeds"] if seed in others]}
        for one in (*earlier, last)
    ]
    return record | {
        "seeds": seeds,
        "parameters": record["parameters"] | {"seeds": seeds},
        "work": record["work"] | {name: kept["work"][name] + record["work"][name] for name in sums},
        "earlier": [one for one in earlier if one["seeds"]],
    }
