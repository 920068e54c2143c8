"""The chapter on data sets that were not trained on: tables and rules from results made by hand."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from helpers.chapters.claims import judge
from helpers.chapters.out_of_domain import claims, draw, run, tables, words
from helpers.chapters.out_of_domain.claims import CLAIMS
from helpers.chapters.out_of_domain.parameters import Parameters
from helpers.chapters.out_of_domain.tables import GLANDS, NUCLEI, WITHIN
from helpers.chapters.starting import run as shared
from helpers.chapters.starting.tables import RANDOM
from helpers.errors import ParameterError
from helpers.experiments.foreground import Pictures

OTHER, DOMAIN = "imagenet-v1", "barlow-pathology"
PAPER = {
    "glands": ["glas", "crag"],
    "nuclei": ["monuseg:kumar", "cpm17", "tnbc"],
    "starts": [RANDOM, OTHER, DOMAIN],
    "shares": [0.1, 1.0],
    "seeds": [0, 1, 2],
}


def parameters_of(**overrides):
    return Parameters.check(PAPER | overrides)


def table_of(dice, **overrides):
    """The results table of models whose Dice is ``dice(arm, tested)`` on every test image."""
    parameters = parameters_of(**overrides)
    counts = {"train": [4, 2], "validation": [1, 1], "test": [2, 1]}
    names = [*parameters.glands, *parameters.nuclei, *parameters.within]
    truth = Pictures([], [np.ones((2, 2), np.uint8)], ["a"], ["p"], [""])
    task = SimpleNamespace(counts=counts, part=lambda _: truth)
    found = {
        arm: {"images": {name: images(dice(arm, name)) for name in tested}, "checks": []}
        for arm, tested in run.wanted(parameters).items()
    }
    return tables.results_table(parameters, dict.fromkeys(names, task), found)


def images(dice):
    """Two test images whose mean is ``dice``."""
    values = [dice - 0.01, dice + 0.01] if 0.01 <= dice <= 0.99 else [dice, dice]
    return {"ids": ["a", "b"], "groups": ["p", "p"], "dice": values, "jaccard": values}


def at_random(arm, tested):
    """Another Dice for every model and data set, the same in every call."""
    key = f"{arm.start} {arm.dataset} {arm.share} {arm.seed} {tested}".encode()
    return float(np.random.default_rng(list(key)).uniform(0.2, 0.9))


def flat(home=0.8, away=0.6):
    return lambda arm, tested: home if arm.dataset == tested else away


# ------------------------------------------------------------------------------------ parameters


@pytest.mark.parametrize(
    ("within", "message"),
    [
        (["glas:benign"], "at least two"),
        (["glas:benign", "glas:benign"], "none twice"),
        (["glas", "glas:benign"], "within names glas, which glands or nuclei"),
        ("glas:benign", "within"),
    ],
)
def test_nonsense_in_within_is_refused(within, message):
    with pytest.raises(ParameterError, match=message):
        parameters_of(within=within)


def test_parts_of_one_data_set_are_taken():
    assert parameters_of(within=["glas:benign", "glas:malignant"]).within[0] == "glas:benign"


# ------------------------------------------------------------------------------------- the trials


@pytest.mark.parametrize("budgets", [["steps"], ["steps", "epochs"], ["epochs", "steps"]])
def test_trainings_are_those_of_the_chapter_initialisation(budgets):
    parameters = parameters_of(budgets=budgets, shares=[0.1, 0.3, 1.0])
    tested = shared.tested_with(parameters)
    every = shared.arms(parameters, list(tested))
    found = run.wanted(parameters)
    assert set(found) <= set(every)
    assert all(found[arm] == tested[arm.dataset] for arm in found)
    assert {(arm.share, arm.budget) for arm in found} == {(0.1, "steps"), (1.0, budgets[0])}
    assert len(found) == 5 * 2 * 3 * 3


def test_without_equal_steps_the_only_budget_is_taken():
    found = run.wanted(parameters_of(budgets=["epochs"]))
    assert {arm.budget for arm in found} == {"epochs"}


def test_a_single_share_is_trained_once():
    found = run.wanted(parameters_of(shares=[1.0]))
    assert {arm.share for arm in found} == {1.0}
    assert len(found) == 5 * 3 * 3


def test_parts_are_trained_with_all_images_and_tested_on_each_other():
    parts = ["glas:benign", "glas:malignant"]
    found = run.wanted(parameters_of(within=parts))
    own = {arm: tested for arm, tested in found.items() if arm.dataset in parts}
    assert len(own) == 2 * 3 * 3
    assert {arm.share for arm in own} == {1.0}
    assert all(tested == parts for tested in own.values())
    assert not any(set(parts) & set(tested) for arm, tested in found.items() if arm not in own)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, ("glas", "crag")),
        ({"glands": ["glas"]}, ("monuseg:kumar", "cpm17")),
        ({"glands": ["glas"], "nuclei": ["tnbc"]}, None),
        ({"glands": ["glas"], "nuclei": [], "within": ["a", "b"]}, ("a", "b")),
    ],
)
def test_the_pair_of_the_pictures(overrides, expected):
    assert run.unseen_pair(parameters_of(**overrides)) == expected


def test_the_first_image_with_an_object_is_shown():
    empty, full = np.zeros((4, 4), np.uint8), np.ones((4, 4), np.uint8)
    part = Pictures([empty, full, full], [empty, full, full], list("abc"), list("abc"), list("abc"))
    task = SimpleNamespace(part=lambda name: part)
    assert run.first_annotated(task).ids == ["b"]
    task = SimpleNamespace(part=lambda name: part.some(np.array([0])))
    assert run.first_annotated(task).ids == ["a"]


# ------------------------------------------------------------------------------------- the tables


@pytest.mark.parametrize("kind", [GLANDS, NUCLEI])
def test_means_over_pairs_are_those_of_plain_loops(kind):
    table, names = table_of(at_random), PAPER[kind]
    for share in (0.1, 1.0):
        columns = ("dice", "own", "drop")
        found = {c: tables.by_start(table, kind, 100 * share, c) for c in columns}
        relative = tables.relative_drop(table, kind, 100 * share)
        for start, seed in product(PAPER["starts"], PAPER["seeds"]):
            dice = {
                (a, b): at_random(shared.Arm(start, a, share, seed), b)
                for a, b in product(names, names)
            }
            away = np.mean([value for (a, b), value in dice.items() if a != b])
            home = np.mean([dice[a, a] for a in names])
            expected = {"dice": away, "own": home, "drop": home - away}
            for column, value in expected.items():
                assert found[column].loc[start, seed] == pytest.approx(value)
            assert relative.loc[start, seed] == pytest.approx(1 - away / home)


@pytest.mark.parametrize("kind", [GLANDS, NUCLEI])
def test_images_that_are_harder_for_everybody_make_no_drop(kind):
    hardness = dict(zip(PAPER[kind], (0.4, 0.8, 0.1), strict=False))
    table = table_of(lambda arm, tested: hardness.get(tested, 0.5))
    assert np.allclose(tables.relative_drop(table, kind, 100), 0)


def test_a_matrix_has_rows_trained_on_and_columns_tested_on():
    table = table_of(at_random)
    cells = tables.matrix(table, GLANDS, DOMAIN, 100)
    mean = np.mean([at_random(shared.Arm(DOMAIN, "crag", 1.0, s), "glas") for s in (0, 1, 2)])
    assert cells.loc["crag", "glas"] == pytest.approx(mean)
    assert list(cells.index) == list(cells.columns) == ["glas", "crag"]


def test_models_that_find_nothing_at_home_have_no_relative_drop():
    table = table_of(lambda arm, tested: 0.0 if (arm.start, arm.seed) == (RANDOM, 1) else 0.5)
    found = tables.relative_drop(table, GLANDS, 10)
    assert np.isnan(found.loc[RANDOM, 1])
    assert found.notna().to_numpy().sum() == 8


def test_a_mean_over_fewer_pairs_is_not_shown():
    table = table_of(flat())
    lacking = (
        (table["dataset_train"] == "glas")
        & (table["dataset_test"] == "crag")
        & (table["method"] == OTHER)
        & (table["seed"] == 2)
    )
    found = tables.by_start(table[~lacking], GLANDS, 100, "dice")
    assert np.isnan(found.loc[OTHER, 2])
    assert found.loc[OTHER, 1] == pytest.approx(0.6)


def test_a_model_that_stands_twice_is_refused():
    table = table_of(flat())
    with pytest.raises(pd.errors.MergeError):
        tables.pairs(pd.concat([table, table]), GLANDS)


def test_parts_of_one_data_set_are_a_kind_of_their_own():
    parts = ["glas:benign", "glas:malignant"]
    table = table_of(flat(), glands=["glas"], within=parts)
    assert tables.kinds_of(table) == [NUCLEI]
    assert tables.kinds_of(table, tables.SHIFTS) == [NUCLEI, WITHIN]
    assert tables.shares_shown(table, WITHIN) == [100]
    assert list(tables.matrix(table, WITHIN, RANDOM, 100).index) == parts
    assert tables.by_start(table, GLANDS, 100, "dice").empty


def test_tables_show_intervals_over_seeds():
    table = table_of(lambda arm, tested: flat()(arm, tested) + 0.01 * arm.seed)
    shown = tables.drop_table(table, GLANDS)
    assert list(shown["start"]) == [*PAPER["starts"]] * 2
    assert shown["Dice at home"].iloc[0].startswith("0.810 (")
    assert shown["relative drop"].iloc[0].startswith("24.7% (")
    matrix = tables.matrix_table(table, GLANDS)
    assert len(matrix) == 3 * 2 * 2
    assert matrix.loc[matrix["trained on"] == "glas", "tested on crag"].iloc[0].startswith("0.610")


# ------------------------------------------------------------------------------------- the claims


def raised(amount, start, *, home=False, trained=(), share=None):
    """Dice as in ``flat``, but one start's models are better elsewhere (or at home)."""

    def dice(arm, tested):
        own = arm.start == start and (not trained or arm.dataset in trained)
        here = own and (arm.dataset == tested) == home and share in (None, arm.share)
        return flat()(arm, tested) + (amount if here else 0)

    return dice


