"""Figures of the chapter ``representations``."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.chapters.draw_common import legend_below, picture_grid
from helpers.chapters.figures import COLOURS
from helpers.chapters.representations import tables
from helpers.chapters.representations.run import JointMap
from helpers.chapters.representations.tables import ALL_STARTS, MEASURES, values
from helpers.chapters.starting.draw import style_of
from helpers.experiments.representations import PLACES, Patches, nearest_elsewhere

NAMES = {"umap": "UMAP", "tsne": "t-SNE", "pca": "principal components"}
# Similar is dark, whatever the measure: a disparity is turned round.
MAPS = {"debiased_cka": "Blues", "neighbours": "Blues", "procrustes": "Blues_r"}
DATASET_MARKERS = ("o", "s", "^", "D")


def patches(shown: Patches, columns: int = 10) -> Figure:
    """Some of the patches, evenly spread over the images, one row per data set."""
    names = list(dict.fromkeys(shown.datasets))
    figure, axes = picture_grid(len(names), columns, (1.0, 1.2))
    for row, name in zip(axes, names, strict=True):
        own = np.array([i for i, dataset in enumerate(shown.datasets) if dataset == name])
        spread = own[np.unique(np.linspace(0, len(own) - 1, columns).astype(int))]
        for axis, index in zip(row, spread, strict=False):
            axis.imshow(shown.images[index])
        row[0].set_title(name, loc="left", fontsize=9)
    return figure


def joint(maps: Mapping[str, Mapping[str, JointMap]]) -> Figure:
    """All starts in one map: one row per projection, one column per place."""
    figure, axes = _squares(len(maps), len(PLACES))
    for row, (name, by_place) in zip(axes, maps.items(), strict=True):
        for axis, (place, one) in zip(row, by_place.items(), strict=True):
            for start, points in one.points.items():
                style = style_of(start)
                axis.plot(
                    *points.T, linestyle="none", markersize=3, alpha=0.6, label=start, **style
                )
            axis.set_title(place, fontsize=9)
        row[0].set_ylabel(NAMES[name])
    legend_below(figure, axes, 3)
    return figure


def alone(maps: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Every start in a map of its own: one row per place, one column per start.

    A patch has the same colour in a row: that of its angle about the middle of the first map.
    """
    columns = len(next(iter(maps.values())))
    figure, axes = _squares(len(maps), columns)
    for row, (place, by_start) in zip(axes, maps.items(), strict=True):
        first = next(iter(by_start.values()))
        angle = np.arctan2(first[:, 1], first[:, 0])
        for axis, (start, points) in zip(row, by_start.items(), strict=True):
            axis.scatter(*points.T, c=angle, cmap="twilight", vmin=-np.pi, vmax=np.pi, s=9)
            axis.set_title(start, fontsize=9)
        row[0].set_ylabel(place)
    return figure


def matrices(table: pd.DataFrame, dataset: str) -> Figure:
    """Measures between all starts: rows measures, columns places.

    Below the diagonal stands the value, above it what chance gives.
    """
    names = tables.starts_of(table)
    size = 0.75 * len(names) + 0.9
    figure, axes = plt.subplots(
        len(MEASURES),
        len(PLACES),
        figsize=(size * len(PLACES), 0.85 * size * len(MEASURES)),
        layout="constrained",
        sharex=True,
        sharey=True,
    )
    for row, (measure, title) in zip(axes, MEASURES.items(), strict=True):
        for axis, place in zip(row, PLACES, strict=True):
            _matrix(axis, table, (dataset, place, measure), names)
            axis.set_title(f"{title}\n{place}", fontsize=8)
    return figure


def _matrix(
    axis: Axes, table: pd.DataFrame, where: tuple[str, str, str], names: Sequence[str]
) -> None:
    value, chance = (tables.matrix(table, *where, chance=c).to_numpy() for c in (False, True))
    lower = np.tril(np.ones_like(value, dtype=bool))
    shown = np.where(lower, value, chance)
    colours = plt.get_cmap(MAPS[where[2]])
    axis.imshow(shown, cmap=colours, vmin=0, vmax=1)
    for (row, column), number in np.ndenumerate(shown):
        if np.isfinite(number):
            red, green, blue, _ = colours(float(np.clip(number, 0, 1)))
            dark = 0.3 * red + 0.6 * green + 0.1 * blue < 0.5
            style = {"color": "white" if dark else "black", "ha": "center", "va": "center"}
            axis.text(column, row, f"{number:.2f}", fontsize=7, **style)
    axis.set_xticks(range(len(names)), names, rotation=35, ha="right", fontsize=7)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    axis.grid(False)


def clouds(table: pd.DataFrame) -> Figure:
    """Accuracy with which starts are told apart by place, and its control, as shares of the way
    from chance to certainty, turned round: 1 is one cloud, 0 clouds apart."""
    found = values(table, "clouds", "overlap")
    figure, axis = plt.subplots(figsize=(5.4, 3.2), layout="constrained")
    x = np.arange(len(PLACES))
    for dataset, marker in zip(tables.datasets_of(table), DATASET_MARKERS * 3, strict=False):
        own = found.loc[dataset]
        control = own.drop(index=ALL_STARTS).mean()
        axis.plot(
            x, own.loc[ALL_STARTS], marker=marker, color=COLOURS["blue"], label=f"starts, {dataset}"
        )
        axis.plot(
            x,
            control,
            marker=marker,
            color=COLOURS["orange"],
            linestyle="--",
            label=f"itself reordered, {dataset}",
        )
    for level in (0, 1):
        axis.axhline(level, color=COLOURS["grey"], linestyle=":")
    axis.set_xticks(x, PLACES)
    axis.set_ylabel("overlap of the clouds")
    legend_below(figure, np.array([axis]), 2)
    return figure


def moved(table: pd.DataFrame) -> Figure:
    """Debiased CKA of an encoder before and after fine-tuning, by start, place and data set."""
    found = values(table, "moved", "debiased_cka")
    starts, places = tables.starts_of(table), list(found.columns)
    figure, axis = plt.subplots(figsize=(5.4, 3.0), layout="constrained")
    for number, start in enumerate(starts):
        style = style_of(start)
        for _, own in found.xs(start, level="method").iterrows():
            at = np.arange(len(places)) + 0.06 * (number - (len(starts) - 1) / 2)
            axis.plot(at, own, label=start, alpha=0.85, **style)
    axis.set_xticks(range(len(places)), places)
    axis.set_xlim(-0.4, len(places) - 0.6)
    axis.set_ylim(None, 1.05)
    axis.set_ylabel("CKA, before and after")
    legend_below(figure, np.array([axis]), 3)
    return figure


def nearest(
    features: Mapping[str, np.ndarray], shown: Patches, query: int, columns: int = 6
) -> Figure:
    """A patch and the most similar ones of other images, one row per start."""
    figure, axes = picture_grid(len(features), 1 + columns, (1.15, 1.3))
    for row, (start, rows) in zip(axes, features.items(), strict=True):
        found = nearest_elsewhere(rows, shown.sources, query, columns)
        for axis, index in zip(row, [query, *found], strict=False):
            axis.imshow(shown.images[index])
        row[0].set_title(start, loc="left", fontsize=8)
    return figure


def _squares(rows: int, columns: int) -> tuple[Figure, np.ndarray]:
    """Axes (rows, columns) for maps, without scales: they have none."""
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(2.7 * columns, 2.7 * rows + 0.4),
        layout="constrained",
        squeeze=False,
    )
    for axis in axes.ravel():
        axis.set_xticks([])
        axis.set_yticks([])
    return figure, axes
