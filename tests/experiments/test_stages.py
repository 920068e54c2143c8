import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from helpers.errors import ParameterError
from helpers.experiments import stages, transfer
from helpers.experiments.stages import (
    WEIGHTS,
    Keep,
    Portion,
    Stage,
    choose,
    describe,
    pools_of,
    run_stage,
)
from helpers.experiments.subset import Recipe
from helpers.files import read_torch
from helpers.models.cpnet import build_cpnet
from helpers.replay import AdaptiveShare, Mixer
from helpers.training.flows import Flows, TrainingPlan

PLAN = TrainingPlan(steps=6, batch_size=4, crop=32, learning_rate=0.05, checkpoint_every=2)
RECIPE = Recipe(width=2, plan=PLAN, seed=0)
P = SimpleNamespace(
    width=2,
    steps=6,
    batch_size=4,
    crop=32,
    learning_rate=0.05,
    checkpoint_every=2,
    fine_steps=6,
    fine_learning_rate=0.05,
    looks=3,
    device="cpu",
    precision="float32",
    flow_threshold=0.4,
    threads=1,
    workers=1,
)
BOTH = (Portion("target", share=0.75), Portion("source", 0.5, share=0.25))


def stood_still(stage):
    """The same stage at a learning rate at which no weight moves."""
    plan = dataclasses.replace(stage.recipe.plan, learning_rate=1e-12)
    return dataclasses.replace(stage, recipe=dataclasses.replace(stage.recipe, plan=plan))


class Shelf:
    """Runs stages and keeps their folders and results."""

    def __init__(self, root, domains):
        self.root, self.domains = root, domains
        self.results = {}

    def folder(self, stage):
        return self.root / f"{hash(stage):x}"

    def run(self, last):
        for stage in last.path:
            if stage not in self.results:
                self.folder(stage).mkdir(exist_ok=True)
                self.results[stage] = run_stage(
                    stage, self.folder(stage), self.domains, self.folder
                )
        return self.results[last]

    def weights(self, stage):
        return read_torch(self.folder(stage) / WEIGHTS)


@pytest.fixture(scope="module")
def shelf(domains, tmp_path_factory):
    return Shelf(tmp_path_factory.mktemp("stages"), domains)


@pytest.fixture(scope="module")
def start(shelf):
    """All of the source, from random weights."""
    stage = transfer.begin(P, 0, Portion("source"))
    shelf.run(stage)
    return stage


def parameters(state):
    """Without the running statistics, which no learning rate holds still."""
    names = dict(build_cpnet(2, 0).named_parameters())
    return {name: value for name, value in state.items() if name in names}


def assert_same(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def timeless(result):
    """Plain JSON without what a clock said."""
    if isinstance(result, dict):
        return {k: timeless(v) for k, v in result.items() if "seconds" not in k}
    return [timeless(one) for one in result] if isinstance(result, list) else result


def distance(first, second):
    return sum(float(((first[n] - second[n]) ** 2).sum()) for n in parameters(first))


def test_a_stage_is_measured_on_every_domain_and_is_plain_json(shelf, start, domains):
    result = shelf.run(start)
    assert json.loads(json.dumps(result)) == result
    assert list(result["domains"]) == list(domains)
    for name, domain in domains.items():
        assert [row["id"] for row in result["domains"][name]] == domain.prepared.test_ids
    assert result["n_patches"] == [len(domains["source"].trainable)]
    assert (len(result["losses"]), result["drawn"], result["checks"]) == (6, [1.0], [])
    kept = {path.name for path in shelf.folder(start).iterdir()}
    assert kept == {WEIGHTS, "examples-0.npz", "examples-1.npz", "examples-2.npz"}


def test_only_patches_of_the_chosen_ones_are_trained_on(shelf, domains, monkeypatch):
    seen, read = [], Flows.read
    monkeypatch.setattr(
        Flows, "read", lambda own, rows, drawn: seen.append(rows) or read(own, rows, drawn)
    )
    stage = Stage(BOTH, RECIPE)
    shelf.run(stage)
    rows, chosen = np.concatenate(seen), choose(stage, domains)
    assert len(chosen[1]) == round(0.5 * len(domains["source"].trainable))
    for source, part in enumerate(chosen):
        assert set(rows[rows[:, 0] == source, 1]) <= set(part)


def test_a_stage_starts_from_the_weights_of_the_one_before(shelf, start):
    second = stood_still(transfer.go_on(P, start, Portion("target")))
    shelf.run(second)
    before, after = (parameters(shelf.weights(stage)) for stage in (start, second))
    for name in before:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-7)
    learning = transfer.go_on(P, start, Portion("target"))
    shelf.run(learning)
    assert distance(shelf.weights(learning), before) > 1e-3


