"""The chapter ``representations``: parameters, and rules applied to measures made by hand."""

import numpy as np
import pandas as pd
import pytest

from helpers.book.claims import judge
from helpers.book.registry import find_chapter
from helpers.book.results import Cells
from helpers.chapters.representations import CLAIMS, Parameters, arms
from helpers.errors import ParameterError
from helpers.experiments.representations import ANOTHER, DECODER, DEEPEST, FIRST

PAIRS = [("random", "b"), ("random", "c"), ("b", "c")]
# Of three pairs the last is the least alike; with depth clouds come apart and relations stay.
ALIKE = {
    FIRST: [(0.9, 0.8, 0.98), (0.8, 0.7, 0.98), (0.7, 0.6, 0.96)],
    DEEPEST: [(0.6, 0.5, 0.96), (0.5, 0.4, 0.95), (0.4, 0.3, 0.91)],
    DECODER: [(0.5, 0.5, 0.8), (0.5, 0.4, 0.7), (0.4, 0.2, 0.5)],
}
OVERLAP = {FIRST: 0.75, DEEPEST: 0.15, DECODER: 0.0}


def source(n_seeds: int = 3, n_data: int = 2) -> Cells:
    rows = []

    def add(value, **columns):
        rows.append(columns | {"value": value + 0.002 * (columns["seed"] - 1)})

    for seed in range(n_seeds):
        for train in "xy"[:n_data]:
            for place, found in ALIKE.items():
                at = {"train": train, "place": place, "seed": seed}
                for (one, other), (cka, near, way) in zip(PAIRS, found, strict=True):
                    pair = at | {"table": "pairs", "start": one, "other": other}
                    add(cka, metric="debiased_cka", number="value", **pair)
                    add(near, metric="neighbours", number="value", **pair)
                    add(0.25, metric="neighbours", number="high", **pair)
                    add(way, metric="procrustes", number="above chance", **pair)
                add(OVERLAP[place], table="clouds", metric="overlap", **at)
                for start in ("random", "b", "c"):
                    own = at | {"start": start}
                    add(0.95, table="reordered", metric="accuracy", **own)
                    cka = {FIRST: 0.95, DEEPEST: 0.6}.get(place)
                    if cka:
                        add(cka, table="moved", metric="debiased_cka", number="value", **own)
        for one, other in [*PAIRS, ("random", ANOTHER), ("b", ANOTHER)]:
            value = {("random", ANOTHER): 0.3, ("b", ANOTHER): 0.9}.get((one, other), 0.1)
            at = {"place": DEEPEST, "start": one, "other": other, "seed": seed}
            add(value, table="before", metric="debiased_cka", number="value", **at)
    return Cells(pd.DataFrame(rows))


def test_verdicts_follow_their_rules():
    verdicts = [judge(claim, source()) for claim in CLAIMS]
    # The pair least alike: 0.3 against 0.25, and 0.2 against 0.25 in the decoder.
    expected = [0.75, 0.6, 0.05, 0.91, -0.05, 0.5, 0.95, 0.35, 0.2, 0.4]
    np.testing.assert_allclose([verdict.value for verdict in verdicts], expected)
    outcomes = [verdict.outcome for verdict in verdicts]
    assert [i for i, one in enumerate(outcomes, 1) if one == "does not hold"] == [5, 6]
    assert outcomes.count("holds") == 8


def test_one_seed_decides_nothing_and_no_numbers_test_nothing():
    assert {judge(claim, source(1)).outcome for claim in CLAIMS} == {"undecided"}
    empty = Cells(source().table.iloc[:0])
    assert {judge(claim, empty).outcome for claim in CLAIMS} == {"not tested"}


def test_networks_of_every_seed_with_all_images_of_glands():
    p = Parameters.check({"glands": ["x", "y"], "seeds": [7, 8], "budgets": ["epochs", "steps"]})
    found = arms(p)
    assert len(found) == 2 * 2 * 4
    assert {(arm.share, arm.budget) for arm in found} == {(1.0, "epochs")}
    assert {arm.dataset for arm in found} == {"x", "y"}


def test_the_published_settings_are_those_of_the_paper_profile():
    p = find_chapter("representations").parameters("paper")
    assert (p.n_patches, p.neighbours, p.min_dist, p.metric) == (300, 25, 0.1, "cosine")
    assert p.projections[0] == "umap"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"glands": []}, "glands must name"),
        ({"starts": ["random"]}, "at least two"),
        ({"n_patches": 20}, "neighbours=25 must be below n_patches"),
        ({"projections": ["umap", "umap"]}, "none twice"),
    ],
)
def test_parameters_that_leave_nothing_to_compare(values, message):
    with pytest.raises(ParameterError, match=message):
        Parameters.check(values)
