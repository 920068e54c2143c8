"""MoCo v2: what is learnt, exact resumption with the queue, and what small data make it refuse."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from helpers.errors import DataError, ParameterError
from helpers.files import read_torch
from helpers.models.encoders import EncoderSpec, build_encoder, load_encoder
from helpers.pretraining.moco import (
    MocoPlan,
    build_optimiser,
    encoder_path,
    pretrain_moco,
    queue_length,
)
from helpers.pretraining.momentum import EMPTY, MomentumContrast
from helpers.pretraining.schedules import learning_rate_at
from helpers.pretraining.supervised import channel_statistics
from tests.pretraining.test_barlow_twins import (
    Killed,
    files,
    kill_at,
    never,
    same,
    textures,
    weights,
    without_time,
)

UNET = EncoderSpec("unet-2")
IMAGES = textures(20, 0)
PLAN = MocoPlan(
    steps=6,
    batch_size=8,
    learning_rate=0.05,
    queue=16,
    dim=8,
    groups=2,
    checkpoint_every=2,
)


def run(folder, plan=PLAN, on_step=None, seed=0, images=IMAGES, spec=UNET):
    return pretrain_moco(images, spec, plan, seed, folder, on_step)


CASES = {"square": PLAN, "bfloat16": dataclasses.replace(PLAN, precision="bfloat16")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Uninterrupted runs, and their folders."""
    folders = {name: tmp_path_factory.mktemp(name.replace(" ", "-")) for name in CASES}
    for name, plan in CASES.items():
        run(folders[name], plan)
    return folders


@pytest.mark.parametrize(
    ("step", "every", "name"),
    [
        *((step, 2, "square") for step in (1, 2, 3, 6)),
        (5, 0, "square"),
        (4, 1, "bfloat16"),
    ],
)
def test_a_run_killed_after_any_step_ends_with_the_same_weights(tmp_path, whole, step, every, name):
    plan = dataclasses.replace(CASES[name], checkpoint_every=every)
    with pytest.raises(Killed):
        run(tmp_path, plan, kill_at(step))
    torch.manual_seed(123)  # draws of others do not matter
    seen = []
    log = run(tmp_path, plan, lambda *one: seen.append(one))
    resumed = 0 if every == 0 else (step - 1) // every * every
    assert [done for done, _ in seen] == list(range(resumed + 1, 7))
    assert [loss for _, loss in seen] == log.losses[resumed:]
    for kept in (0, 6):
        assert same(weights(whole[name], kept), weights(tmp_path, kept))
    again = run(whole[name], CASES[name], never)
    assert without_time(log) == without_time(again)


def test_a_checkpoint_holds_both_encoders_and_the_queue(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, on_step=kill_at(5))
    assert files(tmp_path) == [
        "checkpoint.pt", "encoder-000000.pt", "log.json",
    ]  # fmt: skip
    state = read_torch(tmp_path / "checkpoint.pt")["network"]
    rooms = {name.split(".")[0] for name in state}
    assert rooms == {"query", "key", "queue", "queue_ids", "place"}
    # Four batches of 8 went through 16 places; every key is of an image of the data.
    assert int(state["place"]) == 0
    assert set(state["queue_ids"].tolist()) <= set(range(20))
    torch.testing.assert_close(state["queue"].norm(dim=1), torch.ones(16))


def test_the_log_says_what_happened(tmp_path, whole):
    log = run(whole["square"], on_step=never)
    assert len(log.losses) == len(log.matches) == 6
    assert (log.losses[0], log.matches[0]) == (0, 1)  # an empty queue
    assert min(log.losses[1:]) > 0
    assert all(0 <= share <= 1 and share * 8 == int(share * 8) for share in log.matches)
    assert log.kept == [0, 6]
    assert log.seconds > 0
    assert files(whole["square"]) == [
        *(f"encoder-00000{step}.pt" for step in (0, 6)),
        "log.json",
    ]
    recorded = json.loads((whole["square"] / "log.json").read_text())
    assert recorded["finished"]
    assert recorded["log"]["losses"] == log.losses
    assert same(weights(whole["square"], 0), build_encoder(UNET, 0).state_dict())
    assert not same(weights(whole["square"], 0), weights(whole["square"], 6))
    saved = load_encoder(encoder_path(whole["square"], 6))
    assert (saved.extra, saved.mean, saved.std) == ({"step": 6}, *channel_statistics(IMAGES))


LEARNING = MocoPlan(
    steps=60,
    batch_size=32,
    learning_rate=0.03,
    queue=64,
    dim=16,
    groups=2,
)


