"""The re-analysis of released numbers: faults are found, and a dozen results another way."""

import csv
from collections import defaultdict
from itertools import pairwise
from statistics import fmean

import numpy as np
import pandas as pd
import pytest

from helpers.chapters.stopping_published import run
from helpers.chapters.stopping_published.parameters import Parameters
from helpers.chapters.stopping_published.tables import values
from helpers.data import released
from helpers.data.fetch import locate
from helpers.errors import DataError, ParameterError
from helpers.experiments.released import (
    ALL_SETTINGS,
    RULES,
    OnlineRule,
    Setting,
    SetUp,
    apply_online,
    apply_rule,
    choose_with_start,
    correlation,
    correlation_by_seed,
    gather_set_ups,
    judge_choice,
    knows_start,
    preference,
    repeated_lengths,
    shorter_gain,
    shorter_is_best,
    without_faults,
)


@pytest.fixture(scope="module")
def generated():
    return released.generated_tables()


@pytest.fixture(scope="module")
def made(generated):
    return gather_set_ups(generated)


def test_faulty_lengths_are_found_by_their_numbers(generated):
    pairs = repeated_lengths(generated.robustness)
    faults = pairs[pairs["equal"] == pairs["rows"]]
    assert set(faults["dataset"]) == {"ACDC", "IDRiD"}
    assert set(zip(faults["length"], faults["repeats"], strict=True)) == {(0, 300)}
    kept = without_faults(generated.robustness)
    assert not ((kept["length"] == 0) & kept["dataset"].isin(["ACDC", "IDRiD"])).any()
    assert ((kept["length"] == 0) & (kept["dataset"] == "COVID-QU-Ex")).any()


def test_a_fault_anywhere_else_is_found_too(generated):
    """The search knows nothing of length 0."""
    keys = ["dataset", "encoder", "scheme", "distance", "margin", "pooled", "level"]
    table = generated.robustness
    own = table["dataset"] == "COVID-QU-Ex"
    twice = table[own & (table["length"] == 150)].assign(length=20)
    table = pd.concat([table[~(own & (table["length"] == 20))], twice])
    assert not table.duplicated([*keys, "length"]).any()
    pairs = repeated_lengths(table)
    faults = pairs[(pairs["equal"] == pairs["rows"]) & (pairs["dataset"] == "COVID-QU-Ex")]
    assert faults[["length", "repeats"]].to_numpy().tolist() == [[20, 150]]


def test_set_ups_are_whole(made):
    assert len(made) == 36
    for one in made:
        assert one.lengths.tolist() == list(released.LENGTHS)
        assert one.dice.shape == (10, 5)
        assert one.borrowed == (one.scheme == "advanced")
        assert set(one.losses) == {
            s for s in ALL_SETTINGS if s.from_top <= released.LEVELS[one.encoder]
        } | {s for s in one.losses if s.from_top == 5}


LENGTHS = np.array([0, 1, 5, 20, 50, 300])


def by_hand(dice, loss, accuracy=None):
    """A set-up with the lengths above; ``dice`` by length, or by length and seed."""
    dice = np.asarray(dice, dtype=float)
    dice = np.repeat(dice[:, None], 3, axis=1) if dice.ndim == 1 else dice
    accuracy = np.linspace(0, 0.7, len(LENGTHS)) if accuracy is None else np.asarray(accuracy)
    losses = {Setting(): np.asarray(loss, dtype=float)}
    return SetUp("ACDC", "Swin", "simple", True, LENGTHS, dice, accuracy, losses, False)


LOSS = [0.05, 0.5, 0.4, 0.45, 0.2, 0.3]
DICE = [0.2, 0.5, 0.6, 0.4, 0.8, 0.7]


def test_rules_that_rank_never_take_length_zero():
    one = by_hand(DICE, LOSS, accuracy=[0.9, 0.1, 0.2, 0.6, 0.5, 0.4])
    at = {rule: apply_rule(rule, one, Setting()).at for rule in RULES}
    assert at == {
        "lowest robustness loss": 4,
        "highest robustness loss": 1,
        "highest ImageNet accuracy": 3,
        "random checkpoint": None,
        "always full": 5,
        "no pretraining": 0,
        "oracle": 4,
    }
    assert np.isnan(preference("highest ImageNet accuracy", one, Setting())[0])


