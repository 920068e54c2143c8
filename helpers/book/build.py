"""The book: from the runs of its chapters to pages, and from pages to HTML."""

import csv
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
from helpers.book.registry import NOTEBOOKS, find_chapter
from helpers.book.runner import LOCK, NOTEBOOK, RECORD, RESULTS, Run
from helpers.book.several import run_all
from helpers.data.bundle import load_bundle
from helpers.data.manifest import load_manifest
from helpers.errors import DataError, ParameterError, UserError
from helpers.files import write_text
from helpers.paths import PROJECT, bundle_dir

BOOK = PROJECT / "book"


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
    for name, run in runs.items():
        gates = (_shown_record(run) or {}).get("competence", [])
        weak = [gate["why"] for gate in gates if not gate["competent"]]
        if weak:
            print(
                f"{name}: {len(weak)} of {len(gates)} kinds of models do not find their objects: "
                f"{weak[0]}{' ... (see the status page)' if weak[1:] else ''}"
            )
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
    recorded = book / "results" / "recorded"
    bundle = bundle_dir()
    kept = [read_record(path) for path in sorted(recorded.glob("*.json"))]
    wanted = {
        "status.md": pages.fill(
            "status",
            runs=[_status_row(name, _shown_record(run)) for name, run in runs.items()],
            recorded=[_status_row(record["chapter"], record) for record in kept],
        ),
        "data.md": pages.fill(
            "data",
            entries=load_manifest().entries.values(),
            held=load_bundle(bundle).datasets if bundle else {},
        ),
        **_performance_files(recorded / "benchmarks"),
    }
    for name, run in runs.items():
        wanted |= _chapter_files(name, run)
    return _synchronise(book / "chapters", wanted)


def _shown_record(run: Run) -> dict[str, Any] | None:
    """The record for the status page: never that of an older success in place of a failure."""
    record = run.record
    if run.error and (record is None or record["status"] == "ok"):
        return {"status": "failed", "error": run.error}
    return record


def _status_row(name: str, record: dict[str, Any] | None) -> tuple[str, dict | None, int]:
    """Chapter, record, and for how many seeds the profile asks."""
    profile = (record or {}).get("profile")
    seeds = find_chapter(name).given(profile).get("seeds", []) if profile else []
    return name, record, len(seeds)


def _chapter_files(name: str, run: Run) -> dict[str, str]:
    """Content by file name of what a chapter contributes."""
    record = _shown_record(run)
    if record is None or record["status"] != "ok":
        error = run.error or (record or {}).get("error", "")
        title = find_chapter(name).title
        page = pages.fill("failed", name=name, title=title, record=record, error=error)
        return {f"{name}.md": page}
    downloads = {
        f"{name}-{file}": (run.folder / file).read_text(encoding="utf-8")
        for file in (RESULTS, RECORD)
        if (run.folder / file).is_file()
    }
    notebook = _annotated(run.folder / NOTEBOOK, name, record, sorted(downloads))
    text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    return {f"{name}.ipynb": text, **downloads}


