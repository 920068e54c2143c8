"""The figure of a comparison of two checkpoints."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from helpers.book.pictures import COLOURS, use_theme
from helpers.files import replacing
from helpers.own_model.report import ROLES, SHOWN, Row

# Larger and hollow, so that it is seen around the other where nothing changed.
BEFORE = {"color": COLOURS["blue"], "marker": "o", "markersize": 9, "label": "before"}
AFTER = {"color": COLOURS["orange"], "marker": "s", "label": "after"}


def write_figure(rows: Sequence[Row], path: Path) -> None:
    """Scores before and after, and the drop with its interval: one column of panels per metric.

    Args:
        rows: of all data sets and metrics.
        path: of the PNG file.
    """
    use_theme()
    names = list(dict.fromkeys(_name(row) for row in rows))
    figure, panels = plt.subplots(
        2,
        len(SHOWN),
        figsize=(9.5, 2.4 + 0.7 * len(names)),
        sharex="row",
        sharey=True,
        layout="constrained",
    )
    for (metric, title), (scores, drops) in zip(SHOWN.items(), panels.T, strict=True):
        of_metric = [row for row in rows if row.metric == metric]
        _draw_scores(scores, of_metric)
        _draw_drops(drops, of_metric)
        scores.set_title(title)
    for axis in panels[:, 0]:
        axis.set_yticks(range(len(names)), names)
        axis.set_ylim(len(names) - 0.5, -0.5)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2)
    for row, label in zip(panels, ("mean over images", "drop, with 95 % interval"), strict=True):
        for axis in row:
            axis.set_xlabel(label, fontsize=9)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
    plt.close(figure)


def _name(row: Row) -> str:
    return f"{row.dataset}\n({ROLES[row.role]})" if row.role else row.dataset


def _draw_scores(axis: Axes, rows: Sequence[Row]) -> None:
    places = np.arange(len(rows))
    before, after = [row.before for row in rows], [row.after for row in rows]
    axis.hlines(places, before, after, color=COLOURS["grey"], linewidth=1.2)
    axis.plot(before, places, linestyle="none", markerfacecolor="none", **BEFORE)
    axis.plot(after, places, linestyle="none", **AFTER)
    axis.set_xlim(-0.03, 1.03)
    axis.grid(axis="y", visible=False)


def _draw_drops(axis: Axes, rows: Sequence[Row]) -> None:
    places = np.arange(len(rows))
    axis.axvline(0, color=COLOURS["grey"], linewidth=1)
    axis.plot([row.drop for row in rows], places, "D", color=COLOURS["black"])
    axis.hlines(
        places, [row.low for row in rows], [row.high for row in rows], color=COLOURS["black"]
    )
    axis.grid(axis="y", visible=False)
