import dataclasses
import errno
import hashlib
import http.server
import io
import multiprocessing
import os
import shutil
import socket
import threading
import zipfile

import pytest
import yaml

from helpers.data import archives, fetch
from helpers.data.fetch import fingerprint_of, locate
from helpers.data.manifest import Manifest
from helpers.errors import DataError


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


INSIDE = {"train/a.png": os.urandom(30_000), "train/b.png": os.urandom(30_000)}
ARCHIVE = zipped(INSIDE)
TABLE = b"a,b\n1,2\n" * 5000


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves ``server.files`` with ranges and ETags, and can hang up in the middle."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, self.headers.get("Range")))
        content = server.files.get(self.path.lstrip("/"))
        if content is None:
            self.send_error(server.status)
            return
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        start = 0
        if self.headers.get("Range") and self.headers.get("If-Range") == tag:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        if server.tags:
            self.send_header("ETag", tag)
        self.end_headers()
        stop = server.stops.pop(0) if server.stops else len(content)
        self.wfile.write(content[start:stop])
        if stop < len(content):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.files = {"a.zip": ARCHIVE, "t.csv": TABLE, "w.pth": ARCHIVE}
    made.handle_error = lambda *_: None  # clients hang up on purpose
    made.requests, made.stops, made.tags, made.status = [], [], True, 404
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """The data folder of this test; no bundle, no proxy, no waiting between attempts."""
    monkeypatch.setenv("BOOK_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("BOOK_DATA_BUNDLE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("pooch.core.time.sleep", lambda _: None)
    monkeypatch.setattr(fetch, "CHUNK", 1000)
    return tmp_path / "data"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def manifest(*files: dict, **changes) -> Manifest:
    """A manifest of the one data set ``one``."""
    files = [file if len(file) > 2 else file | {"checksum_note": "none"} for file in files]
    licence = {
        "id": "X",
        "name": "Terms X",
        "source": "https://example.org/x",
        "verified": True,
        "requires_acceptance": changes.get("access") == "accept-licence",
    }
    entry = {
        "title": "One",
        "kind": "dataset",
        "role": [{"paper": None, "use": "test"}],
        "contents": "two pictures",
        "homepage": None,
        "files": files,
        "licence": licence,
        "access": "direct",
        "reader": None,
        "layout": None,
    }
    return Manifest.model_validate({"format": 1, "entries": {"one": entry | changes}})


def served(server, name: str, **checks) -> dict:
    return {"name": name, "url": f"http://127.0.0.1:{server.server_port}/{name}", **checks}


def find(made: Manifest, **options):
    return locate("one", manifest=made, progress=False, **options)


def kept(data) -> set[str]:
    """Everything below the data folder but locks and remembered checksums."""
    return {
        str(path.relative_to(data))
        for path in data.rglob("*")
        if path.is_file() and path.suffix != ".lock" and path.name != ".lock"
        if ".digests" not in path.parts
    }


# ------------------------------------------------------------------------------ downloads


def test_archive_is_downloaded_checked_and_unpacked(server, data):
    found = find(manifest(served(server, "a.zip", sha256=sha256(ARCHIVE), bytes=len(ARCHIVE))))
    assert (found.source, found.complete, found.coverage) == ("download", True, "two pictures")
    assert found.files == (data / "one" / "a.zip",)
    assert found.root == data / "unpacked" / f"one-{found.fingerprint[:12]}"
    for name, content in INSIDE.items():
        assert (found.root / name).read_bytes() == content
    assert found.fingerprint == sha256(sha256(ARCHIVE).encode())


def test_second_use_neither_downloads_nor_unpacks(server, monkeypatch):
    made = manifest(served(server, "a.zip", sha256=sha256(ARCHIVE)))
    first = find(made)
    monkeypatch.setattr(fetch, "unpack_all", lambda *_: pytest.fail("unpacked again"))
    assert find(made) == first
    assert len(server.requests) == 1


def test_table_is_used_in_place(server, data):
    found = find(manifest(served(server, "t.csv", md5=hashlib.md5(TABLE).hexdigest())))
    assert found.root == data / "one"
    assert found.files[0].read_bytes() == TABLE
    assert kept(data) == {"one/t.csv"}


def test_a_table_beside_an_archive_lies_beside_its_contents(server, data):
    made = manifest(served(server, "a.zip"), served(server, "t.csv"))
    found = find(made)
    assert found.root == data / "unpacked" / f"one-{found.fingerprint[:12]}"
    assert (found.root / "t.csv").read_bytes() == TABLE
    assert (found.root / "train" / "a.png").read_bytes() == INSIDE["train/a.png"]
    (found.root / "t.csv").unlink()  # as in a folder unpacked by an earlier version
    assert find(made) == found
    assert (found.root / "t.csv").read_bytes() == TABLE
    assert (data / "one" / "t.csv").read_bytes() == TABLE


def test_weights_are_not_unpacked(server, data):
    server.files["w.zip"] = ARCHIVE
    made = manifest(served(server, "w.zip", sha256=sha256(ARCHIVE)), kind="weights")
    assert find(made).root == data / "one"
    assert kept(data) == {"one/w.zip"}


@pytest.mark.parametrize("checks", [{"md5": "0123456789"}, {"sha256": "0" * 64}, {"bytes": 7}])
def test_wrong_file_is_not_kept(server, data, checks):
    made = manifest(served(server, "a.zip", checksum_note="-", **checks))
    with pytest.raises(DataError, match="expected") as caught:
        find(made)
    assert "a.zip" in str(caught.value)
    assert kept(data) == set()
    assert len(server.requests) == 1  # the same wrong file again would be no better


def test_leading_digits_of_a_checksum_are_checked(server):
    good = served(server, "w.pth", sha256=sha256(ARCHIVE)[:8], checksum_note="-")
    assert find(manifest(good, kind="weights")).files[0].read_bytes() == ARCHIVE


def test_good_file_survives_a_failed_update_of_another(server, data):
    whole = served(server, "t.csv", sha256=sha256(TABLE))
    find(manifest(whole))
    with pytest.raises(DataError):
        find(manifest(whole, served(server, "a.zip", sha256="0" * 64)))
    assert kept(data) == {"one/t.csv"}
    assert (data / "one" / "t.csv").read_bytes() == TABLE


@pytest.mark.parametrize("known", [True, False])
def test_spoilt_file_in_the_data_folder_is_fetched_again(server, data, known):
    digest = sha256(TABLE) if known else sha256(TABLE)[:8]
    made = manifest(served(server, "t.csv", sha256=digest, checksum_note="-"))
    find(made)
    (data / "one" / "t.csv").write_bytes(TABLE[:-1])
    assert find(made).files[0].read_bytes() == TABLE


def test_connection_that_breaks_is_resumed(server):
    server.stops = [20_000]
    made = manifest(served(server, "a.zip", sha256=sha256(ARCHIVE)))
    assert find(made).files[0].read_bytes() == ARCHIVE
    assert [r for _, r in server.requests] == [None, "bytes=20000-"]


def test_interrupted_then_rerun(server, data, monkeypatch):
    """A download given up half-way is no file; the next run asks for the rest only."""
    server.stops = [10_000, 25_000, 40_000]
    made = manifest(served(server, "a.zip", sha256=sha256(ARCHIVE)))
    with pytest.raises(DataError, match=r"a\.zip.*download failed"):
        find(made)
    assert kept(data) == {"one/a.zip.part", "one/a.zip.part.json"}
    assert fingerprint_of("one", manifest=made) is None
    assert find(made).files[0].read_bytes() == ARCHIVE
    assert server.requests[-1][1] == "bytes=40000-"
    assert not any(".part" in name for name in kept(data))


def test_part_of_an_older_version_is_not_continued(server):
    made = manifest(served(server, "a.zip"))
    server.files["a.zip"] = zipped({"old": bytes(50_000)})
    server.stops = [10_000] * 3
    with pytest.raises(DataError):
        find(made)
    server.files["a.zip"] = ARCHIVE
    assert find(made).files[0].read_bytes() == ARCHIVE


def test_spoilt_part_is_dropped(server, data):
    made = manifest(served(server, "a.zip", sha256=sha256(ARCHIVE)))
    server.stops = [10_000] * 3
    with pytest.raises(DataError):
        find(made)
    part = data / "one" / "a.zip.part"
    part.write_bytes(bytes(part.stat().st_size))
    assert find(made).files[0].read_bytes() == ARCHIVE
    assert [r for _, r in server.requests[-2:]] == ["bytes=10000-", None]


@pytest.mark.parametrize(("tail", "requests"), [(b"", 1), (b"too long", 2)])
def test_process_that_ended_before_the_last_check(server, data, tail, requests):
    made = manifest(served(server, "a.zip", sha256=sha256(ARCHIVE)))
    server.stops = [10_000] * 3
    with pytest.raises(DataError):
        find(made)
    (data / "one" / "a.zip.part").write_bytes(ARCHIVE + tail)
    server.requests.clear()
    assert find(made).files[0].read_bytes() == ARCHIVE
    assert len(server.requests) == requests


def test_server_without_versions_starts_again(server):
    server.tags, server.stops = False, [20_000]
    made = manifest(served(server, "a.zip", sha256=sha256(ARCHIVE)))
    assert find(made).files[0].read_bytes() == ARCHIVE
    assert [r for _, r in server.requests] == [None, None]


def test_always_truncated(server, data):
    server.tags, server.stops = False, [30_000] * 10
    with pytest.raises(DataError, match="BOOK_DATA_BUNDLE"):
        find(manifest(served(server, "a.zip")))
    assert len(server.requests) == 1 + fetch.RETRIES
    assert kept(data) == set()  # a part that could not be continued is not kept


def test_connection_refused_names_address_and_bundle(server, data):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/a.zip"
    with pytest.raises(DataError, match="offline bundle") as caught:
        find(manifest({"name": "a.zip", "url": url}))
    assert url in str(caught.value)
    assert "refused" in str(caught.value)
    assert kept(data) == set()


def test_missing_page_is_asked_for_once_and_a_failing_server_again(server):
    made = manifest(served(server, "gone.zip"))
    with pytest.raises(DataError, match="404"):
        find(made)
    assert len(server.requests) == 1
    server.status = 503
    with pytest.raises(DataError, match="503"):
        find(made)
    assert len(server.requests) == 2 + fetch.RETRIES


def test_archive_that_is_truncated_at_its_source(server, data):
    server.files["a.zip"] = ARCHIVE[:30_000]
    with pytest.raises(DataError, match=r"a\.zip: the archive is damaged or cut short"):
        find(manifest(served(server, "a.zip")))
    assert kept(data) == {"one/a.zip"}  # no checksum says that it is not what the source offers


# ------------------------------------------------------------------------------ disk


def test_disk_is_looked_at_before_the_download(server, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=archives._RESERVE + 99_999)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=r"needs 0\.1 MB"):
        find(manifest(served(server, "a.zip", bytes=100_000, checksum_note="-")))
    assert server.requests == []


