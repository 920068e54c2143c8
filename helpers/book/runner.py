"""Running a chapter: validate, look whether it is done already, execute, record."""

import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd

from helpers import fingerprints
from helpers.book import results
from helpers.book.parameters import ChapterParameters
from helpers.book.records import (
    RunRecord,
    describe_environment,
    list_files,
    read_record,
    write_record,
)
from helpers.book.registry import Chapter, find_chapter
from helpers.errors import UserError
from helpers.files import write_text
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
class ChapterRun:
    """A finished (or failed) run of a chapter.

    Attributes:
        folder: holds ``executed.ipynb``, ``results.csv`` and ``record.json``.
        reused: whether nothing had to be computed.
    """

    folder: Path
    record: RunRecord
    reused: bool


def run_folder(chapter: str, profile: str, overrides: dict[str, Any]) -> Path:
    """Where the run of a chapter lies; one with overrides does not take a profile's place."""
    suffix = f"-{fingerprints.of_json(overrides)[:8]}" if overrides else ""
    return runs_dir() / "chapters" / chapter / f"{profile}{suffix}"


def run_chapter(
    name: str, profile: str, overrides: dict[str, Any] | None = None, force: bool = False
) -> ChapterRun:
    """Execute a chapter's notebook, or reuse the run whose inputs are all unchanged.

    Args:
        overrides: parameters that differ from the profile.
        force: execute even if nothing changed (trials that exist are still reused).

    Raises:
        ParameterError: before anything starts, for unknown or ill-typed parameters.
        UserError: the notebook failed; the failed run is on disk with its record.
    """
    chapter = find_chapter(name)
    overrides = overrides or {}
    parameters = chapter.parameters(profile, overrides)
    folder = run_folder(name, profile, overrides)
    record = _new_record(chapter, parameters)
    previous = read_record(folder / RECORD)
    if previous and previous.status == "ok" and previous.key == record.key and not force:
        return ChapterRun(folder, previous, reused=True)
    return _execute(chapter, parameters, record, folder)


def _new_record(chapter: Chapter, parameters: ChapterParameters) -> RunRecord:
    notebook = fingerprint_notebook(chapter.notebook)
    code = fingerprints.of_code(imported_by(chapter.notebook))
    values = parameters.model_dump()
    inputs = {
        "notebook": notebook,
        "code": code,
        "parameters": values,
        "lock": fingerprints.of_file(LOCK),
        "data": _data_fingerprint(values),
        "results": [fingerprints.of_file(path) for path in results.files_read_by(chapter.name)],
    }
    return RunRecord(
        chapter=chapter.name,
        title=chapter.title,
        profile=parameters.profile,
        parameters=values,
        seeds=list(values.get("seeds", [])),
        key=fingerprints.of_json(inputs),
        code_fingerprint=code,
        notebook_fingerprint=notebook,
        threads=int(values.get("threads", 1)),
    )


def fingerprint_notebook(path: Path) -> str:
    """sha256 of a notebook's cells: kinds, sources and tags, not outputs."""
    notebook = nbformat.read(path, as_version=4)
    cells = [[c.cell_type, c.source, c.metadata.get("tags", [])] for c in notebook.cells]
    return fingerprints.of_json(cells)


def imported_by(path: Path) -> list[str]:
    """Modules of this package that a notebook's code cells import."""
    notebook = nbformat.read(path, as_version=4)
    source = "\n".join(
        line
        for cell in notebook.cells
        if cell.cell_type == "code"
        for line in cell.source.splitlines()
        if not line.lstrip().startswith(("%", "!"))
    )
    return sorted(n for n in fingerprints.imports_of_source(source) if n.startswith("helpers"))


