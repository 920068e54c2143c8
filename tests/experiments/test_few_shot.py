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

from helpers.book.parameters import DetectorParameters
from helpers.experiments import few_shot
from helpers.experiments.few_shot import (
    CUPRE,
    LONGER,
    MOCO,
    PHOTOS,
    SCRATCH,
    SOURCE,
    STARTS,
    Arm,
    fine_tuning,
    open_detector,
    run,
    start_of,
    unlabelled,
    weights_path,
)
from helpers.files import read_torch
from helpers.models.cascade import CLASS_LAYERS, IMAGENET
from helpers.models.encoders import load_encoder
from helpers.models.initialisations import LITE0, load_initialisation
from helpers.pretraining.moco import encoder_path as moco_path

SMALL = {
    "n_images": 6,
    "image_size": 64,
    "test_share": 0.34,
    "max_test_images": 1,
    "n_source": 5,
    "source_size": 64,
    "source_crop": 64,
    "crop": 64,
    "max_source_test": 1,
    "encoder": "unet-2",
    "backbone": "random",
    "width": 8,
    "n_patches": 16,
    "patch_size": 32,
    "contrast_batch": 8,
    "warm_steps": 2,
    "contrast_steps": 2,
    "source_steps": 2,
    "steps": 2,
    "seeds": [0],
    "device": "cpu",
    "workers": 1,
}


def parameters(**changes):
    return DetectorParameters.check(SMALL | changes)


