"""Pieces of figures that the chapters on few-shot cells share."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from skimage.segmentation import find_boundaries

from helpers.chapters.cells.run import CUPRE, LONGER, MOCO, SCRATCH, SOURCE, Data
from helpers.chapters.cells.tables import rounds_of
from helpers.chapters.draw_common import legend_below, picture_grid
from helpers.chapters.figures import COLOURS
from helpers.experiments.objects import Scenes
from helpers.metrics.detection import Instances, decode_masks

# One look per start in both chapters. Colour and marker differ, so that either alone tells.
STYLES = {
    SCRATCH: {"color": COLOURS["black"], "marker": "o"},
    SOURCE: {"color": COLOURS["sky"], "marker": "s"},
    LONGER: {"color": COLOURS["blue"], "marker": "D"},
    MOCO: {"color": COLOURS["purple"], "marker": "^"},
    CUPRE: {"color": COLOURS["orange"], "marker": "v"},
}
OUTLINE = (1.0, 0.9, 0.1)
# Of larger pictures the middle is shown.
SHOWN_SIDE = 192


def outlined(image: np.ndarray, objects: Instances, side: int = SHOWN_SIDE) -> np.ndarray:
    """The middle of an image, uint8 (h, w, 3), with the outlines of its objects in yellow."""
    picture = np.float32(image) / 255
    for encoded in objects.masks:
        # One at a time: thousands of decoded masks would fill the memory.
        [mask] = decode_masks([encoded], objects.size)
        picture[find_boundaries(mask, mode="inner")] = OUTLINE
    top, left = (max(0, (full - side) // 2) for full in picture.shape[:2])
    return picture[top : top + side, left : left + side]


def samples(data: Data, columns: int = 5) -> Figure:
    """Training images of every data set with the outlines of their objects, one row each."""
    tasks = [*data.cells.values(), *data.sources]
    figure, axes = picture_grid(len(tasks), columns, (1.6, 1.8))
    for row, task in zip(axes, tasks, strict=True):
        part = task.part("train")
        shown = np.unique(np.linspace(0, len(part) - 1, columns).astype(int))
        for axis, place in zip(row, shown, strict=False):
            axis.imshow(outlined(*part[place]))
        row[0].set_title(task.name, loc="left", fontsize=9)
    return figure


def findings(
    scenes: Scenes, found: dict[str, Sequence[Instances]], places: Sequence[int]
) -> Figure:
    """Test images: annotation, and what every start's detector is surest of.

    As many objects are drawn as are annotated: after a short training all scores are low, and a
    threshold would show how low rather than what is found.

    Args:
        found: by start, for every test image, surest first.
        places: of the images shown, one row each.
    """
    figure, axes = picture_grid(len(places), 1 + len(found), (1.7, 1.95))
    for row, place in zip(axes, places, strict=True):
        image, truth = scenes[place]
        row[0].imshow(outlined(image, truth))
        row[0].set_title(f"annotation: {len(truth)}", loc="left", fontsize=8)
        for axis, (start, results) in zip(row[1:], found.items(), strict=True):
            axis.imshow(outlined(image, results[place].take(slice(0, len(truth)))))
            axis.set_title(start, loc="left", fontsize=8)
    return figure


def draws(axis: Axes, place: float, values: Sequence[float], label: str, style: dict) -> None:
    """Values of one start at a place of a categorical axis: a dash per draw, a marker the mean."""
    axis.plot([place] * len(values), values, "_", color=style["color"], alpha=0.7)
    axis.plot(place, np.mean(values), linestyle="none", label=label, **style)


def rounds(table: pd.DataFrame, methods: Sequence[str]) -> Figure:
    """What the rounds of a pretraining did: losses, how far the backbone moved, source AP."""
    shown = {
        "contrast_losses": "MoCo loss",
        "source_losses": "loss on the source",
        "relative": "distance / length\nof the backbone",
        "source box_ap": "box AP on the source",
    }
    figure, axes = plt.subplots(1, 4, figsize=(11, 2.7), layout="constrained")
    for axis, (metric, name) in zip(axes, shown.items(), strict=True):
        for method in methods:
            _rounds(axis, table, method, metric)
        axis.set_ylabel(name)
        axis.set_xlabel("round")
        axis.xaxis.get_major_locator().set_params(integer=True)
    legend_below(figure, axes, 4)
    return figure


def _rounds(axis: Axes, table: pd.DataFrame, method: str, metric: str) -> None:
    style = STYLES[method]
    if metric != "relative":
        found = rounds_of(table, method, metric)
        if len(found):
            axis.plot(found.index, found, label=method, **style)
        return
    length = rounds_of(table, method, "anchor_norm")
    for side, line in (("moved", ":"), ("distance", "-")):
        found = rounds_of(table, method, side) / length
        if len(found) and found.any():
            by = "by the cells" if side == "moved" else "by the source"
            axis.plot(found.index, found, linestyle=line, label=f"{method}, {by}", **style)
