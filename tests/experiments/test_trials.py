"""Trials are computed once, survive kill -9, and two runners may share a folder."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from helpers.errors import DataError
from helpers.experiments.trials import RESULT, TrialStore, run_trials
from helpers.paths import PROJECT


@dataclass(frozen=True)
class Square:
    number: int


def square(trial: Square, folder: Path, log: Path, pause: float = 0.0) -> dict:
    with log.open("a") as stream:
        stream.write(f"{trial.number}\n")
    time.sleep(pause)
    (folder / "extra.txt").write_text("kept")
    return {"square": trial.number**2}


@pytest.fixture
def store(tmp_path) -> TrialStore:
    return TrialStore(tmp_path / "trials", code="c", data="d")


def run(store, log, numbers, workers=1):
    return run_trials([Square(n) for n in numbers], partial(square, log=log), store, workers)


def test_results_come_in_order_and_are_not_computed_twice(store, tmp_path):
    log = tmp_path / "log"
    assert [r["square"] for r in run(store, log, [3, 1, 2])] == [9, 1, 4]
    assert [r["square"] for r in run(store, log, [1, 2, 3, 4])] == [1, 4, 9, 16]
    assert sorted(log.read_text().split()) == ["1", "2", "3", "4"]
    assert (store.path(Square(3)) / "extra.txt").read_text() == "kept"


def test_processes_give_the_same_results(store, tmp_path):
    assert [r["square"] for r in run(store, tmp_path / "log", range(4), 2)] == [0, 1, 4, 9]


def test_other_code_data_or_parameters_are_other_trials(store, tmp_path):
    other_code = TrialStore(store.folder, "c2", "d")
    other_data = TrialStore(store.folder, "c", "d2")
    keys = {s.key(Square(n)) for s in (store, other_code, other_data) for n in (1, 2)}
    assert len(keys) == 6


def test_a_broken_result_is_named_not_used(store, tmp_path):
    run(store, tmp_path / "log", [1])
    (store.path(Square(1)) / RESULT).write_text('{"square": ')
    with pytest.raises(DataError, match="Delete its folder"):
        run(store, tmp_path / "log", [1])


def test_a_failing_trial_leaves_the_finished_ones(store, tmp_path):
    log = tmp_path / "log"

    def fail_at_two(trial, folder):
        if trial.number == 2:
            raise RuntimeError("no memory")
        return square(trial, folder, log)

    with pytest.raises(RuntimeError, match="no memory"):
        run_trials([Square(n) for n in (1, 2, 3)], fail_at_two, store)
    assert store.load(Square(1)) == {"trial": {"number": 1}, "square": 1}
    assert store.load(Square(2)) is None


SCRIPT = """
import sys
from functools import partial
from pathlib import Path
from helpers.experiments.trials import TrialStore, run_trials
from tests.experiments.test_trials import Square, square

folder = Path(sys.argv[1])
store = TrialStore(folder / "trials", "c", "d")
run = partial(square, log=folder / "log", pause=0.15)
results = run_trials([Square(n) for n in range(12)], run, store, workers=1)
print(sum(r["square"] for r in results))
"""


def start(folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    return subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def test_kill_minus_nine_at_any_moment_loses_only_the_trial_at_hand(tmp_path):
    for kills in range(1, 6):
        process = start(tmp_path)
        log = tmp_path / "log"
        while process.poll() is None and (
            not log.exists() or len(log.read_text().split()) < 2 * kills
        ):
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    last = start(tmp_path)
    assert last.communicate()[0].strip() == str(sum(n**2 for n in range(12)))
    started = log.read_text().split()
    assert set(started) == {str(n) for n in range(12)}
    assert len(started) <= 12 + 5
    assert not list(tmp_path.rglob("*.part"))[5:]


def test_two_runners_on_one_folder_share_the_work(tmp_path):
    runners = [start(tmp_path), start(tmp_path)]
    sums = {runner.communicate()[0].strip() for runner in runners}
    assert sums == {str(sum(n**2 for n in range(12)))}
    assert sorted(map(int, (tmp_path / "log").read_text().split())) == list(range(12))
    for path in (tmp_path / "trials").rglob(RESULT):
        json.loads(path.read_text())
