"""The check counts what is there and finds what is broken."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from helpers.data import check
from helpers.data.check import check_all, check_dataset, count_disconnected, format_table
from helpers.data.datasets import open_dataset
from helpers.data.readers import FolderReader
from helpers.errors import DataError, NoLabelsError

LABELS = np.zeros((20, 30), np.uint16)
LABELS[2:6, 2:6] = 1
LABELS[10:15, 10:20] = 2


@pytest.fixture
def folder(tmp_path):
    """Three good images: of 2, 2 and 0 instances, two sizes, two types."""
    add(tmp_path, "a", LABELS)
    add(tmp_path, "b", LABELS.T, np.uint16)
    add(tmp_path, "c", np.zeros_like(LABELS))
    return tmp_path


def add(root, name, labels, dtype=np.uint8):
    rng = np.random.default_rng(sum(map(ord, name)))
    tifffile.imwrite(root / f"{name}.tif", rng.integers(0, 255, labels.shape).astype(dtype))
    tifffile.imwrite(root / f"{name}_masks.tif", labels)


def run(root):
    return check_dataset(open_dataset(f"folder:{root}"), progress=False)


def test_counts_and_ranges(folder):
    report = run(folder)
    assert (report.n_items, report.n_images, report.n_groups) == (3, 3, 3)
    assert (report.n_instances, report.instances_per_image, report.n_empty) == (4, (0, 2.0, 2), 1)
    assert (report.heights, report.widths) == ((20, 30), (20, 30))
    assert (report.dtypes, report.channels) == (("uint16", "uint8"), (1,))
    assert report.problems == report.notes == ()


def test_broken_files_are_named_and_the_others_still_read(folder):
    path = folder / "a.tif"
    path.write_bytes(path.read_bytes()[:300])
    tifffile.imwrite(folder / "b_masks.tif", LABELS)
    report = run(folder)
    assert (report.n_items, report.n_images, report.n_instances) == (3, 1, 0)
    assert len(report.problems) == 2
    assert "a.tif" in report.problems[0]
    assert "b_masks.tif" in report.problems[1]


def test_nothing_readable_is_still_a_report(folder):
    for path in folder.glob("*_masks.tif"):
        path.write_bytes(b"")
    report = run(folder)
    assert (report.n_images, report.instances_per_image, len(report.problems)) == (0, None, 3)
    assert "PROBLEM" in format_table([report])


def test_equal_pixels_in_different_groups_are_a_problem(folder):
    add(folder, "d", LABELS)
    (folder / "d.tif").write_bytes((folder / "a.tif").read_bytes())
    assert "a, d: the same pixels" in run(folder).problems[0]
    (folder / "groups.csv").write_text("id,group\na,1\nb,2\nc,3\nd,1\n")
    assert run(folder).problems == ()


def test_group_in_training_and_test_is_a_problem(tmp_path):
    for name in ("train/a", "test/b"):
        (tmp_path / name).parent.mkdir()
        add(tmp_path, name, LABELS)
    assert run(tmp_path).problems == ()
    (tmp_path / "groups.csv").write_text("id,group\ntrain/a,m\ntest/b,m\n")
    assert run(tmp_path).problems == ("group 'm' is in both the training and the test part",)


def test_group_torn_by_an_official_split_is_a_note_since_nobody_can_mend_it(tmp_path):
    for name in ("train/a", "test/b", "test/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        add(tmp_path, name, LABELS)
    (tmp_path / "groups.csv").write_text("id,group\ntrain/a,m\ntest/b,m\ntest/c,n\n")
    official = replace(open_dataset(f"folder:{tmp_path}"), source="bundle")
    report = check_dataset(official, progress=False)
    assert report.problems == ()
    [note] = report.notes
    assert "1 of 2 test images are of the 1 groups that are in the training part too" in note


def test_instances_in_pieces_and_foreground_masks_are_noted(folder):
    torn = LABELS.copy()
    torn[12] = 0
    add(folder, "d", torn)
    add(folder, "e", (LABELS > 0).astype(np.uint8))
    notes = " ".join(run(folder).notes)
    assert "2 instances in 2 images are in several pieces" in notes
    assert "1 images hold a single instance in several pieces" in notes
    assert "e_masks.tif a foreground mask" in notes


def test_what_the_reader_settled_is_noted(folder):
    dataset = open_dataset(f"folder:{folder}")
    account = {"overlap": 5, "clipped": 2, "lost": ("a: region 7 covers no pixel",)}

    class Settling(FolderReader):
        def load(self, item):
            return replace(super().load(item), **account if item.id == "a" else {})

    report = check_dataset(replace(dataset, reader=Settling()), progress=False)
    assert report.problems == ()
    notes = "\n".join(report.notes)
    assert "5 pixels in 1 images were claimed by more than one instance" in notes
    assert "2 instances reach beyond the edge" in notes
    assert "1 annotated instances have no pixel" in notes
    assert "a: region 7 covers no pixel" in notes


def test_pieces_are_counted_per_instance():
    labels = np.zeros((9, 9), np.int32)
    labels[0, [0, 2, 4]] = 7  # three pieces
    labels[[5, 6], [5, 6]] = 2  # touches at a corner: one piece
    labels[0, 1] = 3
    assert count_disconnected(labels) == 1
    assert count_disconnected(np.zeros((4, 4), np.int32)) == 0


@pytest.fixture
def manifest(monkeypatch, folder):
    """A manifest of one data set that is here, one that is not, one broken, one without reader."""
    readers = {"here": "folder", "away": "folder", "broken": "folder", "scans": None}
    entries = {
        name: SimpleNamespace(name=name, kind="dataset", reader=reader)
        for name, reader in readers.items()
    }
    own = SimpleNamespace(entries=entries, entry=entries.__getitem__)
    monkeypatch.setattr(check, "load_manifest", lambda: own)
    monkeypatch.setattr(check, "fingerprint_of", lambda name: None if name == "away" else "f")

    def open_named(name, progress):
        if name in ("broken", "scans"):
            raise DataError(f"{name}: cannot be opened")
        return open_dataset(f"folder:{folder}", progress=progress)

    monkeypatch.setattr(check, "open_dataset", open_named)


def test_files_without_the_labels_asked_for_are_no_problem(manifest, monkeypatch):
    def open_named(name, progress):
        raise NoLabelsError(f"{name}: no masks")

    monkeypatch.setattr(check, "open_dataset", open_named)
    [report] = check_all(["here:lung"], progress=False)
    assert (report.available, report.problems) == (False, ())
    assert report.notes == ("here:lung: no masks",)


def test_another_task_of_absent_files_is_not_fetched(manifest):
    [report] = check_all(["away:lung"], progress=False)
    assert not report.available
    assert "data fetch away" in report.notes[0]


def test_classes_may_lie_in_pieces(folder):
    labels = np.zeros((20, 30), np.uint16)
    labels[2:5, 2:5] = labels[10:15, 10:20] = 1
    add(folder, "d", labels)
    dataset = open_dataset(f"folder:{folder}")
    assert any("several pieces" in note for note in run(folder).notes)

    class Classes(FolderReader):
        classes = ("lung",)

    report = check_dataset(replace(dataset, reader=Classes()), progress=False)
    assert report.notes == ()
    assert "  labels are classes: lung" in format_table([report]).splitlines()


def test_all_that_have_a_reader_are_checked_and_the_absent_ones_listed(manifest):
    reports = {report.name.split(":")[0]: report for report in check_all(progress=False)}
    assert list(reports) == ["folder", "away", "broken"]
    assert reports["folder"].n_images == 3
    assert not reports["away"].available
    assert "data fetch away" in reports["away"].notes[0]
    assert reports["broken"].problems == ("broken: cannot be opened",)


def test_a_name_without_reader_says_so_if_asked_for(manifest):
    assert check_all(["scans"], progress=False)[0].problems == ("scans: cannot be opened",)


def test_table_has_one_row_per_data_set_and_reports_go_to_json(manifest):
    reports = check_all(progress=False)
    lines = format_table(reports).splitlines()
    assert [line.split()[0].split(":")[0] for line in lines[1:4]] == ["folder", "away", "broken"]
    assert "0 / 2 / 2" in lines[1]
    assert "(not here)" in lines[2]
    assert "  PROBLEM: broken: cannot be opened" in lines
    assert json.loads(json.dumps([report.as_dict() for report in reports]))[0]["n_instances"] == 4


def test_own_folder_can_be_checked_by_path(folder):
    [report] = check_all([f"folder:{folder}"], progress=False)
    assert (report.source, report.n_images) == ("folder", 3)
