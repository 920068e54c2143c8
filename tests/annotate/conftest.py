"""Small folders of images for all tests of this room."""

import numpy as np
import pytest
import tifffile
from PIL import Image


def picture(seed: int, shape=(40, 50)) -> np.ndarray:
    """A smooth random picture, uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (5, 5), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC))


@pytest.fixture
def folder(tmp_path):
    """Ten pictures in eight files and three folders, two masks, an empty and a broken file."""
    root = tmp_path / "meine Bilder é"
    (root / "a").mkdir(parents=True)
    (root / "b" / "masks").mkdir(parents=True)
    for i in range(4):
        Image.fromarray(picture(i)).save(root / "a" / f"{i}.png")
    Image.fromarray(np.stack([picture(4)] * 3, -1)).save(root / "b" / "colour.jpg")
    tifffile.imwrite(root / "b" / "deep.tif", picture(5).astype(np.uint16) * 200)
    tifffile.imwrite(root / "b" / "float.tif", picture(6) / np.float32(255))
    stack = np.stack([picture(i) for i in (7, 8, 9)])
    tifffile.imwrite(root / "stack.tif", stack, imagej=True, metadata={"axes": "TYX"})
    Image.fromarray(picture(0)).save(root / "b" / "masks" / "colour.png")
    Image.fromarray(picture(0)).save(root / "a" / "0_masks.png")
    (root / "empty.png").touch()
    (root / "broken.tif").write_bytes((root / "stack.tif").read_bytes()[:300])
    return root
