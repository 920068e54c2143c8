"""Pages made from records: what they must say, and that records cannot break their markup."""

import re

import pytest
from markdown_it import MarkdownIt

from helpers.book import pages
from helpers.data.bundle import Bundle
from helpers.data.manifest import Manifest, load_manifest
from tests.book.tiny import BENCHMARK, BENCHMARK_ROWS, record

MARKUP = "a|b *c* _d_ `e` [f](g) <h> {i}`j` $k$ ~l~ # m \\ n"


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return load_manifest()


def rendered(text: str) -> str:
    """Text of a Markdown line after rendering, as a reader sees it."""
    html = MarkdownIt().enable("table").render(text)
    plain = re.sub(r"<[^>]+>", "", html)
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        plain = plain.replace(entity, character)
    return " ".join(plain.split())


def cells(page: str) -> list[list[str]]:
    """Rows of all tables on a page, rulers left out, cut at bars that are not escaped."""
    rows = [r for r in page.splitlines() if r.startswith("| ") and not r.startswith("| ---")]
    return [[c.strip() for c in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


# ------------------------------------------------------------------ markup


def test_plain_text_is_shown_as_it_is() -> None:
    assert rendered(pages.plain(MARKUP)) == MARKUP


def test_plain_text_stays_in_one_table_cell() -> None:
    html = MarkdownIt().enable("table").render(pages.table(("x", "y"), [(pages.plain(MARKUP), "")]))
    assert html.count("<td>") == 2


def test_plain_text_has_no_line_breaks() -> None:
    assert pages.plain("a\nb\t c\n") == "a b c"


@pytest.mark.parametrize("inside", ["", "```\ncode\n```", "````{note}\n```\nx\n```\n````"])
def test_directive_is_not_closed_by_what_is_inside(inside: str) -> None:
    tokens = MarkdownIt().parse(pages.directive("dropdown", "Title", f"before\n{inside}\nafter"))
    assert [token.type for token in tokens] == ["fence"]
    assert tokens[0].info == "{dropdown} Title"
    assert tokens[0].content.endswith("after\n")


# ------------------------------------------------------------------ data page


def test_data_page_names_every_entry_with_licence_and_details(manifest: Manifest) -> None:
    page = pages.data_page(manifest, None)
    for entry in manifest.entries.values():
        assert page.count(f"`{entry.name}` |") == 1, entry.name
        assert f"{{dropdown}} {pages.plain(entry.title)}: details" in page
        for quirk in entry.quirks:
            assert f"**Beware:** {pages.plain(quirk)}" in page
        for key in entry.citations:
            assert f"{{cite:p}}`{key}`" in page


def test_data_page_marks_what_is_unverified(manifest: Manifest) -> None:
    rows = {
        name: row
        for row in cells(pages.data_page(manifest, None))
        for name in manifest.entries
        if row[0].endswith(f"`{name}`")
    }
    assert set(rows) == set(manifest.entries)
    for name, entry in manifest.entries.items():
        assert ("*(unverified)*" in rows[name][1]) != entry.licence.verified, name


def test_data_page_says_where_a_checksum_is_missing(manifest: Manifest) -> None:
    page = pages.data_page(manifest, None)
    files = [file for entry in manifest.entries.values() for file in entry.files]
    known = sum(file.has_whole_checksum for file in files)
    assert page.count("known, checked after download") == known
    assert page.count("no whole checksum to compare with") == len(files) - known


def test_data_page_says_what_the_bundle_holds_of_a_data_set(manifest: Manifest) -> None:
    file = {"path": "monuseg/a.zip", "bytes": 1, "sha256": "0" * 64}
    held = {"complete": False, "coverage": "8 of 37 images", "licence": "x", "files": [file]}
    bundle = Bundle.model_validate({"format": 1, "datasets": {"monuseg": held}})
    assert "a subset, 8 of 37 images" in pages.data_page(manifest, bundle)
    assert "8 of 37 images" not in pages.data_page(manifest, None)


# ------------------------------------------------------------------ status page


def test_status_page_shows_finished_failed_and_missing_runs() -> None:
    runs = {
        "one": record(),
        "two": record(status="failed", error="ValueError: a | b\nsecond line"),
        "three": None,
    }
    head, one, two, three = cells(pages.status_page(runs, []))[:4]
    assert head[:2] == ["chapter", "state"]
    assert one[0] == "{doc}`one`"
    assert one[1:3] == ["ok", "`smoke`"]
    assert one[4:] == ["2026-03-01", "41 s", "CPU, 2 cores"]
    assert two[1] == r"**failed:** ValueError: a \| b"
    assert three[1] == "**never run**"
    assert "None has been recorded yet" in pages.status_page(runs, [])


def test_status_page_says_that_a_subset_was_used() -> None:
    part = {"name": "bbbc038", "complete": False, "coverage": "500 of 664 images"}
    page = pages.status_page({}, [record(profile="real", data=[part], duration_s=3700)])
    row = cells(page)[-1]
    assert "500 of 664 images" in row[3]
    assert row[5] == "62 min"


def test_status_page_names_a_gpu() -> None:
    device = {"kind": "cuda", "name": "NVIDIA H200", "cores": 16, "memory_gb": 139.8}
    assert cells(pages.status_page({"one": record(device=device)}, []))[1][6] == "NVIDIA H200"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (9000, "2.5 h"), (None, "–")],
)
def test_duration_in_words(seconds: float | None, said: str) -> None:
    assert cells(pages.status_page({"one": record(duration_s=seconds)}, []))[1][5] == said


