"""Figures of the chapter ``stopping``."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from helpers.chapters.draw_common import legend_below, picture_grid
from helpers.chapters.figures import COLOURS
from helpers.chapters.stopping import tables
from helpers.chapters.stopping.tables import FULL, ONLINE, ORACLE, ROBUST, WAYS
from helpers.experiments.tasks import Task
from helpers.metrics import student_interval

WAY_STYLES = {
    "frozen": {"color": COLOURS["blue"], "marker": "o"},
    "fine-tuned": {"color": COLOURS["green"], "marker": "s"},
}
MARKS = {
    ROBUST: {"color": COLOURS["orange"], "marker": "o"},
    ONLINE: {"color": COLOURS["sky"], "marker": "v"},
    FULL: {"color": COLOURS["black"], "marker": "s"},
    ORACLE: {"color": COLOURS["purple"], "marker": "*"},
}
# Forms of the score, in the order of the parameter.
PAIRING_STYLES = [
    {"color": COLOURS[colour], "linestyle": line, "marker": marker}
    for colour, line, marker in (
        ("orange", "-", "o"),
        ("amber", "--", "s"),
        ("sky", "--", "^"),
        ("green", ":", "D"),
        ("blue", ":", "v"),
        ("purple", "-", "X"),
    )
]
BOUNDS = ("robustness_low", "robustness_high")
CLASS_COLOURS = ("#000000", COLOURS["orange"], COLOURS["sky"], COLOURS["green"])


def source(
    images: np.ndarray, labels: np.ndarray, names: Sequence[str], columns: int = 8
) -> Figure:
    """Pictures of the pretraining source with their classes, two rows."""
    figure, axes = picture_grid(2, columns, (1.15, 1.4))
    for axis, image, label in zip(axes.ravel(), images, labels, strict=False):
        axis.imshow(image)
        axis.set_title(names[label], fontsize=7)
    return figure


def tasks(opened: dict[str, Task], columns: int = 4) -> Figure:
    """Test images of every task with the annotated classes in colour."""
    figure, axes = picture_grid(len(opened), columns, (1.9, 2.1))
    for row, (name, task) in zip(axes, opened.items(), strict=True):
        part = task.part("test")
        shown = np.flatnonzero(part.masks.any(axis=(1, 2)))
        shown = shown[np.linspace(0, len(shown) - 1, columns).astype(int)]
        for axis, index in zip(row, shown, strict=True):
            axis.imshow(coloured(part.images[index], part.masks[index]))
        row[0].set_title(f"{name}: {', '.join(task.classes)}", loc="left", fontsize=9)
    return figure


def coloured(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Image (3, h, w) in 0..1 with its classes laid over, (h, w, 3)."""
    from matplotlib.colors import to_rgb

    picture = np.moveaxis(image, 0, 2).copy()
    for number in range(1, int(mask.max()) + 1):
        here = mask == number
        colour = to_rgb(CLASS_COLOURS[1 + (number - 1) % (len(CLASS_COLOURS) - 1)])
        picture[here] = 0.55 * picture[here] + 0.45 * np.array(colour)
    return np.clip(picture, 0, 1)


def along_the_pretraining(table: pd.DataFrame, task: str) -> Figure:
    """Source accuracy, robustness loss and Dice after transfer against the epoch, one above the
    other; the checkpoints that rules choose are marked."""
    figure, axes = plt.subplots(3, 1, figsize=(6.6, 7.4), layout="constrained", sharex=True)
    _accuracy(axes[0], table)
    _loss(axes[1], table, task)
    _dice(axes[2], table, task)
    axes[2].set_xlabel("epochs of pretraining")
    legend_below(figure, axes, 2)
    return figure


def _band(axis, rows: pd.DataFrame, label: str, **style) -> None:
    """Mean over seeds by epoch, and lowest to highest."""
    grouped = rows.groupby("rate")["value"]
    mean, low, high = grouped.mean(), grouped.min(), grouped.max()
    axis.plot(mean.index, mean, label=label, **style)
    axis.fill_between(mean.index, low, high, color=style["color"], alpha=0.15)


def _accuracy(axis, table: pd.DataFrame) -> None:
    rows = table[(table["table"] == "pretraining") & (table["metric"] == "accuracy")]
    _band(axis, rows, "accuracy on the source", color=COLOURS["grey"])
    axis.set_ylabel("source accuracy")


