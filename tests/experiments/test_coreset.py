import dataclasses

import numpy as np
import pytest

from helpers.data.patches import PatchGrid
from helpers.experiments.coreset import agreement, choose, cover, list_trials, orders
from helpers.experiments.preparation import DataSettings, prepare_data
from helpers.experiments.subset import Recipe, run_subset_trial
from helpers.quantization import METHODS
from helpers.training.loop import TrainingPlan

SETTINGS = DataSettings(
    dataset="synthetic-multi",
    n_images=5,
    image_size=96,
    test_share=0.4,
    max_test_images=0,
    seed=0,
    polarity="as_is",
    grid=PatchGrid(48, 24, "pad"),
)
RECIPE = Recipe(width=2, plan=TrainingPlan(steps=2, batch_size=2, crop=32), seed=0)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare_data(SETTINGS, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def features(prepared):
    return np.random.default_rng(0).normal(size=(len(prepared.patches()), 6)).astype(np.float32)


def test_every_method_gives_the_exact_size_at_every_rate_and_all_comes_once_per_seed(features):
    choices = choose(features, list(METHODS), [0.1, 0.5, 1.0], [0, 1], 5)
    assert len(choices) == len(METHODS) * 2 * 2 + 2
    sizes = {choice.rate: len(choice.indices) for choice in choices}
    assert sizes == {0.1: 5, 0.5: 24, 1.0: 48}
    assert [c.seed for c in choices if c.method == "all"] == [0, 1]
    for choice in choices:
        assert (np.diff(choice.indices) > 0).all()


def test_seeds_change_what_is_drawn_and_nothing_else(features):
    choices = choose(features, ["random", "k_center", "dq_paper_eq"], [0.2], [0, 1], 5)
    by_method = {}
    for choice in choices:
        by_method.setdefault(choice.method, []).append(choice)
    assert by_method["random"][0].subset != by_method["random"][1].subset
    assert by_method["dq_paper_eq"][0].subset != by_method["dq_paper_eq"][1].subset
    assert by_method["k_center"][0].subset == by_method["k_center"][1].subset


def test_equal_choices_are_one_trial_whatever_made_them(features):
    one, two = choose(features, ["k_center", "herding"], [0.2], [0], 5)
    same = dataclasses.replace(two, indices=one.indices)
    first, second = list_trials([one, same], {0: RECIPE})
    assert first == second
    assert first != list_trials([two], {0: RECIPE})[0]


def test_all_patches_cover_all_and_fewer_cover_less(prepared, features):
    everything, some = choose(features, ["random"], [0.1, 1.0], [0], 5)[::-1]
    whole, part = cover([everything, some], features, prepared, 6, seed=0)
    assert whole["coverage_mean"] == whole["coverage_p95"] == 0
    assert whole["cells_hit"] == whole["sizes_hit"] == whole["kinds_hit"] == 1
    assert whole["instances"] == prepared.patches().instances.sum()
    assert part["coverage_mean"] > 0
    assert part["coverage_p95"] >= part["coverage_mean"]
    assert part["instances"] == prepared.patches().instances[some.indices].sum()
    far, _ = cover([some, everything], features * 100, prepared, 6, seed=0)
    assert far["coverage_mean"] == pytest.approx(part["coverage_mean"], rel=1e-5)


def test_orders_hold_every_patch_once_for_each_gain(features):
    found = orders(features, 5)
    assert set(found) == {"paper_eq", "official_code", "graphcut"}
    for order in found.values():
        assert sorted(order) == list(range(len(features)))


def test_agreement_is_the_jaccard_index():
    assert agreement(np.array([1, 2, 3]), np.array([2, 3, 4])) == 0.5
    assert agreement(np.array([1]), np.array([1])) == 1
    assert agreement(np.array([1]), np.array([2])) == 0


def test_a_trial_trains_on_the_patches_behind_its_name(prepared, features, tmp_path):
    (choice,) = choose(features, ["random"], [0.1], [0], 5)
    (trial,) = list_trials([choice], {0: RECIPE})
    result = run_subset_trial(trial, tmp_path, prepared, {choice.subset: choice.indices})
    assert result["n_patches"] == len(choice.indices)
    assert result["n_instances"] == prepared.patches().instances[choice.indices].sum()
    assert len(result["images"]) == len(prepared.test_ids)


def test_patches_know_their_modality_and_the_sizes_of_their_instances(prepared):
    store = prepared.patches()
    assert all(kind.startswith("mixture/") for kind in store.kinds)
    areas = store.areas_by_patch()
    assert [len(one) for one in areas] == store.instances.tolist()
    foreground = (np.asarray(store.arrays[:, 1]) > 0.5).sum(axis=(1, 2))
    assert [int(one.sum()) for one in areas] == foreground.tolist()
