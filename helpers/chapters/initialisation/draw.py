"""Figures of the chapter ``initialisation``."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.chapters.draw_common import legend_below, picture_grid
from helpers.chapters.figures import COLOURS
from helpers.chapters.initialisation.significance import Pair, excludes_zero
from helpers.chapters.starting import tables
from helpers.chapters.starting.draw import outlined, shares_axis, style_of
from helpers.chapters.starting.run import Arm
from helpers.experiments.foreground import Pictures

PANELS = 3


def pretraining(pretrainings: Mapping[str, dict]) -> Figure:
    """Loss of every pretraining made here, each in its own panel; accuracy of the classifier."""
    figure, axes = _panels(len(pretrainings), (2.9, 2.6), share_y=False)
    for axis, (name, run) in zip(axes, pretrainings.items(), strict=False):
        if "epochs" in run:
            epochs = [one["epoch"] for one in run["epochs"]]
            axis.plot(epochs, [one["accuracy"] for one in run["epochs"]], color=COLOURS["sky"])
            axis.set_xlabel("epoch")
            axis.set_ylabel("accuracy")
        else:
            axis.plot(run["losses"], color=style_of(name)["color"], linewidth=1)
            axis.set_xlabel("step")
            axis.set_ylabel("Barlow Twins loss")
        axis.set_title(name, fontsize=9)
    return figure


def shares(table: pd.DataFrame, kind: str, metric: str = "dice") -> Figure:
    """A metric against the share of the training images, one panel per data set of a kind.

    Dotted: what calling every pixel an object scores.
    """
    names = tables.datasets_of(table, kind)
    figure, axes = _panels(len(names), (3.3, 3.1))
    for axis, name in zip(axes, names, strict=False):
        found = tables.scores(table, name, metric=metric)
        for start in tables.starts_of(table):
            own = found.loc[start]
            style = style_of(start)
            axis.plot(own.index, own.mean(axis=1), label=start, **style)
            axis.fill_between(
                own.index, own.min(axis=1), own.max(axis=1), color=style["color"], alpha=0.13
            )
        plain = tables.baseline(table, name, metric)
        axis.axhline(plain, color="0.45", linestyle=":", label=tables.EVERYWHERE)
        shares_axis(axis, tables.shares_of(table))
        axis.set_title(name, fontsize=10)
    axes[0].set_ylabel({"dice": "Dice", "jaccard": "Jaccard"}[metric])
    legend_below(figure, axes, 3)
    return figure


def budgets(table: pd.DataFrame, kind: str) -> Figure:
    """Equal steps against equal epochs: Dice against share, mean over starts and over seeds."""
    names = tables.datasets_of(table, kind)
    figure, axes = _panels(len(names), (3.3, 2.9))
    looks = {"steps": (COLOURS["blue"], "o"), "epochs": (COLOURS["orange"], "s")}
    for axis, name in zip(axes, names, strict=False):
        for budget, (colour, marker) in looks.items():
            found = tables.scores(table, name, budget=budget)
            if found.empty:
                continue
            mean = found.mean(axis=1).groupby(level="rate").mean()
            label = tables.BUDGET_NOTES[budget]
            axis.plot(mean.index, mean, color=colour, marker=marker, label=label)
        shares_axis(axis, tables.shares_of(table))
        axis.set_title(name, fontsize=10)
    axes[0].set_ylabel("Dice, mean over starts")
    legend_below(figure, axes, 2)
    return figure


def curves(table: pd.DataFrame, dataset: str, shown: Sequence[float]) -> Figure:
    """Dice on the test images against training steps, one panel per share."""
    figure, axes = _panels(len(shown), (3.0, 2.9))
    for axis, share in zip(axes, shown, strict=False):
        found = tables.curve(table, dataset, share)
        for start in found:
            axis.plot(found.index, found[start], label=start, **style_of(start))
        axis.set_title(f"{share:g}% of the images", fontsize=10)
        axis.set_xlabel("training step")
    axes[0].set_ylabel("Dice")
    legend_below(figure, axes, 3)
    return figure


def differences(pairs: Sequence[Pair]) -> Figure:
    """Every comparison as a point with its interval; filled where the interval leaves zero out."""
    names = list(dict.fromkeys(pair.dataset for pair in pairs))
    figure, axes = _panels(len(names), (3.4, 3.0))
    others = list(dict.fromkeys(pair.second for pair in pairs))
    all_shares = sorted({pair.share for pair in pairs})
    for axis, name in zip(axes, names, strict=False):
        for pair in (one for one in pairs if one.dataset == name):
            place = all_shares.index(pair.share) + 0.18 * (
                others.index(pair.second) - (len(others) - 1) / 2
            )
            _difference(axis, pair, place)
        axis.axhline(0, color=COLOURS["grey"], linestyle=":")
        axis.set_xticks(range(len(all_shares)), [f"{share:g}" for share in all_shares])
        axis.set_xlabel("share of the training images (%)")
        axis.set_title(name, fontsize=10)
    axes[0].set_ylabel(f"{pairs[0].first} minus ...\n(Dice points)")
    legend_below(figure, axes, 3)
    return figure


def _difference(axis: Axes, pair: Pair, place: float) -> None:
    style, one = style_of(pair.second), pair.found.difference
    if np.isfinite(one.low):
        axis.plot([place] * 2, [100 * one.low, 100 * one.high], color=style["color"], linewidth=1.5)
    axis.plot(
        place,
        100 * one.mean,
        linestyle="none",
        markersize=7,
        markerfacecolor=style["color"] if excludes_zero(pair) else "white",
        label=pair.second,
        **style,
    )


def easy_and_worst(
    pictures: Pictures, masks: Mapping[str, Sequence[np.ndarray]], dice: np.ndarray
) -> Figure:
    """The test images with the highest, the middle and the lowest Dice.

    Args:
        masks: by start, the prediction for every test image.
        dice: of every test image, mean over starts.
    """
    order = np.argsort(-np.nan_to_num(dice))
    chosen = dict(zip(("easiest", "middle", "worst"), order[[0, len(order) // 2, -1]], strict=True))
    figure, axes = picture_grid(len(chosen), 1 + len(masks), (1.8, 2.0))
    for row, (word, place) in zip(axes, chosen.items(), strict=True):
        row[0].imshow(outlined(pictures.images[place], pictures.masks[place]))
        row[0].set_title(f"{word}: annotation", loc="left", fontsize=8)
        for axis, (start, found) in zip(row[1:], masks.items(), strict=True):
            axis.imshow(outlined(pictures.images[place], found[place]))
            axis.set_title(start, loc="left", fontsize=8)
    return figure


def mean_dice(models: Mapping[Arm, dict], arms: Mapping[str, Arm]) -> np.ndarray:
    """Dice of every test image of the data set that some arms were trained on, mean over them."""
    rows = [models[arm]["images"][arm.dataset]["dice"] for arm in arms.values()]
    return np.array([[np.nan if v is None else v for v in row] for row in rows]).mean(axis=0)


def _panels(
    n: int, size: tuple[float, float], share_y: bool = True
) -> tuple[Figure, Sequence[Axes]]:
    """``n`` panels, three in a row; those left over are blank."""
    columns = min(n, PANELS)
    rows = -(-n // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(max(4.6, size[0] * columns), size[1] * rows + 0.4),
        layout="constrained",
        squeeze=False,
        sharey=share_y,
    )
    for axis in axes.ravel()[n:]:
        axis.axis("off")
    return figure, list(axes.ravel())
