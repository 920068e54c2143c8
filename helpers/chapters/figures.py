"""Figures that can be read: text for those who cannot see, a caption, numbers one click away."""

import base64
import html
import io

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from helpers.book.pictures import GROUPS as GROUPS
from helpers.book.pictures import ramp as ramp

# Okabe and Ito's palette: distinguishable with any common colour vision.
COLOURS = {
    "blue": "#0072B2",
    "orange": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "amber": "#E69F00",
    "black": "#222222",
    "grey": "#7F7F7F",
}
STYLE = {
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "font.size": 10,
    "axes.titlesize": 11,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
}


def csv_link(table: pd.DataFrame, name: str) -> str:
    """A link that holds the table itself, so that it works without a network and without files."""
    numbers = base64.b64encode(table.to_csv(index=False).encode()).decode()
    return (
        f'<a class="book-csv" download="{name}" href="data:text/csv;base64,{numbers}">'
        "Numbers as CSV</a>"
    )


def use_style() -> None:
    """Set the book's look for all figures that follow."""
    plt.rcParams.update(STYLE)


class Shown:
    """A figure as a notebook output: picture, caption and a link to its numbers, in one piece.

    Everything is inside the HTML, so the same output stands in JupyterLab, in the built book and
    in a saved notebook, without a network and without files beside it.
    """

    def __init__(self, figure: Figure, alt: str, caption: str, data: pd.DataFrame | None) -> None:
        self._picture = picture(figure)
        # Wider than a phone can show legibly: the style sheet lets such a figure scroll in its box.
        self._kind = "book-figure book-wide" if figure.get_figwidth() > 7 else "book-figure"
        self._alt, self._caption, self._data = alt, caption, data

    def _repr_html_(self) -> str:
        return (
            f'<figure class="{self._kind}"><div class="book-picture">'
            f'<img src="{self._picture}" alt="{html.escape(self._alt)}"></div>'
            f"<figcaption>{html.escape(self._caption)}{self._link()}</figcaption></figure>"
        )

    def _link(self) -> str:
        return "" if self._data is None else " " + csv_link(self._data, "figure.csv")


def show(figure: Figure, alt: str, caption: str, data: pd.DataFrame | None = None) -> Shown:
    """Turn a matplotlib figure into the notebook's output and close it.

    Args:
        alt: what a person who cannot see the figure should know.
        caption: what is shown, with profile and data.
        data: the numbers in the figure; ``None`` only for pictures of images.
    """
    shown = Shown(figure, alt, caption, data)
    plt.close(figure)
    return shown


def picture(figure: Figure) -> str:
    """A matplotlib figure as the address of an image that holds the image itself."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


class ShownTable:
    """A data frame as plain HTML that the book's style sheet can lay out."""

    def __init__(self, table: pd.DataFrame, caption: str) -> None:
        self._table, self._caption = table, caption

    def _repr_html_(self) -> str:
        body = self._table.to_html(index=False, border=0, classes="book-table", na_rep="–")
        body = body.replace(" ± ", "\u00a0±\u00a0")
        return (
            f'<div class="book-table-box">{body}</div><p class="book-caption">'
            f"{html.escape(self._caption)} {csv_link(self._table, 'table.csv')}</p>"
        )


def show_table(table: pd.DataFrame, caption: str) -> ShownTable:
    """Turn a data frame into the notebook's output."""
    return ShownTable(table, caption)
