"""From runs to the sources of the book."""

import json
import os
from pathlib import Path

import nbformat
import pytest

from helpers.book import build as book
from helpers.book.runner import Run
from helpers.errors import DataError, ParameterError
from tests.book import tiny


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tiny.write_run(tmp_path / "run")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("BOOK_REPOSITORY", "GITHUB_REPOSITORY", "BOOK_DATA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(book, "ask_git", lambda *_: None)
    (tmp_path / "book").mkdir()
    return tmp_path / "book"


def publish(home: Path, folder: Path, error: str = "") -> list[str]:
    return [path.name for path in book.publish({"redundancy": Run(folder, error=error)}, home)]


def page(home: Path) -> nbformat.NotebookNode:
    return nbformat.read(home / "chapters/redundancy.ipynb", as_version=4)


def status(home: Path) -> str:
    return (home / "chapters/status.md").read_text(encoding="utf-8")


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


def test_only_what_changed_is_written(home: Path, run: Path) -> None:
    publish(home, run)
    times = {p: p.stat().st_mtime_ns for p in (home / "chapters").iterdir()}
    assert publish(home, run) == []
    assert {p: p.stat().st_mtime_ns for p in (home / "chapters").iterdir()} == times
    tiny.write_run(run, duration_s=99.0)
    assert publish(home, run) == ["redundancy-record.json", "redundancy.ipynb", "status.md"]


@pytest.mark.parametrize("how", ["failed record", "stale success", "nothing"])
def test_failed_run_takes_the_place_of_the_old_figures_until_it_recovers(
    home: Path, run: Path, how: str
) -> None:
    publish(home, run)
    if how == "failed record":
        tiny.write_run(run, status="failed", error="ValueError: broken")
    publish(home, home / "none" if how == "nothing" else run, "ValueError: broken")
    names = sorted(p.name for p in (home / "chapters").iterdir())
    assert names == ["data.md", "performance.md", "redundancy.md", "status.md"]
    assert "broken" in (home / "chapters/redundancy.md").read_text(encoding="utf-8")
    assert "**failed:**" in status(home)
    assert "| ok |" not in status(home)
    publish(home, tiny.write_run(run))
    assert "redundancy.md" not in {p.name for p in (home / "chapters").iterdir()}


def test_recorded_runs_are_listed_and_benchmarks_are_a_page_and_a_download(
    home: Path, run: Path
) -> None:
    folder = home / "results/recorded"
    tiny.write_benchmark(folder / "benchmarks")
    publish(home, run)
    assert "None has been recorded yet" in status(home), "a benchmark is no run of a chapter"
    kept = tiny.record(profile="real", data=[{"name": "bbbc038", "complete": True}])
    (folder / "redundancy-real.json").write_text(json.dumps(kept), encoding="utf-8")
    publish(home, run)
    assert "| ok | – | `real` | 2 of 5 | `bbbc038` |" in status(home)
    performance = (home / "chapters/performance.md").read_text(encoding="utf-8")
    assert "{download}`performance-sorting.csv <performance-sorting.csv>`" in performance
    kept = (folder / "benchmarks/sorting.csv").read_bytes()
    assert (home / "chapters/performance-sorting.csv").read_bytes() == kept


def test_damaged_files_are_named(home: Path, run: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    nbformat.write(notebook, run / "executed.ipynb")
    with pytest.raises(DataError, match="title"):
        publish(home, run)
    for name in ("executed.ipynb", "record.json"):
        (run / name).write_text("{", encoding="utf-8")
        with pytest.raises(DataError, match=name.replace(".", r"\.")):
            publish(home, run)
    benchmarks = home / "results/recorded/benchmarks"
    tiny.write_benchmark(benchmarks)
    (benchmarks / "sorting.csv").unlink()
    with pytest.raises(DataError, match=r"sorting\.csv: cannot be read"):
        publish(home, home / "none")


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://github.com/some-lab/a.book.git", "some-lab/a.book"),
        ("https://someone:secret@github.com/some-lab/a.book/", "some-lab/a.book"),
        ("git@github.com:some-lab/a.book.git", "some-lab/a.book"),
        ("ssh://git@github.com/some-lab/a.book.git", "some-lab/a.book"),
        ("https://gitlab.com/a/b.git", None),
        ("https://github.com.evil.org/a/b", None),
        (None, None),
    ],
)
def test_the_home_of_the_project_is_read_from_its_remote(
    home: Path, monkeypatch: pytest.MonkeyPatch, url: str | None, found: str | None
) -> None:
    monkeypatch.setattr(book, "ask_git", lambda *_: url)
    assert book.repository() == found


def test_colab_link_follows_the_repository(
    home: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(home, run)
    assert "colab" not in page(home).cells[0].source
    for name, lab in (("GITHUB_REPOSITORY", "fork"), ("BOOK_REPOSITORY", "lab")):
        monkeypatch.setenv(name, f"{lab}/book")
        publish(home, run)
        link = f"github/{lab}/book/blob/main/notebooks/redundancy.ipynb"
        assert link in page(home).cells[0].source
    monkeypatch.setenv("BOOK_REPOSITORY", "https://github.com/lab/book")
    with pytest.raises(ParameterError, match="OWNER/NAME"):
        book.repository()


def test_make_book_builds_and_reports_failed_chapters_and_weak_models(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    published = {}
    gates = [{"competent": False, "why": "CPnet PQ .42 (Otsu .65)"}]
    weak = tiny.write_run(tmp_path, competence=gates)
    runs = {"redundancy": Run(Path("nowhere"), error="no data"), "order": Run(weak)}
    monkeypatch.setattr(book, "run_all", lambda profile, jobs: runs)
    monkeypatch.setattr(book, "publish", published.update)
    monkeypatch.setattr(book, "build", lambda: Path(os.sep, "somewhere", "index.html"))
    assert book.make_book("laptop") == 1
    assert published == runs
    said = capsys.readouterr()
    assert "file:///somewhere/index.html" in said.out
    assert "order: 1 of 1 kinds of models do not find their objects: CPnet PQ .42" in said.out
    assert "redundancy" in said.err


@pytest.mark.parametrize(("profile", "jobs"), [("laptopp", 0), ("laptop", -1)])
def test_make_book_refuses_an_unknown_profile_or_jobs(profile: str, jobs: int) -> None:
    with pytest.raises(ParameterError, match=r"profile|jobs=-1"):
        book.make_book(profile, jobs)
