"""Maps of a folder: where every picture lies among the others, and which were chosen."""

import hashlib
import html
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from helpers.annotate.choose import Choice
from helpers.annotate.report import write_map
from helpers.annotate.sheet import short_name
from helpers.book.hover import HoverMap, ShownMap, show_hover_map, thin
from helpers.book.pictures import COLOURS, use_theme
from helpers.features.projection import project
from helpers.files import replacing, write_text

# Beyond this a map takes minutes, and nobody finds a point in the cloud.
MOST_POINTS = 2000
# More numbers on a map hide each other.
MOST_NUMBERS = 60
ALT = "Points in the plane, one per picture; similar pictures lie close together."


@dataclass(frozen=True)
class Placed:
    """Where candidates lie on a map.

    Attributes:
        kept: int64 (n,), ascending: which candidates are on it.
        points: float32 (n, 2).
    """

    kept: np.ndarray
    points: np.ndarray


def place(*choices: Choice) -> Placed:
    """Place all candidates by t-SNE or, of very many, the chosen ones and others at random.

    Kept beside the features, so that the same map is not computed twice.

    Args:
        choices: among the same candidates.
    """
    first = choices[0]
    total, seed = len(first.features), first.request.seed
    kept = thin(total, {str(i): one.chosen for i, one in enumerate(choices)}, MOST_POINTS, seed)
    features = np.ascontiguousarray(first.features[kept])
    key = hashlib.sha256(features.tobytes() + bytes([seed % 256])).hexdigest()[:16]
    path = first.request.output / "features" / f"map-{key}.npy"
    if not path.is_file():
        print("drawing the map ...", file=sys.stderr)
        placed = project(features, "tsne", seed)
        with replacing(path) as temporary, temporary.open("wb") as stream:
            np.save(stream, placed)
    return Placed(kept, np.load(path))


def draw_map(choice: Choice) -> Figure:
    """All candidates in grey, the chosen ones as numbered diamonds."""
    placed = place(choice)
    figure, axis = plt.subplots(figsize=(6.4, 5.6), layout="constrained")
    size = float(np.clip(8000 / len(placed.points), 3, 30))
    axis.scatter(*placed.points.T, s=size, color=COLOURS["grey"], alpha=0.5, linewidths=0)
    shown = [rank for rank, index in enumerate(choice.chosen) if index in placed.kept]
    chosen = placed.points[np.searchsorted(placed.kept, choice.chosen[shown])]
    axis.scatter(*chosen.T, s=42, marker="D", color=COLOURS["orange"], edgecolors="black")
    for rank, point in zip(shown[:MOST_NUMBERS], chosen, strict=False):
        axis.annotate(str(rank + 1), point, (4, 4), textcoords="offset points", fontsize=8)
    axis.set(xticks=[], yticks=[], title=_title(choice, placed))
    return figure


def _title(choice: Choice, placed: Placed) -> str:
    what = "patches" if choice.request.cut.size else "pictures"
    total = len(choice.candidates)
    share = f"{len(placed.kept):,} of {total:,}" if len(placed.kept) < total else f"{total:,}"
    return f"{share} {what} (t-SNE); chosen by {choice.request.method}"


def hover_map(*choices: Choice) -> HoverMap:
    """The map to be explored, of one or more choices among the same candidates."""
    placed = place(*choices)
    first = choices[0]
    candidates = [first.candidates[index] for index in placed.kept]
    folders = [one.file.rpartition("/")[0] or "(no subfolder)" for one in candidates]
    groups = {"size": [f"{one.height} x {one.width}" for one in candidates]}
    if 1 < len(set(folders)) <= len(COLOURS):
        groups = {"folder": folders, **groups}
    return HoverMap(
        points={"t-SNE": placed.points},
        thumbnails=first.survey.thumbnails[placed.kept],
        groups=groups,
        selections={
            one.request.method: np.flatnonzero(np.isin(placed.kept, one.chosen)) for one in choices
        },
        tooltips=[_tooltip(choices, index) for index in placed.kept],
    )


def _tooltip(choices: Sequence[Choice], index: int) -> str:
    ranks = [
        f"; rank {np.flatnonzero(one.chosen == index)[0] + 1} by {one.request.method}"
        for one in choices
        if index in one.chosen
    ]
    return short_name(choices[0].candidates[index]) + "".join(ranks)


def show_map(*choices: Choice, caption: str = "") -> ShownMap:
    """The map to be explored as a notebook output."""
    return show_hover_map(hover_map(*choices), ALT, caption)


def write_maps(choice: Choice) -> list[Path]:
    """Write ``map.csv``, ``map.png`` and ``map.html``, which needs no network."""
    use_theme()
    output = choice.request.output
    figure = draw_map(choice)
    with replacing(output / "map.png") as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight")
    plt.close(figure)
    title = f"{choice.request.folder.resolve().name}: which to annotate first"
    what = "patch" if choice.request.cut.size else "picture"
    shown = show_map(
        choice,
        caption=f"Every point is a {what}; similar ones lie close together. Point at one to see "
        f"it. Chosen by {choice.request.method}, features: {choice.request.features}.",
    )
    write_text(output / "map.html", _page(title, shown._repr_html_()))
    placed = place(choice)
    numbers = write_map(choice, placed.kept, placed.points)
    return [numbers, output / "map.png", output / "map.html"]


def _page(title: str, body: str) -> str:
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title>"
        "<style>body{font-family:sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "figure{margin:0}</style></head>"
        f"<body><h1>{html.escape(title)}</h1>{body}</body></html>\n"
    )
