import json

import pytest

from helpers.chapters import results
from helpers.chapters.claims import Claim, describe, judge
from helpers.chapters.comparisons import by_rate
from helpers.errors import DataError


def row(method, rate, value, seed=0, metric="dice"):
    return {
        "chapter": "redundancy",
        "method": method,
        "rate": rate,
        "seed": seed,
        "metric": metric,
        "value": value,
        "source": "this run",
    }


def test_a_table_survives_writing_and_reading(tmp_path):
    table = results.tidy([row("random", 10, 0.81234), row("all", 100, 0.9, seed=1)])
    results.write_table(table, tmp_path / "t.csv")
    again = results.read_table(tmp_path / "t.csv")
    assert list(again.columns) == results.COLUMNS
    assert again["value"].tolist() == [0.81234, 0.9]
    assert again["seed"].tolist() == [0, 1]


def test_unknown_columns_are_refused(tmp_path):
    with pytest.raises(DataError, match="colour"):
        results.tidy([{"colour": 1}])
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"t\.csv"):
        results.read_table(tmp_path / "t.csv")


def test_a_wide_interval_is_said_to_cross_the_threshold():
    claim = Claim("c", "s", "r", lambda table: [0.9, 1.1], 0.95)
    verdict = judge(claim, results.tidy([]))
    assert verdict.outcome == "holds"
    assert not verdict.decided
    assert "includes the threshold" in describe(verdict)


def test_curves_end_at_all_data():
    rows = [row("random", 10, v, s) for s, v in enumerate((0.7, 0.8))] + [row("all", 100, 0.9)]
    curve = by_rate(results.tidy(rows), "random", "dice")
    assert curve["rate"].tolist() == [10, 100]
    assert curve["mean"].tolist() == [0.75, 0.9]
    assert curve["low"].tolist() == [0.7, 0.9]


def test_records_of_a_chapter_whose_name_goes_on_are_not_its_own(tmp_path, monkeypatch):
    folder = tmp_path / "recorded"
    folder.mkdir()
    for name in ("stopping-published", "stopping"):
        record = {"chapter": name, "profile": "real", "work": {"models": len(name)}, "data": [name]}
        (folder / f"{name}-real.json").write_text(json.dumps(record))
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    assert results.recorded_work("stopping") == {"real": {"models": len("stopping")}}
    assert results.recorded_data("stopping-published") == ["stopping-published"]
    (folder / "stopping-real.json").unlink()
    assert results.recorded_work("stopping") == {}