# ------------------------------------------------------------------ performance page


def performance() -> str:
    rows = BENCHMARK_ROWS
    return pages.performance_page([{**BENCHMARK, "rows": rows, "download": "sorting.csv"}])


def test_performance_page_names_machine_date_floor_and_command() -> None:
    page = performance()
    for said in (
        "## Sorting",
        "Every ratio is from one run",
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


def test_performance_page_has_a_table_per_size_and_no_empty_column() -> None:
    page = performance()
    assert "### N 1,500" in page
    assert "### N 128,458" in page
    first, second = page.split("### N 128,458")
    head, *rows = cells(first)[-3:]
    assert head == ["peer", "ours, s", "ratio"]
    assert rows == [["bubble", "0.0123", "1,234"], ["merge", "0.0123", "1.5"]]
    head, *rows = cells(second)
    assert head == ["peer", "ours, s", "note"]
    assert rows == [[r"a\|b", "12", "cannot run: 66 GB"]]


def test_performance_page_without_records_says_so() -> None:
    page = pages.performance_page([])
    assert "No benchmark has been recorded yet" in page
    assert "ratio" not in page


# ------------------------------------------------------------------ boxes


def test_made_box_tells_how_the_page_was_made() -> None:
    box = pages.made_box(record(), ["redundancy-results.csv"])
    assert box.startswith("```{dropdown} How this page was made")
    for said in (
        "`smoke`",
        "`synthetic-cyto` (12 images, seed 0), from generated, fingerprint `dddddddddddd`",
        "| **seeds** | 0, 1 |",
        "2026-03-01 12:34 UTC",
        "41 s",
        "8 GB memory, 1 thread per trial",
        "commit `cccccccccccc`, with changes that are not committed",
        "| torch | 2.15.0 |",
        "| `rates` | `[0.1, 1.0]` |",
        "{download}`redundancy-results.csv <redundancy-results.csv>`",
    ):
        assert said in box
    assert "Not the whole data set" not in box


def test_made_box_says_in_words_that_a_subset_was_used() -> None:
    part = {"name": "monuseg", "complete": False, "coverage": "8 of 37 training images"}
    box = pages.made_box(record(data=[part]))
    assert "**Not the whole data set was used:** `monuseg` (a subset: 8 of 37" in box


def test_made_box_of_a_clean_commit_and_outside_version_control() -> None:
    clean = pages.made_box(record(git={"commit": "c" * 40, "dirty": False}))
    assert "not committed" not in clean
    assert "outside version control" in pages.made_box(record(git={}))


def test_older_and_newer_records_are_read() -> None:
    assert "{dropdown}" in pages.made_box({"chapter": "redundancy"})
    assert "{dropdown}" in pages.made_box(record(a_later_field={"x": 1}))
    assert "never" not in pages.status_page({"one": {"status": "ok"}}, [])


def test_page_of_a_failed_run_shows_the_error_and_the_command() -> None:
    failed = record(status="failed", error="ValueError: no ```fence``` closes this")
    page = pages.failed_page("redundancy", "How much?", failed)
    assert page.startswith("# How much?\n")
    assert "ValueError: no ```fence``` closes this" in page
    assert "python -m helpers run redundancy --profile smoke" in page


def test_page_of_a_chapter_that_was_never_run() -> None:
    page = pages.failed_page("redundancy", "How much?", None)
    assert "has not been run" in page
    assert "python -m helpers run redundancy\n" in page


def test_colab_link_only_with_an_address() -> None:
    assert "Colab" not in pages.action_line("a.ipynb", None)
    assert "[Open in Colab](https://example.org/a)" in pages.action_line(
        "a.ipynb", "https://example.org/a"
    )