def _loss(axis, table: pd.DataFrame, task: str) -> None:
    rows = table[(table["table"] == "scores") & (table["dataset_test"] == task)]
    names = [m for m in rows["method"].unique() if m.startswith("robustness, ") and ":" not in m]
    for name, style in zip(names, PAIRING_STYLES, strict=False):
        own = rows[rows["method"] == name]
        loss = own[own["metric"] == "robustness_loss"]
        label = f"score: {name.removeprefix('robustness, ')}"
        if name == "robustness, published":
            _band(axis, loss, label, **style)
            _over_images(axis, own, style["color"])
        else:
            mean = loss.groupby("rate")["value"].mean()
            axis.plot(mean.index, mean, label=label, markersize=4, **style)
    axis.set_ylabel("robustness loss\n(lower: more robust)")


def _over_images(axis, rows: pd.DataFrame, colour: str) -> None:
    """The interval of the score over images, mean over seeds, as bars."""
    at = {name: rows[rows["metric"] == name].groupby("rate")["value"].mean() for name in BOUNDS}
    axis.vlines(at[BOUNDS[0]].index, *at.values(), color=colour, linewidth=1)


def _dice(axis, table: pd.DataFrame, task: str) -> None:
    rows = table[
        (table["table"] == "transfer")
        & (table["dataset_test"] == task)
        & (table["metric"] == "mean_dice")
    ]
    for way in WAYS.values():
        own = rows[rows["dataset_train"] == way]
        if own.empty:
            continue
        _band(axis, own, f"Dice, encoder {way}", **WAY_STYLES[way])
        means = own.groupby("rate")["value"].mean()
        for rule, style in MARKS.items():
            chosen = table[
                (table["table"] == "rules")
                & (table["method"] == rule)
                & (table["metric"] == "length_chosen")
                & (table["dataset_test"] == task)
                & (table["dataset_train"] == way)
            ]
            # The online rule may choose an epoch that was not transferred for all seeds.
            for epoch in means.index.intersection(chosen["value"]):
                axis.plot(
                    epoch,
                    means[epoch],
                    label=rule,
                    linestyle="none",
                    markersize=11,
                    markerfacecolor="none",
                    markeredgewidth=2,
                    **style,
                )
    axis.set_ylabel("Dice after transfer")


def rules(table: pd.DataFrame) -> Figure:
    """Regret of every rule, mean over tasks and ways, with its interval over seeds."""
    names = tables.rules_of(table)[::-1]
    figure, axis = plt.subplots(figsize=(6.8, 0.32 * len(names) + 1), layout="constrained")
    for place, rule in enumerate(names):
        numbers = 100 * tables.values(table, rule, "regret")
        style = MARKS.get(rule, {"color": COLOURS["blue"], "marker": "D"})
        if len(numbers) > 2:
            low, high = student_interval(list(numbers))
            axis.plot([low, high], [place, place], color=style["color"], linewidth=2)
        axis.plot(
            numbers, [place] * len(numbers), "|", color=style["color"], markersize=9, alpha=0.6
        )
        axis.plot(numbers.mean(), place, linestyle="none", markersize=7, **style)
    axis.axvline(0, color=COLOURS["grey"], linestyle=":")
    axis.set_yticks(range(len(names)), names)
    axis.set_xlabel("regret (Dice points, lower is better)")
    return figure


def features(found: dict[int, np.ndarray], groups: Sequence[str]) -> Figure:
    """Two-dimensional maps of a task's images in the features of several checkpoints.

    Args:
        found: (n, 2) coordinates by epoch.
        groups: patient of each image; the commonest eight have colours.
    """
    names, counts = np.unique(groups, return_counts=True)
    common = list(names[np.argsort(-counts)][:8])
    figure, axes = plt.subplots(
        1, len(found), figsize=(3.1 * len(found), 3.2), layout="constrained", squeeze=False
    )
    palette = list(COLOURS.values())
    for axis, (epoch, points) in zip(axes.ravel(), found.items(), strict=True):
        for name in common:
            here = np.asarray(groups) == name
            axis.plot(
                *points[here].T, "o", markersize=4, color=palette[common.index(name) % 8], alpha=0.8
            )
        rest = ~np.isin(groups, common)
        axis.plot(*points[rest].T, ".", color="#BBBBBB", markersize=4, zorder=0)
        axis.set_title(f"after {epoch} epochs", fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    return figure


def predictions(task: Task, masks: dict[str, np.ndarray], shown: Sequence[int]) -> Figure:
    """Test images with annotation and what segmenters find, one row per segmenter.

    Args:
        masks: (k, h, w) predicted classes of the test images ``shown``, by name.
        shown: places of the k images in the test part.
    """
    part = task.part("test")
    rows = {"annotation": part.masks[list(shown)], **masks}
    figure, axes = picture_grid(len(rows), len(shown), (1.9, 2.05))
    for row, (name, found) in zip(axes, rows.items(), strict=True):
        for axis, index, mask in zip(row, shown, found, strict=True):
            axis.imshow(coloured(part.images[index], mask))
        row[0].set_title(name, loc="left", fontsize=9)
    return figure
