"""Training patches of one's own images, at the magnification at which the model predicts."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from helpers.data.patches import PatchGrid, cut
from helpers.data.sample import Sample
from helpers.own_model.checkpoint import Model
from helpers.own_model.labelled import Labelled
from helpers.own_model.predict import magnified, normalised
from helpers.training.targets import CHANNELS, PatchStore, build_store


def patch_store(
    data: Labelled, model: Model, diameter: float, size: int, folder: Path
) -> PatchStore:
    """Patches with flow targets of all images, on disk; what is there is opened.

    Images are normalised and resized as for prediction. Windows of ``size`` px stand half a window
    apart and end at the border; what a smaller image lacks is filled with zeros.

    Raises:
        DataError: an image or its annotation cannot be read.
    """
    pieces = [] if (folder / "meta.json").is_file() else list(_pieces(data, model, diameter, size))
    return build_store(pieces, PatchGrid(size, size, "pad"), folder)


def bytes_of(data: Labelled, model: Model, diameter: float, size: int) -> int:
    """About how much room the patches of these images take, from the size of the first one."""
    first = resized(data.dataset.read(data.items[0]), model, diameter)
    height, width = first.labels.shape
    patches = len(starts(height, size)) * len(starts(width, size)) * len(data.items)
    return patches * len(CHANNELS) * size**2 * np.dtype(np.float16).itemsize


def resized(sample: Sample, model: Model, diameter: float) -> Sample:
    """The sample as the network sees it: one normalised grey channel, resized with its labels."""
    grey = magnified(normalised(sample.image), model.rescale(diameter))
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for new, old in zip(grey.shape, sample.labels.shape, strict=True)
    )
    return replace(sample, image=grey[..., None], labels=sample.labels[np.ix_(rows, columns)])


def starts(length: int, size: int) -> list[int]:
    """Where windows begin along one side, so that they cover it and none reaches beyond it."""
    last = max(length - size, 0)
    return sorted({*range(0, last, max(size // 2, 1)), last})


def _pieces(data: Labelled, model: Model, diameter: float, size: int) -> Iterator[Sample]:
    for item in data.items:
        sample = resized(data.dataset.read(item), model, diameter)
        height, width = sample.labels.shape
        for top in starts(height, size):
            for left in starts(width, size):
                image, labels = (
                    cut(part, top, left, size) for part in (sample.image, sample.labels)
                )
                yield replace(sample, image=image, labels=labels)
