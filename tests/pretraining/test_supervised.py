import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from helpers.data.classified import classified
from helpers.errors import DataError, ParameterError
from helpers.files import read_torch
from helpers.models.encoders import Classifier, EncoderSpec, build_encoder, load_encoder
from helpers.pretraining.schedules import (
    epoch_order,
    learning_rate_at,
    parameter_groups,
)
from helpers.pretraining.supervised import (
    SupervisedPlan,
    channel_statistics,
    encoder_path,
    pretrain_supervised,
)

UNET = EncoderSpec("unet-2")
PLAN = SupervisedPlan(epochs=4, batch_size=8, learning_rate=0.01, checkpoints=(2,))


def stripes(n, seed):
    """Class 0: horizontal stripes, class 1: vertical, class 2: noise; colours tell nothing."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 3)
    images = rng.integers(0, 60, (n, 32, 32, 3))
    for image, label in zip(images, labels, strict=True):
        wave = 90 * (np.arange(32) % 8 < 4)
        if label < 2:
            image += (wave[:, None] if label == 0 else wave[None, :])[..., None]
        else:
            image += 90 * rng.integers(0, 2, (32, 32, 1))
        image += rng.integers(0, 100, 3)
    return classified(images.astype(np.uint8), labels.astype(np.int64), ("rows", "columns", "no"))


TRAIN, VALIDATION = stripes(24, 0), stripes(12, 1)


def run(folder, plan=PLAN, on_epoch=None, seed=0, train=TRAIN, validation=VALIDATION, spec=UNET):
    return pretrain_supervised(train, validation, spec, plan, seed, folder, on_epoch)


def weights(folder, epoch):
    saved = load_encoder(encoder_path(folder, epoch))
    return {**saved.encoder.state_dict(), **saved.extra["head"]}


def same(first, second):
    return list(first) == list(second) and all(torch.equal(first[k], second[k]) for k in first)


def files(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def without_times(log):
    return [dataclasses.replace(record, seconds=0) for record in log.epochs]


class Killed(Exception):
    pass


def kill_at(epoch):
    def callback(state):
        if state.epoch == epoch:
            raise Killed

    return callback


def test_the_published_schedule_at_known_steps():
    plan = SupervisedPlan(epochs=300, batch_size=4096)
    steps = 300 * 312  # 1,281,167 images in batches of 4,096
    warmup = 20 * 312
    rates = {k: learning_rate_at(k, steps, plan) for k in (0, warmup // 2, warmup, steps - 1)}
    assert rates[0] == 1e-6
    assert rates[warmup // 2] == pytest.approx((1e-6 + 4e-3) / 2)
    assert rates[warmup] == 4e-3
    assert rates[steps - 1] == pytest.approx(1e-6, abs=1e-9)
    half = (warmup + steps) // 2
    assert learning_rate_at(half, steps, plan) == pytest.approx((1e-6 + 4e-3) / 2)
    quarter = (3 * warmup + steps) // 4
    expected = 1e-6 + (4e-3 - 1e-6) * (1 + math.cos(math.pi / 4)) / 2
    assert learning_rate_at(quarter, steps, plan) == pytest.approx(expected)


@pytest.mark.parametrize("share", [0, 0.1, 0.99])
def test_short_schedules_rise_and_then_fall(share):
    plan = dataclasses.replace(PLAN, warmup_share=share)
    rates = np.array([learning_rate_at(k, 10, plan) for k in range(10)])
    top = round(share * 10)
    assert (np.diff(rates[: top + 1]) > 0).all()
    assert (np.diff(rates[top:]) < 0).all()
    assert rates.max() <= PLAN.learning_rate


def test_an_epoch_is_a_permutation_that_depends_on_seed_and_epoch_alone():
    order = epoch_order(11, 3, seed=4, epoch=2)
    assert order.shape == (3, 3)
    assert len(set(order.ravel())) == 9
    np.testing.assert_array_equal(order, epoch_order(11, 3, 4, 2))
    assert not np.array_equal(order, epoch_order(11, 3, 4, 3))
    assert not np.array_equal(order, epoch_order(11, 3, 5, 2))


@pytest.mark.parametrize("name", ["unet-2", "resnet18", "tu-swin_tiny_patch4_window7_224"])
def test_norms_biases_and_tables_do_not_decay(name):
    network = Classifier(build_encoder(EncoderSpec(name), 0), 3)
    groups = parameter_groups(network, 0.05)
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    layers = (nn.Conv2d, nn.Linear)
    for module in network.modules():
        for part, parameter in module.named_parameters(recurse=False):
            expected = 0.05 if isinstance(module, layers) and part == "weight" else 0.0
            assert decay.pop(id(parameter)) == expected, (module, part)
    assert not decay


@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_are_those_of_all_pixels(channels):
    pixels = TRAIN.images / 255
    pixels = pixels.mean(axis=3, keepdims=True) if channels == 1 else pixels
    mean, std = channel_statistics(TRAIN.images, channels)
    np.testing.assert_allclose(mean, pixels.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(std, pixels.std(axis=(0, 1, 2)))
    assert min(channel_statistics(np.zeros((2, 32, 32, 3), np.uint8))[1]) > 0


def test_stripes_are_learnt(tmp_path):
    plan = SupervisedPlan(epochs=10, batch_size=16, learning_rate=0.02, checkpoint_every=0)
    log = run(tmp_path, plan, train=stripes(96, 2), validation=stripes(60, 3))
    first, last = log.epochs[0], log.epochs[-1]
    assert first.accuracy < 0.6
    assert last.accuracy > 0.85  # chance is 1/3
    assert last.loss < log.epochs[1].loss
    assert (first.loss, first.learning_rate, first.seconds) == (None, None, 0)
    assert log.seconds > 0


def test_the_recorded_accuracy_is_that_of_the_kept_encoder(tmp_path):
    log = run(tmp_path)
    saved = load_encoder(encoder_path(tmp_path, 4))
    network = Classifier(saved.encoder, 3).eval()
    network.head.load_state_dict(saved.extra["head"])
    pixels = torch.from_numpy(VALIDATION.images).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(part)[:, None, None] for part in (saved.mean, saved.std))
    with torch.inference_mode():
        right = network((pixels - mean) / std).argmax(dim=1).numpy() == VALIDATION.labels
    assert log.epochs[4].accuracy == right.mean() == saved.extra["accuracy"]
    assert saved.extra["classes"] == ["rows", "columns", "no"]


def test_encoders_of_the_planned_epochs_are_kept_and_the_first_is_random(tmp_path):
    log = run(tmp_path)
    assert log.kept == [0, 2, 4]
    names = [f"encoder-000{epoch}.pt" for epoch in (0, 2, 4)]
    assert files(tmp_path) == [*names, "log.json"]
    start = build_encoder(UNET, 0).state_dict()
    assert same(load_encoder(tmp_path / names[0]).encoder.state_dict(), start)
    for one, other in itertools.pairwise((0, 2, 4)):
        assert not same(weights(tmp_path, one), weights(tmp_path, other))
    recorded = json.loads((tmp_path / "log.json").read_text())
    assert recorded["finished"]
    assert [one["epoch"] for one in recorded["log"]["epochs"]] == [0, 1, 2, 3, 4]
    rates = [record.learning_rate for record in log.epochs[1:]]
    assert rates == [learning_rate_at(3 * k - 1, 12, PLAN) for k in (1, 2, 3, 4)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Uninterrupted runs of both schemes."""
    folders = {}
    for scheme in ("simple", "advanced"):
        folders[scheme] = tmp_path_factory.mktemp(scheme)
        run(folders[scheme], dataclasses.replace(PLAN, scheme=scheme))
    return folders


