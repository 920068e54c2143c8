import numpy as np
import pandas as pd
import pytest

from helpers.book import results
from helpers.book.claims import judge
from helpers.chapters.initialisation import CLAIMS, DOMAIN, GLANDS, Parameters, arms
from helpers.errors import ParameterError

STARTS = ["random", "imagenet-lite0", "barlow-tissue", "imagenet-barlow-tissue"]


def made(dice, seeds=range(5)) -> results.Cells:
    """A source whose Dice is ``dice(start, share, seed)`` on one data set of glands."""
    columns = {"table": "scores", "kind": GLANDS, "train": "glas", "test": "glas"}
    rows = [
        {"rate": rate, "start": start, "seed": seed, "metric": "dice"}
        | {"value": dice(start, rate, seed), **columns}
        for rate in (10, 30, 100)
        for start in STARTS
        for seed in seeds
    ]
    return results.Cells(pd.DataFrame(rows))


def test_a_rule_for_all_starts_is_fair_where_nothing_differs():
    """Chance alone does not make it fail, as a minimum over starts would."""
    values = []
    for trial in range(25):
        rng = np.random.default_rng(trial)
        values.append(CLAIMS[2].quantity(made(lambda *_, rng=rng: rng.normal(0.7, 0.05))).mean())
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(25)


@pytest.mark.parametrize("sign", [1, -1])
def test_claims_follow_the_numbers(sign):
    def dice(start, rate, seed):
        known = {"random": 0.0, **dict.fromkeys(DOMAIN, 0.1)}.get(start, 0.05)
        noise = 0.002 * (seed - 2) * (3 if rate == 10 else 1)
        return 0.6 + sign * (0.002 * rate + known * (1.2 - rate / 100)) + noise

    found = [judge(CLAIMS[number], made(dice)).outcome for number in (0, 2, 3, 4, 5)]
    assert set(found) == {"holds" if sign > 0 else "does not hold"}
    assert judge(CLAIMS[1], made(dice)).value > 0


@pytest.mark.parametrize("budgets", [["steps"], ["steps", "epochs"]])
def test_trainings_go_seed_by_seed_and_budgets_differ_for_shares_alone(budgets):
    p = Parameters.check({"budgets": budgets, "shares": [0.2, 1.0], "seeds": [3, 1]})
    found = arms(p)
    assert len(found) == len(set(found)) == 2 * 4 * 4 * (1 + len(budgets))
    assert [arm.seed for arm in found] == [3] * (len(found) // 2) + [1] * (len(found) // 2)
    assert {arm.share for arm in found if arm.budget == "epochs"} <= {0.2}
    assert all(arm.dataset in arm.tested for arm in found)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"shares": [0.1, 0.5]}, "end with 1"),
        ({"starts": ["barlow-tissue"]}, "'random' must be among"),
        ({"glands": [], "nuclei": []}, "at least one data set"),
        ({"glands": ["a"], "nuclei": ["a"]}, "none twice"),
    ],
)
def test_impossible_parameters_are_refused(values, said):
    with pytest.raises(ParameterError, match=said):
        Parameters.check(values)