def test_a_stage_repeats_neither_order_nor_crops_of_the_one_before(shelf, monkeypatch):
    seen, read = [], Flows.read

    def note(own, rows, generator):
        seen.append(rows)
        return read(own, rows, generator)

    monkeypatch.setattr(Flows, "read", note)
    own = SimpleNamespace(**{**vars(P), "looks": 0})
    first = stood_still(transfer.begin(own, 0, Portion("source")))
    second = stood_still(transfer.go_on(own, first, Portion("source")))
    shelf.run(second)
    assert len(seen) == 12
    assert (np.concatenate(seen[:6]) != np.concatenate(seen[6:])).any()
    losses = [np.array(shelf.results[stage]["losses"]) for stage in (first, second)]
    assert (losses[0] != losses[1]).all()


def test_shares_of_the_batches_are_those_asked_for(domains):
    controlled = Stage(BOTH, RECIPE)
    appended = Stage((Portion("target"), Portion("source", 0.5)), RECIPE)
    wanted = {controlled: [0.75, 0.25], appended: [2 / 3, 1 / 3]}
    for stage, shares in wanted.items():
        chosen = choose(stage, domains)
        assert [len(part) for part in chosen] == [8, 4]
        mixer = Mixer(pools_of(stage, chosen), 4, 0)
        rows = np.concatenate([mixer.next() for _ in range(60)])
        counted = np.bincount(rows[:, 0]) / len(rows)
        np.testing.assert_allclose(counted, shares, atol=1e-9)
        assert stages._drawn(stage, mixer, chosen) == pytest.approx(shares, abs=1e-4)


def test_the_result_says_how_much_was_replayed(shelf):
    stage = Stage((Portion("target", share=0.5), Portion("source", 0.5, share=0.5)), RECIPE)
    assert shelf.run(stage)["drawn"] == [0.5, 0.5]
    assert shelf.run(stage)["n_patches"] == [8, 4]


def test_a_teacher_an_anchor_and_replay_each_change_what_is_learned(shelf, start):
    keeps = {"plain": Keep(), "anchor": Keep(anchor=5.0), "teacher": Keep(teacher=5.0)}
    stages = {
        name: transfer.go_on(P, start, Portion("target"), keep=k) for name, k in keeps.items()
    }
    stages["replay"] = transfer.go_on(P, start, *BOTH)
    for stage in stages.values():
        shelf.run(stage)
    weights = {name: shelf.weights(stage) for name, stage in stages.items()}
    names = list(weights)
    for k, one in enumerate(names):
        for other in names[k + 1 :]:
            assert distance(weights[one], weights[other]) > 1e-6, (one, other)
    begin = shelf.weights(start)
    assert distance(weights["anchor"], begin) < 0.9 * distance(weights["plain"], begin)


def test_looks_show_all_domains_before_during_and_after(shelf, start, domains):
    checks = shelf.run(transfer.go_on(P, start, Portion("target")))["checks"]
    assert [check["step"] for check in checks] == [0, 2, 4, 6]
    for check in checks:
        assert set(check) == {"step", "replayed", *domains}
        assert all(0 <= check[name] <= 1 for name in domains)
        assert check["replayed"] == 0


RULE = AdaptiveShare(low=0.1, high=0.5, tolerance=0.2)


def adaptive_stage(start, looks=4):
    own = SimpleNamespace(**{**vars(P), "fine_steps": 8, "looks": looks})
    portions = (Portion("target", share=0.5), Portion("source", 0.5, share=0.5))
    return transfer.go_on(own, start, *portions, keep=Keep(adaptive=RULE))


def test_the_adaptive_share_follows_what_is_forgotten(shelf, start, domains, monkeypatch):
    source = domains["source"].watched()
    scores = iter([0.8, 0.9, 0.7, 0.2, 0.8])

    def scripted(network, stack, precision, side):
        return next(scores) if np.array_equal(stack, source) else 0.5

    monkeypatch.setattr(stages, "foreground_dice", scripted)
    result = shelf.run(adaptive_stage(start))
    # Each look notes the share of the batches before it: the one that the look before asked for.
    replayed = [check["replayed"] for check in result["checks"]]
    assert replayed == pytest.approx([0.5, 0.5, 0.1, 0.3, 0.5])
    batches = np.array([0.5, 0.1, 0.3, 0.5])
    assert result["drawn"][1] == pytest.approx(batches.mean(), abs=1 / 32)


def test_the_adaptive_share_stays_in_its_bounds(shelf, start):
    stage = dataclasses.replace(adaptive_stage(start), looks=8)
    checks = shelf.run(stage)["checks"]
    assert len(checks) == 9
    assert all(RULE.low <= check["replayed"] <= RULE.high for check in checks)
    expected = [RULE.share(checks[0]["source"], check["source"]) for check in checks[1:-1]]
    assert [check["replayed"] for check in checks[2:]] == pytest.approx(expected)