def to_glas_only(to_glas, to_crag):
    def dice(arm, tested):
        return {("crag", "glas"): to_glas, ("glas", "crag"): to_crag}.get(
            (arm.dataset, tested), 0.8
        )

    return dice


RULES = {claim.quantity: claim for claim in CLAIMS}
CASES = [
    # A lead of 0.05 elsewhere; none; a lead at the other share only.
    (claims.domain_best_elsewhere, raised(0.05, DOMAIN), 0.05, "holds"),
    (claims.domain_best_elsewhere, flat(), 0.0, "does not hold"),
    (claims.domain_best_elsewhere, raised(0.05, OTHER), -0.05, "does not hold"),
    (claims.domain_best_elsewhere, raised(0.05, DOMAIN, share=1.0), 0.0, "does not hold"),
    # 0.8 at home: 0.04 less elsewhere is 5 % more of a drop.
    (claims.random_drops_most, raised(-0.04, RANDOM), 0.05, "holds"),
    (claims.random_drops_most, raised(-0.04, OTHER), -0.05, "does not hold"),
    # Drops of 5 % and 25 %; of 5 % and 5 %; of 25 % and 25 %.
    (claims.crag_to_glas_only, to_glas_only(0.76, 0.6), 0.05, "holds"),
    (claims.crag_to_glas_only, to_glas_only(0.76, 0.76), -0.05, "does not hold"),
    (claims.crag_to_glas_only, to_glas_only(0.6, 0.6), -0.15, "does not hold"),
    (claims.crag_to_glas_only, to_glas_only(0.6, 0.76), -0.15, "does not hold"),
    # Two pretrained starts; TNBC does not count in the first, and counts alone in the second.
    (claims.pretrained_better_on_nuclei, raised(-0.04, RANDOM), 0.04, "holds"),
    (claims.pretrained_better_on_nuclei, raised(0.04, OTHER), 0.02, "holds"),
    (claims.pretrained_better_on_nuclei, raised(0.04, OTHER, trained=["tnbc"]), 0, "does not hold"),
    (claims.random_keeps_up_on_tnbc, raised(0.04, RANDOM, trained=["tnbc"]), 0.04, "holds"),
    (claims.random_keeps_up_on_tnbc, raised(-0.008, RANDOM), -0.008, "holds"),
    (claims.random_keeps_up_on_tnbc, raised(-0.04, RANDOM), -0.04, "does not hold"),
    (claims.domain_drops_less, raised(0.04, DOMAIN), 0.05, "holds"),
    (claims.domain_drops_less, raised(0.04, OTHER), -0.05, "does not hold"),
    # Random starts are no pretraining.
    (claims.domain_drops_less, raised(-0.04, RANDOM), 0.0, "does not hold"),
    # 5 % apart, on either side; 1 % apart.
    (claims.domain_drops_alike, raised(0.04, DOMAIN), -0.05, "does not hold"),
    (claims.domain_drops_alike, raised(-0.04, DOMAIN), -0.05, "does not hold"),
    (claims.domain_drops_alike, raised(0.008, DOMAIN), -0.01, "holds"),
    (claims.domain_drops_alike, flat(), 0.0, "holds"),
    # 0.2 are lost elsewhere. A gain of 0.1 at home raises the mean drop by a third of it.
    (claims.drop_exceeds_gain, flat(), 0.2, "holds"),
    (claims.drop_exceeds_gain, raised(0.1, OTHER, home=True), 0.2 + 0.1 / 3 - 0.1, "holds"),
    (claims.drop_exceeds_gain, flat(0.8, 0.8), 0.0, "does not hold"),
]


