"""What the numbers of the chapter ``stopping-published`` say, put into sentences by the code."""

from dataclasses import replace

import numpy as np
import pandas as pd

from helpers.chapters.comparisons import with_interval
from helpers.chapters.stopping_published import tables
from helpers.chapters.stopping_published.run import SURE, WITH_START, Opened
from helpers.chapters.stopping_published.tables import (
    ACCURACY,
    FULL,
    NONE,
    ORACLE,
    PUBLISHED_RULE,
    RANDOM,
    SHORT_FORM,
    TIS_FORM,
    values,
)
from helpers.data.released import GENERATED
from helpers.experiments.released import (
    OnlineRule,
    SetUp,
    shorter_gain,
    shorter_is_best,
    shorter_places,
)


def describe_tables(opened: Opened, set_ups: list[SetUp]) -> str:
    """What was read, and a warning where it is not what the chapter is about."""
    found = opened.tables
    lines = [
        f"{len(found.downstream):,} segmentation models and {len(found.robustness):,} robustness "
        f"scores ({found.provenance['coverage']}) make {len(set_ups)} set-ups of up to "
        f"{max(len(one.lengths) for one in set_ups)} checkpoints."
    ]
    doubles = found.downstream.duplicated(
        ["dataset", "encoder", "scheme", "frozen", "length", "seed"]
    ).sum()
    gaps = sum(int(np.isnan(one.dice).sum()) for one in set_ups)
    borrowed = sum(one.borrowed for one in set_ups)
    lines.append(
        f"{doubles} models stand there twice and count once; {gaps} seeds are missing; "
        f"{borrowed} set-ups have no models of length 0 of their own, because a random "
        "initialisation knows no scheme, and take those of the other scheme."
    )
    if found.provenance["name"] != GENERATED:
        return "\n\n".join(lines)
    why = f" They were not to be had: {opened.missing}" if opened.missing else ""
    warning = (
        "**Generated tables, not the released ones.** Every number of *this run* below is made up "
        f"and says nothing about the paper.{why}"
    )
    return "\n\n".join([f"> {warning}", *lines])


def describe_rules(table: pd.DataFrame) -> str:
    """The main finding in two sentences."""
    ours, full = values(table, PUBLISHED_RULE), values(table, FULL)
    counts = tables.count_settings(table)
    return (
        f"The published rule reaches a TIS of {ours.mean():.3f}; always taking the longest "
        f"pretraining reaches {full.mean():.3f}, a checkpoint drawn at random "
        f"{values(table, RANDOM).mean():.3f}. Of {counts['all']} forms of the score, "
        f"{counts['over 98%']} reach 0.98, {counts[RANDOM]} beat the random checkpoint and "
        f"{counts[FULL]} beat the full pretraining."
    )


def describe_accuracy(table: pd.DataFrame) -> str:
    """Whether the accuracy on ImageNet can be told from always taking the last checkpoint."""
    lengths = {rule: _lengths_chosen(table, rule) for rule in (ACCURACY, FULL)}
    last = int((lengths[ACCURACY] == lengths[FULL]).sum())
    difference = (values(table, PUBLISHED_RULE) - values(table, ACCURACY)).dropna()
    same = (
        ": in these tables the two rules are the same, and whatever is said of the one is said of "
        "the other"
        if last == len(lengths[FULL])
        else ""
    )
    return (
        f"The highest accuracy on ImageNet picks the last checkpoint in {last} of "
        f"{len(lengths[FULL])} set-ups{same}. It reaches a TIS of "
        f"{values(table, ACCURACY).mean():.4f} against {values(table, PUBLISHED_RULE).mean():.4f} "
        f"of robustness, a difference of {with_interval(difference, TIS_FORM)}."
    )


def _lengths_chosen(table: pd.DataFrame, rule: str) -> pd.Series:
    rows = table[
        (table["table"] == "set-ups")
        & (table["metric"] == "length_chosen")
        & (table["method"] == rule)
    ]
    return rows.set_index(["dataset_train", "dataset_test"])["value"]


def describe_ranks(table: pd.DataFrame) -> str:
    """Rank correlations with the mean over seeds and with single seeds, score beside length."""
    parts = []
    for rule, name in ((PUBLISHED_RULE, "robustness"), (FULL, "the length of the pretraining")):
        means = tables.set_ups_matrix(table, rule, "rank_correlation").stack().mean()
        seeds = with_interval(values(table, rule, "rank_correlation"), SHORT_FORM)
        parts.append(f"{name} has {means:.2f}, with the Dice of single seeds {seeds}")
    return (
        "Rank correlation with the mean Dice over the pretrained checkpoints, averaged over "
        f"set-ups, positive where the rule is right: {'; '.join(parts)}."
    )


