"""Checkpoints scored, transferred and stopped, on the smallest scale that shows it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.book import runner
from helpers.book.claims import judge
from helpers.book.results import Cells
from helpers.chapters.stopping import CLAIMS, Parameters, numbers
from helpers.errors import ParameterError
from helpers.experiments import stopping
from helpers.experiments.pretrained import GENERATED, Pretraining, Source, run_pretraining
from helpers.experiments.stopping import (
    FULL,
    NONE,
    ONLINE,
    ORACLE,
    OTHERS,
    RANDOM,
    REAL,
    ROBUST,
    WATCHED,
    Found,
    Scoring,
    StoppedPretraining,
    Transfer,
    run_online,
    run_scoring,
    run_transfer,
)
from helpers.experiments.tasks import TaskSettings, prepare_task
from helpers.models.encoders import forward_levels, load_encoder, normalise
from helpers.pretraining.schedules import SupervisedPlan
from helpers.pretraining.supervised import encoder_path
from helpers.training.semantic import SemanticPlan
from helpers.transferability.judging import StoppingRule, stop_online
from helpers.transferability.robustness import Pairing, measure_pairs

PLAN = SupervisedPlan(epochs=3, batch_size=16, learning_rate=2e-3, checkpoints=(1, 2, 3))
PRETRAINING = Pretraining(Source(GENERATED, 64, 32, 32), "unet-4", PLAN, seed=0)
FITTING = SemanticPlan(steps=4, batch_size=4, looks=2)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    settings = TaskSettings("synthetic-cardiac", "classes", 36, 32, 0.3, 0, 0.25)
    return prepare_task(settings, tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained")
    return folder, run_pretraining(PRETRAINING, folder, folder)


def test_a_pretraining_keeps_its_checkpoints(pretrained):
    folder, result = pretrained
    assert result["kept"] == [0, 1, 2, 3]
    assert [record["epoch"] for record in result["epochs"]] == [0, 1, 2, 3]
    assert all(encoder_path(folder, epoch).is_file() for epoch in range(4))


def scored(pretrained, task, pairing="published", n_images=12):
    trial = Scoring(task.name, PRETRAINING, 2, pairing, n_images=n_images)
    return run_scoring(trial, load_encoder(encoder_path(pretrained[0], 2)), task)


def test_scores_are_those_of_the_method(pretrained, task):
    result = scored(pretrained, task, n_images=8)
    saved = load_encoder(encoder_path(pretrained[0], 2))
    part = task.part("train")
    rows = stopping._rows(len(part.images), 8, 0)
    pairs = measure_pairs(
        lambda x: forward_levels(saved.encoder, normalise(x, saved.mean, saved.std)),
        torch.from_numpy(np.stack(part.some(rows).images)),
        torch.Generator().manual_seed(0),
        Pairing(),
    )
    losses = np.maximum(0, pairs.positive - pairs.negative[:, 0] + 0.5)
    assert result["loss"] == pytest.approx(losses.mean(), abs=1e-6)
    assert result["low"] <= result["loss"] <= result["high"]
    assert len(result["estimators"]) + len(result["undefined"]) == 7
    assert all(np.isfinite(value) for value in result["estimators"].values())


@pytest.mark.parametrize("pairing", [name for name in stopping.PAIRINGS if name != "published"])
def test_repaired_pairings_give_other_scores(pretrained, task, pairing):
    other = scored(pretrained, task, pairing)
    assert "estimators" not in other
    assert other["loss"] != scored(pretrained, task)["loss"]


def transferred(pretrained, task, folder, epoch, frozen, **changes):
    trial = Transfer(task.name, PRETRAINING, epoch, frozen, FITTING, decoder_width=4, **changes)
    return run_transfer(trial, folder, load_encoder(encoder_path(pretrained[0], epoch)), task)


def test_transfer_starts_from_its_checkpoint(pretrained, task, tmp_path):
    found = [transferred(pretrained, task, tmp_path, epoch, True) for epoch in (0, 3, 3)]
    # Frozen encoders of other epochs give other losses, equal ones the same numbers.
    assert found[0]["losses"] != found[1]["losses"]
    assert found[1]["losses"] == found[2]["losses"]
    assert set(found[0]["dice"]) == set(task.classes)
    assert len(found[0]["cases"]) == task.counts["test"][1]
    with np.load(tmp_path / "examples.npz") as kept:
        assert kept["masks"].shape[1:] == (32, 32)


def test_selection_looks_at_validation_unless_told_to_look_at_test(pretrained, task, tmp_path):
    looks = {
        name: transferred(pretrained, task, tmp_path, 1, False, selection=name)
        for name in ("best_validation", "test", "last")
    }
    assert looks["last"]["kept"] == FITTING.steps
    assert looks["test"]["checks"] != looks["best_validation"]["checks"]


def test_predictors_without_training_are_the_best_single_class_and_a_threshold(task):
    found = stopping.measure_baselines(task)
    assert list(found) == ["every pixel"]
    part = task.part("test")
    (name, best), *others = sorted(found["every pixel"]["dice"].items(), key=lambda one: -one[1])
    assert all(dice == 0 for _, dice in others)
    shares = []
    for case in dict.fromkeys(part.groups):
        own = np.stack([m for g, m in zip(part.groups, part.labels, strict=True) if g == case])
        share = (own == 1 + task.classes.index(name)).mean()
        shares.append(2 * share / (share + 1))
    assert best == pytest.approx(np.mean(shares))
    binary = replace(task, classes=["bright"])
    bright = [np.uint8(image.mean(axis=0) > 0.5) for image in part.images]
    binary_part = replace(part, labels=bright)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(task), "part", lambda self, name: binary_part)
        assert list(stopping.measure_baselines(binary)) == ["Otsu", "every pixel"]


@pytest.fixture(scope="module")
def long():
    plan = replace(PLAN, epochs=6, checkpoints=(1, 2, 3, 4, 5, 6))
    return replace(PRETRAINING, plan=plan)


@pytest.mark.parametrize("patience", [1, 2])
def test_online_stopping_stops_and_chooses_as_the_rule_says(long, task, tmp_path, patience):
    rule = StoppingRule(patience)
    trial = StoppedPretraining(task.name, long, rule, n_images=8)
    folder = tmp_path / "online"
    result = run_online(trial, folder, task, tmp_path)
    losses = result["notes"]["robustness_losses"]
    stop = stop_online(losses, rule)
    assert len(losses) == len(result["epochs"]) == stop.seen + 1
    assert result["chosen"] == stop.chosen
    assert encoder_path(folder, stop.chosen).is_file()
    if result["stopped_at"] is None:
        assert stop.seen == 6
    else:
        assert stop.enough
        assert result["stopped_at"] == stop.seen
    # A rerun finds it finished and says the same.
    assert run_online(trial, folder, task, tmp_path) == result


def test_a_stopped_pretraining_is_the_beginning_of_the_full_one(long, task, tmp_path):
    trial = StoppedPretraining(task.name, long, StoppingRule(1), n_images=8)
    run_online(trial, tmp_path / "online", task, tmp_path)
    run_pretraining(long, tmp_path / "full", tmp_path)
    seen, full = (
        load_encoder(encoder_path(tmp_path / name, 1)).encoder.state_dict()
        for name in ("online", "full")
    )
    assert all(torch.equal(seen[name], full[name]) for name in full)


def test_a_killed_online_run_goes_on_with_its_memory(long, task, tmp_path, monkeypatch):
    trial = StoppedPretraining(task.name, long, StoppingRule(6), n_images=8)
    whole = run_online(trial, tmp_path / "whole", task, tmp_path)
    look = stopping._look

    def killed(*arguments):
        if arguments[-1].epoch == 3:
            raise KeyboardInterrupt
        return look(*arguments)

    monkeypatch.setattr(stopping, "_look", killed)
    with pytest.raises(KeyboardInterrupt):
        run_online(trial, tmp_path / "cut", task, tmp_path)
    monkeypatch.setattr(stopping, "_look", look)
    again = run_online(trial, tmp_path / "cut", task, tmp_path)
    assert again["notes"]["robustness_losses"] == whole["notes"]["robustness_losses"]
    assert len(again["notes"]["look_seconds"]) == len(whole["notes"]["look_seconds"])
    assert again["chosen"] == whole["chosen"]


# ------------------------------------------------------------------ rules, on results made by hand

EPOCHS, SEEDS = [0, 1, 2, 4], [0, 1]
# Dice by epoch and seed, loss of the score by epoch: the rule takes epoch 2, the best is epoch 4.
DICE = np.array([[0.40, 0.44], [0.50, 0.52], [0.60, 0.58], [0.68, 0.72]])
LOSS = [0.5, 0.4, 0.2, 0.3]
BY_HAND = Parameters(
    epochs=4,
    checkpoints=[1, 2, 4],
    seeds=SEEDS,
    frozen=[False],
    pairings=["published"],
    published="",
)


def made_up(start_loss=0.5, dice=DICE) -> Found:
    """Results of two cases, .1 below and above the mean."""
    losses = [start_loss, *LOSS[1:]]
    epochs = [{"epoch": e, "accuracy": 0.1 * e, "loss": None, "seconds": 1.0} for e in range(5)]
    notes = {"robustness_losses": [start_loss, 0.4, 0.2, 0.25], "look_seconds": [0.5, 0.25, 0.5]}
    online = {"epochs": epochs[:4], "chosen": 2, "notes": notes, "train_seconds": 3.0}

    def model(value: float) -> dict:
        return {"cases": {"a": value - 0.1, "b": value + 0.1}, "dice": {}, "jaccard": {}}

    return Found(
        tasks={},
        pretrainings={seed: {"epochs": epochs, "train_seconds": 4.0} for seed in SEEDS},
        scores={
            ("heart", seed, epoch, "published"): {"loss": loss, "low": 0.0, "high": 1.0}
            | {"estimators": {"logme": -loss}}
            for seed in SEEDS
            for epoch, loss in zip(EPOCHS, losses, strict=True)
        },
        online={("heart", seed): online for seed in SEEDS},
        transfers={
            ("heart", seed, epoch, False): model(dice[i, j])
            for i, epoch in enumerate(EPOCHS)
            for j, seed in enumerate(SEEDS)
        },
        chosen={("heart", seed, False): model(dice[2, j]) for j, seed in enumerate(SEEDS)},
    )


def cells(found: Found, p: Parameters = BY_HAND) -> Cells:
    """The chapter's numbers, its gate open."""
    found.tasks["heart"] = None
    with pytest.MonkeyPatch.context() as patch:
        nothing = {"every pixel": {"cases": {"a": 0.0, "b": 0.0}}}
        patch.setattr(stopping, "measure_baselines", lambda task: nothing)
        return Cells(*numbers(p, found))


