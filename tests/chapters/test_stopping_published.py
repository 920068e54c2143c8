"""The chapter on released numbers: rules that a tie or chance cannot win, and its sentences."""

import re
from dataclasses import replace

import numpy as np
import pytest

from helpers.chapters.claims import judge
from helpers.chapters.stopping_published import draw, run, tables, words
from helpers.chapters.stopping_published.claims import ABOVE_ZERO, CLAIMS
from helpers.chapters.stopping_published.parameters import Parameters
from helpers.chapters.stopping_published.tables import ACCURACY, FULL, NONE, PUBLISHED_RULE, values
from helpers.data.released import generated_tables
from helpers.errors import ParameterError
from helpers.experiments.released import RULES, OnlineRule, Setting, gather_set_ups, shorter_is_best

BETTER = [claim for claim in CLAIMS if claim.threshold == ABOVE_ZERO]
SMALL = Parameters(patiences=[1, 2], smoothings=[1, 2], least_epochs=[1, 20])


@pytest.fixture(scope="module", autouse=True)
def few_settings():
    """120 forms of the score in every table would only take time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "ALL_SETTINGS", [Setting(), Setting("l2", 0.25, False, 2)])
        yield


@pytest.fixture(scope="module")
def made():
    return gather_set_ups(generated_tables())


@pytest.fixture(scope="module")
def table(made):
    return run.results_table(SMALL, made)


def claim_with(word):
    (found,) = [claim for claim in CLAIMS if word in claim.text]
    return found


def test_nothing_is_better_where_all_checkpoints_are_alike(made):
    alike = [replace(one, dice=np.full_like(one.dice, 0.7)) for one in made[:6]]
    same = run.results_table(SMALL, alike)
    assert len(BETTER) == 6
    for claim in BETTER:
        verdict = judge(claim, same)
        assert verdict.outcome == "does not hold", claim.text
        assert verdict.value == pytest.approx(0, abs=1e-12)
        assert "above zero" in claim.rule


def test_every_claim_is_settled_by_a_run(table):
    assert {judge(claim, table).outcome for claim in CLAIMS} <= {"holds", "does not hold"}
    assert all(claim.threshold >= ABOVE_ZERO for claim in CLAIMS)


def test_chance_alone_does_not_make_shorter_better(made):
    """Where all lengths are alike but for noise, a shorter one wins nearly always; the rule, no."""
    rng = np.random.default_rng(5)
    noise = [replace(one, dice=0.7 + 0.0025 * rng.standard_normal((10, 5))) for one in made]
    assert np.mean([shorter_is_best(one) for one in noise]) > 0.75
    claim = claim_with("Shorter pretraining")
    assert judge(claim, run.results_table(SMALL, noise)).outcome == "does not hold"
    assert "the 0.89 that chance alone would give" in words.describe_shorter(noise)
    # And it does find what is there: some shorter length better with every seed.
    for one in noise:
        one.dice[4] += 0.01
    assert judge(claim, run.results_table(SMALL, noise)).outcome == "holds"


def test_the_rule_on_accuracy_is_robustness_minus_accuracy(table):
    found = judge(claim_with("accuracy"), table)
    expected = values(table, PUBLISHED_RULE).mean() - values(table, ACCURACY).mean()
    assert found.value == pytest.approx(expected)


def test_the_page_counts_where_accuracy_is_the_last_checkpoint(made, table):
    said = words.describe_accuracy(table)
    assert "36 of 36 set-ups" in said
    assert "the two rules are the same" in said
    accuracy = made[0].accuracy.copy()
    accuracy[3] = 0.99
    other = run.results_table(SMALL, [replace(made[0], accuracy=accuracy), *made[1:]])
    said = words.describe_accuracy(other)
    assert "35 of 36 set-ups" in said
    assert "the two rules are the same" not in said


def test_means_without_doubtful_set_ups_leave_exactly_two_out(made, table):
    rows = table[(table["table"] == "rules") & (table["method"] == FULL)]
    counts = rows[rows["metric"] == "tis"].groupby("dataset_test")["n"].first()
    assert counts.to_dict() == {run.ALL: 36, "fine-tuned": 18, "frozen": 18, run.SURE: 34}
    names = ("IDRiD", "ResNet-50", "advanced")
    kept = [one for one in made if (one.dataset, one.encoder, one.scheme) != names]
    means = [np.nanmean(one.dice, axis=1) for one in kept]
    expected = np.mean([mean[-1] / mean.max() for mean in means])
    assert values(table, FULL, way=run.SURE).mean() == pytest.approx(expected)
    assert f"{expected:.4f}" in words.describe_doubt(table)


def test_regret_and_rank_correlation_stand_with_intervals(table):
    shown = tables.rules_table(table).set_index("rule")
    interval = re.compile(r"^-?[\d.]+ \(-?[\d.]+ to -?[\d.]+\)$")
    compared = shown.drop(index="oracle")
    for column in ("TIS", "regret (Dice points)"):
        assert all(interval.match(cell) for cell in compared[column]), column
    ranked = ["lowest robustness loss", "highest robustness loss", ACCURACY, FULL]
    assert all(interval.match(shown.loc[rule, "rank correlation"]) for rule in ranked)
    assert (shown.loc[[r for r in shown.index if r not in ranked], "rank correlation"] == "–").all()
    assert shown.loc["oracle", "TIS"] == "1.0000"
    assert shown.loc["oracle", "regret (Dice points)"] == "0.00"


def test_only_the_plainest_online_rules_stand_with_the_others(table):
    assert len(tables.online_rules(table)) == len(tables.online_table(table)) == 8
    assert tables.shown_rules(table)[: len(RULES)] == list(RULES)
    assert tables.plain_online(table) == ["online, patience 1", "online, patience 2"]


def test_the_smallest_length_moves_the_online_rules(table):
    early = values(table, OnlineRule().name, "compute_saved").mean()
    late = values(table, OnlineRule(least=20).name, "compute_saved").mean()
    assert late < early
    name = OnlineRule(least=20).name
    assert f"*{name}* {values(table, name).mean():.3f} and {late:.0%}" in words.describe_online(
        table
    )


def test_watching_the_start_is_tried_only_where_its_score_is_sound(made):
    losses = [
        {
            form: np.r_[0.0 if one.dataset == "COVID-QU-Ex" else np.nan, row[1:]]
            for form, row in one.losses.items()
        }
        for one in made
    ]
    lowest = [replace(one, losses=own) for one, own in zip(made, losses, strict=True)]
    # A loss of zero at length 0 is the lowest: who looks there takes it, who does not, does not.
    shown = tables.start_table(run.results_table(SMALL, lowest)).set_index("rule")
    chosen = shown["chose no pretraining"].to_dict()
    watched = [OnlineRule(patience, watch_start=True).name for patience in (1, 2)]
    for rule in (run.WITH_START, NONE, *watched):
        assert chosen.pop(rule) == "12 of 12"
        assert shown.loc[rule, "TIS"] == shown.loc[NONE, "TIS"]
    assert set(chosen.values()) == {"0 of 12"}


def test_without_a_sound_start_the_page_says_so(made):
    table = run.results_table(SMALL, [one for one in made if one.dataset == "ACDC"])
    assert tables.start_table(table).empty
    assert "No set-up" in words.describe_start(table)


def test_sentences_hold_no_gaps(made, table):
    said = [words.describe_shorter(made)]
    for describe in (
        words.describe_rules,
        words.describe_accuracy,
        words.describe_ranks,
        words.describe_doubt,
        words.describe_online,
        words.describe_start,
    ):
        said.append(describe(table))
    said.append(words.for_a_lab({"this run": table}))
    assert not any("nan" in sentence for sentence in said)


def test_the_advice_does_not_need_a_patience_of_one(made):
    table = run.results_table(SMALL.model_copy(update={"patiences": [3]}), made[:4])
    assert "*online, patience 3*" in words.for_a_lab({"this run": table})


def test_the_trade_off_has_a_panel_per_smallest_length(table):
    import matplotlib.pyplot as plt

    figure = draw.online(table)
    panels = [axis.get_title() for axis in figure.axes]
    plt.close(figure)
    assert panels == ["not before epoch 1", "not before epoch 20"]


@pytest.mark.parametrize("wrong", [[], [0], [301], [20, 20]])
def test_smallest_lengths_are_checked(wrong):
    with pytest.raises(ParameterError, match="least_epochs"):
        Parameters.check({"least_epochs": wrong})
