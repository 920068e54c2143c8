"""Lists, contact sheets and words."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from helpers.annotate import sheet
from helpers.annotate.candidates import MARK, Cut, find_images
from helpers.annotate.choose import Request, choose
from helpers.annotate.report import in_words, write_map, write_report
from helpers.annotate.sheet import TILE, tiles


@pytest.fixture
def choice(folder, tmp_path):
    return choose(Request(folder, tmp_path / "out", budget=4, method="k-center"))


def read(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_list_tells_what_to_open_and_where(choice):
    write_report(choice)
    rows = read(choice.request.output / "selection.csv")
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    for row, index in zip(rows, choice.chosen, strict=True):
        assert row["file"] == choice.candidates[index].file
        assert (choice.request.folder / row["file"]).is_file()
        assert row["method"] == "k-center"
    skipped = {row["file"]: row["reason"] for row in read(choice.request.output / "skipped.csv")}
    assert set(skipped) == {"broken.tif", "empty.png"}
    assert "empty (0 bytes)" in skipped["empty.png"]


def test_nothing_unreadable_leaves_a_list_without_rows(choice):
    write_report(replace(choice, survey=replace(choice.survey, skipped=[])))
    assert read(choice.request.output / "skipped.csv") == []


def test_tiles_show_the_chosen_windows(folder, tmp_path):
    choice = choose(Request(folder, tmp_path / "out", 40, "random", Cut(16, 16)))
    drawn = tiles(choice, range(40))
    assert sorted(drawn) == list(range(40))
    for rank, tile in drawn.items():
        assert tile.shape == (TILE, TILE, 3)
        one = choice.candidates[choice.chosen[rank]]
        if one.file == "a/0.png":
            shown = np.float64(Image.open(folder / one.file))
            low, high = np.percentile(shown, [0.5, 99.5])
            part = shown[one.top : one.top + 16, one.left : one.left + 16]
            expected = 255 * np.clip((part.mean() - low) / (high - low), 0, 1)
            assert tile.mean() == pytest.approx(expected, abs=8)


def test_contact_sheets_are_paged_and_limited(choice, monkeypatch):
    choice = choose(replace(choice.request, budget=10))
    monkeypatch.setattr(sheet, "COLUMNS", 2)
    monkeypatch.setattr(sheet, "ROWS", 2)
    monkeypatch.setattr(sheet, "MOST", 9)
    paths = sheet.write_sheets(choice, choice.request.output / "contact-sheet")
    assert [path.name for path in paths] == [
        "contact-sheet.png", "contact-sheet-2.png", "contact-sheet-3.png"
    ]  # fmt: skip
    sizes = [Image.open(path).size for path in paths]
    assert sizes[0] == sizes[1]
    assert sizes[2][1] < sizes[0][1]


def test_another_choice_moves_the_earlier_one_aside_and_the_same_one_does_not(choice):
    output = choice.request.output
    write_report(choice)
    before = (output / "selection.csv").read_text()
    write_report(choice)
    assert not (output / "earlier").exists()
    write_report(choose(replace(choice.request, method="random", budget=3)))
    assert (output / "earlier" / "01-k-center-4" / "selection.csv").read_text() == before
    assert (output / "earlier" / "01-k-center-4" / "contact-sheet.png").is_file()
    assert len(read(output / "selection.csv")) == 3
    write_report(choice)
    assert (output / "earlier" / "02-random-3").is_dir()
    assert json.loads((output / MARK).read_text())["budget"] == 4


def test_a_file_of_the_users_own_is_not_overwritten(choice):
    choice.request.output.mkdir(exist_ok=True)
    (choice.request.output / "selection.csv").write_text("mine")
    write_report(choice)
    earlier = choice.request.output / "earlier" / "01-unknown-0" / "selection.csv"
    assert earlier.read_text() == "mine"


def test_what_is_left_out_and_what_looks_like_an_annotation_is_told(folder, tmp_path):
    for name in ("0_flows", "1_cp_output_cp_masks", "2_seg"):
        shutil.copy(folder / "a" / "0.png", folder / "a" / f"{name}.png")
    text = in_words(choose(Request(folder, tmp_path / "out", budget=4)))
    assert "masks left out: 2; other files of Cellpose left out: 2; files known by" in text
    assert "1 files are named after others, as 2_seg.png after 2.png" in text


def test_results_within_the_folder_are_told_and_are_no_images(folder):
    request = Request(folder, folder / "chosen", budget=4)
    for _ in range(2):
        choice = choose(request)
        write_report(choice)
        assert "not taken for images" in in_words(choice)
        assert len(find_images(folder).images) == 10


def test_words_name_numbers_faults_and_the_next_step(choice):
    text = in_words(choice)
    assert "10 pictures in 8 files; masks left out: 2." in text
    assert "page" in text.splitlines()[2]
    assert "broken.tif: " in text
    assert "empty.png: is empty" in text
    assert f"{choice.spread.mean:.3g} on average" in text
    assert "chapter coreset" in text
    assert "NAME_mask.tif" in text
    everything = choose(replace(choice.request, budget=99))
    assert "budget of 99 is more than there is: all 10 are ranked" in in_words(everything)


@pytest.mark.parametrize(
    ("draws", "said"),
    [
        ([0.5, 0.9], "closer than"),
        # A lucky first draw is not the method.
        ([0.5, 1.1], "about as close as"),
        ([1.5, 9.0], "about as close as"),
        ([9.0, 8.0], "less close than"),
    ],
)
def test_words_compare_the_ranges_of_the_method_and_of_random_choices(choice, draws, said):
    own, random = (np.tile(np.array(v)[:, None], 3) for v in (draws, np.linspace(1, 2, 20)))
    spread = replace(choice.spread, mean=draws[0], own=own, random=random)
    assert f"lies {said} random" in in_words(replace(choice, spread=spread))


def test_the_map_lists_places_and_ranks(choice):
    kept = np.array([0, 2, int(choice.chosen[0])])
    kept = np.unique(kept)
    path = write_map(choice, kept, np.zeros((len(kept), 2)))
    rows = read(path)
    assert [row["file"] for row in rows] == [choice.candidates[i].file for i in kept]
    assert "1" in {row["rank"] for row in rows}
