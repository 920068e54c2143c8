"""The re-analysis of released numbers: faults are found, and results another way."""

import csv
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from statistics import fmean

import numpy as np
import pandas as pd
import pytest

from helpers.book.claims import judge
from helpers.book.results import Cells
from helpers.chapters.stopping_published import BEST_FORM, CLAIMS, Parameters, arms, numbers
from helpers.data import released
from helpers.data.fetch import locate
from helpers.errors import DataError, ParameterError
from helpers.experiments import released as experiment
from helpers.experiments.released import (
    ALL_FORMS,
    FULL,
    NONE,
    OFFLINE,
    ONLINE,
    ORACLE,
    RANDOM,
    ROBUST,
    SHORTER,
    Form,
    Found,
    Rule,
    SetUp,
    choose,
    gather_set_ups,
    judge_choice,
    repeated_lengths,
    run,
    shorter_by_seed,
)

SMALL = Parameters(
    dataset=released.GENERATED, patiences=[1], smoothings=[1], least_epochs=[1], seed=0
)


@pytest.fixture(scope="module")
def generated():
    return released.generated_tables()


@pytest.fixture(scope="module")
def made(generated):
    return gather_set_ups(generated)


def test_faulty_lengths_are_found_by_their_numbers(generated, made):
    """Those that are generated, and one anywhere else: the search knows nothing of length 0."""
    table = generated.robustness
    own = table["dataset"] == "C"
    twice = table[own & (table["length"] == 150)].assign(length=20)
    pairs = repeated_lengths(pd.concat([table[~(own & (table["length"] == 20))], twice]))
    faults = pairs.loc[pairs["equal"] == pairs["rows"], ["dataset", "length", "repeats"]]
    expected = [("A", 0, 300), ("B", 0, 300), ("C", 20, 150)]
    assert sorted(faults.itertuples(index=False, name=None)) == expected
    known = {one.dataset for one in made if np.isfinite(one.losses[Form()][0])}
    assert known == {"C"}


def test_set_ups_are_whole_and_bear_no_real_names(made):
    assert len(made) == 36
    for one in made:
        assert one.lengths.tolist() == list(released.LENGTHS)
        assert one.dice.shape == (10, 5)
        assert one.borrowed == (one.scheme == "advanced")
        assert set(ALL_FORMS) <= set(one.losses)
        assert one.dataset not in released.DATASETS.values()


LENGTHS = np.array([0, 1, 5, 20, 50, 300])
LOSS = [0.05, 0.5, 0.4, 0.45, 0.2, 0.3]
DICE = [0.2, 0.5, 0.6, 0.4, 0.8, 0.7]


def by_hand(dice, loss, accuracy=None):
    """A set-up with the lengths above; ``dice`` by length, or by length and seed."""
    dice = np.asarray(dice, dtype=float)
    dice = np.repeat(dice[:, None], 3, axis=1) if dice.ndim == 1 else dice
    accuracy = np.linspace(0, 0.7, len(LENGTHS)) if accuracy is None else np.asarray(accuracy)
    losses = {Form(): np.asarray(loss, dtype=float)}
    return SetUp("ACDC", "Swin", "simple", True, LENGTHS, dice, accuracy, losses, False)


def test_rules_that_rank_never_take_length_zero_unless_told():
    one = by_hand(DICE, LOSS, accuracy=[0.9, 0.1, 0.2, 0.6, 0.5, 0.4])
    at = {method: choose(Rule(method), one)[0] for method in OFFLINE if method != SHORTER}
    assert list(at.values()) == [[4], [1], [3], [5], [1, 2, 3, 4, 5], [0], [4]]
    assert choose(Rule(ROBUST, watch_start=True), one)[0] == [0]


