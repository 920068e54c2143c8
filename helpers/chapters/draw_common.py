"""Pieces of figures that several chapters use."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from skimage.segmentation import find_boundaries

from helpers.chapters.figures import COLOURS

# One look per method in all chapters. Colour and marker differ, so that either alone tells.
METHOD_STYLES = {
    "random": {"color": COLOURS["blue"], "marker": "o"},
    "stratified": {"color": COLOURS["sky"], "marker": "D"},
    "k-center": {"color": COLOURS["purple"], "marker": "v"},
    "herding": {"color": COLOURS["amber"], "marker": "P"},
    "facility location": {"color": COLOURS["grey"], "marker": "X"},
    "DQ": {"color": COLOURS["black"], "marker": "s"},
    "DQ, printed equation": {"color": COLOURS["orange"], "marker": "s"},
    "DQ, released code": {"color": COLOURS["green"], "marker": "^"},
    # A ninth colour that keeps apart from the eight in lightness: dark wine.
    "DQ, graph cut": {"color": "#661100", "marker": "*"},
    "random, equal epochs": {"color": COLOURS["purple"], "marker": "o", "linestyle": "--"},
}
# Patches are scaled to about 0..1; this leaves room for the brightest.
WHITE = 1.2


def picture_grid(
    rows: int, columns: int, size: tuple[float, float], ratios: Sequence[float] | None = None
) -> tuple[Figure, np.ndarray]:
    """A figure for pictures: axes (rows, columns) without frames.

    Args:
        size: width and height of one in inches.
        ratios: widths of the columns in units of that width, if they differ.
    """
    widths = [1.0] * columns if ratios is None else list(ratios)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(size[0] * sum(widths), size[1] * rows),
        layout="constrained",
        squeeze=False,
        width_ratios=widths,
    )
    for axis in axes.ravel():
        axis.axis("off")
    return figure, axes


def chosen_patches(
    images: np.ndarray, chosen: Mapping[str, np.ndarray], columns: int = 8
) -> Figure:
    """The first patches that each way of choosing takes, one row per way.

    Args:
        images: (n, size, size), scaled to about 0..1.
        chosen: indices by name of the method.
    """
    columns = min(columns, max(map(len, chosen.values())))
    figure, axes = picture_grid(len(chosen), columns, (1.1, 1.35))
    for row, (name, indices) in zip(axes, chosen.items(), strict=True):
        row[0].set_title(name, loc="left", fontsize=9)
        spread = np.linspace(0, len(indices) - 1, min(columns, len(indices))).astype(int)
        draw_patches(row, images, indices[spread])
    return figure


def draw_patches(axes: np.ndarray, images: np.ndarray, indices: np.ndarray) -> None:
    """Patches in grey, one per axis of a grid of pictures; axes left over stay empty."""
    for axis, index in zip(axes, indices, strict=False):
        axis.imshow(np.float32(images[index]), cmap="gray", vmin=0, vmax=WHITE)


def draw_outlines(axis: Axes, image: np.ndarray, labels: np.ndarray) -> None:
    """An image in grey with the outlines of its instances in orange, on a grid of pictures."""
    grey = image.mean(axis=2) if image.ndim == 3 else image
    low, high = np.percentile(grey, [0.5, 99.5])
    shade = np.clip((grey - low) / max(high - low, 1e-6), 0, 1)
    picture = np.dstack([shade] * 3)
    picture[find_boundaries(labels, mode="inner")] = (0.90, 0.40, 0.0)
    axis.imshow(picture, interpolation="nearest")


def rate_axis(axis: Axes) -> None:
    """Shares of the training patches on a logarithmic axis with plain numbers."""
    axis.set_xscale("log")
    axis.set_xticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
    axis.minorticks_off()
    axis.set_xlabel("share of the training patches (%)")


def legend_below(figure: Figure, axes: np.ndarray, columns: int = 3) -> None:
    """One legend for all panels, below them, every entry once."""
    entries = {}
    for axis in np.ravel(axes):
        handles, labels = axis.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns)


def write_cells(axis: Axes, cells: pd.DataFrame, framed: np.ndarray) -> None:
    """The numbers of a heat map from 0 to 1 in its cells; missing ones are dashes on white.

    Args:
        framed: bool, of the shape of ``cells``: which have an orange frame.
    """
    for row, column in np.ndindex(cells.shape):
        value = cells.iloc[row, column]
        text = "–" if np.isnan(value) else f"{value:.2f}"
        # No number is below: a missing cell is white.
        colour = "white" if value < 0.6 else "black"
        axis.text(column, row, text, ha="center", va="center", fontsize=9, color=colour)
        if framed[row, column]:
            look = {"fill": False, "edgecolor": COLOURS["orange"], "linewidth": 2}
            axis.add_patch(plt.Rectangle((column - 0.47, row - 0.45), 0.94, 0.9, **look))
