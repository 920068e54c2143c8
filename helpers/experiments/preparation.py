"""From a data set to what trials need: training patches on disk and whole held-out images."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from helpers import fingerprints
from helpers.data.datasets import Dataset, SyntheticSpec, open_dataset
from helpers.data.patches import PatchGrid
from helpers.data.preprocess import prepare
from helpers.data.sample import Sample
from helpers.data.splits import split_by_group
from helpers.files import replacing, write_json
from helpers.training.targets import PatchStore, build_store, open_store


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
        grid: how training images are cut into patches; test images stay whole.
    """

    dataset: str
    n_images: int
    image_size: int
    test_share: float
    max_test_images: int
    seed: int
    grid: PatchGrid


@dataclass(frozen=True)
class Prepared:
    """Data ready for trials.

    Attributes:
        folder: where they lie; hand this to other processes.
        fingerprint: of data, settings and code that made them.
        provenance: name, source, coverage and fingerprint of the data set.
        train_ids, test_ids: images on either side of the split.
    """

    folder: Path
    fingerprint: str
    provenance: dict
    train_ids: list[str]
    test_ids: list[str]

    def patches(self) -> PatchStore:
        """The training patches, memory-mapped."""
        return open_store(self.folder / "patches")

    def test_samples(self) -> list[Sample]:
        """The held-out images, whole, grey and scaled."""
        with np.load(self.folder / "test.npz") as arrays:
            return [
                Sample(arrays[f"image{i}"], arrays[f"labels{i}"], name, name)
                for i, name in enumerate(self.test_ids)
            ]


def prepare_data(settings: DataSettings, cache: Path, workers: int = 1) -> Prepared:
    """Open, draw, split, scale, cut; or find all of that done already.

    Args:
        cache: folder under which the prepared data are kept, named after their fingerprint.
        workers: processes for the flow targets.
    """
    dataset = _open(settings)
    fingerprint = fingerprints.of_json(
        {
            "settings": asdict(settings),
            "data": dataset.fingerprint,
            "code": fingerprints.of_code([__name__]),
        }
    )
    folder = cache / f"{settings.dataset.split(':')[0]}-{fingerprint[:16]}"
    if not (folder / "split.json").is_file():
        _build(dataset, settings, folder, workers)
    split = json.loads((folder / "split.json").read_text(encoding="utf-8"))
    provenance = {
        "name": dataset.name,
        "source": dataset.source,
        "complete": dataset.complete,
        "coverage": dataset.coverage,
        "fingerprint": dataset.fingerprint,
    }
    return Prepared(folder, fingerprint, provenance, split["train"], split["test"])


def _open(settings: DataSettings) -> Dataset:
    size = (settings.image_size, settings.image_size)
    spec = SyntheticSpec(n_images=settings.n_images, seed=settings.seed, size=size)
    return open_dataset(settings.dataset, synthetic=spec)


def _build(dataset: Dataset, settings: DataSettings, folder: Path, workers: int) -> None:
    rng = np.random.default_rng([settings.seed, 0])
    items = list(dataset.items)
    if 0 < settings.n_images < len(items):
        items = [items[i] for i in np.sort(rng.permutation(len(items))[: settings.n_images])]
    train, test = split_by_group([item.group for item in items], settings.test_share, rng)
    if 0 < settings.max_test_images < len(test):
        test = np.sort(rng.permutation(test)[: settings.max_test_images])
    folder.mkdir(parents=True, exist_ok=True)
    held_out = _read(dataset, [items[i] for i in test], workers)
    arrays = {f"image{i}": sample.image for i, sample in enumerate(held_out)}
    arrays |= {f"labels{i}": sample.labels for i, sample in enumerate(held_out)}
    _write_npz(folder / "test.npz", arrays)
    training = _read(dataset, [items[i] for i in train], workers)
    build_store(training, settings.grid, folder / "patches", workers)
    # Written last: this file says that the folder is complete.
    _write_split(folder / "split.json", training, held_out)


def _read(dataset: Dataset, items: list, workers: int) -> list[Sample]:
    from joblib import Parallel, delayed
    from tqdm import tqdm

    jobs = (delayed(_read_one)(dataset, item) for item in items)
    read = Parallel(n_jobs=workers, return_as="generator")(jobs)
    return list(tqdm(read, "reading images", len(items), mininterval=2))


def _read_one(dataset: Dataset, item: object) -> Sample:
    return prepare(dataset.read(item))


def _write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)


def _write_split(path: Path, training: list[Sample], held_out: list[Sample]) -> None:
    split = {"train": [s.id for s in training], "test": [s.id for s in held_out]}
    write_json(path, split)
