"""Tables and claims of the chapter ``coreset`` on numbers made by hand."""

import numpy as np
import pandas as pd
import pytest

from helpers.chapters.claims import judge
from helpers.chapters.comparisons import mean_difference, values_by_seed
from helpers.chapters.coreset import tables
from helpers.chapters.coreset.claims import CLAIMS, PRINTED, RELEASED
from helpers.chapters.coreset.parameters import Parameters
from helpers.chapters.results import published, tidy
from helpers.errors import ParameterError
from helpers.experiments.coreset import Choice
from helpers.quantization import METHODS

P = Parameters()


def row(method, rate, seed, value, metric="dice", table="II"):
    return {
        "table": table,
        "method": method,
        "rate": rate,
        "seed": seed,
        "metric": metric,
        "value": value,
    }


def find(text):
    return next(claim for claim in CLAIMS if text in claim.text)


def test_every_method_and_kind_of_features_has_a_name():
    assert set(METHODS) < set(tables.METHOD_NAMES)
    assert len(set(tables.METHOD_NAMES.values())) == len(tables.METHOD_NAMES)


def test_differences_are_paired_by_seed_and_averaged_over_rates():
    table = tidy(
        [row("a", rate, seed, 0.5 + 0.1 * seed + 0.02) for rate in (1, 10) for seed in (0, 1)]
        + [row("b", rate, seed, 0.5 + 0.1 * seed) for rate in (1, 10) for seed in (0, 1)]
        + [row("a", 100, 0, 9.0), row("b", 100, 0, 0.0)]
    )
    assert mean_difference(table, "a", "b", "dice") == pytest.approx([0.02, 0.02])
    relative = mean_difference(table, "a", "b", "dice", relative=True)
    assert relative == pytest.approx([0.02 / 0.52, 0.02 / 0.62])
    assert values_by_seed(table, "a", 1, "dice").tolist() == pytest.approx([0.52, 0.62])


def test_models_that_found_nothing_settle_nothing():
    table = tidy([row(m, 1, s, 0.0) for m in ("random", PRINTED) for s in (0, 1)])
    assert judge(find("DQ is better than random"), table).outcome == "not tested here"


def test_noise_around_no_difference_is_similarity_and_its_width_is_kept():
    claim = find("similar performance")
    noise = [-0.05, 0.05, -0.04, 0.05]
    rows = [row("random", 1, s, 0.5) for s in range(4)]
    rows += [row(PRINTED, 1, s, 0.5 + v) for s, v in enumerate(noise)]
    verdict = judge(claim, tidy(rows))
    assert (verdict.outcome, verdict.decided) == ("holds", False)
    assert verdict.value == pytest.approx(-abs(np.mean(noise)))
    worse = [row("random", 1, s, 0.5) for s in range(4)]
    worse += [row(PRINTED, 1, s, 0.45 + v / 50) for s, v in enumerate(noise)]
    assert judge(claim, tidy(worse)).outcome == "does not hold"


def test_published_numbers_settle_what_they_can():
    table = published("coreset")
    cyto = table[table["dataset_train"] == "Cyto"]
    better = judge(find("DQ is better than random"), cyto)
    assert better.outcome == "does not hold"
    rows = cyto[(cyto["metric"] == "dice") & (cyto["rate"] < 100)]
    means = rows.groupby("method")["value"].mean()
    assert better.value == pytest.approx(means["DQ"] - means["random"])
    assert judge(find("more stable"), cyto).outcome == "not tested here"
    for claim in CLAIMS:
        if "released code selects" in claim.text:
            assert judge(claim, cyto).outcome == "not tested here"


def test_rules_about_features_and_picks():
    opposite = find("opposite patches")
    picks = [(PRINTED, 0.6), (RELEASED, 1.3)]
    table = tidy([row(m, 10, 0, v, "first_distance", "picks") for m, v in picks])
    assert judge(opposite, table).value == pytest.approx(0.7)
    informative = find("carry more")
    names = ["raw pixels", "encoder, untrained", "encoder, pretrained here"]
    told = dict(zip(names, (0.5, 0.6, 0.59), strict=True))
    rows = [row(n, None, 0, v, "knn_accuracy", "features") for n, v in told.items()]
    assert judge(informative, tidy(rows)).value == pytest.approx(-0.01)
    assert judge(informative, tidy(rows[:2])).outcome == "not tested here"


def test_coverage_rule_is_a_share_of_what_random_reaches():
    values = {"random": 0.5, PRINTED: 0.4}
    table = tidy([row(m, 1, 0, v, "coverage_mean", "coverage") for m, v in values.items()])
    claim = find("DQ covers the feature space")
    assert judge(claim, table).value == pytest.approx(0.2)


def test_the_published_spread_of_dq_is_the_one_over_images():
    same = tables.same_spread()
    for metric in ("IoU", "Dice"):
        assert (same[f"{metric}, Table I"] == same[f"{metric}, Table II"]).all()


def test_tables_have_one_row_per_number():
    models = [
        {
            "method": "random",
            "rate": 0.1,
            "seed": 3,
            "n_patches": 5,
            "n_instances": 9,
            "images": [dict.fromkeys(tables.METRICS, v) for v in (0.2, 0.4)],
        }
    ]
    table = tables.results_table(P, models)
    assert len(table) == len(tables.METRICS)
    assert table["value"].tolist() == pytest.approx([0.3] * len(table))
    assert table["std"].tolist() == pytest.approx([0.1] * len(table))
    choice = Choice("dq_graphcut", 0.1, 3, np.array([1]))
    covered = tables.coverage_table(P, [choice], [{"cells_hit": 0.5, "instances": 7}])
    assert covered["value"].tolist() == [0.5, 7]
    assert set(covered["method"]) == {"DQ, graph cut"}
    assert set(covered["rate"]) == {10.0}


def test_intervals_of_differences_match_a_published_t_table():
    # Four differences with mean 1 and standard deviation 1: half width 3.182 / 2.
    values = 1 + np.array([-1, -1, 1, 1]) * np.sqrt(3 / 4)
    rows = [row("random", 1, s, 0.5) for s in range(4)]
    rows += [row("k-center", 1, s, 0.5 + v) for s, v in enumerate(values)]
    found = tables.differences(tidy(rows), "dice").iloc[0]
    assert found["mean"] == pytest.approx(1)
    assert found["low"] == pytest.approx(1 - 3.182 / 2, abs=1e-3)
    assert tables.for_a_lab({"this run": tidy(rows)}).count("k-center") == 2


def test_words_for_the_reader_count_decided_comparisons():
    rows = [row("random", r, s, 0.5 + 0.01 * s) for r in (1, 5) for s in range(3)]
    for method, shift in (("herding", 0.1), ("k-center", -0.1)):
        rows += [row(method, r, s, 0.5 + shift + 0.011 * s) for r in (1, 5) for s in range(3)]
    said = tables.for_a_lab({"this run": tidy(rows)})
    assert "of 4 comparisons" in said
    assert "2 came out clearly better, 2 clearly worse and 0 within" in said


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"features": "resnet"}, "features"),
        ({"methods": ["dq"]}, "methods"),
        ({"rates": []}, "rates"),
    ],
)
def test_bad_parameters_are_named(values, named):
    with pytest.raises(ParameterError, match=f"parameter '{named}'"):
        Parameters.check(values)


def test_a_source_without_seeds_has_no_differences():
    cyto = published("coreset")
    assert not len(tables.differences(cyto[cyto["dataset_train"] == "Cyto"], "dice"))
    assert isinstance(tables.by_method(cyto, ("dice",)), pd.DataFrame)
