"""A map to be explored: point at a patch and see it, in one piece of HTML.

Whatever it needs is inside: the points, one sheet with all thumbnails, the script. It asks nothing
of any host. Where no script runs, such as on paper or in a notebook that is not trusted, a picture
of the same map stands in its place.
"""

import base64
import hashlib
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from helpers.book.pictures import COLOURS, GROUPS, picture, ramp
from helpers.book.results import csv_link
from helpers.errors import ParameterError

SCRIPT, STYLE = (Path(__file__).with_suffix(suffix) for suffix in (".js", ".css"))
# The sheet of thumbnails takes at most this; as text it grows by a third.
MOST_BYTES = 500_000
SIDES = (96, 80, 64, 56, 48, 40, 32, 24, 16)
# Value of a scaled thumbnail that is shown as white.
WHITE = 1.2


@dataclass(frozen=True)
class HoverMap:
    """What a map shows; N points.

    Attributes:
        points: by name of the projection, float (N, 2).
        thumbnails: (N, h, w) or (N, h, w, 3); uint8, or float scaled to about 0..1.
        groups: by name, one value per point: text for kinds (a colour each; beyond eight the
            rarest share the last), integers for what has an order (beyond twelve different ones
            they are put into ten ranges).
        selections: by name, indices of the points chosen.
        tooltips: a text for each point; what groups and selections say is added to it.
    """

    points: Mapping[str, np.ndarray]
    thumbnails: np.ndarray
    groups: Mapping[str, Sequence]
    selections: Mapping[str, np.ndarray]
    tooltips: Sequence[str]

    def __post_init__(self) -> None:
        n = len(self.tooltips)
        for name, held in {"thumbnails": self.thumbnails, **self.groups, **self.points}.items():
            if len(held) != n:
                raise ParameterError(f"{name}: {len(held)} entries for {n} points")

    @property
    def table(self) -> pd.DataFrame:
        """The map's numbers: one row per point, with places, groups and who chose it."""
        columns = {"point": list(self.tooltips)}
        for name, points in self.points.items():
            x, y = np.round(np.transpose(points), 4).astype(float)
            columns |= {f"{name} x": x, f"{name} y": y}
        columns |= {name: list(labels) for name, labels in self.groups.items()}
        for name, indices in self.selections.items():
            columns[f"chosen by {name}"] = np.isin(np.arange(len(self.tooltips)), indices) * 1
        return pd.DataFrame(columns)


