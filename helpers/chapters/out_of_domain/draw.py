"""Figures of the chapter ``out-of-domain``."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from helpers.chapters.draw_common import picture_grid, write_cells
from helpers.chapters.figures import COLOURS
from helpers.chapters.out_of_domain import tables
from helpers.chapters.out_of_domain.run import Finding
from helpers.chapters.starting.draw import outlined, style_of
from helpers.chapters.starting.tables import starts_of
from helpers.experiments.foreground import Pictures
from helpers.metrics import student_interval


def matrices(table: pd.DataFrame, kind: str) -> Figure:
    """Data set trained on by data set tested on: a column of panels per start, a row per share.

    The own domain is framed.
    """
    starts, shares = starts_of(table), tables.shares_shown(table, kind)
    n = len(tables.datasets_of(table, kind))
    side = 0.9 + 0.55 * n
    figure, axes = plt.subplots(
        len(shares),
        len(starts),
        figsize=(1.8 + side * len(starts), 1.2 + side * len(shares)),
        sharex=True,
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for row, share in zip(axes, shares, strict=True):
        for axis, start in zip(row, starts, strict=True):
            image = _heat_map(axis, tables.matrix(table, kind, start, share))
            axis.set_title(f"{start}, {share:g}%", fontsize=9)
    figure.colorbar(image, ax=axes, label="Dice", shrink=0.8)
    figure.supylabel("trained on", fontsize=10)
    figure.supxlabel("tested on", fontsize=10)
    return figure


def _heat_map(axis: Axes, cells: pd.DataFrame):
    image = axis.imshow(cells, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    write_cells(axis, cells, np.eye(len(cells), dtype=bool))
    axis.set_xticks(range(cells.shape[1]), cells.columns, rotation=30, ha="right", fontsize=8)
    axis.set_yticks(range(len(cells)), cells.index, fontsize=8)
    axis.grid(visible=False)
    return image


def drops(table: pd.DataFrame, kind: str) -> Figure:
    """Relative drop out of domain by start, a panel per share: mean and seeds.

    The 95 % interval is drawn for three seeds or more; that of two would be wider than the figure.
    """
    shares = tables.shares_shown(table, kind)
    starts = starts_of(table)[::-1]
    figure, axes = plt.subplots(
        1,
        len(shares),
        figsize=(2.2 + 2.6 * len(shares), 1.2 + 0.4 * len(starts)),
        sharey=True,
        sharex=True,
        layout="constrained",
        squeeze=False,
    )
    for axis, share in zip(axes[0], shares, strict=True):
        found = tables.relative_drop(table, kind, share)
        for place, start in enumerate(starts):
            if start in found.index:
                _drop(axis, place, found.loc[start].dropna(), style_of(start))
        axis.axvline(0, color=COLOURS["grey"], linestyle=":")
        axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axis.set_title(f"{share:g}% of the images", fontsize=10)
        axis.set_xlabel("relative drop of Dice")
    axes[0, 0].set_yticks(range(len(starts)), starts)
    axes[0, 0].set_ylim(-0.6, len(starts) - 0.4)
    return figure


def _drop(axis: Axes, place: int, values: pd.Series, style: dict) -> None:
    if len(values) > 2:
        ends = student_interval(list(values))
        axis.plot(ends, [place, place], color=style["color"], linewidth=2)
    axis.plot(values, [place] * len(values), "|", color=style["color"], markersize=9, alpha=0.6)
    axis.plot(values.mean(), place, linestyle="none", markersize=7, **style)


def findings(
    pictures: Mapping[str, Pictures], found: Mapping[str, Mapping[str, Finding]], trained: str
) -> Figure:
    """One test image of each data set: its annotation, and what every start's model finds.

    Args:
        pictures: one image each, by data set.
        found: by data set, then by start.
        trained: the data set that all these models were trained on.
    """
    columns = 1 + max(map(len, found.values()))
    figure, axes = picture_grid(len(found), columns, (1.9, 2.25))
    for row, (name, models) in zip(axes, found.items(), strict=True):
        image, mask = pictures[name].images[0], pictures[name].masks[0]
        where = "own domain" if name == trained else "not trained on"
        row[0].imshow(outlined(image, mask))
        row[0].set_title(f"{name}\n{where}", loc="left", fontsize=8)
        for axis, (start, one) in zip(row[1:], models.items(), strict=False):
            axis.imshow(outlined(image, one.mask))
            score = "no object" if one.dice is None else f"Dice {one.dice:.2f}"
            axis.set_title(f"{start}\n{score}", loc="left", fontsize=8)
    return figure
