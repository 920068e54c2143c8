"""Foreground segmentation: a data set read once, split by group, kept in its own resolution.

Dice and Jaccard of arXiv 2307.03275 are those of glands, or nuclei, against everything else, so
labels that tell instances become one class here. Images keep their colours, since each set of
weights has its own normalisation, and their size, since training crops and prediction slides.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from helpers import fingerprints
from helpers.data.datasets import Dataset, SyntheticSpec, open_dataset
from helpers.data.readers import Item
from helpers.errors import DataError, ParameterError
from helpers.experiments.tasks import PARTS, split_items
from helpers.files import replacing, write_json
from helpers.leftovers import remove_leftovers
from helpers.locks import once

SUMMARY = "foreground.json"
BYTE = 255


@dataclass(frozen=True)
class ForegroundSettings:
    """Which data, and how they are split.

    Attributes:
        dataset: name of a data set of colour or grey images with 8 bits; instances or classes.
        n_images: images to generate (synthetic) or to draw at most, whole groups (real; 0: all).
        image_size: side of generated images in pixels; not used for real ones.
        scale: factor by which images are resized, above 0 and at most 1.
        test_share: share of images held out by group, where the data set has no test part of its
            own beside a training part; else that one is taken.
        validation_share: share of the remaining images, by group (published: 0.2).
        max_test_images: at most this many are tested on, evenly spaced (0: all).
        seed: of generation, drawing and splits.
    """

    dataset: str
    n_images: int
    image_size: int
    scale: float
    test_share: float
    validation_share: float
    max_test_images: int
    seed: int

    def __post_init__(self) -> None:
        if not 0 < self.scale <= 1:
            raise ParameterError(f"scale={self.scale}: expected above 0 and at most 1")


@dataclass(frozen=True)
class Pictures:
    """Images of one side of the splits, of any sizes.

    Attributes:
        images: each uint8 (h, w, 3).
        masks: each uint8 (h, w), 1 where an object is.
        ids, groups, modalities: of each, as the data set's items and samples tell them.
    """

    images: list[np.ndarray]
    masks: list[np.ndarray]
    ids: list[str]
    groups: list[str]
    modalities: list[str]

    def __len__(self) -> int:
        return len(self.images)

    def some(self, places: np.ndarray) -> "Pictures":
        """Those at these places, in their order."""
        lists = (self.images, self.masks, self.ids, self.groups, self.modalities)
        return Pictures(*([part[i] for i in places] for part in lists))


@dataclass(frozen=True)
class ForegroundTask:
    """A task ready for trials.

    Attributes:
        folder: where it lies.
        name: of the data set.
        content: sha256 over images, masks and groups of all parts.
        provenance: as a record keeps it.
        counts: images and groups of each part.
        sizes: smallest and largest height and width.
    """

    folder: Path
    name: str
    content: str
    provenance: dict
    counts: dict[str, list[int]]
    sizes: list[list[int]]

    def part(self, name: str) -> Pictures:
        """``"train"``, ``"validation"`` or ``"test"``, read when asked for."""
        with np.load(self.folder / f"{name}.npz") as kept:
            n = len(kept["ids"])
            stacks = ([kept[f"{kind}-{i}"] for i in range(n)] for kind in ("image", "mask"))
            return Pictures(*stacks, *(kept[k].tolist() for k in ("ids", "groups", "modalities")))


def prepare_foreground(settings: ForegroundSettings, cache: Path) -> ForegroundTask:
    """Prepare a task, or find that done already.

    Raises:
        DataError: the data set is unknown or unavailable, not of 8 bits, or too small to be split.
    """
    dataset = _open(settings)
    identity = {
        "settings": asdict(settings),
        "data": dataset.fingerprint,
        "code": fingerprints.of_code([__name__]),
    }
    name = settings.dataset.replace(":", "-")
    folder = cache / f"foreground-{name}-{fingerprints.of_json(identity)[:16]}"
    once(folder / SUMMARY, lambda: _build(dataset, settings, folder))
    kept = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    return ForegroundTask(folder, settings.dataset, **kept)


def share_of(n: int, share: float, seed: int) -> np.ndarray:
    """Which of ``n`` images a share of them is: ascending int64, at least one.

    Smaller shares are parts of larger ones with the same seed. A share that rounds to nothing is
    one image: nobody trains on none.

    Raises:
        ParameterError: no image, or a share outside 0..1.
    """
    if n < 1 or not 0 < share <= 1:
        raise ParameterError(
            f"share={share} of {n} images: expected above 0 and at most 1, of at least one image"
        )
    taken = max(1, round(share * n))
    return np.sort(np.random.default_rng(seed).permutation(n)[:taken])


def _open(settings: ForegroundSettings) -> Dataset:
    if not settings.dataset.startswith("synthetic-"):
        return open_dataset(settings.dataset)
    side = settings.image_size
    spec = SyntheticSpec(settings.n_images, settings.seed, (side, side))
    return open_dataset(settings.dataset, synthetic=spec)


def _build(dataset: Dataset, settings: ForegroundSettings, folder: Path) -> None:
    train, validation, test = split_items(list(dataset.items), settings)
    if 0 < settings.max_test_images < len(test):
        places = np.unique(np.linspace(0, len(test) - 1, settings.max_test_images).astype(int))
        test = [test[i] for i in places]
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder, "*")
    counts, shapes = {}, []
    for name, items in zip(PARTS, (train, validation, test), strict=True):
        shapes += _write_part(dataset, items, settings.scale, folder / f"{name}.npz")
        counts[name] = [len(items), len({item.group for item in items})]
    files = [folder / f"{name}.npz" for name in PARTS]
    summary = {
        "content": fingerprints.of_json([fingerprints.of_file(path) for path in files]),
        "provenance": dataset.provenance,
        "counts": counts,
        "sizes": [np.min(shapes, axis=0).tolist(), np.max(shapes, axis=0).tolist()],
    }
    # Written last: this file says that the folder is complete.
    write_json(folder / SUMMARY, summary)


def _write_part(
    dataset: Dataset, items: list[Item], scale: float, path: Path
) -> list[tuple[int, int]]:
    from tqdm import tqdm

    arrays: dict[str, np.ndarray] = {}
    modalities = []
    for place, item in enumerate(tqdm(items, f"reading {path.stem} images", mininterval=2)):
        sample = dataset.read(item)
        image, mask = as_bytes(sample.image, sample.id), np.uint8(sample.labels > 0)
        if scale < 1:
            image, mask = shrink(image, mask, scale)
        arrays |= {f"image-{place}": image, f"mask-{place}": mask}
        modalities.append(sample.modality)
    texts = {
        "ids": [item.id for item in items],
        "groups": [item.group for item in items],
        "modalities": modalities,
    }
    arrays |= {name: np.array(values, dtype=str) for name, values in texts.items()}
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)
    return [arrays[f"image-{place}"].shape[:2] for place in range(len(items))]


def as_bytes(image: np.ndarray, name: str) -> np.ndarray:
    """An image as read, float32 (h, w, 1 or 3), as uint8 (h, w, 3); grey is repeated.

    Raises:
        DataError: other channels, or values that no 8-bit file holds.
    """
    if image.shape[2] not in (1, 3) or image.min() < 0 or image.max() > BYTE:
        raise DataError(
            f"image {name!r}: {image.shape[2]} channels, values {image.min():g} to "
            f"{image.max():g}. Expected one or three channels of 8 bits (0 to 255): encoders and "
            "their normalisation were made for such pictures."
        )
    return np.repeat(np.rint(image).astype(np.uint8), 3 // image.shape[2], axis=2)


def shrink(image: np.ndarray, mask: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Image (:func:`shrink_image`) and mask (nearest) at a smaller scale, sides rounded up."""
    import torch
    import torch.nn.functional as F

    smaller = shrink_image(image, scale)
    classes = torch.from_numpy(np.float32(mask))[None, None]
    nearest = F.interpolate(classes, smaller.shape[:2], mode="nearest-exact")
    return smaller, nearest[0, 0].byte().numpy()


def shrink_image(image: np.ndarray, scale: float) -> np.ndarray:
    """An image uint8 (h, w, c) at a smaller scale: antialiased, bilinear, sides rounded up."""
    import torch
    import torch.nn.functional as F

    height, width = (int(np.ceil(side * scale)) for side in image.shape[:2])
    planes = torch.from_numpy(np.float32(image)).permute(2, 0, 1)[None]
    smaller = F.interpolate(planes, (height, width), mode="bilinear", antialias=True)
    pixels = smaller[0].permute(1, 2, 0).round().clamp(0, BYTE).byte().numpy()
    return np.ascontiguousarray(pixels)