def thin(n: int, selections: Mapping[str, np.ndarray], limit: int, seed: int = 0) -> np.ndarray:
    """Which of n points to draw where that is too many: the chosen ones first, then at random.

    Chosen ones take at most half of the places, so that what they were chosen from stays in sight.

    Returns:
        int64, ascending; all points if there are no more than ``limit``.
    """
    if n <= limit:
        return np.arange(n)
    order = np.random.default_rng(seed).permutation(n)
    chosen = np.isin(order, np.concatenate([[], *selections.values()]))
    first = order[chosen][: limit // 2]
    rest = order[~np.isin(order, first)][: limit - len(first)]
    return np.sort(np.concatenate([first, rest]))


class ShownMap:
    """A map as a notebook output."""

    def __init__(self, shown: HoverMap, alt: str, caption: str) -> None:
        payload = {
            "alt": alt,
            "points": {name: _whole(points) for name, points in shown.points.items()},
            "groups": {name: _group(labels) for name, labels in shown.groups.items()},
            "selections": {n: np.asarray(i, int).tolist() for n, i in shown.selections.items()},
            "tooltips": list(shown.tooltips),
            "sheet": _sheet(shown.thumbnails),
        }
        # "<" would end the script, wherever it comes from.
        self._data = json.dumps(payload, separators=(",", ":")).replace("<", "\\u003c")
        self._still, self._width = picture(_still(shown))
        self._alt, self._caption = alt, caption
        self._link = csv_link(shown.table, "map.csv")

    def _repr_html_(self) -> str:
        key = hashlib.sha256(self._data.encode()).hexdigest()[:12]
        script = SCRIPT.read_text(encoding="utf-8").strip()
        return (
            f'<figure class="book-figure book-hover" data-hover-map="{key}">'
            f"<style>{STYLE.read_text(encoding='utf-8')}</style>"
            f'<div class="book-picture book-hover-still"><img src="{self._still}" '
            f'alt="{html.escape(self._alt)}" width="{self._width}" loading="lazy"></div>'
            '<div class="book-hover-live" hidden></div>'
            f"<figcaption>{html.escape(self._caption)} {self._link}</figcaption>"
            f'<script>{script}("{key}",{self._data});</script></figure>'
        )


def show_hover_map(shown: HoverMap, alt: str, caption: str) -> ShownMap:
    """Turn a map into the notebook's output.

    Args:
        alt: what a person who cannot see the map should know.
        caption: what is shown, with profile and data.
    """
    return ShownMap(shown, alt, caption)


def _whole(points: np.ndarray) -> list[int]:
    """x, y, x, y, ...: thousandths of the map's side, y downwards, proportions kept."""
    points = np.asarray(points, float) * (1, -1)
    middle = (points.max(axis=0) + points.min(axis=0)) / 2
    extent = np.ptp(points, axis=0).max() or 1.0
    return np.round(500 + 1000 * (points - middle) / extent).astype(int).ravel().tolist()


def _group(labels: Sequence) -> dict:
    """Labels, the number of each point's label, and their colours on either ground."""
    values = pd.Series(labels)
    ordered = pd.api.types.is_integer_dtype(values)
    if ordered and values.nunique() > 12:
        ranges = pd.qcut(values, 10, labels=False, duplicates="drop")
        ends = values.groupby(ranges).agg(["min", "max"])
        names = [f"{a}" if a == b else f"{a} to {b}" for a, b in ends.to_numpy()]
        numbers = ends.index.get_indexer(ranges)
    else:
        if not ordered and values.nunique() > len(COLOURS):
            common = values.value_counts().index[: len(COLOURS) - 1]
            values = values.where(values.isin(common), "others")
        numbers, names = pd.factorize(values, sort=True)
    return {
        "labels": list(map(str, names)),
        "of": numbers.tolist(),
        "ordered": ordered,
        **{g: ramp(len(names), g) if ordered else GROUPS[g][: len(names)] for g in GROUPS},
    }


def _sheet(thumbnails: np.ndarray) -> dict:
    """All thumbnails in one image, as large as fits into ``MOST_BYTES``."""
    from PIL import Image

    if thumbnails.dtype != np.uint8:
        thumbnails = np.uint8(np.round(np.clip(np.float32(thumbnails) / WHITE, 0, 1) * 255))
    columns = int(np.ceil(np.sqrt(len(thumbnails))))
    rows = -(-len(thumbnails) // columns)
    for side in SIDES:
        mode = "RGB" if thumbnails.ndim == 4 else "L"
        sheet = Image.new(mode, (columns * side, rows * side))
        for index, one in enumerate(thumbnails):
            small = Image.fromarray(one).resize((side, side), Image.Resampling.BOX)
            sheet.paste(small, (side * (index % columns), side * (index // columns)))
        content = io.BytesIO()
        sheet.save(content, format="WEBP", quality=55, method=2)
        if content.tell() <= MOST_BYTES:
            break
    address = f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"
    return {"image": address, "side": side, "columns": columns}


def _still(shown: HoverMap) -> Figure:
    """The map as it first appears, for where no script runs."""
    import seaborn as sns

    (name, points), *_ = shown.points.items()
    (title, labels), *_ = shown.groups.items()
    group = _group(labels)
    of = [group["labels"][number] for number in group["of"]]
    figure, axis = plt.subplots(figsize=(5.4, 4.4), layout="constrained")
    look = {"hue": of, "hue_order": group["labels"], "palette": group["light"], "ax": axis}
    x, y = np.transpose(points)
    sns.scatterplot(x=x, y=y, s=12, alpha=0.7, linewidth=0, **look)
    for selection, indices in list(shown.selections.items())[:1]:
        i = np.asarray(indices, int)
        axis.scatter(x[i], y[i], marker="D", facecolors="none", edgecolors="black")
        title += f"\n(diamonds: {selection})"
    axis.set(xticks=[], yticks=[], title=name, aspect="equal")
    sns.move_legend(axis, "center left", bbox_to_anchor=(1, 0.5), title=title, markerscale=1.4)
    plt.close(figure)
    return figure