def test_published_weights_are_one_more_checkpoint_and_change_nothing_else():
    """Epoch 5 stands for them: the best in Dice, and second to epoch 2 in the score's loss."""
    plain, found = cells(made_up()), made_up()
    for j, seed in enumerate(SEEDS):
        found.scores["heart", seed, 5, "published"] = {"loss": 0.25, "low": 0.0, "high": 1.0}
        found.scores["heart", seed, 5, "published"] |= {"estimators": {"logme": 1.0}}
        better = {"cases": {"a": 0.8 + 0.1 * j, "b": 0.9}, "dice": {}, "jaccard": {}}
        found.transfers["heart", seed, 5, False] = better
    c = cells(found, BY_HAND.model_copy(update={"published": "imagenet-lite0"}))
    rules = [one.table[one.table["table"] == "rules"].reset_index(drop=True) for one in (plain, c)]
    pd.testing.assert_frame_equal(*(one.dropna(axis=1, how="all") for one in rules))
    at = {"metric": "dice", "table": "with published", "test": "heart", "way": "fine-tuned"}
    chosen = {rule: c(**at, method=rule).tolist() for rule in (ROBUST, FULL, REAL, ORACLE)}
    assert chosen[ROBUST] == pytest.approx(DICE[2])
    assert chosen[FULL] == pytest.approx(DICE[3])
    assert chosen[REAL] == chosen[ORACLE] == pytest.approx([0.85, 0.9])
    assert c(**at, method="highest LogME").tolist() == chosen[REAL]
    transfer = c.where(table="transfer")
    assert transfer["weights"].dropna().unique().tolist() == ["imagenet-lite0"]
    assert transfer["epoch"].max() == 4


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
def test_rules_take_the_checkpoints_they_should(rule, reached, saved):
    c = cells(made_up())
    regret = DICE[3] - reached
    for metric, expected in {"dice": reached, "regret": regret, "tis": 1 - regret / 0.7}.items():
        np.testing.assert_allclose(c(metric, table="rules", method=rule), expected, atol=1e-12)
    np.testing.assert_allclose(c("saved", table="rules", method=rule), saved)
    assert c("rank_correlation", table="rules", method=ROBUST).mean() == pytest.approx(0.8)


