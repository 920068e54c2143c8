"""Figures that the chapters on transfer share."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from helpers.chapters.draw_common import draw_outlines, legend_below, picture_grid, write_cells
from helpers.chapters.figures import COLOURS
from helpers.chapters.redundancy import METRIC_NAMES
from helpers.chapters.transfer import tables
from helpers.data.sample import Sample
from helpers.experiments.curricula import ROLES

ROLE_STYLES = {
    "source": {"color": COLOURS["blue"], "marker": "o"},
    "target": {"color": COLOURS["orange"], "marker": "s"},
    "third": {"color": COLOURS["green"], "marker": "^"},
}


def domains(samples: Mapping[str, Sequence[Sample]], per_domain: int = 3) -> Figure:
    """Held-out images of every domain with their annotation; one row per domain."""
    figure, axes = picture_grid(len(samples), per_domain, (2.2, 2.4))
    for row, (role, images) in zip(axes, samples.items(), strict=True):
        for axis, sample in zip(row, images, strict=False):
            draw_outlines(axis, sample.image, sample.labels)
            axis.set_title(f"{role}: {sample.n_instances} instances", fontsize=9)
    return figure


def predictions(
    sample: Sample, masks: Mapping[str, np.ndarray], scores: Mapping[str, float]
) -> Figure:
    """One held-out image: its annotation, and what several models find in it, with their Dice."""
    panels = {"annotation": sample.labels, **masks}
    figure, axes = picture_grid(1, len(panels), (2.4, 2.8))
    for axis, (name, labels) in zip(axes.ravel(), panels.items(), strict=True):
        draw_outlines(axis, sample.image, labels)
        score = f"\nDice {scores[name]:.2f}" if name in scores else ""
        axis.set_title(f"{name}{score}", fontsize=9)
    return figure


def matrices(
    sources: Mapping[str, pd.DataFrame], paths: Sequence[str], metric: str = "dice"
) -> Figure:
    """Stage by domain: one panel per source, one row per path, one column per tested domain.

    The domain trained last is framed.
    """
    figure, axes = plt.subplots(
        1,
        len(sources),
        figsize=(2.2 + 2.5 * len(sources), 1.2 + 0.34 * len(paths)),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    image = None
    for axis, (name, table) in zip(axes.ravel(), sources.items(), strict=True):
        cells = tables.matrix(table, paths, metric)
        image = axis.imshow(cells, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        last = [path.split(" -> ")[-1].split(" + ") for path in cells.index]
        framed = [[role in domains for role in cells.columns] for domains in last]
        write_cells(axis, cells, np.array(framed, dtype=bool))
        axis.set_xticks(range(len(ROLES)), ROLES)
        axis.set_yticks(range(len(paths)), [path.replace("->", "→") for path in paths])
        axis.set_title(name)
        axis.grid(visible=False)
    figure.colorbar(image, ax=axes, label=METRIC_NAMES[metric], shrink=0.8)
    axes[0, 0].set_ylabel("trained on")
    figure.supxlabel("tested on", fontsize=10)
    return figure


def curves(looks: pd.DataFrame, methods: Sequence[str], train: str = "source -> target") -> Figure:
    """Foreground Dice on watched patches against steps, one panel per domain, a line per method.

    Thin lines are seeds.
    """
    figure, axes = plt.subplots(
        1, len(ROLES), figsize=(9.4, 3.5), sharey=True, layout="constrained", squeeze=False
    )
    palette = [COLOURS[n] for n in ("black", "blue", "orange", "green", "purple", "amber", "sky")]
    rows = looks[(looks["metric"] == "watched_dice") & looks["method"].isin(list(methods))]
    rows = rows[rows["dataset_train"].isin([train, "source -> source + target"])]
    for axis, role in zip(axes.ravel(), ROLES, strict=True):
        for place, method in enumerate(methods):
            own = rows[(rows["dataset_test"] == role) & (rows["method"] == method)]
            _seeds_and_mean(axis, own, palette[place], method)
        axis.set(title=f"watched on the {role}", xlabel="steps of fine-tuning", ylim=(0, 1))
    axes[0, 0].set_ylabel("Dice of the foreground")
    legend_below(figure, axes, columns=4)
    return figure


def losses(table: pd.DataFrame, lines: Mapping[str, tuple[str, str]]) -> Figure:
    """Training loss against steps; thin lines are seeds.

    Args:
        lines: by label, method and path.
    """
    figure, axis = plt.subplots(figsize=(6.4, 3.9), layout="constrained")
    rows = table[table["metric"] == "training_loss"]
    for colour, (label, (method, train)) in zip(COLOURS.values(), lines.items(), strict=False):
        own = rows[(rows["method"] == method) & (rows["dataset_train"] == train)]
        _seeds_and_mean(axis, own, colour, label)
    axis.set(xlabel="steps on the target", ylabel="training loss", yscale="log")
    axis.yaxis.set_major_formatter(ScalarFormatter())
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_yticks([tick for tick in (0.2, 0.5, 1, 2, 5) if tick < axis.get_ylim()[1]])
    legend_below(figure, np.array([[axis]]), columns=2)
    return figure


def _seeds_and_mean(axis: Axes, rows: pd.DataFrame, colour: str, label: str) -> None:
    for _, seed in rows.groupby("seed"):
        axis.plot(seed["rate"], seed["value"], color=colour, alpha=0.3, lw=0.8)
    mean = rows.groupby("rate")["value"].mean()
    axis.plot(mean.index, mean, color=colour, label=label)


def by_rate(
    sources: Mapping[str, pd.DataFrame], series: Sequence[dict], metric: str, xlabel: str
) -> Figure:
    """A metric against a rate, one panel per source; dots are seeds, bars over images.

    Args:
        series: one entry per line: train, test, method, label, style (of matplotlib).
    """
    figure, axes = plt.subplots(
        1,
        len(sources),
        figsize=(3.3 * len(sources), 3.8),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for axis, (name, table) in zip(axes.ravel(), sources.items(), strict=True):
        for line in series:
            rows = table[
                table["dataset_train"].isin(line["train"])
                & (table["dataset_test"] == line["test"])
                & table["method"].isin(line["method"])
                & (table["metric"] == metric)
            ].dropna(subset="rate")
            mean = rows.groupby("rate")["value"].mean()
            axis.plot(mean.index, mean, label=line["label"], **line["style"])
            seeds = {k: v for k, v in line["style"].items() if k == "color"}
            axis.scatter(rows["rate"], rows["value"], s=8, alpha=0.4, **seeds)
        axis.set_xscale("symlog", linthresh=1)
        axis.set_xticks([0, 1, 5, 10, 30, 100], ["0", "1", "5", "10", "30", "100"])
        axis.minorticks_off()
        axis.set(title=name, xlabel=xlabel, ylim=(0, 1), xlim=(-0.2, 130))
    axes[0, 0].set_ylabel(METRIC_NAMES[metric])
    legend_below(figure, axes, columns=2)
    return figure


def dots(
    sources: Mapping[str, pd.DataFrame],
    entries: Sequence[dict],
    metric: str = "dice",
    tests: Sequence[str] = ROLES,
) -> Figure:
    """One line per model, one mark per tested domain; small dots are seeds. A panel per source.

    Args:
        entries: label, and what picks the rows: train, method (any if absent), rate (any if absent,
            in per cent).
    """
    figure, axes = plt.subplots(
        1,
        len(sources),
        figsize=(2.4 + 2.5 * len(sources), 1.4 + 0.36 * len(entries)),
        sharey=True,
        sharex=True,
        layout="constrained",
        squeeze=False,
    )
    for axis, (name, table) in zip(axes.ravel(), sources.items(), strict=True):
        for place, entry in enumerate(entries):
            for test in tests:
                _mark(axis, table, entry, test, metric, place)
        axis.set(title=name, xlim=(0, 1), xlabel=METRIC_NAMES[metric])
    axes[0, 0].set_yticks(range(len(entries)), [entry["label"] for entry in entries])
    axes[0, 0].invert_yaxis()
    legend_below(figure, axes)
    return figure


def _mark(axis: Axes, table: pd.DataFrame, entry: dict, test: str, metric: str, place: int) -> None:
    method, rate = entry.get("method"), entry.get("rate")
    for name in method if isinstance(method, (list, tuple)) else [method]:
        found = tables.values(table, entry["train"], test, metric, name, rate)
        if len(found):
            look = ROLE_STYLES[test]
            axis.scatter(found, [place] * len(found), s=8, color=look["color"], alpha=0.5)
            axis.scatter(found.mean(), place, s=48, label=f"tested on the {test}", **look)
            return


def before_after(table: pd.DataFrame, paths: Sequence[str], metrics: Sequence[str]) -> Figure:
    """Scores on the first domain of each path, before and after the second. A panel per path."""
    figure, axes = plt.subplots(
        1,
        len(paths),
        figsize=(3.9 * len(paths), 3.9),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    palette = list(COLOURS.values())
    rows = table[table["table"] == "V"]
    for axis, path in zip(axes.ravel(), paths, strict=True):
        first = path.split(" -> ")[0]
        for place, metric in enumerate(metrics):
            ends = [tables.values(rows, train, first, metric).mean() for train in (first, path)]
            style = {"color": palette[place], "marker": "osD^vP"[place % 6]}
            axis.plot([0, 1], ends, label=METRIC_NAMES[metric], **style)
        axis.set_xticks([0, 1], ["before", "after"])
        axis.set(xlim=(-0.15, 1.15), ylim=(0, 1))
        axis.set_title(f"{path.replace('->', '→')}, tested on the {first}", fontsize=10)
    axes[0, 0].set_ylabel("mean over images (and seeds)")
    legend_below(figure, axes)
    return figure


def trade_off(
    sources: Mapping[str, pd.DataFrame], groups: Mapping[str, Sequence[dict]], metric: str = "dice"
) -> Figure:
    """Score on the source against score on the target, one mark per model, a panel per source.

    Up and right is better. Small dots are seeds.

    Args:
        groups: by name of a family, its models, as for :func:`dots`; the models of a family are
            joined by a line in their order.
    """
    figure, axes = plt.subplots(
        1,
        len(sources),
        figsize=(1.2 + 3.9 * len(sources), 4.9),
        layout="constrained",
        squeeze=False,
    )
    # Eight colours and thirteen marks: no pair twice before 104 families.
    pairs = zip(cycle(COLOURS.values()), cycle("osD^vPX*<>hpd"), strict=False)
    looks = dict(zip(groups, pairs, strict=False))
    for axis, (name, table) in zip(axes.ravel(), sources.items(), strict=True):
        for family, entries in groups.items():
            _family(axis, table, family, entries, metric, looks[family])
        axis.set(title=name, xlabel=f"{METRIC_NAMES[metric]} on the target")
    axes[0, 0].set_ylabel(f"{METRIC_NAMES[metric]} on the source")
    legend_below(figure, axes, columns=3)
    return figure


def _family(
    axis: Axes,
    table: pd.DataFrame,
    family: str,
    entries: Sequence[dict],
    metric: str,
    look: tuple[str, str],
) -> None:
    colour, marker = look
    points = []
    for entry in entries:
        pair = [
            tables.values(
                table, entry["train"], test, metric, entry.get("method"), entry.get("rate")
            )
            for test in ("target", "source")
        ]
        seeds = pd.concat(pair, axis=1, join="inner")
        if len(seeds):
            axis.scatter(*seeds.T.to_numpy(), s=8, color=colour, alpha=0.5)
            points.append(seeds.mean().to_list())
            axis.annotate(entry.get("short", ""), points[-1], fontsize=7.5, xytext=(5, 4),
                          textcoords="offset points")  # fmt: skip
    if points:
        style = {
            "color": colour,
            "marker": marker,
            "markersize": 7,
            "linewidth": 1,
            "label": family,
        }
        axis.plot(*np.array(points).T, **style)
