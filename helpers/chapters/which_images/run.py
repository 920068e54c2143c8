"""The work of the chapter ``which-images``: a folder, a choice, and the same by other methods."""

from pathlib import Path

import pandas as pd

from helpers import fingerprints
from helpers.annotate.candidates import Cut
from helpers.annotate.choose import Choice, Request, choose, rank_again
from helpers.chapters.results import tidy
from helpers.chapters.which_images.examples import write_examples
from helpers.chapters.which_images.parameters import Parameters
from helpers.paths import runs_dir

MIXED = "synthetic-mixed"
METRICS = {
    "mean_distance": "mean distance to the nearest chosen",
    "p95_distance": "95th percentile",
    "cells_hit": "groups touched",
}


def find_folder(parameters: Parameters) -> tuple[Path, dict]:
    """The folder to choose from, and where its images come from.

    The examples are written anew each time; other data are found or fetched by name.
    """
    if parameters.dataset == MIXED:
        return _examples(parameters)
    from helpers.data.datasets import open_dataset
    from helpers.data.fetch import locate

    kind, _, path = parameters.dataset.partition(":")
    found = open_dataset(parameters.dataset) if path else locate(kind)
    root = Path(path).expanduser().resolve() if path else found.root
    names = ("source", "complete", "coverage", "fingerprint")
    return root, {"name": parameters.dataset, **{name: getattr(found, name) for name in names}}


def _examples(parameters: Parameters) -> tuple[Path, dict]:
    n, size, seed = parameters.n_images, parameters.image_size, parameters.seed
    identity = [n, size, seed, fingerprints.of_code([write_examples.__module__])]
    key = fingerprints.of_json(identity)
    folder = write_examples(_room(parameters) / f"images-{key[:8]}", n, size, seed)
    provenance = {
        "name": MIXED,
        "source": "synthetic",
        "complete": True,
        "coverage": f"{n} generated images, four that come with scikit-image, two broken files",
        "fingerprint": key,
    }
    return folder, provenance


def _room(parameters: Parameters) -> Path:
    return runs_dir() / "which-images" / parameters.profile


def select(parameters: Parameters, folder: Path) -> Choice:
    """What ``python -m helpers select`` computes, with the first of the methods and seeds."""
    stride = parameters.patch_stride or parameters.patch_size
    request = Request(
        folder=folder,
        output=_room(parameters) / f"{folder.name}-selection",
        budget=parameters.budget,
        method=parameters.methods[0],
        cut=Cut(parameters.patch_size, stride),
        features=parameters.features,
        n_bins=parameters.n_bins,
        seed=parameters.seeds[0],
        device=parameters.device,
    )
    return choose(request)


def compare(parameters: Parameters, choice: Choice) -> dict[tuple[str, int], Choice]:
    """The same candidates chosen by every method with every seed."""
    return {
        (method, seed): rank_again(choice, method, seed)
        for method in parameters.methods
        for seed in parameters.seeds
    }


def first_of_each(choices: dict[tuple[str, int], Choice]) -> list[Choice]:
    """One choice per method, with the first seed."""
    first = next(iter(choices))[1]
    return [choice for (_, seed), choice in choices.items() if seed == first]


def results_table(parameters: Parameters, choices: dict[tuple[str, int], Choice]) -> pd.DataFrame:
    """One row per method, seed and measure of coverage; none where everything was chosen."""
    rows = []
    for (method, seed), choice in choices.items():
        if choice.spread is None:
            continue
        values = (choice.spread.mean, choice.spread.p95, choice.spread.cells)
        for metric, value in zip(METRICS, values, strict=True):
            rows.append(_row(parameters, choice) | {"metric": metric, "value": value})
            rows[-1] |= {"method": method, "seed": seed}
    return tidy(rows)


def _row(parameters: Parameters, choice: Choice) -> dict:
    return {
        "chapter": "which-images",
        "table": "coverage",
        "source": "this run",
        "profile": parameters.profile,
        "dataset_train": parameters.dataset,
        "rate": 100 * len(choice.chosen) / len(choice.candidates),
        "n": len(choice.candidates),
        "note": f"{len(choice.chosen)} chosen; features: {parameters.features}",
    }


def wide(table: pd.DataFrame, choice: Choice) -> pd.DataFrame:
    """Coverage by method: mean over seeds, and the range of random choices below."""
    rows = []
    for method in table["method"].unique():
        row = {"method": method}
        for metric, title in METRICS.items():
            own = table[(table["method"] == method) & (table["metric"] == metric)]["value"]
            row[title] = _number(own.mean(), metric)
        rows.append(row)
    if choice.spread is not None:
        drawn = choice.spread.random
        row = {"method": f"{len(drawn)} random draws, lowest to highest"}
        for column, (metric, title) in enumerate(METRICS.items()):
            low, high = (_number(f(drawn[:, column]), metric) for f in (min, max))
            row[title] = f"{low} to {high}"
        rows.append(row)
    return pd.DataFrame(rows)


def _number(value: float, metric: str) -> str:
    return f"{value:.0%}" if metric == "cells_hit" else f"{value:.2f}"
