"""A folder as a laboratory might hand it over: several sources, formats, and a broken file."""

import shutil
from pathlib import Path

import numpy as np

from helpers.data.synthetic import generate_sample

# Which synthetic domain lies in which subfolder, and how it was saved.
SOURCES = {
    "plate 1": ("synthetic-cyto", ".png"),
    "biopsies": ("synthetic-histo", ".jpg"),
    "Färbung B": ("synthetic-multi", ".tif"),
}
STACK_PAGES = 3
# Pictures that come with scikit-image; the last one is in this folder by mistake.
SHIPPED = ("cell", "immunohistochemistry", "microaneurysms", "coins")


def write_examples(folder: Path, n_images: int, size: int, seed: int) -> Path:
    """Fill a new folder with generated pictures, four of scikit-image, and files that make trouble.

    Generated are 8-bit PNG, JPEG and 16-bit TIFF in one subfolder each, a TIFF of three pages and a
    mask; trouble makes a PNG that was cut short and one that is empty. A folder that is there
    already is made anew: the same arguments give the same folder.

    Args:
        n_images: generated pictures in all, the pages of the stack included; at least 6.
        size: their side in pixels.
    """
    shutil.rmtree(folder, ignore_errors=True)
    singles = n_images - STACK_PAGES
    for place, (name, (domain, suffix)) in enumerate(SOURCES.items()):
        (folder / name).mkdir(parents=True)
        for index in range(singles // len(SOURCES) + (place < singles % len(SOURCES))):
            image = generate_sample(domain, index, seed, (size, size)).image
            _save(folder / name / f"{domain.split('-')[1]}_{index:02d}{suffix}", np.uint8(image))
    _write_stack(folder / "time lapse.tif", size, seed)
    _write_shipped(folder / "scikit-image")
    _write_trouble(folder)
    return folder


def _save(path: Path, pixels: np.ndarray) -> None:
    import tifffile
    from PIL import Image

    if path.suffix == ".tif":
        # A camera of 12 bits, saved in 16, one channel.
        grey = pixels.mean(axis=2) * (4095 / 255)
        tifffile.imwrite(path, grey.astype(np.uint16))
    else:
        Image.fromarray(pixels).save(path, quality=92)


def _write_stack(path: Path, size: int, seed: int) -> None:
    import tifffile

    pages = [
        generate_sample("synthetic-cyto", 1000 + index, seed, (size, size)).image.mean(axis=2)
        for index in range(STACK_PAGES)
    ]
    tifffile.imwrite(path, np.uint8(pages), imagej=True, metadata={"axes": "TYX"})


def _write_shipped(folder: Path) -> None:
    from skimage import data

    folder.mkdir()
    for name in SHIPPED:
        _save(folder / f"{name}.png", getattr(data, name)())


def _write_trouble(folder: Path) -> None:
    whole = next((folder / "plate 1").iterdir())
    (folder / "cut short.png").write_bytes(whole.read_bytes()[:2000])
    (folder / "empty.png").touch()
    (folder / "masks").mkdir()
    shutil.copy(whole, folder / "masks" / whole.name)