@pytest.mark.parametrize(
    ("rule", "at", "seen"),
    [
        (Rule(ONLINE, Form(), 1, 1, 1), 2, 3),
        (Rule(ONLINE, Form(), 2, 1, 1), 4, 5),
        # Not before epoch 6: the first checkpoint that may be taken is the one at 20 epochs.
        (Rule(ONLINE, Form(), 1, 1, 6), 4, 5),
        (Rule(ONLINE, Form(), 1, 1, 300), 5, 5),
        (Rule(ONLINE, Form(), 1, 1, 1, watch_start=True), 0, 3),
        (Rule(ONLINE, Form(), 1, 1, 20, watch_start=True), 0, 5),
    ],
)
def test_online_rules_in_epochs(rule, at, seen):
    assert choose(rule, by_hand(DICE, LOSS)) == ([at], seen)
    judged = judge_choice(rule, by_hand(DICE, LOSS))[0]
    assert judged["times_less"] == pytest.approx(300 / LENGTHS[seen])
    assert judged["epochs"] == LENGTHS[at]


def test_a_rule_longer_than_the_pretraining_is_refused():
    with pytest.raises(ParameterError, match="least=301"):
        choose(Rule(ONLINE, Form(), 1, 1, 301), by_hand(DICE, LOSS))


def test_the_correlation_of_a_rule_is_positive_where_it_is_right():
    one = by_hand(DICE, [np.nan, *(1 - np.array(DICE[1:]))])
    found = {method: judge_choice(Rule(method), one)[0]["rank_correlation"] for method in OFFLINE}
    assert found[ROBUST] == pytest.approx(1)
    # Ranks of the lengths 1..5 against those of the Dice 2, 3, 1, 5, 4: 1 - 6 * 8 / 120.
    assert found[FULL] == pytest.approx(0.6)
    assert np.isnan([found[method] for method in (RANDOM, NONE, SHORTER, ORACLE)]).all()


def test_the_shorter_length_is_chosen_by_the_other_seeds():
    """Length 1 is best thanks to the seed that is judged; the others prefer length 20."""
    dice = np.full((6, 3), 0.5)
    dice[1, 0], dice[3, 1:] = 0.95, 0.6
    one = by_hand(dice, LOSS)
    assert shorter_by_seed(one) == [3, 1, 1]
    reached = {m: [row["regret"] for row in judge_choice(Rule(m), one)] for m in (FULL, SHORTER)}
    np.testing.assert_allclose(np.subtract(reached[FULL], reached[SHORTER]), 0, atol=1e-12)


def test_missing_no_pretraining_counts_only_where_it_is_best():
    best = by_hand([0.9, *DICE[1:]], LOSS)
    assert judge_choice(Rule(ROBUST), best)[0]["missed_none"] == 1
    assert judge_choice(Rule(ROBUST, watch_start=True), best)[0]["missed_none"] == 0
    assert np.isnan(judge_choice(Rule(ROBUST), by_hand(DICE, LOSS))[0]["missed_none"])


