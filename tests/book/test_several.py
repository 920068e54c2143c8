"""Chapters side by side: what a run of each leaves, and what is said where one fails."""

import subprocess
import sys

import pytest

from helpers.book import several
from helpers.book.runner import Run, run_folder
from helpers.models import device

CHAPTERS = ("first", "second", "third")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Three chapters whose command is a small script: ``use(SOURCE)`` says what it does."""
    monkeypatch.setenv("BOOK_RUNS_DIR", str(tmp_path))
    monkeypatch.setattr(several, "CHAPTERS", dict.fromkeys(CHAPTERS))

    def use(source: str, jobs: int = 2, current: tuple = ()) -> dict[str, Run]:
        def find(name, profile):
            return Run(run_folder(name, profile, {}), reused=name in current)

        script = tmp_path / "command.py"
        script.write_text(
            "import os, signal, sys, time\n"
            f"from pathlib import Path\nhome = Path({str(tmp_path)!r})\nname = sys.argv[1]\n"
            + source
        )
        monkeypatch.setattr(several, "find_run", find)
        monkeypatch.setattr(several, "command", lambda name, _: [sys.executable, script, name])
        return several.run_all("smoke", jobs)

    return use


def test_runs_stand_in_the_order_of_the_book_and_only_stale_ones_start(runs, tmp_path, capsys):
    source = "time.sleep(0.3 if name == 'first' else 0); print(name, 'done in 0 s')"
    found = runs(source, current=("second",))
    folder = tmp_path / "chapters"
    assert list(found.values()) == [Run(folder / n / "smoke", n == "second") for n in CHAPTERS]
    said = capsys.readouterr().out
    assert [f"{name} done" in said for name in CHAPTERS] == [True, False, True]
    assert "1 of 3 chapters" in said


def test_two_run_at_a_time_or_one(runs):
    waiting = """
(home / name).touch()
needed = () if name == 'third' else ('first', 'second')
end = time.monotonic() + 20
while not all((home / n).exists() for n in needed) and time.monotonic() < end:
    time.sleep(0.01)
sys.exit(not all((home / n).exists() for n in needed) or print(name))
"""
    assert not any(one.error for one in runs(waiting).values())
    alone = "mark = home / 'busy'\nmark.mkdir()\ntime.sleep(0.1)\nmark.rmdir()\nprint(name)"
    assert not any(one.error for one in runs(alone, jobs=1).values())


def test_a_chapter_that_fails_or_is_killed_leaves_the_others(runs, tmp_path, capsys):
    found = runs(
        "print('trials: 1/3', file=sys.stderr, flush=True)\n"
        "if name == 'first': os.kill(os.getpid(), signal.SIGKILL)\n"
        "if name == 'second': sys.exit('error: bbbc038: no such file\\nSee data list.')\n"
        "print(name)"
    )
    assert [one.error for one in found.values()] == [
        "the run was killed by signal 9\ntrials: 1/3",
        "bbbc038: no such file\nSee data list.",
        "",
    ]
    assert str(tmp_path / "chapters" / "first" / "smoke.log") in capsys.readouterr().err


def test_the_message_is_found_behind_an_open_bar_or_is_the_end_of_the_log():
    bar = "\rtrials:  33%|###   | 1/3 [00:01<00:02,  1.0trial/s]"
    log = f"error: a\n{bar}error: no such file\nSee an error: b."
    assert several.explain(log, 2) == "no such file\nSee an error: b."
    traceback = "\n".join(["Traceback", *(f"line {i}" for i in range(40)), "KeyError: 'x'"])
    first, *rest = several.explain(traceback, 1).splitlines()
    assert (first, rest[-1]) == ("the run ended with status 1", "KeyError: 'x'")
    assert len(rest) == several.LOG_LINES


@pytest.mark.parametrize(
    ("cores", "gigabytes", "kind", "expected"),
    [
        (2, 8, "cpu", 2),
        (64, 512, "cpu", 2),
        (1, 8, "cpu", 1),
        (8, 4, "cpu", 1),
        (8, 2, "cpu", 1),
        (64, 512, "cuda", 1),
    ],
)
def test_jobs_follow_cores_memory_and_device(monkeypatch, cores, gigabytes, kind, expected):
    import psutil

    class Found:
        total, type = gigabytes * 2**30, kind

    monkeypatch.setattr(several.os, "cpu_count", lambda: cores)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Found)
    monkeypatch.setattr(device, "resolve_device", lambda name: Found)
    assert several.job_count(["redundancy", "order"], "laptop") == expected


def test_whether_chapters_are_up_to_date_is_known_without_torch(tmp_path):
    code = (
        "import sys\nfrom helpers.book import build, runner\n"
        "from helpers.book.registry import CHAPTERS\n"
        "for name, chapter in CHAPTERS.items():\n"
        "    runner.describe_inputs(chapter, chapter.given('laptop'))\n"
        "    assert not runner.find_run(name, 'laptop').reused\n"
        "heavy = {'torch', 'sphinx', 'papermill', 'cellpose'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    environment = several.os.environ | {"BOOK_RUNS_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=several.PROJECT)
