"""Chapters side by side: what a run of each leaves, and what is said where one fails."""

import json
import sys

import pytest

from helpers.book import several

CHAPTERS = ("first", "second", "third")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Three chapters whose command is a small script: ``use(SOURCE)`` says what it does."""
    monkeypatch.setenv("BOOK_RUNS_DIR", str(tmp_path))
    monkeypatch.setattr(several, "CHAPTERS", dict.fromkeys(CHAPTERS))
    monkeypatch.setattr(several, "LOOK_SECONDS", 0.05)

    def use(source: str, jobs: int = 2) -> dict[str, several.Outcome]:
        command = tmp_path / "command.py"
        command.write_text(
            "import os, signal, sys, time\n"
            f"from pathlib import Path\nhome = Path({str(tmp_path)!r})\nname = sys.argv[1]\n"
            + source
        )
        monkeypatch.setattr(
            several, "command", lambda name, profile: [sys.executable, str(command), name]
        )
        return several.run_all("smoke", jobs)

    return use


def test_outcomes_stand_in_the_order_of_the_book(runs, tmp_path, capsys):
    found = runs("time.sleep(0.3 if name == 'first' else 0); print(name, 'done in 0 s')")
    assert list(found) == list(CHAPTERS)
    assert all(
        one == several.Outcome(tmp_path / "chapters" / n / "smoke") for n, one in found.items()
    )
    said = capsys.readouterr().out
    assert all(f"{name} (smoke) ..." in said and f"{name} done" in said for name in CHAPTERS)


WAITING = """
(home / name).touch()
end = time.monotonic() + 20
while not all((home / n).exists() for n in NEEDED) and time.monotonic() < end:
    time.sleep(0.01)
print(len(list(home.glob("*"))))
sys.exit(not all((home / n).exists() for n in NEEDED))
"""


def test_two_run_at_a_time(runs):
    # Each of the first two ends once the other has begun.
    found = runs("NEEDED = () if name == 'third' else ('first', 'second')" + WAITING)
    assert not any(one.error for one in found.values())


def test_one_run_at_a_time(runs):
    found = runs(
        "mark = home / 'busy'\nmark.mkdir()\ntime.sleep(0.1)\nmark.rmdir()\nprint(name)", jobs=1
    )
    assert not any(one.error for one in found.values())


def test_a_chapter_that_fails_or_is_killed_leaves_the_others(runs, tmp_path, capsys):
    found = runs(
        "print('trials: 1/3', file=sys.stderr, flush=True)\n"
        "if name == 'first': os.kill(os.getpid(), signal.SIGKILL)\n"
        "if name == 'second': sys.exit('error: bbbc038: no such file\\nSee data list.')\n"
        "print(name)"
    )
    assert found["first"] == several.Outcome(None, "the run was killed by signal 9\ntrials: 1/3")
    assert found["second"] == several.Outcome(None, "bbbc038: no such file\nSee data list.")
    assert not found["third"].error
    said = capsys.readouterr().err
    assert str(tmp_path / "chapters" / "first" / "smoke.log") in said


def test_a_failed_run_with_a_record_keeps_its_folder(runs, tmp_path):
    folder = tmp_path / "chapters" / "first" / "smoke"
    folder.mkdir(parents=True)
    (folder / several.RECORD).write_text(json.dumps({"status": "failed", "error": "why"}))
    found = runs("sys.exit('error: why')")
    assert found["first"] == several.Outcome(folder, "why")
    assert found["first"].record["error"] == "why"
    assert found["second"].record is None


def test_the_message_is_found_behind_an_open_bar():
    bar = "\rtrials:  33%|###   | 1/3 [00:01<00:02,  1.0trial/s]"
    assert several.explain(f"RuntimeError: x\n{bar}error: no such file\nSee.", 2) == (
        "no such file\nSee."
    )
    assert several.explain(f"error: a\n{bar}\nerror: chapter failed: an error: b", 2) == (
        "chapter failed: an error: b"
    )


def test_a_traceback_is_shown_by_its_end():
    log = "\n".join(["Traceback", *(f"line {i}" for i in range(40)), "KeyError: 'x'"])
    said = several.explain(log, 1).splitlines()
    assert said[0] == "the run ended with status 1"
    assert said[-1] == "KeyError: 'x'"
    assert len(said) == several.LOG_LINES + 1


@pytest.mark.parametrize(
    ("cores", "gigabytes", "expected"), [(2, 8, 2), (64, 512, 2), (1, 8, 1), (8, 4, 1), (8, 2, 1)]
)
def test_jobs_follow_cores_and_memory(monkeypatch, cores, gigabytes, expected):
    import psutil

    class Memory:
        total = gigabytes * 2**30

    monkeypatch.setattr(several.os, "cpu_count", lambda: cores)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory)
    assert several.job_count("laptop") == expected


def test_chapters_take_turns_on_a_gpu(monkeypatch):
    class Gpu:
        type = "cuda"

    monkeypatch.setattr(several, "resolve_device", lambda name: Gpu)
    assert several.job_count("laptop") == 1
