import dataclasses

import numpy as np
import pytest
import torch

from helpers.data.patches import PatchGrid
from helpers.errors import DataError, ParameterError
from helpers.models.cpnet import build_cpnet
from helpers.models.l2sp import Anchor
from helpers.replay import Mixer, appended, controlled
from helpers.training.feed import Feed
from helpers.training.guidance import Guidance, Teacher
from helpers.training.loop import (
    TrainingPlan,
    learning_rate_at,
    segmentation_loss,
    steps_for_epochs,
    train,
)
from helpers.training.targets import build_store
from helpers.training.watch import Watch, evenly, foreground_dice
from tests.shapes import disc_sample

PLAN = TrainingPlan(steps=6, batch_size=2, crop=32, checkpoint_every=2)
ADAMW = dataclasses.replace(PLAN, optimiser="adamw", schedule="cosine", learning_rate=3e-3)
both = pytest.mark.parametrize("plan", [PLAN, ADAMW], ids=["sgd", "adamw"])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    samples = [disc_sample(str(i), 64, i) for i in range(4)]
    return build_store(samples, PatchGrid(64, 64, "drop"), tmp_path_factory.mktemp("s") / "store")


def feed(store, plan, seed=0):
    return Feed([store], Mixer(appended([np.arange(4)]), plan.batch_size, seed))


def weights_after(store, plan, seed=0, **more):
    network = build_cpnet(2, 0)
    log = train(network, feed(store, plan, seed), plan, seed, **more)
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


def test_the_cosine_is_that_of_pytorch_after_the_warm_up():
    plan = TrainingPlan(100, schedule="cosine", learning_rate=0.1, warmup_share=0.1)
    rates = [learning_rate_at(step, plan) for step in range(100)]
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 100)
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=90)
    for rate in rates[10:]:
        assert rate == pytest.approx(schedule.get_last_lr()[0])
        optimiser.step()
        schedule.step()


@pytest.mark.parametrize("schedule", ["cellpose", "cosine"])
@pytest.mark.parametrize("steps", [1, 2, 7, 33])
def test_every_step_has_a_positive_rate(steps, schedule):
    plan = TrainingPlan(steps=steps, schedule=schedule)
    assert all(0 < learning_rate_at(step, plan) <= 0.1 for step in range(steps))


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


@both
def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(store, tmp_path, plan):
    whole, _ = weights_after(store, plan)

    class Killed(Exception):
        pass

    def kill(step, loss):
        if step == 5:
            raise Killed

    with pytest.raises(Killed):
        weights_after(store, plan, checkpoint=tmp_path / "c.pt", on_step=kill)
    resumed, log = weights_after(store, plan, checkpoint=tmp_path / "c.pt")
    assert_same(whole, resumed)
    assert len(log.losses) == 6


