"""Figures of the chapter ``which-images``."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from helpers.annotate.choose import Choice
from helpers.annotate.sheet import short_name, tiles
from helpers.chapters.draw_common import picture_grid


def contact_sheet(choice: Choice, columns: int = 4, most: int = 16) -> Figure:
    """The first chosen pictures with rank and file name, as the command writes them."""
    count = min(most, len(choice.chosen))
    columns = min(columns, count)
    rows = -(-count // columns)
    figure, axes = picture_grid(rows, columns, (1.7, 1.9))
    shown = tiles(choice, range(count))
    for rank, axis in enumerate(axes.ravel()):
        if rank < count:
            axis.imshow(shown[rank])
            name = short_name(choice.candidates[choice.chosen[rank]])
            axis.set_title(f"{rank + 1}  {name[-24:]}", fontsize=7)
    return figure


def side_by_side(choices: Sequence[Choice], columns: int = 8) -> Figure:
    """The first pictures that each method takes, one row per method."""
    columns = min(columns, max(len(choice.chosen) for choice in choices))
    figure, axes = picture_grid(len(choices), columns, (0.95, 1.2))
    for row, choice in zip(axes, choices, strict=True):
        shown = tiles(choice, range(min(columns, len(choice.chosen))))
        for rank, axis in enumerate(row):
            if rank in shown:
                axis.imshow(shown[rank])
        row[0].set_title(choice.request.method, loc="left", fontsize=9)
    return figure