@pytest.mark.parametrize(
    ("epoch", "every", "scheme"),
    [
        *((epoch, 1, "simple") for epoch in range(5)),
        (3, 2, "simple"),
        (3, 0, "simple"),
        (1, 1, "advanced"),
        (4, 2, "advanced"),
    ],
)
def test_a_run_killed_after_any_epoch_ends_with_the_same_weights(
    tmp_path, whole, epoch, every, scheme
):
    plan = dataclasses.replace(PLAN, scheme=scheme, checkpoint_every=every)
    with pytest.raises(Killed):
        run(tmp_path, plan, kill_at(epoch))
    torch.manual_seed(123)  # draws of others do not matter
    seen = []
    log = run(tmp_path, plan, lambda state: seen.append(state.epoch))
    resumed = 0 if every == 0 or epoch == 0 else (epoch - 1) // every * every + 1
    assert seen == list(range(resumed, 5))
    for kept in (0, 2, 4):
        assert same(weights(whole[scheme], kept), weights(tmp_path, kept))
    expected = run(whole[scheme], dataclasses.replace(PLAN, scheme=scheme))
    assert without_times(log) == without_times(expected)


def test_stochastic_depth_repeats_after_an_interruption_too(tmp_path):
    spec = EncoderSpec("tu-convnext_atto")
    plan = SupervisedPlan(epochs=2, batch_size=4, scheme="advanced", learning_rate=1e-3)
    few = classified(TRAIN.images[:4], TRAIN.labels[:4], TRAIN.names)
    options = {"train": few, "validation": None, "spec": spec}
    log = run(tmp_path / "whole", plan, **options)
    with pytest.raises(Killed):
        run(tmp_path / "parts", plan, kill_at(2), **options)
    run(tmp_path / "parts", plan, **options)
    assert same(weights(tmp_path / "whole", 2), weights(tmp_path / "parts", 2))
    assert log.epochs[2].accuracy is None


