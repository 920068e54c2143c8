import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from helpers.book.parameters import StartingParameters
from helpers.data.patches import random_patches
from helpers.errors import DataError
from helpers.experiments import starting
from helpers.experiments.starting import (
    Arm,
    Fitting,
    Start,
    load_fitted,
    masks_of,
    normalised,
    run_fitting,
    scores,
    unlabelled,
)
from helpers.experiments.tasks import (
    Pictures,
    TaskSettings,
    prepare_task,
)
from helpers.metrics.semantic import image_confusions
from helpers.models.encoders import EncoderSpec, SavedEncoder, build_encoder
from helpers.models.initialisations import LITE0, load_initialisation
from helpers.models.sliding import predict_sliding_classes
from helpers.training.semantic import SemanticPlan

PLAN = SemanticPlan(
    steps=3, batch_size=2, optimiser="adam", learning_rate=0.01, decay_power=0, loss="sum",
    crop=32, translate=0.1, looks=2,
)  # fmt: skip
RANDOM = Start("random", "unet-2")
ARM = Arm("random", "one", 1.0, 0, ("one", "other"))


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    settings = TaskSettings("synthetic-histo", "foreground", 6, 64, 0.25, 1, 0.2)
    return {
        "one": prepare_task(settings, cache),
        "other": prepare_task(replace(settings, seed=2), cache),
    }


def fitting(plan=PLAN, curve=False, keep=False, **arm):
    return Fitting(replace(ARM, **arm), RANDOM, plan, 4, curve, keep, "cpu", 1)


def parameters(**changes):
    small = {"encoder": "unet-2", "decoder_width": 4, "crop": 32, "gland_steps": 3, "threads": 1}
    small |= {"nucleus_steps": 3, "batch_size": 2, "n_source": 64, "source_size": 32}
    small |= {
        "twin_steps": 2,
        "twin_batch": 32,
        "twin_width": 8,
        "workers": 1,
        "device": "cpu",
        "precision": "float32",
    }
    small |= {"glands": ["other"], "nuclei": ["one"], "starts": ["random", "barlow-tissue"]}
    return StartingParameters.check({**small, **changes})


def no_folder(_):
    raise AssertionError("nothing was pretrained")


def run(trial, folder, tasks):
    folder.mkdir(exist_ok=True)
    return run_fitting(trial, folder, tasks, no_folder)


def test_a_chapter_run_is_measured_as_its_kept_weights_say(tasks, tmp_path, monkeypatch):
    monkeypatch.setenv("BOOK_RUNS_DIR", str(tmp_path))
    p = parameters()
    pretrainings = starting.pretrain(p, tasks)
    assert [trial.datasets for trial in pretrainings] == [("one",), ("other",)]
    arms = [ARM, replace(ARM, start="barlow-tissue"), replace(ARM, share=0.5)]
    models = starting.run(p, arms, tasks)
    for arm in arms[:2]:
        _, model, saved = load_fitted(p, tasks, arm)
        for name in ("one", "other"):
            test = tasks[name].part("test")
            found = predict_sliding_classes(model, normalised(test, saved), 32, 16)
            expected = [
                2 * c[1, 1] / (2 * c[1, 1] + c[0, 1] + c[1, 0])
                for c in image_confusions(found, test.labels, 2)
            ]
            rows = models[arm]["images"][name]
            assert [row["dice"] for row in rows] == pytest.approx(expected)
            assert [row["id"] for row in rows] == test.ids
            for one, other in zip(masks_of(p, tasks, arm, test), found, strict=True):
                np.testing.assert_array_equal(one, other)
    assert models[ARM]["losses"] != models[arms[1]]["losses"]
    with pytest.raises(DataError, match="share=1"):
        load_fitted(p, tasks, arms[2])
    parts = starting.scored(p, tasks, models)
    tables = [columns["table"] for columns, _ in parts]
    assert (tables.count("baseline"), tables.count("scores")) == (2 * 2, 3 * 2)
    assert {columns.get("place") for columns, _ in parts} == {None, "home", "elsewhere"}


def test_looks_see_what_is_tested(tasks, tmp_path):
    result = run(fitting(curve=True), tmp_path / "a", tasks)
    looks = [check["step"] for check in result["checks"]]
    assert looks == [2, 3]
    kept = result["checks"][looks.index(result["kept"])]
    dice = [row["dice"] for row in result["images"]["one"]]
    assert kept["test_dice"] == pytest.approx(np.mean(dice))
    assert kept["loss"] == min(check["loss"] for check in result["checks"])


@pytest.mark.parametrize(("budget", "steps"), [("steps", 12), ("epochs", 3)])
def test_fewer_images_are_fewer_steps_only_with_equal_epochs(tasks, budget, steps):
    p = parameters(nucleus_steps=12, budgets=["steps", "epochs"])
    arm = replace(ARM, share=0.25, budget=budget)
    assert tasks["one"].counts["train"][0] == 4
    trial = starting.fitting(p, tasks, arm)
    assert trial.plan.steps == steps
    assert json.dumps(asdict(trial))


