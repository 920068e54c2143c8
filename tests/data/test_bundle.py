import hashlib
import re

import pytest
import yaml

from helpers.data import bundle as module
from helpers.data.bundle import load_bundle, verified_files
from helpers.errors import DataError

CONTENT = b"an archive"
HASH = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _own_data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("BOOK_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "bundle"
    (made / "one").mkdir(parents=True)
    (made / "one" / "a.zip").write_bytes(CONTENT)
    write(made)
    return made


def write(folder, **changes):
    file = {"path": "one/a.zip", "bytes": len(CONTENT), "sha256": HASH}
    entry = {"complete": False, "coverage": "1 of 9", "licence": "CC0-1.0", "files": [file]}
    document = {"format": 1, "datasets": {"one": entry | changes}}
    (folder / "bundle.yaml").write_text(yaml.safe_dump(document))


def test_good_file(folder):
    entry = load_bundle(folder).datasets["one"]
    assert verified_files(folder, entry, progress=False) == (folder / "one" / "a.zip",)
    assert (entry.complete, entry.coverage, entry.licence) == (False, "1 of 9", "CC0-1.0")


def test_verified_file_is_not_read_twice(folder, monkeypatch):
    entry = load_bundle(folder).datasets["one"]
    verified_files(folder, entry, progress=False)
    monkeypatch.setattr(
        "helpers.data.checksums.compute_digest", lambda *_: pytest.fail("read again")
    )
    verified_files(folder, entry, progress=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [(CONTENT[:-1], "9 bytes.*10"), (b"an Archive", f"sha256.*{HASH}"), (None, "does not hold")],
)
def test_bad_file_is_named_and_left_alone(folder, content, message):
    path = folder / "one" / "a.zip"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        verified_files(folder, load_bundle(folder).datasets["one"], progress=False)
    assert str(path) in str(caught.value)
    assert content is None or path.read_bytes() == content


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"complete": "perhaps"}, "complete"),
        ({"files": []}, "files"),
        ({"colour": "red"}, "colour"),
        ({"files": [{"path": "../x", "bytes": 1, "sha256": HASH}]}, "files.0.path"),
        ({"files": [{"path": "/x", "bytes": 1, "sha256": HASH}]}, "files.0.path"),
        ({"files": [{"path": "x", "bytes": 1, "sha256": "abc"}]}, "files.0.sha256"),
    ],
)
def test_schema_violation_names_entry_and_field(folder, changes, field):
    write(folder, **changes)
    with pytest.raises(DataError, match=f"bundle.yaml.*\n.*'one', field '{re.escape(field)}'"):
        load_bundle(folder)


def test_missing_bundle_file(tmp_path):
    with pytest.raises(DataError, match=r"bundle\.yaml"):
        load_bundle(tmp_path)


@pytest.mark.bundle
def test_real_bundle_is_whole(bundle):
    content = load_bundle(bundle)
    for entry in content.datasets.values():
        assert module.verified_files(bundle, entry, progress=False) == entry.paths(bundle)
