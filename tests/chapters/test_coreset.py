"""Rules of the chapter ``coreset`` on printed numbers and on numbers made by hand."""

import numpy as np
import pandas as pd
import pytest

from helpers.book import results
from helpers.book.claims import judge
from helpers.book.results import Cells
from helpers.chapters import coreset as chapter
from helpers.chapters.coreset import PRINTED
from helpers.errors import ParameterError

CYTO = results.published(chapter.PUBLISHED[0])


def table(metric="dice", name="II", **by_method) -> Cells:
    """Values by method and rate, a list over seeds each."""
    rows = [
        {"table": name, "metric": metric, "method": {"dq": PRINTED}.get(method, method)}
        | {"rate": rate, "seed": seed, "value": value}
        for method, curve in by_method.items()
        for rate, values in curve.items()
        for seed, value in enumerate(values)
    ]
    return Cells(pd.DataFrame(rows))


def test_printed_numbers_give_what_is_worked_out_by_hand():
    # Table II: DQ minus random at 1, 5, 10, 30 and 50 %.
    by_hand = np.mean([0.780 - 0.817, 0.811 - 0.820, 0.823 - 0.839, 0.834 - 0.856, 0.849 - 0.861])
    better, *_, similar, steadier = (judge(claim, CYTO) for claim in chapter.CLAIMS[:5])
    assert better.value == similar.value == pytest.approx(by_hand)
    assert (better.satisfied, similar.satisfied) == (False, True)
    assert steadier.outcome == "not tested"
    both = results.published(*chapter.PUBLISHED)
    parts = [
        chapter.minus_random(results.published(one), "dice", "DQ") for one in chapter.PUBLISHED
    ]
    assert chapter.minus_random(both, "dice", "DQ").iloc[0] == pytest.approx(
        np.mean([part.iloc[0] for part in parts])
    )


def test_no_seed_is_dropped_and_all_patches_do_not_count():
    c = table(
        dq={1: [0.0, 0.5], 10: [0.6, 0.7]},
        random={1: [0.0, 0.4], 10: [0.5, 0.5]},
        all={100: [1, 1]},
    )
    assert chapter.minus_random(c, "dice", PRINTED).tolist() == pytest.approx([0.05, 0.15])


def test_the_steadier_method_lies_nearer_to_its_median():
    c = table(dq={1: [0.5, 0.5, 0.6]}, random={1: [0.3, 0.5, 0.9], 5: [0.5, 0.5, 0.5]})
    assert chapter.steadier(c).tolist() == pytest.approx([0.2, 0, 0.3])


def test_coverage_is_a_share_of_what_random_reaches_at_each_rate():
    c = table("coverage_mean", "coverage", dq={1: [0.4], 5: [0.1]}, random={1: [0.5], 5: [0.2]})
    assert chapter.closer_than_random(c, PRINTED).tolist() == pytest.approx([(0.2 + 0.5) / 2])


def test_features_are_compared_with_the_better_of_the_plain_ones():
    names = ("raw pixels", "encoder, untrained", "encoder, pretrained here")
    values = {name: {0: [v]} for name, v in zip(names, (0.5, 0.6, 0.59), strict=True)}
    assert chapter.informative(
        table("knn_accuracy", "features", **values)
    ).tolist() == pytest.approx([-0.01])


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"features": "resnet"}, "features"),
        ({"methods": ["dq"]}, "methods"),
        ({"maps": []}, "maps"),
    ],
)
def test_bad_parameters_are_named(values, named):
    with pytest.raises(ParameterError, match=f"parameter '{named}'"):
        chapter.Parameters.check(values)
