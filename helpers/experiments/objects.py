"""Images with objects for detectors: data sets read once, split by group, each at its own size."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from helpers import fingerprints
from helpers.data.datasets import SyntheticSpec
from helpers.data.instances import InstanceDataset, open_instances
from helpers.data.objects import GeneratedObjects, generated_objects
from helpers.data.preprocess import scale_percentiles
from helpers.data.synthetic.objects import NAME as GENERATED
from helpers.experiments.foreground import BYTE, share_of, shrink_image
from helpers.experiments.tasks import hold_out
from helpers.files import replacing, write_json
from helpers.leftovers import remove_leftovers
from helpers.locks import once
from helpers.metrics.baselines import baseline_masks
from helpers.metrics.detection import (
    Instances,
    decode_masks,
    encode_masks,
    from_labels,
    mask_areas,
    mask_boxes,
)

PARTS = ("train", "test")
SUMMARY = "objects.json"
# Masks decoded at a time: an image may hold thousands of objects.
_AT_ONCE = 256


@dataclass(frozen=True)
class ObjectSettings:
    """Which images with objects, and how they are split.

    Attributes:
        dataset: as for :func:`helpers.data.instances.open_instances`, or ``"synthetic-objects"``.
        n_images: images to generate (synthetic) or to draw at most, whole groups (real; 0: all).
        image_size: side of generated images in pixels; not used for real ones.
        scale: factor by which images are resized, above 0 and at most 1.
        stretch: whether the 1st and 99th percentile of each image become black and white, as
            microscopy is mostly shown: fluorescence may fill a tenth of the range of 8 bits.
        test_share: share of images held out by group, where the data set has no test part of its
            own (or, as COCO, a validation part); else that one is taken.
        max_test_images: at most this many are tested on, evenly spaced (0: all).
        seed: of generation, drawing and split.
    """

    dataset: str
    n_images: int
    image_size: int
    scale: float
    stretch: bool
    test_share: float
    max_test_images: int
    seed: int


@dataclass(frozen=True)
class Scenes(Sequence[tuple[np.ndarray, Instances]]):
    """Images with their objects; as a sequence it gives pairs of the two.

    Attributes:
        images: each uint8 (h, w, 3).
        objects: of each.
        ids, groups: of each, as the data set tells them.
    """

    images: list[np.ndarray]
    objects: list[Instances]
    ids: list[str]
    groups: list[str]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, Instances]:
        """Image and objects number ``index``."""
        return self.images[index], self.objects[index]

    def share(self, share: float, seed: int) -> "Scenes":
        """A share of the images; see :func:`helpers.experiments.foreground.share_of`."""
        places = share_of(len(self), share, seed)
        lists = (self.images, self.objects, self.ids, self.groups)
        return Scenes(*([part[i] for i in places] for part in lists))


@dataclass(frozen=True)
class ObjectTask:
    """Images with objects, ready for trials.

    Attributes:
        folder: where they lie.
        name: of the data set.
        classes: names of the objects' classes 1..K.
        content: sha256 over images, objects and groups of both parts.
        provenance: as a record keeps it.
        counts: images, groups and objects of each part.
        sizes: smallest and largest height and width.
        side: median over all objects of the side of a square as large as their box, in pixels.
    """

    folder: Path
    name: str
    classes: tuple[str, ...]
    content: str
    provenance: dict
    counts: dict[str, list[int]]
    sizes: list[list[int]]
    side: float

    def part(self, name: str) -> Scenes:
        """``"train"`` or ``"test"``, read when asked for."""
        described = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
        with np.load(self.folder / f"{name}.npz") as kept:
            images = [kept[f"image-{i}"] for i in range(len(described))]
        objects = [unpack(one["objects"]) for one in described]
        ids, groups = ([one[key] for one in described] for key in ("id", "group"))
        return Scenes(images, objects, ids, groups)


def prepare_objects(settings: ObjectSettings, cache: Path) -> ObjectTask:
    """Prepare images with their objects, or find that done already.

    Raises:
        DataError: the data set is unknown or unavailable, or its labels do not tell objects.
        ParameterError: too few groups to be split.
    """
    data = _open(settings)
    identity = {
        "settings": asdict(settings),
        "data": data.fingerprint,
        "code": fingerprints.of_code([__name__]),
    }
    name = settings.dataset.replace(":", "-").replace("/", "-")
    folder = cache / f"objects-{name}-{fingerprints.of_json(identity)[:16]}"
    once(folder / SUMMARY, lambda: _build(data, settings, folder))
    kept = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    return ObjectTask(folder, settings.dataset, tuple(kept.pop("classes")), **kept)


def joined(tasks: Sequence[ObjectTask], part: str, one_class: bool = False) -> Scenes:
    """A part of several data sets as one whose classes are all of theirs, one after the other.

    Args:
        one_class: whether all objects are of class 1 instead.
    """
    lists: list[list] = [[], [], [], []]
    before = 0
    for task in tasks:
        own = task.part(part)
        moved = [
            replace(one, labels=np.ones_like(one.labels) if one_class else one.labels + before)
            for one in own.objects
        ]
        named = ([f"{task.name}/{name}" for name in names] for names in (own.ids, own.groups))
        for whole, more in zip(lists, (own.images, moved, *named), strict=True):
            whole += more
        before += len(task.classes)
    return Scenes(*lists)


# -------------------------------------------------------------------------- objects


def labels_of(objects: Instances) -> np.ndarray:
    """Objects as one label image, int32 (h, w); where two overlap the later one is seen."""
    labels = np.zeros(objects.size, np.int32)
    for number, encoded in enumerate(objects.masks, 1):
        labels[decode_masks([encoded], objects.size)[0]] = number
    return labels


def found_without_training(scenes: Scenes) -> dict[str, list[Instances]]:
    """What the two predictors of :mod:`helpers.metrics.baselines` find in every image, by name.

    Each component of Otsu's threshold is a detection whose score is its area in pixels, since
    average precision asks for an order.
    """
    found: dict[str, list[Instances]] = {}
    for image, objects in scenes:
        for name, labels in baseline_masks(image, labels_of(objects)).items():
            one = from_labels(labels)
            scores = np.float32(mask_areas(one.masks))
            surest = np.argsort(-scores, kind="stable")
            found.setdefault(name, []).append(replace(one, scores=scores).take(surest))
    return found


def resize_objects(
    image: np.ndarray, objects: Instances, scale: float
) -> tuple[np.ndarray, Instances]:
    """Image and objects at a smaller scale; objects of which no pixel is left are left out.

    Masks are sampled at the centres of the new pixels, boxes are those of the masks.

    Args:
        image: uint8 (h, w, 3).
        scale: above 0 and at most 1; 1 changes nothing.
    """
    if scale == 1:
        return image, objects
    smaller = shrink_image(image, scale)
    size = smaller.shape[:2]
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for new, old in zip(size, objects.size, strict=True)
    )
    masks = []
    for first in range(0, len(objects), _AT_ONCE):
        decoded = decode_masks(objects.masks[first : first + _AT_ONCE], objects.size)
        masks += encode_masks(decoded[:, rows][:, :, columns])
    boxes = mask_boxes(masks)
    # The areas stated at full size are no longer true: the masks' own count.
    resized = replace(objects, size=size, masks=tuple(masks), boxes=boxes, areas=None)
    return smaller, resized.take(boxes[:, 2] > boxes[:, 0])


def stretch_contrast(image: np.ndarray) -> np.ndarray:
    """An image uint8 whose 1st and 99th percentile, over all channels, become 0 and 255."""
    return np.rint(scale_percentiles(image).clip(0, 1) * BYTE).astype(np.uint8)


def pack(objects: Instances) -> dict[str, Any]:
    """Objects as plain JSON; :func:`unpack` is the way back."""
    plain = {
        name: None if (array := getattr(objects, name)) is None else array.tolist()
        for name in _TYPES
    }
    masks = [mask["counts"].decode("ascii") for mask in objects.masks]
    return {"size": list(objects.size), "masks": masks, **plain}


def unpack(packed: dict[str, Any]) -> Instances:
    """Objects out of what :func:`pack` gave."""
    size = packed["size"]
    arrays = {
        name: None if packed[name] is None else np.array(packed[name], dtype)
        for name, dtype in _TYPES.items()
    }
    arrays["boxes"] = arrays["boxes"].reshape(-1, 4)
    masks = tuple({"size": size, "counts": one.encode("ascii")} for one in packed["masks"])
    return Instances(size=tuple(size), masks=masks, **arrays)


_TYPES = {
    "boxes": np.float32,
    "labels": np.int64,
    "scores": np.float32,
    "crowd": np.bool_,
    "areas": np.float64,
}

# -------------------------------------------------------------------------- preparing


def _open(settings: ObjectSettings) -> InstanceDataset | GeneratedObjects:
    if settings.dataset == GENERATED:
        return generated_objects(settings.n_images, settings.seed, settings.image_size)
    if not settings.dataset.startswith("synthetic-"):
        return open_instances(settings.dataset)
    side = settings.image_size
    spec = SyntheticSpec(settings.n_images, settings.seed, (side, side))
    return open_instances(settings.dataset, synthetic=spec)


def _places(
    data: InstanceDataset | GeneratedObjects, settings: ObjectSettings
) -> dict[str, list[tuple[int, str, str]]]:
    """Index, id and group of the images of each part."""
    if isinstance(data, GeneratedObjects):
        every = [(i, f"{i:05d}", f"{i:05d}") for i in range(len(data))]
        n_test = max(1, round(settings.test_share * len(every)))
        train, test = every[:-n_test], every[-n_test:]
    else:
        index = {item.id: i for i, item in enumerate(data.items)}
        rng = np.random.default_rng([settings.seed, 0])
        train, test = (
            [(index[item.id], item.id, item.group) for item in items]
            for items in hold_out(list(data.items), settings, rng)
        )
    if 0 < settings.max_test_images < len(test):
        kept = np.linspace(0, len(test) - 1, settings.max_test_images).astype(int)
        test = [test[i] for i in np.unique(kept)]
    return {"train": train, "test": test}


def _provenance(data: InstanceDataset | GeneratedObjects) -> dict:
    if isinstance(data, InstanceDataset):
        return data.provenance
    return {
        "name": GENERATED,
        "source": "synthetic",
        "complete": True,
        "coverage": f"{len(data)} generated images",
        "fingerprint": data.fingerprint,
    }


def _build(
    data: InstanceDataset | GeneratedObjects, settings: ObjectSettings, folder: Path
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder, "*")
    counts, every = {}, []
    for name, places in _places(data, settings).items():
        written = _write_part(data, places, settings, folder, name)
        groups = {group for _, _, group in places}
        counts[name] = [len(places), len(groups), sum(map(len, written))]
        every += written
    shapes = [objects.size for objects in every]
    boxes = np.concatenate([objects.boxes for objects in every])
    sides = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
    files = [folder / f"{name}{kind}" for name in PARTS for kind in (".npz", ".json")]
    summary = {
        "classes": list(data.classes),
        "content": fingerprints.of_json([fingerprints.of_file(path) for path in files]),
        "provenance": _provenance(data),
        "counts": counts,
        "sizes": [np.min(shapes, axis=0).tolist(), np.max(shapes, axis=0).tolist()],
        "side": float(np.median(sides)) if len(sides) else 0.0,
    }
    # Written last: this file says that the folder is complete.
    write_json(folder / SUMMARY, summary)


def _write_part(
    data: InstanceDataset | GeneratedObjects,
    places: Sequence[tuple[int, str, str]],
    settings: ObjectSettings,
    folder: Path,
    name: str,
) -> list[Instances]:
    from tqdm import tqdm

    images, described, written = {}, [], []
    for index, id_, group in tqdm(places, f"reading {name} images", mininterval=2):
        image, objects = resize_objects(*data[index], settings.scale)
        images[f"image-{len(images)}"] = stretch_contrast(image) if settings.stretch else image
        described.append({"id": id_, "group": group, "objects": pack(objects)})
        written.append(objects)
    with replacing(folder / f"{name}.npz") as temporary, temporary.open("wb") as stream:
        np.savez(stream, **images)
    write_json(folder / f"{name}.json", described)
    return written