def test_disk_is_looked_at_when_the_server_tells_the_size(server, data, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=archives._RESERVE + len(ARCHIVE) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match="free"):
        find(manifest(served(server, "a.zip")))
    assert kept(data) == set()


def test_disk_full_during_the_download(server, data, monkeypatch):
    class Full(io.BytesIO):
        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    def opened(path, mode="r", *args, **kwargs):
        return (
            Full()
            if path.name.endswith(".part") and "b" in mode and mode != "rb"
            else real(path, mode, *args, **kwargs)
        )

    real = type(data).open
    find(manifest(served(server, "t.csv", sha256=sha256(TABLE))))
    (data / "one" / "a.zip.part").write_bytes(ARCHIVE[:100])
    monkeypatch.setattr(type(data), "open", opened)
    with pytest.raises(DataError, match="disk is full"):
        find(manifest(served(server, "t.csv"), served(server, "a.zip")))
    assert kept(data) == {"one/t.csv"}


# ------------------------------------------------------------------------------ licences


def test_licence_is_never_accepted_silently(server, data):
    made = manifest(served(server, "a.zip"), access="accept-licence")
    for accepted in (frozenset(), frozenset({"another"})):
        with pytest.raises(DataError) as caught:
            find(made, accept_licences=accepted)
        for part in ("Terms X", "https://example.org/x", "--accept-licence one"):
            assert part in str(caught.value)
    assert server.requests == []
    assert not data.exists()
    assert find(made, accept_licences=frozenset({"one"})).source == "download"
    assert find(made).source == "download"  # accepted when it was downloaded


