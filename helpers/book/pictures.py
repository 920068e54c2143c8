"""Figures that can be read: one theme, alternative text, a caption, the numbers one click away.

Figures are drawn in the notebook, with seaborn on a results frame; here is what they all share.
"""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.book.results import csv_link
from helpers.metrics import student_interval

if TYPE_CHECKING:
    from seaborn.axisgrid import FacetGrid

# Okabe and Ito's palette, darkened where it would be pale on white: distinguishable with any common
# colour vision, each at a contrast of 3:1 or more.
COLOURS = {
    "blue": "#0072B2",
    "orange": "#D55E00",
    "green": "#007F5C",
    "purple": "#B0578D",
    "sky": "#2F8FC4",
    "amber": "#B37700",
    "black": "#222222",
    "grey": "#7F7F7F",
}
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
# Width of one panel in inches: text is as large in every figure, whatever the number of panels.
PANEL = 3.4
DOTS = 96
STYLE = {
    "figure.dpi": DOTS,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.title_fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
}

# Scores as pages call them; the others are called what they are.
METRICS = {
    "iou": "IoU",
    "dice": "Dice",
    "foreground_dice": "foreground",
    "pq": "PQ",
    "pq_paper": "IoU × Dice",
    "ap_50": "AP at IoU .5",
    "aji": "AJI",
}


# Named groups on a white and on a dark ground.
GROUPS = {
    "light": [COLOURS[name] for name in COLOURS],
    "dark": ["#EEEEEE" if name == "black" else COLOURS[name] for name in COLOURS],
}


def ramp(count: int, ground: str = "light") -> list[str]:
    """Colours for ordered groups, first to last, that keep their order for any colour vision.

    Args:
        ground: ``"light"`` leaves out what is too pale on white, ``"dark"`` what is too dark on
            black.
    """
    from matplotlib.colors import to_hex

    ends = (0.0, 0.9) if ground == "light" else (0.25, 1.0)
    return [to_hex(colour) for colour in plt.get_cmap("viridis")(np.linspace(*ends, count))]


def use_theme() -> None:
    """Set the book's look for all figures that follow."""
    import seaborn as sns

    sns.set_theme(style="white", palette=list(COLOURS.values()), rc=STYLE)


def student(values: Sequence[float]) -> tuple[float, float]:
    """95 % Student interval of the mean over seeds, for seaborn's ``errorbar=``.

    A single value has none; a picture then shows the point alone.
    """
    kept = np.asarray(values, float)
    kept = kept[np.isfinite(kept)]
    if len(kept) < 2:
        return (float("nan"), float("nan"))
    low, high = student_interval(kept)
    return float(low), float(high)


# Curves of means over seeds with their intervals, for seaborn's ``relplot``.
LINES = {
    "kind": "line",
    "markers": True,
    "dashes": False,
    "errorbar": student,
    "err_style": "bars",
}


def finish(
    grid: "FacetGrid", titles: str = "{col_name}", columns: int = 3, **axes: Any
) -> "FacetGrid":
    """Short titles, plain logarithmic ticks, and the legend above all panels.

    Args:
        grid: of seaborn.
        titles: template of the panels' titles.
        columns: of the legend.
        axes: properties of all axes, such as ``xlabel`` and ``ylim``.
    """
    import seaborn as sns

    grid.set(**axes).set_titles(titles)
    for axis in grid.axes.flat:
        if axis.get_xscale() == "log":
            axis.xaxis.set_minor_formatter("")
            axis.xaxis.set_major_formatter("{x:,g}")
    if grid.legend is not None:
        sns.move_legend(grid, "lower center", bbox_to_anchor=(0.45, 1), ncol=columns, title=None)
    return grid


class Shown:
    """A figure as a notebook output: picture, caption and a link to its numbers, in one piece.

    Everything is inside the HTML, so the same output stands in JupyterLab, in the built book and
    in a saved notebook, without a network and without files beside it.
    """

    def __init__(
        self, figure: Figure, alt: str, caption: str, data: pd.DataFrame | None, name: str
    ) -> None:
        self._source, self._width = picture(figure)
        self._alt, self._caption, self._data, self._name = alt, caption, data, name

    def _repr_html_(self) -> str:
        link = "" if self._data is None else " " + csv_link(self._data, self._name)
        return (
            '<figure class="book-figure"><div class="book-picture" tabindex="0">'
            f'<img src="{self._source}" alt="{html.escape(self._alt)}" width="{self._width}" '
            'loading="lazy"></div>'
            f"<figcaption>{html.escape(self._caption)}{link}</figcaption></figure>"
        )


def show(
    drawn: object, alt: str, caption: str, data: pd.DataFrame | None = None, name: str = ""
) -> Shown:
    """Turn a figure into the notebook's output and close it.

    Args:
        drawn: a matplotlib figure, or whatever has one: a seaborn grid, axes.
        alt: what a person who cannot see the figure should know: the finding, not the chart.
        caption: what is shown, with profile and data.
        data: the numbers in the figure; ``None`` only for pictures of images.
        name: of the CSV file; default: from the caption's first words.
    """
    figure = drawn if isinstance(drawn, Figure) else drawn.figure
    shown = Shown(figure, alt, caption, data, name or _file_name(caption))
    plt.close(figure)
    return shown


