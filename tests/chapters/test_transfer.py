"""Which models the chapters on transfer train, and rules that no recorded number tests."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from helpers.book.results import Cells
from helpers.chapters import forgetting, order, replay, zero_shot
from helpers.experiments import transfer
from helpers.experiments.stages import in_layers
from helpers.experiments.transfer import ROLES, SOURCE, TARGET

ONE = {"seeds": [3], "steps": 60, "fine_steps": 20, "batch_size": 4}


@pytest.fixture
def domains(monkeypatch):
    """40 patches of the target, 20 of the source."""

    def domain(count):
        found = SimpleNamespace(trainable=np.arange(count))
        found.turned = lambda seed: found
        return found

    held = {role: domain(count) for role, count in zip(ROLES, (20, 40, 8), strict=True)}
    monkeypatch.setattr(transfer, "open_domains", lambda p: held)


def by(arms, **about):
    return [arm.stage for arm in arms if about.items() <= arm.about.items()]


def steps_of_path(stage):
    return sum(one.recipe.plan.steps for one in stage.path)


def test_what_has_the_same_past_is_one_model_for_all_chapters(domains):
    p = replay.Parameters(**ONE)
    arms = [
        *forgetting.arms(forgetting.Parameters(**ONE)),
        *order.arms(order.Parameters(**ONE)),
        *zero_shot.arms(zero_shot.Parameters(**ONE)),
        *replay.arms(p, replay.chosen(p, [])),
    ]
    layers = in_layers([arm.stage for arm in arms])
    assert [{stage.depth for stage in layer} for layer in layers] == [{0}, {1}, {2}]
    names = [transfer.name_of(stage) for layer in layers for stage in layer]
    # All of it, 30 % chosen in two ways, 10 %.
    assert names.count("source") == 4
    # The usual learning rate, a lower one, after 10 %, L2-SP, distillation.
    assert names.count("source -> target") == 5
    assert len([name for name in names if name.count("->") == 2]) == 6


def test_joint_training_takes_the_steps_of_the_whole_path():
    p = order.Parameters(**ONE)
    assert steps_of_path(transfer.joint(p, 3, *ROLES)) == 100
    assert steps_of_path(transfer.path(p, 3, *ROLES)) == 100
    assert transfer.name_of(transfer.joint(p, 3, TARGET, SOURCE)) == "source + target"


def test_appended_replay_keeps_the_epochs_and_all_else_the_steps(domains):
    p = replay.Parameters(**ONE, rates=[0.5], methods=["random"])
    arms = replay.arms(p, replay.chosen(p, []))
    (grown,), (mixed,) = by(arms, setting="appended"), by(arms, setting="controlled")
    # Two epochs: 20 steps of 4 over 40 patches, 25 over 50.
    assert grown.recipe.plan.steps == 25
    assert [portion.share for portion in mixed.portions] == [0.5, 0.5]
    others = [stage for arm in arms if (stage := arm.stage) not in (grown, *by(arms, table="V"))]
    assert {steps_of_path(stage) for stage in others} == {80}
    assert len(by(arms, table="rivals")) == 5


def test_weights_are_chosen_on_a_seed_that_is_not_counted(domains):
    p = replay.Parameters(**ONE, anchor=[0.1, 1.0], teacher=[2.0, 3.0])
    tried = replay.tuning_arms(p)
    assert {arm.stage.recipe.seed for arm in tried} == {99}
    better = {"L2-SP": 1.0, "distillation": 2.0, "adaptive replay": 0.5}
    tuned = []
    for arm in tried:
        dice = 0.9 if arm.about.get("weight") == better.get(arm.about["method"]) else 0.2
        rows = [{"id": "x", "group": "x", "dice": dice}]
        about = {**arm.about, "seed": 99}
        tuned.append({"about": about, "domains": dict.fromkeys(ROLES, rows)})
    assert replay.chosen(p, tuned) == better
    found = replay.arms(p, better)
    (anchored,) = by(found, method="L2-SP")
    assert anchored.keep.anchor == 1.0
    assert [stage.keep.teacher for stage in by(found, method="replay + distillation")] == [2.0]
    assert replay.tuning_arms(replay.Parameters(**ONE)) == []


def cells(*rows, table):
    """Rows of (train, test, one Dice per seed, further columns)."""
    found = [
        {"table": table, "train": train, "test": test, "metric": "dice", "seed": seed, "value": v}
        | more
        for train, test, values, more in rows
        for seed, v in enumerate(values)
    ]
    return pd.DataFrame(found).astype({"seed": "Int64"})


def quantity(chapter, beginning):
    (claim,) = [claim for claim in chapter.CLAIMS if claim.text.startswith(beginning)]
    return claim.quantity


def test_trainings_of_unequal_length_are_not_compared():
    def gain(steps):
        rows = [
            ("target", "target", [0.7, 0.8], {"steps": 60}),
            ("source -> target", "target", [0.6, 0.9], {"steps": steps}),
        ]
        return quantity(forgetting, "The fine-tuned model")(Cells(cells(*rows, table="V")))

    assert gain(60).tolist() == pytest.approx([-0.1, 0.1])
    assert gain(20).empty


def full_matrix(last, second, first):
    """Every path on every domain; on a domain alone models have 1."""
    rows = []
    for path in order.PATHS:
        roles = path.split(" -> ")[::-1]
        own = [1.0] if len(roles) == 1 else [last, second, first]
        for role in ROLES:
            dice = own[roles.index(role)] if role in roles else 0.0
            rows.append((path, role, [dice, dice], {"steps": 60}))
    return Cells(cells(*rows, table="VII"))


def test_where_only_the_last_domain_counts_no_order_is_better():
    c = full_matrix(0.9, 0.2, 0.2)
    assert quantity(order, "What decides")(c).tolist() == pytest.approx([0.7, 0.7])
    assert quantity(order, "Starting with")(c).tolist() == pytest.approx([0, 0])
    # A ends with the third domain, B and C with the target; none of them with the source.
    assert quantity(order, "Training order")(c).tolist() == pytest.approx([0.7 * 2 / 3] * 2)


def test_a_best_path_that_is_chance_alone_is_no_better():
    paths = {order.A: [0.6, 0.2, 0.4], order.B: [0.2, 0.4, 0.6], order.C: [0.4, 0.6, 0.2]}
    rows = [(path, role, dice, {}) for path, dice in paths.items() for role in ROLES]
    spans = quantity(order, "Training order")(Cells(cells(*rows, table="VII")))
    # Whoever was best in the other seeds is worst in this one.
    assert (spans < 0).all()


def test_replay_is_compared_at_the_share_that_was_best_elsewhere():
    both, none = "source -> source + target", "source -> target"

    def model(train, source, target, seeds=2, **more):
        return [(train, SOURCE, [source] * seeds, more), (train, TARGET, [target] * seeds, more)]

    tuning = [
        *model(both, 0.9, 0.1, 1, method="fixed share", share=50.0),
        *model(both, 0.8, 0.7, 1, method="fixed share", share=10.0),
    ]
    shares = [
        *model(both, 0.9, 0.9, method="fixed share", share=50.0),
        *model(both, 0.8, 0.6, method="fixed share", share=10.0),
    ]
    rivals = model(none, 0.5, 0.7, method="L2-SP", weight=0.1)
    tables = {"tuning": tuning, "shares": shares, "rivals": rivals}
    parts = [cells(*rows, table=name) for name, rows in tables.items()]
    parts[0]["seed"] = 99
    c = Cells(pd.concat(parts))
    assert quantity(replay, "Replay is better than L2-SP")(c).dropna().tolist() == pytest.approx(
        [0.1, 0.1]
    )
    assert (
        quantity(replay, "Replay is better than L2-SP")(Cells(pd.concat(parts[1:]))).dropna().empty
    )


def test_replay_is_judged_by_what_both_shares_bring_back():
    both, none = "source -> source + target", "source -> target"
    dq, added = {"method": "DQ, printed equation"}, {"setting": "appended"}
    eight = cells(
        (none, "source", [0.1, 0.2], {"method": "none", "rate": 0.0}),
        (both, "source", [0.7, 0.6], dq | added | {"rate": 5.0}),
        (both, "source", [0.5, 0.8], dq | added | {"rate": 10.0}),
        table="VIII",
    )
    start = cells(("source", "source", [0.9, 1.0], {}), table="V")
    found = quantity(replay, "Replaying just")(Cells(pd.concat([eight, start])))
    assert found.tolist() == pytest.approx([0.4 / 0.8, 0.4 / 0.8])


def test_a_head_start_is_a_lower_loss_before_either_learning_rate_decays():
    def rows(train, losses):
        model = {"losses": losses, "about": {"table": "V", "train": train, "seed": 0}}
        return pd.DataFrame(transfer.losses([model], 2))

    # Equal in the last fifth of the shorter training, where its learning rate decays.
    fresh, warm = (
        rows("target", [1.0] * 32 + [0.1] * 28),
        rows("source -> target", [0.6] * 32 + [0.1] * 8),
    )
    assert list(fresh["step"][:3]) == [1, 3, 5]
    learned = quantity(forgetting, "What was learned")
    assert learned(Cells(pd.concat([fresh, warm]))).tolist() == pytest.approx([0.4])
    assert learned(Cells(fresh)).dropna().empty


def test_retention_along_a_path_comes_from_the_measurements_of_its_stages():
    found = order.retention(full_matrix(0.9, 0.5, 0.2), order.A)
    assert found.average_accuracy.mean == pytest.approx((0.9 + 0.5 + 0.2) / 3)
    # The source fell from 1 to .2, the target from .9 to .5.
    assert found.forgetting.mean == pytest.approx((0.8 + 0.4) / 2)
