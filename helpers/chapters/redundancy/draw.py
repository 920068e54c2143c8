"""Figures of the chapter ``redundancy``."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.chapters.comparisons import by_rate
from helpers.chapters.draw_common import (
    METHOD_STYLES,
    chosen_patches,
    draw_outlines,
    legend_below,
    picture_grid,
    rate_axis,
)
from helpers.chapters.figures import COLOURS, use_style
from helpers.chapters.redundancy.tables import METRIC_NAMES, published_table
from helpers.chapters.results import recorded
from helpers.data.sample import Sample
from helpers.metrics import evaluate
from helpers.paths import PROJECT

__all__ = [
    "chosen_patches",
    "dice_by_source",
    "merged_cells",
    "predictions_by_rate",
    "proxy_against_real",
    "sample_images",
    "save_readme_picture",
    "six_metrics",
]
SOURCE_STYLES = {"published": "-", "recorded": "-", "this run": ":"}


def dice_by_source(sources: dict[str, pd.DataFrame]) -> Figure:
    """Dice against the share of the data, one panel per source, one curve per method."""
    figure, axes = plt.subplots(
        1, len(sources), figsize=(2.9 * len(sources), 3.4), sharey=True, layout="constrained"
    )
    for axis, (name, table) in zip(np.atleast_1d(axes), sources.items(), strict=True):
        for method in METHOD_STYLES:
            _curve(axis, table, method, "dice")
        rate_axis(axis)
        axis.set_title(name if len(table) else f"{name}: none yet")
    np.atleast_1d(axes)[0].set_ylabel("Dice, mean over images")
    legend_below(figure, axes)
    return figure


def six_metrics(sources: dict[str, pd.DataFrame]) -> Figure:
    """The paper's six metrics against the share of the data, sources in one panel each metric."""
    metrics = ("iou", "dice", "precision", "recall", "accuracy", "pq_paper")
    figure, axes = plt.subplots(2, 3, figsize=(8.6, 5.8), layout="constrained")
    for axis, metric in zip(axes.ravel(), metrics, strict=True):
        _curve(axis, sources["published"], "DQ", metric, label="published (DQ, Cyto)")
        for name in ("recorded", "this run"):
            if name in sources:
                style = {"linestyle": SOURCE_STYLES[name]}
                for method in ("random", "DQ, printed equation"):
                    _curve(axis, sources[name], method, metric, f"{name}: {method}", style)
        rate_axis(axis)
        axis.set_title(METRIC_NAMES[metric])
    legend_below(figure, axes)
    return figure


def proxy_against_real(table: pd.DataFrame) -> Figure:
    """What the paper prints as panoptic quality beside the real one and two more."""
    figure, axis = plt.subplots(figsize=(5.6, 4), layout="constrained")
    colours = ["grey", "blue", "green", "purple"]
    for metric, colour in zip(("pq_paper", "pq", "ap_50", "aji"), colours, strict=True):
        style = {"color": COLOURS[colour], "linestyle": "--" if metric == "pq_paper" else "-"}
        _curve(axis, table, "random", metric, METRIC_NAMES[metric], style)
    rate_axis(axis)
    axis.set_ylabel("mean over images")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def merged_cells(sample: Sample) -> tuple[Figure, pd.DataFrame]:
    """The true instances, and the same foreground as one instance, with what metrics say of it."""
    merged = (sample.labels > 0).astype(np.int32)
    scores = evaluate(sample.labels, merged).as_dict()
    figure, axes = picture_grid(1, 2, (3.2, 3.3))
    panels = [(sample.labels, f"annotation: {sample.n_instances} cells"), (merged, "one cell")]
    for axis, (labels, title) in zip(axes[0], panels, strict=True):
        draw_outlines(axis, sample.image, labels)
        axis.set_title(title)
    kept = ["iou", "dice", "pq_paper", "pq", "ap_50", "aji"]
    rows = [{"metric": METRIC_NAMES[m], "value": f"{scores[m]:.3f}"} for m in kept]
    return figure, pd.DataFrame(rows)


def sample_images(samples: list[Sample], columns: int = 4) -> Figure:
    """Held-out images with the outlines of their annotated instances."""
    columns = min(columns, len(samples))
    figure, axes = picture_grid(1, columns, (2.1, 2.4))
    for axis, sample in zip(axes.ravel(), samples, strict=False):
        draw_outlines(axis, sample.image, sample.labels)
        axis.set_title(f"{sample.n_instances} instances", fontsize=9)
    return figure


def predictions_by_rate(samples: list[Sample], masks: dict[str, list[np.ndarray]]) -> Figure:
    """Annotation and predictions of a few held-out images; one row per image."""
    columns = ["annotation", *masks]
    figure, axes = picture_grid(len(samples), len(columns), (2.1, 2.2))
    for row, (axis_row, sample) in enumerate(zip(axes, samples, strict=True)):
        shown = [sample.labels, *(predicted[row] for predicted in masks.values())]
        for axis, labels, name in zip(axis_row, shown, columns, strict=True):
            draw_outlines(axis, sample.image, labels)
            score = "" if name == "annotation" else f"\nPQ {evaluate(sample.labels, labels).pq:.2f}"
            axis.set_title(f"{name if row == 0 else ''}{score}", fontsize=9)
    return figure


def save_readme_picture() -> None:
    """Draw Dice as published and as recorded into ``book/_static/readme.png``."""
    use_style()
    sources = {"published": published_table(), "recorded": recorded("redundancy")}
    figure = dice_by_source(sources)
    figure.savefig(PROJECT / "book" / "_static" / "readme.png", dpi=120, bbox_inches="tight")
    plt.close(figure)


def _curve(
    axis: Axes,
    table: pd.DataFrame,
    method: str,
    metric: str,
    label: str | None = None,
    style: dict | None = None,
) -> None:
    """Mean over seeds with a band from the lowest to the highest seed; nothing if not there."""
    if not (table["method"] == method).any():
        return
    points = by_rate(table, method, metric)
    look = {**METHOD_STYLES[method], **(style or {})}
    axis.plot(points["rate"], points["mean"], label=label or method, **look)
    axis.fill_between(
        points["rate"], points["low"], points["high"], color=look["color"], alpha=0.15, linewidth=0
    )
