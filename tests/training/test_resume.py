"""A training of any objective that is killed at a step and begun again ends with the same weights.

Each case is a training of few steps into a folder; it gives the weights it ends with and its log.
"""

import copy
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
import torch

from helpers.data.patches import PatchGrid
from helpers.models.cpnet import build_cpnet
from helpers.models.l2sp import Anchor
from helpers.replay import Mixer, controlled
from helpers.training.flows import Teacher, TrainingPlan, train
from helpers.training.loop import Looks
from helpers.training.semantic import train_segmenter
from helpers.training.targets import build_store
from tests.shapes import disc_sample
from tests.training import test_semantic as discs
from tests.training.killing import Killed, killed_in


@cache
def patches():
    samples = [disc_sample(str(i), 64, i) for i in range(4)]
    return build_store(samples, PatchGrid(64, 64, "drop"), Path(mkdtemp()) / "store")


def flows(folder, **changes):
    """All that holds a network back, and a share of replay that follows what is seen."""
    plan = TrainingPlan(6, 2, crop=32, checkpoint_every=2, **changes)
    mixer = Mixer(controlled([np.arange(2), np.arange(2, 4)], (0.5, 0.5)), 2, 0)

    def react(checks):
        mixer.set_shares((0.25, 0.75) if len(checks) > 1 else (0.5, 0.5))

    looks = Looks((0, 3, 6), lambda _, net: {"first": next(net.parameters()).sum()}, react)
    network = build_cpnet(2, 0)
    how = {"anchor": Anchor(network, 0.1), "teacher": Teacher(network, 0.5), "looks": looks}
    log = train(network, [patches()] * 2, mixer, plan, 0, checkpoint=folder / "c.pt", **how)
    return network.state_dict(), log


def flows_adamw(folder):
    return flows(folder, optimiser="adamw", schedule="cosine", learning_rate=3e-3)


def stacks(folder):
    """Dropout, and the best weights among what goes on."""
    network = discs.model(dropout=0.3)
    how = {"validation": discs.VALIDATION, "selection": "best_validation"}
    data = discs.IMAGES, discs.MASKS, discs.PLAN, 0
    log = train_segmenter(network, *data, checkpoint=folder / "c.pt", **how)
    return network.state_dict(), log


def windows(folder):
    network = discs.model(dropout=0.3)

    def measure(step, net):
        return {"own": float(next(net.parameters()).detach().sum())}

    how = {"validation": discs.HELD_BACK, "selection": "best_validation_loss", "on_look": measure}
    data = discs.PIECES, discs.PIECE_MASKS, replace(discs.WINDOWED, looks=6), 0
    log = train_segmenter(network, *data, checkpoint=folder / "c.pt", **how)
    return network.state_dict(), log


CASES = {one.__name__: one for one in (flows, flows_adamw, stacks, windows)}


def outcome(case, folder):
    """Weights and log without times."""
    folder.mkdir(exist_ok=True)
    weights, log = CASES[case](folder)
    return copy.deepcopy(weights), [(one.numbers, one.checks, one.kept) for one in logs_of(log)]


def logs_of(log):
    return log if isinstance(log, list) else [log]


def same(first, second):
    return list(first) == list(second) and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("case", CASES)
def test_a_killed_training_ends_with_the_same_weights(case, tmp_path):
    weights, log = outcome(case, tmp_path / "whole")
    for _ in range(2):  # and again in what follows
        with pytest.MonkeyPatch.context() as patch:
            killed_in(patch, 4)
            with pytest.raises(Killed):
                outcome(case, tmp_path / "parts")
        torch.manual_seed(123)  # draws of others do not matter
    again, same_log = outcome(case, tmp_path / "parts")
    assert same(weights, again)
    assert same_log == log
