"""KUMAR: images of MoNuSeg in a split of their own."""

from collections import Counter

import pytest

from helpers.data.readers.monuseg import KUMAR, KumarReader, MoNuSegReader
from helpers.errors import DataError
from tests.data.test_readers_monuseg import SQUARE, write_pair

NAMES = {
    part: [name for names in organs.values() for name in names] for part, organs in KUMAR.items()
}


def test_the_published_numbers():
    assert {part: len(names) for part, names in NAMES.items()} == {
        "train": 16,
        "same-organ": 8,
        "different-organ": 6,
    }
    trained = set(KUMAR["train"])
    assert set(KUMAR["same-organ"]) == trained
    assert not set(KUMAR["different-organ"]) & trained
    # Six images each of the organs trained on, two of the others (Kumar et al. 2017).
    organs = Counter(
        organ for part in KUMAR.values() for organ, names in part.items() for _ in names
    )
    assert organs == dict.fromkeys(trained, 6) | dict.fromkeys(KUMAR["different-organ"], 2)


def test_no_patient_is_there_twice():
    patients = [name[:12] for names in NAMES.values() for name in names]
    assert len(set(patients)) == len(patients) == 30


def test_only_images_of_kumar_are_listed_with_part_and_organ(tmp_path):
    write_pair(tmp_path, [SQUARE], "TCGA-21-5784-01Z-00-DX1")
    write_pair(tmp_path, [SQUARE], "TCGA-B0-5698-01Z-00-DX1")
    write_pair(tmp_path, [SQUARE], "TCGA-NH-A8F7-01A-01-TS1")
    write_pair(tmp_path, [SQUARE], "TCGA-UZ-A9PN-01Z-00-DX1")  # MoNuSeg's alone
    write_pair(tmp_path, [SQUARE], "TCGA-AO-A0J2-01A-01-BSA", split="test")
    items = KumarReader().items(tmp_path)
    assert [(item.id[:12], item.group, item.split, item.modality) for item in items] == [
        ("TCGA-21-5784", "TCGA-21-5784", "train", "histology/liver/train"),
        ("TCGA-B0-5698", "TCGA-B0-5698", "test", "histology/kidney/same-organ"),
        ("TCGA-NH-A8F7", "TCGA-NH-A8F7", "test", "histology/colon/different-organ"),
    ]
    assert len(MoNuSegReader().items(tmp_path)) == 5


def test_pixels_and_outlines_are_those_of_monuseg(tmp_path):
    write_pair(tmp_path, [SQUARE], "TCGA-B0-5698-01Z-00-DX1")
    [ours], [theirs] = (reader.items(tmp_path) for reader in (KumarReader(), MoNuSegReader()))
    sample, other = KumarReader().read(ours), MoNuSegReader().read(theirs)
    assert (sample.image == other.image).all()
    assert (sample.labels == other.labels).all()
    assert sample.modality == "histology/kidney/same-organ"


def test_none_of_the_thirty(tmp_path):
    write_pair(tmp_path, [SQUARE], "TCGA-UZ-A9PN-01Z-00-DX1")
    with pytest.raises(DataError, match="holds no images in the layout Tissue"):
        KumarReader().items(tmp_path)
