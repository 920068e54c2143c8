"""Data sets made ready for trials: read once, split by group, each image as a network takes it."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from helpers import fingerprints
from helpers.data.classes import LabelChange, changed_share, resize_classes, resize_image
from helpers.data.datasets import Dataset, SyntheticSpec, open_dataset
from helpers.data.instances import open_instances
from helpers.data.objects import generated_objects
from helpers.data.preprocess import scale_percentiles
from helpers.data.readers import Item
from helpers.data.splits import split_by_group
from helpers.data.synthetic.objects import NAME as GENERATED
from helpers.errors import DataError, ParameterError
from helpers.experiments.objects import pack, resize_objects, unpack
from helpers.files import write_arrays, write_json
from helpers.leftovers import remove_leftovers
from helpers.locks import once
from helpers.metrics.detection import Instances
from helpers.paths import runs_dir

PARTS = ("train", "validation", "test")
SUMMARY, BYTE = "task.json", 255
Labels = np.ndarray | Instances


class Splitting(Protocol):
    """The part of a task's settings that :func:`split_items` needs; see :class:`TaskSettings`."""

    n_images: int
    test_share: float
    validation_share: float
    seed: int


@dataclass(frozen=True)
class TaskSettings:
    """Which images, how they are split, and what networks see of them.

    Attributes:
        dataset: name of a data set whose labels are of the kind.
        kind: ``"classes"``: square images float32 (3, side, side) in 0..1, scaled from their 1st
            and 99th percentile over all channels and clipped, with masks of classes uint8 (side,
            side), resized by nearest neighbour (the code released with arXiv 2410.18677
            interpolates them: :func:`helpers.data.classes.resize_classes`).
            ``"foreground"``: pictures of 8 bits in their own colours, uint8 (h, w, 3), since each
            set of weights has its own normalisation, with masks uint8 (h, w), 1 where an object is.
            ``"objects"``: pictures uint8 (h, w, 3) with their :class:`Instances`.
        n_images: images to generate (synthetic) or to draw at most, whole groups (real; 0: all).
        image_size: side in pixels, of generated images or, for classes, of all.
        test_share: share of images held out by group, where the data set has no test part of its
            own beside a training part; else that one is taken.
        seed: of generation, drawing and splits.
        validation_share: share of the remaining images, by group (2307.03275: 0.2; 0: none).
        max_test_images: at most this many are tested on, evenly spaced (0: all).
        scale: factor by which pictures are resized, above 0 and at most 1.
        stretch: whether the 1st and 99th percentile of each picture of objects become black and
            white, as microscopy is mostly shown: fluorescence may fill a tenth of 8 bits.
    """

    dataset: str
    kind: Literal["classes", "foreground", "objects"]
    n_images: int
    image_size: int
    test_share: float
    seed: int
    validation_share: float = 0.0
    max_test_images: int = 0
    scale: float = 1.0
    stretch: bool = False


@dataclass(frozen=True)
class Pictures(Sequence[tuple[np.ndarray, Labels]]):
    """Images with their labels; as a sequence it gives pairs of the two.

    Attributes:
        images, labels: of each, as :class:`TaskSettings` says.
        ids, groups: of each, as the data set tells them.
    """

    images: list[np.ndarray]
    labels: list[Any]
    ids: list[str]
    groups: list[str]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, Labels]:
        """Image and labels number ``index``."""
        return self.images[index], self.labels[index]

    def some(self, places: Iterable[int]) -> "Pictures":
        """Those at these places, in their order."""
        places = list(places)
        return Pictures(*([part[i] for i in places] for part in vars(self).values()))

    def share(self, share: float, seed: int) -> "Pictures":
        """A share of them; see :func:`share_of`."""
        return self.some(share_of(len(self), share, seed))


@dataclass(frozen=True)
class Task:
    """A data set ready for trials.

    Attributes:
        folder: where it lies.
        name: of the data set.
        classes: names of the classes 1..K of pixels or of objects; empty for foreground.
        content: sha256 over images, labels and groups of all parts.
        provenance: as a record keeps it.
        counts: images and groups, and of objects their number, of each part.
        sizes: smallest and largest height and width.
        side: median over all objects of the side of a square as large as their box, in pixels.
    """

    folder: Path
    name: str
    classes: list[str]
    content: str
    provenance: dict
    counts: dict[str, list[int]]
    sizes: list[list[int]]
    side: float

    @property
    def n_classes(self) -> int:
        """With the background."""
        return len(self.classes) + 1

    def part(self, name: str) -> Pictures:
        """``"train"``, ``"validation"`` or ``"test"``, read when asked for."""
        with np.load(self.folder / f"{name}.npz") as kept:
            told = [kept[key].tolist() for key in ("ids", "groups")]
            images, labels = (
                [kept[f"{kind}-{i}"] for i in range(len(told[0]))] for kind in ("image", "labels")
            )
        # Objects are kept as text.
        labels = [unpack(json.loads(str(one))) if one.dtype.kind == "U" else one for one in labels]
        return Pictures(images, labels, *told)


