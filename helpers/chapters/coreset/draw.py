"""Figures of the chapter ``coreset``."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.chapters.comparisons import by_rate
from helpers.chapters.coreset.tables import (
    FEATURE_NAMES,
    METHOD_NAMES,
    METRIC_NAMES,
    differences,
    minus_random,
)
from helpers.chapters.coreset.tables import performance as performance_rows
from helpers.chapters.draw_common import (
    METHOD_STYLES,
    WHITE,
    chosen_patches,
    draw_patches,
    legend_below,
    picture_grid,
    rate_axis,
)
from helpers.chapters.figures import COLOURS, ramp

__all__ = [
    "chosen_patches",
    "coverage_curves",
    "distance_by_pick",
    "first_picks",
    "knn_bars",
    "maps",
    "paired_differences",
    "performance",
    "reconstructions",
    "worked_example",
]
COVERAGE = ("coverage_mean", "coverage_p95", "cells_hit", "instances", "sizes_hit", "kinds_hit")


def worked_example(points: np.ndarray, orders: Mapping[str, np.ndarray]) -> Figure:
    """A few points of the plane, numbered in the order in which each gain picks them.

    Args:
        points: (n, 2).
        orders: by name of the method, int (n,), indices in the order of picking.
    """
    figure, axes = plt.subplots(
        1, len(orders), figsize=(2.7 * len(orders), 3), layout="constrained", squeeze=False
    )
    for axis, (name, order) in zip(axes.ravel(), orders.items(), strict=True):
        axis.scatter(*points[order].T, c=ramp(len(order)), s=180)
        axis.plot(*points.mean(axis=0), "+", color=COLOURS["orange"], markersize=12, mew=2)
        for rank, index in enumerate(order, start=1):
            pale = rank > 0.6 * len(order)
            look = {"ha": "center", "va": "center", "fontsize": 9, "fontweight": "bold"}
            axis.text(*points[index], str(rank), color="black" if pale else "white", **look)
        axis.set(title=name, aspect="equal")
        axis.margins(0.15)
    return figure


def reconstructions(images: np.ndarray, masked: np.ndarray, reconstructed: np.ndarray) -> Figure:
    """Patches, what a masked autoencoder is shown of them, and what it makes of that.

    Args:
        images: (n, h, w), scaled to about 0..1.
        masked: (n, size, size), NaN where hidden.
        reconstructed: (n, size, size).
    """
    rows = {"patch": images, "seen": masked, "reconstructed": reconstructed}
    figure, axes = picture_grid(len(rows), len(images), (1.3, 1.4))
    grey = plt.get_cmap("gray").with_extremes(bad="#9DB7C4")
    for row, (name, pictures) in zip(axes, rows.items(), strict=True):
        for axis, picture in zip(row, pictures, strict=True):
            axis.imshow(np.float32(picture), cmap=grey, vmin=0, vmax=WHITE)
        row[0].set_title(name, loc="left", fontsize=9)
    return figure


def knn_bars(found: list[dict]) -> Figure:
    """Accuracy of nearest neighbours by way of describing a patch, with the chance level.

    Args:
        found: entries with features, accuracy and chance.
    """
    figure, axis = plt.subplots(
        figsize=(5.6, 0.9 + 0.42 * max(len(found), 1)), layout="constrained"
    )
    names = [FEATURE_NAMES.get(one["features"], one["features"]) for one in found]
    bars = axis.barh(names, [one["accuracy"] for one in found], color=COLOURS["blue"], height=0.6)
    axis.bar_label(bars, fmt="%.2f", padding=3)
    if found:
        axis.axvline(found[0]["chance"], color=COLOURS["orange"], linestyle="--", label="chance")
        figure.legend(loc="outside upper right")
    axis.invert_yaxis()
    axis.set(xlim=(0, 1.08), xlabel="balanced accuracy of five nearest neighbours")
    axis.grid(axis="y", visible=False)
    return figure


def first_picks(images: np.ndarray, orders: Mapping[str, np.ndarray], columns: int = 5) -> Figure:
    """The first and the last patches of an order, one row per gain.

    Args:
        images: (n, size, size), scaled to about 0..1.
        orders: by name of the method, indices of all patches in the order of picking.
        columns: patches shown from either end.
    """
    columns = min(columns, min(map(len, orders.values())))
    ratios = [1] * columns + [0.35] + [1] * columns
    figure, axes = picture_grid(len(orders), len(ratios), (0.95, 1.3), ratios)
    for row, (name, order) in zip(axes, orders.items(), strict=True):
        draw_patches(row[:columns], images, order[:columns])
        draw_patches(row[columns + 1 :], images, order[-columns:])
        row[0].set_title(f"{name}: first", loc="left", fontsize=9)
        row[columns + 1].set_title("last", loc="left", fontsize=9)
    return figure


def distance_by_pick(distances: Mapping[str, np.ndarray], n_bins: int) -> Figure:
    """Distance to the mean of all patches against the place in the order, one panel per gain.

    Args:
        distances: by name of the method, distance of every patch in the order of picking.
        n_bins: whose limits are drawn; the larger bins come first.
    """
    figure, axes = plt.subplots(
        1,
        len(distances),
        figsize=(2.8 * len(distances), 2.9),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for axis, (name, values) in zip(axes.ravel(), distances.items(), strict=True):
        values = np.asarray(values) / max(float(np.mean(values)), 1e-12)
        look = METHOD_STYLES[name]
        axis.scatter(np.arange(1, len(values) + 1), values, s=4, color=look["color"], alpha=0.35)
        parts = np.array_split(values, min(n_bins, len(values)))
        ends = np.cumsum([0, *map(len, parts)])
        axis.hlines([part.mean() for part in parts], ends[:-1] + 0.5, ends[1:] + 0.5, color="black")
        for end in ends[1:-1]:
            axis.axvline(end + 0.5, color=COLOURS["grey"], linewidth=0.5, zorder=0)
        axis.set(title=name, xlabel="pick number", ylim=(0, None))
        axis.grid(visible=False)
    axes[0, 0].set_ylabel("distance to the mean\n(average patch: 1)")
    return figure


def maps(
    points: Mapping[str, np.ndarray], bins: np.ndarray, selections: Mapping[str, np.ndarray]
) -> Figure:
    """Maps of the features with bins coloured and chosen patches marked.

    Args:
        points: by name of the projection, (n, 2); one row each.
        bins: int (n,), 1 the first.
        selections: by name of the method, indices; one column each.
    """
    figure, axes = plt.subplots(
        len(points),
        len(selections),
        figsize=(3.6 * len(selections), 3.3 * len(points)),
        layout="constrained",
        squeeze=False,
    )
    shades = dict(zip(np.unique(bins), ramp(len(np.unique(bins))), strict=True))
    colours = np.array([shades[number] for number in bins])
    size = float(np.clip(3000 / len(bins), 4, 16))
    for row, (projection, places) in zip(axes, points.items(), strict=True):
        for axis, (name, chosen) in zip(row, selections.items(), strict=True):
            axis.scatter(*places.T, s=size, c=colours, alpha=0.45, linewidths=0)
            look = METHOD_STYLES[name]
            face = {"c": look["color"], "marker": look["marker"], "edgecolors": "white"}
            axis.scatter(*places[chosen].T, s=44, linewidths=0.8, label=name, **face)
            axis.set(title=f"{projection}: {name}", xticks=[], yticks=[])
    for number, shade in shades.items():
        axes[0, 0].scatter([], [], s=20, color=shade, label=f"bin {number}")
    legend_below(figure, axes, columns=6)
    return figure


def coverage_curves(table: pd.DataFrame) -> Figure:
    """Six measures of coverage against the share chosen; bands from lowest to highest seed.

    Args:
        table: rows of one source whose ``table`` is ``"coverage"``.
    """
    figure, axes = plt.subplots(2, 3, figsize=(9.4, 5.8), layout="constrained")
    for axis, metric in zip(axes.ravel(), COVERAGE, strict=True):
        for method in METHOD_STYLES:
            _mean_curve(axis, table, method, metric, band=True)
        rate_axis(axis)
        axis.set_xlim(table["rate"].min() / 1.2, table["rate"].max() * 1.2)
        axis.set_title(METRIC_NAMES[metric], fontsize=9)
    axes[0, 0].set_ylabel("share of the rms distance\nof patches to their mean")
    legend_below(figure, axes, columns=4)
    return figure


def performance(sources: Mapping[str, pd.DataFrame], metric: str) -> Figure:
    """A metric against the share of the patches, one panel per source, one curve per method.

    Dots are seeds. Where a source gives means only, bars are its standard deviation over runs; a
    deviation over test images is not drawn, as it says nothing about a difference of methods.

    Args:
        metric: ``"pq"`` becomes ``"pq_paper"`` in sources that hold only that one.
    """
    tables = {name: performance_rows(table) for name, table in sources.items()}
    columns = min(3, len(tables))
    rows = -(-len(tables) // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(3.1 * columns, 3.3 * rows),
        layout="constrained",
        squeeze=False,
    )
    for axis in axes.ravel()[len(tables) :]:
        axis.axis("off")
    for axis, (name, table) in zip(axes.ravel(), tables.items(), strict=False):
        shown = metric if (table["metric"] == metric).any() else "pq_paper"
        for place, method in enumerate(METHOD_STYLES):
            _mean_curve(axis, table, method, shown)
            _seeds(axis, table, method, shown, 1.02 ** (place - 4))
        rate_axis(axis)
        axis.set_title(name)
        axis.set_ylabel(METRIC_NAMES[shown])
    legend_below(figure, axes)
    return figure


def paired_differences(table: pd.DataFrame, metric: str = "dice") -> Figure:
    """Every method minus random at each rate: seeds, their mean and its 95 % interval.

    A filled mark means that the interval lies on one side of zero.
    """
    apart, seeds = differences(table, metric), minus_random(table, metric)
    rates = sorted(apart["rate"].unique())
    names = [name for name in METHOD_STYLES if (apart["method"] == name).any()]
    figure, axes = plt.subplots(
        1,
        max(len(rates), 1),
        figsize=(1.6 + 2.5 * max(len(rates), 1), 1.2 + 0.4 * len(names)),
        sharey=True,
        sharex=True,
        layout="constrained",
        squeeze=False,
    )
    for axis, rate in zip(axes.ravel(), rates, strict=False):
        for place, name in enumerate(names):
            own = (apart["method"] == name) & (apart["rate"] == rate)
            dots = seeds[(seeds["method"] == name) & (seeds["rate"] == rate)]["difference"]
            for row in apart[own].itertuples():
                _forest_line(axis, place, row, dots, METHOD_STYLES[name])
        axis.axvline(0, color=COLOURS["black"], linewidth=1)
        axis.set_title(f"{rate:g}%")
        axis.grid(axis="y", visible=False)
    axes[0, 0].set_yticks(range(len(names)), names)
    axes[0, 0].set_ylim(len(names) - 0.4, -0.6)
    figure.supxlabel(f"{METRIC_NAMES[metric]}, method minus random", fontsize=10)
    return figure


def _forest_line(axis: Axes, place: int, row: tuple, dots: pd.Series, look: dict) -> None:
    colour = look["color"]
    axis.scatter(dots, np.full(len(dots), place + 0.24), s=8, color=colour, alpha=0.5, linewidths=0)
    if np.isfinite(row.low):
        axis.hlines(place, row.low, row.high, color=colour)
    decided = row.low > 0 or row.high < 0
    face = colour if decided else "white"
    axis.plot(row.mean, place, look["marker"], color=colour, markerfacecolor=face, markersize=7)


def _mean_curve(
    axis: Axes, table: pd.DataFrame, method: str, metric: str, band: bool = False
) -> None:
    """Mean over seeds at each rate; nothing where the method is not there."""
    if not ((table["method"] == method) & (table["metric"] == metric)).any():
        return
    points, look = by_rate(table, method, metric), METHOD_STYLES[method]
    axis.plot(points["rate"], points["mean"], label=method, **look)
    if band:
        ends = points["low"], points["high"]
        axis.fill_between(points["rate"], *ends, color=look["color"], alpha=0.12, linewidth=0)


def _seeds(axis: Axes, table: pd.DataFrame, method: str, metric: str, shift: float) -> None:
    """Single seeds as dots beside the curve; a published deviation over runs as a bar."""
    rows = table[(table["method"] == method) & (table["metric"] == metric)]
    colour = METHOD_STYLES[method]["color"]
    seeds = rows[rows["seed"].notna()]
    axis.scatter(seeds["rate"] * shift, seeds["value"], s=7, color=colour, alpha=0.5, linewidths=0)
    over_images = rows["note"].fillna("").str.contains("images")
    runs = rows[rows["seed"].isna() & rows["std"].notna() & ~over_images]
    axis.errorbar(runs["rate"], runs["value"], runs["std"], fmt="none", color=colour, capsize=2)


def method_names(by_gain: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same under the names that stand in figures: ``"paper_eq"`` is ``"DQ, printed ..."``."""
    return {METHOD_NAMES[f"dq_{gain}"]: values for gain, values in by_gain.items()}