def picture(figure: Figure) -> tuple[str, int]:
    """A figure as the address of an image that holds the image itself, and its width in pixels."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=2 * DOTS, bbox_inches="tight", facecolor="white")
    content = buffer.getvalue()
    # A PNG says its width in the bytes 16 to 19; it is saved with two dots per pixel of the page.
    width = int.from_bytes(content[16:20]) // 2
    return f"data:image/png;base64,{base64.b64encode(content).decode()}", width


def _file_name(caption: str) -> str:
    words = "".join(c if c.isalnum() else " " for c in caption.lower()).split()
    return "-".join(words[:5]) + ".csv"


class ShownTable:
    """A data frame as plain HTML that the book's style sheet can lay out."""

    def __init__(self, table: pd.DataFrame, caption: str, name: str) -> None:
        self._table, self._caption, self._name = table, caption, name

    def _repr_html_(self) -> str:
        table = self._table.rename_axis(columns=None)
        body = table.to_html(index=False, border=0, classes="book-table", na_rep="–")
        body = body.replace(" ± ", "\u00a0±\u00a0").replace("<th>", '<th scope="col">')
        return (
            f'<div class="book-table-box" tabindex="0">{body}</div><p class="book-caption">'
            f"{html.escape(self._caption)} {csv_link(self._table, self._name)}</p>"
        )


def show_table(table: pd.DataFrame, caption: str, name: str = "") -> ShownTable:
    """Turn a data frame into the notebook's output; its row names are left out."""
    return ShownTable(table, caption, name or _file_name(caption))


# -------------------------------------------------------------------------- numbers in words


def with_interval(numbers: pd.Series, digits: int = 3) -> str:
    """Mean over seeds and its 95 % Student interval; a dash where there is nothing."""
    kept = np.asarray(numbers, float)
    kept = kept[np.isfinite(kept)]
    if not len(kept):
        return "–"
    low, high = student(kept)
    mean = f"{kept.mean():.{digits}f}"
    return mean if not np.isfinite(low) else f"{mean} ({low:.{digits}f} to {high:.{digits}f})"


# -------------------------------------------------------------------------- pictures of images


def picture_grid(
    rows: int, columns: int, size: tuple[float, float], ratios: Sequence[float] | None = None
) -> tuple[Figure, np.ndarray]:
    """A figure for pictures: axes (rows, columns) without frames.

    Args:
        size: width and height of one in inches.
        ratios: widths of the columns in units of that width, if they differ.
    """
    widths = [1.0] * columns if ratios is None else list(ratios)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(size[0] * sum(widths), size[1] * rows),
        layout="constrained",
        squeeze=False,
        width_ratios=widths,
    )
    for axis in axes.ravel():
        axis.axis("off")
    return figure, axes


def images_grid(
    pictures: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray | None]]],
    side: float = 1.7,
    white: float | None = None,
) -> Figure:
    """Images with outlines, one row per name.

    Args:
        pictures: by the name of the row, images (H, W) or (H, W, C) each with the labels (H, W)
            whose outlines are drawn, or ``None``.
        side: of one picture in inches.
        white: see :func:`draw_outlines`.
    """
    columns = max(map(len, pictures.values()))
    figure, axes = picture_grid(len(pictures), columns, (side, side + 0.2))
    for row, (name, found) in zip(axes, pictures.items(), strict=True):
        row[0].set_title(name, loc="left")
        for axis, (image, labels) in zip(row, found, strict=False):
            draw_outlines(axis, image, labels, white)
    return figure


def middle(pixels: np.ndarray, side: int = 192) -> np.ndarray:
    """The middle of an image or of labels (h, w, ...), at most ``side`` pixels high and wide."""
    top, left = (max(0, (full - side) // 2) for full in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def draw_outlines(
    axis: Axes, image: np.ndarray, labels: np.ndarray | None = None, white: float | None = None
) -> None:
    """An image in grey with the outlines of its objects in orange.

    Args:
        white: brightness that is shown as white, 0 being black, where several pictures must be
            comparable; ``None`` cuts the darkest and brightest half per cent of this one.
    """
    from skimage.segmentation import find_boundaries

    grey = np.float32(image.mean(axis=2) if image.ndim == 3 else image)
    low, high = np.percentile(grey, [0.5, 99.5]) if white is None else (0, white)
    shade = np.clip((grey - low) / max(high - low, 1e-6), 0, 1)
    shown = np.dstack([shade] * 3)
    if labels is not None:
        shown[find_boundaries(labels, mode="inner")] = (0.90, 0.40, 0.0)
    axis.imshow(shown, interpolation="nearest")


def classes_grid(
    pictures: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]],
    classes: Sequence[str],
    side: float = 1.7,
) -> Figure:
    """Images with classes laid over in colour, one row per name, and a legend of the classes.

    Args:
        pictures: by the name of the row, images (H, W, C) in 0..1, each with the classes (H, W) of
            its pixels, 0 for the background.
        classes: names of the classes 1, 2, ...
    """
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch
    from skimage.color import label2rgb

    shades = [to_rgb(shade) for shade in list(COLOURS.values())[1 : len(classes) + 1]]
    columns = max(map(len, pictures.values()))
    figure, axes = picture_grid(len(pictures), columns, (side, side + 0.2))
    for row, (name, found) in zip(axes, pictures.items(), strict=True):
        row[0].set_title(name, loc="left")
        for axis, (image, mask) in zip(row, found, strict=False):
            # One colour per class, whichever of them an image shows.
            present = [shades[k - 1] for k in np.unique(mask) if k]
            axis.imshow(
                label2rgb(mask, image, present, alpha=0.45, bg_label=0) if present else image
            )
    handles = [Patch(color=shade, label=name) for shade, name in zip(shades, classes, strict=True)]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(classes))
    return figure
