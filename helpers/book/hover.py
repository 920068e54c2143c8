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
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from helpers.book.pictures import COLOURS, GROUPS, csv_link, picture, ramp
from helpers.errors import ParameterError

# Patches are scaled to about 0..1; this leaves room for the brightest.
WHITE = 1.2
SCRIPT = Path(__file__).with_suffix(".js")
STYLE = Path(__file__).with_suffix(".css")
# More points than this are a cloud in which nobody finds one, and a page that loads slowly.
MOST_POINTS = 3000
# The sheet of thumbnails takes at most this; as text it grows by a third.
MOST_BYTES = 1_000_000
SIDES = (96, 80, 64, 56, 48, 40, 32, 24, 16)


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
        if not (n and self.points and self.groups):
            raise ParameterError(
                f"map of {n} points, {len(self.points)} projection(s) and {len(self.groups)} "
                "grouping(s): expected at least one of each"
            )
        for name, points in self.points.items():
            if np.shape(points) != (n, 2) or not np.isfinite(points).all():
                raise ParameterError(
                    f"points[{name!r}] of shape {np.shape(points)}: expected ({n}, 2), finite"
                )
        for name, labels in {"thumbnails": self.thumbnails, **self.groups}.items():
            if len(labels) != n:
                raise ParameterError(f"{name}: {len(labels)} entries for {n} points")
        for name, indices in self.selections.items():
            if len(indices) and not 0 <= np.min(indices) <= np.max(indices) < n:
                raise ParameterError(f"selections[{name!r}]: expected indices from 0 to {n - 1}")


