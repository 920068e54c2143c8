"""Pages made from records: what they must say, and that records cannot break their markup."""

import re

import pytest
from markdown_it import MarkdownIt

from helpers.book import pages
from helpers.book.pages import fill
from helpers.data.bundle import Bundle
from helpers.data.manifest import Manifest, load_manifest
from tests.book.tiny import BENCHMARK, BENCHMARK_ROWS, record

MARKUP = "a|b *c* _d_ `e` [f](g) <h> {i}`j` $k$ ~l~ # m \\ n"


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return load_manifest()


def cells(page: str) -> list[list[str]]:
    """Rows of all tables on a page, rulers left out, cut at bars that are not escaped."""
    rows = [r for r in page.splitlines() if r.startswith("| ") and not r.startswith("| ---")]
    return [[c.strip() for c in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def of_run(**changes) -> list[str]:
    """Cells of the status page that tell of a run by its name."""
    page = fill("status", runs=[("one", record(**changes), 5)], recorded=[])
    return cells(page)[1]


def test_plain_text_is_shown_as_it_is_on_one_line() -> None:
    html = MarkdownIt().render(pages.plain(MARKUP.replace(" ", "\n")))
    plain = re.sub(r"<[^>]+>", "", html)
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        plain = plain.replace(entity, character)
    assert plain.strip() == MARKUP


def test_data_page_names_every_entry_with_licence_and_details(manifest: Manifest) -> None:
    file = {"path": "monuseg/a.zip", "bytes": 1, "sha256": "0" * 64}
    held = {"complete": False, "coverage": "8 of 37 images", "licence": "x", "files": [file]}
    bundle = Bundle.model_validate({"format": 1, "datasets": {"monuseg": held}})
    entries = manifest.entries.values()
    page = fill("data", entries=entries, held=bundle.datasets)
    rows = {re.search(r"`([^`]+)`$", row[0])[1]: row for row in cells(page) if "`" in row[0]}
    assert set(rows) == set(manifest.entries)
    for entry in entries:
        assert ("*(unverified)*" in rows[entry.name][1]) != entry.licence.verified, entry.name
        assert f"{{dropdown}} {pages.plain(entry.title)}: details" in page
        for quirk in entry.quirks:
            assert f"**Beware:** {pages.plain(quirk)}" in page
        for key in entry.citations:
            assert f"{{cite:p}}`{key}`" in page
    files = [file for entry in entries for file in entry.files]
    known = sum(file.has_whole_checksum for file in files)
    assert page.count("known, checked after download") == known
    assert page.count("no whole checksum to compare with") == len(files) - known
    assert "a subset, 8 of 37 images" in page


def test_status_page_shows_finished_failed_and_missing_runs() -> None:
    assert of_run()[:5] == ["{doc}`one`", "ok", "–", "`smoke`", "2 of 5"]
    assert of_run()[6:] == ["2026-03-01", "41 s", "CPU, 2 cores"]
    failed = of_run(status="failed", error=MARKUP + "\nsecond line")
    assert failed[1] == f"**failed:** {pages.plain(MARKUP)}"
    page = fill("status", runs=[("none", None, 0)], recorded=[])
    assert cells(page)[1][1] == "**never run**"
    assert "None has been recorded yet" in page
    part = {"name": "bbbc038", "complete": False, "coverage": "500 of 664 images"}
    kept = [("two", record(profile="real", data=[part]), 5)]
    assert "500 of 664 images" in cells(fill("status", runs=[], recorded=kept))[-1][5]
    device = {"kind": "cuda", "name": "NVIDIA H200", "cores": 16, "memory_gb": 139.8}
    assert of_run(device=device)[8] == "NVIDIA H200"


def test_status_page_says_whether_models_find_their_objects() -> None:
    good, bad = {"competent": True, "why": "A"}, {"competent": False, "why": "B PQ .42"}
    assert of_run(competence=[good])[2] == "yes"
    assert of_run(competence=[good, bad])[2] == "no: B PQ .42"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (9000, "2.5 h"), (None, "–")],
)
def test_duration_in_words(seconds: float | None, said: str) -> None:
    assert of_run(duration_s=seconds)[7] == said


def test_performance_page_names_machine_floor_and_command_and_has_a_table_per_size() -> None:
    benchmark = {**BENCHMARK, "rows": BENCHMARK_ROWS, "download": "sorting.csv"}
    page = fill("performance", benchmarks=[benchmark])
    for said in (
        "## Sorting",
        "**Floor:** one pass over the numbers.",
        "| **machine** | CPU, 2 cores, Some processor, 8 GB memory |",
        "| **threads** | 2 |",
        "| **measured** | 2026-03-01 12:34 UTC |",
        "`python -m benchmarks.bench_sorting --record`",
        "numpy 2.0.2",
        "commit `cccccccccccc`",
        "{download}`sorting.csv <sorting.csv>`",
    ):
        assert said in page
    first, second = page.split("### N 128,458")
    head, *rows = cells(first.split("### N 1,500")[1])
    assert head == ["peer", "ours, s", "ratio"]
    assert rows == [["bubble", "0.0123", "1,234"], ["merge", "0.0123", "1.5"]]
    assert cells(second) == [["peer", "ours, s", "note"], [r"a\|b", "12", "cannot run: 66 GB"]]
    assert "No benchmark has been recorded yet" in fill("performance", benchmarks=[])


def test_made_box_tells_how_the_page_was_made() -> None:
    box = fill("made", record=record(), downloads=["redundancy-results.csv"])
    for said in (
        "```{dropdown} How this page was made",
        "`smoke`",
        "`synthetic-cyto` (12 images, seed 0), from generated, fingerprint `dddddddddddd`",
        "| **seeds** | 0, 1 |",
        "2026-03-01 12:34 UTC",
        "41 s",
        "8 GB memory, 1 thread per trial",
        "commit `cccccccccccc`, with changes that are not committed",
        "| `torch` | `2.15.0` |",
        "| `rates` | `[0.1, 1.0]` |",
        "{download}`redundancy-results.csv <redundancy-results.csv>`",
    ):
        assert said in box
    assert "Not the whole data set" not in box
    part = {"name": "monuseg", "complete": False, "coverage": "8 of 37 training images"}
    box = fill("made", record=record(data=[part], git={}))
    assert "**Not the whole data set was used:** `monuseg` (a subset: 8 of 37" in box
    assert "outside version control" in box


def test_older_and_newer_records_are_read() -> None:
    assert "{dropdown}" in fill("made", record={"chapter": "redundancy", "a_later_field": 1})
    page = fill("status", runs=[("one", {"status": "ok"}, 0)], recorded=[])
    assert cells(page)[1][1:] == ["ok", *"–––––––"]


@pytest.mark.parametrize("error", ["", "ValueError: no\n```fence```\n````\ncloses this"])
def test_page_of_a_failed_or_missing_run_shows_error_and_command(error: str) -> None:
    shown = record(error=error) if error else None
    page = fill("failed", name="order", title="How much?", record=shown, error=error)
    heading, _, _, warning = MarkdownIt().parse(page)
    assert page.startswith("# How much?\n")
    assert warning.info == "{warning}", "nothing inside closes the fence"
    assert error in warning.content
    command = "python -m helpers run order" + (" --profile smoke" if error else "")
    assert f"\n{command}\n" in warning.content
    assert heading.type == "heading_open"