def test_runs_take_pretrainings_in_turn_and_none_begins_as_a_run():
    starts = ["random", *starting.MADE_HERE]
    p = parameters(starts=starts, seeds=[0, 1, 2, 3], pretrainings=3, encoder=LITE0.name)
    for name, begun in starting.MADE_HERE.items():
        made = [starting.start_of(p, name, "one", seed).made_by for seed in p.seeds]
        assert [one.start for one in made] == [begun] * 4
        assert made[0] == made[3]
        assert len({one.seed for one in made}) == 3
        assert not {one.seed for one in made} & set(p.seeds)


def test_equal_trials_are_equal_and_other_runs_differ(tasks, tmp_path):
    first, again, other = (
        run(fitting(seed=seed), tmp_path / name, tasks)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first["losses"] == again["losses"]
    assert first["images"] == again["images"]
    assert first["losses"] != other["losses"]


def test_one_image_is_enough_to_train_on(tasks, tmp_path):
    result = run(fitting(share=0.01), tmp_path / "a", tasks)
    assert (result["n_train"], result["n_validation"]) == (1, 1)
    assert np.isfinite(result["losses"]).all()


def test_images_smaller_than_the_crop_are_trained_on_and_predicted(tasks, tmp_path):
    result = run(fitting(plan=replace(PLAN, crop=96)), tmp_path / "a", tasks)
    assert all(row["dice"] is not None for row in result["images"]["one"])


def test_scores_of_empty_masks_are_defined():
    empty, full = np.zeros((4, 4), np.uint8), np.ones((4, 4), np.uint8)
    half = np.repeat(np.array([[0], [1]], np.uint8), [2, 2], axis=0).repeat(4, axis=1)
    truth = Pictures([empty] * 4, [empty, empty, full, full], list("abcd"), list("abcd"))
    found = scores([empty, full, empty, half], truth)
    assert [row["dice"] for row in found] == [None, 0.0, 0.0, pytest.approx(2 / 3)]
    assert [row["jaccard"] for row in found] == [None, 0.0, 0.0, pytest.approx(1 / 2)]
    assert [row["group"] for row in found] == list("abcd")


def test_inputs_are_normalised_as_the_weights_want_them(tasks):
    encoder = build_encoder(EncoderSpec("unet-2"), 0)
    saved = SavedEncoder(EncoderSpec("unet-2"), encoder, (0.5, 0.2, 0.1), (0.1, 0.5, 2.0))
    part = tasks["one"].part("test")
    expected = (part.images[0][3, 5] / 255 - np.array(saved.mean)) / np.array(saved.std)
    assert normalised(part, saved)[0][:, 3, 5] == pytest.approx(expected, abs=1e-5)


def test_patches_lie_inside_their_pictures_and_small_ones_are_reflected():
    picture = np.arange(40 * 50 * 3).reshape(40, 50, 3).astype(np.uint8)
    small = picture[:10, :50]
    found = random_patches([picture, small], 4, 32, np.random.default_rng(0))
    assert found.shape == (4, 32, 32, 3)
    windows = np.lib.stride_tricks.sliding_window_view(picture, (32, 32, 3)).reshape(-1, 32, 32, 3)
    assert any((found[0] == one).all() for one in windows)
    assert (found[1][:10] == found[1][19:9:-1]).all()


def test_tissue_is_of_the_other_kind_and_of_no_test_image(tasks):
    p = parameters(glands=["other"], nuclei=["one"], source_size=64)
    trial = starting.start_of(p, "barlow-tissue", "one", 0).made_by
    assert trial.datasets == ("other",)
    patches = unlabelled(trial, tasks)
    assert patches.shape == (64, 64, 64, 3)
    task = tasks["other"]
    seen = [image for part in ("train", "validation") for image in task.part(part).images]
    assert all(any((row == image).all() for image in seen) for row in patches)
    held = [image for name in tasks for image in tasks[name].part("test").images]
    assert not any((row == image).all() for row in patches for image in held)
    with pytest.raises(DataError, match="at least one data set of each kind"):
        unlabelled(replace(trial, datasets=()), tasks)


def test_tissue_from_imagenet_begins_there(tasks, tmp_path, monkeypatch):
    """At a learning rate at which nothing moves, weights and statistics are those of ImageNet."""
    monkeypatch.setenv("BOOK_RUNS_DIR", str(tmp_path))
    starts = ["random", "imagenet-barlow-tissue"]
    p = parameters(starts=starts, encoder=LITE0.name, twin_rate=1e-12)
    starting.pretrain(p, tasks)
    start = starting.start_of(p, starts[1], "one", 0)
    saved = starting.open_start(start, 0, starting.folders(p, tasks))
    published = load_initialisation("imagenet-lite0", 0)
    assert (saved.mean, saved.std) == (published.mean, published.std)
    for (name, value), other in zip(
        saved.encoder.named_parameters(), published.encoder.parameters(), strict=True
    ):
        torch.testing.assert_close(value, other, atol=1e-6, rtol=0, msg=name)
