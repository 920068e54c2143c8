"""Chapters end to end at the smoke profile, and what makes a run stale."""

import json
import re
from typing import Literal, get_origin
from unittest.mock import Mock

import nbformat
import pandas as pd
import pytest
import yaml

from helpers.book import claims, results, runner
from helpers.book.parameters import profile_path
from helpers.book.registry import CHAPTERS, Chapter
from helpers.book.runner import NOTEBOOK, RECORD, RESULTS, run_chapter
from helpers.data.manifest import load_manifest
from helpers.errors import UserError
from helpers.files import write_json


@pytest.fixture(scope="module")
def runs_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOOK_RUNS_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module", params=list(CHAPTERS))
def smoke(request, runs_folder):
    return run_chapter(request.param, "smoke")


def test_the_run_leaves_notebook_results_and_record(smoke):
    notebook = nbformat.read(smoke.folder / NOTEBOOK, as_version=4)
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    assert not any(out.output_type == "error" for out in outputs)
    assert any("book-figure" in out.get("data", {}).get("text/html", "") for out in outputs)
    # An empty text would be shown as the name of its class.
    assert all(out.get("data", {}).get("text/markdown", "text") for out in outputs)
    table = results.read_table(smoke.folder / RESULTS)
    assert table["value"].notna().any()
    record = json.loads((smoke.folder / RECORD).read_text())
    assert record["status"] == "ok"
    assert record["key"] == key_of(CHAPTERS[record["chapter"]])
    assert record["seeds"] == record["parameters"].get("seeds", [])
    assert record["data"][0]["source"] == "synthetic"
    assert {file["path"] for file in record["files"]} >= {NOTEBOOK, RESULTS}
    assert record["packages"]["torch"]
    # Chapters that train say for how many steps; the others have no models to count.
    assert (record["work"]["models"] > 0) == bool(
        {"steps", "gland_steps"} & set(record["parameters"])
    )


def test_an_unchanged_run_is_reused_and_another_parameter_is_another_run(smoke):
    name = smoke.record["chapter"]
    assert run_chapter(name, "smoke").reused
    assert runner.run_folder(name, "smoke", {"seed": 1}) != smoke.folder


def test_a_second_run_gives_the_same_table(smoke, tmp_path, monkeypatch):
    monkeypatch.setenv("BOOK_RUNS_DIR", str(tmp_path))
    again = run_chapter(smoke.record["chapter"], "smoke")
    assert not again.reused
    assert (again.folder / RESULTS).read_text() == (smoke.folder / RESULTS).read_text()


def key_of(chapter: Chapter, **overrides) -> str:
    return runner.describe_inputs(chapter, chapter.given("smoke", overrides))["key"]


def test_each_input_of_a_run_makes_it_stale(monkeypatch, tmp_path):
    chapter = CHAPTERS["redundancy"]
    keys = {key_of(chapter), key_of(chapter, steps=11)}
    lock = tmp_path / "lock"
    lock.write_text("numpy==1\n")
    monkeypatch.setattr(runner, "LOCK", lock)
    keys.add(key_of(chapter))
    monkeypatch.setattr(runner.fingerprints, "of_code", lambda modules: "another helper")
    keys.add(key_of(chapter))
    monkeypatch.setattr(runner.results, "files_read_by", lambda chapter: [lock])
    keys.add(key_of(chapter))
    cells = [*chapter.cells(), ("markdown", "another cell", [])]
    monkeypatch.setattr(Chapter, "cells", lambda self: cells)
    keys.add(key_of(chapter))
    for content in ("first", "second"):
        monkeypatch.setattr(runner, "_data_fingerprint", lambda values, c=content: c)
        keys.add(key_of(chapter))
    assert len(keys) == 8


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_parameter_that_names_real_data_makes_a_run_stale(name):
    entries = load_manifest().entries.values()
    real = {one.name for one in entries if one.reader and not one.name.startswith("synthetic-")}
    for profile in yaml.safe_load(profile_path(name).read_text(encoding="utf-8")):
        parameters = CHAPTERS[name].parameters(profile)
        for key, field in type(parameters).model_fields.items():
            if get_origin(field.annotation) is Literal:
                continue
            value = getattr(parameters, key)
            given = value if isinstance(value, list) else [value]
            named = {part for one in given for part in re.split("[:+]", str(one))}
            assert key in runner.DATA_PARAMETERS or not named & real, (profile, named & real)


