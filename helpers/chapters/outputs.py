"""What a notebook leaves behind for its record: results table and the data it used."""

import os
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.book.results import IMAGES, OUTPUT_VARIABLE
from helpers.chapters.results import per_image, write_images, write_table
from helpers.files import write_json
from helpers.paths import runs_dir

VARIABLE = OUTPUT_VARIABLE


def output_folder(chapter: str) -> Path:
    """The run's folder, or one for interactive use when the notebook is run by hand."""
    chosen = os.environ.get(VARIABLE)
    folder = Path(chosen) if chosen else runs_dir() / "interactive" / chapter
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def save(
    chapter: str,
    table: pd.DataFrame,
    data: list[dict],
    models: list[dict],
    further: dict[str, Any] | None = None,
) -> Path:
    """Keep a chapter's results table, the provenance of its data and the work it took.

    Args:
        data: one entry per data set: name, source, complete, coverage, fingerprint.
        models: results of the chapter's trials; ``train_seconds`` of each are added up, whenever
            they were spent, so that a run that found its trials done does not look cheap. Where
            they say their condition, the values of single images are kept (see
            :func:`helpers.chapters.results.per_image`).
        further: plain values about the work that depend on the machine, as seconds do; they go
            into the record, not into the table.

    Returns:
        The path of ``results.csv``.
    """
    folder = output_folder(chapter)
    write_table(table, folder / "results.csv")
    images = per_image(models)
    if images is not None:
        write_images(images, folder / IMAGES)
    seconds = round(sum(model["train_seconds"] for model in models), 1)
    work = {"models": len(models), "train_seconds": seconds, **(further or {})}
    write_json(folder / "provenance.json", {"data": data, "work": work})
    return folder / "results.csv"