def judged(set_ups) -> dict[int, str]:
    """Outcome of every claim, by number, on these set-ups."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "gather_set_ups", lambda tables: set_ups)
        forms = [Form(), Form("l2", 0.25, False, 2), Form("pearson")]
        listed = [(t, r) for t, r in arms(SMALL) if t != "forms" or r.form in forms]
        table, images = numbers(run(SMALL, listed))
    cells = Cells(table, images)
    return {number: judge(claim, cells).outcome for number, claim in enumerate(CLAIMS, 1)}


def test_nothing_is_better_where_checkpoints_are_alike_or_differ_by_chance(made):
    """A tie is no gain, and the best of nine lengths or of several forms is no evidence."""
    better = {2, 3, 4, 8, 10, 11}
    alike = judged([replace(one, dice=np.full_like(one.dice, 0.7)) for one in made])
    assert "holds" not in {alike[number] for number in better}
    rng = np.random.default_rng(5)
    noise = [replace(one, dice=0.7 + 0.0025 * rng.standard_normal((10, 5))) for one in made]
    assert judged(noise)[4] != "holds"
    # And the rule does find what is there: some shorter length better with every seed.
    for one in noise:
        one.dice[4] += 0.01
    assert judged(noise)[4] == "holds"


def test_the_best_form_is_chosen_on_the_other_data_sets():
    form = {"distance": "l2", "margin": 0.5, "pooled": True, "from_top": 1}
    rows = [
        {"table": "forms", "method": ROBUST, **form, "distance": distance, "seed": 0}
        | {"way": "frozen", "image": "x", "group": group}
        | dict.fromkeys(("regret", "saved", "times_less", "epochs", "missed_none"), 0.0)
        | {"rank_correlation": 0.0, "tis": value}
        for group, values in {"A": (0.9, 0.5), "B": (0.6, 0.7), "C": (0.6, 0.7)}.items()
        for distance, value in zip(("cosine", "l2"), values, strict=True)
    ]
    rows.append(rows[0] | {"table": "rules"})
    images = numbers(Found(None, False, [], pd.DataFrame(rows)))[1]
    best = images[images["method"] == BEST_FORM].set_index("group")["tis"]
    # On A l2 is taken, which is best on B and C; on B and C cosine, thanks to A.
    assert best.to_dict() == {"A": 0.5, "B": 0.6, "C": 0.6}


def test_missing_tables_are_replaced_only_when_told_and_never_in_silence(monkeypatch):
    def nothing():
        raise DataError("no network")

    monkeypatch.setattr(experiment, "open_released", nothing)
    monkeypatch.setattr(experiment, "fingerprint_of", lambda name: None)
    tables, missing = experiment.open_tables(Parameters())
    assert missing
    assert tables.provenance["name"] == released.GENERATED
    with pytest.raises(DataError, match="no network"):
        experiment.open_tables(Parameters(if_missing="stop"))
    # Files that are there but cannot be read are no reason to make numbers up.
    monkeypatch.setattr(experiment, "fingerprint_of", lambda name: "there")
    with pytest.raises(DataError, match="no network"):
        experiment.open_tables(Parameters())


def test_a_table_of_another_form_is_refused(tmp_path):
    path = tmp_path / "downstream_scores.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no column"):
        released._downstream(path)


# ------------------------------------------------------------------ the real tables, another way


@pytest.fixture(scope="module")
def plain(bundle):
    """Both files as dictionaries, read with the csv module, nothing shared with the package."""
    files = {path.name: path for path in locate(released.NAME).files}
    dice = defaultdict(dict)
    with files[released.DOWNSTREAM].open(newline="") as stream:
        for row in csv.DictReader(stream):
            key = (row["model"], row["dataset"], row["pretraining scheme"], row["freeze encoder"])
            value = row["mean dice index"] or row["dice index"]
            dice[key, int(row["pretraining length"])][row["seed"]] = float(value)
    loss = {}
    with files[released.ROBUSTNESS].open(newline="") as stream:
        for row in csv.DictReader(stream):
            form = (row["metric"], float(row["margin"]), row["pooled"], int(row["level"]))
            key = (row["encoder"], row["dataset"], row["pretraining_scheme"])
            loss[key, form, int(row["pretraining_length"])] = float(row["robustness"])
    return dice, loss


MODELS = {
    "ResNet50 Attention U-Net": ("resnet50", 5),
    "basic U-Net": ("u-net_encoder", 5),
    "Swin U-Net": ("swin_transformer", 4),
}
SETS = {"ACDC": "ACDC", "COVIDQUDataset": "COVID-QU", "IDRiD": "IDRiD"}
PRETRAINED = released.LENGTHS[1:]


def plain_tis(plain, choose):
    """Mean TIS over the 36 set-ups; ``choose`` gets means by length and losses by length."""
    dice, loss = plain
    found = []
    for key in sorted({key for key, _ in dice}):
        model, dataset, scheme, frozen = key
        encoder, deepest = MODELS[model]
        means = {n: fmean(dice[key, n].values()) for n in PRETRAINED}
        zero = dice.get((key, 0)) or dice[(model, dataset, "simple", frozen), 0]
        means[0] = fmean(zero.values())
        name = (encoder, SETS[dataset], f"{scheme}_training")

        def losses(metric="cosine_distance", margin=0.5, pooled="True", top=1, n=name, d=deepest):
            return {k: loss[n, (metric, margin, pooled, d + 1 - top), k] for k in PRETRAINED}

        found.append(choose(means, losses) / max(means.values()))
    assert len(found) == 36
    return fmean(found)


def lowest(**form):
    def choose(means, losses):
        own = losses(**form)
        return means[min(own, key=own.get)]

    return choose


def first_rise(means, losses):
    own = losses()
    best = 1
    for before, now in pairwise(PRETRAINED):
        if own[now] >= own[best]:
            return means[before]
        best = now
    return means[best]


@pytest.fixture(scope="module")
def real(bundle):
    return gather_set_ups(released.open_released())


@pytest.mark.bundle
@pytest.mark.parametrize(
    ("rule", "another", "planned"),
    [
        (Rule(FULL), lambda means, losses: means[300], 0.994),
        (Rule(NONE), lambda means, losses: means[0], 0.925),
        (Rule(RANDOM), lambda means, losses: fmean(means[n] for n in PRETRAINED), 0.977),
        (Rule(ORACLE), lambda means, losses: max(means.values()), 1.0),
        (Rule(ROBUST), lowest(), 0.986),
        (Rule(ROBUST, Form("l2", 0.25)), lowest(metric="l2_loss", margin=0.25), None),
        (
            Rule(ROBUST, Form("pearson", 1.0, False)),
            lowest(metric="inv_pearson_corr", margin=1.0, pooled="False"),
            None,
        ),
        (
            Rule(ROBUST, Form("cosine", 0.75, False, 2)),
            lowest(margin=0.75, pooled="False", top=2),
            None,
        ),
        (Rule(ROBUST, Form("l2", 0.5, True, 4)), lowest(metric="l2_loss", top=4), None),
        (Rule(ONLINE, Form(), 1, 1, 1), first_rise, None),
    ],
)
def test_tis_another_way(real, plain, rule, another, planned):
    ours = np.mean([[row["tis"] for row in judge_choice(rule, one)] for one in real])
    assert ours == pytest.approx(plain_tis(plain, another), abs=1e-9)
    assert planned is None or ours == pytest.approx(planned, abs=6e-4)


@pytest.mark.bundle
def test_what_the_released_files_hold(real):
    tables = released.open_released()
    assert (len(tables.downstream), len(tables.robustness)) == (1691, 25200)
    pairs = repeated_lengths(tables.robustness)
    faults = pairs[pairs["equal"] == pairs["rows"]]
    assert sorted(faults["dataset"]) == ["ACDC", "IDRiD"]
    assert set(faults["rows"]) == {840}
    accuracy = [choose(Rule(experiment.ACCURACY), one)[0] for one in real]
    assert accuracy == [[len(one.lengths) - 1] for one in real]


@pytest.mark.bundle
def test_rank_correlation_of_the_released_numbers(real, plain):
    """Against ranks by hand (the Dice of two checkpoints never agrees in all digits)."""
    ours = [judge_choice(Rule(ROBUST), one)[0]["rank_correlation"] for one in real]
    dice, loss = plain
    found = []
    for key in sorted({key for key, _ in dice}):
        encoder, deepest = MODELS[key[0]]
        name = (encoder, SETS[key[1]], f"{key[2]}_training")
        form = ("cosine_distance", 0.5, "True", deepest)
        means = [fmean(dice[key, n].values()) for n in PRETRAINED]
        losses = [-loss[name, form, n] for n in PRETRAINED]
        first, second = np.argsort(np.argsort(means)), np.argsort(np.argsort(losses))
        found.append(1 - 6 * float(((first - second) ** 2).sum()) / (9 * 80))
    assert np.mean(ours) == pytest.approx(np.mean(found), abs=1e-9)