def test_a_callback_sees_each_epoch_and_its_notes_survive_an_interruption(tmp_path):
    def watch(state):
        assert not state.encoder.training
        assert len(state.mean) == len(state.std) == 3
        assert [record.epoch for record in state.log.epochs] == list(range(state.epoch + 1))
        state.log.notes.setdefault("seen", []).append(state.epoch)

    def watch_and_die(state):
        watch(state)
        kill_at(3)(state)

    with pytest.raises(Killed):
        run(tmp_path, on_epoch=watch_and_die)
    log = run(tmp_path, on_epoch=watch)
    assert log.notes == {"seen": [0, 1, 2, 3, 4]}
    assert run(tmp_path).notes == log.notes


@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_a_callback_stops_the_run_for_good_and_leaves_the_schedule_as_it_was(
    tmp_path, whole, epoch
):
    log = run(tmp_path, on_epoch=lambda state: state.epoch == epoch)
    assert log.stopped_at == epoch
    assert [record.epoch for record in log.epochs] == list(range(epoch + 1))
    assert log.kept == [kept for kept in (0, 2) if kept < epoch] + [epoch]
    assert "checkpoint.pt" not in files(tmp_path)

    def never(state):
        raise AssertionError

    again = run(tmp_path, on_epoch=never)
    assert (again.stopped_at, again.kept) == (epoch, log.kept)
    # What was done is what the whole run did.
    assert without_times(log) == without_times(run(whole["simple"]))[: epoch + 1]


def test_a_finished_run_is_not_repeated_and_its_files_are_missed(tmp_path):
    log = run(tmp_path)

    def never(state):
        raise AssertionError

    assert run(tmp_path, on_epoch=never) == log
    encoder_path(tmp_path, 2).unlink()
    with pytest.raises(DataError, match=r"encoder-0002\.pt: is missing"):
        run(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"plan": dataclasses.replace(PLAN, epochs=5)},
        {"train": stripes(24, 7)},
        {"validation": None},
        {"spec": EncoderSpec("unet-3")},
    ],
    ids=lambda change: next(iter(change)),
)
@pytest.mark.parametrize("begun", [True, False])
def test_the_folder_of_another_pretraining_is_refused(tmp_path, whole, change, begun):
    folder = whole["simple"]
    if begun:
        folder = tmp_path
        with pytest.raises(Killed):
            run(folder, on_epoch=kill_at(1))
        (folder / "log.json").unlink()
    before = files(folder)
    with pytest.raises(DataError, match="belongs to another pretraining"):
        run(folder, **change)
    assert files(folder) == before


@pytest.mark.parametrize("name", ["checkpoint.pt", "log.json"])
def test_damaged_files_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"nonsense")
    with pytest.raises(DataError, match=name):
        run(tmp_path)


def test_grey_encoders_and_bfloat16_learn_too(tmp_path):
    plan = dataclasses.replace(PLAN, epochs=2, checkpoints=(), precision="bfloat16")
    log = run(tmp_path / "b", plan, spec=EncoderSpec("unet-2", 1))
    exact = dataclasses.replace(plan, precision="float32")
    expected = run(tmp_path / "f", exact, spec=EncoderSpec("unet-2", 1))
    losses = [[record.loss for record in one.epochs[1:]] for one in (log, expected)]
    np.testing.assert_allclose(*losses, rtol=0.05)
    assert losses[0] != losses[1]
    assert len(load_encoder(encoder_path(tmp_path / "b", 2)).mean) == 1


def test_all_is_kept_that_a_checkpoint_needs_and_nothing_else(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, on_epoch=kill_at(2))
    assert files(tmp_path) == ["checkpoint.pt", "encoder-0000.pt", "log.json"]
    assert not json.loads((tmp_path / "log.json").read_text())["finished"]
    assert set(read_torch(tmp_path / "checkpoint.pt")) == {
        "identity", "network", "optimiser", "log",
    }  # fmt: skip


def test_divergence_names_the_learning_rate(tmp_path):
    wild = dataclasses.replace(PLAN, learning_rate=1e30, epochs=20, warmup_share=0)
    with pytest.raises(ParameterError, match=r"diverged in epoch \d+: .*learning_rate"):
        run(tmp_path, wild)


def test_data_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ParameterError, match="batch_size=8: more than the 7"):
        run(tmp_path, train=classified(TRAIN.images[:7], TRAIN.labels[:7], TRAIN.names))
    other = classified(VALIDATION.images, VALIDATION.labels, ("a", "b", "c"))
    with pytest.raises(ParameterError, match="validation: classes other than"):
        run(tmp_path, validation=other)
    with pytest.raises(ParameterError, match="device='tpu'"):
        pretrain_supervised(TRAIN, None, UNET, PLAN, 0, tmp_path, device="tpu")
