import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from helpers.errors import DataError, ParameterError
from helpers.metrics.detection import average_precision
from helpers.models.cascade import anchor_backbone, build_detector, predict_instances
from helpers.training.detection import (
    DetectionPlan,
    DetectorTraining,
    learning_rate_at,
    train_detector,
)
from tests.models.tiny_detector import EMPTY, SCENES, SPEC, spec

PLAN = DetectionPlan(steps=6, batch_size=2, warmup=3, crop=64, flip="both", checkpoint_every=2)
DATA = [*SCENES, EMPTY]


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


class Killed(Exception):
    pass


def kill_at(step):
    def on_step(done, loss):
        if done == step:
            raise Killed

    return on_step


@pytest.fixture(scope="module")
def whole():
    model = build_detector(SPEC, 0)
    log = train_detector(model, DATA, PLAN, 0)
    return weights(model), log


@pytest.mark.slow
def test_three_images_are_learned_by_heart():
    model = build_detector(SPEC, 0)
    plan = DetectionPlan(steps=150, batch_size=3, learning_rate=0.02, warmup=20, flip="none")
    train_detector(model, SCENES, plan, 0)
    found = predict_instances(model, [image for image, _ in SCENES])
    scores = average_precision([objects for _, objects in SCENES], found)
    assert scores.boxes.ap > 0.9
    assert scores.masks.ap > 0.9


def test_parts_add_up(whole):
    log = whole[1]
    assert len(log.losses) == 6
    assert "anchor" not in log.parts
    np.testing.assert_allclose(np.sum(list(log.parts.values()), axis=0), log.losses, rtol=1e-5)
    assert log.seconds > 0


@pytest.mark.parametrize("killed", [3, 4])
def test_a_killed_training_goes_on_as_if_it_had_not_been(whole, tmp_path, killed):
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(Killed):
        train_detector(build_detector(SPEC, 0), DATA, PLAN, 0, path, kill_at(killed))
    assert path.is_file()
    model = build_detector(SPEC, 0)
    log = train_detector(model, DATA, PLAN, 0, path)
    assert same(weights(model), whole[0])
    assert log.losses == whole[1].losses
    assert log.parts == whole[1].parts


def test_another_seed_is_another_training(whole):
    model = build_detector(SPEC, 0)
    log = train_detector(model, DATA, PLAN, 1)
    assert log.losses[0] != whole[1].losses[0]


def test_stopping_in_between_changes_nothing(whole):
    training = DetectorTraining(build_detector(SPEC, 0), DATA, PLAN, 0)
    training.run(2)
    assert training.done == 2
    training.run(1)
    training.run()
    training.run(5)
    assert training.log.losses == whole[1].losses
    assert same(weights(training.model), whole[0])


def test_momentum_can_be_dropped_in_between(whole):
    training = DetectorTraining(build_detector(SPEC, 0), DATA, PLAN, 0)
    training.run(3)
    training.forget_momentum()
    training.run()
    assert training.log.losses[:4] == whole[1].losses[:4]
    assert training.log.losses[4:] != whole[1].losses[4:]


def test_a_state_can_be_restored_by_an_equal_training(whole):
    first = DetectorTraining(build_detector(SPEC, 0), DATA, PLAN, 0)
    first.run(3)
    second = DetectorTraining(build_detector(SPEC, 0), DATA, PLAN, 0)
    second.restore(first.state())
    second.run()
    assert same(weights(second.model), whole[0])


def test_an_anchored_backbone_stays_nearer():
    def distance_after(weight):
        model = build_detector(SPEC, 0)
        anchor = anchor_backbone(model, weight)
        log = DetectorTraining(model, DATA, PLAN, 0, anchor=anchor).run()
        return anchor.squared_distance().item(), log

    loose, _ = distance_after(0.0)
    tight, log = distance_after(10.0)
    assert 0 < tight < 0.8 * loose
    penalties = log.parts["anchor"]
    assert penalties[0] == 0 < penalties[-1]
    detector = [values for name, values in log.parts.items() if name != "anchor"]
    np.testing.assert_allclose(np.sum(detector, axis=0), log.losses, rtol=1e-5)


def test_the_rate_rises_and_falls_along_half_a_cosine():
    plan = DetectionPlan(steps=30, learning_rate=1.0, warmup=4)
    rates = [learning_rate_at(step, plan) for step in range(30)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[17] == pytest.approx(0.5)
    assert rates[29] == pytest.approx((1 + math.cos(math.pi * 25 / 26)) / 2)


def test_the_gradient_is_bounded(monkeypatch):
    monkeypatch.setattr("helpers.training.detection.CLIP_NORM", 0.1)
    plan = dataclasses.replace(PLAN, steps=1, warmup=1, learning_rate=1.0, weight_decay=0.0)
    model = build_detector(SPEC, 0)
    before = weights(model)
    train_detector(model, DATA, plan, 0)
    trained = [name for name, _ in model.named_parameters()]
    after = model.state_dict()
    moved = sum(((after[name] - before[name]) ** 2).sum().item() for name in trained) ** 0.5
    assert moved == pytest.approx(0.1, rel=1e-3)


def test_frozen_statistics_do_not_move():
    model = build_detector(spec(batch_norm="frozen"), 0)
    before = weights(model)
    train_detector(model, DATA, dataclasses.replace(PLAN, steps=2), 0)
    layers = {
        f"backbone.body.{name}"
        for name, module in model.backbone.body.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    }
    after = model.state_dict()
    frozen = [name for name in after if name.rsplit(".", 1)[0] in layers]
    assert len(frozen) == 5 * len(layers)
    assert all(torch.equal(after[name], before[name]) for name in frozen)


def test_a_loss_that_is_not_finite_is_an_error_that_says_what_to_do():
    model = build_detector(SPEC, 0)
    with torch.no_grad():
        model.roi_heads.mask_predictor.mask_fcn_logits.bias.fill_(float("nan"))
    with pytest.raises(ParameterError, match=r"diverged at step 0.*loss_mask.*learning_rate"):
        train_detector(model, SCENES, dataclasses.replace(PLAN, crop=0), 0)


def test_a_training_without_any_object_runs():
    model = build_detector(SPEC, 0)
    log = train_detector(model, [EMPTY], dataclasses.replace(PLAN, steps=2), 0)
    assert log.parts["loss_mask"] == [0, 0]
    assert np.isfinite(log.losses).all()


def test_the_checkpoint_of_another_training_is_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    plan = dataclasses.replace(PLAN, steps=2)
    train_detector(build_detector(SPEC, 0), DATA, plan, 0, path)
    model = build_detector(SPEC, 0)
    others = [
        (model, DATA, plan, 1),
        (model, DATA[:3], plan, 0),
        (build_detector(SPEC, 1), DATA, plan, 0),
    ]
    for other in others:
        with pytest.raises(DataError, match="not a checkpoint of this training"):
            train_detector(*other, path)
