"""The chapters on stopping: parameters, and rules applied to results made by hand."""

import numpy as np
import pandas as pd
import pytest

from helpers.book import runner
from helpers.chapters import results
from helpers.chapters.claims import judge
from helpers.chapters.stopping import run as work
from helpers.chapters.stopping import tables, words
from helpers.chapters.stopping.claims import CLAIMS
from helpers.chapters.stopping.parameters import Parameters
from helpers.chapters.stopping.run import Found
from helpers.chapters.stopping.tables import (
    FULL,
    NONE,
    ONLINE,
    ORACLE,
    OTHERS,
    RANDOM,
    ROBUST,
    WATCHED,
)
from helpers.errors import ParameterError
from helpers.transferability.judging import means_over_set_ups, over_set_ups

EPOCHS = [0, 1, 2, 4]
SEEDS = [0, 1]
# Dice by epoch and seed, loss of the score by epoch: the rule takes epoch 2, the best is epoch 4.
DICE = np.array([[0.40, 0.44], [0.50, 0.52], [0.60, 0.58], [0.68, 0.72]])
LOSS = [0.5, 0.4, 0.2, 0.3]


@pytest.fixture
def parameters():
    return Parameters.check(
        {
            "epochs": 4,
            "checkpoints": [1, 2, 4],
            "seeds": SEEDS,
            "frozen": [False],
            "pairings": ["published"],
        }
    )


def one_score(loss):
    row = {"distance": "cosine", "pooled": True, "from_top": 1, "margin": 0.5, "loss": loss}
    row |= {"low": loss - 0.1, "high": loss + 0.1}
    return {"robustness": [row], "estimators": {"logme": -loss}, "undefined": {}}


def made_up(start_loss=0.5):
    losses = [start_loss, *LOSS[1:]]
    model = {
        "mean_jaccard": 0.3,
        "pooled_dice": 0.5,
        "n_cases": 3,
        "dice": {"disc": 0.5},
        "jaccard": {"disc": 0.25},
    }
    transfers = {
        (seed, epoch, False): model | {"mean_dice": DICE[row, column]}
        for row, epoch in enumerate(EPOCHS)
        for column, seed in enumerate(SEEDS)
    }
    epochs = [{"epoch": e, "accuracy": 0.1 * e, "loss": None, "seconds": 1.0} for e in range(5)]
    online = {
        "epochs": epochs[:4],
        "chosen": 2,
        "notes": {
            "robustness_losses": [start_loss, 0.4, 0.2, 0.25],
            "look_seconds": [0.5, 0.25, 0.25, 0.25],
        },
        "train_seconds": 3.0,
    }
    found = Found(
        {(s, e, "published"): one_score(losses[i]) for s in SEEDS for i, e in enumerate(EPOCHS)},
        transfers,
        dict.fromkeys(SEEDS, online),
        {(s, False): model | {"mean_dice": DICE[2, i]} for i, s in enumerate(SEEDS)},
    )
    return found, {seed: {"epochs": epochs, "train_seconds": 4.0} for seed in SEEDS}


@pytest.fixture
def table(parameters):
    found, pretrainings = made_up()
    return tables.results_table(parameters, pretrainings, {"task": None}, {"task": found})


@pytest.mark.parametrize(
    ("rule", "reached", "saved"),
    [
        (ROBUST, DICE[2], 0),
        (FULL, DICE[3], 0),
        (ORACLE, DICE[3], 0),
        (NONE, DICE[0], 1),
        (OTHERS, DICE[3], 0),
        (RANDOM, DICE[1:].mean(axis=0), 0),
        (ONLINE, DICE[2], 0.25),
        (WATCHED, DICE[2], 0.25),
        ("highest LogME", DICE[2], 0),
        ("highest source accuracy", DICE[3], 0),
    ],
)
def test_rules_take_the_checkpoints_they_should(table, rule, reached, saved):
    regret = DICE[3] - reached
    np.testing.assert_allclose(tables.values(table, rule), 1 - regret / 0.7)
    np.testing.assert_allclose(tables.values(table, rule, "regret"), regret, atol=1e-12)
    np.testing.assert_allclose(tables.values(table, rule, "compute_saved"), saved)


def test_a_random_start_that_is_more_robust_is_kept_when_watched(parameters):
    found, pretrainings = made_up(start_loss=0.1)
    table = tables.results_table(parameters, pretrainings, {"task": None}, {"task": found})
    for rule, reached in ((WATCHED, DICE[0]), (ONLINE, DICE[2])):
        np.testing.assert_allclose(tables.values(table, rule), 1 - (DICE[3] - reached) / 0.7)


