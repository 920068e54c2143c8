from dataclasses import replace

import numpy as np
import pytest

from helpers.errors import DataError, ParameterError
from helpers.experiments.foreground import (
    ForegroundSettings,
    ForegroundTask,
    Pictures,
    prepare_foreground,
)
from helpers.experiments.initialisation import Fitting, Window, load_fitted, run_fitting, scores
from helpers.experiments.starts import (
    SelfSupervision,
    Start,
    normalised,
    open_start,
    random_patches,
    run_self_supervision,
    unlabelled,
)
from helpers.metrics.semantic import image_confusions
from helpers.models.encoders import EncoderSpec, SavedEncoder, build_encoder
from helpers.models.initialisations import load_initialisation
from helpers.models.sliding import predict_sliding_classes
from helpers.pretraining.barlow_twins import BarlowTwinsPlan
from helpers.training.semantic import SemanticPlan

PLAN = SemanticPlan(
    steps=3, batch_size=2, optimiser="adam", learning_rate=0.01, decay_power=0, loss="sum",
    crop=32, translate=0.1, looks=2,
)  # fmt: skip
RANDOM = Start("random", "unet-2")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    settings = ForegroundSettings("synthetic-histo", 6, 64, 1.0, 0.25, 0.2, 0, 0)
    return {
        "one": prepare_foreground(settings, cache),
        "other": prepare_foreground(replace(settings, seed=1), cache),
    }


def fitting(**changes):
    trial = Fitting(RANDOM, "one", 1.0, PLAN, 0, ("one", "other"), Window(32, 16), 4)
    return replace(trial, **changes)


def no_folder(_):
    raise AssertionError("nothing was pretrained")


def run(trial, folder, tasks):
    folder.mkdir(exist_ok=True)
    return run_fitting(trial, folder, tasks, no_folder)


def test_a_fitting_is_measured_on_every_test_image_as_its_kept_weights_say(tasks, tmp_path):
    trial = fitting(keep=True, curve=True)
    result = run(trial, tmp_path / "a", tasks)
    model, saved = load_fitted(trial, tmp_path / "a", no_folder)
    for name in ("one", "other"):
        test = tasks[name].part("test")
        found = predict_sliding_classes(model, normalised(test, saved), 32, 16)
        counts = image_confusions(found, test.masks, 2)
        expected = [2 * c[1, 1] / (2 * c[1, 1] + c[0, 1] + c[1, 0]) for c in counts]
        assert result["images"][name]["dice"] == pytest.approx(expected)
        assert result["images"][name]["ids"] == test.ids
    with np.load(tmp_path / "a" / "examples.npz") as kept:
        assert len(kept.files) == len(tasks["one"].part("test"))
    looks = [check["step"] for check in result["checks"]]
    assert looks == [2, 3]
    kept_look = result["checks"][looks.index(result["kept"])]
    assert kept_look["test_dice"] == pytest.approx(np.mean(result["images"]["one"]["dice"]))
    assert kept_look["loss"] == min(check["loss"] for check in result["checks"])


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
    wide = fitting(plan=replace(PLAN, crop=96), window=Window(96, 48))
    assert all(v is not None for v in run(wide, tmp_path / "a", tasks)["images"]["one"]["dice"])


def test_weights_that_were_not_kept_are_missed_by_name(tmp_path):
    with pytest.raises(DataError, match="keep=True"):
        load_fitted(fitting(), tmp_path, no_folder)


def test_scores_of_empty_masks_are_defined():
    empty, full = np.zeros((4, 4), np.uint8), np.ones((4, 4), np.uint8)
    half = np.repeat(np.array([[0], [1]], np.uint8), [2, 2], axis=0).repeat(4, axis=1)
    truth = Pictures([empty] * 4, [empty, empty, full, full], list("abcd"), list("abcd"), [""] * 4)
    found = scores([empty, full, empty, half], truth)
    assert found["dice"] == [None, 0.0, 0.0, pytest.approx(2 / 3)]
    assert found["jaccard"] == [None, 0.0, 0.0, pytest.approx(1 / 2)]


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


def test_tissue_is_of_all_tasks_and_of_no_test_image(tasks):
    plan = BarlowTwinsPlan(steps=1, batch_size=4, projector=(8, 8))
    trial = SelfSupervision("tissue", 10, 64, "unet-2", plan, 0)
    patches = unlabelled(trial, tasks)
    assert patches.shape == (10, 64, 64, 3)

    def whole(task: ForegroundTask, *parts):
        return [image for part in parts for image in task.part(part).images]

    for rows, task in zip((patches[:5], patches[5:]), tasks.values(), strict=True):
        seen = whole(task, "train", "validation")
        assert all(any((row == image).all() for image in seen) for row in rows)
        assert not any((row == image).all() for row in rows for image in whole(task, "test"))


def test_a_pretrained_start_is_the_encoder_that_its_pretraining_left(tasks, tmp_path):
    plan = BarlowTwinsPlan(steps=2, batch_size=32, projector=(8, 8), setting="pathology")
    trial = SelfSupervision("tissue", 40, 32, "unet-2", plan, 0)
    result = run_self_supervision(trial, tmp_path, tasks)
    start = Start("barlow-tissue", "unet-2", trial)
    saved = open_start(start, 5, lambda made_by: {trial: tmp_path}[made_by])
    fresh = load_initialisation("random", 5, EncoderSpec("unet-2"))
    assert len(result["losses"]) == 2
    first, other = (next(iter(s.encoder.parameters())) for s in (saved, fresh))
    assert not (first == other).all()
    assert saved.mean != fresh.mean


@pytest.mark.parametrize("wrong", [("barlow-tissue", None), ("random", "anything")])
def test_a_start_and_its_pretraining_belong_together(wrong):
    with pytest.raises(ParameterError, match="a pretraining belongs to"):
        Start(wrong[0], "unet-2", wrong[1])
