"""Every citation has its entry, and every entry can be found."""

import re

import pytest
from pybtex.database import BibliographyData, parse_file

from helpers.book.build import BOOK
from helpers.book.registry import NOTEBOOKS
from helpers.data.manifest import load_manifest


@pytest.fixture(scope="module")
def bibliography() -> BibliographyData:
    return parse_file(str(BOOK / "references.bib"))


def test_every_citation_of_the_manifest_is_in_the_bibliography(bibliography) -> None:
    cited = {key for entry in load_manifest().entries.values() for key in entry.citations}
    assert cited
    assert not cited - set(bibliography.entries)


def test_every_citation_of_pages_and_notebooks_is_in_the_bibliography(bibliography) -> None:
    sources = [*BOOK.glob("*.md"), *NOTEBOOKS.glob("*.ipynb")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    groups = re.findall(r"\{cite:\w+\}`([^`]+)`", text)
    cited = {key.strip() for group in groups for key in group.split(",")}
    assert cited
    assert not cited - set(bibliography.entries)


def test_every_entry_can_be_found(bibliography) -> None:
    for key, entry in bibliography.entries.items():
        assert {"title", "year"} <= set(entry.fields), key
        assert entry.persons.get("author"), key
        assert {"doi", "url"} & set(entry.fields), f"{key}: neither doi nor url"
        assert re.fullmatch(r"[a-z]+\d{4}[a-z0-9]+", key), key


def test_no_doi_and_no_arxiv_number_stands_twice(bibliography) -> None:
    for field in ("doi", "eprint", "title"):
        fields = [entry.fields for entry in bibliography.entries.values()]
        values = [known[field].lower() for known in fields if field in known]
        assert len(values) == len(set(values)), field


@pytest.mark.parametrize("number", ["2511.04803", "2307.03275", "2310.03981", "2410.18677"])
def test_the_four_papers_are_there(bibliography, number: str) -> None:
    assert number in [entry.fields.get("eprint") for entry in bibliography.entries.values()]