@pytest.mark.parametrize(("quantity", "dice", "value", "outcome"), CASES)
def test_rules_settle_results_made_by_hand(quantity, dice, value, outcome):
    verdict = judge(RULES[quantity], table_of(dice))
    assert verdict.value == pytest.approx(value, abs=1e-9)
    assert verdict.outcome == outcome
    assert verdict.n_seeds == 3


def test_the_drop_is_weighed_at_the_share_where_it_is_less():
    def dice(arm, tested):
        gain = 0.19 if (arm.start, arm.share) == (DOMAIN, 0.1) else 0.0
        return flat(0.7, 0.6)(arm, tested) + gain * (arm.dataset == tested)

    verdict = judge(RULES[claims.drop_exceeds_gain], table_of(dice))
    assert verdict.value == pytest.approx(0.1 + 0.19 / 3 - 0.19)


def test_seeds_on_both_sides_of_zero_are_no_difference():
    # Drops differ by +5 %, 0 and -5 % of the own Dice.
    def dice(arm, tested):
        shift = 0.04 * (arm.seed - 1) if arm.start == DOMAIN and arm.dataset != tested else 0
        return flat()(arm, tested) + shift

    verdict = judge(RULES[claims.domain_drops_alike], table_of(dice))
    assert verdict.value == pytest.approx(0)
    assert verdict.outcome == "holds"
    assert not verdict.decided


