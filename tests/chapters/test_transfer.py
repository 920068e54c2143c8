"""Tables, claims and figures of the chapters on transfer, on printed numbers and made-up ones."""

import numpy as np
import pandas as pd
import pytest

from helpers.chapters.claims import judge
from helpers.chapters.replay import claims as replay
from helpers.chapters.replay import words as replay_words
from helpers.chapters.transfer import tables
from helpers.chapters.transfer.parameters import TransferParameters
from helpers.chapters.zero_shot import claims as zero_shot
from helpers.experiments.curricula import ROLES


def outcome(claims, table, beginning):
    (found,) = [judge(claim, table) for claim in claims if claim.text.startswith(beginning)]
    return found


# Dice read off the printed tables by hand, put together by hand.
@pytest.mark.parametrize(
    ("claims", "chapters", "beginning", "value", "holds"),
    [
        (zero_shot.CLAIMS, ["zero-shot"], "Both models", 0.516, True),
        (zero_shot.CLAIMS, ["zero-shot"], "DQ retains", 0.516 - 0.530, True),
        (zero_shot.CLAIMS, ["zero-shot"], "The DQ model exhibits", 0.365 - 0.308, True),
        (replay.CLAIMS, ["replay"], "Using 100%", 0.817 - 0.459, True),
    ],
)
def test_the_rules_applied_to_the_printed_numbers(claims, chapters, beginning, value, holds):
    found = outcome(claims, tables.published(*chapters), beginning)
    assert found.value == pytest.approx(value, abs=1e-6)
    assert found.outcome == ("holds" if holds else "does not hold")


def test_our_own_claims_are_not_tested_by_the_paper():
    for claims, chapters, beginning in [
        (replay.CLAIMS, ["replay"], "Ours: an adaptive"),
        (replay.CLAIMS, ["replay"], "Selection by DQ"),
    ]:
        found = outcome(claims, tables.published(*chapters), beginning)
        assert found.outcome == "not tested here"


def rows(*cells, table="V", method="finetune", rate=None):
    """Rows from (path, tested domain, one Dice per seed)."""
    return pd.DataFrame(
        [
            {
                "chapter": "x",
                "table": table,
                "source": "this run",
                "profile": "test",
                "dataset_train": path,
                "dataset_test": test,
                "method": method,
                "rate": rate,
                "seed": seed,
                "metric": metric,
                "value": value,
                "std": 0.1,
                "n": 3,
                "note": "std over test images; source: a, target: b",
            }
            for path, test, *values in cells
            for metric in ("dice", "pq", "iou", "precision", "recall", "accuracy", "pq_paper")
            for seed, value in enumerate(values)
        ]
    )


def replay_table():
    none, both = "source -> target", "source -> source + target"
    parts = [rows(("source", "source", 0.9, 0.9), method="single")]
    parts.append(rows((none, "source", 0.1, 0.2), (none, "target", 0.8, 0.8), table="VIII",
                      method="none", rate=0))  # fmt: skip
    for method, kept in {"appended, random": 0.7, "appended, DQ, printed equation": 0.8,
                         "controlled, random": 0.6,
                         "controlled, DQ, printed equation": 0.8}.items():  # fmt: skip
        parts.append(rows((both, "source", kept, kept), (both, "target", 0.8, 0.7), table="VIII",
                          method=method, rate=10))  # fmt: skip
    parts.append(rows((both, "source", 0.8, 0.8), (both, "target", 0.7, 0.7), table="shares",
                      method="share 50%", rate=10))  # fmt: skip
    for method, source, target in (("L2-SP", 0.5, 0.5), ("distillation", 0.4, 0.8)):
        parts.append(rows((none, "source", source, source), (none, "target", target, target),
                          table="rivals", method=method))  # fmt: skip
    parts.append(rows((both, "source", 0.8, 0.8), (both, "target", 0.72, 0.72), table="rivals",
                      method="adaptive replay", rate=10))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def test_replay_is_judged_by_what_it_brings_back_and_what_it_costs():
    table = replay_table()
    value = {claim.text[:20]: judge(claim, table).value for claim in replay.CLAIMS}
    recovered = [(0.8 - 0.1) / 0.8, (0.8 - 0.2) / 0.7]
    assert value["Replaying just 5–10%"] == pytest.approx(np.mean(recovered))
    assert value["The target stays sta"] == pytest.approx(-0.05)
    # DQ minus random: 0.1 appended, 0.2 controlled.
    assert value["Selection by DQ make"] == pytest.approx(0.15)
    assert value["Ours: an adaptive sh"] == pytest.approx(0.76 - 0.75)
    assert value["Ours: replay is bett"] == pytest.approx(0.75 - 0.6)


def test_words_hold_the_numbers_of_their_source():
    table = replay_table()
    said = replay_words.for_a_lab({"this run": table})
    assert "10% of the source: 0.600 / 0.750" in said
    assert "0.150 / 0.800" in said
    shown = replay_words.rivals_table(table)
    assert "L2-SP" in set(shown["method"])


def model(path, seed=0):
    image = {"id": "x", **dict.fromkeys(("iou", "dice", "precision", "recall", "accuracy"), 0.5)}
    image |= dict.fromkeys(("pq_paper", "pq", "ap_50", "aji", "foreground_dice"), 0.4)
    images = {role: [image, {**image, "dice": 0.7}] for role in ROLES}
    check = {"step": 0, "replayed": 0.5, **dict.fromkeys(ROLES, 0.6)}
    own = {"domains": images, "checks": [check]}
    return {"method": " -> ".join(path), "rate": None, "seed": seed,
            "path": [[role] for role in path], **own, "history": [own] * len(path)}  # fmt: skip


def test_a_results_table_has_a_row_for_every_domain_and_metric():
    parameters = TransferParameters(target="monuseg")
    mixture = model(["source", "target"]) | {"path": [["source"], ["target", "source"]]}
    table = tables.results_table(parameters, "replay", "VIII", [mixture])
    assert len(table) == 3 * 10
    assert set(table["dataset_train"]) == {"source -> source + target"}
    dice = table[(table["metric"] == "dice") & (table["dataset_test"] == "third")].iloc[0]
    assert (dice["value"], dice["std"], dice["n"]) == (pytest.approx(0.6), pytest.approx(0.1), 2)
    assert "target: monuseg" in dice["note"]
    looks = tables.looks_table(parameters, "replay", [mixture])
    assert len(looks) == 4
    assert looks["rate"].eq(0).all()
