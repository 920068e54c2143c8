import json

import numpy as np
import pytest

from helpers.chapters.claims import judge
from helpers.chapters.initialisation import significance, words
from helpers.chapters.initialisation.claims import CLAIMS, domain_leads
from helpers.chapters.initialisation.parameters import Parameters
from helpers.chapters.starting import run, tables
from helpers.errors import ParameterError
from helpers.experiments.foreground import Pictures

STARTS = ["random", "supervised-natural", "barlow-natural", "barlow-tissue"]
IMAGES = [("p1", "a"), ("p1", "b"), ("p2", "c"), ("p3", "d"), ("p4", "e"), ("p5", "f")]


class Known:
    """A task of which only the numbers of images and the test masks are asked for."""

    def __init__(self) -> None:
        self.counts = {"train": [10, 5], "validation": [2, 2], "test": [6, 5]}
        self.content = ""

    def part(self, name):
        mask = np.zeros((4, 4), np.uint8)
        mask[0] = 1
        return Pictures([], [mask], ["a"], ["p"], [""])


def made(dice, spread=0.0, budgets=("steps",)):
    """A results table whose Dice is ``dice(start, dataset, share, seed)`` plus noise by image."""
    parameters = Parameters.check(
        {
            "glands": ["glas"],
            "nuclei": ["monuseg"],
            "starts": STARTS,
            "shares": [0.1, 1.0],
            "seeds": [0, 1, 2],
            "budgets": list(budgets),
        }
    )
    names = ["glas", "monuseg"]
    rng = np.random.default_rng(0)
    offsets = dict(zip([name for _, name in IMAGES], rng.normal(0, 0.05, 6), strict=True))
    found = {}
    for arm in run.arms(parameters, names):
        mean = dice(arm.start, arm.dataset, arm.share, arm.seed)
        values = [mean + offsets[name] + spread * rng.normal() for _, name in IMAGES]
        one = {
            "ids": [name for _, name in IMAGES],
            "groups": [group for group, _ in IMAGES],
            "dice": values,
            "jaccard": [v / (2 - v) for v in values],
        }
        checks = [{"step": s, "test_dice": mean * s / 60} for s in (30, 60)]
        found[arm] = {"images": {arm.dataset: one}, "checks": checks}
    return tables.results_table("initialisation", parameters, dict.fromkeys(names, Known()), found)


def as_published(start, dataset, share, seed):
    """Dice as the paper tells it."""
    base = 0.6 + 0.25 * share + (0.01 * (seed - 1) if share < 1 else 0.002 * (seed - 1))
    if dataset == "monuseg":
        return base - (0.02 if start == "barlow-tissue" else 0)
    gain = {"random": 0.0, "supervised-natural": 0.03, "barlow-natural": 0.04}.get(start, 0.1)
    if share == 1 and start == "supervised-natural":
        gain = 0.35
    return base + gain * (1.1 - share)


def test_scores_are_means_over_images():
    table = made(lambda *_: 0.7)
    found = tables.scores(table, "glas")
    rows = table[(table["table"] == "images") & (table["dataset_train"] == "glas")]
    one = rows[(rows["method"] == "random") & (rows["rate"] == 10) & (rows["seed"] == 0)]
    assert len(one) == 6
    assert found.loc[("random", 10.0), 0] == pytest.approx(one["value"].mean())
    assert tables.group_of(one["note"].iloc[0]) == "p1"
    assert list(tables.shares_of(table)) == [10.0, 100.0]


def test_claims_hold_where_the_numbers_are_as_published():
    table = made(as_published)
    outcomes = {claim.text: judge(claim, table).outcome for claim in CLAIMS}
    assert set(list(outcomes.values())[:11]) == {"holds"}, outcomes


def test_claims_fail_where_the_numbers_are_reversed():
    table = made(lambda *arm: 1.2 - as_published(*arm))
    outcomes = [judge(claim, table).outcome for claim in CLAIMS[:8]]
    assert outcomes.count("holds") <= 1


def test_claims_without_their_starts_or_data_are_not_tested():
    table = made(as_published)
    glands_alone = table[table["dataset_train"] == "glas"]
    without_domain = table[table["method"] != "barlow-tissue"]
    for claim in CLAIMS:
        if claim.text.startswith("Nuclei"):
            assert judge(claim, glands_alone).outcome == "not tested here"
    for claim in (CLAIMS[4], CLAIMS[5], CLAIMS[6], CLAIMS[9]):
        assert judge(claim, without_domain).outcome == "not tested here"


