"""Checkpoints scored, transferred and stopped, on the smallest scale that shows it."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from helpers.experiments import stopping
from helpers.experiments.pretrained import GENERATED, Pretraining, Source, run_pretraining
from helpers.experiments.stopping import (
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
from helpers.transferability.robustness import robustness

PLAN = SupervisedPlan(epochs=3, batch_size=16, learning_rate=2e-3, checkpoints=(1, 2, 3))
PRETRAINING = Pretraining(Source(GENERATED, 64, 32, 32), "unet-4", PLAN, seed=0)
FITTING = SemanticPlan(steps=4, batch_size=4, looks=2)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    settings = TaskSettings("synthetic-cardiac", 36, 32, 0.3, 0.25, 0)
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


def test_scores_are_those_of_the_method(pretrained, task, tmp_path):
    folder, _ = pretrained
    result = run_scoring(Scoring(PRETRAINING, 2, n_images=8), tmp_path, task, lambda start: folder)
    [loss] = [
        one["loss"]
        for one in result["robustness"]
        if (one["distance"], one["pooled"], one["from_top"], one["margin"])
        == ("cosine", True, 1, 0.5)
    ]
    saved = load_encoder(encoder_path(folder, 2))
    images, _ = stopping._drawn(task.part("train"), 8, 0)
    expected = robustness(
        lambda x: forward_levels(saved.encoder, normalise(x, saved.mean, saved.std)),
        images,
        torch.Generator().manual_seed(0),
    )
    assert loss == pytest.approx(expected.loss, abs=1e-6)
    assert len(result["robustness"]) == 3 * 2 * 5 * 5
    assert len(result["estimators"]) + len(result["undefined"]) == 7
    assert all(np.isfinite(value) for value in result["estimators"].values())


@pytest.mark.parametrize("pairing", [name for name in stopping.PAIRINGS if name != "published"])
def test_repaired_pairings_give_other_scores(pretrained, task, tmp_path, pairing):
    folder, _ = pretrained
    one, other = (
        run_scoring(Scoring(PRETRAINING, 2, name, n_images=12), tmp_path, task, lambda s: folder)
        for name in ("published", pairing)
    )
    assert "estimators" not in other
    losses = [[row["loss"] for row in r["robustness"] if row["margin"] == 1] for r in (one, other)]
    assert not np.allclose(*losses)


def transfer(epoch, frozen, **changes):
    return Transfer(PRETRAINING, epoch, frozen, FITTING, seed=0, decoder_width=4, **changes)


def test_transfer_starts_from_its_checkpoint(pretrained, task, tmp_path):
    folder, _ = pretrained
    results = [
        run_transfer(transfer(epoch, True), tmp_path, task, lambda start: folder)
        for epoch in (0, 3, 3)
    ]
    # Frozen encoders of other epochs give other losses, equal ones the same numbers.
    assert results[0]["losses"] != results[1]["losses"]
    assert results[1]["losses"] == results[2]["losses"]
    assert set(results[0]["dice"]) == set(task.classes)
    assert 0 <= results[0]["mean_dice"] <= 1
    with np.load(tmp_path / "examples.npz") as kept:
        assert kept["masks"].shape[1:] == (32, 32)


def test_selection_looks_at_validation_unless_told_to_look_at_test(pretrained, task, tmp_path):
    folder, _ = pretrained
    looks = {
        name: run_transfer(transfer(1, False, selection=name), tmp_path, task, lambda s: folder)
        for name in ("best_validation", "test", "last")
    }
    assert looks["last"]["kept"] == FITTING.steps
    best, own = (
        max(check["dice"] for check in looks[name]["checks"])
        for name in ("best_validation", "test")
    )
    assert looks["test"]["checks"] != looks["best_validation"]["checks"]
    assert looks["test"]["pooled_dice"] == pytest.approx(own, abs=1e-6)
    assert 0 <= best <= 1


@pytest.fixture(scope="module")
def long():
    plan = replace(PLAN, epochs=6, checkpoints=(1, 2, 3, 4, 5, 6))
    return replace(PRETRAINING, plan=plan)


@pytest.mark.parametrize("patience", [1, 2])
def test_online_stopping_stops_and_chooses_as_the_rule_says(long, task, tmp_path, patience):
    rule = StoppingRule(patience)
    trial = StoppedPretraining(long, rule, n_images=8)
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
    trial = StoppedPretraining(long, StoppingRule(1), n_images=8)
    run_online(trial, tmp_path / "online", task, tmp_path)
    run_pretraining(long, tmp_path / "full", tmp_path)
    seen, full = (
        load_encoder(encoder_path(tmp_path / name, 1)).encoder.state_dict()
        for name in ("online", "full")
    )
    assert all(torch.equal(seen[name], full[name]) for name in full)


def test_a_killed_online_run_goes_on_with_its_memory(long, task, tmp_path, monkeypatch):
    trial = StoppedPretraining(long, StoppingRule(6), n_images=8)
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


def test_online_and_full_starts_can_both_be_transferred(long, task, tmp_path):
    trial = StoppedPretraining(long, StoppingRule(1), n_images=8)
    result = run_online(trial, tmp_path, task, tmp_path)
    one = replace(transfer(result["chosen"], False), start=trial)
    found = run_transfer(one, tmp_path, task, partial(lambda start, path: path, path=tmp_path))
    assert found["n_cases"] == task.counts["test"][1]
