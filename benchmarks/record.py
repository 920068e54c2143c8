"""What all benchmarks share: what one is, the machine it ran on, printing it and keeping it.

A benchmark is a list of rows. ``--record`` writes them as ``NAME.csv`` and what is known of the run
as ``NAME.json`` to ``book/results/recorded/benchmarks``, where the book's performance page finds
them; without it they are only printed.
"""

import argparse
import json
import platform
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.book.records import describe_device, git_state
from helpers.files import write_json, write_text
from helpers.paths import PROJECT

FOLDER = PROJECT / "book" / "results" / "recorded" / "benchmarks"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark says of itself.

    Attributes:
        name: of the files it is kept in.
        title: heading on the page.
        about: what was timed against what, and how.
        floor: what the floor stands for; empty where there is none.
        columns: heading of every column, by key.
        packages: whose versions matter.
        split_by: columns that divide the rows into tables.
    """

    name: str
    title: str
    about: str
    floor: str
    columns: dict[str, str]
    packages: tuple[str, ...]
    split_by: tuple[str, ...] = ()


def add_options(parser: argparse.ArgumentParser) -> None:
    """``--record``, the same for every benchmark."""
    where = FOLDER.relative_to(PROJECT).as_posix()
    parser.add_argument(
        "--record", action="store_true", help=f"keep the rows in {where} for the performance page"
    )


def finish(
    benchmark: Benchmark,
    rows: Iterable[Row],
    record: bool,
    threads: int,
    packages: Mapping[str, str] | None = None,
) -> None:
    """Print all rows, and keep them if ``record``.

    Args:
        rows: dictionaries whose keys are among the columns; what one lacks stays empty.
        threads: that each contestant could use.
        packages: versions of packages outside this environment.
    """
    table = pd.DataFrame(list(rows), columns=list(benchmark.columns))
    floor = f"Floor: {benchmark.floor}\n" if benchmark.floor else ""
    print(f"\n{benchmark.title}\n{benchmark.about}\n{floor}")
    for heading, part in _parts(benchmark, table):
        print(heading)
        part = part.dropna(axis=1, how="all").rename(columns=benchmark.columns)
        print(part.to_string(index=False, na_rep="", float_format=lambda x: f"{x:,.3g}"), "\n")
    if record:
        known = _machine(threads) | {"packages": _versions(benchmark) | dict(packages or {})}
        _keep(benchmark, table, known)
        print(f"Recorded in {FOLDER}")


def _keep(benchmark: Benchmark, table: pd.DataFrame, known: dict[str, Any]) -> None:
    """Write rows and what is known of the run; recorded tables that this run did not touch stay.

    A long benchmark can so be recorded in parts, one size at a time. What stays from earlier runs
    is named in ``earlier``, with their commands and times.
    """
    rows, facts = FOLDER / f"{benchmark.name}.csv", FOLDER / f"{benchmark.name}.json"
    keys = list(benchmark.split_by)
    if keys and rows.is_file() and facts.is_file():
        old = pd.read_csv(rows).reindex(columns=table.columns)
        same = pd.MultiIndex.from_frame(old[keys]).isin(pd.MultiIndex.from_frame(table[keys]))
        if not same.all():
            before = json.loads(facts.read_text(encoding="utf-8"))
            table = pd.concat([old[~same], table], ignore_index=True).sort_values(
                keys, key=_known_order, kind="stable"
            )
            run = {name: before[name] for name in ("command", "started", "git") if name in before}
            known["earlier"] = [*before.get("earlier", []), run]
    write_text(rows, table.to_csv(index=False, float_format="%.6g"))
    write_json(facts, asdict(benchmark) | known)


def _known_order(column: pd.Series) -> pd.Series:
    """Numbers by size, words in the order in which they came."""
    if pd.api.types.is_numeric_dtype(column):
        return column
    return pd.Series(pd.factorize(column)[0], index=column.index)


def progress(text: str) -> None:
    """A line on stderr, so that stdout holds the tables alone."""
    print(text, file=sys.stderr, flush=True)


def _parts(benchmark: Benchmark, table: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
    if not benchmark.split_by or table.empty:
        return [("", table)]
    keys = list(benchmark.split_by)
    return [
        (
            ", ".join(f"{benchmark.columns[k]} {v}" for k, v in zip(keys, values, strict=True)),
            part.drop(columns=keys),
        )
        for values, part in table.groupby(keys, sort=False)
    ]


def _machine(threads: int) -> dict[str, Any]:
    script = Path(sys.argv[0]).stem
    # Files of this machine by their names alone: a record is published.
    told = [Path(part).name if Path(part).is_absolute() else part for part in sys.argv[1:]]
    return {
        "command": shlex.join(["python", "-m", f"benchmarks.{script}", *told]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": git_state(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": describe_device("cpu"),
        "threads": threads,
    }


def _versions(benchmark: Benchmark) -> dict[str, str]:
    found = {}
    for name in benchmark.packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            # Named by the rows of the contestant that is missing.
            continue
    return found
