"""Results: a tidy table with free columns, the values of single images behind it, and cells.

A results table has one row per number. The columns ``table``, ``metric``, ``value`` and ``seed``
are always there (``seed`` is empty where a source has none); every further column is whatever the
table is about, under its own name: ``train``, ``test``, ``method``, ``rate`` (a share of the data
in per cent), ``step``, ... A column that does not apply to a row is empty.

Where images were tested, a second frame holds what each model scored on each image: the same
columns, ``image``, ``group`` (images of a group are not independent: one patient, one field of
view), ``modality`` where a set mixes several, and one column per metric.
"""

import base64
import gzip
import html
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.errors import DataError
from helpers.files import replacing, write_json, write_text
from helpers.paths import PROJECT, runs_dir

REQUIRED = ("table", "metric", "value", "seed")
OF_IMAGE = ("image", "group", "modality")
FOLDER = PROJECT / "book" / "results"
RESULTS, IMAGES, PROVENANCE = "results.csv", "images.csv.gz", "provenance.json"
# The folder that a running notebook leaves its numbers in.
OUTPUT_VARIABLE = "BOOK_RUN_OUTPUT"
# Random weights of test groups in an interval; the same for every source, so that pages agree.
DRAWS, DRAW_SEED = 1000, 0
# Under this number a published value without seeds stands among the seeds.
NO_SEED = -1


class Cells:
    """The numbers of one source, as cells: series by seed that can be added and subtracted.

    ``c("dice", train="source", test="target")`` is the series of the rows in which ``train`` and
    ``test`` have these values; arithmetic between two cells pairs their seeds. A value may be a
    list: then rows of any of its entries are averaged within each seed.

    Attributes:
        table: results table.
        images: values of single images; may be empty.
        printed: whether a paper printed these numbers, without seeds.
        draws: 0, and a cell is a series by seed; otherwise a frame with one row per seed, whose
            column 0 holds the same numbers and whose columns 1 ... ``draws`` hold them with the
            test groups randomly reweighted (for :func:`helpers.book.claims.judge`).
    """

    def __init__(
        self,
        table: pd.DataFrame,
        images: pd.DataFrame | None = None,
        printed: bool = False,
        draws: int = 0,
    ) -> None:
        self.table = table
        self.images = pd.DataFrame() if images is None else images
        self.printed = printed
        self.draws = draws

    def with_draws(self, draws: int = DRAWS) -> "Cells":
        """The same numbers, with reweighted ones beside them."""
        return Cells(self.table, self.images, self.printed, draws)

    def __call__(self, metric: str, **conditions: Any) -> Any:
        """One cell.

        Args:
            metric: as in the column ``metric``.
            conditions: column and value; a list of values averages over them, ``None`` asks for an
                empty field, an ellipsis for any. The other columns must not vary within a seed.

        Returns:
            Series by seed (a frame if there are draws); empty where the source has no such rows.

        Raises:
            DataError: several rows of a seed answer to the conditions, and no list asks for that.
        """
        found = self._of_images(metric, conditions) if self.draws else None
        if found is not None:
            return found
        rows = rows_where(self.table[self.table["metric"] == metric], conditions)
        self._refuse_ambiguous(rows, metric, conditions)
        cell = rows.groupby(rows["seed"].fillna(NO_SEED))["value"].mean().astype(float)
        if not self.draws:
            return cell
        wide = np.repeat(cell.to_numpy()[:, None], self.draws + 1, axis=1)
        return pd.DataFrame(wide, index=cell.index)

    def values(self, column: str, **conditions: Any) -> list:
        """The distinct values of a column among the rows that meet the conditions, ascending."""
        rows = rows_where(self.table, conditions)
        return sorted(rows[column].dropna().unique()) if column in rows else []

    def where(self, **conditions: Any) -> pd.DataFrame:
        """The rows of the results table that meet the conditions, for figures and tables."""
        return rows_where(self.table, conditions)

    @staticmethod
    def _refuse_ambiguous(rows: pd.DataFrame, metric: str, conditions: dict[str, Any]) -> None:
        listed = [name for name, wanted in conditions.items() if _is_list(wanted) or wanted is ...]
        if not rows.duplicated(["seed", *[name for name in listed if name in rows]]).any():
            return
        free = [c for c in rows if c not in ("value", "std", "n", "seed", *conditions)]
        varying = {
            c: rows[c].unique()[:4].tolist() for c in free if rows[c].nunique(dropna=False) > 1
        }
        raise DataError(
            f"cell {metric!r} {conditions}: several rows of one seed. They differ in "
            f"{varying or 'nothing'}: name one value, or list those to average over"
        )

    def _of_images(self, metric: str, conditions: dict[str, Any]) -> pd.DataFrame | None:
        """Weighted means over images, or ``None`` where single images do not tell this metric."""
        if metric not in self.images:
            return None
        rows = rows_where(self.images, conditions)
        rows = rows[rows[metric].notna()]
        if rows.empty:
            return None
        listed = [name for name, wanted in conditions.items() if _is_list(wanted) or wanted is ...]
        keys = [rows["seed"].fillna(NO_SEED), *[rows[name] for name in listed if name in rows]]
        places, weights = self._weights
        columns = weights[:, places.get_indexer(_groups(rows))]
        index = pd.MultiIndex.from_arrays(keys) if len(keys) > 1 else pd.Index(keys[0])
        codes, cells = index.factorize()
        member = np.zeros((len(cells), len(rows)))
        member[codes, np.arange(len(rows))] = 1
        sums = (member * rows[metric].to_numpy(float)) @ columns.T
        means = pd.DataFrame(sums / (member @ columns.T), index=cells)
        return means.groupby(level=0).mean()

    @cached_property
    def _weights(self) -> tuple[pd.Index, np.ndarray]:
        """Test groups, and their weights: first all 1, then exponential (Rubin 1981)."""
        groups = pd.Index(_groups(self.images).unique())
        rng = np.random.default_rng(DRAW_SEED)
        drawn = rng.exponential(size=(self.draws, len(groups)))
        return groups, np.vstack([np.ones(len(groups)), drawn])