def _data_fingerprint(parameters: dict[str, Any]) -> list[str]:
    """Fingerprints of the data a run reads; generated data are covered by parameters and code."""
    from helpers.data.datasets import open_dataset, split_name
    from helpers.data.fetch import fingerprint_of
    from helpers.experiments.pretrained import source_content

    held = [parameters[key] for key in DATA_PARAMETERS if parameters.get(key)]
    given = [name for one in held for name in (one if isinstance(one, list) else [one])]
    names = [part for name in given for part in split_name(name)]
    real = [name for name in names if not name.startswith("synthetic-")]
    found = [open_dataset(n).fingerprint if ":" in n else fingerprint_of(n) for n in real]
    source = parameters.get("source")
    return [*found, source_content(source)] if source else found


def _execute(
    chapter: Chapter, parameters: ChapterParameters, record: RunRecord, folder: Path
) -> ChapterRun:
    """Run papermill into a new folder, then put it in the place of the old one."""
    remove_leftovers(folder.parent, folder.name)
    work = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    work.mkdir(parents=True)
    describe_environment(record, str(record.parameters.get("device", "cpu")))
    begin = time.perf_counter()
    _papermill(chapter, parameters, record, work)
    record.duration_s = round(time.perf_counter() - begin, 1)
    left = results.read_provenance(work)
    record.data, record.work = left["data"], left["work"]
    record.files = list_files(work, [p.name for p in work.iterdir()])
    write_record(record, work / RECORD)
    _swap(work, folder)
    if record.status != "ok":
        raise UserError(
            f"chapter '{chapter.name}' failed: {record.error}\n"
            f"The notebook up to the failure: {folder / NOTEBOOK}"
        )
    return ChapterRun(folder, record, reused=False)


def _papermill(
    chapter: Chapter, parameters: ChapterParameters, record: RunRecord, work: Path
) -> None:
    """Execute the notebook; a failing cell is written into the record, not raised."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    os.environ[results.OUTPUT_VARIABLE] = str(work)
    try:
        papermill.execute_notebook(
            str(chapter.notebook),
            str(work / NOTEBOOK),
            parameters=parameters.model_dump(),
            kernel_name="python3",
            cwd=str(chapter.notebook.parent),
            progress_bar=False,
            log_output=False,
            stderr_file=sys.stderr,
        )
    except PapermillExecutionError as error:
        record.status, record.error = "failed", f"{error.ename}: {error.evalue}"
    finally:
        del os.environ[results.OUTPUT_VARIABLE]


def _swap(work: Path, folder: Path) -> None:
    """Put a finished folder in the place of an older one; of two runners the later one stays."""
    from filelock import FileLock

    with FileLock(f"{folder}.lock"):
        old = folder.with_name(f"{folder.name}.{os.getpid()}.old")
        if folder.exists():
            folder.rename(old)
        work.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def record_run(run: ChapterRun) -> list[Path]:
    """Copy the numbers and the record of a run into the book as recorded results.

    A run of some of a profile's seeds takes the profile's place; its record tells the seeds.

    Returns:
        The files written: ``book/results/recorded/CHAPTER-PROFILE.csv`` and ``.json``, and
        ``CHAPTER-PROFILE-images.csv.gz`` where values of single images were kept.
    """
    target = results.FOLDER / "recorded"
    stem = f"{run.record.chapter}-{_recorded_name(run)}"
    table = pd.read_csv(run.folder / RESULTS, dtype={"seed": "Int64"})
    if "source" in table:
        table = table.assign(source="recorded")
    written = [target / f"{stem}.csv", target / f"{stem}.json"]
    write_text(written[0], table.to_csv(index=False, lineterminator="\n"))
    write_record(run.record, written[1])
    if (run.folder / results.IMAGES).is_file():
        written.append(target / f"{stem}-{results.IMAGES}")
        shutil.copyfile(run.folder / results.IMAGES, written[2])
    return written


def _recorded_name(run: ChapterRun) -> str:
    """The profile where only the seeds differ from it, else the name of the run's folder."""
    whole = find_chapter(run.record.chapter).parameters(run.record.profile).model_dump()
    changed = {name for name, value in run.record.parameters.items() if whole[name] != value}
    return run.record.profile if changed <= {"seeds"} else run.folder.name
