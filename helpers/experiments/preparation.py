"""From a data set to what trials read: draw, split, scale, cut, compute flow targets."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers import fingerprints
from helpers.data.datasets import Dataset, split_name
from helpers.data.patches import PatchGrid
from helpers.data.preprocess import Polarity, prepare
from helpers.data.readers import Item, Reader
from helpers.data.sample import Sample
from helpers.data.splits import rotating_split, split_by_group
from helpers.errors import DataError
from helpers.experiments.prepared import PATCHES, TEST, Prepared
from helpers.experiments.tasks import made_once, open_data
from helpers.files import write_arrays
from helpers.training.targets import build_store


@dataclass(frozen=True)
class DataSettings:
    """Which data, and how they are split and cut.

    Attributes:
        dataset: name in the manifest, ``synthetic-...`` or ``folder:PATH``.
        n_images: images to generate (synthetic) or to draw at most (real; 0 takes all).
        image_size: side of generated images in pixels; ignored for real data.
        test_share: share of images held out, by group.
        max_test_images: at most this many of the held-out images are tested on (0: all).
        seed: of generation, drawing and split.
        polarity: see :func:`helpers.data.preprocess.prepare`.
        grid: how training images are cut into patches; test images stay whole.
        turn: of a split that rotates (:func:`helpers.data.splits.rotating_split`); ``None`` for
            the one split that ``seed`` gives.
    """

    dataset: str
    n_images: int
    image_size: int
    test_share: float
    max_test_images: int
    seed: int
    polarity: Polarity
    grid: PatchGrid
    turn: int | None = None


def prepare_data(settings: DataSettings, cache: Path | None = None, workers: int = 1) -> Prepared:
    """Prepare the data, or find that done already.

    Args:
        cache: as for :func:`helpers.experiments.tasks.prepare_task`.
        workers: processes to read images and compute flow targets.

    Raises:
        DataError: the data set is unknown, unavailable or damaged, tells classes, or gives no
            patches.
    """
    dataset = open_data(settings.dataset, settings.n_images, settings.seed, settings.image_size)
    if dataset.classes:
        raise DataError(
            f"data set {settings.dataset!r}: its labels tell classes ({', '.join(dataset.classes)})"
            ", not instances. Take one whose labels tell instances, such as synthetic-cyto."
        )
    what = ("flows", settings, __name__)
    folder, summary = made_once(
        what, dataset, cache, lambda to: _build(dataset, settings, to, workers)
    )
    return Prepared(folder, **summary)


def _build(dataset: Dataset, settings: DataSettings, folder: Path, workers: int) -> dict:
    train, test = _split(dataset, settings)
    held_out = _read(dataset.reader, test, settings.polarity, workers)
    arrays = {f"image{i}": sample.image for i, sample in enumerate(held_out)}
    arrays |= {f"labels{i}": sample.labels for i, sample in enumerate(held_out)}
    write_arrays(folder / TEST, arrays)
    training = _read(dataset.reader, train, settings.polarity, workers)
    build_store(training, settings.grid, folder / PATCHES, workers)
    return _summary(dataset, training, held_out, folder)


def _split(dataset: Dataset, settings: DataSettings) -> tuple[list[Item], list[Item]]:
    """Items to train on and to test on, in the order of the data set."""
    rng = np.random.default_rng([settings.seed, 0])
    items = list(dataset.items)
    if 0 < settings.n_images < len(items):
        items = [items[i] for i in np.sort(rng.permutation(len(items))[: settings.n_images])]
    groups = [item.group for item in items]
    if settings.turn is None:
        train, test = split_by_group(groups, settings.test_share, rng)
    else:
        train, test = rotating_split(groups, settings.test_share, settings.turn, rng)
    if 0 < settings.max_test_images < len(test):
        test = np.sort(rng.permutation(test)[: settings.max_test_images])
    return [items[i] for i in train], [items[i] for i in test]


def _summary(
    dataset: Dataset, training: list[Sample], held_out: list[Sample], folder: Path
) -> dict:
    files = [folder / TEST, folder / PATCHES / "patches.npy", folder / PATCHES / "meta.json"]
    tested = {
        "test_ids": [sample.id for sample in held_out],
        "test_groups": [sample.group for sample in held_out],
        "test_modalities": [_modality(sample, dataset) for sample in held_out],
    }
    return {
        "content": fingerprints.of_json([*map(fingerprints.of_file, files), tested]),
        "provenance": dataset.provenance,
        "train_ids": [sample.id for sample in training],
        **tested,
    }


def _modality(sample: Sample, dataset: Dataset) -> str:
    """What the reader says, or else which of several joined data sets the image is from."""
    joined = len(split_name(dataset.name)) > 1
    return sample.modality or (sample.id.partition("/")[0] if joined else "")


def _read(reader: Reader, items: list[Item], polarity: Polarity, workers: int) -> list[Sample]:
    from joblib import Parallel, delayed
    from tqdm import tqdm

    jobs = (delayed(_read_one)(reader, item, polarity) for item in items)
    processes = workers if len(items) > 20 else 1
    read = Parallel(n_jobs=processes, return_as="generator")(jobs)
    return list(tqdm(read, "reading images", len(items), mininterval=2))


def _read_one(reader: Reader, item: Item, polarity: Polarity) -> Sample:
    return prepare(reader.read(item), polarity)