def prepare_task(settings: TaskSettings, cache: Path | None = None) -> Task:
    """Prepare a task, or find that done already.

    Args:
        cache: folder under which prepared data are kept; default: ``data`` of ``runs_dir()``.

    Raises:
        DataError: the data set is unknown or unavailable, its labels are of another kind, its
            images are not of 8 bits where they must be.
        ParameterError: too few groups to be split.
    """
    data = _open(settings)
    what = (settings.kind, settings, __name__)
    folder, summary = made_once(what, data, cache, lambda to: _build(data, settings, to))
    return Task(folder, settings.dataset, **summary)


def made_once(
    what: tuple[str, Any, str], data: Any, cache: Path | None, build: Callable[[Path], dict]
) -> tuple[Path, dict]:
    """Make something of a data set, or find that it was made already.

    Args:
        what: kind, settings and module; with the data's fingerprint they are the identity.
        data: with its ``name`` and ``fingerprint``.
        build: makes it in a folder and returns what is to be known of it, as plain JSON.

    Returns:
        The folder, and what ``build`` returned.
    """
    kind, settings, module = what
    identity = {
        "settings": asdict(settings),
        "data": data.fingerprint,
        "code": fingerprints.of_code([module]),
    }
    name = settings.dataset.split(":")[0] + "-" + fingerprints.of_json(identity)[:16]
    folder = (cache or runs_dir() / "data") / f"{kind}-{name}"

    def make() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder, "*")
        # Written last: this file says that the folder is complete.
        write_json(folder / SUMMARY, build(folder))

    once(folder / SUMMARY, make)
    return folder, json.loads((folder / SUMMARY).read_text(encoding="utf-8"))


# ------------------------------------------------------------------------------------- splits


def split_items(items: list[Item], settings: Splitting) -> dict[str, list[Item]]:
    """Items of the parts, in the order of the data set, no group in two parts.

    An official split into training and test is taken, unless it tears groups apart (GlaS: nearly
    every test image is of a patient in the training part); then groups are drawn. Where the
    official test part is missing, as in COCO, the validation part stands for it; where there are
    both, the validation part is left out.

    Raises:
        ParameterError: too few groups.
    """
    rng = np.random.default_rng([settings.seed, 0])
    if 0 < settings.n_images < len(items):
        items = _some_groups(items, settings.n_images, rng)
    parts = {
        name: [item for item in items if item.split == name] for name in ("train", "test", "val")
    }
    rest, test = parts["train"], parts["test"] or parts["val"]
    shared = {item.group for item in rest} & {item.group for item in test}
    if not rest or not test or not all(item.split for item in items) or shared:
        rest, test = _parted(items, settings.test_share, rng)
    if not settings.validation_share:
        return {"train": rest, "test": test}
    train, validation = _parted(rest, settings.validation_share, rng)
    return {"train": train, "validation": validation, "test": test}


def _some_groups(items: list[Item], wanted: int, rng: np.random.Generator) -> list[Item]:
    """Whole groups in random order until ``wanted`` items are together."""
    kept: set[str] = set()
    for group in rng.permutation(sorted({item.group for item in items})):
        if sum(item.group in kept for item in items) >= wanted:
            break
        kept.add(str(group))
    return [item for item in items if item.group in kept]


def _parted(
    items: list[Item], share: float, rng: np.random.Generator
) -> tuple[list[Item], list[Item]]:
    first, second = split_by_group([item.group for item in items], share, rng)
    return [items[i] for i in first], [items[i] for i in second]


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


# -------------------------------------------------------------------------------- preparing


def open_data(dataset: str, n_images: int, seed: int, side: int, opener: Any = open_dataset) -> Any:
    """A data set by name; a synthetic one of so many images of this seed and side."""
    if not dataset.startswith("synthetic-"):
        return opener(dataset)
    return opener(dataset, synthetic=SyntheticSpec(n_images, seed, (side, side)))


def _open(settings: TaskSettings) -> Any:
    if settings.dataset == GENERATED and settings.kind == "objects":
        return generated_objects(settings.n_images, settings.seed, settings.image_size)
    which, side = (settings.dataset, settings.n_images, settings.seed), settings.image_size
    if settings.kind == "objects":
        return open_data(*which, side, open_instances)
    if settings.kind == "foreground":
        return open_data(*which, side)
    # Generated larger than needed, so that resizing smooths them as it does real ones.
    data = open_data(*which, max(64, 2 * side))
    if not data.classes:
        raise DataError(
            f"data set {settings.dataset!r}: its labels tell instances. Expected one whose labels "
            "tell classes, such as synthetic-cardiac, acdc or idrid:optic-disc."
        )
    return data


