"""Two predictors that need no training: what every trained model must beat to count as one."""

import numpy as np

# Cellpose drops predicted objects below this size; the threshold's objects are treated alike.
MIN_PIXELS = 15
BASELINES = ("Otsu", "every pixel")


def otsu_components(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Otsu's threshold, then one object per connected component (4-neighbours).

    Which side of the threshold is the foreground is taken as known: it is the side with the higher
    Dice with the annotation of this very image. That favours the baseline, and so no model passes
    for competent because a threshold was put the wrong way round.

    Args:
        image: (height, width), one channel, any float or integer type.
        truth: labels of instances (height, width), used only for the side.

    Returns:
        int32 labels (height, width); components below 15 pixels are left out, as Cellpose does. An
        image of one grey value has no threshold and gives no object.
    """
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    image = np.asarray(image, dtype=np.float64)
    if image.min() == image.max():
        return np.zeros(image.shape, np.int32)
    bright = image > threshold_otsu(image)
    wanted = truth > 0
    foreground = bright if _dice(bright, wanted) >= _dice(~bright, wanted) else ~bright
    labels, count = ndimage.label(foreground)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    labels[sizes[labels] < MIN_PIXELS] = 0
    return labels.astype(np.int32)


def every_pixel(shape: tuple[int, int]) -> np.ndarray:
    """One object that covers the whole image, int32 of the given shape."""
    return np.ones(shape, np.int32)


def baseline_masks(image: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Label maps of both predictors for one image, by the names of :data:`BASELINES`.

    Args:
        image: (height, width) or (height, width, channels), whose mean over channels is taken.
        truth: labels of instances (height, width).
    """
    grey = image.mean(axis=2) if image.ndim == 3 else image
    masks = otsu_components(grey, truth), every_pixel(truth.shape)
    return dict(zip(BASELINES, masks, strict=True))


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    total = one.sum() + other.sum()
    return 2 * (one & other).sum() / total if total else 0.0