def test_verdicts_follow_their_rules(table):
    outcomes = [judge(claim, table).outcome for claim in CLAIMS]
    no, yes = "does not hold", "holds"
    assert outcomes == [no, no, yes, no, no, no, yes, no, no, "not tested here"]


def test_ties_are_not_called_better(parameters):
    """All checkpoints alike: nothing outperforms anything, and every TIS is 1."""
    found, pretrainings = made_up()
    for models in (found.transfers, found.online_transfers):
        for model in models.values():
            model["mean_dice"] = 0.5
    table = tables.results_table(parameters, pretrainings, {"task": None}, {"task": found})
    for claim in CLAIMS:
        expected = "holds" if claim.threshold == 0.98 else "does not hold"
        assert judge(claim, table).outcome in (expected, "not tested here"), claim.text


def test_recorded_profiles_stay_apart(table, monkeypatch):
    recorded = pd.concat([table.assign(profile="real"), table.assign(profile="gpu")])
    monkeypatch.setattr(results, "recorded", lambda name: recorded)
    found = results.by_source("stopping", table)
    assert list(found) == ["recorded, real", "recorded, gpu", "this run"]
    assert all(len(one) == len(table) for one in found.values())


def test_views_of_the_table(table):
    rules = tables.rules_table(table).set_index("rule")
    assert rules.loc[FULL, "regret (Dice points)"] == "0.0"
    assert rules.loc[ROBUST, "rank correlation"] == "-0.80"
    [row] = tables.classes_table(table).to_dict("records")
    assert (row["class"], row["encoder"]) == ("disc", "fine-tuned")
    assert (row["Dice, full"], row["Jaccard, no pretraining"]) == ("0.500", "0.250")
    online = tables.online_table(table)
    assert online["epoch chosen"].tolist() == [2, 2]
    assert online["pretraining saved"].tolist() == ["25%", "25%"]
    assert online["Dice against full"].tolist() == ["-0.080", "-0.140"]
    assert rules.loc[ORACLE, "TIS"] == "1.000"
    assert "task 3" in words.describe_cases({"this run": table})
    assert len(tables.curves(table, "task")) == 2 * len(EPOCHS) * len(SEEDS) + len(EPOCHS) * 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"checkpoints": [2, 1, 8]}, "must ascend"),
        ({"checkpoints": [1, 2]}, "end with epochs=6"),
        ({"pairings": ["all repairs"]}, "'published' among them"),
        ({"pairings": ["published", "better"]}, "must be of published"),
        ({"seeds": [1, 1]}, "none twice"),
        ({"least": 9}, "must not be above epochs=6"),
    ],
)
def test_impossible_parameters_are_refused(values, message):
    with pytest.raises(ParameterError, match=message):
        Parameters.check(values)


def test_values_by_seed_have_the_mean_over_set_ups():
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=5) for _ in range(6)]
    rows[2][3] = np.nan
    assert means_over_set_ups(rows).mean() == pytest.approx(over_set_ups(rows).mean)


def test_time_spent_counts_epochs_and_looks():
    found, pretrainings = made_up()
    spent = words.time_spent(pretrainings, {"fundus": found})
    assert spent["full"] == {"epochs": 4, "train_seconds": 4.0}
    assert spent["stopped"]["fundus"] == {
        "epochs": 3.0,
        "train_seconds": 3.0,
        "look_seconds": 1.25,
    }
    line = words.describe_time({"this run": spent}).splitlines()[-1]
    assert line == (
        "- **fundus** (this run): 3.0 of 4 epochs, 4 of 4 s, 1.2 s of them for the looks."
    )


def test_another_file_in_a_source_folder_is_another_pretraining_and_another_run(tmp_path):
    (tmp_path / "train/cat").mkdir(parents=True)
    parameters = Parameters.check({"profile": "laptop", "source": str(tmp_path)})
    before = work.pretraining(parameters, 0), runner._data_fingerprint(parameters.model_dump())
    (tmp_path / "train/cat/a.png").write_bytes(b"")
    work._source_content.cache_clear()
    after = work.pretraining(parameters, 0), runner._data_fingerprint(parameters.model_dump())
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_an_epoch_that_is_transferred_anyway_is_not_transferred_twice(parameters):
    stop = work.stopped(parameters, 1)
    assert work._start_of_chosen(parameters, stop, 2) == work.pretraining(parameters, 1)
    assert work._start_of_chosen(parameters, stop, 3) == stop
