import json

import numpy as np
import pytest

from helpers.chapters import results
from helpers.chapters.claims import Claim, describe, judge, judge_all, show_verdicts
from helpers.chapters.comparisons import by_rate
from helpers.chapters.redundancy import tables
from helpers.chapters.redundancy.claims import CLAIMS
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


def verdicts(table):
    return [judge(claim, table).outcome for claim in CLAIMS]


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


def test_the_published_table_gives_the_numbers_worked_out_by_hand():
    published = tables.published_table()
    values = [judge(claim, published).value for claim in CLAIMS]
    np.testing.assert_allclose(values[0], 0.823 / 0.855)
    np.testing.assert_allclose(values[1], (0.823 - 0.780) / (0.855 - 0.780))
    np.testing.assert_allclose(values[2], 0.858 - 0.855)
    # Table II: DQ minus random at 1, 5, 10, 30 and 50 %.
    by_hand = np.mean([0.780 - 0.817, 0.811 - 0.820, 0.823 - 0.839, 0.834 - 0.856, 0.849 - 0.861])
    np.testing.assert_allclose(values[3], by_hand)
    assert verdicts(published) == [
        "holds",
        "holds",
        "holds",
        "does not hold",
        "not tested here",
    ]


def test_seeds_are_paired_and_give_an_interval():
    rows = [row("random", 10, v, s) for s, v in enumerate((0.80, 0.82, 0.81))]
    rows += [row("all", 100, v, s) for s, v in enumerate((0.82, 0.83, 0.82))]
    verdict = judge(CLAIMS[0], results.tidy(rows))
    ratios = np.array([0.80 / 0.82, 0.82 / 0.83, 0.81 / 0.82])
    half = 4.302653 * ratios.std(ddof=1) / np.sqrt(3)
    assert verdict.n_seeds == 3
    np.testing.assert_allclose(
        [verdict.value, verdict.low, verdict.high],
        [ratios.mean(), ratios.mean() - half, ratios.mean() + half],
        rtol=1e-6,
    )
    assert verdict.outcome == "holds"
    assert verdict.decided


def test_a_wide_interval_is_said_to_cross_the_threshold():
    claim = Claim("c", "s", "r", lambda table: [0.9, 1.1], 0.95)
    verdict = judge(claim, results.tidy([]))
    assert verdict.outcome == "holds"
    assert not verdict.decided
    assert "includes the threshold" in describe(verdict)


def test_claims_without_their_rows_are_not_tested():
    assert set(verdicts(results.tidy([row("random", 10, 0.8)]))) == {"not tested here"}
    table = judge_all(CLAIMS, {"recorded": results.tidy([])})
    assert table["outcome"].tolist() == ["not tested here"] * len(CLAIMS)
    assert "no runs to which" in show_verdicts(CLAIMS, {"recorded": results.tidy([])})._repr_html_()


def test_models_that_found_nothing_do_not_break_the_rules():
    rows = [row("random", 10, 0.0), row("random", 1, 0.0), row("all", 100, 0.0)]
    assert verdicts(results.tidy(rows))[:2] == ["not tested here", "not tested here"]


def test_dq_is_compared_with_random_at_equal_rates_and_seeds():
    rows = []
    for seed, (dq, random) in enumerate([(0.80, 0.78), (0.84, 0.83)]):
        rows += [row("DQ, printed equation", 10, dq, seed), row("random", 10, random, seed)]
    verdict = judge(CLAIMS[3], results.tidy(rows))
    np.testing.assert_allclose(verdict.value, np.mean([0.02, 0.01]))


def test_curves_end_at_all_data():
    rows = [row("random", 10, v, s) for s, v in enumerate((0.7, 0.8))] + [row("all", 100, 0.9)]
    curve = by_rate(results.tidy(rows), "random", "dice")
    assert curve["rate"].tolist() == [10, 100]
    assert curve["mean"].tolist() == [0.75, 0.9]
    assert curve["low"].tolist() == [0.7, 0.9]


def test_the_printed_panoptic_quality_is_the_mean_of_iou_times_dice():
    published = tables.published_table()
    check = tables.proxy_check(published[published["table"] == "I"])
    printed = check["printed"].astype(float)
    low, high = zip(*check["mean of IoU × Dice"].str.split(" to "), strict=True)
    assert ((printed >= np.array(low, float)) & (printed <= np.array(high, float))).all()
    released = check["(IoU + Dice) / 2, released script"].astype(float)
    assert (released - printed > 0.1).all()


def test_a_share_of_hardly_any_rise_is_not_judged():
    flat = [row("random", 1, 0.88), row("random", 10, 0.87), row("all", 100, 0.885)]
    assert verdicts(results.tidy(flat))[1] == "not tested here"
    steep = [row("random", 1, 0.70), row("random", 10, 0.80), row("all", 100, 0.90)]
    assert verdicts(results.tidy(steep))[1] == "holds"


def test_foreground_and_instances_side_by_side_at_the_smallest_rate():
    rows = [
        row(method, rate, value, metric=metric)
        for method, rate in (("random", 1), ("DQ, released code", 1), ("random", 10), ("all", 100))
        for metric, value in (
            ("dice", 0.9),
            ("pq_paper", 0.7),
            ("pq", 0.5),
            ("ap_50", 0.4),
            ("aji", 0.3),
        )
    ]
    shown = tables.smallest_rate(results.tidy(rows))
    assert shown["rate (%)"].tolist() == ["1", "1", "100"]
    assert shown["method"].tolist() == ["DQ, released code", "random", "all"]
    assert shown["panoptic quality"].tolist() == ["0.500"] * 3


def test_recorded_numbers_from_a_subset_say_so():
    sources = {"published": tables.published_table(), "recorded": results.recorded("redundancy")}
    said = tables.describe_sources(sources)
    for data in results.recorded_data("redundancy"):
        assert data["complete"] or data["coverage"] in said


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
