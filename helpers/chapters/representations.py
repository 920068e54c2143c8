"""The chapter ``representations``: do networks from different starts see the same?

The paper (arXiv 2307.03275, Fig. 4) looks at maps and measures nothing, so that there is no
published value to put a rule to, and its words leave open how much is meant.
"""

from collections.abc import Mapping
from functools import reduce
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from helpers.book import results
from helpers.book.claims import Claim
from helpers.book.parameters import Distinct, StartingParameters
from helpers.book.results import Cells
from helpers.chapters import initialisation
from helpers.chapters.initialisation import CHANGED, FIXED, GLANDS
from helpers.experiments.representations import (
    ANOTHER,
    DECODER,
    DEEPEST,
    FIRST,
    RANDOM,
    Patches,
    Seen,
    measure,
)
from helpers.experiments.starting import METRICS, Arm, Tasks, scored
from helpers.features.projection import UMAP_DISTANCE, UMAP_NEIGHBOURS

PUBLISHED: tuple[str, ...] = ()


class Parameters(StartingParameters):
    """Those that the chapters share, patches, maps and shuffles."""

    n_patches: int = Field(150, ge=8, description="of the test images of all data sets of glands")
    neighbours: int = Field(
        UMAP_NEIGHBOURS, ge=2, description="of UMAP and of the neighbourhoods that are compared"
    )
    min_dist: float = Field(UMAP_DISTANCE, ge=0, le=1, description="of points on a map of UMAP")
    metric: Literal["cosine", "euclidean"] = Field("cosine", description="of maps and clouds")
    projections: Distinct[Literal["umap", "tsne", "pca"]] = Field(
        ["umap"], description="maps; the first is drawn start by start, too"
    )
    shuffles: int = Field(20, ge=20, description="of the patches, to see what chance gives")

    @model_validator(mode="after")
    def _comparable(self) -> "Parameters":
        if not self.glands:
            raise ValueError("glands must name a data set: the patches are of glands")
        if len(self.starts) < 2:
            raise ValueError("starts must name at least two, to be compared")
        if self.neighbours >= self.n_patches:
            raise ValueError(f"neighbours={self.neighbours} must be below n_patches")
        return self


def arms(p: Parameters) -> list[Arm]:
    """Of :mod:`helpers.chapters.initialisation` those on all images of glands, seed by seed."""
    return [arm for arm in initialisation.arms(p) if arm.share == 1 and arm.dataset in p.glands]


