"""The loop: schedule, order, optimiser, looks; and a killed training of every objective."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from helpers.errors import DataError, ParameterError
from helpers.models.l2sp import Anchor
from helpers.randomness import batch_at, shuffled
from helpers.training.loop import Fit, Looks, Plan, build_optimiser, evenly, fit, learning_rate_at
from tests.training.killing import killed_in

# ------------------------------------------------------------------------- schedule and order


def rates(plan):
    return np.array([learning_rate_at(step, plan) for step in range(plan.steps)])


def test_cellposes_rate_warms_up_from_above_zero_holds_and_halves_ten_times():
    found = rates(Plan(500, learning_rate=0.1, schedule="cellpose", warmup_share=0.02))
    np.testing.assert_allclose(found[:10], np.arange(1, 11) / 100)
    assert (found[10:400] == 0.1).all()
    # As train_seg: the last 100 of 500 in ten steps of ten, each half of the one before.
    np.testing.assert_allclose(found[400:], np.repeat(0.1 * 0.5 ** np.arange(1, 11), 10))


@pytest.mark.parametrize("power", [None, 0, 0.9, 2])
@pytest.mark.parametrize("final", [0.0, 0.01])
def test_cosine_and_polynomial_are_pytorchs_after_the_warm_up(power, final):
    kind = {"schedule": "cosine"} if power is None else {"schedule": "polynomial"}
    plan = Plan(100, learning_rate=0.1, warmup_share=0.1, decay_power=power or 0, **kind)
    plan = dataclasses.replace(plan, final_rate=final)
    found = rates(plan)
    np.testing.assert_allclose(found[:10], final + (0.1 - final) * np.arange(1, 11) / 10)
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=0.1 if power is None else 0.1 - final)
    if power is None:
        oracle = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 90, final)
    else:
        oracle = torch.optim.lr_scheduler.PolynomialLR(optimiser, 90, power)
    for rate in found[10:]:
        assert rate == pytest.approx(oracle.get_last_lr()[0] + (final if power is not None else 0))
        optimiser.step()
        oracle.step()


@pytest.mark.parametrize("schedule", ["cellpose", "cosine", "polynomial"])
@pytest.mark.parametrize("steps", [1, 2, 7, 33])
@pytest.mark.parametrize("warmup", [0, 0.05, 0.99])
def test_every_step_has_a_positive_rate(steps, schedule, warmup):
    found = rates(Plan(steps, schedule=schedule, warmup_share=warmup))
    assert ((found > 0) & (found <= 0.1)).all()


@pytest.mark.parametrize(("n", "batch"), [(12, 4), (10, 4), (3, 8), (1, 2)])
def test_batches_are_whole_permutations_in_a_row(n, batch):
    row = np.concatenate([batch_at(step, n, batch, 5) for step in range(2 * n)])
    passes = row[: len(row) // n * n].reshape(-1, n)
    np.testing.assert_array_equal(np.sort(passes, axis=1), np.tile(np.arange(n), (len(passes), 1)))
    np.testing.assert_array_equal(shuffled(1, 3, n, 5, 1), row[1:4])
    if n > 3:
        assert len({tuple(order) for order in passes.tolist()}) == len(passes)
        assert not np.array_equal(batch_at(0, n, batch, 5), batch_at(0, n, batch, 6))


# ------------------------------------------------------------------------------ a small training


class Line:
    """The objective (w x + b - 3 x)^2 over drawn numbers, with dropout."""

    def __init__(self, start=0.0):
        self.network = nn.Sequential(nn.Linear(1, 1), nn.Dropout(0.2))
        nn.init.constant_(self.network[0].weight, start)
        nn.init.zeros_(self.network[0].bias)

    def read(self, rows, generator):
        return torch.from_numpy(rows).float()[:, None] / 9 + torch.rand(1, generator=generator)

    def loss(self, batch):
        error = (self.network(batch) - 3 * batch).square().mean()
        return error, {"size": batch.mean()}


PLAN = Plan(8, 4, learning_rate=0.01, checkpoint_every=3)


def line(plan=PLAN, seed=0, objective=None, **options):
    objective = objective or Line()
    return objective, fit(objective, lambda s: batch_at(s, 9, 4, seed), plan, seed, **options)


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_every_optimiser_comes_nearer_and_the_seed_decides(kind):
    plan = dataclasses.replace(PLAN, steps=200, optimiser=kind, learning_rate=0.05)
    objective, log = line(plan)
    assert objective.network[0].weight.item() > 1
    assert np.mean(log.losses[-20:]) < 0.7 * np.mean(log.losses[:20])
    assert line(plan)[1].numbers == log.numbers != line(plan, 1)[1].numbers
    assert set(log.numbers) == {"loss", "size"}
    assert log.kept == 200
    assert log.seconds > 0


def test_one_step_is_the_formulas():
    network = nn.Linear(2, 1)
    plan = Plan(1, learning_rate=0.5, momentum=0.9, weight_decay=0.1)
    optimiser, expected = build_optimiser(network, plan), network.weight.detach().clone()
    speed = torch.zeros_like(expected)
    for _ in range(2):
        network.weight.grad = torch.full_like(expected, 0.3)
        optimiser.step()
        speed = 0.9 * speed + 0.3 + 0.1 * expected
        expected -= 0.5 * speed
    torch.testing.assert_close(network.weight.detach(), expected)


def test_a_bounded_gradient_moves_the_weights_by_its_bound():
    plan = dataclasses.replace(PLAN, steps=1, clip_norm=0.1, learning_rate=1.0, weight_decay=0)
    layer = line(plan)[0].network[0]
    assert np.hypot(layer.weight.item(), layer.bias.item()) == pytest.approx(0.1, rel=1e-5)


def test_an_anchor_holds_what_it_anchors_instead_of_decay():
    heavy = dataclasses.replace(PLAN, steps=50, weight_decay=50.0)
    ends = []
    for weight in (0.0, 20.0):
        objective = Line(2.0)
        anchor = Anchor(objective.network, weight)
        log = line(heavy, objective=objective, anchor=anchor)[1]
        ends.append(objective.network[0].weight.item())
    # Towards 3, more or less, and not towards 0.
    assert 2 < ends[1] < 2.1 < ends[0]
    assert log.numbers["anchor"][0] == 0 < log.numbers["anchor"][-1]
    # What is logged is without the penalty.
    assert log.losses[0] == line(heavy, objective=Line(2.0))[1].losses[0]


def test_a_number_that_is_not_finite_is_an_error_that_says_what_to_do():
    with pytest.raises(ParameterError, match=r"diverged at step 0: .*'loss': nan.*learning_rate"):
        line(objective=Line(float("nan")))


def test_looks_come_when_asked_change_nothing_and_can_end_the_training(tmp_path):
    assert evenly(100, 4) == (0, 25, 50, 75, 100)
    assert evenly(2, 10) == (0, 1, 2)
    seen = []

    def measure(step, network):
        seen.append(network.training)
        torch.rand(3)
        return {"weight": network[0].weight.item()}

    plain = line()[0].network[0].weight.item()
    objective, log = line(looks=Looks((0, 4, 8), measure))
    assert [check["step"] for check in log.checks] == [0, 4, 8]
    assert log.checks[0]["weight"] == 0
    assert log.checks[2]["weight"] == objective.network[0].weight.item() == plain
    assert seen == [False] * 3
    stop = Looks((0, 4, 8), measure, lambda checks: checks[-1]["step"] == 4)
    for _ in range(2):  # the second finds it finished
        objective, log = line(looks=stop, checkpoint=tmp_path / "c.pt")
        assert (log.stopped, log.kept, len(log.losses)) == (True, 4, 4)
    assert len(seen) == 5


def test_parts_of_a_training_make_the_whole():
    whole = line()[1].numbers
    objective = Line()
    training = Fit(objective, lambda s: batch_at(s, 9, 4, 0), PLAN, 0)
    training.run(3)
    assert training.done == 3
    assert training.run().numbers == whole
    # With a range of steps schedule and order go on; momentum does not.
    objective = Line()
    first, second = (line(objective=objective, steps=part)[1] for part in (range(3), range(3, 8)))
    assert [*first.losses, second.losses[0]] == whole["loss"][:4]
    assert second.losses[1:] != whole["loss"][4:]
    assert second.numbers["size"] == whole["size"][3:]


# ------------------------------------------------------------------------------------- checkpoints


def test_a_finished_training_is_not_done_again(tmp_path, monkeypatch):
    first, log = line(checkpoint=tmp_path / "c.pt")
    killed_in(monkeypatch, 1)
    second, again = line(checkpoint=tmp_path / "c.pt")
    assert again == log
    assert torch.equal(first.network[0].weight, second.network[0].weight)


CHANGES = {
    "seed": lambda: {"seed": 1},
    "plan": lambda: {"plan": dataclasses.replace(PLAN, momentum=0.8)},
    "start": lambda: {"objective": Line(1.0)},
    "part": lambda: {"steps": range(4)},
    "anchor": lambda: {"anchor": Anchor(Line().network, 1.0)},
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_checkpoint_of_another_training_is_refused(tmp_path, change):
    line(checkpoint=tmp_path / "c.pt")
    with pytest.raises(DataError, match=r"c\.pt: not a checkpoint of this training"):
        line(checkpoint=tmp_path / "c.pt", **CHANGES[change]())


def test_a_broken_checkpoint_is_named(tmp_path):
    (tmp_path / "c.pt").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"c\.pt"):
        line(checkpoint=tmp_path / "c.pt")
