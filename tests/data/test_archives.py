import errno
import io
import os
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from helpers.data import archives
from helpers.data.archives import is_archive, unpack_all
from helpers.errors import DataError

TARS = [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tar.bz2", "w:bz2"), ("a.tar.xz", "w:xz")]
FILES = {"top/a.txt": b"alpha", "top/deep/b.bin": bytes(range(256)) * 300, "c.csv": b""}


def make_zip(path: Path, files: dict[str, bytes], compression=zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_tar(path: Path, files: dict[str, bytes], mode: str = "w", extra=()) -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info)
    return path


def tar_member(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def assert_untouched(tmp_path: Path, *kept: str) -> None:
    """Nothing lies in the work folder but what was there before."""
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == sorted(kept)
    assert not (tmp_path / "evil").exists()


@pytest.fixture
def target(tmp_path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work" / "out"


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.zip", None), ("a.tgz", "w:gz"), *TARS],
)
def test_round_trip(tmp_path, target, name, mode):
    made = make_tar(tmp_path / name, FILES, mode) if mode else make_zip(tmp_path / name, FILES)
    assert unpack_all([made], target, progress=False) == len(FILES)
    assert contents(target) == FILES
    assert_untouched(tmp_path, "out")
    assert stat.S_IMODE(target.stat().st_mode) == 0o755


def test_several_archives_side_by_side(tmp_path, target):
    first = make_zip(tmp_path / "1.zip", {"train/a": b"1"})
    second = make_tar(tmp_path / "2.tar", {"test/a": b"2"})
    assert unpack_all([first, second], target, progress=False) == 2
    assert contents(target) == {"train/a": b"1", "test/a": b"2"}


def test_archives_that_hold_the_same_name_are_refused(tmp_path, target):
    made = [make_zip(tmp_path / f"{n}.zip", {"a": b"%d" % n}) for n in range(2)]
    with pytest.raises(DataError, match="'a' is there twice"):
        unpack_all(made, target, progress=False)
    assert_untouched(tmp_path)


def test_resource_forks_are_left_out(tmp_path, target):
    made = make_zip(tmp_path / "a.zip", {"a.txt": b"1", "__MACOSX/._a.txt": b"2"})
    assert unpack_all([made], target, progress=False) == 1
    assert contents(target) == {"a.txt": b"1"}


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize(
    "name",
    ["../evil", "good/../../evil", "/evil", "C:\\evil", "\\\\host\\evil", "a\\..\\..\\evil"],
)
def test_names_that_leave_the_folder(tmp_path, target, make, name):
    made = make(tmp_path / ("a.zip" if make is make_zip else "a.tar"), {"ok": b"1", name: b"2"})
    with pytest.raises(DataError, match="outside its folder") as caught:
        unpack_all([made], target, progress=False)
    assert str(made) in str(caught.value)
    assert_untouched(tmp_path)
    assert not Path("/evil").exists()


@pytest.mark.parametrize("link", ["../evil", "/etc/passwd", "ok/../../evil"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_tar_links_that_leave_the_folder(tmp_path, target, link, kind):
    made = make_tar(tmp_path / "a.tar", {"ok/a": b"1"}, extra=[tar_member("link", kind, link)])
    with pytest.raises(DataError, match="leaves its folder"):
        unpack_all([made], target, progress=False)
    assert_untouched(tmp_path)


def test_file_written_through_a_link_to_a_folder(tmp_path, target):
    """A link to the parent in two harmless-looking steps, then a file behind it."""
    steps = [
        tar_member("here", tarfile.SYMTYPE, "."),
        tar_member("here/up", tarfile.SYMTYPE, ".."),
    ]
    made = make_tar(tmp_path / "a.tar", {"here/up/evil": b"1"}, extra=steps)
    with pytest.raises(DataError, match="refused"):
        unpack_all([made], target, progress=False)
    assert_untouched(tmp_path)


def test_links_inside_become_copies(tmp_path, target):
    links = [
        tar_member("d/soft", tarfile.SYMTYPE, "../a"),
        tar_member("d/hard", tarfile.LNKTYPE, "a"),
    ]
    made = make_tar(tmp_path / "a.tar", {"a": b"content"}, extra=links)
    assert unpack_all([made], target, progress=False) == 3
    assert contents(target) == {"a": b"content", "d/soft": b"content", "d/hard": b"content"}
    assert not any(path.is_symlink() for path in target.rglob("*"))


def zip_with_link(path: Path, link: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"content")
        info = zipfile.ZipInfo("d/link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, link)
    return path


def test_zip_links(tmp_path, target):
    with pytest.raises(DataError, match="leaves its folder"):
        unpack_all([zip_with_link(tmp_path / "bad.zip", "../../evil")], target, progress=False)
    with pytest.raises(DataError, match="points to no file"):
        unpack_all([zip_with_link(tmp_path / "loop.zip", "link")], target, progress=False)
    assert_untouched(tmp_path)
    unpack_all([zip_with_link(tmp_path / "good.zip", "../a")], target, progress=False)
    assert contents(target) == {"a": b"content", "d/link": b"content"}


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_are_refused(tmp_path, target, kind):
    made = make_tar(tmp_path / "a.tar", {"ok": b"1"}, extra=[tar_member("null", kind)])
    with pytest.raises(DataError, match="'null' is a device"):
        unpack_all([made], target, progress=False)
    assert_untouched(tmp_path)


NOISE = {f"{i:02}": os.urandom(5000) for i in range(20)}


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.zip", None), *TARS],
)
def test_truncated_archive(tmp_path, target, name, mode, share):
    made = make_tar(tmp_path / name, NOISE, mode) if mode else make_zip(tmp_path / name, NOISE)
    # A tar file ends in zeros that carry no data; without those, cut what is left.
    whole = made.read_bytes() if mode != "w" else made.read_bytes().rstrip(b"\0")
    made.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match="damaged or cut short") as caught:
        unpack_all([made], target, progress=False)
    assert str(made) in str(caught.value)
    assert_untouched(tmp_path)


def test_tar_cut_between_two_files(tmp_path, target):
    made = make_tar(tmp_path / "a.tar", {"a": bytes(512), "b": bytes(512)})
    made.write_bytes(made.read_bytes()[:1024])  # one header, one block: all of the first file
    with pytest.raises(DataError, match="its end is missing"):
        unpack_all([made], target, progress=False)
    assert_untouched(tmp_path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_flipped_byte_in_a_zip(tmp_path, target, compression):
    made = make_zip(tmp_path / "a.zip", {"a": os.urandom(4000)}, compression)
    data = bytearray(made.read_bytes())
    data[2000] ^= 0xFF
    made.write_bytes(data)
    with pytest.raises(DataError, match="damaged"):
        unpack_all([made], target, progress=False)
    assert_untouched(tmp_path)


def test_encrypted_zip(tmp_path, target):
    made = make_zip(tmp_path / "a.zip", {"a": b"secret"})
    data = bytearray(made.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag in the central directory
    made.write_bytes(data)
    with pytest.raises(DataError, match="encrypted"):
        unpack_all([made], target, progress=False)


def test_existing_target_is_kept(tmp_path, target):
    target.mkdir()
    (target / "mine").write_text("precious")
    made = make_zip(tmp_path / "a.zip", FILES)
    with pytest.raises(DataError, match="exists already"):
        unpack_all([made], target, progress=False)
    assert contents(target) == {"mine": b"precious"}
    assert_untouched(tmp_path, "out")


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_bomb_is_refused_before_anything_is_written(tmp_path, target, make, monkeypatch):
    made = make(tmp_path / ("a.zip" if make is make_zip else "a.tar"), {"zeros": bytes(10**7)})
    usage = shutil.disk_usage(tmp_path)._replace(free=archives._RESERVE + 10**7 - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(archives, "_write", lambda *_: pytest.fail("wrote"))
    with pytest.raises(DataError, match=r"needs 10\.0 MB"):
        unpack_all([made], target, progress=False)
    assert_untouched(tmp_path)


def test_disk_full_while_writing(tmp_path, target, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    made = make_zip(tmp_path / "a.zip", FILES)
    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(DataError, match="disk is full"):
        unpack_all([made], target, progress=False)
    assert_untouched(tmp_path)


def test_what_counts_as_an_archive():
    assert all(map(is_archive, ["a.zip", "A. Segmentation.ZIP", "a.tar.gz", "a.tgz", "a.tar"]))
    assert not any(map(is_archive, ["a.csv", "moco_v2_200ep_pretrain.pth.tar", "zip", "a.gz"]))
