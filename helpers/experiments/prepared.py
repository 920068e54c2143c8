"""What trials read: training patches on disk and whole held-out images."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.data.sample import Sample
from helpers.features.descriptor import describe_all
from helpers.files import write_arrays, write_json
from helpers.metrics import evaluate
from helpers.metrics.baselines import BASELINES, baseline_masks
from helpers.training.targets import PatchStore, open_store

TEST, PATCHES = "test.npz", "patches"
Row = dict[str, float | str]


@dataclass(frozen=True)
class Prepared:
    """Data ready for trials.

    Attributes:
        folder: where they lie.
        content: sha256 over patches, targets and test images with their names: equal content, equal
            trials, however the data were read.
        provenance: name, source, completeness, coverage and fingerprint of the data set.
        train_ids, test_ids: images on either side of the split.
        test_groups: group of each test image.
        test_modalities: what kind of picture it is, or which of several joined data sets it is
            from; empty where neither is known.
    """

    folder: Path
    content: str
    provenance: dict
    train_ids: list[str]
    test_ids: list[str]
    test_groups: list[str]
    test_modalities: list[str]

    def patches(self) -> PatchStore:
        """The training patches, memory-mapped."""
        return open_store(self.folder / PATCHES)

    def descriptors(self) -> np.ndarray:
        """Descriptors of all training patches, float32 (n, d), computed once."""
        path = self.folder / "descriptors.npz"
        if not path.is_file():
            write_arrays(path, {"features": describe_all(self.patches().images)})
        return np.load(path)["features"]

    def test_samples(self) -> list[Sample]:
        """The held-out images, whole, grey and scaled."""
        with np.load(self.folder / TEST) as arrays:
            names = zip(self.test_ids, self.test_groups, self.test_modalities, strict=True)
            return [
                Sample(arrays[f"image{i}"], arrays[f"labels{i}"], *told)
                for i, told in enumerate(names)
            ]

    def baselines(self) -> dict[str, list[Row]]:
        """Rows of :func:`image_row` for what needs no training, computed once.

        By the names of :data:`helpers.metrics.baselines.BASELINES`.
        """
        path = self.folder / "baselines.json"
        if not path.is_file():
            found = [
                (sample, baseline_masks(sample.image, sample.labels))
                for sample in self.test_samples()
            ]
            rows = {
                name: [image_row(sample, masks[name], masks[name] > 0) for sample, masks in found]
                for name in BASELINES
            }
            write_json(path, rows)
        return json.loads(path.read_text(encoding="utf-8"))


def image_row(sample: Sample, masks: np.ndarray, foreground: np.ndarray) -> Row:
    """What is kept of a prediction: which image it is of, and all metrics.

    Args:
        masks: predicted instances, int32 (height, width).
        foreground: bool (height, width), the predicted foreground before instances are made of it:
            a network whose flows are not there yet finds no instance, and ``foreground_dice`` tells
            that from one that sees nothing.
    """
    before = evaluate(sample.labels, foreground.astype(np.int32)).dice
    return {
        "id": sample.id,
        "group": sample.group,
        "modality": sample.modality,
        "foreground_dice": before,
        **evaluate(sample.labels, masks).as_dict(),
    }
