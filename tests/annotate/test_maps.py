"""Maps of a choice, and the example folder and numbers of the chapter which-images."""

import re
from dataclasses import replace

import numpy as np
import pytest

from helpers.annotate import examples, maps
from helpers.annotate.candidates import find_images
from helpers.annotate.report import write_report
from helpers.chapters.which_images import Parameters, compare, find_folder, numbers, select
from helpers.fingerprints import of_file


@pytest.fixture(scope="module")
def parameters():
    return Parameters(n_images=9, image_size=64, budget=3, methods=["dq", "k-center"], seeds=[0, 1])


@pytest.fixture(scope="module")
def made(parameters, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOOK_RUNS_DIR", str(tmp_path_factory.mktemp("runs")))
        folder, provenance = find_folder(parameters)
        choice = select(parameters, folder)
        write_report(choice)
        yield choice, provenance


def test_the_example_folder_is_the_same_each_time_and_has_all_kinds(tmp_path):
    one = examples.write_examples(tmp_path / "a", 10, 64, 0)
    two = examples.write_examples(tmp_path / "b", 10, 64, 0)
    names = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert all(of_file(one / name) == of_file(two / name) for name in names)
    found = find_images(one)
    assert len(found.masks) == 1
    assert {path.suffix for path in found.images} == {".png", ".jpg", ".tif"}
    # Seven single ones, one stack of three, four of scikit-image, two broken ones.
    assert len(found.images) == 7 + 1 + 4 + 2


def test_the_example_is_read_but_for_its_broken_files(made):
    choice, provenance = made
    assert len(choice.candidates) == 9 + 4
    assert [one.file for one in choice.survey.skipped] == ["cut short.png", "empty.png"]
    assert provenance["source"] == "synthetic"


def test_the_table_has_a_row_per_method_draw_and_measure(parameters, made):
    choice, _ = made
    table = numbers(parameters, compare(parameters, choice))
    assert table.groupby("method").size().to_dict() == {"dq": 6, "k-center": 6, "random draw": 60}
    first = table[(table["method"] == "dq") & (table["seed"] == 0)].set_index("metric")["value"]
    assert first["mean_distance"] == choice.spread.mean
    assert first["cells_hit"] == choice.spread.cells
    assert choice.spread.own[0].tolist() == first.tolist()
    assert len(np.unique(choice.spread.own[:, 0])) > 1


def test_maps_are_written_and_ask_for_nothing(made, capsys):
    choice, _ = made
    written = {path.name: path for path in maps.write_maps(choice)}
    assert set(written) == {"map.csv", "map.png", "map.html"}
    page = written["map.html"].read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert "http" not in re.sub(r"http://www\.w3\.org/[\w/]+", "", page)
    capsys.readouterr()
    maps.write_maps(choice)
    assert "drawing" not in capsys.readouterr().err  # kept from the first time


def test_of_many_candidates_the_map_keeps_the_chosen_ones(made, monkeypatch):
    choice, _ = made
    monkeypatch.setattr(maps, "MOST_POINTS", 7)
    placed = maps.place(choice)
    assert len(placed.kept) == 7
    assert set(choice.chosen) <= set(placed.kept)
    shown = maps.hover_map(choice)
    assert [placed.kept[i] for i in shown.selections["dq"]] == sorted(choice.chosen)
    ranked = [text for text in shown.tooltips if "; rank " in text]
    assert len(ranked) == 3


def test_the_picture_of_the_map_numbers_what_was_chosen(made):
    import matplotlib.pyplot as plt

    choice, _ = made
    figure = maps.draw_map(replace(choice, chosen=np.arange(13)))
    assert len(figure.axes[0].texts) == 13
    plt.close(figure)
