"""Figures of the chapter ``which-images``."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from helpers.annotate.choose import Choice
from helpers.annotate.sheet import short_name, tiles


def contact_sheet(choice: Choice, columns: int = 4, most: int = 16) -> Figure:
    """The first chosen pictures with rank and file name, as the command writes them."""
    count = min(most, len(choice.chosen))
    columns = min(columns, count)
    rows = -(-count // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(1.7 * columns, 1.9 * rows), layout="constrained", squeeze=False
    )
    shown = tiles(choice, range(count))
    for rank, axis in enumerate(axes.ravel()):
        axis.axis("off")
        if rank < count:
            axis.imshow(shown[rank])
            name = short_name(choice.candidates[choice.chosen[rank]])
            axis.set_title(f"{rank + 1}  {name[-24:]}", fontsize=7)
    return figure


def side_by_side(choices: Sequence[Choice], columns: int = 8) -> Figure:
    """The first pictures that each method takes, one row per method."""
    columns = min(columns, max(len(choice.chosen) for choice in choices))
    figure, axes = plt.subplots(
        len(choices),
        columns,
        figsize=(0.95 * columns, 1.2 * len(choices)),
        layout="constrained",
        squeeze=False,
    )
    for row, choice in zip(axes, choices, strict=True):
        shown = tiles(choice, range(min(columns, len(choice.chosen))))
        for rank, axis in enumerate(row):
            axis.axis("off")
            if rank in shown:
                axis.imshow(shown[rank])
        row[0].set_title(choice.request.method, loc="left", fontsize=9)
    return figure
