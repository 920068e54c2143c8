"""Results tables of the chapter ``stopping``, and the rules applied to them.

In the column ``rate`` stands the epoch of the checkpoint, in ``dataset_train`` whether the encoder
was frozen. Regret is paired: Dice from the best checkpoint (by the mean over seeds) minus Dice from
the chosen one, both of the same seed; TIS is 1 - regret over the best mean. Their means over seeds
are those of :func:`helpers.transferability.judging.transferability_indicator_score`, the oracle has
no spread, and how easy a seed is does not enter. A rule that chooses by seed can beat the oracle,
which takes one checkpoint for all.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from helpers.chapters.comparisons import with_interval
from helpers.chapters.results import tidy
from helpers.chapters.stopping.parameters import Parameters
from helpers.chapters.stopping.run import Found, epochs_of, online_rule
from helpers.experiments.tasks import Task
from helpers.transferability.judging import (
    choose_highest,
    choose_lowest,
    compute_saved,
    rank_correlation,
    stop_online,
)

WAYS = {True: "frozen", False: "fine-tuned"}
DEFAULT = {"distance": "cosine", "pooled": True, "from_top": 1}
ROBUST = "lowest robustness loss"
FULL, NONE, RANDOM, ORACLE = "always full", "no pretraining", "random checkpoint", "oracle"
OTHERS = "best on the other seeds"
ACCURACY, ONLINE = "highest source accuracy", "online, really stopped"
WATCHED = "online, random start watched along"
# The loss and its interval over images.
SCORE_METRICS = {"robustness_loss": "loss", "robustness_low": "low", "robustness_high": "high"}
ESTIMATOR_NAMES = {
    "logme": "LogME",
    "h_score": "H-score",
    "regularised_h_score": "H-score, regularised",
    "gbc": "GBC",
    "leep": "LEEP",
    "nce": "NCE",
    "cc_fv": "CC-FV",
}


def results_table(
    parameters: Parameters,
    pretrainings: dict[int, dict],
    tasks: dict[str, Task],
    found: dict[str, Found],
) -> pd.DataFrame:
    """All numbers of the chapter; see the module for what the columns hold."""
    rows = list(_pretraining_rows(parameters, pretrainings))
    for name in tasks:
        rows += _score_rows(parameters, name, found[name])
        rows += _transfer_rows(name, found[name])
        rows += _rule_rows(parameters, pretrainings, name, found[name])
    common = {"chapter": "stopping", "source": "this run", "profile": parameters.profile}
    return tidy([common | row for row in rows])


def _pretraining_rows(parameters: Parameters, pretrainings: dict[int, dict]) -> Iterable[dict]:
    for seed, run in pretrainings.items():
        common = {"table": "pretraining", "dataset_train": parameters.source, "seed": seed}
        for record in run["epochs"]:
            at = common | {"method": parameters.encoder, "rate": record["epoch"]}
            for metric in ("accuracy", "loss"):
                if record[metric] is not None:
                    yield at | {"metric": metric, "value": record[metric]}


def _score_rows(parameters: Parameters, task: str, found: Found) -> list[dict]:
    rows = []
    for (seed, epoch, pairing), score in found.scores.items():
        common = {"dataset_test": task, "seed": seed, "rate": epoch}
        for one in score["robustness"]:
            form = {name: one[name] for name in DEFAULT}
            if one["margin"] != parameters.margin or (pairing != "published" and form != DEFAULT):
                continue
            name = {"table": "scores", "method": score_name(pairing, form)}
            for metric, key in SCORE_METRICS.items():
                rows.append(common | name | {"metric": metric, "value": one[key]})
        for name, value in score.get("estimators", {}).items():
            own = {"table": "scores", "method": ESTIMATOR_NAMES[name], "metric": "estimator"}
            rows.append(common | own | {"value": value})
    for seed, online in found.online.items():
        for epoch, loss in enumerate(online["notes"]["robustness_losses"]):
            common = {"table": "online", "dataset_test": task, "seed": seed, "rate": epoch}
            rows.append(common | {"metric": "robustness_loss", "value": loss})
    return rows


def score_name(pairing: str, form: dict) -> str:
    """A form of the score as it stands in the column ``method``."""
    if form == DEFAULT:
        return f"robustness, {pairing}"
    pooled = "pooled" if form["pooled"] else "unpooled"
    level = f"level {form['from_top']} from the top"
    return f"robustness, {pairing}: {form['distance']}, {pooled}, {level}"


def _transfer_rows(task: str, found: Found) -> list[dict]:
    rows = []
    parts = [("transfer", found.transfers), ("online", found.online_transfers)]
    for table, models in parts:
        for key, model in models.items():
            seed, frozen = key[0], key[-1]
            epoch = key[1] if table == "transfer" else found.online[seed]["chosen"]
            common = {
                "table": table,
                "dataset_test": task,
                "dataset_train": WAYS[frozen],
                "rate": epoch,
                "seed": seed,
                "n": model["n_cases"],
                "note": "mean over cases, then over classes without the background",
            }
            for metric in ("mean_dice", "mean_jaccard", "pooled_dice"):
                rows.append(common | {"metric": metric, "value": model[metric]})
            for metric in ("dice", "jaccard"):
                for name, value in model[metric].items():
                    rows.append(common | {"metric": metric, "method": name, "value": value})
    return rows


# ------------------------------------------------------------------------------------- the rules


def dice_of(found: Found, epochs: Sequence[int], seeds: Sequence[int], frozen: bool) -> np.ndarray:
    """Mean Dice of every checkpoint and seed, (epochs, seeds)."""
    return np.array(
        [[found.transfers[seed, e, frozen]["mean_dice"] for seed in seeds] for e in epochs]
    )


def indicators(
    parameters: Parameters, pretrainings: dict[int, dict], found: Found, seed: int
) -> dict[str, np.ndarray]:
    """Every indicator of one seed by checkpoint, turned so that **lower is better**."""
    epochs = epochs_of(parameters)
    rows: dict[str, np.ndarray] = {}
    for pairing in parameters.pairings:
        name = ROBUST if pairing == "published" else f"{ROBUST}, {pairing}"
        rows[name] = np.array(
            [_default_loss(found.scores[seed, e, pairing], parameters.margin) for e in epochs]
        )
    accuracy = {r["epoch"]: r["accuracy"] for r in pretrainings[seed]["epochs"]}
    rows[ACCURACY] = -np.array([accuracy[e] for e in epochs])
    for key, name in ESTIMATOR_NAMES.items():
        values = [found.scores[seed, e, "published"]["estimators"].get(key) for e in epochs]
        rows[f"highest {name}"] = -np.array([np.nan if v is None else v for v in values])
    return rows


def _default_loss(score: dict, margin: float) -> float:
    [loss] = [
        one["loss"]
        for one in score["robustness"]
        if one["margin"] == margin and {name: one[name] for name in DEFAULT} == DEFAULT
    ]
    return loss


def _rule_rows(
    parameters: Parameters, pretrainings: dict[int, dict], task: str, found: Found
) -> list[dict]:
    rows = []
    epochs, seeds = epochs_of(parameters), parameters.seeds
    for frozen in parameters.frozen:
        dice = dice_of(found, epochs, seeds, frozen)
        best = dice[choose_highest(dice.mean(axis=1))]
        for place, seed in enumerate(seeds):
            common = {
                "table": "rules",
                "dataset_test": task,
                "dataset_train": WAYS[frozen],
                "seed": seed,
            }
            own = indicators(parameters, pretrainings, found, seed)
            taken = _taken(parameters, own, found, (dice, place, frozen))
            for rule, (reached, length, seen) in taken.items():
                regret = best[place] - reached
                values = {
                    "tis": 1 - regret / best.mean(),
                    "regret": regret,
                    "compute_saved": compute_saved(range(parameters.epochs + 1), seen),
                    "length_chosen": length,
                }
                rows += [
                    common | {"method": rule, "metric": metric, "value": value}
                    for metric, value in values.items()
                    if np.isfinite(value)
                ]
            for rule, row in own.items():
                rho = rank_correlation(row, dice[:, place])
                if np.isfinite(rho):
                    rows.append(
                        common | {"method": rule, "metric": "rank_correlation", "value": rho}
                    )
    return rows


def _taken(
    parameters: Parameters,
    own: dict[str, np.ndarray],
    found: Found,
    where: tuple[np.ndarray, int, bool],
) -> dict[str, tuple[float, float, int]]:
    """(Dice, epoch chosen, epoch up to which was pretrained) of every rule for one seed."""
    dice, place, frozen = where
    epochs, full = epochs_of(parameters), parameters.epochs
    seed = parameters.seeds[place]
    column = dice[:, place]
    taken = {}
    for rule, row in own.items():
        if np.isfinite(row).any():
            at = choose_lowest(row)
            taken[rule] = (column[at], epochs[at], full)
    taken[FULL] = (column[-1], full, full)
    taken[RANDOM] = (column[1:].mean(), float("nan"), full)
    taken[NONE] = (column[0], 0, 0)
    best = choose_highest(dice.mean(axis=1))
    taken[ORACLE] = (column[best], epochs[best], full)
    others = np.delete(dice, place, axis=1)
    if others.shape[1]:
        at = choose_highest(others.mean(axis=1))
        taken[OTHERS] = (column[at], epochs[at], full)
    online = found.online[seed]
    reached = found.online_transfers[seed, frozen]["mean_dice"]
    seen = online["epochs"][-1]["epoch"]
    taken[ONLINE] = (reached, online["chosen"], seen)
    losses = online["notes"]["robustness_losses"]
    kept = stop_online(losses, online_rule(parameters, watch_start=True)).chosen == 0
    taken[WATCHED] = (column[0], 0, seen) if kept else taken[ONLINE]
    return taken


# ------------------------------------------------------------------------------------- the views


def values(
    table: pd.DataFrame, rule: str, metric: str = "tis", task: str | None = None
) -> pd.Series:
    """Numbers of a rule by seed, mean over tasks (or of one) and over ways of fine-tuning."""
    rows = table[
        (table["table"] == "rules") & (table["method"] == rule) & (table["metric"] == metric)
    ]
    if task is not None:
        rows = rows[rows["dataset_test"] == task]
    return rows.groupby("seed")["value"].mean().astype(float)


def rules_of(table: pd.DataFrame) -> list[str]:
    """The rules of a table, in its order."""
    return list(table.loc[table["table"] == "rules", "method"].unique())


def tasks_of(table: pd.DataFrame) -> list[str]:
    """The tasks of a table, in its order."""
    return list(table.loc[table["table"] == "rules", "dataset_test"].unique())


def rules_table(table: pd.DataFrame, task: str | None = None) -> pd.DataFrame:
    """TIS, regret, compute saved and rank correlation of every rule, with intervals over seeds.

    Args:
        task: one of the tasks; otherwise the mean over all.
    """
    rows = []
    for rule in rules_of(table):
        found = {
            metric: values(table, rule, metric, task)
            for metric in ("tis", "regret", "compute_saved", "rank_correlation")
        }
        rows.append(
            {
                "rule": rule,
                "TIS": with_interval(found["tis"], "{:.3f}"),
                "regret (Dice points)": with_interval(100 * found["regret"], "{:.1f}"),
                "pretraining saved": with_interval(found["compute_saved"], "{:.0%}"),
                "rank correlation": with_interval(found["rank_correlation"], "{:+.2f}"),
            }
        )
    return pd.DataFrame(rows)


def classes_table(table: pd.DataFrame) -> pd.DataFrame:
    """Dice and Jaccard of every class after no and after full pretraining, means over seeds."""
    rows = table[(table["table"] == "transfer") & table["metric"].isin(["dice", "jaccard"])]
    last = rows["rate"].max()
    found = []
    for (task, way, name), own in rows.groupby(["dataset_test", "dataset_train", "method"]):
        mean = own.groupby(["rate", "metric"])["value"].mean()
        found.append(
            {"task": task, "encoder": way, "class": name}
            | {
                f"{metric}, {start}": f"{mean[epoch, key]:.3f}"
                for metric, key in (("Dice", "dice"), ("Jaccard", "jaccard"))
                for start, epoch in (("no pretraining", 0), ("full", last))
            }
        )
    return pd.DataFrame(found)


def online_table(table: pd.DataFrame) -> pd.DataFrame:
    """Where the online rule stopped, by task and seed, and what that saved and cost."""
    rules = table[(table["table"] == "rules") & (table["method"] == ONLINE)]
    rows = []
    for (task, way, seed), own in rules.groupby(["dataset_test", "dataset_train", "seed"]):
        number = own.set_index("metric")["value"]
        full = table[
            (table["table"] == "rules")
            & (table["method"] == FULL)
            & (table["metric"] == "regret")
            & (table["dataset_test"] == task)
            & (table["dataset_train"] == way)
            & (table["seed"] == seed)
        ]["value"].iloc[0]
        rows.append(
            {
                "task": task,
                "encoder": way,
                "seed": seed,
                "epoch chosen": int(number["length_chosen"]),
                "pretraining saved": f"{number['compute_saved']:.0%}",
                "Dice against full": f"{full - number['regret']:+.3f}",
            }
        )
    return pd.DataFrame(rows)


def curves(table: pd.DataFrame, task: str) -> pd.DataFrame:
    """Scores and Dice of a task by epoch and seed, as they stand in the table."""
    kept = table["table"].isin(["scores", "transfer"]) & (table["dataset_test"] == task)
    return table[kept & table["metric"].isin(["robustness_loss", "estimator", "mean_dice"])]