def test_images_are_told_apart(tmp_path, monkeypatch):
    """128 images, each with an angle, a wavelength and colours of its own."""
    monkeypatch.setattr("helpers.pretraining.moco_views.SMALLEST_CROP", 0.8)
    log = run(tmp_path, LEARNING, images=textures(128, 0), spec=EncoderSpec("unet-4"))
    # The queue is full after two steps; guessing among 64 keys costs log(65) = 4.17.
    full = log.losses[2:]
    assert np.mean(full[-10:]) < np.mean(full[:10]) - 0.1
    assert np.mean(log.matches[-10:]) > 2 / 65


def test_the_same_image_again_and_again_teaches_nothing(tmp_path):
    """Duplicates share an id: no key is a negative, so the loss stays 0 and is not log(1 + K)."""
    flat = np.repeat(IMAGES[:1], 20, axis=0)
    log = run(tmp_path, images=flat)
    assert log.losses == [0] * 6


def test_memory_mapped_images_are_the_same_images(tmp_path, whole):
    np.save(tmp_path / "images.npy", IMAGES)
    run(tmp_path / "run", images=np.load(tmp_path / "images.npy", mmap_mode="r"))
    assert same(weights(whole["square"], 6), weights(tmp_path / "run", 6))


def test_grey_encoders_learn_too(tmp_path):
    log = run(tmp_path, spec=EncoderSpec("unet-2", 1))
    assert len(load_encoder(encoder_path(tmp_path, 6)).mean) == 1
    assert np.isfinite(log.losses).all()


def test_steps_are_those_of_sgd_with_momentum_decay_and_cosine():
    plan = dataclasses.replace(PLAN, weight_decay=0.1)
    network = MomentumContrast(build_encoder(UNET, 0), plan, 16, 0)
    optimiser = build_optimiser(network, plan)
    parameters = list(network.query.parameters())
    assert sum(len(group["params"]) for group in optimiser.param_groups) == len(parameters)
    expected = [p.detach().clone() for p in parameters]
    speed = [torch.zeros_like(p) for p in parameters]
    for step in range(2):
        rate = learning_rate_at(step, 6, plan)
        assert rate == pytest.approx(0.05 * 0.5 * (1 + np.cos(np.pi * step / 6)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        for p, start, v in zip(parameters, expected, speed, strict=True):
            p.grad = torch.full_like(p, 0.3)
            v.mul_(0.9).add_(0.3 + 0.1 * start)
            start.sub_(rate * v)
        optimiser.step()
    for p, start in zip(parameters, expected, strict=True):
        torch.testing.assert_close(p.detach(), start)


@pytest.mark.parametrize(
    ("n", "batch", "queue", "expected"),
    [(3188, 128, 0, 1594), (20_000, 128, 0, 4096), (200, 128, 0, 128), (20, 8, 20, 20)],
)
def test_the_queue_is_chosen_for_the_data(n, batch, queue, expected):
    plan = dataclasses.replace(PLAN, batch_size=batch, queue=queue)
    assert queue_length(plan, n) == expected


def test_a_chosen_queue_is_used(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, dataclasses.replace(PLAN, queue=0), kill_at(5))
    state = read_torch(tmp_path / "checkpoint.pt")["network"]
    assert state["queue"].shape == (10, 8)
    assert EMPTY not in state["queue_ids"]


def test_a_queue_longer_than_the_data_is_refused(tmp_path):
    with pytest.raises(ParameterError, match="queue=21: longer than the 20 images"):
        run(tmp_path / "run", dataclasses.replace(PLAN, queue=21))
    with pytest.raises(ParameterError, match="batch_size=8: more than the 7 images"):
        run(tmp_path / "run", images=IMAGES[:7])
    assert not (tmp_path / "run").exists()


CHANGED = IMAGES.copy()
CHANGED[5, 3, 3] = 255 - CHANGED[5, 3, 3]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"plan": dataclasses.replace(PLAN, key_momentum=0.5)},
        {"images": CHANGED},
        {"spec": EncoderSpec("unet-3")},
    ],
    ids=lambda change: next(iter(change)),
)
@pytest.mark.parametrize("begun", [True, False])
def test_the_folder_of_another_pretraining_is_refused(tmp_path, whole, change, begun):
    folder = whole["square"]
    if begun:
        folder = tmp_path
        with pytest.raises(Killed):
            run(folder, on_step=kill_at(3))
        (folder / "log.json").unlink()
    before = files(folder)
    with pytest.raises(DataError, match="belongs to another pretraining"):
        run(folder, **change)
    assert files(folder) == before


def test_a_finished_run_is_not_repeated_and_its_files_are_missed(tmp_path):
    log = run(tmp_path)
    assert run(tmp_path, on_step=never) == log
    encoder_path(tmp_path, 6).unlink()
    with pytest.raises(DataError, match=r"encoder-000006\.pt: is missing"):
        run(tmp_path)


def test_divergence_names_the_learning_rate(tmp_path):
    wild = dataclasses.replace(PLAN, learning_rate=1e30, steps=20)
    with pytest.raises(ParameterError, match=r"diverged in step \d+: .*learning_rate"):
        run(tmp_path, wild)
