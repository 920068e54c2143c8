"""Images that belong to classes, for pretraining: a folder per class, or generated."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.data.readers.images import decode
from helpers.errors import DataError
from helpers.files import find_files, replacing, write_json
from helpers.fingerprints import of_json
from helpers.locks import once

SUFFIXES = frozenset({".jpeg", ".jpg", ".png"})
_BLOCK = 256


@dataclass(frozen=True, eq=False)
class ClassifiedImages:
    """Images of one size, and the class of each.

    Attributes:
        images: uint8 (n, h, w, 3), in memory or memory-mapped.
        labels: int64 (n,), 0..K-1.
        names: of the K classes.
        fingerprint: 64 hexadecimal digits; other pixels, labels or names, another fingerprint.
    """

    images: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.images)


def classified(images: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> ClassifiedImages:
    """Arrays as :class:`ClassifiedImages`, fingerprinted by their content."""
    digest = hashlib.sha256(repr((images.shape, tuple(names))).encode())
    digest.update(np.ascontiguousarray(labels, np.int64).tobytes())
    for start in range(0, len(images), _BLOCK):
        digest.update(np.ascontiguousarray(images[start : start + _BLOCK]))
    return ClassifiedImages(images, labels, tuple(names), digest.hexdigest())


def generated_natural(n: int, seed: int, size: int) -> ClassifiedImages:
    """The pictures of :func:`helpers.data.synthetic.natural.natural_images`, same arguments.

    They stand where ImageNet would and need no download. For validation take another seed.
    """
    from helpers.data.synthetic.natural import CLASS_NAMES, natural_images

    images, labels = natural_images(n, seed, size)
    return classified(images, labels, CLASS_NAMES)


def open_train_and_validation(
    train: Path, validation: Path, size: int, cache: Path, workers: int = 1, progress: bool = True
) -> tuple[ClassifiedImages, ClassifiedImages]:
    """Two folders with the same classes, each as :func:`open_image_folder` opens it.

    Raises:
        DataError: as there, or the classes differ.
    """
    first, second = _class_names(train), _class_names(validation)
    if first != second:
        odd = sorted(set(first) ^ set(second))
        raise DataError(
            f"{train} has {len(first)} class folders and {validation} {len(second)}; in one of "
            f"them only: {', '.join(odd[:5])}{' ...' if len(odd) > 5 else ''}. Expected the same "
            "classes. (The validation images of ImageNet come in one folder: sort them by class.)"
        )
    opened = [open_image_folder(r, size, cache, workers, progress) for r in (train, validation)]
    return opened[0], opened[1]


def open_image_folder(
    root: Path, size: int, cache: Path, workers: int = 1, progress: bool = True
) -> ClassifiedImages:
    """Images of a folder with one folder per class, as ImageNet is laid out.

    The shorter side is resized to ``size`` (bilinear, antialiased), then the central square is cut
    out; grey pictures become three equal channels. That is done once: the squares are kept in
    ``cache`` and mapped from there. Files that were added, removed, renamed, resized or touched
    since make another cache.

    Args:
        root: holds ``CLASS/*.jpeg``, ``.jpg`` or ``.png`` (any case, folders within a class too);
            classes are numbered by their sorted names.
        size: side in pixels.
        cache: folder for the squares: n x size x size x 3 bytes.
        workers: threads that decode.
        progress: show a bar.

    Raises:
        DataError: no folder, fewer than two classes, a class without images, images outside the
            class folders, or files that are no 8-bit pictures: all are read, then up to ten named.
    """
    names = _class_names(root)
    files = find_files(root, SUFFIXES)
    labels = _labels(files, root, names)
    key = of_json({"squares": 1, "size": size, "files": _listing(files, root)})
    stem = cache / f"classified-{key[:20]}"
    pixels, meta = (stem.with_suffix(suffix) for suffix in (".npy", ".json"))
    source = _Source(files, labels, names, size)
    once(meta, lambda: _build(pixels, meta, source, workers, progress))
    images = np.load(pixels, mmap_mode="r")
    fingerprint = json.loads(meta.read_text(encoding="utf-8"))["fingerprint"]
    return ClassifiedImages(images, labels, names, fingerprint)


@dataclass(frozen=True)
class _Source:
    files: list[Path]
    labels: np.ndarray
    names: tuple[str, ...]
    size: int


def _class_names(root: Path) -> tuple[str, ...]:
    if not root.is_dir():
        raise DataError(f"{root}: is not a folder. Name the folder that holds one per class.")
    folders = [one for one in root.iterdir() if one.is_dir() and not one.name.startswith(".")]
    if len(folders) < 2:
        raise DataError(
            f"{root}: holds {len(folders)} class folder(s), expected at least 2 (root/CLASS/*.jpg)"
        )
    return tuple(sorted(one.name for one in folders))


def _labels(files: list[Path], root: Path, names: tuple[str, ...]) -> np.ndarray:
    number = {name: k for k, name in enumerate(names)}
    first = [path.relative_to(root).parts for path in files]
    loose = [path for path, parts in zip(files, first, strict=True) if len(parts) < 2]
    if loose:
        raise DataError(
            f"{loose[0]}: lies outside the class folders ({len(loose)} such file(s)). Expected "
            "root/CLASS/*.jpg: move it into the folder of its class, or away."
        )
    labels = np.array([number[parts[0]] for parts in first], np.int64)
    empty = np.flatnonzero(np.bincount(labels, minlength=len(names)) == 0)
    if len(empty):
        raise DataError(
            f"{root / names[empty[0]]}: holds no .jpeg, .jpg or .png ({len(empty)} such "
            "class(es)). Fill the folder or remove it."
        )
    return labels


def listing_fingerprint(root: Path) -> str:
    """Fingerprint of the names, sizes and times of a folder's images, which are not read.

    Reading a large data set through would take hours.

    Raises:
        DataError: ``root`` is not a folder.
    """
    return _listing(find_files(root, SUFFIXES), root)


def _listing(files: list[Path], root: Path) -> str:
    digest = hashlib.sha256()
    for path in files:
        status = path.stat()
        line = f"{path.relative_to(root).as_posix()}\0{status.st_size} {status.st_mtime_ns}\n"
        digest.update(line.encode())
    return digest.hexdigest()


def _build(pixels: Path, meta: Path, source: _Source, workers: int, progress: bool) -> None:
    """Fill the cache; the second file is written last and tells that the first is whole."""
    shape = (len(source.files), source.size, source.size, 3)
    with replacing(pixels) as temporary:
        images = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        _decode_all(images, source, workers, progress)
        images.flush()
        fingerprint = classified(images, source.labels, source.names).fingerprint
    write_json(meta, {"fingerprint": fingerprint, "classes": source.names})


def _decode_all(images: np.ndarray, source: _Source, workers: int, progress: bool) -> None:
    from tqdm import tqdm

    bad: list[str] = []
    squares = _squares(source, workers)
    bar = tqdm(squares, "decoding", len(images), unit="image", mininterval=2, disable=not progress)
    for k, found in enumerate(bar):
        if isinstance(found, DataError):
            bad.append(str(found))
        else:
            images[k] = found
    if bad:
        more = f"\n  and {len(bad) - 10} more" if len(bad) > 10 else ""
        listed = "\n".join(f"  {line}" for line in bad[:10])
        raise DataError(
            f"{len(bad)} of {len(images)} files cannot be used:\n{listed}{more}\n"
            "Replace or remove them."
        )


def _squares(source: _Source, workers: int) -> Iterator[np.ndarray | DataError]:
    from joblib import Parallel, delayed

    # Decoding and resizing release the interpreter's lock.
    run = Parallel(n_jobs=workers, backend="threading", return_as="generator", batch_size=16)
    return run(delayed(_square_or_error)(path, source.size) for path in source.files)


def _square_or_error(path: Path, size: int) -> np.ndarray | DataError:
    """Errors are handed on, so that one run names all files that have to be replaced."""
    try:
        return _square(path, size)
    except DataError as error:
        return error


def _square(path: Path, size: int) -> np.ndarray:
    from PIL import Image, ImageOps

    pixels = decode(path, alone=True)
    if pixels.dtype != np.uint8 or pixels.shape[2] not in (1, 3):
        raise DataError(
            f"{path}: {pixels.dtype} pixels with {pixels.shape[2]} channels, expected 8-bit grey "
            "or colour"
        )
    picture = Image.fromarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)).copy())
    return np.asarray(ImageOps.fit(picture, (size, size), Image.Resampling.BILINEAR))
