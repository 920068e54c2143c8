"""AMT2 in a process that is killed outright: the next one ends with the same weights and log."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict

import pytest

from helpers.files import read_torch
from helpers.paths import PROJECT
from tests.pretraining.test_amt2 import TEST, files, run, same, without_time

# Fresh interpreters all: nothing is inherited, neither generators nor the seed of hashes, and none
# has the switches of arithmetic (denormal numbers, threads) that libraries of other tests may set.
SCRIPT = """
import sys
from pathlib import Path
import torch
from tests.pretraining.test_amt2_kill import run_until_killed
torch.set_num_threads(1)
run_until_killed(Path(sys.argv[1]), int(sys.argv[2]))
"""


def run_until_killed(folder, step):
    """Begin, or go on, and kill this process after so many steps of both sides; 0 for never."""
    seen = []

    def on_step(done, loss):
        seen.append(done)
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    _, log = run(folder, on_step=on_step, test=TEST)
    (folder / "seen.json").write_text(json.dumps([seen, asdict(without_time(log))]))


def start(folder, step):
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", SCRIPT, folder, str(step)]
    return subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True)


def finished(process):
    _, errors = process.communicate(timeout=300)
    return process.returncode, errors


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_process_loses_nothing_but_time(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    uninterrupted, dying = start(whole, 0), start(killed, 8)  # within (a) of the second round
    code, errors = finished(dying)
    assert code == -signal.SIGKILL, errors
    assert (killed / "checkpoint.pt").is_file()
    assert not json.loads((killed / "log.json").read_text())["finished"]
    for process in (uninterrupted, start(killed, 0)):
        code, errors = finished(process)
        assert code == 0, errors
    (_, expected), (seen, log) = (
        json.loads((folder / "seen.json").read_text()) for folder in (whole, killed)
    )
    assert seen[0] == 8  # step 7 was the last that was saved
    assert log == expected
    assert files(killed) == files(whole)
    for name in files(whole):
        if name.endswith(".pt"):
            first, second = (read_torch(folder / name) for folder in (whole, killed))
            assert same(*(one.get("weights", one) for one in (first, second))), name
