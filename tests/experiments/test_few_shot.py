"""Few-shot detectors: what every start hands on, and that a killed run goes on as if it had not."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.experiments import few_shot
from helpers.experiments.few_shot import (
    Alternation,
    Architecture,
    Cells,
    Contrasting,
    FewShot,
    Warming,
    open_detector,
    run_alternation,
    run_contrasting,
    run_few_shot,
    run_warming,
    unlabelled,
    weights_path,
)
from helpers.experiments.objects import ObjectSettings, prepare_objects
from helpers.files import read_torch
from helpers.models.cascade import CLASS_LAYERS, IMAGENET
from helpers.models.encoders import load_encoder
from helpers.pretraining.moco import MocoPlan
from helpers.pretraining.moco import encoder_path as moco_path
from helpers.training.detection import DetectionPlan

IMAGES = ObjectSettings("synthetic-cyto", 6, 64, 1.0, True, 0.34, 1, 0)
PICTURES = ObjectSettings("synthetic-objects", 5, 64, 1.0, False, 0.2, 1, 7)
SMALL = Architecture(
    "unet-2",
    8,
    box_convs=1,
    box_features=16,
    mask_convs=1,
    regions=16,
    proposals_before=50,
    proposals_after=20,
    detections=10,
)
PLAN = DetectionPlan(2, 2, 0.01, warmup=1, decay="cosine", crop=64)
MOCO = MocoPlan(2, 8, 0.03, groups=4, look_every=0)
CELLS = Cells(("synthetic-cyto",), 16, 32, 0)
WARMING = Warming(SMALL, ("synthetic-objects",), PLAN, 1)
CONTRASTING = Contrasting(SMALL, CELLS, MOCO, 2)
CUPRE = Alternation(WARMING, PLAN, 2, CELLS, MOCO, 0.01, 3)
LONGER = Alternation(WARMING, replace(PLAN, steps=4), 2, None, None, 0.0, 3)
TUNED = FewShot(SMALL, None, "synthetic-cyto", 0.5, PLAN, 0, keep=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    cache = tmp_path_factory.mktemp("data")
    return prepare_objects(IMAGES, cache), prepare_objects(PICTURES, cache)


@pytest.fixture(scope="module")
def folder_of(data, tmp_path_factory):
    """Folders of all pretrainings, done."""
    cells, source = data
    root = tmp_path_factory.mktemp("trials")
    folders = {
        trial: root / str(i) for i, trial in enumerate((WARMING, CONTRASTING, CUPRE, LONGER))
    }
    for folder in folders.values():
        folder.mkdir()
    tasks = {cells.name: cells}
    run_warming(WARMING, folders[WARMING], [source])
    run_contrasting(CONTRASTING, folders[CONTRASTING], tasks)
    for trial in (CUPRE, LONGER):
        run_alternation(trial, folders[trial], tasks, [source], folders.__getitem__)
    return folders.__getitem__


@pytest.mark.parametrize("start", [WARMING, CUPRE, LONGER], ids=["source", "CUPre", "longer"])
def test_a_detector_hands_on_all_but_its_classes(start, folder_of):
    detector = open_detector(replace(TUNED, start=start), 1, folder_of)
    fresh = open_detector(TUNED, 1, folder_of).state_dict()
    given = read_torch(weights_path(start, folder_of(start)))
    for name, value in detector.state_dict().items():
        of_classes = any(layer in name for layer in CLASS_LAYERS)
        assert torch.equal(value, (fresh if of_classes else given)[name]), name
    assert sum(any(layer in name for layer in CLASS_LAYERS) for name in fresh) == 8


def test_moco_hands_on_the_backbone_and_its_statistics(folder_of):
    detector = open_detector(replace(TUNED, start=CONTRASTING), 1, folder_of)
    fresh = open_detector(TUNED, 1, folder_of)
    saved = load_encoder(moco_path(folder_of(CONTRASTING), MOCO.steps))
    for name, value in detector.backbone.body.state_dict().items():
        assert torch.equal(value, saved.encoder.state_dict()[name])
    for name, value in detector.roi_heads.state_dict().items():
        assert torch.equal(value, fresh.roi_heads.state_dict()[name])
    assert (detector.spec.mean, detector.spec.std) == (saved.mean, saved.std)
    assert fresh.spec.mean == IMAGENET[0]


def test_random_weights_depend_on_the_seed_alone(folder_of):
    first, second = (open_detector(replace(TUNED, share=s), 1, folder_of) for s in (0.5, 1.0))
    other = open_detector(replace(TUNED, seed=1), 1, folder_of)
    weights = [torch.cat([p.flatten() for p in d.parameters()]) for d in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_training_leaves_scores_predictions_and_its_backbone(data, folder_of, tmp_path):
    result = run_few_shot(replace(TUNED, start=CUPRE), tmp_path, data[0], folder_of)
    assert result["n_images"] == 2
    assert result["n_objects"] > 0
    assert len(result["losses"]) == PLAN.steps
    assert 0 <= result["scores"]["box_ap"] <= 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["encoder.pt", "found.json"]
    kept = load_encoder(tmp_path / few_shot.ENCODER)
    assert kept.spec.name == SMALL.encoder


def test_the_same_trial_gives_the_same_numbers(data, folder_of, tmp_path):
    runs = []
    for name in "ab":
        (tmp_path / name).mkdir()
        runs.append(run_few_shot(TUNED, tmp_path / name, data[0], folder_of))
    for run in runs:
        run.pop("train_seconds")
    assert runs[0] == runs[1]


def test_the_control_has_as_many_steps_and_no_cells():
    assert LONGER.alternating.contrast is None
    assert LONGER.steps == CUPRE.steps


def test_unlabelled_patches_are_cut_of_training_images(data):
    cells = data[0]
    patches = unlabelled(CELLS, {cells.name: cells})
    assert patches.shape == (16, 32, 32, 3)
    images = cells.part("train").images
    for place, patch in enumerate(patches[: len(images)]):
        windows = np.lib.stride_tricks.sliding_window_view(images[place], (32, 32, 3))[:, :, 0]
        assert (windows == patch).all(axis=(2, 3, 4)).any()


# Fresh interpreters all: arithmetic is that of none of the libraries that other tests load.
ALTERNATE = textwrap.dedent(
    """
    import json, os, signal, sys
    from pathlib import Path
    from tests.experiments.test_few_shot import *
    cache, folder, source_folder = map(Path, sys.argv[1:4])
    step = int(sys.argv[4])
    torch.set_num_threads(1)
    cells, source = prepare_objects(IMAGES, cache), prepare_objects(PICTURES, cache)
    original = few_shot.pretrain_amt2
    def dying(*args, **more):
        def on_step(done, loss):
            if done == step:
                os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **{**more, "on_step": on_step})
    few_shot.pretrain_amt2 = dying
    tasks = {cells.name: cells}
    result = run_alternation(LONG_ROUNDS, folder, tasks, [source], lambda _: source_folder)
    (folder / "result.json").write_text(json.dumps(result))
    """
)
# Long enough for a checkpoint inside of a round.
LONG_ROUNDS = replace(
    CUPRE,
    plan=replace(PLAN, steps=6, checkpoint_every=2),
    contrast=replace(MOCO, steps=6, checkpoint_every=2),
)


def alternate(cells, folder, source_folder, kill_at=0):
    """A process that runs, or goes on with, an alternation; 0 for to the end."""
    folder.mkdir(exist_ok=True)
    arguments = [cells.folder.parent, folder, source_folder, kill_at]
    return subprocess.Popen(
        [sys.executable, "-c", ALTERNATE, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process):
    _, errors = process.communicate(timeout=300)
    return process.returncode, errors


def without_seconds(folder):
    result = json.loads((folder / "result.json").read_text())
    result.pop("train_seconds")
    for one in result["rounds"]:
        one.pop("contrast_seconds")
        one.pop("source_seconds")
    return result


@pytest.mark.slow
def test_sigkill_inside_a_round_and_a_rerun_give_the_same(data, folder_of, tmp_path):
    """Rounds are of three steps of cells and three of the source: 9 is inside a side."""
    cells, source_folder = data[0], folder_of(WARMING)
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    uninterrupted, dying = (
        alternate(cells, folder, source_folder, at) for folder, at in ((whole, 0), (torn, 9))
    )
    code, errors = finished(dying)
    assert code == -signal.SIGKILL, errors
    assert (torn / "checkpoint.pt").is_file()
    for process in (uninterrupted, alternate(cells, torn, source_folder)):
        code, errors = finished(process)
        assert code == 0, errors
    assert without_seconds(whole) == without_seconds(torn)
    first, second = (read_torch(weights_path(LONG_ROUNDS, folder)) for folder in (whole, torn))
    assert all(torch.equal(first[name], second[name]) for name in first)
