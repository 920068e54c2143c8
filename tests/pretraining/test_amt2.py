"""AMT2: what each side touches, what is recorded, and exact resumption wherever a run is killed."""

import dataclasses
import json
import threading

import numpy as np
import pytest
import torch
from filelock import FileLock
from torch import nn

from helpers.errors import DataError, ParameterError
from helpers.metrics.detection import average_precision
from helpers.models.cascade import anchor_backbone, build_detector, predict_instances
from helpers.models.encoders import load_encoder
from helpers.pretraining.amt2 import (
    detector_path,
    encoder_path,
    load_detector,
    pretrain_amt2,
)
from helpers.pretraining.moco import MocoPlan, pretrain_moco
from helpers.pretraining.supervised import channel_statistics
from helpers.training.detection import DetectionPlan, DetectorTraining, train_detector
from tests.models.tiny_detector import EMPTY, SCENES, SPEC, spec
from tests.pretraining.test_barlow_twins import Killed, files, kill_at, never, textures

CELLS = textures(20, 0)
SOURCE = [*SCENES, EMPTY]
TEST = [SCENES[0], EMPTY]
CONTRAST = MocoPlan(
    steps=6,
    batch_size=8,
    learning_rate=0.05,
    queue=16,
    dim=8,
    groups=2,
    checkpoint_every=2,
)
DETECTION = DetectionPlan(steps=6, batch_size=2, warmup=3, crop=64, flip="both", checkpoint_every=2)
# Of the plans above: three steps of (a), three of (b), and that twice.
ENDS = [[3, 6], [9, 12]]


def training(plan=DETECTION, weight=1.0, seed=0, data=SOURCE, of=SPEC):
    detector = build_detector(of, 0)
    anchor = None if weight is None else anchor_backbone(detector, weight)
    return DetectorTraining(detector, data, plan, seed, anchor=anchor)


def run(
    folder, rounds=2, plan=CONTRAST, on_step=None, cells=CELLS, seed=0, test=TEST[:1], task=None
):
    task = task or training()
    cells = cells if plan else None
    log = pretrain_amt2(task, cells, rounds, plan, seed, folder, source_test=test, on_step=on_step)
    return task.model, log


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first, second):
    return list(first) == list(second) and all(torch.equal(first[k], second[k]) for k in first)