def test_comparisons_see_what_is_there():
    table = made(as_published, spread=0.002)
    pairs = significance.compare_starts(table, ["glas", "monuseg"], n_resamples=300)
    assert len(pairs) == 2 * 2 * 3
    [one] = [p for p in pairs if (p.dataset, p.share, p.second) == ("glas", 10.0, "random")]
    assert one.first == "barlow-tissue"
    assert one.found.difference.mean == pytest.approx(0.1, abs=0.01)
    assert significance.excludes_zero(one)
    # Five patients: the smallest two-sided p is 2 / 2**5, and Holm's correction only adds to it.
    assert one.p >= one.found.images.p >= 2 / 2**5
    assert one.found.runs.p == pytest.approx(2 / 2**3)


def test_equal_starts_cannot_be_told_apart():
    table = made(lambda *_: 0.7, spread=0.03)
    pairs = significance.compare_starts(table, ["glas"], n_resamples=300)
    assert significance.first_indistinct(pairs, "glas", "random") == 10.0
    shown = significance.significance_table(pairs)
    assert len(shown) == 6
    assert not shown.isna().any().any()
    assert "cannot be told apart" in words.describe_significance(pairs)


def test_power_is_said_plainly():
    text = significance.describe_power(made(as_published, spread=0.02), ["glas"])
    assert "below 0.25: it can call nothing significant at 5%" in text
    assert "0.0625" in text
    assert "80% power" in text


def test_nothing_is_compared_where_no_start_knows_the_domain():
    table = made(as_published)
    table = table[table["method"] != "barlow-tissue"]
    assert significance.compare_starts(table, ["glas"]) == []
    assert "nothing to compare" in words.describe_significance([])


def test_the_best_of_the_others_is_one_start_and_not_the_best_of_every_seed():
    by_seed = {"random": (0.1, 0.1, 0.1), "supervised-natural": (0.5, 0.7, 0.6)}
    by_seed |= {"barlow-natural": (0.7, 0.5, 0.5), "barlow-tissue": (0.65, 0.65, 0.65)}
    table = made(lambda start, dataset, share, seed: by_seed[start][seed])
    np.testing.assert_allclose(domain_leads("glands")(table), [0.15, -0.05, 0.05])


def test_every_pixel_an_object_is_the_mark_to_beat():
    table = made(as_published)
    # A quarter of the pixels: precision 1/4, recall 1.
    assert tables.baseline(table, "glas") == pytest.approx(2 * 0.25 / 1.25)
    assert tables.baseline(table, "glas", "jaccard") == pytest.approx(0.25)
    assert np.isnan(tables.baseline(table, "crag"))
    assert tables.score_table(table, "glands").iloc[0]["100% of the images"] == "0.400"


@pytest.mark.parametrize(("dataset", "full"), [("synthetic-glands", 30), ("synthetic-histo", 10)])
def test_budgets_differ_for_shares_alone(dataset, full):
    parameters = Parameters.check(
        {"budgets": ["steps", "epochs"], "shares": [0.2, 1.0]}
        | {"gland_steps": 30, "nucleus_steps": 10}
    )
    arms = run.arms(parameters, [dataset])
    assert {arm.share for arm in arms if arm.budget == "epochs"} == {0.2}
    tasks = {dataset: Known()}
    steps = {
        (arm.budget, arm.share): run.fitting(parameters, tasks, arm, ()).plan.steps
        for arm in arms
        if arm.start == "random"
    }
    assert steps[("epochs", 0.2)] == round(0.2 * full)
    assert steps[("steps", 0.2)] == steps[("steps", 1.0)] == full


def test_a_lab_reads_the_best_start():
    text = words.for_a_lab({"this run": made(as_published)})
    assert "with 10% of the images `barlow-tissue` is best" in text


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"shares": [0.1, 0.5]}, "end with 1"),
        ({"starts": ["barlow-tissue"]}, "'random' must be among"),
        ({"glands": [], "nuclei": []}, "at least one data set"),
        ({"glands": ["a"], "nuclei": ["a"]}, "none twice"),
    ],
)
def test_impossible_parameters_are_refused(values, said):
    with pytest.raises(ParameterError, match=said):
        Parameters.check(values)


def test_no_start_begins_as_another_one():
    parameters = Parameters.check({"seeds": list(range(10))})
    made = [start.made_by.seed for start in run.starts(parameters).values() if start.made_by]
    assert len(made) == len(set(made)) == 3
    assert not set(made) & set(parameters.seeds)


def test_trials_of_a_chapter_are_plain_values():
    parameters = Parameters.check({})
    starts = run.starts(parameters)
    assert list(starts) == parameters.starts
    arm = run.arms(parameters, ["synthetic-glands"])[0]
    trial = run.fitting(parameters, {"synthetic-glands": Known()}, arm, ["synthetic-glands"])
    from dataclasses import asdict

    assert json.dumps(asdict(trial))