def _annotated(path: Path, name: str, record: dict[str, Any], downloads: list[str]) -> dict:
    """A notebook with links below its title and, at the end, the box that tells how it was made."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells = notebook["cells"]
        title, _, rest = "".join(cells[0]["source"]).partition("\n")
    except (OSError, TypeError, ValueError, LookupError) as error:
        raise DataError(
            f"{path}: the executed notebook cannot be read ({error!r}). "
            "Delete its folder and run the chapter again."
        ) from error
    if not title.startswith("# "):
        raise DataError(f"{path}: its first cell must begin with '# ' and the title")
    links = pages.fill("actions", notebook=f"{name}.ipynb", colab=colab_address(name)).strip()
    cells[0]["source"] = "\n\n".join(part for part in (title, links, rest.strip("\n")) if part)
    for cell in cells:
        tags = cell["metadata"].get("tags", [])
        # What papermill adds is said better by the box at the end.
        if "injected-parameters" in tags:
            cell["metadata"]["tags"] = [*tags, "remove-cell"]
    # A fixed id: the page must not change when nothing else has.
    box = {"cell_type": "markdown", "id": "how-this-page-was-made", "metadata": {}}
    cells.append(box | {"source": pages.fill("made", record=record, downloads=downloads)})
    return notebook


def _performance_files(folder: Path) -> dict[str, str]:
    """The performance page, and the tables that a reader may download from it."""
    benchmarks, downloads = [], {}
    for path in sorted(folder.glob("*.json")):
        name, table = f"performance-{path.stem}.csv", path.with_suffix(".csv")
        try:
            downloads[name] = table.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise DataError(
                f"{table}: cannot be read ({error}), though {path.name} lies beside it. "
                f"Record the benchmark again, or delete {path.name}."
            ) from error
        rows = list(csv.DictReader(downloads[name].splitlines()))
        benchmarks.append({**read_record(path), "rows": rows, "download": name})
    return {"performance.md": pages.fill("performance", benchmarks=benchmarks), **downloads}


def _synchronise(folder: Path, wanted: Mapping[str, str]) -> list[Path]:
    """Make ``folder`` hold exactly the wanted files; what is the same already is left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = [path for path in folder.iterdir() if path.is_file() and path.name not in wanted]
    for path in changed:
        path.unlink()
    for name, text in wanted.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != text.encode():
            write_text(path, text)
            changed.append(path)
    return sorted(changed)


# -------------------------------------------------------------------------- where it lives


def repository() -> str | None:
    """``OWNER/NAME`` on GitHub; ``None`` if the project has no known home there.

    ``$BOOK_REPOSITORY`` comes first, then ``$GITHUB_REPOSITORY``, then the remote ``origin``.

    Raises:
        ParameterError: ``BOOK_REPOSITORY`` is not of the form OWNER/NAME.
    """
    if chosen := os.environ.get("BOOK_REPOSITORY"):
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", chosen):
            raise ParameterError(f"BOOK_REPOSITORY={chosen!r}: expected OWNER/NAME")
        return chosen
    address = r"(?:https?://(?:[^@/]+@)?|ssh://git@|git@)github\.com[:/]([\w.-]+/[\w.-]+?)"
    origin = ask_git("remote", "get-url", "origin") or ""
    found = re.fullmatch(address + r"(?:\.git)?/?", origin)
    return os.environ.get("GITHUB_REPOSITORY") or (found[1] if found else None)


def colab_address(chapter: str) -> str | None:
    """Where Colab opens a chapter's canonical notebook; ``None`` if no repository is known."""
    home = repository()
    folder = NOTEBOOKS.relative_to(PROJECT).as_posix()
    base = "https://colab.research.google.com/github"
    return home and f"{base}/{home}/blob/main/{folder}/{chapter}.ipynb"


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
        UserError: the build failed; the message holds its warnings and errors.
    """
    target = (output or book) / "_build"
    index, built = target / "html" / "index.html", target / "sources.sha256"
    sources = [p for p in book.rglob("*") if p.is_file() and target not in p.parents]
    mark = fingerprints.of_json({str(p): fingerprints.of_file(p) for p in [LOCK, *sources]})
    if index.is_file() and built.is_file() and built.read_text(encoding="utf-8") == mark:
        return index
    built.unlink(missing_ok=True)
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build"]
    command += [str(book), "--path-output", str(target.parent), "--keep-going", "-W", "-n", "-q"]
    # Warnings of Python itself (deprecations in Jupyter Book's stack) are no faults of the book.
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore", "NO_COLOR": "1"}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    done = subprocess.run(command, text=True, env=quiet, **pipes)
    if done.returncode or not index.is_file():
        # Sphinx reports the warnings of a page only when it reads it: with what it has stored
        # gone, the next build cannot pass by not looking again.
        shutil.rmtree(target / ".doctrees", ignore_errors=True)
        raise UserError(f"the book does not build:\n{done.stderr or done.stdout}")
    if (book / "_static").is_dir():
        # Sphinx leaves the style sheet alone where no page has changed.
        shutil.copytree(book / "_static", index.with_name("_static"), dirs_exist_ok=True)
    write_text(built, mark)
    return index
