"""The book: from the runs of its chapters to pages, and from pages to HTML."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from helpers import fingerprints
from helpers.book import pages
from helpers.book.records import ask_git, read_record
from helpers.book.registry import CHAPTERS, NOTEBOOKS
from helpers.book.runner import LOCK, NOTEBOOK, RECORD, RESULTS, Run
from helpers.book.several import run_all
from helpers.data.bundle import load_bundle
from helpers.data.manifest import load_manifest
from helpers.errors import DataError, ParameterError, UserError
from helpers.files import replacing, write_text
from helpers.paths import PROJECT, bundle_dir

BOOK = PROJECT / "book"
LOG_LINES = 25


def make_book(profile: str, jobs: int = 0) -> int:
    """Run every chapter as far as needed, publish, build, and say where to open the book.

    Args:
        jobs: chapters at a time; 0 for what suits the machine.

    Returns:
        Exit status: 0, or 1 if a chapter failed (the book is built all the same and says so).

    Raises:
        ParameterError: before any run, if a chapter has no such profile, or jobs are negative.
        UserError: the pages do not build without warnings.
    """
    if jobs < 0:
        raise ParameterError(f"jobs={jobs}: expected 0 or above")
    runs = run_all(profile, jobs)
    publish(runs)
    index = build()
    print(f"\nThe book is built. Open {index.as_uri()}")
    failed = [name for name, run in runs.items() if run.error]
    if failed:
        print(f"Without results, because their runs failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


# -------------------------------------------------------------------------- publishing


def publish(runs: Mapping[str, Run], book: Path = BOOK) -> list[Path]:
    """Write the pages that come from runs and records into ``book/chapters``.

    A chapter whose run succeeded becomes its executed notebook; any other becomes a page that says
    what happened. Pages of chapters that are no longer there are removed. A file whose content
    would not change is not touched, so that a build that follows is quick.

    Args:
        runs: by chapter.
        book: folder of the book's sources.

    Returns:
        The files that were written or removed.

    Raises:
        DataError: a run claims success but its notebook or record is damaged.
    """
    wanted: dict[str, bytes] = {}
    for name, run in runs.items():
        wanted |= _chapter_files(name, run)
    records = {name: _shown_record(run) for name, run in runs.items()}
    bundle = bundle_dir()
    data = pages.data_page(load_manifest(), load_bundle(bundle) if bundle else None)
    wanted["status.md"] = pages.status_page(records, _recorded(book)).encode()
    wanted["data.md"] = data.encode()
    wanted |= _performance_files(book / "results" / "recorded" / "benchmarks")
    return _synchronise(book / "chapters", wanted)


def _chapter_files(name: str, run: Run) -> dict[str, bytes]:
    """Content by file name of what a chapter contributes."""
    record = run.record
    if run.error or record is None or record.get("status") != "ok":
        failed = _shown_record(run)
        page = pages.failed_page(name, _title(name, record), failed, run.error)
        return {f"{name}.md": page.encode()}
    downloads = {
        f"{name}-{file}": (run.folder / file).read_bytes()
        for file in (RESULTS, RECORD)
        if (run.folder / file).is_file()
    }
    notebook = _read_notebook(run.folder / NOTEBOOK)
    _annotate(notebook, name, record, sorted(downloads))
    text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    return {f"{name}.ipynb": text.encode(), **downloads}


def _shown_record(run: Run) -> dict[str, Any] | None:
    """The record for the status page: never that of an older success in place of a failure."""
    record = run.record
    if run.error and (record is None or record.get("status") == "ok"):
        return {"status": "failed", "error": run.error}
    return record


def _read_notebook(path: Path) -> dict[str, Any]:
    """A notebook as the JSON it is, the source of each cell in one piece."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            cell["source"] = "".join(cell["source"])
    except (OSError, TypeError, ValueError, LookupError) as error:
        raise DataError(
            f"{path}: the executed notebook cannot be read ({error}). "
            "Delete its folder and run the chapter again."
        ) from error
    return notebook


def _annotate(
    notebook: dict[str, Any], name: str, record: dict[str, Any], downloads: list[str]
) -> None:
    """Put the links below the title, and the box that tells how the page was made at the end."""
    links = pages.action_line(f"{name}.ipynb", colab_address(name))
    cells = notebook["cells"]
    title, _, rest = cells[0]["source"].partition("\n") if cells else ("", "", "")
    if not title.startswith("# ") or cells[0]["cell_type"] != "markdown":
        raise DataError(
            f"notebook of chapter '{name}': its first cell must be Markdown that begins with "
            "'# ' and the title"
        )
    cells[0]["source"] = "\n\n".join(part for part in (title, links, rest.strip("\n")) if part)
    for cell in cells:
        tags = cell["metadata"].get("tags", [])
        # What papermill adds is said better by the box at the end.
        if "injected-parameters" in tags:
            cell["metadata"]["tags"] = [*tags, "remove-cell"]
    # A fixed id: the page must not change when nothing else has.
    box = {"cell_type": "markdown", "id": "how-this-page-was-made", "metadata": {}}
    cells.append(box | {"source": pages.made_box(record, downloads)})