def test_a_failing_notebook_fails_the_run_and_is_recorded(monkeypatch, tmp_path):
    monkeypatch.setenv("BOOK_RUNS_DIR", str(tmp_path / "runs"))
    chapter = CHAPTERS["redundancy"]
    notebook = nbformat.read(chapter.notebook, as_version=4)
    notebook.cells = [c for c in notebook.cells if c.id in ("title", "parameters")]
    notebook.cells.append(nbformat.v4.new_code_cell("raise RuntimeError('out of cells')"))
    nbformat.write(notebook, tmp_path / "redundancy.ipynb")
    path = tmp_path / "redundancy.ipynb"
    monkeypatch.setattr(Chapter, "notebook", property(lambda self: path))
    with pytest.raises(UserError, match="RuntimeError: out of cells"):
        run_chapter("redundancy", "smoke")
    folder = runner.run_folder("redundancy", "smoke", {})
    record = json.loads((folder / RECORD).read_text())
    assert record["status"] == "failed"
    assert not runner.find_run("redundancy", "smoke").reused
    assert "out of cells" in record["error"]
    assert not (folder / RESULTS).exists()


@pytest.mark.parametrize(
    ("changes", "stem"),
    [
        ({}, "redundancy-real"),
        ({"seeds": [1]}, "redundancy-real"),
        ({"seeds": [77]}, "redundancy-real-x"),
        ({"seeds": [1], "steps": 9}, "redundancy-real-x"),
    ],
)
def test_a_run_of_some_seeds_is_recorded_under_its_profile(changes, stem, monkeypatch, tmp_path):
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    parameters = CHAPTERS["redundancy"].parameters("real", changes).model_dump()
    record = {"chapter": "redundancy", "profile": "real", "parameters": parameters}
    record |= {"seeds": parameters["seeds"]}
    run = runner.Run(tmp_path / "real-x")
    write_json(run.folder / RECORD, record)
    table = pd.DataFrame({"table": ["t"], "metric": ["dice"], "value": [0.5], "seed": [1]})
    results.write_table(table, run.folder / RESULTS)
    written = runner.record_run(run)
    assert [path.name for path in written] == [f"{stem}.csv", f"{stem}.json"]
    pd.testing.assert_frame_equal(
        results.read_table(written[0]), results.read_table(run.folder / RESULTS)
    )
    assert json.loads(written[1].read_text()) == record


def test_whether_models_find_their_objects_stands_in_the_record(monkeypatch):
    gate = claims.Gate("CPnet", "dice", {"method": None}, {}, margin=0.02)
    never_trained = claims.Gate("another", "dice", {"method": "another"}, {}, margin=0.02)
    gates = [never_trained, gate]
    monkeypatch.setattr(runner, "import_module", lambda name: Mock(GATES=gates))
    rows = [("Otsu", 0.6), ("every pixel", 0.3), (None, 0.61)]
    table = pd.DataFrame(rows, columns=["method", "value"])
    cells = results.Cells(table.assign(table="t", metric="dice", seed=0))
    (found,) = runner.judge_models(CHAPTERS["redundancy"], cells)
    assert not found["competent"]
    assert found["why"] == "CPnet DICE .61 (Otsu .60, every pixel .30)"


def test_seeds_run_one_by_one_are_recorded_together(monkeypatch, tmp_path):
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    profile = CHAPTERS["redundancy"].parameters("real").model_dump(mode="json")
    frames = {}
    for seeds, changes in (([0], {}), ([2, 1], {}), ([1], {}), ([3], {"steps": 9})):
        record = {
            "chapter": "redundancy",
            "profile": "real",
            "seeds": seeds,
            "git": {},
            "started": f"2026-01-0{seeds[0] + 1}",
            "duration_s": 1.0,
            "code_fingerprint": "c",
            "parameters": profile | changes | {"seeds": seeds},
            "competence": [],
            "work": {"models": 1, "train_seconds": 2.0},
        }
        run = runner.Run(tmp_path / f"real-{len(frames)}")
        write_json(run.folder / RECORD, record)
        rows = [
            {"table": "t", "metric": "dice", "value": seed / 10, "seed": seed} for seed in seeds
        ]
        rows.append({"table": "baseline", "metric": "dice", "value": 0.5, "seed": None})
        results.write_table(pd.DataFrame(rows), run.folder / RESULTS)
        written = runner.record_run(run)
        frames[len(frames)] = (
            results.read_table(written[0])["seed"].tolist(),
            json.loads(written[1].read_text()),
        )
    seeds_now = [[None if pd.isna(seed) else seed for seed in held] for held, _ in frames.values()]
    assert seeds_now == [[0, None], [0, 2, 1, None], [0, 2, 1, None], [3, None]]
    record = frames[2][1]
    assert record["seeds"] == record["parameters"]["seeds"] == [0, 1, 2]
    assert [(one["started"], one["seeds"]) for one in record["earlier"]] == [
        ("2026-01-01", [0]),
        ("2026-01-03", [2]),
    ]
    assert "earlier" not in frames[3][1], "other parameters are another run"