def arm(start, seed=0, share=0.5, **changes):
    return Arm(start, "synthetic-cyto", share, seed, tuple(changes.items()))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """All starts, done."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOOK_RUNS_DIR", str(tmp_path_factory.mktemp("runs")))
        yield run(parameters(), [arm(start) for start in STARTS])


# -------------------------------------------------------------------------- what is to be done


def test_the_control_spends_all_steps_on_the_source():
    p = parameters(contrast_steps=4, source_steps=6, anchor_weight=0.5)
    longer, cupre = start_of(p, arm(LONGER)), start_of(p, arm(CUPRE))
    assert longer.before == cupre.before == start_of(p, arm(SOURCE))
    assert (longer.p.source_steps, longer.p.anchor_weight, longer.cells) == (10, 0.0, ())
    assert (cupre.p.source_steps, cupre.p.contrast_steps, cupre.p.anchor_weight) == (6, 4, 0.5)
    # What is unread does not make it another one.
    assert longer == start_of(parameters(contrast_steps=4, source_steps=6, queue=8), arm(LONGER))


def test_draws_take_pretrainings_in_turn():
    p = parameters(seeds=[5, 6, 7], pretrainings=2)
    starts = [start_of(p, arm(CUPRE, seed)) for seed in p.seeds]
    assert starts[0] == starts[2] != starts[1]
    assert starts[0].before.seed != starts[1].before.seed
    tunings = [fine_tuning(p, arm(CUPRE, seed)) for seed in p.seeds]
    assert [one.keep for one in tunings] == [True, True, False]
    assert [one.seed for one in tunings] == [5, 6, 7]
    # Random weights differ by draw.
    assert start_of(p, arm(SCRATCH, 5)) is None


def test_every_start_is_fine_tuned_alike():
    p = parameters()
    tunings = [fine_tuning(p, arm(start)) for start in STARTS]
    assert len({replace(one, before=None) for one in tunings}) == 1
    assert [one.before.kind if one.before else None for one in tunings] == [
        *(None, None, "source", "rounds", "MoCo", "rounds")
    ]


SEEN = {
    SCRATCH: set(),
    PHOTOS: set(),
    SOURCE: {"synthetic-objects"},
    LONGER: {"synthetic-objects"},
    MOCO: {"synthetic-cyto"},
    CUPRE: {"synthetic-cyto", "synthetic-objects"},
}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("changed", ["synthetic-cyto", "synthetic-histo", "synthetic-objects"])
def test_where_a_stage_lies_depends_on_the_data_that_were_seen(start, changed, models):
    cells = models.data.cells["synthetic-cyto"]
    tasks = {name: replace(cells, name=name) for name in ("synthetic-cyto", "synthetic-histo")}
    data = replace(models.data, cells=tasks)
    other = {
        n: replace(t, content="other" if n == changed else t.content) for n, t in tasks.items()
    }
    sources = [
        replace(one, content="other" if one.name == changed else one.content)
        for one in data.sources
    ]
    moved = replace(data, cells=other, sources=sources)
    stage = fine_tuning(parameters(), Arm(start, "synthetic-histo", 0.5, 0))
    seen = SEEN[start] | {"synthetic-histo"}
    assert (data.store(stage) != moved.store(stage)) == (changed in seen)
    if stage.before:
        assert (data.store(stage.before) != moved.store(stage.before)) == (changed in SEEN[start])


def test_backbones_begin_with_published_weights_but_for_scratch():
    p = parameters(encoder=LITE0.name, backbone="imagenet-lite0")
    published = load_initialisation("imagenet-lite0", 0)
    for start, same in ((PHOTOS, True), (SCRATCH, False)):
        detector = open_detector(fine_tuning(p, arm(start)), 1, None)
        own = detector.backbone.body.state_dict()
        assert same == all(
            torch.equal(own[name], value) for name, value in published.encoder.state_dict().items()
        )
        assert (detector.spec.mean == published.mean) == same
        assert detector.spec.batch_norm == ("frozen" if same else "trained")


# -------------------------------------------------------------------------- the trials


@pytest.mark.parametrize("start", [SOURCE, LONGER, CUPRE])
def test_a_detector_hands_on_all_but_its_classes(start, models):
    stage = models.stages[arm(start)]
    detector = open_detector(stage, 1, models.data)
    fresh = open_detector(replace(stage, before=None), 1, models.data).state_dict()
    given = read_torch(weights_path(stage.before, models.data.folder(stage.before)))
    for name, value in detector.state_dict().items():
        of_classes = any(layer in name for layer in CLASS_LAYERS)
        assert torch.equal(value, (fresh if of_classes else given)[name]), name
    assert sum(any(layer in name for layer in CLASS_LAYERS) for name in fresh) == 8


def test_moco_hands_on_the_backbone_and_its_statistics(models):
    stage = models.stages[arm(MOCO)]
    detector = open_detector(stage, 1, models.data)
    fresh = open_detector(replace(stage, before=None), 1, models.data)
    saved = load_encoder(moco_path(models.data.folder(stage.before), 2))
    for name, value in detector.backbone.body.state_dict().items():
        assert torch.equal(value, saved.encoder.state_dict()[name])
    for name, value in detector.roi_heads.state_dict().items():
        assert torch.equal(value, fresh.roi_heads.state_dict()[name])
    assert (detector.spec.mean, detector.spec.std) == (saved.mean, saved.std)
    assert fresh.spec.mean == IMAGENET[0]


def test_a_training_leaves_scores_predictions_and_its_backbone(models):
    result = models.tuned[arm(CUPRE)]
    assert result["n_images"] == 2
    assert len(result["losses"]) == 2
    assert 0 <= result["scores"]["box_ap"] <= 1
    assert [one["id"] for one in result["images"]] == models.data.cells["synthetic-cyto"].part(
        "test"
    ).ids
    folder = models.data.folder(models.stages[arm(CUPRE)])
    assert sorted(p.name for p in folder.iterdir()) == ["encoder.pt", "found.json", "result.json"]
    assert len(models.found(arm(CUPRE))) == 1


def test_trials_that_are_done_are_read_and_the_same_trial_gives_the_same(models, monkeypatch):
    p, wanted = parameters(), [arm(CUPRE)]
    with monkeypatch.context() as patch:
        patch.setattr(few_shot, "_run", pytest.fail)
        assert run(p, wanted).tuned[arm(CUPRE)] == models.tuned[arm(CUPRE)]
    folder = models.data.folder(models.stages[arm(CUPRE)])
    again = few_shot._run(models.stages[arm(CUPRE)], folder, models.data)
    first = models.tuned[arm(CUPRE)]
    assert all(again[name] == first[name] for name in ("losses", "scores", "images"))


def test_unlabelled_patches_are_cut_of_training_images(models):
    patches = unlabelled(models.stages[arm(MOCO)].before, models.data)
    assert patches.shape == (16, 32, 32, 3)
    images = models.data.cells["synthetic-cyto"].part("train").images
    for place, patch in enumerate(patches[: len(images)]):
        windows = np.lib.stride_tricks.sliding_window_view(images[place], (32, 32, 3))[:, :, 0]
        assert (windows == patch).all(axis=(2, 3, 4)).any()


# Fresh interpreters all: arithmetic is that of none of the libraries that other tests load.
ALTERNATE = textwrap.dedent(
    """
    import json, os, signal, sys
    from pathlib import Path
    from tests.experiments.test_few_shot import *
    folder, step = Path(sys.argv[1]), int(sys.argv[2])
    original, detection_plan, contrast_plan = (
        few_shot.pretrain_amt2, few_shot.detection_plan, few_shot.contrast_plan
    )
    # Checkpoints inside of a round.
    few_shot.detection_plan = lambda *a: replace(detection_plan(*a), checkpoint_every=2)
    few_shot.contrast_plan = lambda p: replace(contrast_plan(p), checkpoint_every=2)
    def dying(*args, **more):
        def on_step(done, loss):
            if done == step:
                os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **{**more, "on_step": on_step})
    few_shot.pretrain_amt2 = dying
    p = parameters(contrast_steps=6, source_steps=6)
    stage = start_of(p, arm(CUPRE))
    result = few_shot._run(stage, folder, few_shot.prepare(p))
    (folder / "result.json").write_text(json.dumps(result))
    """
)


def alternate(folder, kill_at=0):
    """A process that runs, or goes on with, an alternation; 0 for to the end."""
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", ALTERNATE, str(folder), str(kill_at)],
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
def test_sigkill_inside_a_round_and_a_rerun_give_the_same(models, tmp_path):
    """Rounds are of three steps of cells and three of the source: 9 is inside a side."""
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    uninterrupted, dying = alternate(whole), alternate(torn, 9)
    code, errors = finished(dying)
    assert code == -signal.SIGKILL, errors
    assert (torn / "checkpoint.pt").is_file()
    for process in (uninterrupted, alternate(torn)):
        code, errors = finished(process)
        assert code == 0, errors
    assert without_seconds(whole) == without_seconds(torn)
    stage = start_of(parameters(contrast_steps=6, source_steps=6), arm(CUPRE))
    first, second = (read_torch(weights_path(stage, folder)) for folder in (whole, torn))
    assert all(torch.equal(first[name], second[name]) for name in first)
