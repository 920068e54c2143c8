"""The chapter ``representations``: parameters, and rules applied to similarities made by hand."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from helpers.chapters.claims import judge
from helpers.chapters.representations import draw, run, tables, words
from helpers.chapters.representations.claims import CLAIMS
from helpers.chapters.representations.parameters import Parameters
from helpers.chapters.representations.run import Compared, JointMap, Seen
from helpers.chapters.results import read_table, write_table
from helpers.chapters.starting.run import Arm
from helpers.errors import ParameterError
from helpers.experiments.representations import DECODER, DEEPEST, FIRST, PLACES, Patches
from helpers.features.similarity import Similarity

STARTS = ["random", "barlow-natural", "barlow-tissue"]
DATASETS = ["one", "two"]


@pytest.fixture
def parameters():
    return Parameters.check(
        {
            "glands": DATASETS,
            "starts": STARTS,
            "n_patches": 12,
            "neighbours": 3,
            "shuffles": 20,
            "projections": ["pca"],
            "seeds": [7, 8],
        }
    )


@pytest.fixture
def patches():
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
    sources = [f"{name}: image {i // 2}" for name in DATASETS for i in range(6)]
    return Patches(images, ["one"] * 6 + ["two"] * 6, sources, sources)


def measured(value, identical=1.0, chance=0.0, high=0.1):
    return Similarity(value, identical, chance, chance - 0.05, high, 0.05, 0.95, 20)


def all_measures(cka, neighbours, disparity):
    return {
        "cka": measured(cka + 0.1, chance=0.3, high=0.4),
        "debiased_cka": measured(cka),
        "procrustes": measured(disparity, identical=0.0, chance=0.8),
        "neighbours": measured(neighbours, chance=0.2, high=0.25),
    }


# Of three pairs the last is the least alike; with depth clouds come apart and relations stay.
PAIRS = {
    FIRST: [(0.9, 0.8, 0.02), (0.8, 0.7, 0.02), (0.7, 0.6, 0.04)],
    DEEPEST: [(0.6, 0.5, 0.04), (0.5, 0.4, 0.05), (0.4, 0.3, 0.08)],
    DECODER: [(0.5, 0.5, 0.2), (0.5, 0.4, 0.3), (0.4, 0.2, 0.4)],
}
ACCURACY = {FIRST: 0.5, DEEPEST: 0.9, DECODER: 1.0}
MOVED = {FIRST: (0.95, 0.9, 0.3), DEEPEST: (0.6, 0.5, 0.4)}
BEFORE = (0.1, 0.35, 0.5)
UNTRAINED = {
    ("random", run.ANOTHER): all_measures(0.3, 0.3, 0.4),
    (STARTS[1], run.ANOTHER): all_measures(0.9, 0.9, 0.0),
}
NAMES = [(STARTS[0], STARTS[1]), (STARTS[0], STARTS[2]), (STARTS[1], STARTS[2])]


@pytest.fixture
def compared():
    cells = [(dataset, place) for dataset in DATASETS for place in PLACES]
    return Compared(
        {
            (d, place): {n: all_measures(*v) for n, v in zip(NAMES, PAIRS[place], strict=True)}
            for d, place in cells
        },
        {
            (d, p): dict.fromkeys(STARTS, all_measures(*v))
            for d in DATASETS
            for p, v in MOVED.items()
        },
        {place: dict.fromkeys(NAMES, all_measures(*BEFORE)) | UNTRAINED for place in MOVED},
        {(d, place): ACCURACY[place] for d, place in cells},
        {cell: dict.fromkeys(STARTS, 0.95) for cell in cells},
    )


@pytest.fixture
def models():
    found = {}
    for dataset in DATASETS:
        for number, start in enumerate(STARTS):
            images = {name: {"dice": [0.5 + 0.1 * number, None]} for name in DATASETS}
            found[Arm(start, dataset, 1.0, 7)] = {"images": images, "train_seconds": 1.0}
    return found


@pytest.fixture
def maps():
    points = np.random.default_rng(0).normal(size=(12, 2))
    one = JointMap(dict.fromkeys(STARTS, points), 0.9)
    return {dataset: {"pca": dict.fromkeys(PLACES, one)} for dataset in DATASETS}


@pytest.fixture
def table(parameters, patches, compared, models, maps):
    return tables.results_table(parameters, patches, compared, models, maps)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"glands": []}, "glands must name"),
        ({"starts": ["random"]}, "at least two"),
        ({"n_patches": 20}, "neighbours=25 must be below n_patches"),
        ({"projections": ["umap", "umap"]}, "none twice"),
        ({"shuffles": 3}, "shuffles"),
    ],
)
def test_parameters_that_leave_nothing_to_compare(values, message):
    with pytest.raises(ParameterError, match=message):
        Parameters.check(values)


def test_the_published_settings_are_the_defaults():
    p = Parameters()
    assert (p.n_patches, p.neighbours, p.min_dist, p.metric) == (300, 25, 0.1, "cosine")
    assert p.projections[0] == "umap"


@pytest.mark.parametrize("budgets", [["steps"], ["epochs"], ["epochs", "steps"]])
def test_networks_are_those_that_initialisation_keeps(parameters, budgets):
    chosen = parameters.model_copy(update={"budgets": budgets})
    arms = run.wanted(chosen)
    assert len(arms) == len(STARTS) * len(DATASETS)
    assert {(arm.share, arm.seed, arm.budget) for arm in arms} == {(1.0, 7, budgets[0])}
    assert set(map(tuple, arms.values())) == {tuple(DATASETS)}


def test_what_is_compared_follows_the_features(parameters, patches):
    """Two starts with one network, a third with a network of its own."""
    rng = np.random.default_rng(0)
    shared, own = rng.normal(size=(2, 12, 5))
    features = dict(zip(STARTS, (shared, shared, own), strict=True))
    before = features | {run.ANOTHER: rng.normal(size=(12, 5))}
    seen = Seen(
        {name: dict.fromkeys(PLACES, features) for name in DATASETS},
        {FIRST: before, DEEPEST: before},
    )
    found = run.compare(parameters, seen, patches)
    assert set(found.pairs) == {(d, place) for d in DATASETS for place in PLACES}
    pairs = found.pairs["two", DECODER]
    assert pairs[NAMES[0]]["neighbours"].value == pytest.approx(1)
    assert pairs[NAMES[0]]["procrustes"].value == pytest.approx(0, abs=1e-9)
    assert pairs[NAMES[2]]["debiased_cka"].value < 0.7
    # Nothing was trained, so nothing has moved.
    assert set(found.moved) == {(d, place) for d in DATASETS for place in (FIRST, DEEPEST)}
    for starts in found.moved.values():
        assert all(one["debiased_cka"].value == pytest.approx(1) for one in starts.values())
    assert found.before[FIRST]["random", run.ANOTHER]["debiased_cka"].value < 0.7
    again = run.compare(parameters, seen, patches)
    assert again.reordered == found.reordered
    assert again.pairs == found.pairs


def test_maps_hold_all_starts(parameters):
    rng = np.random.default_rng(0)
    features = {start: rng.normal(size=(12, 5)) for start in STARTS}
    joint = run.joint_maps(parameters, dict.fromkeys(PLACES, features))
    assert set(joint) == {"pca"}
    for one in joint["pca"].values():
        assert [points.shape for points in one.points.values()] == [(12, 2)] * 3
        assert 0 <= one.trust <= 1
    turned = features | {STARTS[1]: features[STARTS[0]] @ np.linalg.qr(rng.normal(size=(5, 5)))[0]}
    euclidean = parameters.model_copy(update={"metric": "euclidean"})
    lone = run.lone_maps(euclidean, {FIRST: turned})[FIRST]
    np.testing.assert_allclose(lone[STARTS[1]], lone[STARTS[0]], atol=1e-4)
    assert not np.allclose(lone[STARTS[2]], lone[STARTS[0]], atol=0.02)


def test_the_table_survives_its_file(table, maps, tmp_path):
    write_table(table, tmp_path / "t.csv")
    again = read_table(tmp_path / "t.csv")
    assert set(again["seed"].dropna()) == {7}
    kept = tables.maps_of(again)
    assert set(kept) == set(DATASETS)
    for dataset, by_name in maps.items():
        for place, one in by_name["pca"].items():
            found = kept[dataset]["pca"][place]
            assert (list(found.points), found.trust) == (STARTS, one.trust)
            for start, points in one.points.items():
                np.testing.assert_allclose(found.points[start], points, atol=5e-4)
    assert tables.maps_of(table[table["table"] != "points"]) == {}
    for view in (tables.pair_table, tables.cloud_table, tables.moved_table):
        pd.testing.assert_frame_equal(view(again), view(table))


def test_verdicts_follow_their_rules(table):
    verdicts = [judge(claim, table) for claim in CLAIMS]
    expected = [
        # Accuracy 0.5 of three starts: overlap 0.75; deepest 0.15.
        ("holds", 0.75),
        ("holds", 0.6),
        # The least alike pair: 0.3 against 0.25; 1 - 0.08 / 0.8; 0.2 against 0.25; 1 - 0.4 / 0.8.
        ("holds", 0.05),
        ("holds", 0.9),
        ("does not hold", -0.05),
        ("does not hold", 0.5),
        ("holds", 0.95),
        ("holds", 0.35),
        # Mean of the deepest pairs 0.5, two random encoders 0.3.
        ("holds", 0.2),
        # The same pairs before fine-tuning 0.1.
        ("holds", 0.4),
    ]
    assert [verdict.outcome for verdict in verdicts] == [outcome for outcome, _ in expected]
    np.testing.assert_allclose([verdict.value for verdict in verdicts], [v for _, v in expected])


def test_a_rule_gives_one_number_and_no_interval(table):
    assert {judge(claim, table).n_seeds for claim in CLAIMS} == {1}


def test_without_the_numbers_nothing_is_tested(table):
    empty = table[table["table"] == "patches"]
    assert {judge(claim, empty).outcome for claim in CLAIMS} == {"not tested here"}


def test_one_group_leaves_clouds_untested(parameters, patches, compared, models, maps):
    unknown = dict.fromkeys(compared.apart, float("nan"))
    control = {cell: dict.fromkeys(STARTS, float("nan")) for cell in compared.apart}
    found = replace(compared, apart=unknown, reordered=control)
    table = tables.results_table(parameters, patches, found, models, maps)
    outcomes = [judge(claim, table).outcome for claim in CLAIMS]
    assert [i for i, one in enumerate(outcomes) if one == "not tested here"] == [0, 1, 6]
    assert "cannot be asked" in words.clouds(table)
    assert tables.overlaps(table).empty
    assert tables.cloud_table(table).empty


def test_matrices_hold_every_pair_twice(table):
    found = tables.matrix(table, "one", DEEPEST, "neighbours")
    assert list(found) == list(found.index) == STARTS
    assert np.isnan(np.diag(found)).all()
    np.testing.assert_array_equal(found, found.T)
    assert found.loc[STARTS[1], STARTS[2]] == pytest.approx(0.3)
    by_chance = tables.matrix(table, "one", DEEPEST, "neighbours", chance=True)
    assert by_chance.loc[STARTS[1], STARTS[2]] == pytest.approx(0.2)


def test_views_of_the_table(table):
    pairs = tables.pair_table(table).set_index(["trained on", "place", "measure"])
    row = pairs.loc[("two", DEEPEST, "neighbourhood overlap")]
    assert row["mean of pairs"] == "0.40"
    assert row["lowest to highest"] == "0.30 to 0.50"
    assert row["by chance"] == "0.20"
    assert row["before fine-tuning"] == "0.35"
    assert row["two random encoders"] == "0.30"
    decoder = pairs.loc[("two", DECODER, "debiased CKA")]
    assert decoder["before fine-tuning"] == decoder["two random encoders"] == "–"
    clouds = tables.cloud_table(table)
    assert len(clouds) == len(DATASETS) * len(PLACES) * (1 + len(STARTS))
    assert set(clouds.loc[clouds["told apart"] == tables.ALL_STARTS, "by chance"]) == {"0.33"}
    moved = tables.moved_table(table)
    assert len(moved) == len(DATASETS) * len(STARTS)
    assert set(moved[f"debiased CKA, {DEEPEST}"]) == {"0.60"}


def test_advice_is_drawn_from_the_numbers(table):
    said = words.for_a_lab({"recorded, real": table})
    assert "**recorded, real**" in said
    # Best start minus worst; deepest pairs after and before; two random encoders.
    for number in ("20.0 Dice points", "CKA of 0.50", "0.10 before", "have 0.30", "0.95 to what"):
        assert number in said
    assert "task drew them together" in said
    less = table.copy()
    before = (less["table"] == "before") & (less["metric"] == "debiased_cka")
    less.loc[before, "value"] = 0.9
    assert "did not draw them together" in words.for_a_lab({"this run": less})


def test_words_name_counts_and_warn_of_width(patches):
    assert "6 patches of 3 test images, 3 groups" in words.describe_patches(patches)
    narrow = {FIRST: {"random": np.zeros((12, 4))}}
    assert "nearly anything" not in words.describe_widths(narrow, 12)
    wide = narrow | {DEEPEST: {"random": np.zeros((12, 12))}}
    assert f"({DEEPEST}) nearly anything" in words.describe_widths(wide, 12)


def test_figures_are_drawn(table, patches, maps):
    rng = np.random.default_rng(0)
    features = {start: rng.normal(size=(12, 5)) for start in STARTS}
    lone = {place: dict.fromkeys(STARTS, rng.normal(size=(12, 2))) for place in PLACES}
    drawn = {
        "patches": draw.patches(patches),
        "joint": draw.joint(maps["one"]),
        "alone": draw.alone(lone),
        "matrices": draw.matrices(table, "one"),
        "clouds": draw.clouds(table),
        "moved": draw.moved(table),
        "nearest": draw.nearest(features, patches, 0),
    }
    axes = {name: len(figure.axes) for name, figure in drawn.items()}
    assert axes["joint"] == len(PLACES)
    assert axes["alone"] == len(PLACES) * len(STARTS)
    assert axes["matrices"] == len(tables.MEASURES) * len(PLACES)
    texts = [text.get_text() for text in drawn["matrices"].axes[4].texts]
    # Neighbourhood overlap at the deepest level, row by row: chance above the diagonal.
    assert texts == ["0.20", "0.20", "0.50", "0.20", "0.40", "0.30"]
    points = tables.map_points(maps["one"])
    assert len(points) == len(PLACES) * len(STARTS) * len(patches)
    for figure in drawn.values():
        plt.close(figure)
