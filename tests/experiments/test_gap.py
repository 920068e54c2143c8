"""The gap between two domains: which patches, which encoders, and distances that are known."""

from statistics import NormalDist
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from helpers.errors import DataError
from helpers.experiments import few_shot, gap
from helpers.experiments.few_shot import Arm, Stage
from helpers.experiments.gap import CELLS, RANDOM, SOURCE, START, TUNED
from helpers.experiments.representations import Patches
from helpers.experiments.tasks import Pictures
from helpers.features.domain_gap import median_bandwidth, mmd
from helpers.models.cascade import build_detector
from helpers.models.encoders import EncoderSpec, build_encoder, save_encoder
from helpers.pretraining.amt2 import encoder_path


def task_of(name, first, n, groups=None):
    """A task whose test images are evenly grey: their grey values count from ``first`` on."""
    values = range(first, first + n)
    images = [np.full((20 + 5 * i, 24, 3), v, np.uint8) for i, v in enumerate(values)]
    ids = [str(v) for v in values]
    parts = {"test": Pictures(images, [None] * n, ids, list(groups or ids))}
    return SimpleNamespace(name=name, part=parts.__getitem__)


# --------------------------------------------------------------------------------------- patches


@pytest.mark.parametrize("n", [2, 4, 11])
def test_patches_are_of_test_images_and_know_where_they_come_from(n):
    cells = task_of("cells", 10, 4, ["p", "p", "q", "r"])
    sources = [task_of("coco", 100, 1), task_of("made", 200, 2)]
    found = gap.gap_patches(cells, sources, n, 32, 0)
    assert found.images.shape == (2 * n, 32, 32, 3)
    assert found.datasets == [CELLS] * n + [SOURCE] * n
    values = found.images[:, 0, 0, 0]
    assert (found.images == values[:, None, None, None]).all()
    assert [source.split(": ")[1] for source in found.sources] == [str(v) for v in values]
    groups = {10: "cells: p", 11: "cells: p", 12: "cells: q", 13: "cells: r"}
    groups |= {100: "coco: 100", 200: "made: 200", 201: "made: 201"}
    assert found.groups == [groups[v] for v in values]
    for domain in (values[:n], values[n:]):
        _, counts = np.unique(domain, return_counts=True)
        assert np.ptp(counts) <= 1


