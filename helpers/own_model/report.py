"""What a comparison leaves behind: tables, a record, and words about what was forgotten."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from helpers.files import write_csv, write_json
from helpers.metrics import bootstrap_interval
from helpers.own_model.checkpoint import CELLPOSE_WIDTH, Model
from helpers.own_model.retention import Comparison, Side
from helpers.text import aligned

TABLE, IMAGES, RECORD, FIGURE = "retention.csv", "images.csv", "retention.json", "retention.png"
SHOWN = {"dice": "Dice", "iou": "IoU", "pq": "PQ", "ap_50": "AP@0.5"}
# Below this a bootstrap interval is too narrow.
FEW = 10
# Factor between the size of objects and the diameter used beyond which it is worth a word.
FAR = 1.5
# Dice below which a model finds next to nothing.
FOUND = 0.02
ROLES = {"target": "new", "replay": "old"}


@dataclass(frozen=True)
class Row:
    """One metric on one data set.

    Attributes:
        dataset: name.  role: ``"target"``, ``"replay"`` or empty.  metric: name.
        before, after: means over the images that count, 0..1.
        drop: ``before - after``, positive is bad; low, high: its 95 % interval over images
            (paired bootstrap); NaN with one image.
        n: images that count.  excluded: images without objects in annotation and prediction.
    """

    dataset: str
    role: str
    metric: str
    before: float
    after: float
    drop: float
    low: float
    high: float
    n: int
    excluded: int


def rows_of(comparison: Comparison) -> list[Row]:
    """All rows, data set by data set."""
    return [_row(side, metric, comparison.seed) for side in comparison.sides for metric in SHOWN]


def _row(side: Side, metric: str, seed: int) -> Row:
    before, after = (
        np.array([row[metric] for row in rows], dtype=float) for rows in (side.before, side.after)
    )
    counted = ~np.isnan(before - after)
    n = int(counted.sum())
    numbers = [float("nan")] * 5
    if n:
        lost = (before - after)[counted]
        ends = bootstrap_interval(lost, np.random.default_rng([seed, 11]))
        numbers = [
            *(float(part[counted].mean()) for part in (before, after, before - after)),
            *ends,
        ]
    return Row(side.data.name, side.role, metric, *numbers, n, len(counted) - n)


def write_report(comparison: Comparison) -> list[Row]:
    """Write both tables and the record."""
    output, rows = comparison.output, rows_of(comparison)
    write_csv(output / TABLE, [asdict(row) for row in rows])
    write_csv(output / IMAGES, _images(comparison))
    write_json(output / RECORD, _record(comparison))
    return rows


def _images(comparison: Comparison) -> list[dict]:
    models = {"before": comparison.before, "after": comparison.after}
    return [
        {"dataset": side.data.name, "model": stage, "file": models[stage].name, **row}
        for side in comparison.sides
        for stage, measured in (("before", side.before), ("after", side.after))
        for row in measured
    ]


def _record(comparison: Comparison) -> dict:
    def told(model: Model) -> dict:
        names = ("source", "channels", "width", "diam_mean", "diam_labels", "digest")
        return {name: getattr(model, name) for name in names}

    return {
        "before": told(comparison.before),
        "after": told(comparison.after),
        "data": [
            {
                "name": side.data.name,
                "coverage": side.data.dataset.coverage,
                "fingerprint": side.data.dataset.fingerprint,
                "images": len(side.data.items),
                "diameters": side.diameters,
                "rescales": side.rescales,
            }
            for side in comparison.sides
        ],
        "seed": comparison.seed,
    }


def in_words(comparison: Comparison, rows: Sequence[Row]) -> str:
    """The table and a few sentences about it."""
    parts = [_table(rows)]
    for side in comparison.sides:
        dice = next(r for r in rows if (r.dataset, r.metric) == (side.data.name, "dice"))
        parts.append(_sentences(side, dice))
    parts.append(_scale(comparison))
    return "\n\n".join(part for part in parts if part)


def _table(rows: Sequence[Row]) -> str:
    head = ("data set", "metric", "images", "before", "after", "drop", "95 % interval")
    lines = [
        [_label(row), SHOWN[row.metric], row.n]
        + [f"{value:.3f}" for value in (row.before, row.after)]
        + [f"{row.drop:+.3f}", _interval(row)]
        for row in rows
    ]
    return aligned([head, *lines], right=range(2, 6))


def _label(row: Row) -> str:
    return f"{row.dataset} ({ROLES[row.role]})" if row.role else row.dataset


def _interval(row: Row) -> str:
    return f"{row.low:+.3f} to {row.high:+.3f}" if np.isfinite(row.low) else "one image: none"


def verdict(row: Row) -> str:
    """``"forgot"`` or ``"gained"`` if the interval of the drop leaves out 0, else ``"unclear"``."""
    if row.low > 0:
        return "forgot"
    return "gained" if row.high < 0 else "unclear"


def _sentences(side: Side, dice: Row) -> str:
    change = f"Dice went from {dice.before:.3f} to {dice.after:.3f}"
    told = {
        "forgot": f"{change}, a loss beyond the spread over images",
        "gained": f"{change}, a gain beyond the spread over images",
        "unclear": f"{change}; with these images that cannot be told from no change",
    }[verdict(dice)]
    text = f"{_label(dice)}: {told}."
    drops = [
        (before["dice"] - after["dice"], before["id"])
        for before, after in zip(side.before, side.after, strict=True)
    ]
    worst = max((one for one in drops if np.isfinite(one[0])), default=(0.0, ""))
    if len(drops) > 1 and worst[0] > 0:
        text += f" Most was lost on {worst[1]} ({worst[0]:.3f})."
    if dice.after < FOUND <= dice.before:
        text += " The later model finds next to nothing here."
    elif dice.after < FOUND:
        text += " Neither model finds anything here (too little training, or --diameter?)."
    if dice.n == 1:
        more = "hold out more (--test-share)" if side.role else "add others"
        text += f" One image tells nothing about the spread: {more}."
    if 1 < dice.n < FEW:
        text += f" {dice.n} images are few: the interval is too narrow."
    if dice.excluded:
        text += f" Left out: {dice.excluded} images without objects in annotation and prediction."
    for note in (side.data.merged, *side.data.notes):
        text += f" {note}" if note else ""
    if not side.data.dataset.complete:
        text += f" The data set is not complete here: {side.data.dataset.coverage}."
    return text


def _scale(comparison: Comparison) -> str:
    """With which diameters the models predicted, and where the objects have another size."""
    lines = []
    for side in comparison.sides:
        used = list(dict.fromkeys(
            f"{size:.3g} px (images resized by {factor:.3g})"
            for size, factor in zip(side.diameters, side.rescales, strict=True)
        ))  # fmt: skip
        sizes = [row["object_diameter"] for row in side.before]
        size = float(np.nanmedian(sizes)) if np.isfinite(sizes).any() else float("nan")
        text = f"Diameter used on {side.data.name}: {' before, after '.join(used)};"
        text += f" its annotated objects have a median of {size:.3g} px."
        # Of a foreground mask that would be the size of all objects together.
        far = any(max(size / one, one / size) > FAR for one in side.diameters)
        if far and not side.data.merged:
            option = "--replay-diameter" if side.role == "replay" else "--diameter"
            text += f" That is far apart: try {option} {size:.0f}."
        lines.append(text)
    return "\n".join(lines)


def how_to_load(comparison: Comparison) -> str:
    """How the fine-tuned checkpoint is used in Cellpose."""
    model = comparison.after
    if model.width != CELLPOSE_WIDTH:
        return (
            f"Model: {model.source}\nCellpose itself opens networks of width {CELLPOSE_WIDTH} "
            f"only; this one has {model.width} and can be used with the commands here."
        )
    one = model.channels == 1
    lines = [
        f"Model: {model.source}",
        "In Cellpose 3 (the same masks as here, with its defaults):",
        f'  model = cellpose.models.CellposeModel(pretrained_model="{model.source}"'
        f"{', nchan=1' if one else ''})",
        f"  masks, flows, styles = model.eval(image, "
        f"{'channels=None' if one else 'channels=[0, 0]'})",
    ]
    if one and not np.isclose(model.rescale(model.diam_labels), 1):
        lines.append(
            "  Cellpose 3.1 fails to resize images of one channel: resize them by "
            f"{model.rescale(model.diam_labels):.3g} before, and pass diameter={model.diam_mean:g}."
        )
    for side in comparison.sides:
        size = side.diameters[1]
        if not np.isclose(size, model.diam_labels):
            lines.append(f"  for images like {side.data.name}: eval(..., diameter={size:g})")
    return "\n".join(lines)
