"""Figures of the chapter ``few-shot-ablations``."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.chapters.cells.draw import STYLES, draws
from helpers.chapters.draw_common import legend_below
from helpers.chapters.few_shot_ablations import tables
from helpers.chapters.few_shot_ablations.run import OWN
from helpers.chapters.figures import COLOURS
from helpers.experiments.gap import CELLS, SOURCE

LOOKS = STYLES | {OWN: {"color": COLOURS["green"], "marker": "P"}}
DOMAINS = {CELLS: COLOURS["orange"], SOURCE: COLOURS["blue"]}
CHANCE = 0.5
# Panels beside each other: studies, and stages of a map.
COLUMNS, STAGES = 3, 4
NARROWEST = 6.5
PROJECTIONS = {"tsne": "t-SNE", "umap": "UMAP", "pca": "principal components"}


def studies(table: pd.DataFrame) -> Figure:
    """Box and mask AP by level of every study, a panel each: draws and mean."""
    names = tables.studies_of(table)
    columns = min(len(names), COLUMNS)
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(3.1 * columns + 0.6, 2.7 * rows + 0.5),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for axis, name in zip(axes.flat, names, strict=False):
        _study(axis, table, name)
    for axis in axes.flat[len(names) :]:
        axis.remove()
    axes[0, 0].set_ylim(bottom=0)
    for axis in axes[:, 0]:
        axis.set_ylabel("AP (x 100)")
    legend_below(figure, axes[:1], 2)
    return figure


def _study(axis: Axes, table: pd.DataFrame, name: str) -> None:
    looks = {
        "box_ap": ("box AP", COLOURS["orange"], "v"),
        "mask_ap": ("mask AP", COLOURS["black"], "o"),
    }
    for metric, (title, colour, marker) in looks.items():
        found = 100 * tables.study(table, name, metric)
        places = np.arange(len(found))
        axis.plot(places, found.mean(axis=1), color=colour, marker=marker, label=title)
        axis.plot(places, found, linestyle="none", marker="_", color=colour, alpha=0.6)
    axis.set_xticks(places, [f"{level:g}" for level in found.index])
    axis.set_xlabel(name)


def starts(table: pd.DataFrame, part: str) -> Figure:
    """Box AP of every start by backbone, or by data set: draws and mean."""
    names, found = tables.names_of(table, part), 100 * tables.by_start(table, part)
    kinds = tables.kinds_of(table, part)
    width = max(NARROWEST, 1.8 + 1.7 * len(names))
    figure, axis = plt.subplots(figsize=(width, 3.2), layout="constrained")
    for number, kind in enumerate(kinds):
        for position, name in enumerate(names):
            if (name, kind) not in found.index:
                continue
            place = position + 0.17 * (number - (len(kinds) - 1) / 2)
            own, style = found.loc[(name, kind)].dropna(), LOOKS[kind]
            if len(own):
                draws(axis, place, own, kind, style)
    axis.set_xticks(range(len(names)), names)
    axis.set_ylabel("box AP")
    axis.set_ylim(bottom=0)
    legend_below(figure, np.array([axis]), 2)
    return figure


def gaps(table: pd.DataFrame) -> Figure:
    """Accuracy of a domain classifier, and MMD, by stage of the training."""
    figure, axes = plt.subplots(1, 2, figsize=(8.2, 3.4), layout="constrained")
    shown = {
        "classifier": "accuracy with which a line\ntells cells from the source",
        "mmd": "MMD² of cells and source",
    }
    for axis, (metric, title) in zip(axes, shown.items(), strict=True):
        found = tables.gap(table, metric)
        axis.plot(range(len(found)), found, color=COLOURS["black"], marker="o")
        axis.set_xticks(range(len(found)), found.index, rotation=40, ha="right", fontsize=8)
        axis.set_ylabel(title)
    axes[0].axhline(CHANCE, color=COLOURS["grey"], linestyle=":")
    axes[0].set_ylim(0.45, 1.02)
    axes[1].set_ylim(bottom=0)
    return figure


def maps(points: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]]) -> Figure:
    """Patches of both domains in the plane: some rows per projection, a panel per stage."""
    columns = min(max(map(len, points.values())), STAGES)
    # Every projection begins a row.
    rows = {kind: -(-len(by_stage) // columns) for kind, by_stage in points.items()}
    figure, axes = plt.subplots(
        sum(rows.values()),
        columns,
        figsize=(1.75 * columns, 1.9 * sum(rows.values()) + 0.5),
        layout="constrained",
        squeeze=False,
    )
    first = 0
    for kind, by_stage in points.items():
        own = axes[first : first + rows[kind]]
        for axis, (stage, by_domain) in zip(own.flat, by_stage.items(), strict=False):
            _map(axis, by_domain)
            axis.set_title(stage, fontsize=8)
        for axis in own.flat[len(by_stage) :]:
            axis.remove()
        own[0, 0].set_ylabel(PROJECTIONS[kind])
        first += rows[kind]
    legend_below(figure, axes[:1], 2)
    return figure


def _map(axis: Axes, by_domain: Mapping[str, np.ndarray]) -> None:
    markers = {CELLS: "v", SOURCE: "o"}
    for domain, placed in by_domain.items():
        look = {"marker": markers[domain], "color": DOMAINS[domain], "alpha": 0.65}
        axis.plot(*placed.T, linestyle="none", markersize=2.6, label=domain, **look)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(visible=False)
