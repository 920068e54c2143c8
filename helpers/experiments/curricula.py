"""Which stages the chapters on transfer need: arms of an experiment as paths of stages.

The roles are those of arXiv 2511.04803: the source is its Cyto, the target its Histo, the third
domain its MultiInst. A path is written as a sequence of roles.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

from helpers.experiments.stages import Keep, Portion, Stage
from helpers.experiments.subset import Recipe
from helpers.replay import AdaptiveShare
from helpers.training.loop import steps_for_epochs

SOURCE, TARGET, THIRD = ROLES = ("source", "target", "third")


@dataclass(frozen=True)
class Arm:
    """One model of an experiment.

    Attributes:
        method: what is compared.
        stage: its last stage.
        rate: share of a domain that the method is about, or ``None``.
        note: what else there is to say of it.
    """

    method: str
    stage: Stage
    rate: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Course:
    """How long and how fast models learn: first from random weights, then from others'.

    Attributes:
        first: recipe of a stage that starts from random weights.
        steps: of a stage that starts from another's weights.
        learning_rate: of such a stage.
        looks: at the domains during such a stage.
    """

    first: Recipe
    steps: int
    learning_rate: float
    looks: int = 8

    @property
    def next(self) -> Recipe:
        """Recipe of a stage that starts from another's weights."""
        plan = replace(self.first.plan, steps=self.steps, learning_rate=self.learning_rate)
        return replace(self.first, plan=plan)

    def begin(self, *portions: Portion) -> Stage:
        """A stage from random weights."""
        return Stage(portions, self.first)

    def go_on(self, start: Stage, *portions: Portion, keep: Keep | None = None) -> Stage:
        """A stage from the weights of another."""
        return Stage(portions, self.next, start, keep or Keep(), self.looks)

    def path(self, roles: Sequence[str]) -> Stage:
        """One whole domain after the other."""
        stage = self.begin(Portion(roles[0]))
        for role in roles[1:]:
            stage = self.go_on(stage, Portion(role))
        return stage

    def joint(self, *roles: str) -> Stage:
        """Several domains together, for as many steps as the path has in all.

        Each has an equal part of every batch, however many patches it has.
        """
        steps = self.first.plan.steps + (len(roles) - 1) * self.steps
        recipe = replace(self.first, plan=replace(self.first.plan, steps=steps))
        return Stage(tuple(Portion(role, share=1 / len(roles)) for role in roles), recipe)


def zero_shot(course: Course, methods: Sequence[str], rates: Sequence[float]) -> list[Arm]:
    """Table IV: trained on all of the source or on subsets of it, tested on the third domain."""
    arms = [Arm("all", course.path([SOURCE]), 1.0)]
    return arms + [
        Arm(method, course.begin(Portion(SOURCE, rate, method)), rate)
        for method in methods
        for rate in rates
    ]


def strategies(course: Course) -> list[Arm]:
    """Table V: each domain alone, both together, one after the other both ways."""
    return [
        Arm("single", course.path([SOURCE])),
        Arm("single", course.path([TARGET])),
        Arm("joint", course.joint(TARGET, SOURCE)),
        Arm("finetune", course.path([SOURCE, TARGET])),
        Arm("finetune", course.path([TARGET, SOURCE])),
    ]


def from_subsets(course: Course, methods: Sequence[str], rates: Sequence[float]) -> list[Arm]:
    """Table VI: models trained on a share of the source, before and after the target."""
    arms = []
    for method in methods:
        for rate in rates:
            first = course.begin(Portion(SOURCE, rate, method))
            arms.append(Arm(f"{method}: before", first, rate))
            arms.append(Arm(method, course.go_on(first, Portion(TARGET)), rate))
    return arms


def other_rates(course: Course, learning_rates: Sequence[float]) -> list[Arm]:
    """Source, then target at other learning rates."""
    arms = []
    for value in learning_rates:
        slower = replace(course, learning_rate=value)
        arms.append(Arm(f"learning rate {value:g}", slower.path([SOURCE, TARGET])))
    return arms


