"""The built book: nothing from another host, no dead links, pictures that can be read aloud."""

import html
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from helpers.book import build as book
from helpers.book.registry import CHAPTERS
from helpers.errors import UserError
from tests.book.conftest import Built

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
NAMES_ONLY = {"author", "canonical", "copyright", "index", "next", "prev", "search"}


class Tags(HTMLParser):
    """Start tags of a page with their attributes, and the ids that links may point to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    @property
    def ids(self) -> set[str | None]:
        return {attrs[key] for _, attrs in self.tags for key in ("id", "name") if key in attrs}


def pages(built: Built) -> dict[Path, Tags]:
    """Every page by its path; the folders of assets hold none."""
    found = [p for p in built.html.rglob("*.html") if "_static" not in p.parts]
    assert len(found) > 8
    return {path: Tags(path) for path in found}


def loaded(tags: Tags) -> Iterator[str]:
    """Addresses that a browser fetches without being asked."""
    for tag, attrs in tags.tags:
        address = attrs.get(LOADED.get(tag, ""))
        if address and not (tag == "link" and attrs.get("rel") in NAMES_ONLY):
            yield address


def is_external(address: str) -> bool:
    return address.startswith("//") or urlsplit(address).scheme in ("http", "https", "ftp", "ws")


def text(built: Built, page: str) -> str:
    """What a page says, without markup and with single spaces."""
    content = (built.html / f"{page}.html").read_text(encoding="utf-8")
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", content)).split())


def test_pages_load_nothing_from_another_host(built: Built) -> None:
    external = {
        f"{path.name}: {address}"
        for path, tags in pages(built).items()
        for address in loaded(tags)
        if is_external(address)
    }
    assert not external


def test_style_sheets_load_nothing_from_another_host(built: Built) -> None:
    sheets = list(built.html.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        text = sheet.read_text(encoding="utf-8", errors="replace")
        urls = re.findall(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", text)
        external = [a or b for a, b in urls if is_external(a or b)]
        assert not external, f"{sheet}: {external}"


def test_what_pages_load_is_there(built: Built) -> None:
    missing = {
        f"{path.name}: {address}"
        for path, tags in pages(built).items()
        for address in loaded(tags)
        if not address.startswith("data:")
        and not (path.parent / unquote(urlsplit(address).path)).is_file()
    }
    assert not missing


def test_every_picture_has_alternative_text(built: Built) -> None:
    for path, tags in pages(built).items():
        pictures = [attrs for tag, attrs in tags.tags if tag == "img"]
        silent = [attrs.get("src", "")[:60] for attrs in pictures if not attrs.get("alt")]
        assert not silent, f"{path.name}: {silent}"


def test_internal_links_resolve(built: Built) -> None:
    all_pages = pages(built)
    ids = {path.resolve(): tags.ids for path, tags in all_pages.items()}
    dead = []
    for path, tags in all_pages.items():
        for tag, attrs in tags.tags:
            address = urlsplit(attrs.get("href") or "") if tag == "a" else urlsplit("")
            if address.scheme or not (address.path or address.fragment):
                continue
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            known = ids.get(target.resolve())
            if not target.exists() or (
                known is not None and address.fragment and unquote(address.fragment) not in known
            ):
                dead.append(f"{path.name}: {attrs['href']}")
    assert not dead


def test_chapter_shows_its_outputs_record_and_downloads(built: Built) -> None:
    page = (built.html / "chapters/redundancy.html").read_text(encoding="utf-8")
    assert 'alt="Dice rises and levels off."' in page
    assert "SECRET-OF-STDERR" not in page
    assert "trial 1 of 2\ntrial 2 of 2" in page, "printed lines of one cell are one block"
    formulas = [a for a in loaded(Tags(built.html / "chapters/redundancy.html")) if "mathjax" in a]
    assert formulas
    assert all(address.startswith("../_static/") for address in formulas)
    said = text(built, "chapters/redundancy")
    assert "How this page was made" in said
    assert "Download this notebook" in said
    names = {path.name for path in (built.html / "_downloads").rglob("*") if path.is_file()}
    assert {"redundancy.ipynb", "redundancy-results.csv", "redundancy-record.json"} <= names


def test_table_of_contents_lists_every_chapter() -> None:
    contents = yaml.safe_load((book.BOOK / "_toc.yml").read_text(encoding="utf-8"))
    files = {c["file"] for part in contents["parts"] for c in part["chapters"]}
    assert {f"chapters/{name}" for name in CHAPTERS} <= files


def test_failed_and_missing_runs_are_pages_that_say_so(built: Built) -> None:
    broken, unread = text(built, "chapters/order"), text(built, "chapters/replay")
    assert "last run failed" in broken
    assert "ValueError: `a` | b < c $x$ {role}`y` ```" in broken
    assert "has not been run" in unread
    assert "python -m helpers run replay" in unread
    status = text(built, "chapters/status")
    assert "failed: ValueError: `a` | b < c" in status
    assert "never run" in status


def test_strict_build_fails_on_a_warning_and_forgets_the_page(tmp_path: Path) -> None:
    """Sphinx warns about a page only when it reads it; what it stored must not hide the fault."""
    (tmp_path / "words.md").write_text("# Words\n\n{doc}`nowhere`\n", encoding="utf-8")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: words\n", encoding="utf-8")
    (tmp_path / "_config.yml").write_text("html: {use_multitoc_numbering: false}\n", "utf-8")
    with pytest.raises(UserError, match="nowhere"):
        book.build(book=tmp_path)
    assert not (tmp_path / "_build/.doctrees").exists()


def test_what_has_not_changed_is_not_built_again(built: Built) -> None:
    index, style = built.html / "index.html", built.sources / "_static/custom.css"
    before, text = index.stat().st_mtime_ns, style.read_text(encoding="utf-8")
    assert book.build(book=built.sources, output=built.sources.parent) == index
    assert index.stat().st_mtime_ns == before
    style.write_text(text + "/* */", encoding="utf-8")
    book.build(book=built.sources, output=built.sources.parent)
    assert (built.html / "_static/custom.css").read_text(encoding="utf-8").endswith("/* */")