def mean_of(cells: Sequence[Any]) -> Any:
    """Mean of cells seed by seed; empty if there are none."""
    return sum(cells) / len(cells) if cells else pd.Series(dtype=float)


def best_on_other_seeds(cells: Sequence[Any]) -> Any:
    """For each seed the cell that is best by the mean over the *other* seeds.

    "The best of several" chosen by the very seeds that it is judged by is the luckiest of them.
    This one is not, on average; but seeds share their choice, so that a 95 % interval is a little
    narrow: where nothing differs, Student's held zero in 90 to 93 % of simulations (five seeds, two
    to nine cells with one reference).

    Args:
        cells: series or frames by seed, as :class:`Cells` gives them; empty ones do not count.

    Returns:
        One such cell; the only one if there is one; empty if there is none, or of several if
        seeds are fewer than two.
    """
    cells = [cell for cell in cells if len(cell)]
    if not cells:
        return pd.Series(dtype=float)
    first = cells[0]
    if len(cells) == 1:
        return first
    shared = sorted(set.intersection(*(set(cell.index) for cell in cells)))
    if len(shared) < 2:
        return first.iloc[:0]
    values = np.stack([cell.loc[shared].to_numpy(float) for cell in cells])
    chosen = (values.sum(axis=1, keepdims=True) - values).argmax(axis=0)
    best = np.take_along_axis(values, chosen[None], axis=0)[0]
    return type(first)(best, index=shared)


def smallest_on_other_seeds(cells: Sequence[Any]) -> Any:
    """For each seed the cell that is smallest over the others: :func:`best_on_other_seeds`."""
    return -best_on_other_seeds([-cell for cell in cells])


def rows_where(rows: pd.DataFrame, conditions: Mapping[str, Any]) -> pd.DataFrame:
    """The rows of a frame that meet conditions as those of :class:`Cells`."""
    kept = np.ones(len(rows), bool)
    for column, wanted in conditions.items():
        if wanted is not ...:
            held = rows[column] if column in rows else pd.Series(np.nan, rows.index)
            kept &= _matches(held, wanted)
    return rows[kept]


def _groups(images: pd.DataFrame) -> pd.Series:
    """A name for each image's group that is its own in every test set."""
    test = images["test"].astype(str) if "test" in images else ""
    return test + "\0" + images["group"].astype(str)


def _is_list(wanted: Any) -> bool:
    return isinstance(wanted, list | tuple | set | frozenset)


