"""Four outcomes, intervals over seeds and test groups, and gates."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from helpers.book import results
from helpers.book.claims import (
    Claim,
    Gate,
    advice,
    competence,
    describe,
    difference,
    judge,
    show_verdicts,
)
from helpers.book.results import Cells
from helpers.metrics import student_interval

GATE = Gate("source", "pq", {"train": "s", "test": "s"}, {"test": "s"}, 0.02)


def cells(
    values: list[float],
    printed: bool = False,
    pq: float = 0.8,
    otsu: float = 0.6,
    dice: float = 0.9,
) -> Cells:
    seeds = [None] if printed else list(range(len(values)))
    found = [{"metric": "score", "value": v, "seed": s} for v, s in zip(values, seeds, strict=True)]
    found += [
        {"metric": "pq", "train": "s", "test": "s", "value": pq, "seed": 0},
        {"metric": "dice", "train": "s", "test": "s", "value": dice, "seed": 0},
        {"metric": "dice", "test": "s", "method": "every pixel", "value": 0.3},
        {"metric": "pq", "test": "s", "method": "Otsu", "value": otsu},
        {"metric": "pq", "test": "s", "method": "every pixel", "value": 0.1},
    ]
    table = pd.DataFrame(found).assign(table="t").astype({"seed": "Int64"})
    return Cells(table, printed=printed)


def claim(threshold: float, gates: tuple[str, ...] = ("source",)) -> Claim:
    return Claim("It is so.", "Table I", "Dice above.", lambda c: c("score"), threshold, gates)


@pytest.mark.parametrize(
    ("threshold", "outcome"), [(0.5, "holds"), (0.69, "undecided"), (0.9, "does not hold")]
)
def test_only_a_whole_interval_decides(threshold, outcome):
    values = [0.68, 0.72, 0.70, 0.69]
    verdict = judge(claim(threshold), cells(values), [GATE])
    assert verdict.outcome == outcome
    assert (verdict.low, verdict.high) == pytest.approx(student_interval(values))
    assert verdict.interval == "seeds"
    assert ("includes the threshold" in describe(verdict)) == (outcome == "undecided")


def test_printed_one_seed_and_none():
    printed = judge(claim(0.5), cells([0.7], printed=True), [GATE])
    assert (printed.outcome, printed.satisfied, printed.decided) == ("printed", True, False)
    assert judge(claim(0.5), cells([0.7]), [GATE]).outcome == "undecided"
    missing = Claim("x", "y", "z", lambda c: c("score", method="nobody"))
    assert judge(missing, cells([0.7])).outcome == "not tested"
    chosen = replace(missing, rule="Best in the other seeds.")
    assert "this run has one" in describe(judge(chosen, cells([0.7])))
    assert "no runs to which" in describe(judge(chosen, cells([0.7, 0.8])))


def test_models_that_learned_nothing_prove_nothing():
    verdict = judge(claim(0.5), cells([0.7, 0.71, 0.7], pq=0.61), [GATE])
    assert verdict.outcome == "not tested"
    assert "source PQ .61 (Otsu .60, every pixel .10)" in describe(verdict)
    # A claim about no trained model has no gate.
    assert judge(claim(0.5, ()), cells([0.7, 0.71, 0.7], pq=0.61), [GATE]).outcome == "holds"
    worse = judge(claim(0.5), cells([0.7, 0.71, 0.7], dice=0.25), [GATE])
    assert "Dice .25, every pixel .30" in describe(worse)
    without = cells([0.7, 0.71, 0.7])
    without.table = without.table[without.table["method"].isna()]
    assert judge(claim(0.5), without, [GATE]).outcome == "not tested"


def test_a_modality_in_which_models_fail_closes_the_gate_unless_it_is_rare():
    def look(n_bright: int):
        kinds = ["dark"] * 20 + ["bright"] * n_bright

        def part(columns: dict, dark: float, bright: float):
            scores = {"dark": dark, "bright": bright}
            return columns | {"test": "s"}, [
                {
                    "id": str(i),
                    "group": str(i),
                    "modality": kind,
                    "pq": scores[kind],
                    "dice": scores[kind],
                }
                for i, kind in enumerate(kinds)
            ]

        images = results.images_of(
            [
                part({"train": "s", "seed": 0}, 0.9, 0.0),
                part({"method": "Otsu"}, 0.6, 0.3),
                part({"method": "every pixel"}, 0.1, 0.1),
            ],
            ["pq", "dice"],
        ).assign(table="t")
        return GATE.look(Cells(results.table_of(images, ["pq", "dice"]), images))

    assert not look(5).passed
    assert "bright .00, without training .30" in str(look(5))
    assert look(1).passed
    assert look(1).rare


def test_every_data_set_must_pass_by_itself():
    rows = [
        {"metric": "dice", "value": v, "train": t, "test": t, "seed": 0, "table": "scores"}
        for t, v in (("a", 0.9), ("b", 0.6))
    ]
    rows += [{"metric": "dice", "value": 0.59, "test": t, "method": "Otsu", "table": "baseline"}
             for t in "ab"]  # fmt: skip
    source = Cells(pd.DataFrame(rows))
    model, plain = ({"table": name, "test": ...} for name in ("scores", "baseline"))
    gate = Gate("all", "dice", {**model, "train": ...}, plain, 0.02, each="test")
    assert replace(gate, each="").look(source).passed
    found = gate.look(source)
    assert not found.passed
    assert "b .60, without training .59" in str(found)


def test_a_difference_has_the_interval_of_claims_and_both_tests():
    parts = [
        ({"table": "t", "test": "s", "method": method, "seed": seed},
         [{"id": str(i), "group": str(i), "dice": 0.5 + gain + 0.01 * seed * i} for i in range(5)])
        for method, gain in (("one", 0.1), ("other", 0.0))
        for seed in (0, 1, 2)
    ]  # fmt: skip
    images = results.images_of(parts, ["dice"])
    source = Cells(results.table_of(images, ["dice"]), images)
    one, other = ({"test": "s", "method": method} for method in ("one", "other"))
    found = difference(source, "dice", one, other)
    assert [found[end] for end in ("difference", "low", "high")] == pytest.approx([0.1] * 3)
    # Five patients and three seeds: no smaller p is possible.
    assert found["p over groups"] == pytest.approx(2 / 2**5)
    assert found["p over seeds"] == pytest.approx(2 / 2**3)
    assert difference(source, "dice", one, {"method": "nobody"}) == {}


def test_interval_covers_with_groups_and_seeds():
    """Intervals hold the truth of simulated runs nearly always; those over seeds alone do not."""
    covered, student = 0, 0
    for trial in range(60):
        rng = np.random.default_rng(trial)
        groups, seeds = rng.normal(0, 0.1, 12), rng.normal(0, 0.02, 4)
        images = results.images_of(
            [
                (
                    {"table": "t", "test": "a", "seed": s},
                    [{"id": str(g), "group": str(g), "dice": 0.5 + groups[g] + shift}
                     for g in range(12)],
                )
                for s, shift in enumerate(seeds)
            ],
            ["dice"],
        )  # fmt: skip
        run = Cells(results.table_of(images, ["dice"]), images)
        verdict = judge(Claim("", "", "", lambda c: c("dice", test="a"), 0.5), run)
        assert verdict.interval == "seeds and test groups"
        covered += verdict.low <= 0.5 <= verdict.high
        low, high = student_interval(run("dice", test="a"))
        student += low <= 0.5 <= high
    assert covered >= 52 > student


def test_advice_speaks_of_decided_claims_only():
    claims = [claim(0.5), claim(0.69)]
    said = advice(
        claims,
        cells([0.68, 0.72, 0.70, 0.69]),
        [GATE],
        {1: {"holds": "Do it: {value}."}, 2: {"holds": "Never said."}},
    )
    assert "- Do it: 0.70." in said
    assert "Never said" not in said
    assert "(undecided)" in said
    nothing = advice(claims, cells([0.7, 0.7], pq=0.1), [GATE], {1: {"holds": "Never said."}})
    assert nothing.startswith("**Nothing is decided")


def test_cards_show_rule_date_and_outcome():
    changed = Claim("A < B", "T", "r", lambda c: c("score"), 0.5, (), "2026-11-30", "was wrong")
    html = show_verdicts([changed], {"this run": cells([0.7, 0.71])}, [GATE])._repr_html_()
    for text in ("A &lt; B", "2026-11-30", "was wrong", "book-verdict book-", "over 2 seeds"):
        assert text in html
    assert competence({"this run": cells([0.7])}, [GATE])["competent"].tolist() == ["yes"]