def test_an_adaptive_share_needs_something_to_watch(start, domains):
    one_image = SimpleNamespace(watched=lambda: domains["source"].watched()[:0])
    stage = adaptive_stage(start)
    with pytest.raises(ParameterError, match="watched patches of 'source' show no instance"):
        stages._looks(stage, {**domains, "source": one_image}, mixer=None, chosen=[])


@pytest.mark.parametrize(
    ("portions", "keep", "looks", "message"),
    [
        ((Portion("target"), Portion("source", share=1.0)), Keep(), 0, "each portion, or none"),
        ((Portion("target"), Portion("source")), Keep(adaptive=RULE), 2, "two portions with"),
        ((Portion("target", share=1.0),), Keep(adaptive=RULE), 2, "two portions with"),
        (BOTH, Keep(adaptive=RULE), 0, "at least one look"),
    ],
)
def test_stages_that_contradict_themselves_are_refused(portions, keep, looks, message):
    with pytest.raises(ParameterError, match=message):
        Stage(portions, RECIPE, keep=keep, looks=looks)


class Killed(Exception):
    """Stands in for a process that is killed."""


def kill_at(monkeypatch, call, name="segmentation_loss"):
    """The so-many-th call of the loss (one per step) or of another function ends the process."""
    from helpers.training import flows

    owner = flows if hasattr(flows, name) else stages
    original, calls = getattr(owner, name), []

    def dying(*arguments):
        calls.append(None)
        if len(calls) == call:
            raise Killed
        return original(*arguments)

    monkeypatch.setattr(owner, name, dying)


def guarded(start):
    """A stage with everything that has a state."""
    stage = adaptive_stage(start)
    return dataclasses.replace(stage, keep=Keep(anchor=0.1, teacher=0.5, adaptive=RULE))


@pytest.mark.parametrize(
    ("name", "call"), [("segmentation_loss", 1), ("segmentation_loss", 6), ("measure", 2)]
)
def test_a_stage_killed_and_run_again_ends_the_same(
    shelf, start, domains, tmp_path, monkeypatch, name, call
):
    stage = guarded(start)
    expected = shelf.run(stage)
    again = Shelf(tmp_path, domains)
    again.folder = lambda one: shelf.folder(one) if one != stage else tmp_path
    with monkeypatch.context() as patch:
        kill_at(patch, call, name)
        with pytest.raises(Killed):
            run_stage(stage, tmp_path, domains, again.folder)
    assert not (tmp_path / WEIGHTS).exists()
    result = run_stage(stage, tmp_path, domains, again.folder)
    assert timeless(result) == timeless(expected)
    assert_same(again.weights(stage), shelf.weights(stage))


@pytest.fixture(scope="module")
def run_path(domains, tmp_path_factory):
    """Trains a path of two stages through the chapters' door, in a folder of that name."""
    root = tmp_path_factory.mktemp("paths")
    last = guarded(transfer.begin(P, 0, Portion("source")))

    def run(name):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("BOOK_RUNS_DIR", str(root / name))
            (row,) = transfer.run(P, [transfer.Arm(last, {"table": "paths"})], domains)
            store = transfer.trial_store(domains)
        return row, [read_torch(store.path(stage) / WEIGHTS) for stage in last.path]

    return run


def test_a_path_is_told_by_its_domains_and_not_trained_twice(run_path, monkeypatch):
    row, _ = run_path("whole")
    told = {"table": "paths", "train": "source -> source + target", "steps": 8, "seed": 0}
    assert row["about"] == told
    assert len(row["losses"]) == 8
    kill_at(monkeypatch, 1)
    assert run_path("whole")[0] == row


def test_a_path_killed_between_and_inside_stages_ends_the_same(run_path, monkeypatch):
    expected, weights = run_path("whole")
    # In the first stage, before the second begins, in the second, while that is measured.
    deaths = [
        ("segmentation_loss", 4),
        ("build_cpnet", 2),
        ("segmentation_loss", 5),
        ("measure", 2),
    ]
    for name, call in deaths:
        with monkeypatch.context() as patch:
            kill_at(patch, call, name)
            with pytest.raises(Killed):
                run_path("killed")
    found, again = run_path("killed")
    assert timeless(found) == timeless(expected)
    for first, second in zip(weights, again, strict=True):
        assert_same(first, second)


def test_a_stage_is_described_by_its_path(start):
    second = transfer.go_on(
        P, start, Portion("target"), Portion("source", 0.25), Portion("third", 0)
    )
    assert describe(second) == "source -> target + 25% source"
    assert second.learned == ("target", "source")
