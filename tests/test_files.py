import argparse
import os
import random
import subprocess
import sys

import pytest
import torch

from helpers.errors import DataError
from helpers.files import find_files, read_torch, replacing, write_text, write_torch
from helpers.leftovers import remove_leftovers


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "a" / "f.txt"
    write_text(path, "old")
    with pytest.raises(TypeError), replacing(path) as temporary:
        temporary.write_text(None)
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["f.txt"]


def test_files_are_found_by_ending_once_and_not_the_hidden_ones(tmp_path):
    names = ["b.TIF", "a.tif", "sub/c.Tif", "d.txt", "._a.tif", ".hidden/e.tif"]
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "f.tif").touch()
    for name, target in (("out", "out"), ("again", "out"), ("loop", "in"), ("g.tif", "nowhere")):
        (tmp_path / "in" / name).symlink_to(tmp_path / target)
    found = find_files(tmp_path / "in", frozenset({".tif"}))
    expected = ["a.tif", "again/f.tif", "b.TIF", "g.tif", "sub/c.Tif"]
    assert [path.relative_to(tmp_path / "in").as_posix() for path in found] == expected
    assert len(find_files(tmp_path / "in")) == 6
    with pytest.raises(DataError, match="is not a folder"):
        find_files(tmp_path / "d.txt")
    (tmp_path / "in" / os.fsdecode(b"caf\xe9.tif")).touch()
    with pytest.raises(DataError, match=r"caf\\udce9\.tif': its name is no UTF-8.*convmv"):
        find_files(tmp_path)


def test_tensors_come_back_and_code_does_not_run(tmp_path):
    write_torch(tmp_path / "t.pt", {"a": torch.arange(3)})
    assert read_torch(tmp_path / "t.pt")["a"].tolist() == [0, 1, 2]
    torch.save({"model": {}, "args": argparse.Namespace(lr=1)}, tmp_path / "mine.pt")
    with pytest.raises(
        DataError, match=r"mine\.pt: holds objects besides tensors \(argparse\.Name"
    ):
        read_torch(tmp_path / "mine.pt")
    torch.save(os.system, tmp_path / "evil.pt")
    for name, content in (("empty.pt", b""), ("cut.pt", (tmp_path / "t.pt").read_bytes()[:40])):
        (tmp_path / name).write_bytes(content)
    for name in ("evil.pt", "empty.pt", "cut.pt", "absent.pt"):
        with pytest.raises(DataError, match=name):
            read_torch(tmp_path / name)


def test_whatever_is_no_pickle_is_named(tmp_path):
    """Text and noise: every first byte is another instruction to the unpickler."""
    path = tmp_path / "noise.pt"
    noise = random.Random(0)
    contents = [b"hello", b"just some words, no tensors at all", *(bytes([k]) for k in range(256))]
    contents += [noise.randbytes(60) for _ in range(200)]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(DataError, match="not readable as saved tensors"):
            read_torch(path)


def test_only_what_dead_processes_left_is_cleared(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f"run.{dead.pid}.part").mkdir()
    (tmp_path / f"run.{os.getpid()}.part").mkdir()
    (tmp_path / f"other.{dead.pid}.part").write_text("x")
    (tmp_path / "run.keep.part").write_text("x")
    removed = remove_leftovers(tmp_path, "run")
    assert [path.name for path in removed] == [f"run.{dead.pid}.part"]
    assert len(list(tmp_path.iterdir())) == 3