def _matches(held: pd.Series, wanted: Any) -> np.ndarray:
    if _is_list(wanted):
        return np.logical_or.reduce([_matches(held, one) for one in wanted] or [held != held])
    if wanted is None:
        return held.isna().to_numpy()
    if isinstance(wanted, int | float) and not isinstance(wanted, bool):
        numbers = pd.to_numeric(held, errors="coerce").to_numpy(float)
        return np.isclose(numbers, wanted, rtol=1e-6, atol=1e-9)
    return (held == wanted).to_numpy()


# -------------------------------------------------------------------------- making tables


# What is kept of every tested image where instances are asked for.
INSTANCE_METRICS = (
    *("iou", "dice", "precision", "recall", "accuracy", "pq_paper"),
    *("pq", "ap_50", "aji", "foreground_dice"),
)


def images_of(
    parts: Iterable[tuple[dict[str, Any], list[dict]]], metrics: Sequence[str] = INSTANCE_METRICS
) -> pd.DataFrame:
    """Values of single images as one frame.

    Args:
        parts: for each model and test set the columns that tell them apart, and one row per image
            with ``id``, ``group``, the metrics and, where a set mixes several, ``modality``.
        metrics: to keep.
    """
    kept = ["id", *OF_IMAGE[1:], *metrics]
    frames = [
        pd.DataFrame(rows).reindex(columns=kept).rename(columns={"id": "image"}).assign(**columns)
        for columns, rows in parts
    ]
    found = joined(frames)
    return found[[c for c in found if c not in (*OF_IMAGE, *metrics)] + [*OF_IMAGE, *metrics]]


def table_of(
    images: pd.DataFrame, metrics: Sequence[str] = INSTANCE_METRICS, by: Sequence[str] = ()
) -> pd.DataFrame:
    """The results table of tested images: mean, deviation and number of images for each model.

    Args:
        images: of :func:`images_of`; an undefined value (nan) does not count.
        metrics: columns to summarise.
        by: columns of the images that split the test set further, such as ``"modality"``.

    Returns:
        The columns that tell models and test sets apart, those of ``by``, and ``metric``,
        ``value``, ``std`` (over images), ``n``.
    """
    keys = [c for c in images if c not in (*OF_IMAGE, *metrics)] + list(by)
    long = images.melt(keys, list(metrics), "metric", "value").dropna(subset="value")
    grouped = long.groupby([*keys, "metric"], sort=False, dropna=False)["value"]
    spread = grouped.std(ddof=0).rename("std")
    return pd.concat([grouped.mean(), spread, grouped.size().rename("n")], axis=1).reset_index()


