"""Two checkpoints on labelled folders."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers.cli import main
from helpers.errors import DataError, ParameterError
from helpers.metrics.evaluate import METRICS
from helpers.models.cpnet import build_cpnet
from helpers.own_model import scores
from helpers.own_model.checkpoint import read_model, write_model
from helpers.own_model.labelled import object_diameter, open_labelled
from helpers.own_model.report import TABLE, how_to_load, in_words, rows_of, write_report
from helpers.own_model.retention import Comparison, Request, Side, retention


@pytest.fixture
def request_(narrow, cells, tissue, tmp_path):
    return Request("random:2", str(narrow), (str(cells), str(tissue)), tmp_path / "out")


def test_every_image_is_measured_once_and_a_killed_run_goes_on(request_, monkeypatch):
    original, seen = scores.predict, []

    def dies(*arguments):
        seen.append(arguments)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(scores, "predict", dies)
    with pytest.raises(KeyboardInterrupt):
        retention(request_)
    with next((request_.output / "scores").glob("*.jsonl")).open("a") as stream:
        stream.write('{"id": "half')
    comparison = retention(request_)
    assert len(seen) == 1 + 2 * (5 + 4)
    assert [len(side.before) for side in comparison.sides] == [5, 4]
    again = retention(request_)
    assert len(seen) == 1 + 2 * (5 + 4)
    np.testing.assert_equal([s.after for s in again.sides], [s.after for s in comparison.sides])


def made_up(request_, before: list[float], after: list[float]) -> Comparison:
    """A comparison with given Dice values."""
    data = open_labelled([request_.data[0]])[0]

    def rows(part):
        same = {"object_diameter": 12.0}
        return [{"id": str(i), **same, **dict.fromkeys(METRICS, v)} for i, v in enumerate(part)]

    model = read_model(request_.before)
    return Comparison(
        model,
        model,
        [Side(data, "", rows(before), rows(after), (30, 30), (1, 1))],
        request_.output,
        0,
    )


def test_drops_are_paired_over_images(request_):
    before = np.linspace(0.2, 0.9, 12)
    row = rows_of(made_up(request_, before, before - 0.1))[0]
    assert (row.drop, row.low, row.high) == pytest.approx((0.1, 0.1, 0.1))
    assert (row.before, row.after, row.n) == pytest.approx((0.55, 0.45, 12))
    nan = float("nan")
    row = rows_of(made_up(request_, [nan, 0.5, 0.7], [nan, 0.5, 0.3]))[0]
    assert (row.before, row.after, row.n, row.excluded) == pytest.approx((0.6, 0.4, 2, 1))


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ([0.3, 0.4, 0.2], "a loss beyond the spread"),
        ([0.9, 1.0, 0.95], "a gain beyond the spread"),
        ([0.9, 0.3, 0.6], "cannot be told from no change"),
    ],
)
def test_words_follow_the_interval_and_name_limits(request_, after, said):
    comparison = made_up(request_, [0.5, 0.6, 0.55], after)
    text = in_words(comparison, rows_of(comparison))
    assert said in text
    assert "3 images are few" in text
    assert "try --diameter 12" in text


def test_one_image_has_no_interval(request_):
    comparison = made_up(request_, [0.5], [0.4])
    write_report(comparison)
    text = in_words(comparison, rows_of(comparison))
    assert "one image: none" in text
    assert "One image tells nothing about the spread: add others" in text
    assert "cannot be told" in text


def test_a_model_that_finds_nothing_is_told(request_):
    lost, never = made_up(request_, [0.5, 0.6], [0, 0]), made_up(request_, [0, 0], [0, 0])
    assert "The later model finds next to nothing" in in_words(lost, rows_of(lost))
    assert "Neither model finds anything" in in_words(never, rows_of(never))


def test_loading_in_cellpose_is_told_for_one_and_two_channels(request_, tmp_path):
    comparison = made_up(request_, [0.5], [0.4])
    told = []
    for channels in (1, 2):
        write_model(tmp_path / "full", build_cpnet(32, 0, channels), 20)
        told.append(how_to_load(replace(comparison, after=read_model(str(tmp_path / "full")))))
    assert "nchan=1" in told[0]
    assert "fails to resize" in told[0]
    assert "channels=[0, 0]" in told[1]
    assert "fails" not in told[1]
    assert "for images like cells: eval(..., diameter=30)" in told[1]


def test_each_model_predicts_with_its_own_diameter_unless_told(request_):
    side = retention(replace(request_, data=request_.data[:1], limit=1)).sides[0]
    assert side.diameters == (20, 30)
    assert side.rescales == (1.5, 1)
    assert len(side.data.items) == 1
    told = replace(request_, diameters=(15.0, 60.0), limit=1)
    assert [side.rescales for side in retention(told).sides] == [(2, 2), (0.5, 0.5)]
    with pytest.raises(ParameterError, match="3 values for 2 data sets"):
        replace(request_, diameters=(1.0, 2.0, 3.0))
    with pytest.raises(ParameterError, match="above 0"):
        replace(request_, diameters=(0.0,))


def test_object_diameters_are_those_of_discs():
    y, x = np.ogrid[:100, :100]
    labels = np.where((y - 50) ** 2 + (x - 50) ** 2 <= 20**2, 7, 0).astype(np.int32)
    assert object_diameter(labels) == pytest.approx(40, rel=0.02)
    assert np.isnan(object_diameter(np.zeros((4, 4), np.int32)))


def test_masks_and_images_that_mislead_are_told(request_, cells):
    images = sorted(cells.glob("*[0-9].png"))
    masks = [path.with_name(f"{path.stem}_masks.png") for path in images]
    pixels = np.asarray(Image.open(images[0]))
    for path, factor in ((images[0], 1e-6), (images[1], 0)):
        path.unlink()
        tifffile.imwrite(path.with_suffix(".tif"), (pixels * factor).astype(np.float32))
    for mask in masks[2:]:
        Image.fromarray(np.uint8(255 * (np.asarray(Image.open(mask)) > 0))).save(mask)
    comparison = retention(replace(request_, data=request_.data[:1], diameters=(5.0,)))
    text = in_words(comparison, rows_of(comparison))
    assert "3 images hold a single instance in several pieces" in text
    assert "try --diameter" not in text
    assert f"1 images have grey values within 0.001, as {images[0].stem}" in text
    assert f"1 images have one grey value almost everywhere, as {images[1].stem}" in text


def test_folders_that_cannot_be_used_are_named(cells, tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        open_labelled([str(tmp_path / "nowhere")])
    with pytest.raises(DataError, match="nonsense: no such folder, and no data set"):
        open_labelled(["nonsense"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: holds no images"):
        open_labelled([str(tmp_path / "empty")])
    mask = next(cells.glob("*_masks.png"))
    kept = mask.read_bytes()
    mask.unlink()
    with pytest.raises(DataError, match="1 images without a mask"):
        open_labelled([str(cells)])
    mask.write_bytes(kept)
    mask.with_name(mask.name.replace("_masks", "")).unlink()
    with pytest.raises(DataError, match="1 masks without an image"):
        open_labelled([str(cells)])


def test_folders_of_one_name_are_told_apart(cells, tmp_path):
    (tmp_path / "b").mkdir()
    copy = (tmp_path / "b" / "cells").resolve()
    copy.symlink_to(cells, target_is_directory=True)
    names = [one.name for one in open_labelled([str(cells), f"{tmp_path}/b/../cells"])]
    assert len(set(names)) == 2


def test_the_command_prints_and_writes_everything(request_, tmp_path, capsys):
    write_model(tmp_path / "after", build_cpnet(2, 3, channels=2), 20)
    arguments = ["retention", "--model", str(tmp_path / "after"), "--before", request_.before]
    assert main([*arguments, "--data", *request_.data, "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "cells: Dice went from" in printed
    output = tmp_path / "after-retention"
    with (output / TABLE).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(r["dataset"], r["metric"]) for r in rows][:2] == [("cells", "dice"), ("cells", "iou")]
    assert len(rows) == 8
    assert (output / "images.csv").read_text().count("\n") == 1 + 2 * 9
    assert (output / "retention.json").is_file()
    assert (output / "retention.png").stat().st_size > 10_000
    assert main([*arguments, "--data", str(tmp_path / "nowhere")]) == 2
    assert "nowhere: no such folder" in capsys.readouterr().err
