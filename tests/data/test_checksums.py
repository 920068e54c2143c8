import hashlib
import os

import pytest

from helpers.data import checksums
from helpers.data.checksums import cached_digest, compute_digest, fingerprint
from helpers.errors import DataError


@pytest.fixture(autouse=True)
def _own_data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("BOOK_DATA_DIR", str(tmp_path / "data"))


def test_digest_equals_hashlib_over_several_chunks(tmp_path):
    content = os.urandom(2 * 2**20 + 17)
    (tmp_path / "f").write_bytes(content)
    found = compute_digest(tmp_path / "f")
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert found.md5 == hashlib.md5(content).hexdigest()
    assert found.bytes == len(content)


def test_second_use_does_not_read_the_file(tmp_path, monkeypatch):
    path = tmp_path / "f"
    path.write_bytes(b"once")
    first = cached_digest(path)
    monkeypatch.setattr(checksums, "compute_digest", lambda *_: pytest.fail("read again"))
    assert cached_digest(path) == first


def test_change_of_content_is_seen(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"aaaa")
    first = cached_digest(path)
    path.write_bytes(b"bbbb")  # same size
    os.utime(path, ns=(1, 1))
    assert cached_digest(path).sha256 == hashlib.sha256(b"bbbb").hexdigest() != first.sha256


def test_damaged_memory_is_replaced(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"x")
    first = cached_digest(path)
    (record,) = (tmp_path / "data" / ".digests").iterdir()
    record.write_text('{"path": ')
    assert cached_digest(path) == first
    assert str(path) in record.read_text()


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        cached_digest(tmp_path / "nowhere")


def test_data_folder_that_cannot_be_made_names_the_variable(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("BOOK_DATA_DIR", str(tmp_path / "file"))
    with pytest.raises(DataError, match="BOOK_DATA_DIR"):
        cached_digest(tmp_path / "file")


def test_fingerprint_depends_on_contents_alone(tmp_path):
    for name, content in {"a": b"1", "b": b"2", "c": b"1", "d": b"3"}.items():
        (tmp_path / name).write_bytes(content)
    a, b, c, d = (compute_digest(tmp_path / name) for name in "abcd")
    assert fingerprint([a, b]) == fingerprint([b, c])
    assert len({fingerprint(x) for x in ([a], [a, b], [a, d], [a, a])}) == 4
