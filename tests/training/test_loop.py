import dataclasses

import numpy as np
import pytest
import torch

from helpers.data.patches import PatchGrid
from helpers.errors import DataError, ParameterError
from helpers.models.cpnet import build_cpnet
from helpers.training.loop import (
    TrainingPlan,
    batch_order,
    learning_rate_at,
    segmentation_loss,
    steps_for_epochs,
    train,
)
from helpers.training.targets import build_store
from tests.shapes import disc_sample

PLAN = TrainingPlan(steps=6, batch_size=2, crop=32, checkpoint_every=2)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    samples = [disc_sample(str(i), 64, i) for i in range(4)]
    return build_store(samples, PatchGrid(64, 64, "drop"), tmp_path_factory.mktemp("s") / "store")


def weights_after(store, plan, seed=0, **more):
    network = build_cpnet(2, 0)
    log = train(network, store, np.arange(4), plan, seed, **more)
    return network.state_dict(), log


def assert_same(first, second):
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_loss_is_cellposes():
    from cellpose.train import _loss_fn_seg

    generator = torch.Generator().manual_seed(0)
    output = torch.randn((2, 3, 16, 16), generator=generator)
    target = torch.rand((2, 3, 16, 16), generator=generator) * 2 - 1
    expected = _loss_fn_seg(target.numpy(), output, torch.device("cpu"))
    torch.testing.assert_close(segmentation_loss(output, target), expected)


def test_the_rate_warms_up_from_above_zero_holds_and_halves_ten_times():
    plan = TrainingPlan(steps=500, learning_rate=0.1, warmup_share=0.02, decay_share=0.2)
    rates = np.array([learning_rate_at(step, plan) for step in range(500)])
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 100)
    assert (rates[10:400] == 0.1).all()
    # As train_seg: the last 100 of 500 in ten steps of ten, each half of the one before.
    np.testing.assert_allclose(rates[400:], np.repeat(0.1 * 0.5 ** np.arange(1, 11), 10))


@pytest.mark.parametrize("steps", [1, 2, 7, 33])
def test_every_step_has_a_positive_rate(steps):
    plan = TrainingPlan(steps=steps)
    assert all(0 < learning_rate_at(step, plan) <= 0.1 for step in range(steps))


def test_every_patch_is_seen_equally_often():
    order = batch_order(7, TrainingPlan(steps=21, batch_size=4), seed=3)
    assert order.shape == (21, 4)
    assert (np.bincount(order.ravel()) == 12).all()
    assert (batch_order(7, PLAN, 3) == batch_order(7, PLAN, 3)).all()
    assert (batch_order(700, PLAN, 3) != batch_order(700, PLAN, 4)).any()


def test_equal_epochs_give_a_small_set_few_steps():
    # 10,063 patches x 500 epochs / 8, and 1 % of it.
    assert steps_for_epochs(500, 10_063, 8) == 628_938
    assert steps_for_epochs(500, 101, 8) == 6312
    assert steps_for_epochs(0.01, 3, 8) == 1


def test_two_runs_give_identical_weights_and_another_seed_does_not(store):
    first, log = weights_after(store, PLAN)
    second, again = weights_after(store, PLAN)
    assert_same(first, second)
    assert log.losses == again.losses
    other, _ = weights_after(store, PLAN, seed=1)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(store, tmp_path):
    whole, _ = weights_after(store, PLAN)

    class Killed(Exception):
        pass

    def kill(step, loss):
        if step == 5:
            raise Killed

    with pytest.raises(Killed):
        weights_after(store, PLAN, checkpoint=tmp_path / "c.pt", on_step=kill)
    resumed, log = weights_after(store, PLAN, checkpoint=tmp_path / "c.pt")
    assert_same(whole, resumed)
    assert len(log.losses) == 6


def test_a_broken_checkpoint_is_named(store, tmp_path):
    (tmp_path / "c.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(DataError, match=r"c\.pt"):
        weights_after(store, PLAN, checkpoint=tmp_path / "c.pt")


def test_training_reduces_the_loss_in_both_precisions(store):
    for precision in ("float32", "bfloat16"):
        plan = dataclasses.replace(PLAN, steps=60, batch_size=4, precision=precision)
        log = train(build_cpnet(4, 0), store, np.arange(4), plan, 0)
        assert np.mean(log.losses[-5:]) < 0.4 * np.mean(log.losses[:5])


def test_divergence_and_nonsense_are_refused(store):
    with pytest.raises(ParameterError, match="training diverged"):
        weights_after(store, dataclasses.replace(PLAN, steps=20, learning_rate=1e12))
    with pytest.raises(ParameterError, match="crop=30"):
        TrainingPlan(steps=1, crop=30)
    with pytest.raises(ParameterError, match="no patch"):
        train(build_cpnet(2, 0), store, np.array([], int), PLAN, 0)
