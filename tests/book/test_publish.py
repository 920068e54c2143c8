"""From runs to the sources of the book."""

import json
import os
import subprocess
from pathlib import Path
from unittest.mock import Mock

import nbformat
import pytest

from helpers.book import build as book
from helpers.errors import DataError, ParameterError
from tests.book import tiny


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tiny.write_run(tmp_path / "run")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "book").mkdir()
    return tmp_path / "book"


@pytest.fixture(autouse=True)
def no_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BOOK_REPOSITORY", "GITHUB_REPOSITORY", "BOOK_DATA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(book, "_repository_of_origin", lambda: None)


def publish(home: Path, folder: Path | None, error: str = "") -> list[str]:
    changed = book.publish({"redundancy": book.Outcome(folder, error)}, home)
    return [path.name for path in changed]


def page(home: Path) -> nbformat.NotebookNode:
    return nbformat.read(home / "chapters/redundancy.ipynb", as_version=4)


def test_successful_run_becomes_its_notebook_with_links_and_box(home: Path, run: Path) -> None:
    publish(home, run)
    before, after = nbformat.read(run / "executed.ipynb", as_version=4), page(home)
    first, *middle, last = after.cells
    assert first.source.splitlines()[0] == f"# {tiny.TITLE}"
    assert "Download this notebook" in first.source.splitlines()[3]
    assert before.cells[0].source.split("\n", 1)[1].strip() in first.source
    assert middle == before.cells[1:]
    assert "How this page was made" in last.source
    nbformat.validate(after)
    for name in ("results.csv", "record.json"):
        assert (home / f"chapters/redundancy-{name}").read_bytes() == (run / name).read_bytes()


def test_nothing_is_written_when_nothing_changed(home: Path, run: Path) -> None:
    publish(home, run)
    times = {p: p.stat().st_mtime_ns for p in (home / "chapters").iterdir()}
    assert publish(home, run) == []
    assert {p: p.stat().st_mtime_ns for p in (home / "chapters").iterdir()} == times


def test_only_what_changed_is_written(home: Path, run: Path) -> None:
    publish(home, run)
    tiny.write_run(run, duration_s=99.0)
    assert publish(home, run) == ["redundancy-record.json", "redundancy.ipynb", "status.md"]


@pytest.mark.parametrize("how", ["failed record", "stale success", "nothing"])
def test_failed_run_takes_the_place_of_the_old_figures(home: Path, run: Path, how: str) -> None:
    publish(home, run)
    if how == "failed record":
        tiny.write_run(run, status="failed", error="ValueError: broken")
        publish(home, run, "chapter 'redundancy' failed: ValueError: broken")
    else:
        publish(home, run if how == "stale success" else None, "DataError: broken")
    assert sorted(p.name for p in (home / "chapters").iterdir()) == [
        "data.md",
        "performance.md",
        "redundancy.md",
        "status.md",
    ]
    assert "broken" in (home / "chapters/redundancy.md").read_text(encoding="utf-8")
    status = (home / "chapters/status.md").read_text(encoding="utf-8")
    assert "**failed:**" in status
    assert "| ok |" not in status


def test_recovered_run_takes_the_place_of_the_failure(home: Path, run: Path) -> None:
    publish(home, None, "DataError: broken")
    publish(home, run)
    names = {p.name for p in (home / "chapters").iterdir()}
    assert "redundancy.ipynb" in names
    assert "redundancy.md" not in names


def test_recorded_runs_are_listed(home: Path) -> None:
    folder = home / "results/recorded"
    folder.mkdir(parents=True)
    kept = tiny.record(profile="real", data=[{"name": "bbbc038", "complete": True}])
    (folder / "redundancy-real.json").write_text(json.dumps(kept), encoding="utf-8")
    publish(home, None)
    status = (home / "chapters/status.md").read_text(encoding="utf-8")
    assert "| ok | `real` | `bbbc038` |" in status