def numbers(
    p: Parameters,
    tasks: Tasks,
    models: Mapping[Arm, dict],
    seen: Seen,
    patches: Patches,
    maps: pd.DataFrame,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Results table (patches, scores, measures, trust in maps), and single images and points.

    Args:
        maps: :func:`helpers.experiments.representations.joint_maps` with ``train`` and ``seed``.
    """
    glands = {name: tasks[name] for name in p.glands}
    images = results.images_of(scored(p, glands, models), METRICS)
    images = images[images["place"] != "elsewhere"].drop(columns="place")
    rows = pd.DataFrame(
        {"test": patches.datasets, "images": patches.sources, "groups": patches.groups}
    )
    counted = rows.assign(patches=range(len(rows))).groupby("test").nunique().reset_index()
    counted = counted.melt("test", var_name="metric").assign(table="patches")
    at = ["train", "seed", "projection", "place"]
    trust = maps.drop_duplicates(at)[[*at, "trust"]].rename(columns={"trust": "value"})
    trust = trust.assign(table="maps", metric="trustworthiness")
    parts = [counted, results.table_of(images, METRICS), measure(p, seen, patches), trust]
    points = maps.drop(columns="trust").assign(table="points").round({"x": 3, "y": 3})
    return results.joined(parts), results.joined([images, points])


# ----------------------------------------------------------------------------------- the rules


def alike(c: Cells, table: str, metric: str, place: str, **at: Any) -> Any:
    """A measure between networks, mean over data sets and pairs; or another ``number`` of it."""
    at = {"number": "value", "train": ..., "start": ..., "other": ..., **at}
    return c(metric, table=table, place=place, **at)


def least(c: Cells, metric: str, place: str, above: str, below: str = "") -> Any:
    """A number of a measure (minus another one of it) of the two networks least alike in it."""
    rows = c.where(table="pairs", metric=metric, place=place)
    cells = []
    for at in rows.get(["train", "start", "other"], rows).drop_duplicates().to_dict("records"):
        cell = alike(c, "pairs", metric, place, number=above, **at)
        cells.append(cell - alike(c, "pairs", metric, place, number=below, **at) if below else cell)
    return reduce(np.minimum, cells) if cells else pd.Series(dtype=float)


def overlap(c: Cells, place: str) -> Any:
    """Overlap of the clouds of all starts, mean over data sets."""
    return c("overlap", table="clouds", place=place, train=...)


def moved(c: Cells, place: str) -> Any:
    """CKA of an encoder before and after fine-tuning, mean over starts and data sets."""
    return c(CKA, table="moved", place=place, number="value", train=..., start=...)


def before(c: Cells, place: str, *pair: str) -> Any:
    """CKA of encoders before fine-tuning: of the starts, or of one pair."""
    names = c.values("start", table="moved")
    one, other = ([name] for name in pair) if pair else (names, names)
    return alike(c, "before", CKA, place, train=None, start=one, other=other)


def claim(text: str, rule: str, quantity: Any, threshold: float = 0, **more: Any) -> Claim:
    """A claim about networks trained on glands; where nothing else is said, of the paper."""
    changed = "" if threshold else "the threshold was 0.001"
    more = {"where": f"{PAPER} Fig. 4", "gates": (GLANDS,), **more}
    fixed = CHANGED if changed else FIXED
    return Claim(
        text,
        rule=rule,
        quantity=quantity,
        threshold=threshold,
        fixed=fixed,
        changed=changed,
        **more,
    )


CKA, PAPER, OURS = "debiased_cka", "arXiv 2307.03275, section 3, UMAP results, and", "this book"
GATES = [gate for gate in initialisation.GATES if gate.name == GLANDS]
NEAR = "Shared nearest neighbours minus the upper end of the 95% interval of shuffled patches, "
FAR = "Procrustes disparity, as the share of the way from shuffled patches (0) to a rigid "
CLAIMS = [
    claim(
        "In the first layer the features of all initialisations form clouds that overlap.",
        "How well five nearest neighbours (of other patients) tell whose features they are: 1 if "
        "they guess, 0 if they are always right, mean over data sets: above 0.5.",
        lambda c: overlap(c, FIRST),
        0.5,
    ),
    claim(
        "With depth the representations become more distinct and the overlap decreases.",
        "The same at the first level minus at the deepest: above 0.",
        lambda c: overlap(c, FIRST) - overlap(c, DEEPEST),
    ),
    claim(
        "Deepest features are topologically similar across initialisations.",
        NEAR + "of the pair of starts that shares fewest: above 0.",
        lambda c: least(c, "neighbours", DEEPEST, "value", "high"),
    ),
    claim(
        "Deepest features of different initialisations may be related via a rigid transformation.",
        FAR + "transformation (1), of the pair of starts that is farthest: above 0.9.",
        lambda c: least(c, "procrustes", DEEPEST, "above chance"),
        0.9,
    ),
    claim(
        "A similar conclusion is valid for the decoder: topologically similar.",
        "As for the deepest features.",
        lambda c: least(c, "neighbours", DECODER, "value", "high"),
    ),
    claim(
        "A similar conclusion is valid for the decoder: related via a rigid transformation.",
        "As for the deepest features.",
        lambda c: least(c, "procrustes", DECODER, "above chance"),
        0.9,
    ),
    claim(
        "Ours: clouds that lie apart on a joint map need not be different representations.",
        "Accuracy with which a network is told apart from itself with its channels in another "
        "order, deepest level, mean: above 0.9.",
        lambda c: c("accuracy", table="reordered", place=DEEPEST, train=..., start=...),
        0.9,
        where=OURS,
        gates=(),
    ),
    claim(
        "Ours: fine-tuning changes the deepest features more than the first.",
        "Debiased CKA of an encoder before and after, first level minus deepest: above 0.",
        lambda c: moved(c, FIRST) - moved(c, DEEPEST),
        where=OURS,
    ),
    claim(
        "Ours: fine-tuned networks are more alike than two that never learnt anything.",
        "Debiased CKA at the deepest level, mean over pairs of starts, minus that of two draws of "
        "random weights: above 0.",
        lambda c: alike(c, "pairs", CKA, DEEPEST) - before(c, DEEPEST, RANDOM, ANOTHER),
        where=OURS,
    ),
    claim(
        "Ours: learning the same task draws the networks together.",
        "Debiased CKA at the deepest level, mean over pairs of starts, after fine-tuning minus "
        "before: above 0.",
        lambda c: alike(c, "pairs", CKA, DEEPEST) - before(c, DEEPEST),
        where=OURS,
    ),
]
SENTENCES = {
    3: {"holds": "The nearest neighbours of an image are in part the same for every network."},
    4: {
        "does not hold": "Features of one network are no rotated ones of another: an index of "
        "similar images, or a classifier on top, has to be rebuilt when the encoder is replaced."
    },
    7: {
        "holds": "Do not compare coordinates of two networks: even a network and itself, its "
        "channels reordered, lie apart on one map."
    },
    10: {
        "holds": "Learning the same task drew the networks together.",
        "does not hold": "Learning the same task did not draw the networks together.",
    },
}
