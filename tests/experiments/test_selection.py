from types import SimpleNamespace

import numpy as np
import pytest

from helpers.experiments import selection
from helpers.experiments.selection import ALL, COVERAGE, NAMES, Arm, choose, cover, trial_of
from helpers.quantization import METHODS

from .conftest import small_data

P = SimpleNamespace(width=2, steps=400, batch_size=16, crop=32, device="cpu", precision="float32")
P.threads, P.workers, P.flow_threshold = 1, 1, 0.0


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(0).normal(size=(48, 6)).astype(np.float32)


def test_every_method_has_a_name_and_gives_the_exact_size_at_every_rate(features):
    assert set(METHODS) < set(NAMES)
    arms = [Arm(method, rate, 0) for method in METHODS for rate in (0.1, 0.5)] + [Arm(ALL, 1.0, 0)]
    found = choose(arms, features, 5)
    assert list(found) == arms
    for arm, indices in found.items():
        assert len(indices) == {0.1: 5, 0.5: 24, 1.0: 48}[arm.rate]
        assert (np.diff(indices) > 0).all()


def test_seeds_change_what_is_drawn_and_nothing_else(features):
    arms = [Arm(method, 0.2, seed) for method in METHODS for seed in (0, 1)]
    found = choose(arms, features, 5)
    same = {m for m in METHODS if (found[Arm(m, 0.2, 0)] == found[Arm(m, 0.2, 1)]).all()}
    assert same == {"k_center", "herding", "facility_location", "dq_official_code"}


def test_equal_choices_are_one_training_whatever_made_them():
    chosen, other = np.array([3, 7]), np.array([3, 8])
    first = trial_of(P, Arm("k_center", 0.2, 0), chosen, 10)
    assert trial_of(P, Arm("herding", 0.2, 0), chosen, 10) == first
    assert trial_of(P, Arm("herding", 0.2, 0), other, 10) != first
    assert trial_of(P, Arm("herding", 0.2, 1), chosen, 10) != first


def test_equal_epochs_scale_steps_with_the_subset_and_equal_steps_do_not():
    few, all_of_them = np.arange(100), np.arange(1000)
    steps = [
        trial_of(P, Arm("random", 0.1, 0, budget), chosen, 1000).recipe.plan.steps
        for budget, chosen in (("steps", few), ("epochs", few), ("epochs", all_of_them))
    ]
    assert steps == [400, 40, 400]


def test_all_patches_cover_all_and_fewer_cover_less(tmp_path):
    prepared = small_data("synthetic-multi", tmp_path)
    store = prepared.patches()
    features = np.random.default_rng(0).normal(size=(len(store), 6)).astype(np.float32)
    every, some = Arm(ALL, 1.0, 0), Arm("random", 0.25, 0)
    chosen = choose([every, some], features, 5)
    p = SimpleNamespace(n_cells=6, seed=0, dataset="synthetic-multi")
    rows = cover(p, chosen, features, prepared)
    found = {(row["rate"], row["metric"]): row["value"] for row in rows}
    assert {metric for _, metric in found} == set(COVERAGE)
    assert found[100, "coverage_mean"] == found[100, "coverage_p95"] == 0
    assert found[100, "cells_hit"] == found[100, "sizes_hit"] == 1
    assert found[100, "instances"] == store.instances.sum()
    assert found[25, "coverage_p95"] >= found[25, "coverage_mean"] > 0
    assert found[25, "instances"] == store.instances[chosen[some]].sum()
    far = cover(p, {some: chosen[some]}, features * 100, prepared)
    assert far[0]["value"] == pytest.approx(found[25, "coverage_mean"], rel=1e-5)


def test_a_run_trains_each_choice_once_and_rotates_the_split(tmp_path, monkeypatch):
    monkeypatch.setenv("BOOK_RUNS_DIR", str(tmp_path))
    values = {"dataset": "synthetic-cyto", "n_images": 4, "image_size": 64, "test_share": 0.25}
    values |= {"max_test_images": 0, "seed": 0, "polarity": "as_is", "patch_size": 32}
    values |= {"patch_stride": 32, "edge": "drop", "min_instances": 0, "n_bins": 3}
    p = SimpleNamespace(**{**vars(P), **values, "rotate": True, "seeds": [0, 1], "steps": 2})
    arms = [Arm(name, 0.2, seed) for seed in (0, 1) for name in ("random", "k_center")]
    arms.append(Arm("random", 0.2, 0, "epochs"))
    models = selection.run(p, arms)
    assert set(models.data[0].test_ids).isdisjoint(models.data[1].test_ids)
    assert len(models.trained) == len({str(folder) for folder in models.folders.values()})
    assert [m.shape for m in models.examples(arms[0])] == [(64, 64)]
    about, rows = zip(*selection.scored(p, models, "I"), strict=True)
    assert [one["method"] for one in about[:3]] == ["random", "k-center", "random"]
    assert about[4]["method"] == "random, equal epochs"
    assert {(one["method"], one["seed"]) for one in about[5:]} == {
        (name, seed) for name in ("Otsu", "every pixel") for seed in (0, 1)
    }
    assert [row["id"] for row in rows[0]] == models.data[0].test_ids
