"""MoCo v2: what is learnt, exact resumption with the queue, and what small data make it refuse."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from helpers.errors import DataError, ParameterError
from helpers.features.knn import knn_accuracy
from helpers.files import read_torch
from helpers.models.encoders import EncoderSpec, build_encoder, load_encoder, normalise
from helpers.pretraining.collapse import effective_rank, relative_spread
from helpers.pretraining.moco import (
    MocoPlan,
    Monitor,
    build_optimiser,
    encoder_path,
    pretrain_moco,
    published_plan,
    queue_length,
    view_size,
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
    checkpoints=(3,),
    checkpoint_every=2,
    look_every=3,
)


def run(folder, plan=PLAN, on_step=None, seed=0, images=IMAGES, spec=UNET, monitor=None):
    return pretrain_moco(images, spec, plan, seed, folder, monitor, on_step, progress=False)


def odd_sizes(images=IMAGES):
    """The same images, each with another border cut off."""
    return [one[: 32 - i % 4, i % 3 :] for i, one in enumerate(images)]


def grids(n, seed):
    """Lattices of light spots on dark, in four spacings: images, labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 4
    y, x = np.mgrid[:32, :32]
    images = np.empty((n, 32, 32, 3))
    for image, label in zip(images, labels, strict=True):
        wavelength, phase = (3, 5, 9, 16)[label], rng.uniform(0, 2 * np.pi, 2)
        wave = sum(
            np.sin(2 * np.pi * a / wavelength + p) for a, p in zip((x, y), phase, strict=True)
        )
        colours = rng.uniform(30, 220, (2, 3))
        image[:] = np.where(wave[..., None] > 0.6, *colours) + rng.normal(0, 6, (32, 32, 3))
    return images.clip(0, 255).astype(np.uint8), labels