BY_HAND = {"access": "manual", "instructions": "Ask at the desk."}


def test_manual_tells_where_the_files_are_looked_for(data):
    made = manifest({"name": "a.zip", "url": None}, {"name": "b.csv", "url": None}, **BY_HAND)
    with pytest.raises(DataError, match="Ask at the desk") as caught:
        find(made)
    assert str(data / "one" / "a.zip") in str(caught.value)
    assert str(data / "one" / "b.csv") in str(caught.value)
    assert "Terms X" in str(caught.value)

    (data / "one").mkdir(parents=True)
    (data / "one" / "a.zip").write_bytes(ARCHIVE)
    with pytest.raises(DataError) as caught:
        find(made)
    assert "a.zip" not in str(caught.value).splitlines()[2]

    (data / "one" / "b.csv").write_bytes(TABLE)
    found = find(made)
    assert (found.source, found.complete) == ("manual", False)
    assert "not checked" in found.coverage
    assert (found.root / "train" / "a.png").read_bytes() == INSIDE["train/a.png"]


def test_manual_file_with_known_checksum(data):
    made = manifest({"name": "a.zip", "url": None, "sha256": sha256(ARCHIVE)}, **BY_HAND)
    (data / "one").mkdir(parents=True)
    path = data / "one" / "a.zip"
    path.write_bytes(ARCHIVE[::-1])
    with pytest.raises(DataError, match="sha256") as caught:
        find(made)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == ARCHIVE[::-1]
    path.write_bytes(ARCHIVE)
    os.utime(path, ns=(7, 7))
    assert find(made).complete


