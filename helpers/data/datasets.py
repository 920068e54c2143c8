"""One door to every data set: fetched, bundled, one's own folder, or synthetic."""

import hashlib
import importlib.util
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from helpers.data.fetch import describe_source, locate
from helpers.data.manifest import load_manifest
from helpers.data.readers import READERS, FolderReader, Item, Reader, Reading
from helpers.data.readers.folder import GROUPS_FILE, sort_files
from helpers.data.readers.images import IMAGE_SUFFIXES
from helpers.data.sample import Sample
from helpers.errors import DataError, NoLabelsError, ParameterError
from helpers.files import find_files

_GENERATOR = "helpers.data.synthetic"
# Generated data that are not label images, by name, and where they come from.
_MADE_BY = {
    "synthetic-natural": "helpers.data.synthetic.natural makes its pictures, one class each",
    "synthetic-objects": "helpers.data.objects makes its scenes, whose objects have classes",
}


@dataclass(frozen=True)
class SyntheticSpec:
    """Which images a synthetic data set consists of; image i depends on seed, i and size alone.

    Attributes:
        n_images: at least 1.
        seed: not negative.
        size: height and width in pixels, at least :data:`helpers.data.synthetic.MIN_SIZE` each.
    """

    n_images: int = 24
    seed: int = 0
    size: tuple[int, int] = (256, 256)

    def __post_init__(self) -> None:
        if self.n_images < 1:
            raise ParameterError(f"n_images={self.n_images}: expected at least 1")
        if self.seed < 0:
            raise ParameterError(f"seed={self.seed}: expected 0 or more")
        if len(self.size) != 2 or min(self.size) < 1:
            raise ParameterError(f"size={self.size}: expected height and width in pixels")


@dataclass(frozen=True)
class Dataset:
    """An ordered set of annotated images, read one by one when asked for.

    Attributes:
        name: as it was asked for.
        items: what there is, ordered by id; no pixels.
        source: ``"bundle"``, ``"download"``, ``"manual"``, ``"package"``, ``"synthetic"`` or
            ``"folder"``.
        complete: false for a subset, or if nobody can tell; then results must say so.
        coverage: in words, what of the data set is here.
        fingerprint: 64 hexadecimal digits; another content has another fingerprint.
        reader: reads the items.
    """

    name: str
    items: tuple[Item, ...]
    source: str
    complete: bool
    coverage: str
    fingerprint: str
    reader: Reader

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes 1..K; empty where labels tell instances."""
        return self.reader.classes

    @property
    def provenance(self) -> dict[str, Any]:
        """What a run record keeps of it."""
        return describe_source(self)

    def read(self, item: Item) -> Sample:
        """Image and labels of one item.

        Raises:
            DataError: a file is unreadable, or image and labels do not fit each other.
        """
        return self.reader.read(item)

    def load(self, item: Item) -> Reading:
        """Like :meth:`read`, with the reader's account of what it had to decide."""
        return self.reader.load(item)

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Sample]:
        """Samples in the order of the items, each read when its turn comes."""
        return map(self.read, self.items)