def orders(course: Course) -> list[Arm]:
    """Table VII: every domain alone, every ordered pair, every order of all three."""
    lengths = range(1, len(ROLES) + 1)
    paths = [path for length in lengths for path in permutations(ROLES, length)]
    return [Arm(" -> ".join(path), course.path(path)) for path in paths]


def replays(
    course: Course,
    methods: Sequence[str],
    rates: Sequence[float],
    sizes: tuple[int, int],
    share: float = 0.5,
) -> list[Arm]:
    """Table VIII: the target with a share of the source added.

    Published setting: the subset is added to the target's patches and the epochs stay the same,
    so that the steps grow with the pool. Controlled setting: a share ``rate`` of the source fills
    a fixed part of every batch, at equal steps.

    Args:
        rates: shares of the source, above 0.
        sizes: patches of target and source.
        share: of every batch, in the controlled setting.
    """
    start = course.path([SOURCE])
    arms = [Arm("none", course.path([SOURCE, TARGET]), 0.0)]
    for rate in rates:
        # All of the source is the same whatever chooses it.
        for method in methods if rate < 1 else methods[:1]:
            grown = _grown(course, rate, sizes)
            both = (Portion(TARGET), Portion(SOURCE, rate, method))
            arms.append(Arm(f"appended, {method}", grown.go_on(start, *both), rate))
            mixed = course.go_on(start, *_replayed(method, rate, share))
            arms.append(Arm(f"controlled, {method}", mixed, rate))
    return arms


def _grown(course: Course, rate: float, sizes: tuple[int, int]) -> Course:
    """Steps of as many epochs over target and subset as the course has over the target."""
    target, source = sizes
    batch = course.first.plan.batch_size
    epochs = course.steps * batch / target
    return replace(course, steps=steps_for_epochs(epochs, target + round(rate * source), batch))


def shares(course: Course, method: str, rate: float, values: Sequence[float]) -> list[Arm]:
    """The same replayed subset at several shares of the batch, equal steps."""
    start = course.path([SOURCE])
    return [
        Arm(f"share {share:.0%}", course.go_on(start, *_replayed(method, rate, share)), rate)
        for share in values
    ]


def _replayed(method: str, rate: float, share: float) -> tuple[Portion, Portion]:
    return (Portion(TARGET, share=1 - share), Portion(SOURCE, rate, method, share=share))


def anchored(course: Course, weight: float) -> Arm:
    """L2-SP: the target without replay, weights pulled back to where they start."""
    keep = Keep(anchor=weight)
    return Arm("L2-SP", course.go_on(course.path([SOURCE]), Portion(TARGET), keep=keep))


def distilled(course: Course, weight: float) -> Arm:
    """Distillation: the target without replay, answers held to those of the start."""
    keep = Keep(teacher=weight)
    return Arm("distillation", course.go_on(course.path([SOURCE]), Portion(TARGET), keep=keep))


def adaptive(course: Course, method: str, rate: float, rule: AdaptiveShare) -> Arm:
    """As much replay of a subset as is being forgotten."""
    portions = _replayed(method, rate, rule.high)
    stage = course.go_on(course.path([SOURCE]), *portions, keep=Keep(adaptive=rule))
    return Arm("adaptive replay", stage, rate)


def rivals(
    course: Course,
    method: str,
    rate: float,
    anchor: float,
    teacher: float,
    rule: AdaptiveShare,
    share: float,
) -> list[Arm]:
    """What else is done against forgetting, at equal steps.

    Args:
        method, rate: of the replayed subset, where there is one.
        anchor: weight of L2-SP; teacher: weight of distillation.
        rule: of the adaptive share.
        share: of the batch that replay with distillation replays.
    """
    portions = _replayed(method, rate, share)
    both = course.go_on(course.path([SOURCE]), *portions, keep=Keep(teacher=teacher))
    return [
        Arm("joint", course.joint(TARGET, SOURCE)),
        anchored(course, anchor),
        distilled(course, teacher),
        Arm("replay + distillation", both, rate),
        adaptive(course, method, rate, rule),
    ]
