import re

import pytest

from helpers.data.listing import list_entries
from helpers.data.manifest import load_manifest

WEIGHTS = "lunit-bt-rn50"


def rows():
    """The table as a dict: the first word of a line, then its cells."""
    return {line.split()[0]: re.split(r" {2,}", line) for line in list_entries().splitlines()}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("BOOK_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("BOOK_DATA_BUNDLE", raising=False)
    return tmp_path


def test_every_entry_has_one_row_with_kind_access_and_licence(folder):
    entries = load_manifest().entries
    found = rows()
    assert found.pop("name") == ["name", "kind", "here", "access", "licence", "title"]
    assert list(found) == list(entries)
    for name, (_, kind, _, access, licence, title) in found.items():
        entry = entries[name]
        assert (kind, title) == (entry.kind, entry.title)
        assert access == ("-" if kind == "synthetic" else entry.access)
        assert entry.licence.name.startswith(licence.removesuffix(" ..."))


def test_weights_that_may_not_be_sold_say_so(folder):
    found = rows()[WEIGHTS]
    assert found[1:4] == ["weights", "no", "accept-licence"]
    assert "non-commercial" in found[4]


def test_weights_in_the_data_folder_are_here(folder):
    (folder / WEIGHTS).mkdir()
    (file,) = load_manifest().entry(WEIGHTS).files
    (folder / WEIGHTS / file.name).write_bytes(b"x")
    assert rows()[WEIGHTS][2] == "yes"


def test_weights_in_the_bundle_are_here(folder, monkeypatch):
    file = f"{{path: w, bytes: 1, sha256: {'a' * 64}}}"
    (folder / "bundle.yaml").write_text(
        f"format: 1\ndatasets:\n  {WEIGHTS}:\n"
        f"    {{complete: true, coverage: all, licence: x, files: [{file}]}}\n"
    )
    monkeypatch.setenv("BOOK_DATA_BUNDLE", str(folder))
    assert rows()[WEIGHTS][2] == "bundle"