CASES = {
    "square": (PLAN, IMAGES),
    "any size": (dataclasses.replace(PLAN, size=32), odd_sizes()),
    "bfloat16": (dataclasses.replace(PLAN, precision="bfloat16", size=40), IMAGES),
}
MONITOR = Monitor(*grids(12, 1), groups=range(12), k=3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Uninterrupted runs, and their folders."""
    folders = {name: tmp_path_factory.mktemp(name.replace(" ", "-")) for name in CASES}
    for name, (plan, images) in CASES.items():
        run(folders[name], plan, images=images, monitor=MONITOR)
    return folders


@pytest.mark.parametrize(
    ("step", "every", "name"),
    [
        *((step, 2, "square") for step in (1, 2, 3, 6)),
        (5, 0, "square"),
        (5, 3, "any size"),
        (4, 1, "bfloat16"),
    ],
)
def test_a_run_killed_after_any_step_ends_with_the_same_weights(tmp_path, whole, step, every, name):
    plan, images = CASES[name]
    plan = dataclasses.replace(plan, checkpoint_every=every)
    with pytest.raises(Killed):
        run(tmp_path, plan, kill_at(step), images=images, monitor=MONITOR)
    torch.manual_seed(123)  # draws of others do not matter
    seen = []
    log = run(tmp_path, plan, lambda *one: seen.append(one), images=images, monitor=MONITOR)
    resumed = 0 if every == 0 else (step - 1) // every * every
    assert [done for done, _ in seen] == list(range(resumed + 1, 7))
    assert [loss for _, loss in seen] == log.losses[resumed:]
    for kept in (0, 3, 6):
        assert same(weights(whole[name], kept), weights(tmp_path, kept))
    again = run(whole[name], CASES[name][0], never, images=images, monitor=MONITOR)
    assert without_time(log) == without_time(again)


def test_a_checkpoint_holds_both_encoders_and_the_queue(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, on_step=kill_at(5))
    assert files(tmp_path) == [
        "checkpoint.pt", "encoder-000000.pt", "encoder-000003.pt", "log.json",
    ]  # fmt: skip
    state = read_torch(tmp_path / "checkpoint.pt")["network"]
    rooms = {name.split(".")[0] for name in state}
    assert rooms == {"query", "key", "queue", "queue_ids", "place"}
    # Four batches of 8 went through 16 places; every key is of an image of the data.
    assert int(state["place"]) == 0
    assert set(state["queue_ids"].tolist()) <= set(range(20))
    torch.testing.assert_close(state["queue"].norm(dim=1), torch.ones(16))


def test_the_log_says_what_happened(tmp_path, whole):
    log = run(whole["square"], on_step=never, monitor=MONITOR)
    assert len(log.losses) == len(log.matches) == 6
    assert (log.losses[0], log.matches[0]) == (0, 1)  # an empty queue
    assert min(log.losses[1:]) > 0
    assert all(0 <= share <= 1 and share * 8 == int(share * 8) for share in log.matches)
    assert log.kept == [0, 3, 6]
    assert [look.step for look in log.looks] == [0, 3, 6]
    assert log.seconds > 0
    assert files(whole["square"]) == [
        *(f"encoder-00000{step}.pt" for step in (0, 3, 6)),
        "log.json",
    ]
    recorded = json.loads((whole["square"] / "log.json").read_text())
    assert recorded["finished"]
    assert recorded["log"]["losses"] == log.losses
    assert same(weights(whole["square"], 0), build_encoder(UNET, 0).state_dict())
    assert not same(weights(whole["square"], 3), weights(whole["square"], 6))
    saved = load_encoder(encoder_path(whole["square"], 3))
    assert (saved.extra, saved.mean, saved.std) == ({"step": 3}, *channel_statistics(IMAGES))


def pooled(saved, images):
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        return saved.encoder(normalise(pixels, saved.mean, saved.std))[-1].mean(dim=(2, 3))


def test_a_look_measures_the_images_as_they_are(whole):
    log = run(whole["square"], on_step=never, monitor=MONITOR)
    saved = load_encoder(encoder_path(whole["square"], 6))
    vectors = pooled(saved, IMAGES)
    look = log.looks[-1]
    assert look.representation_spread == pytest.approx(relative_spread(vectors), rel=1e-4)
    assert look.representation_rank == pytest.approx(effective_rank(vectors), rel=1e-3)
    units = nn.functional.normalize(pooled(saved, MONITOR.images), dim=1).numpy()
    assert look.neighbours == knn_accuracy(units, MONITOR.labels, MONITOR.groups, 3)


def test_without_labels_no_neighbours_are_looked_for(tmp_path):
    log = run(tmp_path)
    assert [look.neighbours for look in log.looks] == [None] * 3


def test_watching_does_not_change_what_is_learnt(tmp_path, whole):
    run(tmp_path)
    assert same(weights(tmp_path, 6), weights(whole["square"], 6))


LEARNING = MocoPlan(
    steps=60,
    batch_size=32,
    learning_rate=0.03,
    queue=64,
    dim=16,
    groups=2,
    smallest_crop=0.8,
    look_every=0,
)


def learnt(folder, seed=0, **changes):
    """Log of a run on 128 images, each with an angle, a wavelength and colours of its own."""
    plan = dataclasses.replace(LEARNING, **changes)
    return run(folder, plan, seed=seed, images=textures(128, seed), spec=EncoderSpec("unet-4"))


def test_images_are_told_apart(tmp_path):
    log = learnt(tmp_path)
    start, end = log.looks
    # The queue is full after two steps; guessing among 64 keys costs log(65) = 4.17.
    full = log.losses[2:]
    assert np.mean(full[-10:]) < np.mean(full[:10]) - 0.1
    assert np.mean(log.matches[-10:]) > 2 / 65
    # Not by their age in the queue (see below): the embeddings themselves have spread.
    assert end.embedding_spread > 2.5 * start.embedding_spread
    assert end.embedding_rank > 3


def test_a_key_encoder_that_follows_too_fast_lets_keys_be_told_by_their_age(tmp_path):
    """All embeddings drift together, so that a key of this step differs from those before."""
    log = learnt(tmp_path, steps=25, learning_rate=0.12, key_momentum=0.9)
    start, end = log.looks
    # Better than what 60 steps of learning reach, and no image differs from another.
    assert max(log.matches[3:]) > 0.3
    assert np.mean(log.losses[3:8]) < 3.5
    assert end.embedding_spread < 1.5 * start.embedding_spread
    assert end.embedding_rank < 3


def test_the_same_image_again_and_again_teaches_nothing(tmp_path):
    """Duplicates share an id: no key is a negative, so the loss stays 0 and is not log(1 + K)."""
    flat = np.repeat(IMAGES[:1], 20, axis=0)
    log = run(tmp_path, images=flat)
    assert log.losses == [0] * 6
    assert log.looks[-1].representation_rank == 0


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
    network = MomentumContrast(build_encoder(UNET, 0), plan.contrast(16), 0)
    optimiser = build_optimiser(network, plan)
    parameters = list(network.query.parameters())
    assert sum(len(group["params"]) for group in optimiser.param_groups) == len(parameters)
    expected = [p.detach().clone() for p in parameters]
    speed = [torch.zeros_like(p) for p in parameters]
    for step in range(2):
        rate = learning_rate_at(step, 6, plan)
        assert rate == pytest.approx(0.05 * 0.5 * (1 + np.cos(np.pi * step / 6)))
        for group in optimiser.param_groups:
            group["lr"] = rate * group["lr_scale"]
        for p, start, v in zip(parameters, expected, speed, strict=True):
            p.grad = torch.full_like(p, 0.3)
            v.mul_(0.9).add_(0.3 + 0.1 * start)
            start.sub_(rate * v)
        optimiser.step()
    for p, start in zip(parameters, expected, strict=True):
        torch.testing.assert_close(p.detach(), start)


def test_the_published_plan_is_that_of_imagenet():
    plan = published_plan(1_281_167)
    assert plan.steps == 200 * 5004
    assert (plan.batch_size, plan.learning_rate, plan.final_rate) == (256, 0.03, 0)
    assert (plan.weight_decay, plan.warmup_share, plan.smallest_crop) == (1e-4, 0, 0.2)
    contrast = plan.contrast(queue_length(plan, 1_281_167))
    assert (contrast.queue, contrast.dim, contrast.temperature) == (65536, 128, 0.2)
    assert (contrast.key_momentum, contrast.groups) == (0.999, 8)
    small = published_plan(3188, 10, batch_size=64, queue=1024, size=112)
    assert (small.steps, small.learning_rate, small.size) == (490, 0.0075, 112)
    with pytest.raises(ParameterError, match="queue=65536: longer than the 3188 images"):
        published_plan(3188)
    with pytest.raises(ParameterError, match="n_images=200"):
        published_plan(200)


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
        {"monitor": None},
        {"monitor": dataclasses.replace(MONITOR, labels=MONITOR.labels[::-1])},
    ],
    ids=lambda change: next(iter(change)),
)
@pytest.mark.parametrize("begun", [True, False])
def test_the_folder_of_another_pretraining_is_refused(tmp_path, whole, change, begun):
    folder = whole["square"]
    if begun:
        folder = tmp_path
        with pytest.raises(Killed):
            run(folder, on_step=kill_at(3), monitor=MONITOR)
        (folder / "log.json").unlink()
    before = files(folder)
    with pytest.raises(DataError, match="belongs to another pretraining"):
        run(folder, **{"monitor": MONITOR, **change})
    assert files(folder) == before


def test_a_finished_run_is_not_repeated_and_its_files_are_missed(tmp_path):
    log = run(tmp_path)
    assert run(tmp_path, on_step=never) == log
    encoder_path(tmp_path, 3).unlink()
    with pytest.raises(DataError, match=r"encoder-000003\.pt: is missing"):
        run(tmp_path)


def test_divergence_names_the_learning_rate(tmp_path):
    wild = dataclasses.replace(PLAN, learning_rate=1e30, steps=20)
    with pytest.raises(ParameterError, match=r"diverged in step \d+: .*learning_rate"):
        run(tmp_path, wild)


def test_the_bar_can_be_had(tmp_path, capsys):
    pretrain_moco(IMAGES, UNET, PLAN, 0, tmp_path, MONITOR)
    shown = capsys.readouterr().err
    for words in ("MoCo v2 unet-2", "6/6", "loss=", "rank=", "k-NN="):
        assert words in shown


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0},
        {"batch_size": 1},
        {"batch_size": 9},
        {"learning_rate": 0.0},
        {"final_rate": 1.0},
        {"warmup_share": 1.0},
        {"weight_decay": -1.0},
        {"queue": -1},
        {"queue": 7},
        {"dim": 0},
        {"temperature": 0.0},
        {"key_momentum": 1.5},
        {"groups": 0},
        {"groups": 3},
        {"smallest_crop": 0.0},
        {"size": 16},
        {"precision": "float16"},
        {"checkpoints": (7,)},
        {"checkpoint_every": -1},
        {"look_every": -1},
    ],
    ids=str,
)
def test_plans_out_of_range_are_refused(change):
    with pytest.raises(ParameterError, match=next(iter(change))):
        dataclasses.replace(PLAN, **change)


def test_images_that_do_not_fit_are_refused(tmp_path):
    for images, words in (
        (odd_sizes(), "size=0"),
        (IMAGES[:, :, :30], "size=0"),
        (IMAGES[:, :30, :30], "images of 30 pixels"),
        (IMAGES[..., 0], "expected"),
        (IMAGES / 255, "float64"),
    ):
        with pytest.raises(ParameterError, match=words):
            run(tmp_path, images=images)
    with pytest.raises(ParameterError, match="channels=4"):
        run(tmp_path, spec=EncoderSpec("unet-2", 4))
    with pytest.raises(ParameterError, match="device='tpu'"):
        pretrain_moco(IMAGES, UNET, PLAN, 0, tmp_path, device="tpu")
    with pytest.raises(ParameterError, match="groups=8"):
        run(tmp_path, dataclasses.replace(PLAN, groups=8))
    assert view_size(odd_sizes(), dataclasses.replace(PLAN, size=48)) == 48
