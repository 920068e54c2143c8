"""The chapter on few-shot cells: trials, tables, rules and figures from results made by hand."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import yaml

from helpers.book.parameters import load_profile, profile_path
from helpers.chapters import results
from helpers.chapters.cells import draw as drawn
from helpers.chapters.cells import run as shared
from helpers.chapters.cells import tables as common
from helpers.chapters.cells import words as said
from helpers.chapters.cells.run import CUPRE, LONGER, MOCO, SCRATCH, SOURCE, STARTS, Data, Places
from helpers.chapters.claims import judge
from helpers.chapters.few_shot import draw, run, tables, words
from helpers.chapters.few_shot.claims import CLAIMS
from helpers.chapters.few_shot.parameters import Parameters
from helpers.chapters.few_shot_ablations import run as ablations
from helpers.chapters.few_shot_ablations.parameters import Parameters as OfAblations
from helpers.errors import ParameterError
from helpers.experiments.few_shot import Alternation, Contrasting, FewShot, Warming
from helpers.experiments.objects import Scenes
from helpers.metrics.detection import encode_masks, from_labels

SMALL = {"device": "cpu", "workers": 1, "seeds": [0, 1, 2], "shares": [0.05, 0.5]}
BASE = {SCRATCH: 0.1, SOURCE: 0.3, LONGER: 0.32, MOCO: 0.15, CUPRE: 0.35}


def parameters_of(**overrides):
    return Parameters.check(SMALL | overrides)


def task_of(name, content=""):
    labels = np.zeros((64, 64), np.int32)
    labels[10:20, 10:20], labels[30:45, 30:50] = 1, 2
    image, objects = np.zeros((64, 64, 3), np.uint8), from_labels(labels)
    scenes = Scenes([image] * 3, [objects] * 3, list("abc"), list("abc"))
    return SimpleNamespace(
        name=name,
        content=f"{name} {content}",
        provenance={"name": name},
        classes=("cell",),
        counts={"train": [30, 20, 300], "test": [3, 2, 6]},
        sizes=[[64, 64], [64, 64]],
        side=12.0,
        part=lambda _: scenes,
    )


def data_of(*cells, changed=""):
    named = {name: task_of(name, name == changed) for name in cells or ["synthetic-cyto"]}
    return Data(named, [task_of("synthetic-objects", changed == "synthetic-objects")])


def rounds_of(n, contrast=True):
    """What a pretraining of rounds leaves; the numbers tell the round."""
    one = {
        "contrast_losses": [2.0, 1.0] if contrast else [],
        "matches": [0.1, 0.3] if contrast else [],
        "source_losses": [3.0, 1.0],
        "moved": 0.5 if contrast else 0.0,
        "distance": 1.0,
        "anchor_norm": 10.0,
    }
    return {
        "start_scores": {"box_ap": 0.4},
        "rounds": [one | {"source_scores": {"box_ap": 0.4 + 0.1 * i}} for i in range(1, n + 1)],
        "train_seconds": 9.0,
    }


PRETRAINED = {
    SOURCE: {"losses": [1.0], "source_scores": {"box_ap": 0.4}, "train_seconds": 60.0},
    LONGER: rounds_of(2, contrast=False),
    MOCO: {"losses": [1.0], "train_seconds": 5.0},
    CUPRE: rounds_of(2),
}


def table_of(boxes, masks=None, **overrides):
    """The results table of detectors whose AP is ``boxes(start, share, seed)``."""
    p = parameters_of(**overrides)
    found = {}
    for kind in p.starts:
        for share in p.shares:
            for seed in p.seeds:
                values = {m: (masks or boxes)(kind, share, seed) for m in common.SHOWN}
                values |= dict.fromkeys(list(common.SHOWN)[:3], boxes(kind, share, seed))
                scores = values | {"box_ap_large": None}
                found[run.arm(p, kind, share, seed)] = {"n_images": 3, "scores": scores}
    pretrained = {kind: PRETRAINED[kind] for kind in p.starts if kind in PRETRAINED}
    return tables.results_table(p, data_of(p.cells), pretrained, found)


def plain(kind, share, seed):
    """Leads are the same for all draws and shares."""
    return BASE[kind] + 0.2 * share + 0.01 * seed


def but(start, amount, share=None):
    """As above, but one start is better by an amount, perhaps at one share alone."""

    def boxes(kind, own, seed):
        return plain(kind, own, seed) + (amount if kind == start and share in (None, own) else 0)

    return boxes


# ------------------------------------------------------------------------------------ parameters


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"starts": []}, "'starts'.*at least one value"),
        ({"starts": [SOURCE, SOURCE]}, "'starts'.*none twice"),
        ({"starts": ["imagenet"]}, "'starts'"),
        ({"shares": [0.1, 0.1]}, "'shares'.*none twice"),
        ({"shares": [0.5, 0.1]}, "must ascend"),
        ({"shares": [0.0, 0.1]}, "'shares'"),
        ({"seeds": []}, "'seeds'.*at least one"),
        ({"sources": ["a", "a"]}, "'sources'.*none twice"),
        ({"contrast_batch": 30}, "multiple of 4"),
        ({"contrast_batch": 64, "n_patches": 32}, "not be larger than n_patches"),
        ({"rounds": 3}, "contrast_steps must be a multiple of rounds"),
        ({"contrast_steps": 9, "rounds": 3}, "source_steps must be a multiple of rounds"),
        ({"test_share": 1.0}, "'test_share'"),
        ({"source_crop": 0}, "'source_crop'"),
        ({"wieght": 1}, "'wieght': unknown"),
    ],
)
def test_nonsense_is_refused_by_name(overrides, message):
    with pytest.raises(ParameterError, match=message):
        parameters_of(**overrides)


@pytest.mark.parametrize(
    ("chapter", "schema"), [("few-shot", Parameters), ("few-shot-ablations", OfAblations)]
)
def test_all_profiles_load(chapter, schema):
    for profile in yaml.safe_load(profile_path(chapter).read_text(encoding="utf-8")):
        assert schema.check(load_profile(chapter, profile)).profile == profile


# ------------------------------------------------------------------------------------- the trials


def trials_of(p):
    return {kind: shared.start(p, way) for kind, way in run.routes(p).items()}


def test_every_start_becomes_its_pretraining():
    trials = trials_of(parameters_of())
    assert list(trials) == list(STARTS)
    kinds = [type(trial) for trial in trials.values()]
    assert kinds == [type(None), Warming, Alternation, Contrasting, Alternation]
    assert trials[LONGER].warming == trials[CUPRE].warming == trials[SOURCE]
    assert trials[CUPRE].cells == trials[MOCO].cells
    assert trials[CUPRE].contrast == trials[MOCO].plan


def test_the_control_spends_all_steps_on_the_source():
    trials = trials_of(parameters_of(contrast_steps=10, source_steps=40, anchor_weight=0.5))
    longer, cupre = trials[LONGER], trials[CUPRE]
    assert longer.steps == longer.plan.steps == cupre.steps == 50
    assert (longer.cells, longer.contrast, longer.anchor_weight) == (None, None, 0.0)
    assert (cupre.plan.steps, cupre.contrast.steps, cupre.anchor_weight) == (40, 10, 0.5)
    assert cupre.cells.datasets == ("synthetic-cyto",)
    assert longer.rounds == cupre.rounds


@pytest.mark.parametrize("heads", ["small", "livecell"])
def test_an_arm_is_fine_tuned_alike_from_every_start(heads):
    p = parameters_of(heads=heads)
    trials = [shared.fine_tuning(p, run.arm(p, kind, 0.5, 1)) for kind in p.starts]
    assert len({(t.architecture, t.plan, t.dataset, t.share, t.seed) for t in trials}) == 1
    assert [t.start for t in trials] == list(trials_of(p).values())
    assert not any(t.keep for t in trials)
    assert shared.fine_tuning(p, run.arm(p, CUPRE, 0.5, 0)).keep
    assert trials[0].architecture.channels == p.width
    assert (trials[0].architecture.detections == 3000) == (heads == "livecell")


def test_both_chapters_share_their_trials():
    own = parameters_of(contrast_steps=20, source_steps=20)
    values = {n: v for n, v in own.model_dump().items() if n not in ("starts", "shares")}
    other = OfAblations.check(values | {"share": 0.05})
    here = {
        shared.fine_tuning(own, run.arm(own, k, 0.05, s)) for k in own.starts for s in own.seeds
    }
    there = {shared.fine_tuning(other, arm) for arm in ablations.arms(other)}
    # CUPre as the parameters have it, and the control.
    assert len(here & there) == 2 * 3


SEEN = {
    SCRATCH: set(),
    SOURCE: {"synthetic-objects"},
    LONGER: {"synthetic-objects"},
    MOCO: {"a"},
    CUPRE: {"a", "synthetic-objects"},
}


@pytest.mark.parametrize("changed", ["a", "b", "synthetic-objects"])
def test_a_store_depends_on_the_data_that_were_seen(changed, monkeypatch):
    monkeypatch.setattr(shared, "_code", lambda: "code")
    p = parameters_of(cells="a")
    places, others = Places(data_of("a", "b")), Places(data_of("a", "b", changed=changed))
    for kind, trial in trials_of(p).items():
        assert (places.of(trial) != others.of(trial)) == (changed in SEEN[kind])
        for tested in "ab":
            tuned = FewShot(None, trial, tested, 0.1, None, 0)
            moved = places.of(tuned) != others.of(tuned)
            assert moved == (changed in SEEN[kind] | {tested})


@pytest.fixture
def recorded(monkeypatch, tmp_path):
    """Trials in the order of their run; nothing is trained."""
    done = []

    def note(trial, *_):
        done.append(trial)
        return {"train_seconds": 1.0, "number": len(done)}

    monkeypatch.setenv("BOOK_RUNS_DIR", str(tmp_path))
    monkeypatch.setattr(shared, "_code", lambda: "code")
    for name in ("run_warming", "run_contrasting", "run_alternation", "run_few_shot"):
        monkeypatch.setattr(shared, name, note)
    return done


def test_warmings_are_done_before_what_starts_from_them_and_nothing_twice(recorded):
    p, data = parameters_of(starts=[CUPRE, MOCO, SOURCE, LONGER, SCRATCH]), data_of()
    found = run.pretrain_all(p, data)
    assert isinstance(recorded[0], Warming)
    assert sorted(type(t).__name__ for t in recorded[1:]) == [
        "Alternation",
        "Alternation",
        "Contrasting",
    ]
    assert set(found) == set(STARTS) - {SCRATCH}
    trials = trials_of(p)
    assert all(recorded[found[k]["number"] - 1] == trials[k] for k in found)
    assert run.pretrain_all(p, data) == found
    assert len(recorded) == 4


def test_an_alternation_has_its_warming_done_where_no_start_asks_for_it(recorded):
    found = run.pretrain_all(parameters_of(starts=[CUPRE]), data_of())
    assert [type(t) for t in recorded] == [Warming, Alternation]
    assert list(found) == [CUPRE]


def test_every_start_share_and_draw_is_trained_once(recorded):
    p, data = parameters_of(), data_of()
    found = run.train(p, data)
    assert len(found) == len(recorded) == len(set(recorded)) == 5 * 2 * 3
    assert all(
        recorded[result["number"] - 1] == shared.fine_tuning(p, arm)
        for arm, result in found.items()
    )
    run.train(parameters_of(shares=[0.05, 0.5, 1.0]), data)
    assert {t.share for t in recorded[30:]} == {1.0}


# ------------------------------------------------------------------------------------- the tables


def read_again(table, folder):
    results.write_table(table, folder / "table.csv")
    return results.read_table(folder / "table.csv")


def test_a_table_says_the_same_before_and_after_csv(tmp_path):
    # 100 * 0.07 is not 7.
    table = table_of(plain, shares=[0.07, 0.5])
    again = read_again(table, tmp_path)
    for one in (table, again):
        assert tables.starts_of(one) == list(STARTS)
        assert tables.shares_of(one) == [7.0, 50.0]
        assert tables.few(one) == 7.0
        found = tables.scores(one, "box_ap")
        assert found.loc[(CUPRE, 7.0), 1] == pytest.approx(0.35 + 0.014 + 0.01)
        assert found.notna().all(axis=None)
        assert tables.lead(one, CUPRE, SOURCE, 7.0) == pytest.approx([0.05] * 3)
        assert list(common.rounds_of(one, CUPRE, "source box_ap")) == pytest.approx([0.4, 0.5, 0.6])
        assert list(common.rounds_of(one, CUPRE, "contrast_losses").index) == [1, 2]
        assert common.rounds_of(one, CUPRE, "source_losses")[2] == 2.0
        assert common.rounds_of(one, LONGER, "contrast_losses").empty
        assert common.rounds_of(one, SOURCE, "distance").empty
    pd.testing.assert_frame_equal(tables.score_table(table, 7.0), tables.score_table(again, 7.0))
    pd.testing.assert_frame_equal(tables.lead_table(table), tables.lead_table(again))


def test_data_and_undefined_scores():
    table = table_of(plain)
    data = table[table["table"] == "data"].set_index(["dataset_train", "metric"])
    assert data.loc[("synthetic-cyto", "train images"), "value"] == 30
    assert data.loc[("synthetic-objects", "test images"), "n"] == 6
    assert list(data["method"]) == ["cells", "cells", "source", "source"]
    assert "box_ap_large" not in set(table["metric"])


@pytest.mark.parametrize(
    ("shares", "expected"),
    [([0.05, 1.0], 5.0), ([0.01, 0.1], 10.0), ([0.01, 0.5], 1.0), ([1.0], None), ([0.5, 1], 50.0)],
)
def test_few_is_the_share_nearest_to_the_published_one(shares, expected):
    table = table_of(plain, shares=[float(s) for s in shares], seeds=[0], starts=[SOURCE])
    assert tables.few(table) == expected


def test_a_start_or_share_that_is_missing_leads_nothing():
    table = table_of(plain, starts=[SOURCE, CUPRE])
    assert tables.lead(table, CUPRE, SOURCE, 50.0) == pytest.approx([0.05] * 3)
    assert tables.lead(table, CUPRE, MOCO, 50.0) == []
    assert tables.lead(table, CUPRE, SOURCE, 20.0) == []
    assert tables.lead(table, CUPRE, SOURCE, None) == []
    assert tables.lead(table, CUPRE, SOURCE, 50.0, "mask_ar") == []


def without(table, **where):
    """The rows of scores but those of a start, share or draw."""
    hit = table["table"] == "scores"
    for column, value in where.items():
        hit &= table[column] == value
    return table[~hit]


def test_tables_for_readers():
    table = table_of(plain)
    shown = tables.score_table(table, 5.0)
    assert list(shown["start"]) == list(STARTS)
    assert shown["box AP"].iloc[0].startswith("12.0 (")
    leads = tables.lead_table(table)
    assert list(leads["CUPre minus"]) == [SCRATCH, SOURCE, LONGER, MOCO]
    assert leads["5% of the images"].iloc[1] == "+5.0"
    assert tables.lead_table(table_of(plain, starts=[SOURCE]))["5% of the images"].iloc[0] == "–"
    lacking = without(table, method=MOCO, rate=5.0)
    assert tables.score_table(lacking, 5.0).iloc[3]["mask AP"] == "–"


def test_images_are_spread_by_their_objects():
    assert tables.spread_by_count([5, 0, 9, 2], 3) == [1, 3, 2]
    assert tables.spread_by_count([5, 0], 3) == [1, 0]
    assert tables.spread_by_count([4], 3) == [0]


# ------------------------------------------------------------------------------------- the claims

NAMES = (
    "CUPre, source",
    "CUPre, MoCo",
    "source, MoCo",
    "BBBC038",
    "cells, not length",
    "source pays",
    "MoCo pays",
    "lead shrinks",
    "source's lead shrinks",
    "masks",
)
RULES = dict(zip(NAMES, CLAIMS, strict=True))
NEEDS = {
    "CUPre, source": {CUPRE, SOURCE},
    "CUPre, MoCo": {CUPRE, MOCO},
    "source, MoCo": {SOURCE, MOCO},
    "cells, not length": {CUPRE, LONGER},
    "source pays": {SOURCE, SCRATCH},
    "MoCo pays": {MOCO, SCRATCH},
    "lead shrinks": {CUPRE, SOURCE},
    "source's lead shrinks": {SOURCE, SCRATCH},
    "masks": {CUPRE, SOURCE},
}
CASES = [
    ("CUPre, source", plain, 0.05, "holds"),
    ("CUPre, source", but(SOURCE, 0.05), 0.0, "does not hold"),
    # At the other share only.
    ("CUPre, source", but(SOURCE, 0.1, 0.5), 0.05, "holds"),
    ("CUPre, MoCo", plain, 0.2, "holds"),
    ("CUPre, MoCo", but(MOCO, 0.3), -0.1, "does not hold"),
    ("source, MoCo", plain, 0.15, "holds"),
    ("source, MoCo", but(SOURCE, -0.2), -0.05, "does not hold"),
    ("cells, not length", plain, 0.03, "holds"),
    ("cells, not length", but(LONGER, 0.04), -0.01, "does not hold"),
    ("source pays", plain, 0.2, "holds"),
    ("source pays", but(SCRATCH, 0.2), 0.0, "does not hold"),
    ("MoCo pays", plain, 0.05, "holds"),
    ("MoCo pays", but(MOCO, -0.06), -0.01, "does not hold"),
    ("lead shrinks", but(CUPRE, 0.02, 0.05), 0.02, "holds"),
    ("lead shrinks", plain, 0.0, "does not hold"),
    ("source's lead shrinks", but(SCRATCH, 0.1, 0.5), 0.1, "holds"),
    ("source's lead shrinks", but(SCRATCH, 0.1, 0.05), -0.1, "does not hold"),
    ("masks", plain, 0.005, "holds"),
]


@pytest.mark.parametrize(("name", "boxes", "value", "outcome"), CASES)
def test_rules_settle_results_made_by_hand(name, boxes, value, outcome):
    verdict = judge(RULES[name], table_of(boxes))
    assert verdict.value == pytest.approx(value, abs=1e-9)
    assert verdict.outcome == outcome
    assert verdict.n_seeds == 3


@pytest.mark.parametrize(("amount", "outcome"), [(0.004, "holds"), (-0.02, "does not hold")])
def test_masks_and_boxes_may_differ_by_half_a_point(amount, outcome):
    verdict = judge(RULES["masks"], table_of(plain, masks=but(CUPRE, amount)))
    assert verdict.value == pytest.approx(0.005 - abs(amount))
    assert verdict.outcome == outcome


def of_bbbc038(start, value):
    """AP of one start, 0.2 of the others, whichever share and draw."""
    return lambda kind, share, seed: value if kind == start else 0.2


@pytest.mark.parametrize(
    ("boxes", "value", "outcome"),
    [
        (of_bbbc038(CUPRE, 0.24), 0.2, "holds"),
        (of_bbbc038(CUPRE, 0.21), 0.05, "does not hold"),
        # The best of the others counts, whichever it is; the control is none of them.
        (of_bbbc038(SCRATCH, 0.4), -0.5, "does not hold"),
        (of_bbbc038(LONGER, 0.4), 0.0, "does not hold"),
    ],
)
def test_ten_per_cent_on_bbbc038(boxes, value, outcome):
    rule = RULES["BBBC038"]
    table = table_of(boxes, cells="bbbc038:fluorescence")
    verdict = judge(rule, table)
    assert verdict.value == pytest.approx(value)
    assert verdict.outcome == outcome
    assert judge(rule, table_of(boxes)).outcome == "not tested here"
    # A start without a result at the share does not stand in the way.
    lacking = without(without(table, method=SCRATCH, rate=5.0), method=MOCO)
    assert judge(rule, lacking).outcome != "not tested here"
    zero = table_of(lambda *_: 0.0, cells="bbbc038")
    assert judge(rule, zero).outcome == "not tested here"


@pytest.mark.parametrize("lost", STARTS)
def test_rules_without_their_starts_are_not_tested(lost):
    table = table_of(plain, starts=[s for s in STARTS if s != lost])
    untested = {n for n in NEEDS if judge(RULES[n], table).outcome == "not tested here"}
    assert untested == {name for name, needed in NEEDS.items() if lost in needed}


@pytest.mark.parametrize(
    ("shares", "tested"),
    [([0.05], set(NEEDS) - {"lead shrinks", "source's lead shrinks"}), ([1.0], set())],
)
def test_rules_without_their_shares_are_not_tested(shares, tested):
    table = table_of(plain, shares=shares)
    assert {n for n in NEEDS if judge(RULES[n], table).outcome != "not tested here"} == tested


def test_draws_are_compared_with_themselves_where_some_are_missing():
    def boxes(kind, share, seed):
        return plain(kind, share, seed) + (0.1 * seed if kind == CUPRE else 0)

    table = without(table_of(boxes), method=SOURCE, rate=50.0, seed=0)
    verdict = judge(RULES["lead shrinks"], table)
    assert (verdict.value, verdict.n_seeds) == (pytest.approx(0, abs=1e-9), 2)
    no_mask = table[~((table["metric"] == "mask_ap") & (table["seed"] == 0))]
    assert judge(RULES["masks"], no_mask).value == pytest.approx(0.005)


def test_published_numbers_settle_the_first_three_claims():
    found = results.by_source("few-shot", table_of(plain))
    assert next(iter(found)) == "published"
    assert list(found)[-1] == "this run"
    verdicts = [judge(claim, found["published"]) for claim in CLAIMS]
    assert [v.value for v in verdicts[:3]] == pytest.approx([0.015, 0.332, 0.317])
    assert {(v.outcome, v.n_seeds) for v in verdicts[:3]} == {("holds", 1)}
    assert {v.outcome for v in verdicts[3:]} == {"not tested here"}


def test_recorded_profiles_stand_by_themselves(monkeypatch, tmp_path):
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    (tmp_path / "recorded").mkdir()
    for chapter, profile in (
        ("few-shot", "real"),
        ("few-shot", "gpu"),
        ("few-shot-ablations", "x"),
    ):
        table = table_of(plain, profile=profile, seeds=[0]).assign(chapter=chapter)
        results.write_table(table, tmp_path / "recorded" / f"{chapter}-{profile}.csv")
    found = results.by_source("few-shot", table_of(plain))
    assert list(found) == ["recorded, gpu", "recorded, real", "this run"]
    assert set(found["recorded, real"]["source"]) == {"recorded"}


# ------------------------------------------------------------------------------------ the figures


def drawn_without_warning(figure):
    figure.canvas.draw()
    plt.close(figure)
    return figure


SHAPES = [{}, {"seeds": [0, 1], "shares": [0.1]}, {"seeds": [0], "shares": [0.05, 1.0]}]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("overrides", SHAPES)
def test_curves_and_leads_are_drawn(overrides):
    table = table_of(plain, **overrides)
    curves = drawn_without_warning(draw.curves(table))
    assert [len(axis.lines) for axis in curves.axes] == [5] * 6
    assert [text.get_text() for text in curves.legends[0].texts] == list(STARTS)
    leads = drawn_without_warning(draw.leads(table))
    lines = 3 if len(table["seed"].dropna().unique()) > 2 else 2
    n_shares = len(tables.shares_of(table))
    assert len(leads.axes[0].lines) == 4 * n_shares * lines + 1
    assert len(leads.legends[0].texts) == 4


@pytest.mark.filterwarnings("error")
def test_a_start_without_its_first_share_is_still_in_the_legend():
    table = without(table_of(plain), method=MOCO, rate=5.0)
    leads = drawn_without_warning(draw.leads(table))
    assert MOCO in [text.get_text() for text in leads.legends[0].texts]


@pytest.mark.filterwarnings("error")
def test_published_bars_are_as_long_as_the_numbers():
    figure = drawn_without_warning(draw.published(results.published("few-shot")))
    assert [bar.get_width() for bar in figure.axes[0].patches] == pytest.approx([41.5, 8.3, 40.0])
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == [CUPRE, MOCO, SOURCE]


@pytest.mark.filterwarnings("error")
def test_rounds_show_what_each_side_did():
    figure = drawn_without_warning(drawn.rounds(table_of(plain), [LONGER, CUPRE]))
    contrast, loss, moved, source = figure.axes
    assert [line.get_label() for line in contrast.lines] == [CUPRE]
    assert [line.get_label() for line in loss.lines] == [LONGER, CUPRE]
    # The cells do not move the control.
    assert [line.get_label() for line in moved.lines] == [
        f"{LONGER}, by the source",
        f"{CUPRE}, by the cells",
        f"{CUPRE}, by the source",
    ]
    assert [list(line.get_ydata()) for line in moved.lines] == [[0.1] * 2, [0.05] * 2, [0.1] * 2]
    assert [list(line.get_xdata()) for line in source.lines] == [[0, 1, 2]] * 2


def test_outlines_are_the_outermost_pixels_of_every_object():
    labels = np.zeros((20, 30), np.int32)
    # Two that touch: their common border belongs to both.
    labels[2:8, 3:10], labels[2:8, 10:16] = 1, 2
    picture = drawn.outlined(np.full((20, 30, 3), 255, np.uint8), from_labels(labels))
    expected = np.zeros((20, 30), bool)
    expected[2:8, 3:16] = True
    expected[3:7, 4:9] = expected[3:7, 11:15] = False
    assert np.array_equal((picture == np.float32(drawn.OUTLINE)).all(axis=2), expected)
    assert (picture[~expected] == 1).all()


def test_overlapping_masks_are_all_outlined():
    masks = np.zeros((2, 12, 12), bool)
    masks[0, 1:8, 1:8], masks[1, 4:11, 4:11] = True, True
    objects = from_labels(masks[0].astype(int) + 2 * (masks[1] & ~masks[0]))
    objects = type(objects)(objects.size, objects.boxes, objects.labels, encode_masks(masks))
    yellow = drawn.outlined(np.zeros((12, 12, 3), np.uint8), objects)[..., 0] > 0
    assert yellow[7, 1:8].all()
    assert yellow[4, 4:11].all()
    assert not yellow[5:7, 5:7].any()


def test_of_large_pictures_the_middle_is_shown():
    image = np.zeros((300, 100, 3), np.uint8)
    image[54:, :, 0] = 255
    picture = drawn.outlined(image, from_labels(np.zeros((300, 100), int)))
    assert picture.shape == (192, 100, 3)
    assert (picture[..., 0] == 1).all()
    assert drawn.outlined(image, from_labels(np.zeros((300, 100), int)), 50).shape == (50, 50, 3)


@pytest.mark.filterwarnings("error")
def test_pictures_of_data_and_findings():
    data = data_of("a", "b")
    samples = drawn_without_warning(drawn.samples(data))
    assert len(samples.axes) == 3 * 5
    assert [len(axis.images) for axis in samples.axes] == [1, 1, 1, 0, 0] * 3
    scenes = data.cells["a"].part("test")
    truth = scenes.objects[0]
    scores = np.float32([0.3, 0.2])
    sure = type(truth)(truth.size, truth.boxes, truth.labels, truth.masks, scores)
    # One more than annotated, the same as the first: it is left out.
    found = {CUPRE: [sure.take(np.array([0, 1, 0]))] * 3, SOURCE: [sure.take(slice(0))] * 3}
    figure = drawn_without_warning(drawn.findings(scenes, found, [0, 2]))
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles == ["annotation: 2", CUPRE, SOURCE] * 2
    annotated, best, none = (axis.images[0].get_array() for axis in figure.axes[:3])
    assert np.array_equal(best, annotated)
    assert np.array_equal(none, drawn.outlined(scenes.images[0], truth.take(slice(0))))


# -------------------------------------------------------------------------------------- the words


def test_starts_are_described_with_what_they_took():
    text = words.describe_starts(list(STARTS), PRETRAINED).split("\n")
    assert len(text) == 5
    assert "(" not in text[0].replace("(AMT2)", "")
    assert "60 s; box AP 40.0 on the source" in text[1]
    assert "9 s; box AP 60.0 on the source" in text[2]
    assert text[3].endswith("(5 s)")


def test_data_and_choices_are_told():
    text = said.describe_data(data_of("a"))
    assert "**a** (cells): 30 train images (20 groups, 300 objects)" in text
    assert "**synthetic-objects** (source)" in text
    assert "64x64 pixels, an object's side 12 in the median; 1 class" in text
    told = said.choices(parameters_of(anchor_weight=0.25)).set_index("parameter")["here"]
    assert told["anchor_weight"] == "0.25"
    named = {n for row in told.index for n in row.split(", ")} - {"–"}
    assert named <= set(Parameters.model_fields)


def test_the_sentence_for_a_lab_follows_the_numbers():
    found = {"published": results.published("few-shot"), "this run": table_of(plain)}
    text = words.for_a_lab(found)
    assert text.startswith("**this run**")
    assert "With 5% of the images, box AP: CUPre 37.0, source, longer 34.0, source 32.0" in text
    assert "+5.0 points over the source's detector and +3.0 points over more of the source" in text
    # 0.25 for the start, 0.2 * 0.45 for ten times as many images.
    assert "worth +9.0 points" in text
    assert "a start weighs more than annotating 10 times as much" in text
    dear = words.for_a_lab({"this run": table_of(lambda k, s, d: 0.2 + s)})
    assert "weighs no more than" in dear


def test_the_recorded_run_comes_first():
    found = {"recorded, real": table_of(plain), "this run": table_of(but(CUPRE, -0.3))}
    assert words.for_a_lab(found).startswith("**recorded, real**")


def test_the_sentence_for_a_lab_says_less_where_less_was_run():
    assert "no share below 100%" in words.for_a_lab({"x": table_of(plain, shares=[1.0])})
    single = words.for_a_lab({"x": table_of(plain, shares=[0.1], seeds=[0], starts=[SOURCE])})
    assert "box AP: source 32.0." in single
    assert "CUPre" not in single
    assert "annotating" not in single
    lacking = table_of(plain)
    lacking.loc[(lacking["method"] == MOCO) & (lacking["rate"] == 5), "value"] = np.nan
    lacking.loc[(lacking["method"] == SCRATCH) & (lacking["rate"] == 50), "value"] = np.nan
    text = words.for_a_lab({"x": lacking})
    assert "nan" not in text
    assert "MoCo" not in text
    lacking.loc[lacking["rate"] == 5, "value"] = np.nan
    assert "no box AP was measured with 5%" in words.for_a_lab({"x": lacking})
