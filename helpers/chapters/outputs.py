"""What a notebook leaves behind for its record: results table and the data it used."""

import json
import os
from pathlib import Path

import pandas as pd

from helpers.chapters.results import write_table
from helpers.files import write_json
from helpers.paths import runs_dir

VARIABLE = "BOOK_RUN_OUTPUT"


def output_folder(chapter: str) -> Path:
    """The run's folder, or one for interactive use when the notebook is run by hand."""
    chosen = os.environ.get(VARIABLE)
    folder = Path(chosen) if chosen else runs_dir() / "interactive" / chapter
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def save(chapter: str, table: pd.DataFrame, data: list[dict]) -> Path:
    """Keep a chapter's results table and the provenance of its data.

    Args:
        data: one entry per data set: name, source, complete, coverage, fingerprint.

    Returns:
        The path of ``results.csv``.
    """
    folder = output_folder(chapter)
    write_table(table, folder / "results.csv")
    write_json(folder / "data.json", data)
    return folder / "results.csv"


def read_data(folder: Path) -> list[dict]:
    """Provenance that a run left in its folder; empty if it failed before."""
    path = folder / "data.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
