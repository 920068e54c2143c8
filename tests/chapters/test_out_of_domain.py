"""The chapter on data sets that were not trained on: rules on numbers made by hand."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from helpers.book.claims import judge
from helpers.book.results import Cells
from helpers.chapters import out_of_domain as chapter
from helpers.chapters.out_of_domain import CLAIMS, RANDOM, SCRATCH, Parameters
from helpers.errors import ParameterError

DOMAIN = "imagenet-barlow-tissue"
STARTS = [RANDOM, "imagenet-v1", DOMAIN, SCRATCH]
KINDS = {"glands": ["glas", "crag"], "nuclei": ["monuseg:kumar", "cpm17", "tnbc"]}


def source(dice, kinds=KINDS) -> Cells:
    """Numbers of models whose Dice is ``dice(start, train, test, rate, seed)``."""
    rows = [
        {"table": "scores", "metric": "dice", "kind": kind, "train": train, "test": test}
        | {"place": "home" if train == test else "elsewhere", "start": start, "rate": rate}
        | {"seed": seed, "value": dice(start, train, test, rate, seed)}
        for kind, names in kinds.items()
        for train, test in product(names, names)
        for start in STARTS
        for rate in (10, 100)
        for seed in range(3)
    ]
    return Cells(pd.DataFrame(rows))


def at_random(*key) -> float:
    return float(np.random.default_rng(list(str(key).encode())).uniform(0.2, 0.9))


@pytest.mark.parametrize("kind", KINDS)
def test_the_drop_is_that_of_plain_loops(kind):
    names, cells = KINDS[kind], source(at_random)
    for start, rate, seed in product(STARTS, (10, 100), range(3)):
        at = {(a, b): at_random(start, a, b, rate, seed) for a, b in product(names, names)}
        away = np.mean([value for (a, b), value in at.items() if a != b])
        home = np.mean([at[a, a] for a in names])
        assert chapter.drop(cells, start, kind, rate)[seed] == pytest.approx(1 - away / home)


def test_harder_images_are_no_drop():
    """Models of equal worth: what makes one data set harder for all cancels."""
    cells = source(lambda start, train, test, *_: 0.4 if test == "glas" else 0.8)
    np.testing.assert_allclose(chapter.drop(cells, RANDOM, "glands", 100), 0)


def noise(seed: int) -> float:
    return 0.001 * (seed - 1)


def as_claimed(start, train, test, rate, seed):
    """Random loses most, the domain's start least; CRAG to GlaS loses next to nothing."""
    if train == test:
        return 0.8 + noise(seed)
    lost = {RANDOM: 0.3, DOMAIN: 0.05}.get(start, 0.2)
    lost = 0.02 if (train, test) == ("crag", "glas") and rate == 100 else lost
    return 0.8 - (0.05 if train == "tnbc" else lost) + 2 * noise(seed)


def test_rules_follow_the_numbers():
    outcomes = [judge(claim, source(as_claimed)).outcome for claim in CLAIMS]
    assert outcomes == [*["holds"] * 6, "does not hold", "holds"]


def test_tissue_from_random_weights_is_in_no_rule():
    def spoilt(start, *at):
        return at_random("any", *at) if start == SCRATCH else as_claimed(start, *at)

    for claim in CLAIMS:
        first, second = (claim.quantity(source(dice)) for dice in (as_claimed, spoilt))
        pd.testing.assert_series_equal(first, second)


def test_nothing_is_tested_where_nothing_is_unseen():
    cells = source(as_claimed, {"glands": ["glas"], "nuclei": ["tnbc"]})
    assert {judge(claim, cells).outcome for claim in CLAIMS} == {"not tested"}


def test_parts_are_trained_with_all_images_and_tested_on_each_other():
    parts = ["glas:benign", "glas:malignant"]
    p = Parameters.check({"within": parts, "shares": [0.1, 0.3, 1.0], "seeds": [0, 1]})
    found = chapter.arms(p)
    assert len(found) == len(set(found)) == 2 * 4 * (4 * 2 + 2)
    own = [arm for arm in found if arm.dataset in parts]
    assert {(arm.share, arm.tested) for arm in own} == {(1.0, tuple(parts))}
    assert {arm.share for arm in found} == {0.1, 1.0}
    assert [arm.seed for arm in found] == sorted(arm.seed for arm in found)


@pytest.mark.parametrize(
    ("within", "message"),
    [
        (["glas:benign"], "at least two"),
        (["glas:benign", "glas:benign"], "none twice"),
        (["synthetic-glands", "glas:benign"], "which glands or nuclei"),
    ],
)
def test_nonsense_in_within_is_refused(within, message):
    with pytest.raises(ParameterError, match=message):
        Parameters.check({"within": within})
