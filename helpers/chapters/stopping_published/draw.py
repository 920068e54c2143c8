"""Figures of the chapter ``stopping-published``."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.chapters.draw_common import legend_below
from helpers.chapters.figures import COLOURS, ramp
from helpers.chapters.stopping_published import tables
from helpers.chapters.stopping_published.tables import FULL, NONE, ORACLE, PUBLISHED_RULE, RANDOM
from helpers.experiments.released import OnlineRule, Setting, SetUp, apply_rule

RULE_MARKS = {
    PUBLISHED_RULE: {"color": COLOURS["orange"], "marker": "o"},
    FULL: {"color": COLOURS["blue"], "marker": "s"},
    ORACLE: {"color": COLOURS["black"], "marker": "*"},
    RANDOM: {"color": COLOURS["grey"], "marker": "X"},
    NONE: {"color": COLOURS["purple"], "marker": "v"},
}


def rows_of_checkpoints(set_ups: Sequence[SetUp], setting: Setting) -> Figure:
    """Dice and robustness loss against the length of the pretraining, one panel per set-up."""
    figure, axes = plt.subplots(
        1, len(set_ups), figsize=(3.6 * len(set_ups), 3.4), layout="constrained", squeeze=False
    )
    for axis, one in zip(axes.ravel(), set_ups, strict=True):
        _row_of_checkpoints(axis, one, setting)
    legend_below(figure, axes, 4)
    return figure


def _row_of_checkpoints(axis: Axes, one: SetUp, setting: Setting) -> None:
    place = np.arange(len(one.lengths))
    for seed in one.dice.T:
        axis.plot(place, seed, ".", color=COLOURS["sky"], markersize=4)
    means = np.nanmean(one.dice, axis=1)
    axis.plot(place, means, color=COLOURS["blue"], label="Dice, mean of the seeds")
    for rule in (PUBLISHED_RULE, FULL, ORACLE):
        at = apply_rule(rule, one, setting).at
        style = RULE_MARKS[rule] | {"markersize": 11, "linestyle": "none", "zorder": 3}
        axis.plot(at, means[at], label=rule, markerfacecolor="none", markeredgewidth=2, **style)
    axis.set_xticks(place, [str(length) for length in one.lengths], rotation=60)
    axis.set_xlabel("epochs of pretraining")
    axis.set_ylabel("Dice after transfer")
    axis.set_title(one.name, fontsize=9)
    other = axis.twinx()
    other.plot(place, one.losses[setting], "--", color=COLOURS["orange"], alpha=0.7)
    other.set_ylabel("robustness loss (lower: more robust)", color=COLOURS["orange"], fontsize=8)
    other.grid(visible=False)
    other.spines["right"].set_visible(True)


def rules(table: pd.DataFrame, way: str) -> Figure:
    """TIS of every rule with its interval over seeds."""
    from helpers.metrics import student_interval

    names = tables.shown_rules(table)[::-1]
    figure, axis = plt.subplots(figsize=(6.8, 0.3 * len(names) + 1), layout="constrained")
    for place, rule in enumerate(names):
        numbers = tables.values(table, rule, way=way)
        style = RULE_MARKS.get(rule, {"color": COLOURS["green"], "marker": "D"})
        if len(numbers) > 1:
            low, high = student_interval(list(numbers))
            axis.plot([low, high], [place, place], color=style["color"], linewidth=2)
        axis.plot(numbers.mean(), place, linestyle="none", markersize=7, **style)
    axis.axvline(0.98, color=COLOURS["grey"], linestyle=":")
    axis.set_yticks(range(len(names)), names)
    axis.set_xlabel("TIS, mean over set-ups (dotted: 0.98)")
    return figure


def settings(table: pd.DataFrame) -> Figure:
    """Mean TIS of all forms of the score; what beats a trivial rule is marked."""
    cells = tables.settings_matrix(table)
    random, full = (tables.values(table, rule).mean() for rule in (RANDOM, FULL))
    levels = cells.columns.get_level_values(0).unique()
    figure, axes = plt.subplots(
        1, len(levels), figsize=(2.6 * len(levels) + 1.6, 3.4), layout="constrained", sharey=True
    )
    span = {"vmin": float(cells.min().min()), "vmax": max(float(cells.max().max()), full)}
    for axis, level in zip(axes, levels, strict=True):
        part = cells[level]
        image = axis.imshow(part.to_numpy(), cmap="viridis", aspect="auto", **span)
        for (row, column), value in np.ndenumerate(part.to_numpy()):
            mark = "●" if value > full else "○" if value >= 0.98 else "·" if value > random else ""
            light = value < np.mean(list(span.values()))
            axis.text(column, row, mark, ha="center", va="center", color="w" if light else "k")
        axis.set_xticks(range(part.shape[1]), [f"{margin:g}" for margin in part.columns])
        axis.set_xlabel("margin")
        axis.set_title("deepest level" if level == 1 else f"{level} from the top", fontsize=9)
        axis.grid(visible=False)
    axes[0].set_yticks(range(len(cells)), [", ".join(name) for name in cells.index])
    figure.colorbar(image, ax=axes, label="mean TIS")
    return figure


def set_ups(table: pd.DataFrame) -> Figure:
    """TIS of the published rule in every set-up, and what it gains over full pretraining."""
    ours = tables.set_ups_matrix(table, PUBLISHED_RULE)
    gain = ours - tables.set_ups_matrix(table, FULL)
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained", sharey=True)
    reach = float(np.nanmax(np.abs(gain.to_numpy())))
    panels = [
        (ours, "TIS of the lowest robustness loss", {"cmap": "viridis"}),
        (gain, "minus TIS of full pretraining", {"cmap": "RdBu", "vmin": -reach, "vmax": reach}),
    ]
    for axis, (cells, title, style) in zip(axes, panels, strict=True):
        image = axis.imshow(cells.to_numpy(), aspect="auto", **style)
        for (row, column), value in np.ndenumerate(cells.to_numpy()):
            red, green, blue, _ = image.cmap(image.norm(value))
            dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
            weight = "bold" if cells is ours and value >= 0.98 else "normal"
            axis.text(
                column,
                row,
                f"{value:.3f}" if cells is ours else f"{value:+.3f}",
                ha="center",
                va="center",
                fontsize=8,
                fontweight=weight,
                color="w" if dark else "k",
            )
        axis.set_xticks(range(cells.shape[1]), cells.columns)
        axis.set_yticks(range(len(cells)), cells.index)
        axis.set_title(title, fontsize=10)
        axis.grid(visible=False)
    return figure


def online(table: pd.DataFrame) -> Figure:
    """What online rules save and cost, against trivial ones; one panel per least length."""
    rules = tables.online_rules(table)
    leasts = sorted({rule.least for rule in rules.values()})
    figure, axes = plt.subplots(
        1,
        len(leasts),
        figsize=(3.1 * len(leasts) + 0.8, 4),
        layout="constrained",
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for axis, least in zip(axes.ravel(), leasts, strict=True):
        _online_panel(axis, table, {n: r for n, r in rules.items() if r.least == least})
        axis.set_title(f"not before epoch {least}", fontsize=10)
        axis.set_xlabel("pretraining saved (%)")
    axes[0, 0].set_ylabel("regret (Dice points, lower is better)")
    legend_below(figure, axes, 4)
    return figure


def _online_panel(axis: Axes, table: pd.DataFrame, rules: dict[str, OnlineRule]) -> None:
    smoothings = sorted({rule.smoothing for rule in rules.values()})
    for smoothing, colour in zip(smoothings, ramp(len(smoothings)), strict=True):
        own = {name: rule for name, rule in rules.items() if rule.smoothing == smoothing}
        label = "score as it is" if smoothing == 1 else f"mean of {smoothing} checkpoints"
        places = [_saved_and_regret(table, name) for name in own]
        axis.plot(*zip(*places, strict=True), "-D", color=colour, label=label, markersize=5)
        for rule, place in zip(own.values(), places, strict=True):
            axis.annotate(
                str(rule.patience), place, textcoords="offset points", xytext=(5, 4), fontsize=8
            )
    for rule in (PUBLISHED_RULE, FULL, RANDOM, NONE):
        x, y = _saved_and_regret(table, rule)
        axis.plot(x, y, linestyle="none", markersize=8, label=rule, **RULE_MARKS[rule])


def _saved_and_regret(table: pd.DataFrame, rule: str) -> tuple[float, float]:
    """Both in per cent: share of the pretraining saved, Dice points lost."""
    saved, regret = (tables.values(table, rule, m).mean() for m in ("compute_saved", "regret"))
    return 100 * saved, 100 * regret
