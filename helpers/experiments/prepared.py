"""What trials read: training patches on disk and whole held-out images."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.data.sample import Sample
from helpers.features.descriptor import describe_all
from helpers.files import replacing
from helpers.training.targets import PatchStore, open_store

SUMMARY, TEST, PATCHES = "prepared.json", "test.npz", "patches"


@dataclass(frozen=True)
class Prepared:
    """Data ready for trials.

    Attributes:
        folder: where they lie.
        content: sha256 over patches, targets and test images: equal content, equal trials, however
            the data were read.
        provenance: name, source, completeness, coverage and fingerprint of the data set.
        train_ids, test_ids: images on either side of the split.
    """

    folder: Path
    content: str
    provenance: dict
    train_ids: list[str]
    test_ids: list[str]

    def patches(self) -> PatchStore:
        """The training patches, memory-mapped."""
        return open_store(self.folder / PATCHES)

    def descriptors(self) -> np.ndarray:
        """Descriptors of all training patches, float32 (n, d), computed once."""
        path = self.folder / "descriptors.npy"
        if not path.is_file():
            features = describe_all(self.patches().images)
            with replacing(path) as temporary, temporary.open("wb") as stream:
                np.save(stream, features)
        return np.load(path)

    def test_samples(self) -> list[Sample]:
        """The held-out images, whole, grey and scaled."""
        with np.load(self.folder / TEST) as arrays:
            return [
                Sample(arrays[f"image{i}"], arrays[f"labels{i}"], name, name)
                for i, name in enumerate(self.test_ids)
            ]


def open_prepared(folder: Path) -> Prepared:
    """Prepared data as left by :func:`helpers.experiments.preparation.prepare_data`."""
    summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    return Prepared(folder, **summary)
