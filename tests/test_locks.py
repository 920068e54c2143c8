"""What several processes need is built once, and a failed build is not taken for a whole one."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from helpers.errors import DataError
from helpers.locks import once, sole_user


def test_of_several_at_once_one_builds_and_the_others_wait(tmp_path):
    marker, built = tmp_path / "made" / "summary.json", []

    def build():
        built.append(1)
        time.sleep(0.2)
        marker.write_text("{}")

    def need(_):
        once(marker, build)
        return marker.is_file()

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(need, range(4)))
    assert built == [1]
    once(marker, build)
    assert built == [1]


def test_after_a_failed_build_the_next_one_builds(tmp_path):
    marker = tmp_path / "summary.json"
    with pytest.raises(ValueError, match="no disk"):
        once(marker, lambda: (_ for _ in ()).throw(ValueError("no disk")))
    once(marker, lambda: marker.write_text("{}"))
    assert marker.is_file()


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
