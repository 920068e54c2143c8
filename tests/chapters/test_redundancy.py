"""Rules of the chapter ``redundancy`` on printed numbers and on numbers made by hand."""

import pandas as pd
import pytest

from helpers.book import results
from helpers.book.claims import judge
from helpers.book.results import Cells
from helpers.chapters import redundancy as chapter

PRINTED = results.published(*chapter.PUBLISHED)


def table(**by_method) -> Cells:
    """Dice by method and rate, a list over seeds each."""
    rows = [
        {"table": "I", "metric": "dice", "method": method.replace("_", " "), "rate": rate}
        | {"seed": seed, "value": value}
        for method, curve in by_method.items()
        for rate, values in curve.items()
        for seed, value in enumerate(values)
    ]
    return Cells(pd.DataFrame(rows))


def test_printed_numbers_give_what_is_worked_out_by_hand():
    values = [judge(claim, PRINTED).value for claim in chapter.CLAIMS]
    by_hand = [0.823 / 0.855, (0.823 - 0.780) - 0.5 * (0.855 - 0.780), 0.858 - 0.855]
    assert values[:3] == pytest.approx(by_hand)
    assert values[4] == pytest.approx(0.855 - 0.780)


def test_a_curve_that_hardly_rises_is_judged_with_all_its_seeds():
    flat = table(random={1: [0.880, 0.870], 10: [0.870, 0.881]}, all={100: [0.881, 0.880]})
    found = judge(chapter.CLAIMS[1], flat)
    assert (found.outcome, found.n_seeds) == ("undecided", 2)
    assert judge(chapter.CLAIMS[4], flat).value == pytest.approx((0.001 + 0.010) / 2)


def test_ten_per_cent_say_nothing_of_what_comes_beyond_forty():
    low = table(random={1: [0.5] * 2, 10: [0.6] * 2}, all={100: [0.8] * 2})
    assert judge(chapter.CLAIMS[2], low).outcome == "not tested"
    more = table(random={10: [0.6] * 2, 30: [0.795] * 2, 50: [0.5] * 2}, all={100: [0.8] * 2})
    assert judge(chapter.CLAIMS[2], more).value == pytest.approx(-0.005)


def test_curves_end_at_all_patches_and_shares_of_the_paper_become_patches():
    ours = table(random={10: [0.7]}, all={100: [0.9]}).table.assign(patches=[10, 100])
    rows = results.joined([ours.assign(source="ours"), PRINTED.table.assign(source="published")])
    found = chapter.curves(rows)
    random = found[(found["source"] == "ours") & (found["method"] == "random")]
    assert random["patches"].tolist() == [10, 100]
    assert set(found.loc[found["source"] == "published", "method"]) == {"DQ"}
    assert found["patches"].max() == 10_063
