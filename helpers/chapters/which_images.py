"""The chapter ``which-images``: a folder, a choice, and the same by other methods."""

from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field

from helpers import fingerprints
from helpers.annotate.candidates import Cut
from helpers.annotate.choose import Choice, Request, choose, rank_again
from helpers.annotate.examples import write_examples
from helpers.book.claims import Claim, Gate
from helpers.book.parameters import ChapterParameters, Distinct, Seed
from helpers.experiments.settings import filled
from helpers.paths import runs_dir

Method = Literal[
    "dq",
    "dq-official",
    "dq-graphcut",
    "facility-location",
    "k-center",
    "herding",
    "stratified",
    "random",
]


class Parameters(ChapterParameters):
    """Parameters of the chapter ``which-images``."""

    dataset: str = Field(
        "synthetic-mixed",
        description="synthetic-mixed (written into a folder), a name in the manifest, or "
        "images:PATH for a folder of your own",
    )
    n_images: int = Field(48, ge=6, description="images generated for synthetic-mixed")
    image_size: int = Field(192, ge=64, description="side of generated images in pixels")
    seed: Seed = Field(0, description="of the generated images")
    budget: int = Field(8, ge=1, description="how many images (or patches) can be annotated")
    methods: Distinct[Method] = Field(
        ["dq", "facility-location", "k-center", "random"],
        description="ways to choose that are compared; the first two are shown on the map",
    )
    features: str = Field(
        "descriptor",
        description="descriptor, mae, mae-vit-base, lunit-dino-vits16, lunit-dino-vits8, timm:NAME "
        "or timm:NAME=WEIGHTS",
    )
    patch_size: int = Field(0, ge=0, description="side of patches in pixels; 0: whole images")
    patch_stride: int = Field(0, ge=0, description="step between patches; 0: their side")
    n_bins: int = Field(10, ge=1, description="bins of dataset quantization")
    seeds: Distinct[Seed] = Field(
        [0, 1, 2], description="of the methods that draw; the first is the one shown"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="for features that come from a network"
    )


PUBLISHED = ()
# Nothing is trained and nothing claimed.
GATES: list[Gate] = []
CLAIMS: list[Claim] = []
MIXED = "synthetic-mixed"
# Measures of coverage: column of the results, name on the page.
METRICS = {
    "mean_distance": "mean distance to the nearest chosen",
    "p95_distance": "95th percentile",
    "cells_hit": "groups touched",
}


def arms(p: Parameters) -> list[tuple[str, int]]:
    """Method, and seed of its draws."""
    return [(method, seed) for method in p.methods for seed in p.seeds]


def find_folder(p: Parameters) -> tuple[Path, dict]:
    """The folder to choose from, and where its images come from.

    The examples are written anew each time; other data are found or fetched by name.
    """
    if p.dataset == MIXED:
        return _examples(p)
    from helpers.data.datasets import open_dataset
    from helpers.data.fetch import locate

    kind, _, path = p.dataset.partition(":")
    found = open_dataset(p.dataset) if path else locate(kind)
    root = Path(path).expanduser().resolve() if path else found.root
    names = ("source", "complete", "coverage", "fingerprint")
    return root, {"name": p.dataset, **{name: getattr(found, name) for name in names}}


def _examples(p: Parameters) -> tuple[Path, dict]:
    sizes = (p.n_images, p.image_size, p.seed)
    key = fingerprints.of_json([*sizes, fingerprints.of_code([write_examples.__module__])])
    folder = write_examples(_room(p) / f"images-{key[:8]}", *sizes)
    return folder, {
        "name": MIXED,
        "source": "synthetic",
        "complete": True,
        "coverage": f"{p.n_images} generated images, four that come with scikit-image, two broken "
        "files",
        "fingerprint": key,
    }


def _room(p: Parameters) -> Path:
    return runs_dir() / "which-images" / p.profile


def select(p: Parameters, folder: Path) -> Choice:
    """What ``python -m helpers select`` computes, with the first of the methods and seeds."""
    request = filled(
        Request,
        p,
        folder=folder,
        output=_room(p) / f"{folder.name}-selection",
        method=p.methods[0],
        cut=Cut(p.patch_size, p.patch_stride or p.patch_size),
        seed=p.seeds[0],
    )
    return choose(request)


def compare(p: Parameters, choice: Choice) -> dict[tuple[str, int], Choice]:
    """The same candidates chosen by every method with every seed."""
    return {(method, seed): rank_again(choice, method, seed) for method, seed in arms(p)}


def numbers(p: Parameters, choices: dict[tuple[str, int], Choice]) -> pd.DataFrame:
    """Coverage by method and draw (``seed``), random draws of the same size beside them.

    The random draws (``"random draw"``) are those that the command compares the first choice with.
    No rows where everything was chosen.
    """
    rows = []
    for (method, seed), choice in choices.items():
        spread = choice.spread
        if spread is None:
            continue
        draws = [(method, seed, (spread.mean, spread.p95, spread.cells))]
        if (method, seed) == next(iter(choices)):
            draws += [("random draw", draw, drawn) for draw, drawn in enumerate(spread.random)]
        share = 100 * len(choice.chosen) / len(choice.candidates)
        common = {"table": "coverage", "rate": share, "n": len(choice.candidates)}
        rows += [
            common | {"method": name, "seed": draw, "metric": metric, "value": value}
            for name, draw, values in draws
            for metric, value in zip(METRICS, values, strict=True)
        ]
    columns = ["table", "metric", "value", "seed", "method", "rate", "n"]
    return pd.DataFrame(rows, columns=columns)
