"""A chapter's run in miniature, with every kind of output that the chapters have."""

import json
from pathlib import Path

import matplotlib
import nbformat
import pandas as pd
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers.book.pictures import show, show_table

TITLE = "How much data is enough?"
PROSE = r"""# How much data is enough?

A chapter in miniature {cite:p}`zhao2025data`, with a formula

$$ \mathrm{pq\_paper} = \frac{1}{n} \sum_i \mathrm{IoU}_i \, \mathrm{Dice}_i $$

and an {term}`epoch` from the glossary.
"""
EXERCISE = """## Exercises

````{exercise} A first guess
:label: tiny-guess

How many images?
````

````{solution} tiny-guess
:class: dropdown

Fewer than you think.
````
"""


def executed_notebook(chapter: str = "tiny") -> nbformat.NotebookNode:
    """Title, formula, figure, wide table, printed lines, stderr that must not show, exercise."""
    cells = [
        new_markdown_cell(PROSE, id="prose"),
        new_code_cell("profile = 'smoke'", id="parameters", metadata={"tags": ["parameters"]}),
        new_code_cell("show(...)", id="figure", execution_count=1, outputs=[_html(_figure())]),
        new_code_cell("show_table(...)", id="table", execution_count=2, outputs=[_html(_table())]),
        new_code_cell(
            "print(...)",
            id="printed",
            execution_count=3,
            outputs=[
                new_output("stream", name="stdout", text="trial 1 of 2\n"),
                new_output("stream", name="stderr", text="SECRET-OF-STDERR\n"),
                new_output("stream", name="stdout", text="trial 2 of 2\n"),
            ],
        ),
        new_markdown_cell(EXERCISE.replace("tiny", chapter), id="exercise"),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    language = {"name": "python", "pygments_lexer": "ipython3"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": language})


def _html(shown) -> nbformat.NotebookNode:
    return new_output("display_data", data={"text/html": shown._repr_html_(), "text/plain": "..."})


def _figure():
    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3))
    axes = figure.add_subplot()
    axes.plot([1, 10, 100], [0.6, 0.8, 0.85], marker="o")
    axes.set_xscale("log")
    axes.set_xlabel("training images used (%)")
    axes.set_ylabel("Dice")
    data = pd.DataFrame({"rate": [1, 10, 100], "dice": [0.6, 0.8, 0.85]})
    return show(figure, "Dice rises and levels off.", "Profile smoke, generated images.", data)


def _table():
    columns = {f"a rather long heading {i}": [0.123, 0.456] for i in range(12)}
    return show_table(pd.DataFrame(columns), "A table wider than a phone.")


def record(**changes) -> dict:
    """A run record as the runner writes it; ``changes`` replace single fields."""
    values = {
        "chapter": "redundancy",
        "title": TITLE,
        "profile": "smoke",
        "parameters": {"dataset": "synthetic-cyto", "rates": [0.1, 1.0], "seeds": [0, 1]},
        "seeds": [0, 1],
        "threads": 1,
        "key": "0" * 64,
        "code_fingerprint": "a" * 64,
        "notebook_fingerprint": "b" * 64,
        "status": "ok",
        "error": "",
        "started": "2026-03-01T12:34:56+00:00",
        "duration_s": 41.2,
        "git": {"commit": "c" * 40, "dirty": True},
        "python": "3.11.7",
        "platform": "Linux x86_64",
        "packages": {"numpy": "2.0.2", "torch": "2.15.0"},
        "device": {"kind": "cpu", "name": "Some processor", "cores": 2, "memory_gb": 8.0},
        "data": [
            {
                "name": "synthetic-cyto",
                "source": "generated",
                "complete": True,
                "coverage": "12 images, seed 0",
                "fingerprint": "d" * 64,
            }
        ],
        "work": {},
        "files": [{"path": "results.csv", "sha256": "e" * 64}],
    }
    return {**values, **changes}


def write_run(folder: Path, chapter: str = "tiny", **changes) -> Path:
    """A run's folder with executed notebook, record and results.

    ``chapter`` makes the label of the exercise, which no two pages of a book may share.
    """
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(executed_notebook(chapter), folder / "executed.ipynb")
    (folder / "record.json").write_text(json.dumps(record(**changes)), encoding="utf-8")
    (folder / "results.csv").write_text("chapter,value\nredundancy,0.8\n", encoding="utf-8")
    return folder


BENCHMARK = {
    "name": "sorting",
    "title": "Sorting",
    "about": "Numbers in ascending order, by ours and by *another*.",
    "floor": "one pass over the numbers.",
    "command": "python -m benchmarks.bench_sorting --record",
    "columns": {"n": "N", "peer": "peer", "ours_s": "ours, s", "ratio": "ratio", "note": "note"},
    "split_by": ["n"],
    "started": "2026-03-01T12:34:56+00:00",
    "threads": 2,
    "git": {"commit": "c" * 40, "dirty": False},
    "python": "3.11.7",
    "platform": "Linux x86_64",
    "packages": {"numpy": "2.0.2"},
    "device": {"kind": "cpu", "name": "Some processor", "cores": 2, "memory_gb": 8.0},
}
BENCHMARK_ROWS = [
    {"n": "1500", "peer": "bubble", "ours_s": "0.0123456", "ratio": "1234.5", "note": ""},
    {"n": "1500", "peer": "merge", "ours_s": "0.0123456", "ratio": "1.5", "note": ""},
    {"n": "128458", "peer": "a|b", "ours_s": "12", "ratio": "", "note": "cannot run: 66 GB"},
]


def write_benchmark(folder: Path) -> None:
    """A recorded benchmark, as benchmarks.record writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sorting.json").write_text(json.dumps(BENCHMARK), encoding="utf-8")
    pd.DataFrame(BENCHMARK_ROWS).to_csv(folder / "sorting.csv", index=False)