def open_dataset(
    name: str,
    *,
    accept_licences: frozenset[str] = frozenset(),
    progress: bool = True,
    synthetic: SyntheticSpec | None = None,
) -> Dataset:
    """Find (and if need be fetch) a data set and list its images.

    Args:
        name: a data set of the manifest that has a reader; ``"NAME:TASK"`` for other labels of its
            files, such as ``"idrid:optic-disc"`` (see :data:`helpers.data.readers.READERS`);
            ``"folder:PATH"`` for any folder of images and label images (see
            :class:`helpers.data.readers.folder.FolderReader`);
            ``"images:PATH"`` for the same where images may lack labels (they count as all 0);
            several real data sets as one, ``"one+another"`` (without tasks).
        accept_licences: names of the entries whose licence the user has read and accepted.
        progress: show bars for what takes long.
        synthetic: number, seed and size of the images of a ``synthetic-`` data set; its defaults
            if ``None``.

    Raises:
        DataError: unknown name or task, no reader, files not available or damaged, or not in the
            layout that the reader expects; as NoLabelsError, pictures without labels of pixels.
        ParameterError: ``synthetic`` for a data set that is not generated, or images too small.
    """
    parts = split_name(name)
    if len(parts) > 1:
        if synthetic is not None:
            raise ParameterError(f"synthetic={synthetic}: data set {name!r} is not generated")
        if len(set(parts)) < len(parts):
            raise DataError(f"data set {name!r}: expected each data set once")
        return _joined(name, [_located(part, accept_licences, progress) for part in parts])
    kind, _, path = name.partition(":")
    is_synthetic = not path and load_manifest().entry(name).kind == "synthetic"
    if synthetic is not None and not is_synthetic:
        raise ParameterError(f"synthetic={synthetic}: data set {name!r} is not generated")
    if is_synthetic:
        return _generated(name, synthetic or SyntheticSpec())
    if path and kind not in load_manifest().entries:
        return _own_folder(name, kind, Path(path).expanduser().resolve())
    return _located(name, accept_licences, progress)


def split_name(name: str) -> list[str]:
    """The data sets that a name puts together; a path may hold a plus and stays whole."""
    return [name] if ":" in name else name.split("+")


class _JoinedReader(Reader):
    """Reads items of several data sets, told apart by the beginning of their ids."""

    def __init__(self, datasets: list[Dataset]) -> None:
        self._readers = {dataset.name: dataset.reader for dataset in datasets}
        meanings = {dataset.classes for dataset in datasets}
        if len(meanings) > 1:
            named = "; ".join(f"{d.name}: {', '.join(d.classes) or 'instances'}" for d in datasets)
            raise DataError(
                f"data sets whose labels mean different things cannot be joined ({named})"
            )
        self.classes = meanings.pop()

    def items(self, root: Path) -> list[Item]:
        raise NotImplementedError("items of several data sets have no common folder")

    def load(self, item: Item) -> Reading:
        return self._readers[item.id.partition("/")[0]].load(item)


def _joined(name: str, datasets: list[Dataset]) -> Dataset:
    """Several data sets as one; ids and groups begin with the name of the data set."""
    return Dataset(
        name=name,
        items=tuple(
            replace(item, id=f"{one.name}/{item.id}", group=f"{one.name}/{item.group}")
            for one in datasets
            for item in one.items
        ),
        source=", ".join(dict.fromkeys(one.source for one in datasets)),
        complete=all(one.complete for one in datasets),
        coverage="; ".join(f"{one.name}: {one.coverage}" for one in datasets),
        fingerprint=hashlib.sha256(
            "".join(one.fingerprint for one in datasets).encode()
        ).hexdigest(),
        reader=_JoinedReader(datasets),
    )


def _located(name: str, accept_licences: frozenset[str], progress: bool) -> Dataset:
    base, _, task = name.partition(":")
    entry = load_manifest().entry(base)
    if entry.reader is None:
        readable = [one.name for one in load_manifest().entries.values() if one.reader]
        raise DataError(
            f"data set {base!r} has no reader, so its files cannot be opened as annotated images. "
            f"Data sets that have one: {', '.join(readable)}."
        )
    reader = _reader_of(entry.reader, task, base)
    found = locate(base, accept_licences=accept_licences, progress=progress)
    mark = found.fingerprint
    if task:
        # The same files, but other labels.
        mark = hashlib.sha256(f"{mark} {task}".encode()).hexdigest()
    return Dataset(
        name=name,
        items=tuple(reader.items(found.root)),
        source=found.source,
        complete=found.complete,
        coverage=found.coverage,
        fingerprint=mark,
        reader=reader,
    )


