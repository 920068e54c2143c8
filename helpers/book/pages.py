"""Pages and boxes of the book that are made from records: pure functions from records to MyST.

A record is the JSON of a run (:mod:`helpers.book.records`) as a plain dictionary. What an older
record lacks is left out; what a newer one adds is ignored. Only portable MyST is written.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from helpers.data.bundle import Bundle
from helpers.data.manifest import Entry, File, Manifest

Record = Mapping[str, Any]

SECTIONS = {
    "synthetic": "Generated images",
    "2511.04803": "Redundancy and forgetting (arXiv 2511.04803)",
    "2307.03275": "Pretraining for histopathology (arXiv 2307.03275)",
    "2310.03981": "Few-shot cell segmentation (arXiv 2310.03981)",
    "2410.18677": "When to stop pretraining (arXiv 2410.18677)",
    "weights": "Pretrained weights",
    "other": "Samples for checks",
}
ACCESS = {
    "direct": "direct download",
    "accept-licence": "download after accepting the terms",
    "manual": "by hand",
}


# -------------------------------------------------------------------------- data and licences


def data_page(manifest: Manifest, bundle: Bundle | None) -> str:
    """The page "Data and licences".

    Args:
        manifest: every data set and pretrained weight of the book.
        bundle: content of the offline bundle at hand; ``None`` if there is none.
    """
    parts = [
        "# Data and licences",
        "What the papers use and what this book can read, with the terms of the owners. Nothing of "
        "it is part of this project: files are fetched from where their owners offer them, or read "
        "from an offline bundle. Where a statement could not be confirmed at its official source, "
        "it is marked *unverified*.",
        "Fetch by name with `python -m helpers data fetch NAME`; how, and where files are kept, is "
        "described under {doc}`/rerun`.",
    ]
    for key, heading in SECTIONS.items():
        entries = [entry for entry in manifest.entries.values() if _section(entry) == key]
        if entries:
            parts += [f"## {heading}", _entry_table(entries)]
            parts += [_entry_details(entry, bundle) for entry in entries]
    return "\n\n".join(parts) + "\n"


def _section(entry: Entry) -> str:
    if entry.kind in ("synthetic", "weights"):
        return entry.kind
    papers = [role.paper for role in entry.role if role.paper in SECTIONS]
    return papers[0] if papers else "other"


def _entry_table(entries: Sequence[Entry]) -> str:
    rows = [
        (f"{plain(entry.title)} `{entry.name}`", _licence(entry), _access(entry))
        for entry in entries
    ]
    return table(("what, and its name here", "licence", "access"), rows)


def _access(entry: Entry) -> str:
    return "generated here" if entry.kind == "synthetic" else ACCESS[entry.access]


def _licence(entry: Entry) -> str:
    name = plain(entry.licence.name)
    linked = f"[{name}](<{entry.licence.source}>)" if entry.licence.source else name
    return linked if entry.licence.verified else f"{linked} *(unverified)*"


def _entry_details(entry: Entry, bundle: Bundle | None) -> str:
    lines = [plain(entry.contents[0].upper() + entry.contents[1:]) + "."]
    lines += [f"- {line}" for line in _facts(entry, bundle)]
    lines += [f"- **Beware:** {plain(quirk)}" for quirk in entry.quirks]
    lines += [
        f"- *Unverified* ({plain(doubt.field)}): {plain(doubt.reason)}"
        for doubt in entry.unverified
    ]
    body = "\n".join([lines[0], "", *lines[1:]])
    return directive("dropdown", f"{plain(entry.title)}: details", body)


def _facts(entry: Entry, bundle: Bundle | None) -> Iterable[str]:
    for role in entry.role:
        paper = f" (arXiv {role.paper})" if role.paper else ""
        yield f"**Used as:** {plain(role.use)}{paper}"
    if entry.homepage:
        yield f"**Homepage:** <{entry.homepage}>"
    if entry.citations:
        yield "**Cite:** " + ", ".join(f"{{cite:p}}`{key}`" for key in entry.citations)
    if entry.instructions:
        yield f"**By hand:** {plain(entry.instructions)}"
    for file in entry.files:
        yield f"**File** `{file.name}`: {_checksum(file)}"
    if entry.layout:
        yield f"**Layout:** {plain(entry.layout)}"
    held = bundle.datasets.get(entry.name) if bundle else None
    if held:
        share = "complete" if held.complete else f"a subset, {plain(held.coverage)}"
        yield f"**In the offline bundle used here:** {share}"


def _checksum(file: File) -> str:
    if file.has_whole_checksum:
        known = "sha256" if len(file.sha256 or "") == 64 else "md5"
        return f"{known} known, checked after download"
    return f"no whole checksum to compare with ({plain(file.checksum_note or 'no reason given')})"


# -------------------------------------------------------------------------- status


def status_page(runs: Mapping[str, Record | None], recorded: Sequence[Record]) -> str:
    """The page "Status": what was run for this copy of the book, and what is kept in it.

    Args:
        runs: by chapter, the record of the run that the book shows; ``None`` if it was never run.
        recorded: records of the runs whose numbers are kept in the book.
    """
    parts = [
        "# Status",
        "What stands behind each page: made from the records that the runs left, not by hand.",
        "## This copy of the book",
        _status_table([_status_row(name, record) for name, record in runs.items()]),
        "## Recorded runs on real images",
    ]
    if recorded:
        parts.append(_status_table([_status_row(str(r.get("chapter")), r) for r in recorded]))
    else:
        parts.append("None has been recorded yet.")
    return "\n\n".join(parts) + "\n"


def _status_table(rows: list[tuple[str, ...]]) -> str:
    return table(("chapter", "state", "profile", "data", "when", "how long", "device"), rows)


def _status_row(name: str, record: Record | None) -> tuple[str, ...]:
    chapter = f"{{doc}}`{name}`"
    if record is None:
        return (chapter, "**never run**", "–", "–", "–", "–", "–")
    state = "ok" if record.get("status") == "ok" else f"**failed:** {plain(_first_line(record))}"
    return (
        chapter,
        state,
        f"`{record['profile']}`" if record.get("profile") else "–",
        "; ".join(_data_in_words(data) for data in record.get("data") or []) or "–",
        _when(record.get("started", "")),
        _effort(record),
        _device(record),
    )


def _first_line(record: Record) -> str:
    error = str(record.get("error") or "no reason recorded").strip()
    return error.splitlines()[0][:160]


# -------------------------------------------------------------------------- performance


def performance_page(benchmarks: Sequence[Record]) -> str:
    """The page "Performance": what the benchmarks measured, on which machine, beside the floor.

    Args:
        benchmarks: what :mod:`benchmarks.record` keeps of each benchmark, its CSV as ``rows``
            (list of dictionaries by column) and ``download``, the file name of the CSV beside the
            page.
    """
    parts = [
        "# Performance",
        "How fast the code of this book is, beside other people's code for the same work and "
        "beside a floor, a time that the machine itself does not allow to beat. Made from the "
        "files that the benchmarks left, not by hand.",
    ]
    if not benchmarks:
        parts.append(
            "No benchmark has been recorded yet. `make bench` measures on your own machine."
        )
        return "\n\n".join(parts) + "\n"
    parts.append(
        "Every ratio is from one run, in which the contestants took turns on one machine. Read the "
        "ratios rather than the times, which move with the load of the machine; other data and "
        "other processors move the ratios, too. `make bench` measures on your own machine."
    )
    for benchmark in benchmarks:
        parts += _benchmark(benchmark)
    return "\n\n".join(parts) + "\n"


def _benchmark(record: Record) -> Iterable[str]:
    yield f"## {plain(str(record['title']))}"
    yield plain(str(record["about"]))
    if record.get("floor"):
        yield f"**Floor:** {plain(str(record['floor']))}"
    yield _definitions(_benchmark_facts(record))
    yield from _benchmark_tables(record)
    if record.get("download"):
        yield f"Download: {{download}}`{record['download']} <{record['download']}>`"


def _benchmark_facts(record: Record) -> Iterable[tuple[str, str]]:
    yield "machine", _device({"device": record.get("device")}, long=True)
    yield "threads", str(record.get("threads") or "")
    yield "measured", _when(record.get("started", ""), minutes=True)
    yield "command", f"`{record['command']}`" if record.get("command") else ""
    yield "software", _software(record)
    versions = (record.get("packages") or {}).items()
    yield "packages", ", ".join(plain(f"{name} {version}") for name, version in versions)
    yield "code", _commit(record)
    yield "parts measured before", "; ".join(map(_earlier, record.get("earlier") or []))


def _earlier(run: Record) -> str:
    return f"{_when(run.get('started', ''), minutes=True)}, `{run.get('command', '')}`"


def _benchmark_tables(record: Record) -> Iterable[str]:
    """One table for each combination of the columns that the record splits by."""
    split = list(record.get("split_by") or [])
    shown = [key for key in record["columns"] if key not in split]
    groups: dict[tuple[str, ...], list[Record]] = {}
    for row in record["rows"]:
        groups.setdefault(tuple(row[key] for key in split), []).append(row)
    for values, rows in groups.items():
        if split:
            named = (
                f"{record['columns'][key]} {_in_digits(value)}"
                for key, value in zip(split, values, strict=True)
            )
            yield f"### {plain(', '.join(named))}"
        used = [key for key in shown if any(row.get(key) for row in rows)]
        yield table(
            [plain(record["columns"][key]) for key in used],
            [[plain(_in_digits(row.get(key) or "")) or "–" for key in used] for row in rows],
        )


def _in_digits(value: str) -> str:
    """A number with three digits, or with thousands separated; any other text as it is."""
    try:
        number = float(value)
    except ValueError:
        return value
    if math.isfinite(number) and (abs(number) >= 100 or number == int(number)):
        return f"{number:,.0f}"
    return f"{number:.3g}"


# -------------------------------------------------------------------------- boxes of a chapter


def made_box(record: Record, results_files: Sequence[str] = ()) -> str:
    """The box "How this page was made" at the end of a chapter.

    Args:
        record: of the run that the page shows.
        results_files: names of files beside the page that a reader may download.
    """
    parts = [_subset_warning(record), _definitions(_made_facts(record))]
    if record.get("parameters"):
        rows = [(f"`{key}`", f"`{value}`") for key, value in record["parameters"].items()]
        parts.append(table(("parameter", "value"), rows))
    if record.get("packages"):
        rows = [(plain(key), plain(str(value))) for key, value in record["packages"].items()]
        parts.append(table(("package", "version"), rows))
    if results_files:
        links = ", ".join(f"{{download}}`{name} <{name}>`" for name in results_files)
        parts.append(f"Download: {links}")
    body = "\n\n".join(part for part in parts if part)
    return directive("dropdown", "How this page was made", body, ("class-container: book-record",))


def _subset_warning(record: Record) -> str:
    partial = [data for data in record.get("data") or [] if not data.get("complete", True)]
    if not partial:
        return ""
    names = "; ".join(_data_in_words(data) for data in partial)
    return f"**Not the whole data set was used:** {names}. The numbers hold for that part only."


def _made_facts(record: Record) -> Iterable[tuple[str, str]]:
    yield "profile", f"`{record['profile']}`" if record.get("profile") else ""
    yield "data", "; ".join(_data_in_words(d, long=True) for d in record.get("data") or [])
    yield "seeds", ", ".join(str(seed) for seed in record.get("seeds") or [])
    yield "started", _when(record.get("started", ""), minutes=True)
    yield "duration", _effort(record)
    yield "device", _device(record, long=True)
    yield "software", _software(record)
    yield "code", _commit(record)
    marks = [
        f"{label} `{str(record[key])[:12]}`"
        for label, key in (("helpers", "code_fingerprint"), ("notebook", "notebook_fingerprint"))
        if record.get(key)
    ]
    yield "fingerprints", ", ".join(marks)


def _definitions(facts: Iterable[tuple[str, str]]) -> str:
    return table(
        ("what", "how"), [(f"**{name}**", text) for name, text in facts if text and text != "–"]
    )


def failed_page(name: str, title: str, record: Record | None, error: str = "") -> str:
    """The page of a chapter that has no valid run: it says so and shows no old figure.

    Args:
        name: of the chapter.
        title: heading of the page.
        record: of the failed run; ``None`` if there is none.
        error: why there is no run, if no record tells.
    """
    error = error or str((record or {}).get("error") or "")
    command = f"python -m helpers run {name}"
    if record and record.get("profile"):
        command += f" --profile {record['profile']}"
    if error:
        said = "This chapter's last run failed, so this copy of the book has no results for it."
        body = f"{said}\n\n{_fenced(error)}\n\nTo try again:\n\n{_fenced(command)}"
    else:
        said = "This chapter has not been run for this copy of the book."
        body = f"{said} To run it:\n\n{_fenced(command)}"
    return f"# {plain(title)}\n\n{directive('warning', '', body)}\n"


def action_line(notebook: str, colab: str | None) -> str:
    """The line below a chapter's title.

    Args:
        notebook: file name of the notebook beside the page.
        colab: address that opens the notebook in Colab; ``None`` if no repository is known.
    """
    links = [f"{{download}}`Download this notebook <{notebook}>`"]
    if colab:
        links.append(f"[Open in Colab]({colab})")
    return directive("div", "book-actions", " · ".join(links))


# -------------------------------------------------------------------------- words


def _data_in_words(data: Record, long: bool = False) -> str:
    """A data set with what of it was used; ``long`` adds where it came from and its fingerprint."""
    text = f"`{data.get('name', 'unnamed')}`"
    if not data.get("complete", True):
        text += f" (a subset: {plain(str(data.get('coverage') or 'coverage not stated'))})"
    elif long and data.get("coverage"):
        text += f" ({plain(str(data['coverage']))})"
    if long and data.get("source"):
        text += f", from {plain(str(data['source']))}"
    if long and data.get("fingerprint"):
        text += f", fingerprint `{str(data['fingerprint'])[:12]}`"
    return text


def _when(started: str, minutes: bool = False) -> str:
    """``2026-03-01T12:34:56+00:00`` as a date, or as a date with minutes."""
    if not started:
        return "–"
    date, _, clock = started.partition("T")
    return f"{date} {clock[:5]} UTC" if minutes and clock else date


def _effort(record: Record) -> str:
    """Time of the execution, and of all training behind it: trials done before are reused."""
    work = record.get("work") or {}
    execution = _duration(record.get("duration_s"))
    if not work.get("models"):
        return execution
    training = _duration(work.get("train_seconds"))
    return f"{execution}; {work['models']} models, {training} of training in all"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    seconds = round(seconds)
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def _device(record: Record, long: bool = False) -> str:
    device = record.get("device") or {}
    kind, name = str(device.get("kind") or ""), str(device.get("name") or "")
    if not kind:
        return "–"
    if not long:
        return plain(name) if kind != "cpu" and name else _cpu(device)
    parts = [_cpu(device) if kind == "cpu" else kind.upper(), plain(name)]
    if device.get("memory_gb"):
        parts.append(f"{device['memory_gb']:g} GB memory")
    if record.get("threads"):
        count = record["threads"]
        parts.append(f"{count} thread{'' if count == 1 else 's'} per trial")
    return ", ".join(part for part in parts if part)


def _cpu(device: Record) -> str:
    cores = device.get("cores")
    return f"CPU, {cores} core{'' if cores == 1 else 's'}" if cores else "CPU"


def _software(record: Record) -> str:
    python = f"Python {record['python']}" if record.get("python") else ""
    return ", ".join(part for part in (python, plain(str(record.get("platform") or ""))) if part)


def _commit(record: Record) -> str:
    git = record.get("git") or {}
    if not git.get("commit"):
        return "outside version control"
    state = ", with changes that are not committed" if git.get("dirty") else ""
    return f"commit `{git['commit'][:12]}`{state}"


# -------------------------------------------------------------------------- MyST


def plain(text: str) -> str:
    """``text`` with every character escaped that MyST would take for markup, on one line."""
    return re.sub(r"([\\`*_\[\]<>{}$|~#])", r"\\\1", " ".join(text.split()))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the cells are MyST already."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def directive(name: str, argument: str, body: str, options: Sequence[str] = ()) -> str:
    """A directive whose fence is longer than any fence inside it."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`{3,}", body))])
    opening = f"{fence}{{{name}}} {argument}".rstrip()
    return "\n".join([opening, *(f":{option}" for option in options), body, fence])


def _fenced(text: str) -> str:
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`{3,}", text))])
    return f"{fence}text\n{text}\n{fence}"