NAMED = {
    claims.crag_to_glas_only,
    claims.pretrained_better_on_nuclei,
    claims.random_keeps_up_on_tnbc,
}


@pytest.mark.parametrize(
    ("overrides", "tested"),
    [
        # Generated data are none of the named ones.
        (
            {
                "glands": ["synthetic-glands", "synthetic-glands-b"],
                "nuclei": ["synthetic-histo", "synthetic-histo-b"],
            },
            set(RULES) - NAMED,
        ),
        # Nothing is out of domain.
        ({"glands": ["glas"], "nuclei": ["tnbc"]}, set()),
        # Nothing knows the domain.
        (
            {"starts": [RANDOM, OTHER]},
            set(RULES)
            - {
                claims.domain_best_elsewhere,
                claims.domain_drops_less,
                claims.domain_drops_alike,
            },
        ),
        ({"starts": [RANDOM]}, {claims.crag_to_glas_only}),
        # MoNuSeg as a whole stands for KUMAR.
        (
            {"glands": ["glas"], "nuclei": ["monuseg", "bbbc038:histology"]},
            {
                claims.pretrained_better_on_nuclei,
                claims.domain_drops_less,
                claims.domain_drops_alike,
                claims.drop_exceeds_gain,
            },
        ),
    ],
)
def test_what_a_run_lacks_is_not_tested(overrides, tested):
    table = table_of(flat(), **overrides)
    outcomes = {quantity: judge(claim, table).outcome for quantity, claim in RULES.items()}
    assert {q for q, outcome in outcomes.items() if outcome != "not tested here"} == tested


