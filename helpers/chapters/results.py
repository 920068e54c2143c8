"""Results tables: tidy, one row per number, the same columns everywhere."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from helpers.errors import DataError
from helpers.files import replacing, write_text
from helpers.paths import PROJECT

COLUMNS = [
    "chapter",
    "table",
    "source",
    "profile",
    "dataset_train",
    "dataset_test",
    "method",
    "rate",
    "seed",
    "metric",
    "value",
    "std",
    "n",
    "note",
]
# What is kept of every image.
IMAGE_METRICS = ("dice", "iou", "pq", "pq_paper", "foreground_dice", "ap_50", "aji")
FOLDER = PROJECT / "book" / "results"


def tidy(rows: list[dict]) -> pd.DataFrame:
    """Rows as a table with exactly the columns of :data:`COLUMNS`; what a row lacks is empty."""
    table = pd.DataFrame(rows)
    unknown = sorted(set(table.columns) - set(COLUMNS))
    if unknown:
        raise DataError(f"results table: unknown column(s) {', '.join(unknown)}")
    return table.reindex(columns=COLUMNS)


def read_table(path: Path) -> pd.DataFrame:
    """A results table from CSV.

    Raises:
        DataError: the columns are not those of :data:`COLUMNS`.
    """
    table = pd.read_csv(path, dtype={"table": str, "method": str, "note": str, "seed": "Int64"})
    if list(table.columns) != COLUMNS:
        raise DataError(f"{path}: columns are {list(table.columns)}; expected {COLUMNS}")
    return table


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a results table as CSV, whole or not at all."""
    write_text(path, table.to_csv(index=False, float_format="%.5g", lineterminator="\n"))


def baseline_models(models: Sequence[dict]) -> list[dict]:
    """What needs no training, as models of their own: one for each name and seed.

    Args:
        models: each with its seed and, under ``"baselines"``, rows by name and tested data.
    """
    found = {}
    for model in models:
        for name, tested in model.get("baselines", {}).items():
            known = {"method": name, "rate": None, "seed": model["seed"]}
            own = {**known, "condition": {"train": "", **known}, "tested": tested}
            found.setdefault((model["seed"], name), own)
    return list(found.values())


def per_image(models: Sequence[dict]) -> pd.DataFrame | None:
    """One row per model and tested image, what needs no training included.

    Args:
        models: each with a ``"condition"`` (train, method, rate in per cent, seed) and
            ``"tested"``, rows of :func:`helpers.experiments.prepared.image_row` by tested data.
            Of two models with the same condition, which are the same model, one is kept.

    Returns:
        Columns train, method, rate, seed, test, image, group, modality and
        :data:`IMAGE_METRICS`; ``None`` where models do not say their condition.
    """
    found = {}
    for model in [*models, *baseline_models(models)]:
        for test, rows in model.get("tested", {}).items():
            frame = pd.DataFrame(rows).rename(columns={"id": "image"}).assign(test=test)
            frame = frame.assign(**model["condition"])
            found.setdefault((*model["condition"].values(), test), frame)
    if not found:
        return None
    names = ["train", "method", "rate", "seed", "test", "image", "group", "modality"]
    return pd.concat(found.values(), ignore_index=True)[[*names, *IMAGE_METRICS]]


def write_images(table: pd.DataFrame, path: Path) -> None:
    """Write values of single images as gzipped CSV; equal tables give equal bytes."""
    text = table.to_csv(index=False, float_format="%.5g", lineterminator="\n")
    with replacing(path) as temporary:
        temporary.write_bytes(gzip.compress(text.encode(), mtime=0))


def published(*chapters: str) -> pd.DataFrame:
    """All published numbers that belong to the chapters."""
    return _gather(sorted((FOLDER / "published").glob("*.csv")), *chapters)


def recorded(chapter: str) -> pd.DataFrame:
    """All numbers of our own recorded runs of a chapter; empty if none was recorded yet."""
    table = _gather(sorted((FOLDER / "recorded").glob(f"{chapter}-*.csv")), chapter)
    return table.assign(source="recorded")


def recorded_name(profile: str) -> str:
    """A recorded run as pages call it."""
    return f"recorded, {profile}"


def by_source(chapter: str, this_run: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """All numbers of a chapter: published ones if there are any, every recorded profile, this run.

    A recorded run of each profile stands by itself.
    """
    known = published(chapter)
    profiles = recorded(chapter).groupby("profile", sort=False)
    found = {"published": known} if len(known) else {}
    return found | {recorded_name(n): rows for n, rows in profiles} | {"this run": this_run}


def recorded_data(chapter: str) -> list[dict]:
    """The data sets behind a chapter's recorded runs, with coverage, from their records."""
    return [data for record in _records(chapter) for data in record["data"]]


def recorded_work(chapter: str) -> dict:
    """What a chapter's recorded runs say of the work they took, by profile."""
    return {record["profile"]: record["work"] for record in _records(chapter)}


def _records(chapter: str) -> list[dict]:
    # The name of another chapter may begin with this one's.
    paths = sorted((FOLDER / "recorded").glob(f"{chapter}-*.json"))
    records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    return [record for record in records if record["chapter"] == chapter]


def recorded_files(chapter: str) -> list[Path]:
    """Every file under ``book/results`` that a chapter may read; part of its fingerprint."""
    return sorted(
        [*(FOLDER / "published").glob("*.csv"), *(FOLDER / "recorded").glob(f"{chapter}-*")]
    )


def _gather(paths: list[Path], *chapters: str) -> pd.DataFrame:
    # Files that are in the new form already are read by helpers.book.results.
    old = [path for path in paths if path.open().readline().strip().split(",") == COLUMNS]
    tables = [read_table(path) for path in old]
    tables = [table[table["chapter"].isin(chapters)] for table in tables]
    tables = [table for table in tables if len(table)]
    if not tables:
        return tidy([])
    return pd.concat(tables, ignore_index=True)
