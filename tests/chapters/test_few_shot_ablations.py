"""The chapter on the parts of few-shot pretraining: studies, rules and maps made by hand."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from helpers.chapters import results
from helpers.chapters.cells import run as shared
from helpers.chapters.cells import tables as common
from helpers.chapters.cells.run import CUPRE, LONGER, SOURCE, Data
from helpers.chapters.claims import judge
from helpers.chapters.few_shot_ablations import draw, run, tables, words
from helpers.chapters.few_shot_ablations.claims import CLAIMS
from helpers.chapters.few_shot_ablations.parameters import Parameters
from helpers.chapters.few_shot_ablations.run import LENGTH, OWN, PART, QUEUE, ROUNDS, WEIGHT, Maps
from helpers.errors import ParameterError
from helpers.experiments import gap as experiment
from helpers.experiments.gap import CELLS, RANDOM, START, TUNED, Gap
from helpers.experiments.representations import Patches

VIT, RESNET = "pyramid-128x4", "tu-resnet10t"
SMALL = {
    "device": "cpu",
    "workers": 1,
    "seeds": [0, 1, 2],
    "lengths": [],
    "queues": [],
    "encoders": [VIT, RESNET],
    "unseen": ["other", "third"],
}
STAGES = (RANDOM, START, "round 1, cells", "round 1, source", "round 2, cells", TUNED)


def parameters_of(**overrides):
    return Parameters.check(SMALL | overrides)


def data_of(p):
    def task_of(name):
        counts = {"train": [30, 30, 300], "test": [8, 8, 80]}
        return SimpleNamespace(name=name, counts=counts, content=name)

    names = [p.cells, *p.unseen]
    return Data({name: task_of(name) for name in names}, [task_of("synthetic-objects")])


def rounds_of(way, distance, source):
    """What a pretraining leaves whose source moves the backbone by a share of its length."""
    one = {
        "contrast_losses": [1.0],
        "matches": [0.5],
        "source_losses": [2.0],
        "moved": 0.5,
        "distance": 10 * distance,
        "anchor_norm": 10.0,
        "source_scores": {"box_ap": source},
    }
    return {"start_scores": {"box_ap": 0.4}, "rounds": [one] * way.rounds}


def maps_of(p, accuracy):
    gaps = {stage: Gap(a, 4 * a - 2, a / 2) for stage, a in zip(STAGES, accuracy, strict=True)}
    n = 6
    domains = [CELLS] * (n // 2) + [experiment.SOURCE] * (n // 2)
    names = [str(i) for i in range(n)]
    patches = Patches(np.zeros((n, 8, 8, 3), np.uint8), domains, names, names)
    rng = np.random.default_rng(0)
    points = {kind: {stage: rng.normal(size=(n, 2)) for stage in STAGES} for kind in p.projections}
    trust = {kind: dict.fromkeys(STAGES, 0.9) for kind in p.projections}
    return Maps(gaps, points, trust, patches)


def plain(way, dataset, seed):
    """Whatever is varied changes nothing."""
    return 0.3 + 0.01 * seed


GAPS = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7)


def table_of(boxes=plain, *, distance=None, source=None, accuracy=GAPS, **overrides):
    """The results table of detectors whose AP is ``boxes(route, dataset, seed)``."""
    p = parameters_of(**overrides)
    found = {}
    for arm in run.arms(p):
        value = boxes(arm.route, arm.dataset, arm.seed)
        found[arm] = {"n_images": 3, "scores": dict.fromkeys(common.SHOWN, value)}
    pretrained = {
        way: rounds_of(way, distance(way) if distance else 0.1, source(way) if source else 0.5)
        for way in run.all_routes(p)
    }
    return tables.results_table(p, data_of(p), pretrained, found, maps_of(p, accuracy))


def more(amount, **where):
    """Detectors are better by an amount where their route or data set is as told."""

    def boxes(way, dataset, seed):
        own = vars(way) | {"dataset": dataset}
        hit = all(own[name] == value for name, value in where.items())
        return plain(way, dataset, seed) + (amount if hit else 0)

    return boxes


# ------------------------------------------------------------------------------------ parameters


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"anchor_weights": [0.0, 0.0]}, "'anchor_weights'.*none twice"),
        ({"anchor_weights": [-1.0]}, "'anchor_weights'"),
        ({"anchor_weights": [0.0, 1.0]}, r"anchor_weights must hold anchor_weight=0\.1"),
        ({"round_counts": [1, 4]}, "round_counts must hold rounds=2"),
        ({"round_counts": [2, 7]}, r"60 steps of both sides cannot be cut into \[7\]"),
        ({"round_counts": [2, 60]}, r"cut into \[60\] equal rounds with a step of either side"),
        ({"lengths": [0.5, 2.0]}, r"lengths must hold AMT2's own length=1\.0"),
        ({"lengths": [0.0, 1.0]}, "'lengths'"),
        ({"queues": [32, 64]}, "queues must hold the queue that is chosen=128"),
        ({"queues": [16, 128, 512]}, r"queues: \[16, 512\] must be at least contrast_batch=32"),
        ({"contrast_shares": [1.0]}, "'contrast_shares'"),
        ({"contrast_shares": [0.5, 0.5]}, "'contrast_shares'.*none twice"),
        ({"encoders": ["unet-4"]}, "encoders must not hold encoder"),
        ({"unseen": ["synthetic-cyto"]}, "unseen must not hold cells"),
        ({"projections": []}, "'projections'.*at least one"),
        ({"projections": ["pca", "pca"]}, "'projections'.*none twice"),
        ({"max_test_images": 1}, "must be at least 2"),
        ({"max_source_test": 1}, "must be at least 2"),
        ({"rounds": 7}, "multiple of rounds"),
    ],
)
def test_nonsense_is_refused_by_name(overrides, message):
    with pytest.raises(ParameterError, match=message):
        parameters_of(**overrides)


def test_nothing_need_be_varied():
    nothing = ("anchor_weights", "round_counts", "contrast_shares", "lengths", "queues")
    p = parameters_of(encoders=[], unseen=[], **{name: [] for name in nothing})
    assert run.all_routes(p) == [run.base(p)]
    assert {arm.route for arm in run.arms(p)} == {run.base(p)}
    assert p.total_steps == 60


# ------------------------------------------------------------------------------------- the trials

STUDIED = [
    {},
    {"contrast_steps": 10, "source_steps": 2, "round_counts": [1, 2, 3, 6]},
    {"contrast_steps": 2, "source_steps": 22, "round_counts": [2, 4, 12]},
    {"contrast_shares": [0.0, 0.01, 0.4, 0.99]},
    {"rounds": 1, "round_counts": [1], "contrast_steps": 7, "source_steps": 6},
    {"lengths": [0.5, 1.0, 2.0], "queues": [32, 128, 256]},
]


@pytest.mark.parametrize("overrides", STUDIED)
def test_all_levels_have_equal_steps_and_every_round_both_sides(overrides):
    p = parameters_of(**overrides)
    for one in run.settings(p):
        way = one.route
        trial = shared.start(p, way)
        assert trial.steps == way.contrast_steps + way.source_steps
        assert trial.steps == p.total_steps or one.study == LENGTH
        assert way.contrast_steps % way.rounds == way.source_steps % way.rounds == 0
        assert way.source_steps >= way.rounds
        control = one.study == PART and one.level == 0
        assert (trial.contrast is None) == (way.kind == LONGER) == control
        assert control or way.contrast_steps >= way.rounds
        assert trial.alternating.rounds == way.rounds


def test_levels_are_what_they_are_called():
    p = parameters_of(
        contrast_steps=40,
        source_steps=40,
        contrast_shares=[0.0, 0.25, 0.75],
        lengths=[0.5, 1.0],
        queues=[32, 128],
    )
    by_study = {}
    for one in run.settings(p):
        by_study.setdefault(one.study, {})[one.level] = one.route
    assert list(by_study) == [WEIGHT, ROUNDS, PART, LENGTH, QUEUE]
    assert {lv: way.anchor_weight for lv, way in by_study[WEIGHT].items()} == {0: 0, 0.1: 0.1, 1: 1}
    assert {level: way.rounds for level, way in by_study[ROUNDS].items()} == {1: 1, 2: 2}
    steps = {level: way.contrast_steps for level, way in by_study[PART].items()}
    assert steps == {0: 0, 0.25: 20, 0.75: 60}
    both = {n: (way.contrast_steps, way.source_steps) for n, way in by_study[LENGTH].items()}
    assert both == {40: (20, 20), 80: (40, 40)}
    queues = {keys: shared.start(p, way).contrast.queue for keys, way in by_study[QUEUE].items()}
    assert queues == {32: 32, 128: 0}


def test_every_length_is_cut_into_rounds():
    p = parameters_of(contrast_steps=4, source_steps=20, lengths=[0.1, 0.5, 1.0, 1.4])
    ways = [one.route for one in run.settings(p) if one.study == LENGTH]
    assert [(w.contrast_steps, w.source_steps) for w in ways] == [(2, 2), (2, 10), (4, 20), (6, 28)]


def test_the_chapters_own_settings_are_trained_once():
    p = parameters_of(contrast_steps=30, source_steps=30, lengths=[0.5, 1.0], queues=[32, 128])
    base = run.base(p)
    own = {(WEIGHT, 0.1), (ROUNDS, 2), (PART, 0.5), (LENGTH, 60), (QUEUE, 128)}
    assert {(s.study, s.level) for s in run.settings(p) if s.route == base} == own
    assert run.backbones(p)["unet-4"][CUPRE] == run.elsewhere(p)["other"][CUPRE] == base
    arms, ways = run.arms(p), run.all_routes(p)
    assert len(set(arms)) == len(arms)
    assert len(set(ways)) == len(ways)
    assert {arm.route for arm in arms} == set(ways)
    # Two more weights, one more number of rounds, one more length, one more queue, the control, the
    # source; three starts of two backbones each. Of other cells: three starts, and one of their own
    # each.
    assert len(ways) == 1 + 2 + 1 + 1 + 1 + 1 + 1 + 2 * 3 + 2
    assert len(arms) == 3 * (1 + 2 + 1 + 1 + 1 + 1 + 1 + 2 * 3 + 2 * 4)
    trials = [shared.fine_tuning(p, arm) for arm in arms]
    assert len(set(trials)) == len(trials)


def test_other_cells_are_seen_by_one_start_alone():
    p = parameters_of()
    for name, starts in run.elsewhere(p).items():
        assert list(starts) == [SOURCE, LONGER, CUPRE, OWN]
        trials = {kind: shared.start(p, way) for kind, way in starts.items()}
        assert trials[OWN].cells.datasets == (name,)
        assert trials[CUPRE].cells.datasets == (p.cells,)
        assert trials[LONGER].cells is None


def test_the_gap_is_measured_along_the_chapters_own_route(monkeypatch, tmp_path):
    p = parameters_of(projections=["pca"])
    monkeypatch.setenv("BOOK_RUNS_DIR", str(tmp_path))
    monkeypatch.setattr(shared, "_code", lambda: "code")
    asked = {}

    def stages(alternation, result, tuned, folder_of):
        asked.update(alternation=alternation, result=result, tuned=tuned)
        return dict.fromkeys((START, TUNED))

    rows = np.random.default_rng(0).normal(size=(12, 3))
    patches = maps_of(p, GAPS).patches
    monkeypatch.setattr(run, "stages", stages)
    monkeypatch.setattr(run, "gap_patches", lambda *_: patches)
    monkeypatch.setattr(run, "stage_features", lambda found, *_: dict.fromkeys(found, rows[:6]))
    maps = run.map_gap(p, data_of(p), {run.base(p): {"rounds": []}})
    assert asked["alternation"] == shared.start(p, run.base(p)) == asked["tuned"].start
    assert asked["tuned"].keep
    assert asked["tuned"] in {shared.fine_tuning(p, arm) for arm in run.arms(p)}
    assert list(maps.gaps) == list(maps.points["pca"]) == list(maps.trust["pca"]) == [START, TUNED]
    assert maps.points["pca"][START].shape == (6, 2)


# ------------------------------------------------------------------------------------- the tables


def level_of(way, dataset, seed):
    """Another AP for every route, data set and draw, the same in every call."""
    return float(np.random.default_rng(list(f"{way} {dataset} {seed}".encode())).uniform(0.1, 0.6))


def test_a_table_says_the_same_before_and_after_csv(tmp_path):
    p, table = parameters_of(), table_of(level_of)
    results.write_table(table, tmp_path / "table.csv")
    again = results.read_table(tmp_path / "table.csv")
    for one in (table, again):
        assert tables.studies_of(one) == [WEIGHT, ROUNDS, PART]
        for setting in run.settings(p):
            found = tables.study(one, setting.study).loc[setting.level]
            expected = [level_of(setting.route, p.cells, seed) for seed in p.seeds]
            assert list(found) == pytest.approx(expected, rel=1e-4)
            name = f"{setting.study}: {setting.level:g}"
            assert len(common.rounds_of(one, name, "distance")) == setting.route.rounds
        assert tables.names_of(one, "backbones") == ["unet-4", VIT, RESNET]
        assert tables.names_of(one, "elsewhere") == ["other", "third"]
        own = run.elsewhere(p)["third"]
        expected = [
            level_of(own[OWN], "third", s) - level_of(own[CUPRE], "third", s) for s in p.seeds
        ]
        found = tables.lead(one, "elsewhere", "third", OWN, CUPRE)
        assert found == pytest.approx(expected, abs=1e-4)
        assert list(tables.gap(one, "classifier").index) == list(STAGES)
        assert list(tables.gap(one, "classifier")) == pytest.approx(GAPS)
    for view in (
        tables.study_table,
        tables.gap_table,
        lambda t: tables.start_table(t, "backbones"),
    ):
        assert list(view(table).columns) == list(view(again).columns)
        assert len(view(table)) == len(view(again))
    pd.testing.assert_frame_equal(tables.gap_table(table), tables.gap_table(again))


def test_maps_come_back_as_they_were(tmp_path):
    kinds = ["pca", "tsne"]
    p, table = parameters_of(projections=kinds), table_of(projections=kinds)
    results.write_table(table, tmp_path / "table.csv")
    maps = maps_of(p, GAPS)
    for one in (table, results.read_table(tmp_path / "table.csv")):
        found = tables.maps_of(one)
        assert list(found) == kinds
        for kind in kinds:
            assert list(found[kind]) == list(STAGES)
            for stage, by_domain in found[kind].items():
                placed = np.concatenate([by_domain[CELLS], by_domain[experiment.SOURCE]])
                np.testing.assert_allclose(placed, maps.points[kind][stage], atol=6e-4)


def test_what_was_not_done_is_empty():
    table = table_of(round_counts=[2], contrast_shares=[], encoders=[], unseen=[])
    assert tables.studies_of(table) == [WEIGHT]
    assert tables.study(table, PART).empty
    assert tables.names_of(table, "backbones") == tables.names_of(table, "elsewhere") == []
    assert tables.lead(table, "backbones", "unet-4", CUPRE, SOURCE) == []
    assert tables.start_table(table, "elsewhere").empty
    assert tables.maps_of(table[table["table"] != "points"]) == {}


def test_tables_for_readers():
    table = table_of(more(0.05, kind=CUPRE, encoder=VIT))
    shown = tables.study_table(table)
    assert list(shown["varied"]) == [WEIGHT] * 3 + [ROUNDS] * 2 + [PART] * 2
    assert shown["box AP"].iloc[0].startswith("31.0 (")
    starts = tables.start_table(table, "backbones").set_index("backbone")
    assert list(starts["CUPre minus source"].str.lstrip("+")) == ["0.0", "5.0", "0.0"]
    assert starts.loc[VIT, CUPRE].startswith("36.0 (")
    assert tables.gap_table(table)["accuracy of a classifier"].iloc[0] == "0.950"


# ------------------------------------------------------------------------------------- the claims

NAMES = (
    "parts",
    "gap",
    "held",
    "weight",
    "source's cost",
    "rounds",
    "length",
    "range",
    "convolutional",
    "transformer",
    "unseen",
    "own cells",
)
RULES = dict(zip(NAMES, CLAIMS, strict=True))


def by_weight(unanchored, anchored):
    return lambda way: unanchored if way.anchor_weight == 0 else anchored


LENGTHS = {"lengths": [0.5, 1.0]}
WIDER = (0.95, 0.7, 0.9, 0.9, 0.9, 0.6)
CASES = [
    ("parts", {"boxes": more(-0.05, kind=LONGER)}, 0.05, "holds"),
    ("parts", {}, 0.0, "does not hold"),
    # 30 of 60 steps are half; the chapter's own third is no level of this study.
    ("parts", {"boxes": more(-0.05, contrast_steps=30)}, -0.05, "does not hold"),
    ("gap", {}, 0.15, "holds"),
    ("gap", {"accuracy": WIDER}, -0.2, "does not hold"),
    ("held", {"distance": by_weight(0.3, 0.1)}, 0.2, "holds"),
    ("held", {"distance": by_weight(0.1, 0.1)}, 0.0, "does not hold"),
    ("weight", {"boxes": more(0.05, anchor_weight=1.0)}, 0.05, "holds"),
    ("weight", {"boxes": more(0.05, anchor_weight=0.0)}, -0.05, "does not hold"),
    ("source's cost", {"source": by_weight(0.5, 0.495)}, -0.005, "holds"),
    ("source's cost", {"source": by_weight(0.5, 0.45)}, -0.05, "does not hold"),
    ("rounds", {"boxes": more(-0.02, rounds=1)}, 0.02, "holds"),
    ("rounds", {"boxes": more(0.02, rounds=1)}, -0.02, "does not hold"),
    ("length", {"boxes": more(-0.02, source_steps=20), **LENGTHS}, 0.02, "holds"),
    ("length", {"boxes": more(0.02, contrast_steps=10), **LENGTHS}, -0.02, "does not hold"),
    ("range", {"boxes": more(0.004, rounds=1)}, 0.001, "holds"),
    ("range", {"boxes": more(0.02, queue=32), "queues": [32, 128]}, -0.015, "does not hold"),
    ("range", {"boxes": more(0.02, anchor_weight=1.0)}, -0.015, "does not hold"),
    ("convolutional", {"boxes": more(0.03, kind=CUPRE)}, 0.03, "holds"),
    ("convolutional", {"boxes": more(0.03, kind=CUPRE, encoder=RESNET)}, 0.0, "does not hold"),
    ("convolutional", {"boxes": more(-0.03, encoder=VIT, kind=CUPRE)}, 0.0, "does not hold"),
    ("transformer", {"boxes": more(0.03, kind=CUPRE, encoder=VIT)}, 0.03, "holds"),
    ("transformer", {"boxes": more(0.03, kind=LONGER)}, -0.03, "does not hold"),
    ("unseen", {"boxes": more(0.04, kind=CUPRE)}, 0.04, "holds"),
    ("unseen", {"boxes": more(0.04, kind=CUPRE, dataset="other")}, 0.0, "does not hold"),
    # At home it does not count.
    ("unseen", {"boxes": more(0.04, dataset="synthetic-cyto")}, 0.0, "does not hold"),
    ("own cells", {"boxes": more(-0.04, cells=("synthetic-cyto",))}, 0.04, "holds"),
    ("own cells", {"boxes": more(-0.04, cells=("third",))}, -0.04, "does not hold"),
]


@pytest.mark.parametrize(("name", "made", "value", "outcome"), CASES)
def test_rules_settle_results_made_by_hand(name, made, value, outcome):
    verdict = judge(RULES[name], table_of(**made))
    assert verdict.value == pytest.approx(value, abs=1e-9)
    assert verdict.outcome == outcome
    drawn = name not in ("gap", "held", "source's cost", "range")
    assert verdict.n_seeds == (3 if drawn else 1)


@pytest.mark.parametrize(
    ("overrides", "lost"),
    [
        ({"anchor_weights": []}, {"held", "weight", "source's cost"}),
        ({"anchor_weights": [0.1]}, {"held", "weight", "source's cost"}),
        ({"anchor_weights": [0.1, 1.0]}, {"held", "weight", "source's cost"}),
        (
            {"anchor_weights": [0.1], "round_counts": [2]},
            {"held", "weight", "source's cost", "rounds", "range"},
        ),
        ({"round_counts": []}, {"rounds"}),
        ({"lengths": [1.0]}, {"length"}),
        ({"contrast_shares": [0.25, 0.5]}, {"parts"}),
        ({"contrast_shares": [0.0]}, {"parts"}),
        ({"encoders": []}, {"convolutional", "transformer"}),
        ({"encoders": [RESNET]}, {"transformer"}),
        ({"encoder": VIT, "encoders": ["tu-swin_tiny_patch4_window7_224"]}, {"convolutional"}),
        ({"unseen": []}, {"unseen", "own cells"}),
    ],
)
def test_what_a_run_lacks_is_not_tested(overrides, lost):
    table = table_of(**LENGTHS | overrides)
    outcomes = {name: judge(claim, table).outcome for name, claim in RULES.items()}
    assert {name for name, outcome in outcomes.items() if outcome == "not tested here"} == lost


@pytest.mark.parametrize(
    ("missing", "lost"), [("gap", {"gap"}), ("rounds", {"held", "source's cost"})]
)
def test_rules_without_their_table_are_not_tested(missing, lost):
    table = table_of(**LENGTHS)
    table = table[table["table"] != missing]
    outcomes = {name: judge(claim, table).outcome for name, claim in RULES.items()}
    assert {name for name, outcome in outcomes.items() if outcome == "not tested here"} == lost


# ------------------------------------------------------------------------------------ the figures


def drawn_without_warning(figure):
    figure.canvas.draw()
    plt.close(figure)
    return figure


def labels_of(figure):
    return [text.get_text() for text in figure.legends[0].texts]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"seeds": [0]},
        {"round_counts": [], "unseen": ["x"]},
        {"lengths": [0.5, 1.0], "queues": [32, 128]},
    ],
)
def test_studies_and_starts_are_drawn(overrides):
    table = table_of(level_of, **overrides)
    studies = drawn_without_warning(draw.studies(table))
    assert [axis.get_xlabel() for axis in studies.axes] == tables.studies_of(table)
    assert labels_of(studies) == ["box AP", "mask AP"]
    first = studies.axes[0]
    assert [text.get_text() for text in first.get_xticklabels()] == ["0", "0.1", "1"]
    means = 100 * tables.study(table, WEIGHT).mean(axis=1)
    np.testing.assert_allclose(first.lines[0].get_ydata(), means)
    for part, kinds in (("backbones", 3), ("elsewhere", 4)):
        figure = drawn_without_warning(draw.starts(table, part))
        names = tables.names_of(table, part)
        assert len(labels_of(figure)) == kinds
        assert len(figure.axes[0].lines) == 2 * kinds * len(names)
        assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == names


@pytest.mark.filterwarnings("error")
def test_a_single_study_is_drawn():
    table = table_of(round_counts=[], contrast_shares=[])
    assert len(drawn_without_warning(draw.studies(table)).axes) == 1


@pytest.mark.filterwarnings("error")
def test_a_start_missing_on_the_first_data_set_is_still_in_the_legend():
    table = table_of()
    lost = (table["dataset_test"] == "other") & (table["method"] == OWN)
    assert OWN in labels_of(drawn_without_warning(draw.starts(table[~lost], "elsewhere")))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kinds", [["pca"], ["tsne", "umap"]])
def test_gaps_and_maps_are_drawn(kinds):
    table = table_of(projections=kinds)
    gaps = drawn_without_warning(draw.gaps(table))
    assert list(gaps.axes[0].lines[0].get_ydata()) == list(GAPS)
    assert [text.get_text() for text in gaps.axes[1].get_xticklabels()] == list(STAGES)
    maps = drawn_without_warning(draw.maps(tables.maps_of(table)))
    assert len(maps.axes) == len(kinds) * len(STAGES)
    assert labels_of(maps) == [CELLS, experiment.SOURCE]
    assert all(len(line.get_xdata()) == 3 for axis in maps.axes for line in axis.lines)


# -------------------------------------------------------------------------------------- the words


def test_studies_are_described_by_their_best_level():
    text = words.describe_studies(table_of(more(0.05, anchor_weight=1.0))).split("\n")
    assert len(text) == 3
    assert text[0].startswith(f"- **{WEIGHT}**: best at 1 (box AP 36.0), worst at 0 (31.0)")
    assert text[0].endswith("draws of one level differ by 1.0 (std)")
    one = words.describe_studies(table_of(seeds=[0]))
    assert "differ" not in one
    assert "nan" not in one
    none = table_of(anchor_weights=[], round_counts=[2], contrast_shares=[])
    assert words.describe_studies(none) == "Nothing was varied."
    lacking = table_of()
    lacking.loc[lacking["method"] == WEIGHT, "value"] = np.nan
    lacking.loc[(lacking["method"] == ROUNDS) & (lacking["rate"] == 1), "value"] = np.nan
    text = words.describe_studies(lacking)
    assert WEIGHT not in text
    assert f"**{ROUNDS}**: best at 2 (box AP 31.0), worst at 2" in text


def test_the_gap_is_described_by_its_stages():
    text = words.describe_gap(table_of(accuracy=WIDER))
    assert "accuracy of 0.95 in the features of random weights, 0.60 at the least" in text
    assert f"(*{TUNED}*) and 0.60 after fine-tuning" in text
    assert f"farthest apart at *{RANDOM}* (0.4" in text
    table = table_of()
    assert words.describe_gap(table[table["table"] != "gap"]) == "The gap was not measured."


def test_the_sentence_for_a_lab_follows_the_numbers():
    text = words.for_a_lab({"this run": table_of(more(-0.05, kind=LONGER))})
    best = "The best share of steps on cells, 50%, is"
    assert f"{best} +5.0 points over as many steps on the source alone." in text
    assert "0.0 points over the source; these cells' own patches add" in text
    assert "On other, CUPre" in text
    assert "On third" in text
    worse = words.for_a_lab({"this run": table_of(more(0.05, kind=LONGER))})
    assert f"{best} -5.0 points over as many steps" in worse
    partly = words.for_a_lab({"x": table_of(contrast_shares=[0.25, 0.5], unseen=[], seeds=[0])})
    assert "of the steps on cells." in partly
    nothing = words.for_a_lab({"x": table_of(contrast_shares=[], unseen=[])})
    assert nothing == "**x**: neither the share of steps on cells nor the cells were varied."
    lacking = table_of()
    lacking.loc[lacking["table"].isin(["settings", "elsewhere"]), "value"] = np.nan
    assert "nan" not in words.for_a_lab({"x": lacking})