def _reader_of(key: str, task: str, name: str) -> Reader:
    """The reader called ``key``, or that of another task on the same files."""
    if not task:
        return READERS[key]
    if f"{key}:{task}" not in READERS:
        known = [one.removeprefix(f"{key}:") for one in READERS if one.startswith(f"{key}:")]
        raise DataError(
            f"data set {name!r} has no task {task!r}. Tasks it has: {', '.join(known) or 'none'}."
        )
    return READERS[f"{key}:{task}"]


def _own_folder(name: str, kind: str, root: Path) -> Dataset:
    readers = {"folder": FolderReader(), "images": FolderReader(labels="optional")}
    if kind not in readers:
        raise DataError(
            f"data set {name!r}: {kind!r} is not a kind of folder. Expected folder:PATH (images "
            "with labels) or images:PATH (labels may be missing)."
        )
    items = tuple(readers[kind].items(root))
    left = sort_files(find_files(root, IMAGE_SUFFIXES), root).leftovers
    others = f"; left out: {len(left)} that Cellpose wrote, as {left[0].name}" if left else ""
    used = {path for item in items for path in (item.image, item.labels) if path}
    used |= {path for path in [root / GROUPS_FILE] if path.is_file()}
    return Dataset(
        name=name,
        items=items,
        source="folder",
        complete=True,
        coverage=f"all {len(items)} images of the folder{others}",
        fingerprint=_digest_files(used, root),
        reader=readers[kind],
    )


def _digest_files(paths: Iterable[Path], root: Path) -> str:
    """Sha256 over names (relative to ``root``) and contents, in the order of the names."""
    digest = hashlib.sha256()
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in paths):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{name}\0{content}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class _SyntheticReader(Reader):
    """Generates what other readers read; the number at the end of an id is the image's index."""

    domain: str
    spec: SyntheticSpec

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that the domain paints; empty where it paints instances."""
        from helpers.data.synthetic import CLASSES

        return CLASSES.get(self.domain, ())

    def items(self, root: Path | None = None) -> list[Item]:
        from helpers.data.synthetic import group_name

        return [
            Item(f"{self.domain}-{i:05d}", group_name(self.domain, i, self.domain), None, None)
            for i in range(self.spec.n_images)
        ]

    def load(self, item: Item) -> Reading:
        from helpers.data.synthetic import generate_sample

        index = int(item.id.rpartition("-")[2])
        sample = generate_sample(self.domain, index, self.spec.seed, self.spec.size)
        sample = replace(sample, id=item.id, group=item.group)
        return Reading(sample, dtype=sample.image.dtype.name)


def _generated(name: str, spec: SyntheticSpec) -> Dataset:
    from helpers.data.synthetic import DOMAINS, MIN_SIZE

    if name not in DOMAINS:
        raise NoLabelsError(
            f"data set {name!r} has no label images, so it cannot be opened as annotated images: "
            f"{_MADE_BY[name]}. Generated data sets with label images: {', '.join(DOMAINS)}."
        )
    if min(spec.size) < MIN_SIZE:
        raise ParameterError(f"size={spec.size}: expected at least {MIN_SIZE} pixels a side")
    reader = _SyntheticReader(name, spec)
    recipe = json.dumps({"name": name, **asdict(spec)}, sort_keys=True) + _generator_source()
    height, width = spec.size
    return Dataset(
        name=name,
        items=tuple(reader.items()),
        source="synthetic",
        complete=True,
        coverage=f"{spec.n_images} generated images of {height} x {width} pixels, seed {spec.seed}",
        fingerprint=hashlib.sha256(recipe.encode()).hexdigest(),
        reader=reader,
    )


def _generator_source() -> str:
    """Digest of the generators' source, so that a changed generator is other data."""
    module = importlib.util.find_spec(_GENERATOR)
    if module is None or module.origin is None:
        raise DataError(f"{_GENERATOR}: the source of the generators is not to be found.")
    root = Path(module.origin).parent
    folders = module.submodule_search_locations
    files = root.rglob("*.py") if folders else [Path(module.origin)]
    return _digest_files(files, root)