def without_time(log):
    rounds = [dataclasses.replace(one, contrast_seconds=0, source_seconds=0) for one in log.rounds]
    return dataclasses.replace(log, rounds=rounds)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run: weights, log, and folder."""
    folder = tmp_path_factory.mktemp("whole")
    model, log = run(folder, test=TEST)
    return weights(model), log, folder


def outcome(folder, **options):
    model, log = run(folder, test=TEST, **options)
    return weights(model), without_time(log)


def test_the_log_says_what_happened(whole):
    _, log, folder = whole
    assert [one.ends for one in log.rounds] == ENDS
    assert log.kept == [0, 3, 6, 9, 12]
    assert files(folder) == [
        "detector-000012.pt",
        *(f"encoder-0000{step}.pt" for step in ("00", "03", "06", "09", "12")),
        "log.json",
    ]
    for one in log.rounds:
        assert len(one.contrast_losses) == len(one.matches) == len(one.source_losses) == 3
        parts = {name: values for name, values in one.source_parts.items() if name != "anchor"}
        np.testing.assert_allclose(np.sum(list(parts.values()), axis=0), one.source_losses, 1e-5)
        # The penalty is that of an anchor at the weights after (a): none before the first step.
        assert one.source_parts["anchor"][0] == 0 < one.source_parts["anchor"][1]
        assert min(one.contrast_seconds, one.source_seconds) > 0
    recorded = json.loads((folder / "log.json").read_text())
    assert recorded["finished"]
    assert recorded["log"] == dataclasses.asdict(log)


def anchored(path):
    """The encoder's parameters that are not a normalisation layer's, as one vector."""
    parts = [
        parameter.detach().flatten()
        for module in load_encoder(path).encoder.modules()
        if not isinstance(module, nn.BatchNorm2d)
        for parameter in module.parameters(recurse=False)
    ]
    return torch.cat(parts).double()


def test_distances_are_those_between_the_kept_weights(whole):
    _, log, folder = whole
    vectors = {step: anchored(encoder_path(folder, step)) for step in log.kept}
    start = 0
    for one in log.rounds:
        middle, end = one.ends
        assert one.moved == pytest.approx(float((vectors[middle] - vectors[start]).norm()), 1e-4)
        assert one.distance == pytest.approx(float((vectors[end] - vectors[middle]).norm()), 1e-4)
        assert one.anchor_norm == pytest.approx(float(vectors[middle].norm()), 1e-5)
        start = end
    extras = [load_encoder(encoder_path(folder, step)).extra for step in (0, 3, 12)]
    assert extras == [
        {"step": 0, "round": 0, "side": "start"},
        {"step": 3, "round": 1, "side": "contrast"},
        {"step": 12, "round": 2, "side": "source"},
    ]


def test_the_kept_file_holds_the_detector_at_the_end(whole):
    final, log, folder = whole
    model = build_detector(SPEC, 1)
    load_detector(detector_path(folder, 12), model)
    encoder = load_encoder(encoder_path(folder, 12))
    assert same(model.backbone.body.state_dict(), encoder.encoder.state_dict())
    assert (encoder.mean, encoder.std) == (SPEC.mean, SPEC.std)
    assert same(weights(model), final)
    found = predict_instances(model, [image for image, _ in TEST])
    scores = average_precision([objects for _, objects in TEST], found).as_dict()
    recorded = log.rounds[-1].source_scores
    assert {"box_ap", "mask_ap"} <= set(recorded) < set(scores)
    assert recorded == {name: scores[name] for name in recorded}
    with pytest.raises(DataError, match=r"detector-000003\.pt: is missing"):
        load_detector(detector_path(folder, 3), model)


@pytest.mark.parametrize("batch_norm", ["trained", "frozen"])
def test_contrast_moves_the_backbone_alone(tmp_path, batch_norm):
    task = training(of=spec(batch_norm=batch_norm))
    start, after = weights(task.model), {}

    def on_step(done, loss):
        after[done] = weights(task.model)

    # Measuring leaves the detector in evaluation mode.
    run(tmp_path, on_step=on_step, task=task)
    norms = {
        f"backbone.body.{name}"
        for name, module in task.model.backbone.body.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    }
    for before, now in ((start, after[3]), (after[6], after[9])):
        moved = {name for name in start if not torch.equal(before[name], now[name])}
        assert moved
        assert all(name.startswith("backbone.body.") for name in moved)
        of_norms = {name for name in moved if name.rsplit(".", 1)[0] in norms}
        assert bool(of_norms) == (batch_norm == "trained")
        if of_norms:
            assert {"weight", "running_mean"} <= {name.rsplit(".", 1)[1] for name in of_norms}
    outside = [name for name in start if name.startswith(("backbone.fpn", "roi_heads.box_heads"))]
    assert any(not torch.equal(after[3][name], after[6][name]) for name in outside)


def test_a_round_of_contrast_is_that_of_moco(tmp_path):
    mean, std = channel_statistics(CELLS)
    task = training(of=spec(mean=mean, std=std))
    log = run(tmp_path / "amt2", 1, task=task)[1]
    alone = pretrain_moco(CELLS, SPEC.backbone, CONTRAST, 0, tmp_path / "moco")
    assert log.rounds[0].contrast_losses == pytest.approx(alone.losses, rel=1e-3)
    ours, theirs = (
        load_encoder(encoder_path(tmp_path / name, 6)).encoder.state_dict()
        for name in ("amt2", "moco")
    )
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=1e-4)


def test_a_heavy_anchor_holds_the_backbone_where_contrast_left_it(tmp_path):
    longer = dataclasses.replace(DETECTION, steps=12, warmup=0)
    tight, loose = (
        run(tmp_path / str(weight), task=training(longer, weight))[1] for weight in (40.0, 0.0)
    )
    assert tight.rounds[0].distance < 0.3 * loose.rounds[0].distance
    for held, other in zip(tight.rounds, loose.rounds, strict=True):
        assert held.distance < other.distance
        assert held.moved > 0
        assert set(other.source_parts["anchor"]) == {0}


@pytest.fixture(scope="module")
def plainly_trained():
    """Weights and log of a training without AMT2."""
    model = build_detector(SPEC, 0)
    log = train_detector(model, SOURCE, DETECTION, 0)
    return weights(model), log


def test_one_round_without_contrast_is_plain_training(tmp_path, plainly_trained):
    model, log = run(tmp_path, 1, None, task=training(weight=None))
    plain, expected = plainly_trained
    assert same(weights(model), plain)
    [one] = log.rounds
    assert (one.source_losses, one.ends) == (expected.losses, [6])
    assert (one.contrast_losses, one.matches, one.moved) == ([], [], 0)
    # Without an anchor there is no penalty; the distance is recorded all the same.
    assert "anchor" not in one.source_parts
    assert one.distance > 0


def test_the_queue_starts_afresh_and_momentum_is_dropped_in_every_round(tmp_path, plainly_trained):
    rounds = run(tmp_path / "both")[1].rounds
    for losses in (one.contrast_losses for one in rounds):
        assert losses[0] == 0 < min(losses[1:])  # an empty queue
    first, second = run(tmp_path / "source", 2, None, task=training(weight=None))[1].rounds
    expected = plainly_trained[1].losses
    assert [*first.source_losses, second.source_losses[0]] == expected[:4]
    assert second.source_losses[1:] != expected[4:]


@pytest.mark.parametrize("killed", [3, 8, 12])
def test_a_run_killed_after_any_step_ends_with_the_same_weights(tmp_path, whole, killed):
    with pytest.raises(Killed):
        run(tmp_path, on_step=kill_at(killed), test=TEST)
    torch.manual_seed(123)  # draws of others do not matter
    seen = []
    final, log = outcome(tmp_path, on_step=lambda done, _: seen.append(done))
    assert same(final, whole[0])
    assert log == without_time(whole[1])
    assert files(tmp_path) == files(whole[2])
    # Both sides save after two of all their steps, 2 4 6 of each, and where a side ends.
    saved = max(step for step in (0, 2, 3, 5, 6, 7, 9, 10, 12) if step < killed)
    assert seen == list(range(saved + 1, 13))
    for step in log.kept:
        ours, theirs = (
            load_encoder(encoder_path(folder, step)).encoder.state_dict()
            for folder in (tmp_path, whole[2])
        )
        assert same(ours, theirs)


def test_a_run_killed_again_and_again_ends_with_the_same_weights(tmp_path):
    expected, log = run(tmp_path / "whole", task=training(weight=None))
    for killed in (5, 8):
        with pytest.raises(Killed):
            run(tmp_path / "part", on_step=kill_at(killed), task=training(weight=None))
    final, again = run(tmp_path / "part", task=training(weight=None))
    assert same(weights(final), weights(expected))
    assert without_time(again) == without_time(log)


def test_a_finished_folder_gives_log_and_weights_at_once(whole):
    final, log, folder = whole
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("[!.]*")}
    task = training()
    model, again = run(folder, on_step=never, test=TEST, task=task)
    assert again == log
    assert same(weights(model), final)
    assert not model.training
    assert before == {path.name: path.stat().st_mtime_ns for path in folder.glob("[!.]*")}


@pytest.mark.parametrize("name", ["encoder-000002.pt", "detector-000004.pt"])
def test_files_that_a_finished_run_has_lost_are_missed(tmp_path, name):
    plan = dataclasses.replace(CONTRAST, steps=2)
    detection = dataclasses.replace(DETECTION, steps=2)
    run(tmp_path, 1, plan, task=training(detection))
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=f"{name}: is missing"):
        run(tmp_path, 1, plan, never, task=training(detection))


def test_a_second_process_waits(tmp_path):
    with FileLock(tmp_path / ".lock"):
        other = threading.Thread(target=run, args=(tmp_path, 1, None))
        other.start()
        other.join(0.3)
        assert other.is_alive()
        assert files(tmp_path) == []
    other.join()
    assert json.loads((tmp_path / "log.json").read_text())["finished"]


CHANGED = CELLS.copy()
CHANGED[5, 3, 3] = 255 - CHANGED[5, 3, 3]
CHANGES = {
    "rounds": lambda: {"rounds": 3},
    "contrast": lambda: {"plan": dataclasses.replace(CONTRAST, temperature=0.1)},
    "seed": lambda: {"seed": 1},
    "cells": lambda: {"cells": CHANGED},
    "test": lambda: {"test": TEST[::-1]},
    "source": lambda: {"task": training(data=SOURCE[:3])},
    "detection": lambda: {"task": training(dataclasses.replace(DETECTION, learning_rate=0.01))},
    "anchor": lambda: {"task": training(weight=2.0)},
    "start": lambda: {"task": training(of=spec(channels=8))},
}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A folder whose run was killed before it wrote more than its checkpoint."""
    folder = tmp_path_factory.mktemp("begun")
    with pytest.raises(Killed):
        run(folder, on_step=kill_at(5), test=TEST)
    (folder / "log.json").unlink()
    return folder


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("finished", [True, False])
def test_the_folder_of_another_pretraining_is_refused(whole, begun, change, finished):
    folder = whole[2] if finished else begun
    before = files(folder)
    with pytest.raises(DataError, match="belongs to another pretraining"):
        run(folder, **{"test": TEST, "on_step": never, **CHANGES[change]()})
    assert files(folder) == before


def test_a_checkpoint_that_is_none_is_refused(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"")
    with pytest.raises(DataError, match=r"checkpoint\.pt: not readable"):
        run(tmp_path)
    torch.save({}, tmp_path / "checkpoint.pt")
    with pytest.raises(DataError, match=r"checkpoint\.pt: not a checkpoint"):
        run(tmp_path)


REFUSED = {
    "queue=16: longer than the 15 images": lambda: {"cells": CELLS[:15]},
    "groups=1": lambda: {"plan": dataclasses.replace(CONTRAST, groups=1)},
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_fit_is_refused_before_any_work(tmp_path, message):
    with pytest.raises(ParameterError, match=message):
        run(tmp_path / "run", on_step=never, **REFUSED[message]())
    assert not (tmp_path / "run").exists()


def test_contrast_that_diverges_names_its_learning_rate(tmp_path):
    wild = dataclasses.replace(CONTRAST, learning_rate=1e30)
    with pytest.raises(ParameterError, match=r"contrast diverged in step \d: .*learning_rate"):
        run(tmp_path, plan=wild)