# ------------------------------------------------------------------------------ words and figures


def test_the_sentence_for_a_laboratory_follows_the_numbers():
    cheap = words.for_a_lab({"this run": table_of(raised(0.05, DOMAIN))})
    assert "Glands: Dice 0.800 at home and 0.617 elsewhere" in cheap
    assert f"`{DOMAIN}` is best" in cheap
    assert "costs 0.183: which images are annotated weighs more" in cheap
    dear = words.for_a_lab({"this run": table_of(raised(-0.5, RANDOM))})
    assert f"`{RANDOM}` worst, 0.500 apart" in dear
    assert "weighs no more than which weights are loaded" in dear
    assert "lose nothing" in words.for_a_lab({"this run": table_of(flat(0.6, 0.7))})


def test_the_sentence_says_when_nothing_is_out_of_domain():
    table = table_of(flat(), glands=["glas"], nuclei=["tnbc"])
    assert words.NOTHING_UNSEEN in words.for_a_lab({"this run": table})


def test_matrices_frame_the_own_domain_and_nothing_else():
    figure = draw.matrices(table_of(at_random), NUCLEI)
    panels = [axis for axis in figure.axes if axis.images and axis.texts]
    assert len(panels) == 3 * 2
    for axis in panels:
        corners = [np.round(frame.get_xy()).astype(int) for frame in axis.patches]
        assert [tuple(corner) for corner in corners] == [(0, 0), (1, 1), (2, 2)]
        assert len(axis.texts) == 9


@pytest.mark.parametrize(("seeds", "lines"), [([0, 1], 2), ([0, 1, 2], 3)])
def test_drops_have_an_interval_from_three_seeds_on(seeds, lines):
    figure = draw.drops(table_of(at_random, seeds=seeds), GLANDS)
    assert len(figure.axes) == 2
    for axis in figure.axes:
        # Of every start seeds and mean, then the line at zero.
        assert len(axis.lines) == 3 * lines + 1


def test_findings_show_annotation_and_every_start_with_its_dice():
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5, 2:5] = 1
    picture = Pictures([np.zeros((8, 8, 3), np.uint8)], [mask], ["a"], ["a"], [""])
    found = {RANDOM: run.Finding(mask, 0.5), DOMAIN: run.Finding(0 * mask, None)}
    figure = draw.findings(
        {"glas": picture, "crag": picture}, {"glas": found, "crag": found}, "glas"
    )
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles[:3] == ["glas\nown domain", f"{RANDOM}\nDice 0.50", f"{DOMAIN}\nno object"]
    assert titles[3] == "crag\nnot trained on"