def test_a_broken_checkpoint_is_named(store, tmp_path):
    (tmp_path / "c.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(DataError, match=r"c\.pt"):
        weights_after(store, PLAN, checkpoint=tmp_path / "c.pt")


def test_training_reduces_the_loss_in_both_precisions(store):
    for precision in ("float32", "bfloat16"):
        plan = dataclasses.replace(PLAN, steps=60, batch_size=4, precision=precision)
        log = train(build_cpnet(4, 0), feed(store, plan), plan, 0)
        assert np.mean(log.losses[-5:]) < 0.4 * np.mean(log.losses[:5])


def test_divergence_is_refused(store):
    with pytest.raises(ParameterError, match="training diverged"):
        weights_after(store, dataclasses.replace(PLAN, steps=20, learning_rate=1e12))


def distance(network, start):
    return sum(float(((p.detach() - start[n]) ** 2).sum()) for n, p in network.named_parameters())


@both
def test_an_anchor_keeps_the_weights_near_their_start(store, plan):
    start = {name: p.detach().clone() for name, p in build_cpnet(2, 0).named_parameters()}
    moved = []
    for weight in (0.0, 1.0):
        network = build_cpnet(2, 0)
        guidance = Guidance(anchor=Anchor(network, weight))
        train(network, feed(store, plan), plan, 0, guidance)
        moved.append(distance(network, start))
    assert moved[1] < 0.9 * moved[0]


def test_a_teacher_pulls_the_answers_toward_its_own(store):
    plan = dataclasses.replace(PLAN, steps=30, batch_size=4)
    images = torch.from_numpy(np.float32(store.arrays[:4, :1]))
    teacher_network = build_cpnet(2, 0).eval()
    apart = []
    for weight in (0.0, 20.0):
        network = build_cpnet(2, 0)
        guidance = Guidance(teacher=Teacher(network, weight))
        train(network, feed(store, plan), plan, 0, guidance)
        with torch.no_grad():
            difference = network.train()(images)[0] - teacher_network(images)[0]
        apart.append(float((difference**2).mean()))
    assert apart[1] < 0.7 * apart[0]


def test_a_teacher_is_asked_about_new_images_alone():
    network = build_cpnet(2, 0)
    teacher = Teacher(network, 1.0)
    images = torch.rand((3, 1, 16, 16))
    output = network(images)[0].detach().requires_grad_()
    assert teacher.term(images, output, torch.tensor([1, 1, 2])).item() == 0
    teacher.term(images, output, torch.tensor([1, 0, 1])).backward()
    assert output.grad[1].abs().sum() > 0
    assert output.grad[[0, 2]].abs().sum() == 0


def test_looks_come_when_asked_and_can_change_the_mix(store):
    order = Mixer(controlled([np.arange(2), np.arange(2, 4)], (1.0, 0.0)), 2, 0)
    plan = dataclasses.replace(PLAN, steps=4)

    def react(checks):
        order.set_shares((0.0, 1.0) if checks[-1]["step"] >= 2 else (1.0, 0.0))

    seen = []

    def measure(network):
        seen.append(network.training)
        return {"drawn": float(order.drawn[1])}

    watch = Watch(evenly(4, 2), measure, react)
    log = train(build_cpnet(2, 0), Feed([store, store], order), plan, 0, watch=watch)
    assert log.checks == [
        {"step": 0, "drawn": 0.0}, {"step": 2, "drawn": 0.0}, {"step": 4, "drawn": 4.0}
    ]  # fmt: skip
    assert log.phases["evaluation"] > 0
    assert log.seconds > 0


def test_a_run_killed_between_looks_repeats_none_and_ends_the_same(store, tmp_path):
    def run(checkpoint=None, kill_at=None):
        order = Mixer(controlled([np.arange(2), np.arange(2, 4)], (0.5, 0.5)), 2, 0)

        def react(checks):
            order.set_shares((0.25, 0.75) if len(checks) > 1 else (0.5, 0.5))

        def on_step(step, loss):
            if step == kill_at:
                raise KeyboardInterrupt

        network = build_cpnet(2, 0)
        watch = Watch((0, 3, 6), lambda net: {"first": float(next(net.parameters()).sum())}, react)
        more = {"watch": watch, "checkpoint": checkpoint, "on_step": on_step}
        log = train(network, Feed([store, store], order), PLAN, 0, **more)
        return network.state_dict(), log

    whole, log = run()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "c.pt", kill_at=5)
    resumed, again = run(tmp_path / "c.pt")
    assert_same(whole, resumed)
    assert again.checks == log.checks
    assert again.losses == log.losses


def test_foreground_dice_is_that_of_the_pixels(store):
    class Answer(torch.nn.Module):
        """Logits that are positive in the left half of every image."""

        def __init__(self):
            super().__init__()
            self.anything = torch.nn.Parameter(torch.zeros(1))

        def forward(self, images):
            logits = torch.full_like(images, -1.0)
            logits[..., : images.shape[-1] // 2] = 1.0
            return (torch.cat([logits] * 3, dim=1),)

    stack = np.asarray(store.arrays[:3])
    found = foreground_dice(Answer(), stack, torch.float32, crop=32, batch=2)
    truth = stack[:, 1, 16:48, 16:48] > 0.5
    half = np.zeros_like(truth)
    half[:, :, :16] = True
    expected = 2 * (truth & half).sum() / (truth.sum() + half.sum())
    assert found == pytest.approx(expected)