def joined(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Several tables as one; what a row lacks is empty."""
    kept = [part for part in parts if len(part)]
    return pd.concat(kept, ignore_index=True) if kept else pd.DataFrame(columns=list(REQUIRED))


# -------------------------------------------------------------------------- files


def read_table(path: Path) -> pd.DataFrame:
    """A results table from CSV.

    Raises:
        DataError: a required column is missing, or the file is no table.
    """
    try:
        table = pd.read_csv(path, dtype={"table": str, "method": str, "seed": "Int64"})
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: not a results table ({error})") from error
    missing = [name for name in REQUIRED if name not in table]
    if missing:
        raise DataError(f"{path}: no column {', '.join(missing)}; found {list(table.columns)}")
    return table


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a results table as CSV, whole or not at all; the required columns come first."""
    order = [*REQUIRED, *[name for name in table if name not in REQUIRED]]
    text = table[order].to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_text(path, text)


def read_images(path: Path) -> pd.DataFrame:
    """Values of single images from a gzipped CSV; an empty frame if there is no such file."""
    if not path.is_file():
        return pd.DataFrame()
    text = dict.fromkeys((*OF_IMAGE, "table", "method"), str)
    return pd.read_csv(path, dtype={**text, "seed": "Int64"})


def write_images(images: pd.DataFrame, path: Path) -> None:
    """Write values of single images, gzipped; equal values give equal bytes."""
    text = images.to_csv(index=False, float_format="%.5g", lineterminator="\n")
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as stream:
        stream.write(text.encode())
    with replacing(path) as temporary:
        temporary.write_bytes(packed.getvalue())


def csv_link(table: pd.DataFrame, name: str) -> str:
    """A link that holds the table itself, so that it works without a network and without files."""
    numbers = base64.b64encode(table.to_csv(index=False).encode()).decode()
    return (
        f'<a class="book-csv" download="{html.escape(name)}" href="data:text/csv;base64,{numbers}">'
        "Numbers as CSV</a>"
    )


def output_folder(chapter: str) -> Path:
    """The run's folder, or one for interactive use when the notebook is run by hand."""
    chosen = os.environ.get(OUTPUT_VARIABLE)
    folder = Path(chosen) if chosen else runs_dir() / "interactive" / chapter
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def save(
    chapter: str,
    table: pd.DataFrame,
    data: list[dict],
    models: Sequence[dict],
    images: pd.DataFrame | None = None,
    further: dict[str, Any] | None = None,
) -> Cells:
    """Keep a chapter's numbers, the provenance of its data and the work they took.

    Args:
        data: one entry per data set: name, source, complete, coverage, fingerprint.
        models: results of the chapter's trials; ``train_seconds`` of each are added up, whenever
            they were spent, so that a run that found its trials done does not look cheap.
        images: values of single images, where images were tested.
        further: plain values about the work that depend on the machine, as seconds do.

    Returns:
        The numbers of this run, as every other source is read.
    """
    folder = output_folder(chapter)
    write_table(table, folder / RESULTS)
    if images is not None:
        write_images(images, folder / IMAGES)
    seconds = round(sum(model["train_seconds"] for model in models), 1)
    work = {"models": len(models), "train_seconds": seconds, **(further or {})}
    write_json(folder / PROVENANCE, {"data": data, "work": work})
    return Cells(table, images)


def read_provenance(folder: Path) -> dict:
    """Data and work that a run left in its folder; both empty if it failed before."""
    path = folder / PROVENANCE
    if not path.is_file():
        return {"data": [], "work": {}}
    return json.loads(path.read_text(encoding="utf-8"))


# -------------------------------------------------------------------------- sources


def published(*files: str) -> Cells:
    """Transcribed numbers of the papers.

    Args:
        files: names under ``book/results/published``, without ``.csv``.
    """
    tables = [read_table(FOLDER / "published" / f"{name}.csv") for name in files]
    return Cells(joined(tables), printed=True)


def recorded(chapter: str) -> dict[str, Cells]:
    """Our recorded runs of a chapter by name; that of the profile ``real`` is ``"recorded"``."""
    found = {}
    for path in recorded_files(chapter):
        profile = path.stem.removeprefix(f"{chapter}-")
        name = "recorded" if profile == "real" else f"recorded, {profile.removeprefix('real-')}"
        found[name] = Cells(read_table(path), read_images(path.with_name(f"{path.stem}-{IMAGES}")))
    return found


def recorded_files(chapter: str) -> list[Path]:
    """Tables of a chapter's recorded runs; each has its record, and its images, beside it."""
    records = sorted((FOLDER / "recorded").glob(f"{chapter}-*.json"), key=lambda path: path.stem)
    # The name of another chapter may begin with this one's.
    own = [path for path in records if json.loads(path.read_text())["chapter"] == chapter]
    return [path.with_suffix(".csv") for path in own]


def files_read_by(chapter: str) -> list[Path]:
    """Every file under ``book/results`` that a chapter may read; part of its fingerprint."""
    own = (FOLDER / "recorded").glob(f"{chapter}-*")
    return sorted([*(FOLDER / "published").glob("*.csv"), *own])


def sources(chapter: str, this_run: Cells, printed: Cells | None = None) -> dict[str, Cells]:
    """All numbers of a chapter: what the paper printed, every recorded run, this run."""
    first = {"published": printed} if printed is not None else {}
    return first | recorded(chapter) | {"this run": this_run}


def main_source(found: dict[str, Cells]) -> str:
    """The source from which a page draws its words: the recorded run where there is one."""
    return next((name for name in found if name.startswith("recorded")), "this run")


def stacked(found: dict[str, Cells], **conditions: Any) -> pd.DataFrame:
    """Rows of all sources that meet the conditions, with the column ``source``: for figures."""
    rows = [cells.where(**conditions).assign(source=name) for name, cells in found.items()]
    return joined(rows)


def records(chapter: str) -> list[dict]:
    """The records of a chapter's recorded runs."""
    paths = [path.with_suffix(".json") for path in recorded_files(chapter)]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]