def test_recorded_benchmarks_become_a_page_and_a_download(home: Path) -> None:
    tiny.write_benchmark(home / "results/recorded/benchmarks")
    publish(home, None)
    performance = (home / "chapters/performance.md").read_text(encoding="utf-8")
    assert "{download}`performance-sorting.csv <performance-sorting.csv>`" in performance
    kept = (home / "results/recorded/benchmarks/sorting.csv").read_bytes()
    assert (home / "chapters/performance-sorting.csv").read_bytes() == kept
    status = (home / "chapters/status.md").read_text(encoding="utf-8")
    assert "None has been recorded yet" in status, "a benchmark is no run of a chapter"


def test_benchmark_without_its_table_is_named(home: Path) -> None:
    folder = home / "results/recorded/benchmarks"
    tiny.write_benchmark(folder)
    (folder / "sorting.csv").unlink()
    with pytest.raises(DataError, match=r"sorting\.csv: cannot be read"):
        publish(home, None)


def test_damaged_notebook_or_record_is_named(home: Path, run: Path) -> None:
    (run / "executed.ipynb").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"executed\.ipynb"):
        publish(home, run)
    (run / "record.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"record\.json"):
        publish(home, run)


def test_notebook_without_a_title_is_refused(home: Path, run: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    nbformat.write(notebook, run / "executed.ipynb")
    with pytest.raises(DataError, match="title"):
        publish(home, run)


# ------------------------------------------------------------------ where the project lives


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/some-lab/a.book.git",
        "https://github.com/some-lab/a.book",
        "https://someone@github.com/some-lab/a.book.git",
        "https://someone:secret@github.com/some-lab/a.book/",
        "git@github.com:some-lab/a.book.git",
        "ssh://git@github.com/some-lab/a.book.git",
    ],
)
def test_addresses_of_github_are_read(url: str) -> None:
    assert book.parse_github(url) == "some-lab/a.book"


@pytest.mark.parametrize(
    "url",
    ["https://gitlab.com/a/b.git", "/srv/git/a.git", "https://github.com.evil.org/a/b", ""],
)
def test_other_addresses_are_not(url: str) -> None:
    assert book.parse_github(url) is None


def test_colab_link_follows_the_repository(
    home: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(home, run)
    assert "colab" not in page(home).cells[0].source
    monkeypatch.setenv("GITHUB_REPOSITORY", "fork/book")
    publish(home, run)
    assert "github/fork/book/blob/main/notebooks/redundancy.ipynb" in page(home).cells[0].source
    monkeypatch.setenv("BOOK_REPOSITORY", "lab/book")
    publish(home, run)
    assert "github/lab/book/blob/main/notebooks/redundancy.ipynb" in page(home).cells[0].source


def test_ill_formed_repository_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOK_REPOSITORY", "https://github.com/lab/book")
    with pytest.raises(ParameterError, match="OWNER/NAME"):
        book.repository()


# ------------------------------------------------------------------ the whole job


def test_make_book_builds_and_reports_a_failed_chapter(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    published = {}
    outcomes = {"redundancy": book.Outcome(None, "no data")}
    monkeypatch.setattr(book, "CHAPTERS", {"redundancy": Mock()})
    monkeypatch.setattr(book, "run_all", lambda profile, jobs: outcomes)
    monkeypatch.setattr(book, "publish", published.update)
    monkeypatch.setattr(book, "build", lambda: Path(os.sep, "somewhere", "index.html"))
    assert book.make_book("laptop", jobs=1) == 1
    assert published == outcomes
    said = capsys.readouterr()
    assert "file:///somewhere/index.html" in said.out
    assert "redundancy" in said.err


@pytest.mark.parametrize(("profile", "jobs"), [("laptopp", 0), ("laptop", -1)])
def test_make_book_refuses_an_unknown_profile_or_jobs_before_any_run(
    monkeypatch: pytest.MonkeyPatch, profile: str, jobs: int
) -> None:
    monkeypatch.setattr(book, "run_all", lambda *_: pytest.fail("a run was started"))
    with pytest.raises(ParameterError, match=r"profile|jobs=-1"):
        book.make_book(profile, jobs)


def test_origin_of_a_checkout_without_remote(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(book, "PROJECT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert book._repository_of_origin() is None
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    remote = ["git", "-C", str(tmp_path), "remote", "add", "origin"]
    subprocess.run([*remote, "git@github.com:lab/book.git"], check=True)
    assert book._repository_of_origin() == "lab/book"
