"""Results tables of the chapters on few-shot cells.

In the column ``method`` stands the start, in ``rate`` the share of the training images in per cent,
in ``note`` the round or the setting that a row is about.
"""

from collections.abc import Mapping

import pandas as pd

from helpers.chapters.cells.run import Data

SHOWN = {
    "box_ap": "box AP",
    "box_ap_50": "box AP50",
    "box_ap_75": "box AP75",
    "mask_ap": "mask AP",
    "mask_ap_50": "mask AP50",
    "mask_ap_75": "mask AP75",
}
# What is kept of a round besides its scores on the source.
_OF_ROUND = ("moved", "distance", "anchor_norm")


def data_rows(data: Data) -> list[dict]:
    """Images of each part (``value``) and objects in them (``n``), by data set."""
    kinds = dict.fromkeys(data.cells, "cells") | {task.name: "source" for task in data.sources}
    return [
        {
            "table": "data",
            "dataset_train": task.name,
            "method": kinds[task.name],
            "metric": f"{part} images",
            "value": images,
            "n": objects,
        }
        for task in (*data.cells.values(), *data.sources)
        for part, (images, _, objects) in task.counts.items()
    ]


def score_rows(common: dict, found: dict) -> list[dict]:
    """Average precision and recall of one fine-tuned detector; ``n``: images trained on."""
    return [
        common | {"table": "scores", "metric": name, "value": value, "n": found["n_images"]}
        for name, value in found["scores"].items()
        if value is not None
    ]


def round_rows(common: dict, result: dict) -> list[dict]:
    """What every round of an alternation did; scores on the source before it are of round 0."""
    rows = _round(common, 0, {f"source {n}": v for n, v in result["start_scores"].items()})
    for number, one in enumerate(result["rounds"], 1):
        known = {name: one[name] for name in _OF_ROUND}
        for name in ("contrast_losses", "matches", "source_losses"):
            if one[name]:
                known[name] = sum(one[name]) / len(one[name])
        known |= {f"source {n}": v for n, v in one["source_scores"].items()}
        rows += _round(common, number, known)
    return rows


def _round(common: dict, number: int, values: Mapping[str, float]) -> list[dict]:
    return [
        common | {"table": "rounds", "metric": name, "value": value, "note": str(number)}
        for name, value in values.items()
    ]


def rounds_of(table: pd.DataFrame, method: str, metric: str) -> pd.Series:
    """A metric by round."""
    rows = table[
        (table["table"] == "rounds") & (table["method"] == method) & (table["metric"] == metric)
    ]
    return pd.Series(
        rows["value"].astype(float).to_numpy(), index=rows["note"].astype(float).astype(int)
    ).sort_index()