def test_a_random_start_that_is_more_robust_is_kept_when_watched():
    c = cells(made_up(start_loss=0.1))
    for rule, reached in ((WATCHED, DICE[0]), (ONLINE, DICE[2])):
        np.testing.assert_allclose(c("dice", table="rules", method=rule), reached)


def test_ties_are_not_called_better():
    """All checkpoints alike: nothing outperforms anything."""
    c = cells(made_up(dice=np.full_like(DICE, 0.5)))
    outcomes = [judge(claim, c).outcome for claim in CLAIMS if claim.threshold == 0]
    assert set(outcomes) == {"undecided", "not tested"}


def test_time_spent_counts_epochs_and_looks():
    found = made_up()
    found.tasks["heart"] = None
    spent = stopping.time_spent(found)
    assert spent["full"] == {"epochs": 4, "train_seconds": 4.0}
    expected = {"epochs": 3.0, "train_seconds": 3.0, "look_seconds": 1.25}
    assert spent["stopped"]["heart"] == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"checkpoints": [2, 1, 8]}, "must ascend"),
        ({"checkpoints": [1, 2]}, "end with epochs=6"),
        ({"pairings": ["all repairs"]}, "'published' among them"),
        ({"pairings": ["published", "better"]}, "must be of published"),
        ({"least": 9}, "must not be above epochs=6"),
    ],
)
def test_impossible_parameters_are_refused(values, message):
    with pytest.raises(ParameterError, match=message):
        Parameters.check(values)


def test_another_file_in_a_source_folder_is_another_pretraining_and_another_run(tmp_path):
    (tmp_path / "train/cat").mkdir(parents=True)
    p = Parameters.check({"profile": "laptop", "source": str(tmp_path)})
    before = stopping.pretraining(p, 0), runner._data_fingerprint(p.model_dump())
    (tmp_path / "train/cat/a.png").write_bytes(b"")
    stopping._content.cache_clear()
    after = stopping.pretraining(p, 0), runner._data_fingerprint(p.model_dump())
    assert before[0] != after[0]
    assert before[1] != after[1]
