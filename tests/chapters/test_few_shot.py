"""Chapters on few-shot cells: what their parameters refuse, and which arms they ask for."""

import pandas as pd
import pytest

from helpers.book.results import Cells
from helpers.chapters import few_shot, few_shot_ablations
from helpers.errors import ParameterError
from helpers.experiments.ablations import LENGTH, PART, QUEUE, ROUNDS, cases
from helpers.experiments.few_shot import CUPRE, LONGER, STARTS, fine_tuning, start_of

SMALL = {"device": "cpu", "workers": 1, "seeds": [0, 1, 2]}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"starts": []}, "'starts'.*at least one value"),
        ({"starts": ["source", "source"]}, "'starts'.*none twice"),
        ({"shares": [0.0, 0.1]}, "'shares'"),
        ({"contrast_batch": 30}, "'contrast_batch'.*multiple of 4"),
        ({"contrast_batch": 64, "n_patches": 32}, "not be larger than n_patches"),
        ({"rounds": 3}, "contrast_steps must be a multiple of rounds"),
        ({"queue": 8}, "queue must be 0, or from contrast_batch to n_patches"),
        ({"pretrainings": 4}, "not be more than seeds"),
    ],
)
def test_nonsense_is_refused_by_name(overrides, message):
    with pytest.raises(ParameterError, match=message):
        few_shot.Parameters.check(SMALL | overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"queues": [16]}, r"queues: \[16\]"),
        ({"round_counts": [1, 7]}, r"cut into \[7\] rounds"),
        ({"max_test_images": 1}, "2 or more"),
    ],
)
def test_what_cannot_be_varied_is_refused(overrides, message):
    with pytest.raises(ParameterError, match=message):
        few_shot_ablations.Parameters.check(SMALL | overrides)


def test_both_chapters_share_their_trials():
    one = few_shot.Parameters.check(SMALL | {"starts": list(STARTS)})
    other = few_shot_ablations.Parameters.check(SMALL)
    here = {fine_tuning(one, arm) for arm in few_shot.arms(one)}
    there = {fine_tuning(other, arm) for arm in few_shot_ablations.arms(other)}
    # CUPre on few and on all images, and the control on few, of three draws.
    assert len(here & there) == 9


def test_studies_keep_the_total_of_steps_but_for_their_length():
    changes = {"contrast_steps": 24, "source_steps": 24, "round_counts": [1, 2, 4]}
    p = few_shot_ablations.Parameters.check(SMALL | changes | {"contrast_shares": [0.0, 0.01, 0.9]})
    for about, arm in cases(p):
        stage = start_of(p, arm)
        if "level" not in about:
            continue
        contrast = stage.p.contrast_steps if stage.cells else 0
        total = stage.p.source_steps + contrast
        assert total == (about["level"] if about["study"] == LENGTH else 48)
        assert not stage.p.source_steps % stage.p.rounds
        assert not contrast % stage.p.rounds
        if about["study"] == ROUNDS:
            assert stage.p.rounds == about["level"]
        if about["study"] == PART:
            assert arm.start == (CUPRE if about["level"] else LONGER)
        if about["study"] == QUEUE and about["level"] == 128:
            # What is chosen anyway is no other pretraining.
            assert stage == start_of(p, few_shot_ablations.arms(p)[0])


def table(*cells):
    names = ["method", "rate", "seed", "value"]
    fixed = {"table": "scores", "metric": "box_ap", "test": "bbbc038"}
    return Cells(pd.DataFrame(cells, columns=names).assign(**fixed).astype({"seed": "Int64"}))


@pytest.mark.parametrize(
    ("rates", "expected"), [([5, 100], 5), ([1, 10], 10), ([1, 50], 1), ([50, 100], 50)]
)
def test_few_is_the_share_nearest_to_the_published_one(rates, expected):
    assert few_shot.few(table(*(("CUPre", float(rate), 0, 0.1) for rate in rates))) == expected


def test_cupre_is_compared_with_the_rival_that_is_best_on_other_draws():
    rivals = {"scratch": [0.1, 0.1, 0.1], "source": [0.4, 0.2, 0.2], "MoCo": [0.1, 0.3, 0.3]}
    rows = [(m, 5.0, s, v) for m, own in rivals.items() for s, v in enumerate(own)]
    c = table(*rows, *(("CUPre", 5.0, seed, 0.6) for seed in range(3)))
    # Without draw 0 MoCo is best (.1 on it), without the others the source (.2 on either).
    assert few_shot.over_the_best(c).to_dict() == pytest.approx({0: 5.0, 1: 2.0, 2: 2.0})
    elsewhere = Cells(c.table.assign(test="livecell"))
    assert few_shot.over_the_best(elsewhere).empty


def gap(accuracy, mmd):
    names = ["random weights", "source", "round 1, cells", "round 1, source", "fine-tuned"]
    rows = [
        {"table": "gap", "place": k, "stage": name, "metric": metric, "value": values[k], "seed": 0}
        for metric, values in (("classifier", accuracy), ("mmd", mmd))
        for k, name in enumerate(names)
    ]
    return Cells(pd.DataFrame(rows).astype({"seed": "Int64"}))


def test_a_gap_that_closes_by_one_measure_alone_does_not_close():
    both = gap([0.9, 0.9, 0.9, 0.7, 0.5], [0, 0.4, 0.4, 0.3, 0])
    assert few_shot_ablations.closer(both)[0] == pytest.approx(0.25)
    one = gap([0.9, 0.9, 0.9, 0.89, 0.5], [0, 0.4, 0.5, 0.5, 0])
    assert few_shot_ablations.closer(one)[0] == pytest.approx(-0.25)
