import dataclasses
from itertools import permutations

import pytest

from helpers.experiments.curricula import (
    ROLES,
    SOURCE,
    TARGET,
    THIRD,
    Course,
    from_subsets,
    orders,
    other_rates,
    replays,
    rivals,
    shares,
    strategies,
    zero_shot,
)
from helpers.experiments.stages import Portion, in_layers
from helpers.experiments.subset import Recipe
from helpers.replay import AdaptiveShare
from helpers.training.loop import TrainingPlan

FIRST = Recipe(2, TrainingPlan(steps=60, batch_size=4, crop=32, learning_rate=0.1), seed=3)
COURSE = Course(FIRST, steps=20, learning_rate=0.01, looks=5)


def stages_of(arms):
    return [stage for layer in in_layers([arm.stage for arm in arms]) for stage in layer]


def learned(stage):
    return [one.learned for one in stage.path]


def steps_of_path(stage):
    return sum(one.recipe.plan.steps for one in stage.path)


def test_every_stage_is_listed_once_and_after_the_one_it_starts_from():
    arms = orders(COURSE) + strategies(COURSE) + zero_shot(COURSE, ["random"], [0.1, 0.5])
    listed = stages_of(arms)
    assert len(listed) == len(set(listed))
    assert set(listed) == {stage for arm in arms for stage in arm.stage.path}
    for place, stage in enumerate(listed):
        assert stage.start is None or stage.start in listed[:place]
    for depth, layer in enumerate(in_layers([arm.stage for arm in arms])):
        assert {stage.depth for stage in layer} == {depth}


def test_nothing_gives_no_layer():
    assert in_layers([]) == []


def test_what_has_the_same_past_is_the_same_stage():
    one, two = COURSE.path([SOURCE, TARGET]), COURSE.path([SOURCE, TARGET])
    assert one is not two
    assert one == two
    assert hash(one) == hash(two)
    assert COURSE.path([SOURCE, TARGET]) != COURSE.path([TARGET, SOURCE])
    slower = dataclasses.replace(COURSE, learning_rate=0.001)
    assert slower.path([SOURCE, TARGET]) != one
    assert slower.path([SOURCE]) == one.start
    other = dataclasses.replace(COURSE, first=dataclasses.replace(FIRST, seed=4))
    assert other.path([SOURCE]) != one.start


def test_chapters_share_the_source_model_and_the_ordered_pairs():
    adaptive = AdaptiveShare()
    everything = [
        *zero_shot(COURSE, ["random"], [0.5]),
        *strategies(COURSE),
        *orders(COURSE),
        *replays(COURSE, ["random"], [0.5], (40, 20)),
        *shares(COURSE, "random", 0.5, [0.1]),
        *rivals(COURSE, "random", 0.5, 0.1, 1.0, adaptive, 0.1),
    ]
    whole_source = [
        s for s in stages_of(everything) if s.start is None and learned(s) == [(SOURCE,)]
    ]
    # All of it, and the half of it that the third domain is compared on.
    assert [stage.portions[0].rate for stage in whole_source] == [1.0, 0.5]
    pair = COURSE.path([SOURCE, TARGET])
    for arms in (strategies(COURSE), orders(COURSE), replays(COURSE, ["random"], [0.5], (40, 20))):
        assert pair in [arm.stage for arm in arms]


def test_orders_are_all_there_are():
    arms = orders(COURSE)
    paths = [tuple(name for (name,) in learned(arm.stage)) for arm in arms]
    assert len(paths) == len(set(paths)) == 3 + 6 + 6
    assert {path for path in paths if len(path) == 3} == set(permutations(ROLES))
    assert [arm.method for arm in arms] == [" -> ".join(path) for path in paths]
    # Three first stages, six second ones, six third ones: each trained once.
    assert [len(layer) for layer in in_layers([arm.stage for arm in arms])] == [3, 6, 6]


def test_later_stages_have_their_own_steps_rate_and_looks():
    first, second, third = COURSE.path([SOURCE, TARGET, THIRD]).path
    assert (first.recipe, first.looks) == (FIRST, 0)
    for later in (second, third):
        assert later.recipe.plan.steps == 20
        assert later.recipe.plan.learning_rate == 0.01
        assert later.looks == 5
        assert later.recipe.seed == FIRST.seed


