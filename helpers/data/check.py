"""Read every image of a data set and tell what is in it and what is wrong with it."""

import hashlib
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from helpers.data.datasets import Dataset, open_dataset
from helpers.data.fetch import fingerprint_of
from helpers.data.manifest import load_manifest
from helpers.data.readers import Item, Reading
from helpers.errors import DataError, NoLabelsError
from helpers.text import aligned

SHOWN_PROBLEMS = 10
SHOWN_LOST = 5
_MAX_WORKERS = 4  # decoding runs outside the interpreter lock, the rest does not


@dataclass(frozen=True)
class CheckReport:
    """What reading a whole data set showed. Ranges are (smallest, largest), in pixels.

    Attributes:
        available: whether its files are on this machine; if not, the rest is empty.
        n_images: images that could be read, of ``n_items`` listed.
        classes: their names where labels tell classes; then an image's classes count as instances.
        instances_per_image: smallest, median and largest number.
        n_empty: images without instances.
        splits, modalities: number of images of each.
        problems: what someone has to mend (unreadable or doubled images, in one's own folder groups
            torn apart).
        notes: what the reader settled by its rules (overlaps, clipped and lost instances), oddities
            of the annotation that are kept as they are, and groups that an official split tears.
    """

    name: str
    available: bool = True
    source: str = ""
    complete: bool = False
    coverage: str = ""
    classes: tuple[str, ...] = ()
    n_items: int = 0
    n_images: int = 0
    n_groups: int = 0
    n_instances: int = 0
    instances_per_image: tuple[int, float, int] | None = None
    n_empty: int = 0
    heights: tuple[int, int] | None = None
    widths: tuple[int, int] | None = None
    dtypes: tuple[str, ...] = ()
    channels: tuple[int, ...] = ()
    splits: dict[str, int] = field(default_factory=dict)
    modalities: dict[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Facts:
    """What is kept of one image."""

    item: Item
    height: int
    width: int
    channels: int
    dtype: str
    modality: str
    n_instances: int
    n_disconnected: int
    overlap: int
    clipped: int
    lost: tuple[str, ...]
    digest: str


def check_all(names: Sequence[str] = (), *, progress: bool = True) -> list[CheckReport]:
    """Check data sets without downloading anything.

    Args:
        names: as for :func:`helpers.data.datasets.open_dataset`; all of the manifest that have a
            reader if empty.

    Returns:
        One report per name. Of a data set that is not on this machine it says just that.

    Raises:
        DataError: a name that is not in the manifest, or a manifest or bundle against its schema.
    """
    entries = load_manifest().entries
    return [
        _check_named(name, progress)
        for name in names or [name for name, entry in entries.items() if entry.reader is not None]
    ]


def _check_named(name: str, progress: bool) -> CheckReport:
    entries = load_manifest().entries
    base = name.partition(":")[0]
    # What is neither in the manifest nor a folder is refused when it is opened.
    if ":" not in name or base in entries:
        entry = load_manifest().entry(base)
        generated = entry.kind == "synthetic"
        if not generated and entry.reader and fingerprint_of(base) is None:
            hint = f"not on this machine: python -m helpers data fetch {base}"
            return CheckReport(name, available=False, notes=(hint,))
    try:
        dataset = open_dataset(name, progress=progress)
    except NoLabelsError as error:
        return CheckReport(name, available=False, notes=(str(error),))
    except DataError as error:
        return CheckReport(name, problems=(str(error),))
    return check_dataset(dataset, progress=progress)


def check_dataset(dataset: Dataset, *, progress: bool = True) -> CheckReport:
    """Read every image of a data set; a broken one becomes a problem, the others are still read."""
    start = time.perf_counter()
    facts: list[_Facts] = []
    problems: list[str] = []

    def inspect(item: Item) -> _Facts | str:
        try:
            return _facts(item, dataset.load(item), bool(dataset.classes))
        except DataError as error:
            return str(error)

    workers = min(_MAX_WORKERS, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(inspect, dataset.items)
        bar = tqdm(
            results, dataset.name, len(dataset), unit="image", disable=None if progress else True
        )
        for result in bar:
            if isinstance(result, str):
                problems.append(result)
            else:
                facts.append(result)
    problems += _doubled_ids(dataset.items) + _doubled_pixels(facts)
    notes = list(_notes(facts))
    if torn := _torn_groups(dataset.items):
        # Nobody can mend the split of a published data set.
        if dataset.source == "folder":
            problems += [f"group {g!r} is in both the training and the test part" for g in torn]
        else:
            notes.append(_torn_note(dataset.items, torn))
    return CheckReport(
        name=dataset.name,
        source=dataset.source,
        complete=dataset.complete,
        coverage=dataset.coverage,
        classes=dataset.classes,
        n_items=len(dataset),
        n_groups=len({item.group for item in dataset.items}),
        problems=tuple(problems),
        notes=tuple(notes),
        seconds=round(time.perf_counter() - start, 2),
        **_summary(facts),
    )


def _facts(item: Item, reading: Reading, classes: bool) -> _Facts:
    """Facts of one image; where labels are classes they may well be in several pieces."""
    sample = reading.sample
    height, width, channels = sample.image.shape
    content = hashlib.blake2b(repr(sample.image.shape).encode(), digest_size=16)
    content.update(np.ascontiguousarray(sample.image))
    return _Facts(
        item=item,
        height=height,
        width=width,
        channels=channels,
        dtype=reading.dtype,
        modality=sample.modality,
        n_instances=sample.n_instances,
        n_disconnected=0 if classes else count_disconnected(sample.labels),
        overlap=reading.overlap,
        clipped=reading.clipped,
        lost=reading.lost,
        digest=content.hexdigest(),
    )


def count_disconnected(labels: np.ndarray) -> int:
    """Number of instances of an int32 (H, W) label image in more than one piece (8-connected)."""
    from skimage.measure import label

    pieces, n_pieces = label(labels, connectivity=2, return_num=True)
    owner = np.zeros(n_pieces + 1, labels.dtype)
    owner[pieces.ravel()] = labels.ravel()
    return int(np.count_nonzero(np.bincount(owner[1:]) > 1))


def _summary(facts: Sequence[_Facts]) -> dict[str, Any]:
    """The fields of a report that describe the images which could be read."""
    if not facts:
        return {}
    counts = [one.n_instances for one in facts]
    heights = [one.height for one in facts]
    widths = [one.width for one in facts]
    return {
        "n_images": len(facts),
        "n_instances": sum(counts),
        "instances_per_image": (min(counts), float(np.median(counts)), max(counts)),
        "n_empty": counts.count(0),
        "heights": (min(heights), max(heights)),
        "widths": (min(widths), max(widths)),
        "dtypes": tuple(sorted({one.dtype for one in facts})),
        "channels": tuple(sorted({one.channels for one in facts})),
        "splits": dict(sorted(Counter(one.item.split for one in facts if one.item.split).items())),
        "modalities": dict(sorted(Counter(one.modality for one in facts if one.modality).items())),
    }


def _notes(facts: Sequence[_Facts]) -> Iterable[str]:
    if overlapping := [one.overlap for one in facts if one.overlap]:
        yield (
            f"{sum(overlapping)} pixels in {len(overlapping)} images were claimed by more than one "
            "instance and given to the smallest"
        )
    if clipped := sum(one.clipped for one in facts):
        yield f"{clipped} instances reach beyond the edge of their picture and were cut there"
    if lost := [text for one in facts for text in one.lost]:
        yield f"{len(lost)} annotated instances have no pixel of their own and are left out:"
        yield from (f"  {text}" for text in lost[:SHOWN_LOST])
    if torn := [one for one in facts if one.n_disconnected]:
        number = sum(one.n_disconnected for one in torn)
        yield f"{number} instances in {len(torn)} images are in several pieces, kept as one each"
    if single := [one.item for one in facts if one.n_instances == one.n_disconnected == 1]:
        yield foreground_note(single)


def foreground_note(items: Sequence[Item]) -> str:
    """What is said of images with a single instance in several pieces."""
    return (
        f"{len(items)} images hold a single instance in several pieces: is {items[0].labels} a "
        "foreground mask, without one number per instance?"
    )


def _doubled_ids(items: Sequence[Item]) -> list[str]:
    counts = Counter(item.id for item in items)
    return [f"id {name!r} is given to {n} images" for name, n in counts.items() if n > 1]


def _doubled_pixels(facts: Sequence[_Facts]) -> list[str]:
    """Images of equal pixels in different groups, which a split by group could tear apart."""
    alike = defaultdict(list)
    for one in facts:
        alike[one.digest].append(one.item)
    return [
        f"{', '.join(item.id for item in items)}: the same pixels in different groups, so they "
        "can come into training and test both"
        for items in alike.values()
        if len({item.group for item in items}) > 1
    ]


def _torn_groups(items: Sequence[Item]) -> list[str]:
    """Groups with images in both the training and the test part."""
    splits = defaultdict(set)
    for item in items:
        splits[item.group].add(item.split)
    return [group for group, found in splits.items() if found >= {"train", "test"}]


def _torn_note(items: Sequence[Item], torn: Sequence[str]) -> str:
    test = [item for item in items if item.split == "test"]
    touched = sum(item.group in torn for item in test)
    return (
        f"the official split is not one by group: {touched} of {len(test)} test images are of the "
        f"{len(torn)} groups that are in the training part too, so it does not test on new groups"
    )


_COLUMNS = ("data set", "source", "images", "groups", "instances", "per image", "height", "width")
_COLUMNS += ("type", "channels", "empty", "problems", "seconds")
_LEFT = {"data set", "source", "type"}


def format_table(reports: Sequence[CheckReport]) -> str:
    """Reports as text: a table (per image: smallest / median / largest), then the remarks."""
    right = [place for place, name in enumerate(_COLUMNS) if name not in _LEFT]
    table = aligned([_COLUMNS, *map(_row, reports)], right)
    return "\n".join([table, *(line for report in reports for line in _remarks(report))])


def _row(report: CheckReport) -> tuple[str, ...]:
    if not report.available:
        return (report.name, "(not here)", *[""] * (len(_COLUMNS) - 2))
    number = "{0[0]} / {0[1]:g} / {0[2]}".format
    return (
        report.name,
        report.source + ("" if report.complete or not report.source else " (part)"),
        str(report.n_images),
        str(report.n_groups),
        str(report.n_instances),
        number(report.instances_per_image) if report.instances_per_image else "",
        _range(report.heights),
        _range(report.widths),
        ", ".join(report.dtypes),
        ", ".join(map(str, report.channels)),
        str(report.n_empty),
        str(len(report.problems)),
        f"{report.seconds:.1f}",
    )


def _range(ends: tuple[int, int] | None) -> str:
    if ends is None:
        return ""
    return str(ends[0]) if ends[0] == ends[1] else f"{ends[0]}-{ends[1]}"


def _remarks(report: CheckReport) -> list[str]:
    counts = [
        f"{what}: " + ", ".join(f"{n} {name}" for name, n in found.items())
        for what, found in (("splits", report.splits), ("modalities", report.modalities))
        if found
    ]
    classes = f"labels are classes: {', '.join(report.classes)}" if report.classes else ""
    lines = [report.coverage, classes, *counts, *report.notes]
    remarks = [f"  {text}" for text in lines if text]
    remarks += [f"  PROBLEM: {text}" for text in report.problems[:SHOWN_PROBLEMS]]
    if (more := len(report.problems) - SHOWN_PROBLEMS) > 0:
        remarks.append(f"  and {more} more problems")
    return ["", report.name, *remarks] if remarks else []