def test_the_same_seed_takes_the_same_patches():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (40, 40, 3), np.uint8)]
    scenes = Pictures(images, [None], ["a"], ["a"])
    task = SimpleNamespace(name="a", part=lambda _: scenes)
    first, again, other = (gap.gap_patches(task, [task], 3, 16, seed).images for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


# ------------------------------------------------------------------------------------- distances

ROWS = 300


def made(shift, n_groups=ROWS, groups=None):
    """Features of both domains, a source's first one shifted, and their patches."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2 * ROWS, 3))
    rows[ROWS:, 0] += shift
    own = groups or [str(i % n_groups) for i in range(ROWS)]
    names = [f"{domain}/{one}" for domain in (CELLS, SOURCE) for one in own]
    datasets = [CELLS] * ROWS + [SOURCE] * ROWS
    return rows, Patches(np.zeros((2 * ROWS, 1, 1, 3), np.uint8), datasets, names, names)


@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0])
def test_a_known_shift_is_told_as_well_as_it_can_be(shift):
    rows, patches = made(shift)
    found = gap.distances({START: rows}, patches, 0)
    assert found["classifier"][0] == pytest.approx(NormalDist().cdf(shift / 2), abs=0.06)


def test_all_stages_are_measured_with_one_bandwidth():
    rows, patches = made(1.0)
    stages = {"before": 5 * rows, START: rows, "after": rows - [[0, 1, 0]]}
    found = gap.distances(stages, patches, 0).set_index("stage")
    assert list(found.index) == list(stages)
    width = median_bandwidth(rows)
    for name, own in stages.items():
        assert found["mmd"][name] == pytest.approx(mmd(own[:ROWS], own[ROWS:], bandwidth=width))
    # What moves both domains alike changes nothing.
    assert found["mmd"]["after"] == pytest.approx(found["mmd"][START])
    assert found["classifier"]["after"] == found["classifier"][START]
    assert found["mmd"]["before"] != pytest.approx(found["mmd"][START], rel=0.1)


@pytest.mark.parametrize("n_groups", [2, 3])
def test_few_groups_make_few_folds(n_groups):
    rows, patches = made(6.0, n_groups)
    assert gap.distances({START: rows}, patches, 0)["classifier"][0] > 0.98


def test_a_single_group_is_refused():
    rows, patches = made(1.0, 1)
    with pytest.raises(DataError, match=r"one group.*max_test_images"):
        gap.distances({START: rows}, patches, 0)


def test_a_gap_within_images_is_not_one_between_domains():
    # Every image is a place of its own; which domain it is of does not show in a new image.
    rng = np.random.default_rng(1)
    _, patches = made(0.0, 6)
    names = {name: rng.normal(0, 20, 3) for name in dict.fromkeys(patches.groups)}
    rows = np.array([names[group] for group in patches.groups]) + rng.normal(size=(2 * ROWS, 3))
    alone = Patches(patches.images, patches.datasets, patches.sources, list(map(str, range(600))))
    of_images = gap.distances({START: rows}, patches, 0)["classifier"][0]
    of_patches = gap.distances({START: rows}, alone, 0)["classifier"][0]
    assert of_images < of_patches


# ---------------------------------------------------------------------------------------- stages

SPEC = EncoderSpec("unet-2")
SMALL = SimpleNamespace(encoder="unet-2", backbone="random", width=8, heads="small")
WARMING = Stage("source", (), 11)
ROUNDS = Stage("rounds", (("encoder", "unet-2"),), 3, before=WARMING)
TUNING = Stage("few-shot", (), 0, before=ROUNDS, keep=True)
CUPRE = Arm(few_shot.CUPRE, "a", 0.5, 0)
RESULT = {"rounds": [{"ends": [1, 3]}, {"ends": [4, 6]}]}
STATISTICS = ((0.4, 0.4, 0.4), (0.2, 0.2, 0.2))


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """Stages out of files whose weights tell the step: a seed each."""
    folders = {stage: tmp_path_factory.mktemp("trial") for stage in (ROUNDS, TUNING)}
    for step in (0, 1, 3, 4, 6):
        path = encoder_path(folders[ROUNDS], step)
        save_encoder(path, build_encoder(SPEC, 100 + step), SPEC, STATISTICS)
    path = folders[TUNING] / few_shot.ENCODER
    save_encoder(path, build_encoder(SPEC, 200), SPEC, STATISTICS)
    data = SimpleNamespace(folder=folders.__getitem__)
    return gap.stages(few_shot.Models(data, {CUPRE: TUNING}, {ROUNDS: RESULT}), CUPRE)


def test_stages_come_in_order_with_their_own_weights(encoders):
    seeds = {
        RANDOM: WARMING.seed,
        START: 100,
        "round 1, cells": 101,
        "round 1, source": 103,
        "round 2, cells": 104,
        "round 2, source": 106,
        TUNED: 200,
    }
    assert list(encoders) == list(seeds)
    for name, seed in seeds.items():
        expected = build_encoder(SPEC, seed).state_dict()
        own = encoders[name].encoder.state_dict()
        assert all(torch.equal(own[key], value) for key, value in expected.items()), name
        assert encoders[name].mean == STATISTICS[0]
        assert encoders[name].std == STATISTICS[1]


def test_random_weights_are_those_that_the_warming_began_with(encoders):
    began = build_detector(
        few_shot.detector_spec(SMALL, 36), WARMING.seed
    ).backbone.body.state_dict()
    own = encoders[RANDOM].encoder.state_dict()
    assert own.keys() == began.keys()
    assert all(torch.equal(own[key], value) for key, value in began.items())


def test_features_of_every_stage_have_length_one(encoders):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (6, 32, 32, 3), np.uint8)
    names = [f"image {i}" for i in range(6)]
    patches = Patches(images, [CELLS] * 3 + [SOURCE] * 3, names, names)
    found = gap.stage_features(encoders, patches)
    assert list(found) == list(encoders)
    for rows in found.values():
        assert rows.shape == (6, 32)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    assert not np.allclose(found[RANDOM], found[TUNED])
    assert list(gap.distances(found, patches, 0)["stage"]) == list(encoders)