def test_manual_without_known_names_takes_what_is_there(data):
    made = manifest(**BY_HAND)
    with pytest.raises(DataError, match="any files"):
        find(made)
    assert fingerprint_of("one", manifest=made) is None
    (data / "one" / "deep").mkdir(parents=True)
    (data / "one" / "deep" / "x.png").write_bytes(b"1")
    (data / "one" / ".DS_Store").write_bytes(b"2")
    found = find(made)
    assert found.files == (data / "one" / "deep" / "x.png",)
    assert found.root == data / "one"
    assert found.fingerprint == fingerprint_of("one", manifest=made)


# ------------------------------------------------------------------------------ bundle


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """A bundle with a subset of ``one``; returns its archive."""
    path = tmp_path / "bundle" / "one" / "a.zip"
    path.parent.mkdir(parents=True)
    path.write_bytes(ARCHIVE)
    entry = {
        "complete": False,
        "coverage": "2 of 100 pictures",
        "licence": "X",
        "files": [{"path": "one/a.zip", "bytes": len(ARCHIVE), "sha256": sha256(ARCHIVE)}],
    }
    text = yaml.safe_dump({"format": 1, "datasets": {"one": entry}})
    (tmp_path / "bundle" / "bundle.yaml").write_text(text)
    monkeypatch.setenv("BOOK_DATA_BUNDLE", str(tmp_path / "bundle"))
    return path


def test_bundle_comes_first_and_says_that_it_is_a_subset(server, offline, data):
    made = manifest(served(server, "a.zip"), access="accept-licence")
    found = find(made)
    assert (found.source, found.complete, found.coverage) == ("bundle", False, "2 of 100 pictures")
    assert found.files == (offline,)
    assert found.root.is_relative_to(data)
    assert (found.root / "train" / "b.png").read_bytes() == INSIDE["train/b.png"]
    assert server.requests == []
    assert fingerprint_of("one", manifest=made) == found.fingerprint


