"""Views of the results table of the chapter ``stopping-published``."""

import pandas as pd

from helpers.chapters import results
from helpers.chapters.comparisons import with_interval
from helpers.chapters.stopping_published.run import ALL, WITH_START
from helpers.experiments.released import RULES, OnlineRule

PUBLISHED_RULE = "lowest robustness loss"
ACCURACY = "highest ImageNet accuracy"
FULL, NONE, RANDOM, ORACLE = "always full", "no pretraining", "random checkpoint", "oracle"
TIS_FORM, SHORT_FORM = "{:.4f}", "{:.2f}"


def gather(this_run: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """All numbers by source; recorded ones only if there are some."""
    recorded = results.recorded("stopping-published")
    found = {"published": results.published("stopping-published")}
    return found | ({"recorded": recorded} if len(recorded) else {}) | {"this run": this_run}


def values(table: pd.DataFrame, rule: str, metric: str = "tis", way: str = ALL) -> pd.Series:
    """Numbers of a rule over set-ups, by seed (-1 where the source has none)."""
    rows = table[(table["table"] == "rules") & (table["dataset_test"] == way)]
    return _numbers(rows, rule, metric)


def start_values(table: pd.DataFrame, rule: str, metric: str = "tis") -> pd.Series:
    """As :func:`values`, over the set-ups whose random initialisation was scored soundly."""
    return _numbers(table[table["table"] == "start"], rule, metric)


def _numbers(rows: pd.DataFrame, rule: str, metric: str) -> pd.Series:
    rows = rows[(rows["method"] == rule) & (rows["metric"] == metric)]
    return rows.assign(seed=rows["seed"].fillna(-1)).set_index("seed")["value"].astype(float)


def rules_table(table: pd.DataFrame) -> pd.DataFrame:
    """Every shown rule over all set-ups: TIS, regret, rank correlation and compute saved.

    TIS, regret and rank correlation have their intervals over seeds. The share of compute saved
    follows from the score of one pretraining, so that it is the same for every seed.
    """
    rows = []
    for rule in shown_rules(table):
        row = {"rule": rule}
        row["TIS"] = with_interval(values(table, rule), TIS_FORM)
        for way in ("fine-tuned", "frozen"):
            row[f"TIS, {way}"] = f"{values(table, rule, way=way).mean():.3f}"
        row["regret (Dice points)"] = with_interval(100 * values(table, rule, "regret"), SHORT_FORM)
        ranks = values(table, rule, "rank_correlation")
        row["rank correlation"] = with_interval(ranks, SHORT_FORM)
        row["compute saved"] = f"{values(table, rule, 'compute_saved').mean():.0%}"
        rows.append(row)
    return pd.DataFrame(rows)


def online_table(table: pd.DataFrame) -> pd.DataFrame:
    """Online rules by least length, smoothing and patience: TIS, regret, compute saved."""
    rows = []
    for name, rule in online_rules(table).items():
        row = {"from (epochs)": rule.least, "mean of": rule.smoothing, "patience": rule.patience}
        row["TIS"] = with_interval(values(table, name), TIS_FORM)
        row["regret (Dice points)"] = with_interval(100 * values(table, name, "regret"), SHORT_FORM)
        row["compute saved"] = f"{values(table, name, 'compute_saved').mean():.0%}"
        rows.append(row)
    return pd.DataFrame(rows)


def start_table(table: pd.DataFrame) -> pd.DataFrame:
    """Rules with and without a look at the random initialisation, where its score is sound."""
    rows = []
    for rule in start_rules(table):
        counted = table[(table["table"] == "start") & (table["method"] == rule)]
        starts = counted.loc[counted["metric"] == "starts_chosen"].iloc[0]
        row = {"rule": rule}
        row["chose no pretraining"] = f"{int(starts['value'])} of {int(starts['n'])}"
        row["TIS"] = with_interval(start_values(table, rule), TIS_FORM)
        row["regret (Dice points)"] = with_interval(
            100 * start_values(table, rule, "regret"), SHORT_FORM
        )
        row["compute saved"] = f"{start_values(table, rule, 'compute_saved').mean():.0%}"
        rows.append(row)
    return pd.DataFrame(rows)


def start_rules(table: pd.DataFrame) -> list[str]:
    """Rules of :func:`start_table`: each beside the one that looks at the start, then trivial."""
    present = list(table.loc[table["table"] == "start", "method"].unique())
    known = [rule for rule in (PUBLISHED_RULE, WITH_START, NONE, FULL) if rule in present]
    online = [rule for rule in present if OnlineRule.parse(rule)]
    return [*known[:2], *online, *known[2:]]


def points(dice: float) -> str:
    """Dice points with two decimals, zero without a sign."""
    return f"{round(100 * float(dice), 2) + 0.0:.2f}"


def online_rules(table: pd.DataFrame) -> dict[str, OnlineRule]:
    """The online rules of a results table by name."""
    present = table.loc[table["table"] == "rules", "method"].unique()
    parsed = {name: OnlineRule.parse(name) for name in present}
    return {name: rule for name, rule in parsed.items() if rule}


def plain_online(table: pd.DataFrame) -> list[str]:
    """Online rules of the smallest least length and smoothing, by patience."""
    rules = online_rules(table)
    if not rules:
        return []
    plainest = min((rule.least, rule.smoothing) for rule in rules.values())
    kept = [name for name, rule in rules.items() if (rule.least, rule.smoothing) == plainest]
    return sorted(kept, key=lambda name: rules[name].patience)


def shown_rules(table: pd.DataFrame) -> list[str]:
    """Rules that pages list: offline and trivial ones, then :func:`plain_online` ones."""
    present = table.loc[table["table"] == "rules", "method"].unique()
    return [*[rule for rule in RULES if rule in present], *plain_online(table)]


def settings_matrix(table: pd.DataFrame) -> pd.DataFrame:
    """Mean TIS of every form of the score: rows distance and pooling, columns margin and level."""
    rows = table[table["table"] == "settings"]
    means = rows.groupby("method", sort=False)["value"].mean()
    parts = means.index.str.extract(
        r"^(?P<distance>\w+), margin (?P<margin>[\d.]+), (?P<pooled>\w+), level (?P<level>\d)"
    ).set_index(means.index)
    frame = parts.assign(value=means)
    frame["margin"] = frame["margin"].astype(float)
    frame["level"] = frame["level"].astype(int)
    return frame.pivot(
        index=["distance", "pooled"], columns=["level", "margin"], values="value"
    ).sort_index(axis=1)


def set_ups_matrix(table: pd.DataFrame, rule: str, metric: str = "tis") -> pd.DataFrame:
    """One number per set-up: rows encoder, scheme and way, columns data sets."""
    rows = table[
        (table["table"] == "set-ups") & (table["method"] == rule) & (table["metric"] == metric)
    ]
    return rows.pivot(index="dataset_train", columns="dataset_test", values="value")


def count_settings(table: pd.DataFrame) -> dict[str, int]:
    """How many forms of the score reach 98 % and the trivial rules, on the mean over set-ups."""
    rows = table[table["table"] == "settings"]
    means = rows.groupby("method")["value"].mean()
    bars = {rule: values(table, rule).mean() for rule in (FULL, RANDOM, NONE)}
    return {
        "all": len(means),
        "over 98%": int((means >= 0.98).sum()),
        **{rule: int((means > bar).sum()) for rule, bar in bars.items()},
    }


def faults_table(pairs: pd.DataFrame) -> pd.DataFrame:
    """Pairs of lengths that agree in more than half of the rows, as a page shows them."""
    near = pairs[pairs["equal"] > pairs["rows"] / 2]
    return pd.DataFrame(
        {
            "data set": near["dataset"],
            "epochs": near["length"],
            "same scores as after": near["repeats"],
            "rows equal": [f"{e} of {n}" for e, n in zip(near["equal"], near["rows"], strict=True)],
            "left out": ["yes" if f else "no" for f in near["equal"] == near["rows"]],
        }
    )