@pytest.mark.parametrize("roles", [(TARGET, SOURCE), ROLES])
def test_joint_training_takes_the_steps_of_the_whole_path(roles):
    joint = COURSE.joint(*roles)
    assert joint.start is None
    assert joint.learned == roles
    assert [portion.share for portion in joint.portions] == [1 / len(roles)] * len(roles)
    assert steps_of_path(joint) == steps_of_path(COURSE.path(roles))


def test_strategies_are_those_of_table_v():
    found = [(arm.method, learned(arm.stage)) for arm in strategies(COURSE)]
    assert found == [
        ("single", [(SOURCE,)]),
        ("single", [(TARGET,)]),
        ("joint", [(TARGET, SOURCE)]),
        ("finetune", [(SOURCE,), (TARGET,)]),
        ("finetune", [(TARGET,), (SOURCE,)]),
    ]


def test_models_from_subsets_are_measured_before_and_after():
    before, after = from_subsets(COURSE, ["random"], [0.3])
    assert (before.method, after.method) == ("random: before", "random")
    assert after.stage.start == before.stage
    assert before.stage.portions == (Portion(SOURCE, 0.3, "random"),)
    assert learned(after.stage) == [(SOURCE,), (TARGET,)]


def test_other_rates_differ_in_nothing_else():
    slow, fast = (arm.stage for arm in other_rates(COURSE, [0.001, 0.2]))
    assert slow.start == fast.start
    assert slow.recipe.plan.learning_rate == 0.001
    plan = dataclasses.replace(slow.recipe.plan, learning_rate=0.2)
    assert dataclasses.replace(slow, recipe=dataclasses.replace(slow.recipe, plan=plan)) == fast


def test_appended_replay_keeps_the_epochs_and_controlled_replay_the_steps():
    sizes = (40, 20)
    arms = {arm.method: arm.stage for arm in replays(COURSE, ["random"], [0.5], sizes)}
    appended, controlled = arms["appended, random"], arms["controlled, random"]
    batch = FIRST.plan.batch_size
    epochs = COURSE.steps * batch / sizes[0]
    assert appended.recipe.plan.steps * batch / (sizes[0] + 0.5 * sizes[1]) == epochs
    assert appended.recipe.plan.steps == 25
    assert controlled.recipe.plan.steps == arms["none"].recipe.plan.steps == COURSE.steps
    assert [portion.share for portion in appended.portions] == [None, None]
    assert [portion.share for portion in controlled.portions] == [0.5, 0.5]
    assert appended.start == controlled.start == arms["none"].start == COURSE.path([SOURCE])
    assert appended.recipe.plan.learning_rate == COURSE.learning_rate


def test_all_of_the_source_is_replayed_once_whatever_chooses():
    arms = replays(COURSE, ["random", "dq_paper_eq"], [0.1, 1.0], (40, 20))
    assert len([arm for arm in arms if arm.rate == 0.1]) == 4
    assert len([arm for arm in arms if arm.rate == 1.0]) == 2
    assert len({arm.stage for arm in arms}) == len(arms)


def test_shares_and_rivals_take_equal_steps():
    rule = AdaptiveShare(low=0.1, high=0.4)
    mixed = shares(COURSE, "random", 0.5, [0.1, 0.3])
    assert [arm.stage.portions[1].share for arm in mixed] == [0.1, 0.3]
    others = {arm.method: arm.stage for arm in rivals(COURSE, "random", 0.5, 0.2, 2.0, rule, 0.1)}
    total = steps_of_path(COURSE.path([SOURCE, TARGET]))
    assert {steps_of_path(arm.stage) for arm in mixed} == {total}
    assert {steps_of_path(stage) for stage in others.values()} == {total}
    for stage in [*(arm.stage for arm in mixed), *others.values()]:
        given = [portion.share for portion in stage.portions if portion.share is not None]
        assert not given or sum(given) == pytest.approx(1)
    assert others["L2-SP"].keep.anchor == 0.2
    assert others["distillation"].keep.teacher == 2.0
    assert others["replay + distillation"].keep.teacher == 2.0
    assert others["adaptive replay"].keep.adaptive == rule
    assert others["adaptive replay"].portions[1].share == rule.high