def thin(n: int, selections: Mapping[str, np.ndarray], limit: int, seed: int = 0) -> np.ndarray:
    """Which of n points to draw where that is too many: the chosen ones first, then at random.

    Chosen ones take at most half of the places, so that what they were chosen from stays in sight.

    Returns:
        int64, ascending; all points if there are no more than ``limit``.
    """
    if n <= limit:
        return np.arange(n)
    order = np.random.default_rng(seed).permutation(n)
    chosen = np.zeros(n, dtype=bool)
    for indices in selections.values():
        chosen[np.asarray(indices, dtype=np.int64)] = True
    first = order[chosen[order]][: limit // 2]
    rest = order[~np.isin(order, first)][: limit - len(first)]
    return np.sort(np.concatenate([first, rest]))


def restrict(shown: HoverMap, kept: np.ndarray) -> HoverMap:
    """The map with only the points ``kept``, ascending indices."""
    kept = np.asarray(kept, dtype=np.int64)
    return replace(
        shown,
        points={name: np.asarray(points)[kept] for name, points in shown.points.items()},
        thumbnails=shown.thumbnails[kept],
        groups={name: [labels[i] for i in kept] for name, labels in shown.groups.items()},
        selections={
            name: np.flatnonzero(np.isin(kept, indices))
            for name, indices in shown.selections.items()
        },
        tooltips=[shown.tooltips[i] for i in kept],
    )


class ShownMap:
    """A map as a notebook output."""

    def __init__(self, shown: HoverMap, alt: str, caption: str) -> None:
        payload = {"alt": alt, **_payload(shown)}
        # "<" would end the script, wherever it comes from.
        self._data = json.dumps(payload, separators=(",", ":")).replace("<", "\\u003c")
        self._still, _ = picture(_still(shown))
        self._alt, self._caption = alt, caption
        self._link = csv_link(table_of(shown), "map.csv")

    def _repr_html_(self) -> str:
        key = hashlib.sha256(self._data.encode()).hexdigest()[:12]
        script = SCRIPT.read_text(encoding="utf-8").strip()
        return (
            f'<figure class="book-figure book-hover" data-hover-map="{key}">'
            f"<style>{STYLE.read_text(encoding='utf-8')}</style>"
            f'<div class="book-picture book-hover-still"><img src="{self._still}" '
            f'alt="{html.escape(self._alt)}"></div>'
            '<div class="book-hover-live" hidden></div>'
            f"<figcaption>{html.escape(self._caption)} {self._link}</figcaption>"
            f'<script>{script}("{key}",{self._data});</script></figure>'
        )


def show_hover_map(
    shown: HoverMap, alt: str, caption: str, limit: int = MOST_POINTS, seed: int = 0
) -> ShownMap:
    """Turn a map into the notebook's output.

    Args:
        alt: what a person who cannot see the map should know.
        caption: what is shown, with profile and data; how many points are drawn is added where
            they are not all.
        limit: at most this many points are drawn (see :func:`thin`).
        seed: of the draw.
    """
    total = len(shown.tooltips)
    kept = thin(total, shown.selections, limit, seed)
    if len(kept) < total:
        shown = restrict(shown, kept)
        caption += f" Drawn: {len(kept):,} of {total:,}, the chosen ones first, others at random."
    return ShownMap(shown, alt, caption)


def table_of(shown: HoverMap) -> pd.DataFrame:
    """The map's numbers: one row per point, with places, groups and who chose it."""
    columns = {"point": list(shown.tooltips)}
    for name, points in shown.points.items():
        columns |= {f"{name} x": np.asarray(points)[:, 0], f"{name} y": np.asarray(points)[:, 1]}
    columns |= {name: list(labels) for name, labels in shown.groups.items()}
    everyone = np.arange(len(shown.tooltips))
    for name, indices in shown.selections.items():
        columns[f"chosen by {name}"] = np.isin(everyone, indices).astype(int)
    table = pd.DataFrame(columns)
    places = table.select_dtypes("floating").columns
    return table.assign(**{name: table[name].map("{:.4g}".format) for name in places})


def _payload(shown: HoverMap) -> dict:
    return {
        "points": {name: _whole(points) for name, points in shown.points.items()},
        "groups": {name: _group(labels) for name, labels in shown.groups.items()},
        "selections": {
            name: np.asarray(indices, dtype=np.int64).tolist()
            for name, indices in shown.selections.items()
        },
        "tooltips": list(shown.tooltips),
        "sheet": _sheet(shown.thumbnails),
    }


def _whole(points: np.ndarray) -> list[int]:
    """x, y, x, y, ...: thousandths of the map's side, y downwards, proportions kept."""
    points = np.asarray(points, dtype=np.float64) * (1, -1)
    middle = (points.max(axis=0) + points.min(axis=0)) / 2
    extent = np.ptp(points, axis=0).max() or 1.0
    return np.round(500 + 1000 * (points - middle) / extent).astype(int).ravel().tolist()


def _group(labels: Sequence) -> dict:
    """Labels, the number of each point's label, and their colours on either ground."""
    values = np.asarray(labels)
    ordered = values.dtype.kind in "iu"
    if ordered:
        names, numbers = _ranges(values)
    else:
        merged = _merge_rare(values.astype(str), len(COLOURS))
        names, numbers = np.unique(merged, return_inverse=True)
    shades = {
        ground: ramp(len(names), ground) if ordered else GROUPS[ground][: len(names)]
        for ground in GROUPS
    }
    return {
        "labels": list(map(str, names)),
        "of": numbers.tolist(),
        "ordered": ordered,
        **shades,
    }


def _ranges(values: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Labels and the number of each value's label: single numbers, or about ten even ranges."""
    names, numbers = np.unique(values, return_inverse=True)
    if len(names) > 12:
        edges = np.unique(np.quantile(values, np.linspace(0.1, 0.9, 9), method="higher"))
        _, numbers = np.unique(np.searchsorted(edges, values, side="right"), return_inverse=True)
    labels = []
    for number in range(numbers.max() + 1):
        own = values[numbers == number]
        labels.append(f"{own.min()}" if own.min() == own.max() else f"{own.min()} to {own.max()}")
    return labels, numbers


def _merge_rare(values: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` different texts: the rarest become "others"."""
    names, counts = np.unique(values, return_counts=True)
    if len(names) <= most:
        return values
    kept = names[np.argsort(-counts, kind="stable")[: most - 1]]
    return np.where(np.isin(values, kept), values, "others")


def _sheet(thumbnails: np.ndarray) -> dict:
    """All thumbnails in one image, as large as fits into ``MOST_BYTES``."""
    n = len(thumbnails)
    columns = int(np.ceil(np.sqrt(n)))
    for side in SIDES:
        # Rough lower bound: does not try what cannot fit.
        if n * side**2 * 0.02 > MOST_BYTES and side > SIDES[-1]:
            continue
        content = _encode(thumbnails, side, columns)
        if len(content) <= MOST_BYTES:
            break
    address = f"data:image/webp;base64,{base64.b64encode(content).decode()}"
    return {"image": address, "side": side, "columns": columns}


def _encode(thumbnails: np.ndarray, side: int, columns: int) -> bytes:
    from PIL import Image

    rows = -(-len(thumbnails) // columns)
    mode = "RGB" if thumbnails.ndim == 4 else "L"
    sheet = Image.new(mode, (columns * side, rows * side))
    for index, thumbnail in enumerate(thumbnails):
        small = Image.fromarray(_eight_bits(thumbnail)).resize((side, side), Image.Resampling.BOX)
        sheet.paste(small, (side * (index % columns), side * (index // columns)))
    buffer = io.BytesIO()
    sheet.save(buffer, format="WEBP", quality=55, method=2)
    return buffer.getvalue()


def _eight_bits(thumbnail: np.ndarray) -> np.ndarray:
    thumbnail = np.asarray(thumbnail)
    if thumbnail.dtype == np.uint8:
        return thumbnail
    return np.uint8(np.round(np.clip(np.float32(thumbnail) / WHITE, 0, 1) * 255))


def _still(shown: HoverMap) -> Figure:
    """The map as it first appears, for where no script runs."""
    name, points = next(iter(shown.points.items()))
    title, labels = next(iter(shown.groups.items()))
    group = _group(labels)
    figure, axis = plt.subplots(figsize=(5.4, 4.4), layout="constrained")
    numbers, shades = np.array(group["of"]), np.array(group["light"])
    for number, label in enumerate(group["labels"]):
        own = np.asarray(points)[numbers == number]
        axis.scatter(*own.T, s=9, color=shades[number], alpha=0.7, label=label, linewidths=0)
    for selection, indices in list(shown.selections.items())[:1]:
        chosen = np.asarray(indices, dtype=np.int64)
        look = {"marker": "D", "s": 34, "c": shades[numbers[chosen]], "edgecolors": "black"}
        axis.scatter(*np.asarray(points)[chosen].T, label=f"chosen: {selection}", **look)
    axis.set(xticks=[], yticks=[], title=name, aspect="equal")
    axis.legend(title=title, loc="center left", bbox_to_anchor=(1, 0.5), markerscale=1.4)
    plt.close(figure)
    return figure