@pytest.mark.parametrize(
    ("rule", "at", "seen"),
    [
        (OnlineRule(), 2, 3),
        (OnlineRule(patience=2), 4, 5),
        # Not before epoch 6: the first checkpoint that may be taken is the one at 20 epochs.
        (OnlineRule(least=6), 4, 5),
        (OnlineRule(least=50), 4, 5),
        (OnlineRule(least=300), 5, 5),
        (OnlineRule(watch_start=True), 0, 3),
        (OnlineRule(least=20, watch_start=True), 0, 5),
    ],
)
def test_online_rules_in_epochs(rule, at, seen):
    chosen = apply_online(rule, by_hand(DICE, LOSS), Setting())
    assert (chosen.at, chosen.seen) == (at, seen)


def test_a_rule_longer_than_the_pretraining_is_refused():
    with pytest.raises(ParameterError, match="least=301"):
        apply_online(OnlineRule(least=301), by_hand(DICE, LOSS), Setting())


@pytest.mark.parametrize(
    "rule",
    [
        OnlineRule(),
        OnlineRule(12, 3),
        OnlineRule(2, 1, 20),
        OnlineRule(2, 4, 50, watch_start=True),
        OnlineRule(watch_start=True),
    ],
)
def test_the_name_of_an_online_rule_says_it_all(rule):
    assert OnlineRule.parse(rule.name) == rule


@pytest.mark.parametrize("name", [*RULES, "online, patience 1 and more"])
def test_other_names_are_no_online_rules(name):
    assert OnlineRule.parse(name) is None


def test_the_start_is_used_only_where_it_is_known():
    sound, faulty = by_hand(DICE, LOSS), by_hand(DICE, [np.nan, *LOSS[1:]])
    assert knows_start(sound, Setting())
    assert not knows_start(faulty, Setting())
    assert choose_with_start(sound, Setting()).at == 0
    assert choose_with_start(by_hand(DICE, [0.25, *LOSS[1:]]), Setting()).at == 4


def test_the_correlation_of_a_rule_is_positive_where_it_is_right():
    one = by_hand(DICE, [np.nan, *(1 - np.array(DICE[1:]))])
    assert correlation("lowest robustness loss", one, Setting()) == pytest.approx(1)
    assert correlation("highest robustness loss", one, Setting()) == pytest.approx(-1)
    # Ranks of the lengths 1..5 against those of the Dice 2, 3, 1, 5, 4: 1 - 6 * 8 / 120.
    assert correlation("always full", one, Setting()) == pytest.approx(0.6)
    np.testing.assert_allclose(correlation_by_seed("always full", one, Setting()), [0.6] * 3)
    for rule in ("random checkpoint", "no pretraining", "oracle"):
        assert np.isnan(correlation(rule, one, Setting()))
        assert correlation_by_seed(rule, one, Setting()) is None


def test_no_pretraining_is_no_shorter_pretraining():
    """The random initialisation is best here; among pretrained ones the longest is."""
    one = by_hand([0.9, 0.4, 0.5, 0.5, 0.6, 0.7], LOSS)
    assert not shorter_is_best(one)
    np.testing.assert_allclose(shorter_gain(one), -0.1)


def test_the_shorter_length_is_chosen_by_the_other_seeds():
    """Length 1 is best thanks to the seed that is judged; the others prefer length 20."""
    dice = np.full((6, 3), 0.5)
    dice[1, 0], dice[3, 1:] = 0.95, 0.6
    gains = shorter_gain(by_hand(dice, LOSS))
    # Without seed 0: length 20 (0.5 with seed 0). Without another seed: length 1 (0.5 there).
    np.testing.assert_allclose(gains, [0.0, 0.0, 0.0])
    assert shorter_is_best(by_hand(dice, LOSS))


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_beats_the_oracle(made, rule):
    for one in made:
        judged = judge_choice(one, apply_rule(rule, one, Setting()))
        assert np.nanmean(judged["tis"]) <= 1 + 1e-12
        assert np.nanmean(judged["regret"]) >= -1e-12


def test_missing_tables_are_replaced_only_when_told_and_never_in_silence(monkeypatch):
    def nothing():
        raise DataError("no network")

    monkeypatch.setattr(run, "open_released", nothing)
    monkeypatch.setattr(run, "fingerprint_of", lambda name: None)
    opened = run.open_tables(Parameters())
    assert opened.missing == "no network"
    assert opened.tables.provenance["name"] == released.GENERATED
    with pytest.raises(DataError, match="no network"):
        run.open_tables(Parameters(if_missing="stop"))
    # Files that are there but cannot be read are no reason to make numbers up.
    monkeypatch.setattr(run, "fingerprint_of", lambda name: "there")
    with pytest.raises(DataError, match="no network"):
        run.open_tables(Parameters())


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


