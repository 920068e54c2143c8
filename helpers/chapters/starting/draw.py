"""Pieces of figures that the chapters on starting points share."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from skimage.segmentation import find_boundaries

from helpers.chapters.draw_common import picture_grid
from helpers.chapters.figures import COLOURS
from helpers.experiments.foreground import ForegroundTask

# One look per start in all chapters: published weights and what stands for them here share colours.
START_STYLES = {
    "random": {"color": COLOURS["black"], "marker": "o"},
    "supervised-natural": {"color": COLOURS["sky"], "marker": "s"},
    "imagenet-v1": {"color": COLOURS["sky"], "marker": "s"},
    "imagenet-v2": {"color": COLOURS["green"], "marker": "D"},
    "barlow-natural": {"color": COLOURS["blue"], "marker": "^"},
    "barlow-imagenet": {"color": COLOURS["blue"], "marker": "^"},
    "barlow-tissue": {"color": COLOURS["orange"], "marker": "v"},
    "barlow-pathology": {"color": COLOURS["orange"], "marker": "v"},
}
OTHER_STYLE = {"color": COLOURS["purple"], "marker": "P"}
OUTLINE = (1.0, 0.9, 0.1)
# Pictures of different sizes are shown by a square of their middle.
SHOWN_SIDE = 256


def style_of(start: str) -> dict:
    """Colour and marker of a start."""
    return START_STYLES.get(start, OTHER_STYLE)


def outlined(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The middle of an image, uint8 (h, w, 3), with the outlines of its objects in yellow."""
    picture = np.float32(image) / 255
    picture[find_boundaries(mask > 0, mode="thick")] = OUTLINE
    top, left = (max(0, (side - SHOWN_SIDE) // 2) for side in picture.shape[:2])
    return picture[top : top + SHOWN_SIDE, left : left + SHOWN_SIDE]


def samples(tasks: Mapping[str, ForegroundTask], columns: int = 4) -> Figure:
    """Test images of every data set with their annotation, one row each."""
    figure, axes = picture_grid(len(tasks), columns, (1.9, 2.1))
    for row, (name, task) in zip(axes, tasks.items(), strict=True):
        part = task.part("test")
        shown = np.unique(np.linspace(0, len(part) - 1, columns).astype(int))
        for axis, place in zip(row, shown, strict=False):
            axis.imshow(outlined(part.images[place], part.masks[place]))
        row[0].set_title(name, loc="left", fontsize=9)
    return figure


def shares_axis(axis: Axes, shares: Sequence[float]) -> None:
    """Shares of the training images in per cent on a logarithmic axis."""
    axis.set_xscale("log")
    axis.set_xticks(shares, [f"{share:g}" for share in shares])
    axis.minorticks_off()
    axis.set_xlabel("share of the training images (%)")
