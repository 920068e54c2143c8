"""Rows by file: kept, replaced, and never half there."""

import os

import numpy as np
import pytest

from helpers.annotate.candidates import Candidate
from helpers.annotate.store import THUMBNAIL, FileLog, Rows
from helpers.errors import DataError
from helpers.locks import sole_user


def rows(file: str, n: int, value: float) -> Rows:
    candidates = [Candidate(file, page, 0, 0, 5, 6) for page in range(1, n + 1)]
    thumbnails = np.full((n, THUMBNAIL, THUMBNAIL, 3), int(value), np.uint8)
    return Rows(candidates, np.full((n, 4), value, np.float32), thumbnails)


@pytest.fixture
def files(tmp_path):
    paths = {name: tmp_path / name for name in "abc"}
    for path in paths.values():
        path.write_text("x")
    return paths


def test_rows_come_back_in_the_order_asked_for(tmp_path, files):
    log = FileLog(tmp_path / "log", 4)
    for value, (name, path) in enumerate(files.items(), start=1):
        log.append(name, path, rows(name, value, value))
    again = FileLog(tmp_path / "log", 4)
    found = again.read(["c", "a", "not there"])
    assert [one.file for one in found.candidates] == ["c", "c", "c", "a"]
    assert [one.page for one in found.candidates] == [1, 2, 3, 1]
    np.testing.assert_array_equal(found.values[:, 0], [3, 3, 3, 1])
    np.testing.assert_array_equal(found.thumbnails[:, 0, 0, 0], [3, 3, 3, 1])
    assert again.read(["none"]).values.shape == (0, 4)


def test_a_changed_file_is_not_held_and_its_new_rows_count(tmp_path, files):
    log = FileLog(tmp_path / "log", 4)
    log.append("a", files["a"], rows("a", 2, 1))
    assert log.holds("a", files["a"])
    assert not log.holds("b", files["b"])
    os.utime(files["a"], ns=(1, 1))
    assert not log.holds("a", files["a"])
    log.append("a", files["a"], rows("a", 1, 9))
    found = FileLog(tmp_path / "log", 4).read(["a"])
    np.testing.assert_array_equal(found.values, np.full((1, 4), 9))


def test_what_a_killed_run_left_half_written_is_overwritten(tmp_path, files):
    log = FileLog(tmp_path / "log", 4)
    log.append("a", files["a"], rows("a", 2, 1))
    for name in ("index.jsonl", "values", "thumbnails"):
        with (tmp_path / "log" / name).open("ab") as stream:
            stream.write(b'{"file": "b", "sta')
    log = FileLog(tmp_path / "log", 4)
    assert not log.holds("b", files["b"])
    log.append("c", files["c"], rows("c", 1, 7))
    found = FileLog(tmp_path / "log", 4).read(["a", "c"])
    np.testing.assert_array_equal(found.values[:, 0], [1, 1, 7])
    np.testing.assert_array_equal(found.thumbnails[:, 0, 0, 0], [1, 1, 7])


def test_a_damaged_index_is_named(tmp_path):
    FileLog(tmp_path / "log", 4)
    (tmp_path / "log" / "index.jsonl").write_text("nonsense\n")
    with pytest.raises(DataError, match=r"index\.jsonl: damaged .*Delete the folder"):
        FileLog(tmp_path / "log", 4)


def test_only_one_may_write(tmp_path):
    with (
        sole_user(tmp_path / "out"),
        pytest.raises(DataError, match="another run is writing"),
        sole_user(tmp_path / "out"),
    ):
        pass
    with sole_user(tmp_path / "out"):
        pass
    (tmp_path / "file").touch()
    with (
        pytest.raises(DataError, match=r"cannot be written to .*--out"),
        sole_user(tmp_path / "file" / "out"),
    ):
        pass
