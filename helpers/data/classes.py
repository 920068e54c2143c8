"""Bringing images and class masks to one square size.

A pixel of the result takes its value from where its centre lies in the source, for images and masks
alike, so that they stay aligned. The image fills the square, each axis with its own scale (the
released code of arXiv 2410.18677).
"""

from typing import Literal, NamedTuple

import numpy as np

ClassMethod = Literal["nearest", "bilinear_truncated"]


class LabelChange(NamedTuple):
    """How far two masks of the same pixels differ, see `changed_share`.

    Attributes:
        pixels: share of all pixels whose class differs, 0..1.
        foreground: the same among the pixels that either mask calls foreground; 0 if none is.
        area_ratio: float64 (n_classes,), area in the second mask / area in the first; NaN for a
            class that the first does not show.
    """

    pixels: float
    foreground: float
    area_ratio: np.ndarray


def resize_classes(
    mask: np.ndarray, size: int | tuple[int, int], method: ClassMethod = "nearest"
) -> np.ndarray:
    """Resize a mask of class numbers.

    Args:
        mask: int (h, w), classes 0 (background), 1, 2 ...
        size: height and width of the result in pixels, or its side.
        method: ``"nearest"`` takes the class of the source pixel in which the centre lies.
            ``"bilinear_truncated"`` is what the released code of arXiv 2410.18677 does to the
            labels of ACDC and COVID-QU-Ex: OpenCV's bilinear interpolation of the class *numbers*,
            then truncation to integers.
            It is here so that its damage can be shown. Objects lose their rim, and between classes
            that differ by two or more a seam of the classes in between is invented: around the
            myocardium (2) of ACDC a rim of right ventricle (1).

    Returns:
        Integers of the mask's dtype (int32 if blended), of that size.
    """
    sides = np.broadcast_to(size, 2).tolist()
    if method == "bilinear_truncated":
        import cv2

        blended = cv2.resize(mask.astype(np.float64), sides[::-1], interpolation=cv2.INTER_LINEAR)
        return blended.astype(np.int32)
    # Whole numbers: centre (i + 1/2) x old / new, rounded down.
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new)
        for new, old in zip(sides, mask.shape, strict=True)
    )
    return mask[rows[:, None], columns]


def resize_image(image: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Resize an image to a height and width, or to a square of a side, bilinear.

    What becomes one pixel when the image shrinks is averaged, which the released code of arXiv
    2410.18677 does not do.

    Args:
        image: float32 (h, w, channels).

    Returns:
        float32 (height, width, channels).
    """
    import torch
    import torch.nn.functional as F

    planes = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    resized = F.interpolate(
        planes, np.broadcast_to(size, 2).tolist(), mode="bilinear", antialias=True
    )
    return np.ascontiguousarray(resized[0].permute(1, 2, 0).numpy())


def changed_share(first: np.ndarray, second: np.ndarray) -> LabelChange:
    """Compare masks of the same pixels, for instance one resized in two ways.

    Args:
        first, second: integers >= 0 of one shape, a mask or a stack of masks.
    """
    differs = first != second
    shown = (first > 0) | (second > 0)
    n_classes = int(max(first.max(), second.max())) + 1
    before, after = (np.bincount(m.ravel(), minlength=n_classes) for m in (first, second))
    ratio = np.full(n_classes, np.nan)
    np.divide(after, before, out=ratio, where=before > 0)
    foreground = float(differs[shown].mean()) if shown.any() else 0.0
    return LabelChange(float(differs.mean()), foreground, ratio)
