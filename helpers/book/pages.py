"""Pages and boxes of the book that are made from records: the templates beside it, as MyST.

A record is the JSON of a run or a benchmark (:mod:`helpers.book.records`). What an older record
lacks is left out; what a newer one adds is ignored. Only portable MyST is written.
"""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2


def fill(template: str, **values: Any) -> str:
    """A page or box as MyST.

    Args:
        template: name of a file under ``templates``, whose first line says what it takes.
    """
    return _TEMPLATES.get_template(f"{template}.md").render(values)


def plain(text: Any) -> str:
    """``text`` with every character escaped that MyST would take for markup, on one line."""
    return re.sub(r"([\\`*_\[\]<>{}$|~#])", r"\\\1", " ".join(str(text).split()))


def fence(text: str) -> str:
    """A fence longer than any inside ``text``."""
    return "`" * max([3, *(len(run) + 1 for run in re.findall(r"`{3,}", text))])


def when(started: str, minutes: bool = False) -> str:
    """``2026-03-01T12:34:56+00:00`` as a date, or as a date with minutes."""
    date, _, clock = (started or "–").partition("T")
    return f"{date} {clock[:5]} UTC" if minutes and clock else date


def duration(seconds: float | None) -> str:
    """Seconds, minutes or hours; a dash where there is no number."""
    if not isinstance(seconds, int | float):
        return "–"
    if round(seconds) < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if round(seconds) < 7200 else f"{seconds / 3600:.1f} h"


def parts(benchmark: Mapping[str, Any]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Heading, columns and rows of a table for each combination of what the record splits by."""
    columns, split = benchmark["columns"], list(benchmark.get("split_by") or [])
    groups: dict[tuple[str, ...], list[Mapping[str, str]]] = {}
    for row in benchmark["rows"]:
        groups.setdefault(tuple(row[key] for key in split), []).append(row)
    for values, rows in groups.items():
        named = zip(split, values, strict=True)
        heading = ", ".join(f"{columns[key]} {_in_digits(value)}" for key, value in named)
        used = [key for key in columns if key not in split and any(row.get(key) for row in rows)]
        cells = [[plain(_in_digits(row.get(key) or "")) or "–" for key in used] for row in rows]
        yield heading, [columns[key] for key in used], cells


def _in_digits(value: str) -> str:
    """A number with three digits, or with thousands separated; any other text as it is."""
    try:
        number = float(value)
    except ValueError:
        return value
    whole = math.isfinite(number) and (abs(number) >= 100 or number == int(number))
    return f"{number:,.0f}" if whole else f"{number:.3g}"


_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    undefined=jinja2.ChainableUndefined,
)
_TEMPLATES.filters |= {one.__name__: one for one in (plain, fence, when, duration, parts)}