WAYS = {
    Setting(): lowest(),
    Setting(margin=0.0): lowest(margin=0.0),
    Setting(distance="l2", margin=0.25): lowest(metric="l2_loss", margin=0.25),
    Setting("pearson", 1.0, False, 1): lowest(
        metric="inv_pearson_corr", margin=1.0, pooled="False"
    ),
    Setting("cosine", 0.75, False, 2): lowest(margin=0.75, pooled="False", top=2),
    Setting("l2", 0.5, True, 4): lowest(metric="l2_loss", top=4),
    Setting("cosine", 0.25, True, 3): lowest(margin=0.25, top=3),
}


@pytest.fixture(scope="module")
def real(bundle):
    return gather_set_ups(released.open_released())


@pytest.mark.bundle
@pytest.mark.parametrize("form", WAYS, ids=str)
def test_tis_of_forms_of_the_score_another_way(real, plain, form):
    ours = [judge_choice(s, apply_rule("lowest robustness loss", s, form))["tis"] for s in real]
    expected = plain_tis(plain, WAYS[form])
    assert np.mean([np.nanmean(tis) for tis in ours]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.bundle
@pytest.mark.parametrize(
    ("rule", "choose", "planned"),
    [
        ("always full", lambda means, losses: means[300], 0.994),
        ("no pretraining", lambda means, losses: means[0], 0.925),
        ("random checkpoint", lambda means, losses: fmean(means[n] for n in PRETRAINED), 0.977),
        ("oracle", lambda means, losses: max(means.values()), 1.0),
        ("lowest robustness loss", lowest(), 0.986),
    ],
)
def test_tis_of_trivial_rules_another_way(real, plain, rule, choose, planned):
    ours = [np.nanmean(judge_choice(s, apply_rule(rule, s, Setting()))["tis"]) for s in real]
    expected = plain_tis(plain, choose)
    assert np.mean(ours) == pytest.approx(expected, abs=1e-9)
    assert expected == pytest.approx(planned, abs=6e-4)


@pytest.mark.bundle
def test_online_stopping_another_way(real, plain):
    def first_rise(means, losses):
        own = losses()
        best = 1
        for before, now in pairwise(PRETRAINED):
            if own[now] >= own[best]:
                return means[before]
            best = now
        return means[best]

    rule = OnlineRule(patience=1)
    ours = [np.nanmean(judge_choice(s, apply_online(rule, s, Setting()))["tis"]) for s in real]
    assert np.mean(ours) == pytest.approx(plain_tis(plain, first_rise), abs=1e-9)


@pytest.mark.bundle
def test_what_the_released_files_hold(real):
    tables = released.open_released()
    assert (len(tables.downstream), len(tables.robustness)) == (1691, 25200)
    pairs = repeated_lengths(tables.robustness)
    faults = pairs[pairs["equal"] == pairs["rows"]]
    assert sorted(faults["dataset"]) == ["ACDC", "IDRiD"]
    assert set(faults["rows"]) == {840}
    assert len(real) == 36
    assert all(np.isfinite(shorter_gain(one)).any() for one in real)


@pytest.mark.bundle
@pytest.mark.parametrize("frozen", [False, True])
def test_rank_correlation_of_the_released_numbers(real, plain, frozen):
    """Against ranks by hand (the Dice of two checkpoints never agrees in all digits)."""
    ours = [
        correlation("lowest robustness loss", one, Setting())
        for one in real
        if one.frozen == frozen
    ]
    dice, loss = plain
    found = []
    for key in sorted({key for key, _ in dice if key[3] == str(frozen)}):
        encoder, deepest = MODELS[key[0]]
        name = (encoder, SETS[key[1]], f"{key[2]}_training")
        form = ("cosine_distance", 0.5, "True", deepest)
        means = [fmean(dice[key, n].values()) for n in PRETRAINED]
        losses = [-loss[name, form, n] for n in PRETRAINED]
        first, second = np.argsort(np.argsort(means)), np.argsort(np.argsort(losses))
        found.append(1 - 6 * float(((first - second) ** 2).sum()) / (9 * 80))
    assert len(found) == 18
    assert np.mean(ours) == pytest.approx(np.mean(found), abs=1e-9)


@pytest.mark.bundle
def test_accuracy_on_imagenet_is_the_last_checkpoint_in_every_released_set_up(real):
    for one in real:
        assert apply_rule("highest ImageNet accuracy", one, Setting()).at == one.full


@pytest.mark.bundle
def test_the_chapters_table_holds_the_same_means(real):
    table = run.results_table(Parameters(patiences=[1], smoothings=[1], least_epochs=[1]), real)
    for rule in RULES:
        ours = [np.nanmean(judge_choice(s, apply_rule(rule, s, Setting()))["tis"]) for s in real]
        assert values(table, rule).mean() == pytest.approx(np.mean(ours), abs=1e-9)