def test_same_bytes_have_the_same_fingerprint_wherever_they_come_from(server, offline, monkeypatch):
    made = manifest(served(server, "a.zip"))
    from_bundle = find(made).fingerprint
    monkeypatch.delenv("BOOK_DATA_BUNDLE")
    assert find(made).fingerprint == from_bundle


def test_spoilt_bundle_is_refused_without_falling_back(server, offline):
    made = manifest(served(server, "a.zip"))
    before = fingerprint_of("one", manifest=made)
    offline.write_bytes(ARCHIVE[:-1] + b"?")
    os.utime(offline, ns=(5, 5))
    with pytest.raises(DataError, match="damaged"):
        find(made)
    assert fingerprint_of("one", manifest=made) != before
    offline.unlink()
    with pytest.raises(DataError, match="does not hold it"):
        find(made)
    assert fingerprint_of("one", manifest=made) is None
    assert server.requests == []


def test_bundle_that_lacks_the_entry(server, offline, tmp_path):
    (tmp_path / "bundle" / "bundle.yaml").write_text("format: 1\ndatasets: {}\n")
    assert find(manifest(served(server, "a.zip"))).source == "download"


# ------------------------------------------------------------------------------ unpacking


def test_what_a_killed_process_left_is_cleared_away(server, data):
    made = manifest(served(server, "a.zip"))
    first = find(made)
    parent = first.root.parent
    (parent / f"{first.root.name}.complete").unlink()  # killed before the mark was written
    (first.root / "train" / "a.png").unlink()
    stale = parent / f".{first.root.name}-abc.unpacking"
    stale.mkdir()
    assert find(made) == first
    assert (first.root / "train" / "a.png").read_bytes() == INSIDE["train/a.png"]
    assert not stale.exists()


def _unpack_in_process(made: Manifest, start, results) -> None:
    calls = []
    real = fetch.unpack_all
    fetch.unpack_all = lambda *args: calls.append(1) or real(*args)
    start.wait()
    found = find(made)
    results.put((str(found.root), len(list(found.root.rglob("*.png"))), len(calls)))


def test_two_processes_unpack_the_same_archive(offline):
    many = {f"train/{i}.png": b"x" * 100 for i in range(2000)}
    offline.write_bytes(zipped(many))
    entry = yaml.safe_load((offline.parents[1] / "bundle.yaml").read_text())
    content = offline.read_bytes()
    entry["datasets"]["one"]["files"][0] |= {"bytes": len(content), "sha256": sha256(content)}
    (offline.parents[1] / "bundle.yaml").write_text(yaml.safe_dump(entry))

    made = manifest({"name": "a.zip", "url": "http://127.0.0.1:9/a.zip"})
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(2), context.Queue()
    workers = [
        context.Process(target=_unpack_in_process, args=(made, start, results)) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=30) for _ in workers]
    for worker in workers:
        worker.join()
    assert found[0][:2] == found[1][:2]
    assert found[0][1] == len(many)
    assert sorted(calls for *_, calls in found) == [0, 1]  # the other one waited


# ------------------------------------------------------------------------------ names


def test_generated_and_unknown_names():
    with pytest.raises(DataError, match="generated"):
        locate("synthetic-cyto")
    assert fingerprint_of("synthetic-cyto") is None
    with pytest.raises(DataError, match="monuseg"):
        locate("monusegg")
    with pytest.raises(DataError, match="monuseg"):
        fingerprint_of("monusegg")


@pytest.mark.bundle
def test_whole_real_bundle_is_located(bundle, monkeypatch):
    monkeypatch.setenv("BOOK_DATA_BUNDLE", str(bundle))
    for name, complete in {"glas": False, "covid-qu": False, "medsegpretrain": True}.items():
        found = locate(name, progress=False)
        assert (found.source, found.complete) == ("bundle", complete)
        assert dataclasses.asdict(found)["fingerprint"] == fingerprint_of(name)
        assert any(path.is_file() for path in found.root.rglob("*"))
