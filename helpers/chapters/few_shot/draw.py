"""Figures of the chapter ``few-shot``."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from helpers.chapters.cells.draw import STYLES, draws
from helpers.chapters.cells.run import CUPRE
from helpers.chapters.cells.tables import SHOWN
from helpers.chapters.draw_common import legend_below
from helpers.chapters.few_shot import tables
from helpers.chapters.figures import COLOURS
from helpers.chapters.starting.draw import shares_axis
from helpers.metrics import student_interval


def curves(table: pd.DataFrame) -> Figure:
    """AP, AP50 and AP75 of boxes (above) and masks against the share, mean and range of draws."""
    figure, axes = plt.subplots(
        2, 3, figsize=(9.6, 5.6), sharex=True, layout="constrained", squeeze=False
    )
    for axis, (metric, name) in zip(axes.ravel(), SHOWN.items(), strict=True):
        found = 100 * tables.scores(table, metric)
        for start in tables.starts_of(table):
            own, style = found.loc[start].dropna(how="all"), STYLES[start]
            axis.plot(own.index, own.mean(axis=1), label=start, **style)
            axis.fill_between(
                own.index, own.min(axis=1), own.max(axis=1), color=style["color"], alpha=0.13
            )
        axis.set_title(name, fontsize=10)
        axis.set_ylim(bottom=0)
    for axis in axes[1]:
        shares_axis(axis, tables.shares_of(table))
    legend_below(figure, axes, 5)
    return figure


def leads(table: pd.DataFrame) -> Figure:
    """CUPre minus every other start, box AP in points: draws, mean, 95 % interval over draws."""
    others = [start for start in tables.starts_of(table) if start != CUPRE]
    shares = tables.shares_of(table)
    figure, axis = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    for number, other in enumerate(others):
        for position, share in enumerate(shares):
            values = [100 * value for value in tables.lead(table, CUPRE, other, share)]
            if not values:
                continue
            place = position + 0.16 * (number - (len(others) - 1) / 2)
            style = STYLES[other]
            draws(axis, place, values, other, style)
            if len(values) > 2:
                axis.plot([place] * 2, student_interval(values), color=style["color"], linewidth=1)
    axis.axhline(0, color=COLOURS["grey"], linestyle=":")
    axis.set_xticks(range(len(shares)), [f"{share:g}" for share in shares])
    axis.set_xlabel("share of the training images (%)")
    axis.set_ylabel("CUPre minus ...\n(points of box AP)")
    legend_below(figure, np.array([axis]), 4)
    return figure


def published(table: pd.DataFrame) -> Figure:
    """Box AP of the published starts as bars."""
    starts = tables.starts_of(table)
    values = [100 * tables.scores(table, "box_ap").loc[start].to_numpy().mean() for start in starts]
    figure, axis = plt.subplots(figsize=(4.6, 2.4), layout="constrained")
    axis.barh(starts[::-1], values[::-1], color=[STYLES[s]["color"] for s in starts[::-1]])
    for place, value in enumerate(values[::-1]):
        axis.text(value + 0.5, place, f"{value:.1f}", va="center", fontsize=9)
    axis.set_xlabel("box AP on LIVECell, 5% of the images")
    axis.set_xlim(0, 50)
    return figure
