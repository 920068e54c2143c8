"""Fine-tuning with replay, killed, full and finished."""

import errno
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.cli import main
from helpers.data import archives
from helpers.errors import DataError, ParameterError
from helpers.files import read_torch
from helpers.own_model import finetune as module
from helpers.own_model.checkpoint import read_model
from helpers.own_model.finetune import CHECKPOINT, Settings, finetune, model_path
from helpers.own_model.labelled import open_labelled
from helpers.own_model.patches import patch_store, resized, starts
from helpers.own_model.predict import predict
from helpers.own_model.report import how_to_load
from tests.training.killing import Killed, killed_in


@pytest.fixture
def settings(narrow, tissue, cells, tmp_path):
    return Settings(
        model=str(narrow),
        target=str(tissue),
        replay=str(cells),
        output=tmp_path / "out",
        share=0.25,
        steps=6,
        batch_size=4,
        patch_size=64,
        device="cpu",
        checkpoint_every=2,
    )


def test_both_sides_are_measured_on_held_out_images(settings):
    comparison = finetune(settings)
    assert [side.role for side in comparison.sides] == ["target", "replay"]
    for side in comparison.sides:
        assert len(side.before) == len(side.after) == len(side.data.items) == 1
    assert comparison.before.digest != comparison.after.digest
    assert comparison.after.diam_labels == 20
    left = {path.name for path in settings.output.iterdir() if not path.name.startswith(".")}
    assert left == {"narrow_finetuned", "finetune.json", "losses.csv", "scores"}
    assert (settings.output / "losses.csv").read_text().count("\n") == 7
    assert "opens networks of width 32 only" in how_to_load(comparison)


def test_training_and_test_images_share_no_group(settings, cells):
    rows = [f"{path.stem},{'ab'[i > 1]}" for i, path in enumerate(sorted(cells.glob("*[0-9].png")))]
    (cells / "groups.csv").write_text("\n".join(["id,group", *rows]))
    part = module._parts(settings)[1]
    groups = [{item.group for item in side.items} for side in (part.train, part.test)]
    assert groups in ([{"a"}, {"b"}], [{"b"}, {"a"}])


def test_a_killed_training_goes_on_to_the_same_weights(settings, tmp_path, monkeypatch):
    finetune(replace(settings, output=tmp_path / "whole"))
    with monkeypatch.context() as patch:
        killed_in(patch, 6)
        with pytest.raises(Killed):
            finetune(settings)
    assert len(read_torch(settings.output / CHECKPOINT)["log"]["numbers"]["loss"]) == 4
    finetune(settings)
    one, other = (
        read_torch(folder / "narrow_finetuned") for folder in (tmp_path / "whole", settings.output)
    )
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=0)


def test_a_finished_one_is_reported_again_without_training(settings, monkeypatch):
    first = finetune(settings)
    monkeypatch.setattr(module, "train", None)
    again = finetune(settings)
    assert again.after.digest == first.after.digest
    np.testing.assert_equal([s.after for s in again.sides], [s.after for s in first.sides])


def test_other_settings_in_the_same_folder_are_refused(settings):
    finetune(settings)
    with pytest.raises(DataError, match=r"learning_rate was 0\.05, now 0\.5.*--out"):
        finetune(replace(settings, learning_rate=0.5))
    assert model_path(settings).is_file()


def test_the_controlled_share_is_that_of_the_batches(settings, monkeypatch):
    mixers = []
    original = module.Mixer
    monkeypatch.setattr(module, "Mixer", lambda *a: mixers.append(original(*a)) or mixers[-1])
    finetune(settings)
    assert mixers[-1].drawn == [18, 6]
    finetune(replace(settings, share=0.0, output=settings.output / "none"))
    assert mixers[-1].drawn == [24, 0]
    more = replace(settings, share=None, output=settings.output / "appended")
    finetune(replace(more, setting="appended", rate=0.5, method="k_center"))
    assert len(mixers[-1]._pools[0].rows) < 4 * 9 + 5 * 9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"share": 1.2}, r"--share 1\.2: expected 0"),
        ({"share": -0.1}, r"--share -0\.1"),
        ({"share": 1.0}, "--share 1: "),
        ({"share": 0.5, "setting": "appended"}, "Leave --share out"),
        ({"setting": "mixed"}, "controlled or appended"),
        ({"rate": 0.0}, "--rate 0"),
        ({"test_share": 1.0}, "--test-share 1"),
        ({"method": "best"}, "--select best"),
        ({"diameter": 0.0}, "above 0"),
        ({"learning_rate": 0.0}, "above 0"),
        ({"patch_size": 50}, "multiple of 8"),
        ({"steps": 0}, "at least 1"),
    ],
)
def test_wrong_settings_are_refused(settings, change, message):
    with pytest.raises(ParameterError, match=message):
        replace(settings, **change)