def _build(data: Any, settings: TaskSettings, folder: Path) -> dict:
    parts = split_items(list(data.items), settings)
    if 0 < settings.max_test_images < len(parts["test"]):
        kept = np.linspace(0, len(parts["test"]) - 1, settings.max_test_images).astype(int)
        parts["test"] = [parts["test"][i] for i in np.unique(kept)]
    counts, every = {}, []
    for name, items in parts.items():
        labels = _write_part(data, items, settings, folder / f"{name}.npz")
        counts[name] = [len(items), len({item.group for item in items})]
        if settings.kind == "objects":
            counts[name].append(sum(map(len, labels)))
        every += labels
    shapes = [one.size if settings.kind == "objects" else one.shape for one in every]
    sides = []
    if settings.kind == "objects":
        boxes = np.concatenate([objects.boxes for objects in every])
        sides = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
    return {
        "classes": [] if settings.kind == "foreground" else list(data.classes),
        "content": fingerprints.of_json(
            [fingerprints.of_file(folder / f"{name}.npz") for name in parts]
        ),
        "provenance": data.provenance,
        "counts": counts,
        "sizes": [np.min(shapes, axis=0).tolist(), np.max(shapes, axis=0).tolist()],
        "side": float(np.median(sides)) if len(sides) else 0.0,
    }


def _write_part(data: Any, items: list[Item], settings: TaskSettings, path: Path) -> list[Labels]:
    from tqdm import tqdm

    arrays: dict[str, np.ndarray] = {}
    every = []
    for place, item in enumerate(tqdm(items, f"reading {path.stem} images", mininterval=2)):
        image, labels = _as_seen(data, item, settings)
        objects = isinstance(labels, Instances)
        arrays[f"image-{place}"] = image
        arrays[f"labels-{place}"] = np.array(json.dumps(pack(labels))) if objects else labels
        every.append(labels)
    for key in ("id", "group"):
        arrays[f"{key}s"] = np.array([getattr(item, key) for item in items], dtype=str)
    write_arrays(path, arrays)
    return every


def _as_seen(data: Any, item: Item, settings: TaskSettings) -> tuple[np.ndarray, Labels]:
    """Image and labels of one item, as :class:`TaskSettings` says."""
    if settings.kind == "objects":
        image, objects = shrink(*data.read(item), settings.scale)
        if settings.stretch:
            image = np.rint(scale_percentiles(image).clip(0, 1) * BYTE).astype(np.uint8)
        return image, objects
    sample = data.read(item)
    if settings.kind == "foreground":
        pixels = as_bytes(sample.image, sample.id)
        return shrink(pixels, np.uint8(sample.labels > 0), settings.scale)
    scaled = resize_image(scale_percentiles(sample.image).clip(0, 1), settings.image_size)
    grey = scaled.shape[2] != 3
    channels = np.repeat(scaled[..., :1], 3, axis=2) if grey else scaled
    masks = resize_classes(sample.labels, settings.image_size).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(channels, 2, 0)), masks


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


def shrink(image: np.ndarray, labels: Labels, scale: float) -> tuple[np.ndarray, Labels]:
    """A picture uint8 (h, w, 3), bilinear and antialiased, and its labels, nearest, at a smaller
    scale; sides are rounded up, and objects of which no pixel is left are left out."""
    if scale == 1:
        return image, labels
    size = tuple(int(np.ceil(side * scale)) for side in image.shape[:2])
    smaller = np.rint(resize_image(np.float32(image), size)).clip(0, BYTE).astype(np.uint8)
    if isinstance(labels, Instances):
        return smaller, resize_objects(labels, size)
    return smaller, resize_classes(labels, size)


def label_change(settings: TaskSettings, most: int = 40) -> LabelChange:
    """What becomes of masks that are resized as the code released with arXiv 2410.18677 does it.

    Args:
        most: masks with any foreground that are looked at, evenly spaced.
    """
    dataset: Dataset = _open(settings)
    places = np.unique(np.linspace(0, len(dataset) - 1, most).astype(int))
    masks = [dataset.read(dataset.items[i]).labels for i in places]
    kept, interpolated = (
        np.stack([resize_classes(m, settings.image_size, how) for m in masks if m.any()])
        for how in ("nearest", "bilinear_truncated")
    )
    return changed_share(kept, interpolated)


def joined(tasks: Sequence[Task], part: str, one_class: bool = False) -> Pictures:
    """A part of several data sets of objects as one, their classes one after the other.

    Args:
        one_class: whether all objects are of class 1 instead.
    """
    whole = Pictures([], [], [], [])
    before = 0
    for task in tasks:
        own = task.part(part)
        moved = [
            replace(one, labels=np.ones_like(one.labels) if one_class else one.labels + before)
            for one in own.labels
        ]
        named = ([f"{task.name}/{name}" for name in names] for names in (own.ids, own.groups))
        more = (own.images, moved, *named)
        for held, added in zip(vars(whole).values(), more, strict=True):
            held += added
        before += len(task.classes)
    return whole
