import errno
import json
import os
import subprocess
import sys

import pytest
import yaml

from helpers import doctor
from helpers.cli import main
from helpers.paths import PROJECT, beside, code_cache


def test_params_can_be_given_to_papermill(capsys):
    assert main(["params", "redundancy", "--profile", "smoke", "-p", "steps=7"]) == 0
    values = yaml.safe_load(capsys.readouterr().out)
    assert values["steps"] == 7
    assert values["profile"] == "smoke"
    assert values["rates"] == [0.1, 1.0]


def test_params_describe_themselves(capsys):
    assert main(["params", "redundancy", "--describe"]) == 0
    assert "learning_rate (float): " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("pair", "named"), [("raets=[0.1]", "'raets'"), ("seed=x", "'seed'"), ("rates", "'rates'")]
)
def test_bad_parameters_end_the_run_before_it_starts(pair, named, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("BOOK_RUNS_DIR", str(tmp_path / "runs"))
    assert main(["run", "redundancy", "-p", pair]) == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_doctor_reports_every_line_and_fails_on_a_wrong_bundle(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("BOOK_DATA_BUNDLE", str(tmp_path))
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(("[OK]", "[FAIL]")) for line in lines)
    assert any("bundle.yaml" in line for line in lines if line.startswith("[FAIL]"))
    for word in ("Python", "packages", "torch pair", "device", "memory", "disk", "write access"):
        assert any(word in line for line in lines), word


def test_doctor_names_packages_that_differ_from_the_lock(monkeypatch):
    monkeypatch.setattr(doctor, "version", lambda name: "0.0.1")
    (finding,) = doctor._packages()
    assert not finding.ok
    assert "numpy 0.0.1 instead of" in finding.found


def test_data_list_and_unknown_names(capsys):
    assert main(["data", "list"]) == 0
    assert "synthetic-cyto" in capsys.readouterr().out
    assert main(["data", "fetch", "bbbc39"]) == 2
    assert "bbbc038" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["data", "list"]])
def test_a_reader_may_stop_reading(arguments):
    process = subprocess.Popen(
        [sys.executable, "-m", "helpers", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=PROJECT,
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0


def test_letters_that_a_terminal_lacks_are_written_as_codes(pictures, tmp_path):
    folder = pictures.rename(tmp_path / "Zellen \u03b2")
    process = subprocess.run(
        [sys.executable, "-m", "helpers", "select", str(folder), "--budget", "2"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        cwd=PROJECT,
        capture_output=True,
        check=True,
    )
    assert b"Zellen \\u03b2-selection" in process.stdout


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EROFS, "Read-only file system", "/x"), "/x: Read-only file system"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "BOOK_RUNS_DIR"),
        (OSError(errno.ENOSPC, "No space left on device"), "the same command again"),
        (RuntimeError("[enforce fail at inline_container.cc:664] ."), "no room is left"),
    ],
)
def test_what_cannot_be_written_is_a_message(error, said, monkeypatch, capsys):
    def fails(*arguments):
        raise error

    monkeypatch.setattr("helpers.book.runner.run_chapter", fails)
    assert main(["run", "redundancy"]) == 2
    assert said in capsys.readouterr().err
    error = RuntimeError("something else")
    with pytest.raises(RuntimeError, match="else"):
        main(["run", "redundancy"])


def test_machine_code_is_kept_where_one_may_write(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr("numba.config.CACHE_DIR", "")
    found = []
    for data, runs in (("data", "runs"), ("file/data", "runs"), ("file/data", "file/runs")):
        monkeypatch.setenv("NUMBA_CACHE_DIR", "")
        monkeypatch.setenv("BOOK_DATA_DIR", str(tmp_path / data))
        monkeypatch.setenv("BOOK_RUNS_DIR", str(tmp_path / runs))
        found.append(code_cache.__wrapped__())
        assert os.environ["NUMBA_CACHE_DIR"] == str(found[-1])
    assert found[:2] == [tmp_path / "data" / "compiled", tmp_path / "runs" / "compiled"]
    assert found[2].is_dir()
    assert not found[2].is_relative_to(tmp_path)


def test_data_check_prints_json(capsys):
    assert main(["data", "check", "synthetic-cyto", "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["problems"] == []


def test_relative_folders_are_taken_from_where_the_command_was_given(monkeypatch, tmp_path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.yaml").write_text("format: 1\ndatasets: {}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOOK_DATA_BUNDLE", "bundle")
    assert main(["data", "list"]) == 0
    assert os.environ["BOOK_DATA_BUNDLE"] == str((tmp_path / "bundle").resolve())


@pytest.fixture
def pictures(tmp_path):
    import numpy as np
    from PIL import Image

    folder = tmp_path / "my pictures"
    folder.mkdir()
    for seed in range(6):
        pixels = np.random.default_rng(seed).integers(0, 255, (40, 40), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}.png")
    return folder


def test_select_writes_beside_the_folder_and_says_what_it_chose(pictures, capsys):
    before = sorted(pictures.iterdir())
    assert main(["select", str(pictures), "--budget", "2", "--method", "facility-location"]) == 0
    said = capsys.readouterr().out
    output = pictures.with_name("my pictures-selection")
    assert said.endswith(f"Results: {output}\n")
    written = {path.name for path in output.iterdir()}
    assert written >= {"selection.csv", "skipped.csv", "contact-sheet.png", "map.png", "map.html"}
    assert len((output / "selection.csv").read_text().splitlines()) == 3
    assert sorted(pictures.iterdir()) == before


def test_results_lie_beside_what_they_are_about(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert beside(tmp_path / "a", "selection") == tmp_path / "a-selection"
    assert beside(PROJECT.__class__("."), "x") == tmp_path.with_name(f"{tmp_path.name}-x")


def test_select_patches_into_a_named_folder(pictures, tmp_path, capsys):
    options = ["--patches", "--patch-size", "16", "--budget", "30", "--out", str(tmp_path / "o")]
    assert main(["select", str(pictures), *options]) == 0
    assert "54 patches of 16 px in 6 files" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nowhere"], "nowhere: does not exist"),
        (["empty"], "holds no image"),
        (["my pictures/0.png"], "is not a folder"),
        (["my pictures", "--budget", "0"], "budget 0"),
        (["my pictures", "--method", "best"], "facility-location"),
        (["my pictures", "--out", "my pictures"], "folder of the images"),
        (["my pictures", "--out", "my pictures/0.png"], "cannot be written"),
        (["my pictures", "--patches", "--stride", "0"], "stride 0"),
    ],
)
def test_select_says_what_is_wrong(arguments, named, pictures, capsys, monkeypatch):
    monkeypatch.chdir(pictures.parent)
    pictures.with_name("empty").mkdir()
    assert main(["select", *arguments]) == 2
    assert named in capsys.readouterr().err