def test_too_few_images_are_refused(settings, tissue):
    keep = sorted(tissue.glob("*[0-9].png"))[0].stem
    for path in tissue.iterdir():
        if not path.name.startswith(keep):
            path.unlink()
    with pytest.raises(DataError, match=r"tissue: 1 image\(s\) of 1 group"):
        finetune(settings)


def test_the_same_folder_twice_is_refused(settings):
    with pytest.raises(DataError, match="hold the same images"):
        finetune(replace(settings, replay=settings.target))


def test_a_full_disk_while_saving_keeps_the_last_checkpoint(settings, monkeypatch):
    saved, original = [], torch.save

    def full(value, path):
        saved.append(path)
        if len(saved) == 2:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        original(value, path)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        finetune(settings)
    assert len(read_torch(settings.output / CHECKPOINT)["log"]["numbers"]["loss"]) == 2
    assert not list(settings.output.rglob("*.part"))
    finetune(settings)
    assert model_path(settings).is_file()


def test_too_little_room_is_told_before_training(settings, monkeypatch):
    usage = SimpleNamespace(free=1000)
    monkeypatch.setattr(archives, "shutil", SimpleNamespace(disk_usage=lambda path: usage))
    with pytest.raises(DataError, match=r"fine-tuning needs.*only 0\.0 MB are free.*--out"):
        finetune(settings)


@pytest.mark.parametrize("side", ["target", "replay"])
def test_masks_without_numbers_or_objects_are_refused(settings, side):
    folder = Path(getattr(settings, side))
    masks = sorted(folder.glob("*_masks.png"))
    stored = np.asarray(Image.open(masks[0]))
    Image.fromarray(np.uint8(255 * (stored > 0))).save(masks[0])
    with pytest.raises(DataError, match=rf"{folder.name}: 1 images hold a single instance in seve"):
        finetune(settings)
    for mask in masks:
        Image.fromarray(np.zeros_like(stored)).save(mask)
    with pytest.raises(
        DataError, match=rf"{folder.name}: none of its \d label images holds an obj"
    ):
        finetune(settings)
    assert not settings.output.exists()


def test_windows_cover_a_side_and_stay_within():
    assert starts(64, 64) == [0]
    assert starts(40, 64) == [0]
    assert starts(65, 64) == [0, 1]
    assert starts(200, 64) == [0, 32, 64, 96, 128, 136]


def test_training_sees_the_magnification_of_the_prediction(narrow, cells, tmp_path):
    data, model = open_labelled([str(cells)])[0], read_model(str(narrow))
    sample = data.dataset.read(data.items[0])
    larger = resized(sample, model, 15)
    assert larger.labels.shape == larger.image.shape[:2] == (128, 128)
    np.testing.assert_array_equal(larger.labels[::2, ::2], sample.labels)
    store = patch_store(data, model, 15, 64, tmp_path / "patches")
    assert len(store) == 5 * 9
    np.testing.assert_allclose(store.images[0], larger.image[:64, :64, 0], atol=2e-3)


def test_the_command_trains_a_full_network_that_cellpose_opens(trained, settings, capsys):
    from cellpose import models

    arguments = ["finetune", "--model", str(trained), "--target", settings.target]
    arguments += ["--replay", settings.replay, "--share", "0.5", "--steps", "2"]
    arguments += ["--batch-size", "2", "--patch-size", "64", "--device", "cpu"]
    arguments += ["--select", "dq", "--rate", "0.5", "--out", str(settings.output)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    path = settings.output / "mine_finetuned"
    assert "tissue (new)" in printed
    assert "cells (old)" in printed
    assert f'CellposeModel(pretrained_model="{path}")' in printed
    assert (settings.output / "retention.png").is_file()
    assert json.loads((settings.output / "finetune.json").read_text())["method"] == "dq_paper_eq"
    here = read_model(str(path))
    there = models.CellposeModel(gpu=False, pretrained_model=str(path), mkldnn=False)
    data = open_labelled([settings.replay])[0]
    image = data.dataset.read(data.items[0]).image
    with torch.inference_mode():
        masks = predict(here, image, here.diameter(None))
    np.testing.assert_array_equal(masks, there.eval(image, channels=[0, 0])[0])
    assert main([*arguments, "--select", "best"]) == 2
    assert "--select best" in capsys.readouterr().err