def describe_shorter(set_ups: list[SetUp]) -> str:
    """How often a shorter pretraining is best, what chance would give, what is left of it."""
    wins = sum(shorter_is_best(one) for one in set_ups)
    counts = np.array([len(shorter_places(one)) for one in set_ups])
    chance = float((counts / (counts + 1)).mean())
    gains = np.array([np.nanmean(shorter_gain(one)) for one in set_ups])
    share = wins / len(set_ups)
    compared = "no more than" if share <= chance else "to be held against"
    return (
        f"In {wins} of {len(set_ups)} set-ups ({share:.2f}) the highest mean Dice of all "
        "pretrained checkpoints belongs to a shorter pretraining than the longest. That is "
        f"{compared} the {chance:.2f} that chance alone would give, were all lengths alike: the "
        f"longest competes with {counts.max()} others. Chosen on the other seeds (on the same "
        f"images, though), the shorter pretraining gains in {int((gains > 0).sum())} of "
        f"{len(set_ups)} set-ups, and {tables.points(gains.mean())} Dice points on average."
    )


def describe_doubt(table: pd.DataFrame) -> str:
    """The main averages without the two set-ups whose checkpoints are doubtful."""
    names = {PUBLISHED_RULE: "robustness", FULL: "full pretraining", RANDOM: "a random checkpoint"}
    parts = [
        f"{name} {values(table, rule, way=SURE).mean():.4f} (with them "
        f"{values(table, rule).mean():.4f})"
        for rule, name in names.items()
    ]
    return f"Mean TIS {SURE} (two set-ups of doubtful checkpoints): {', '.join(parts)}."


def describe_online(table: pd.DataFrame) -> str:
    """How far patience, smoothing and the least length move the result of online stopping."""
    names = list(tables.online_rules(table))
    tis = pd.Series({name: values(table, name).mean() for name in names})
    saved = {name: values(table, name, "compute_saved").mean() for name in names}
    first, best, worst = tables.plain_online(table)[0], tis.idxmax(), tis.idxmin()
    rule = OnlineRule.parse(first)
    later = [replace(rule, least=n).name for n in _leasts(table) if n > rule.least]
    moved = [f"*{name}* {tis[name]:.3f} and {saved[name]:.0%}" for name in later]
    return (
        f"*{first[0].upper()}{first[1:]}* reaches a TIS of {tis[first]:.3f} and saves "
        f"{saved[first]:.0%}{'; ' if moved else ''}{', '.join(moved)}. Over all {len(names)} "
        f"online rules TIS runs from {tis[worst]:.3f} (*{worst}*, saves {saved[worst]:.0%}) to "
        f"{tis[best]:.3f} (*{best}*, saves {saved[best]:.0%}); {int((tis >= 0.98).sum())} reach "
        f"0.98 and {int((tis > values(table, RANDOM).mean()).sum())} beat the random checkpoint. "
        "So the verdict on online stopping can depend on settings that the paper does not state, "
        "and the best of them was found by looking at all."
    )


def _leasts(table: pd.DataFrame) -> list[int]:
    return sorted({rule.least for rule in tables.online_rules(table).values()})


def describe_start(table: pd.DataFrame) -> str:
    """Whether a rule that may choose no pretraining does so, and whether it should have."""
    rows = table[table["table"] == "start"]
    if rows.empty:
        return "No set-up has a sound score of the random initialisation."
    starts = rows[rows["metric"] == "starts_chosen"].set_index("method")["value"]
    where, count = rows["dataset_test"].iloc[0], int(rows["n"].iloc[0])
    watched = [OnlineRule.parse(rule) for rule in tables.start_rules(table)]
    watched = [rule for rule in watched if rule and rule.watch_start]
    chosen = ", ".join(f"{int(starts[rule.name])} (patience {rule.patience})" for rule in watched)
    lost = tables.points(tables.start_values(table, NONE, "regret").mean())
    best = _lengths_chosen(table, ORACLE)
    should = int((best[best.index.get_level_values(1).isin(where.split(", "))] == 0).sum())
    return (
        f"On {where} ({count} set-ups) the lowest loss of all, length 0 among them, is that of the "
        f"random initialisation in {int(starts[WITH_START])}; the online rules that watch the "
        f"start end there in {chosen}. No pretraining has the highest Dice in {should}, and costs "
        f"{lost} Dice points on average."
    )


def for_a_lab(found: dict[str, pd.DataFrame]) -> str:
    """One paragraph drawn from the recorded numbers (from this run's where none are recorded)."""
    name = "recorded" if "recorded" in found else "this run"
    table = found[name]
    regret = 100 * values(table, PUBLISHED_RULE, "regret").mean()
    plain = 100 * values(table, FULL, "regret").mean()
    first = tables.plain_online(table)[0]
    online = values(table, first, "compute_saved").mean()
    lost = 100 * values(table, first, "regret").mean()
    return (
        f"**{name}**: if the long pretraining exists already, taking its last checkpoint costs "
        f"{plain:.2f} Dice points against the best one, choosing by robustness {regret:.2f}. If "
        f"it has to be paid for, stopping by the score (*{first}*) would have saved {online:.0%} "
        f"of it and cost {lost:.2f} Dice points. Whether that is much depends on the "
        "differences that your own comparison has to resolve."
    )
