"""AMT2 in a process that is killed outright: the next one ends with the same weights and log."""

import json
import os
import signal
import subprocess
import sys

import pytest

from helpers.models.encoders import load_encoder
from helpers.paths import PROJECT
from helpers.pretraining.amt2 import encoder_path
from tests.pretraining.test_amt2 import TEST, files, outcome, run, same

# A fresh interpreter, so that nothing is inherited: neither generators nor the seed of hashes.
SCRIPT = """
import sys
from pathlib import Path
import torch
from tests.pretraining.test_amt2_kill import run_until_killed
torch.set_num_threads(1)
run_until_killed(Path(sys.argv[1]), int(sys.argv[2]))
"""


def run_until_killed(folder, step):
    """Begin, or go on, and kill this process after so many steps of both sides."""

    def on_step(done, loss):
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    run(folder, on_step=on_step, test=TEST)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_process_loses_nothing_but_time(tmp_path):
    expected, log = outcome(tmp_path / "whole")
    folder = tmp_path / "killed"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, folder, "8"],  # within (a) of the second round
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (folder / "checkpoint.pt").is_file()
    assert not json.loads((folder / "log.json").read_text())["finished"]
    seen = []
    final, again = outcome(folder, on_step=lambda step, _: seen.append(step))
    assert seen[0] == 8  # step 7 was the last that was saved
    assert same(final, expected)
    assert again == log
    assert files(folder) == files(tmp_path / "whole")
    for step in log.kept:
        ours, theirs = (
            load_encoder(encoder_path(one, step)).encoder.state_dict()
            for one in (folder, tmp_path / "whole")
        )
        assert same(ours, theirs)