def _title(name: str, record: dict[str, Any] | None) -> str:
    if record and record.get("title"):
        return str(record["title"])
    if name in CHAPTERS:
        return CHAPTERS[name].title
    return name.replace("-", " ").capitalize()


def _recorded(book: Path) -> list[dict[str, Any]]:
    folder = book / "results" / "recorded"
    return [read_record(path) for path in sorted(folder.glob("*.json"))]


def _performance_files(folder: Path) -> dict[str, bytes]:
    """The performance page, and the tables that a reader may download from it."""
    benchmarks, downloads = [], {}
    for path in sorted(folder.glob("*.json")):
        name = f"performance-{path.stem}.csv"
        try:
            content = path.with_suffix(".csv").read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path.with_suffix('.csv')}: cannot be read ({error}), though {path.name} lies "
                f"beside it. Record the benchmark again, or delete {path.name}."
            ) from error
        rows = list(csv.DictReader(io.StringIO(content)))
        benchmarks.append({**read_record(path), "rows": rows, "download": name})
        downloads[name] = content.encode()
    return {"performance.md": pages.performance_page(benchmarks).encode(), **downloads}


def _synchronise(folder: Path, wanted: Mapping[str, bytes]) -> list[Path]:
    """Make ``folder`` hold exactly the wanted files; what is the same already is left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = []
    for path in folder.iterdir():
        if path.is_file() and path.name not in wanted:
            path.unlink()
            changed.append(path)
    for name, content in wanted.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != content:
            with replacing(path) as temporary:
                temporary.write_bytes(content)
            changed.append(path)
    return sorted(changed)


# -------------------------------------------------------------------------- where it lives


def repository() -> str | None:
    """``OWNER/NAME`` on GitHub; ``None`` if the project has no known home there.

    ``$BOOK_REPOSITORY`` comes first, then ``$GITHUB_REPOSITORY``, then the remote ``origin``.

    Raises:
        ParameterError: ``BOOK_REPOSITORY`` is not of the form OWNER/NAME.
    """
    chosen = os.environ.get("BOOK_REPOSITORY")
    if chosen:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", chosen):
            raise ParameterError(f"BOOK_REPOSITORY={chosen!r}: expected OWNER/NAME")
        return chosen
    origin = ask_git("remote", "get-url", "origin")
    return os.environ.get("GITHUB_REPOSITORY") or parse_github(origin or "")


def parse_github(url: str) -> str | None:
    """``OWNER/NAME`` from the address of a GitHub remote; ``None`` for any other address."""
    pattern = (
        r"(?:https?://(?:[^@/]+@)?|ssh://git@|git@)github\.com[:/]([\w.-]+)/([\w.-]+?)(?:\.git)?/?"
    )
    found = re.fullmatch(pattern, url)
    return f"{found[1]}/{found[2]}" if found else None


def colab_address(chapter: str) -> str | None:
    """Where Colab opens a chapter's canonical notebook; ``None`` if no repository is known."""
    home = repository()
    folder = NOTEBOOKS.relative_to(PROJECT).as_posix()
    if home is None:
        return None
    return f"https://colab.research.google.com/github/{home}/blob/main/{folder}/{chapter}.ipynb"


# -------------------------------------------------------------------------- building


def build(book: Path = BOOK, output: Path | None = None) -> Path:
    """Build the book with Jupyter Book, unless its sources are those of the last build.

    Warnings and unresolved references are errors.

    Args:
        book: folder of the sources.
        output: where ``_build`` is put; default: into ``book``.

    Returns:
        The start page.

    Raises:
        UserError: the build failed; the message holds the end of its log and where the rest is.
    """
    target = (output or book) / "_build"
    index, built = target / "html" / "index.html", target / "sources.sha256"
    sources = [LOCK, *sorted(book.rglob("*"))]
    marks = {str(p): fingerprints.of_file(p) for p in sources if _is_source(p, target)}
    mark = fingerprints.of_json(marks)
    if index.is_file() and built.is_file() and built.read_text(encoding="utf-8") == mark:
        return index
    built.unlink(missing_ok=True)
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build"]
    command += [str(book), "--path-output", str(target.parent), "--keep-going"]
    command += ["-W", "-n"]
    # Warnings of Python itself (deprecations in Jupyter Book's stack) are no faults of the book.
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        stdin=subprocess.DEVNULL,
    )
    target.mkdir(parents=True, exist_ok=True)
    log, text = target / "build.log", re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    log.write_text(text, encoding="utf-8")
    if done.returncode or not index.is_file():
        # Sphinx reports the warnings of a page only when it reads it: with what it has stored
        # gone, the next build cannot pass by not looking again.
        shutil.rmtree(target / ".doctrees", ignore_errors=True)
        raise UserError(f"the book does not build:\n{_explain(text)}\nWhole log: {log}")
    write_text(built, mark)
    return index


def _is_source(path: Path, target: Path) -> bool:
    return path.is_file() and target not in path.parents


def _explain(log: str) -> str:
    """The warnings and errors of a build; the end of its log if it names none."""
    lines = log.splitlines()
    faults = [line for line in lines if re.search(r"\b(WARNING|ERROR|CRITICAL)\b", line)]
    return "\n".join((faults or lines)[-LOG_LINES:])
