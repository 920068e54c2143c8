"""Results tables of the chapters on starting points, and the numbers their rules are made of.

In the column ``method`` stands the start, in ``rate`` the share of the training images in per cent,
in ``note`` the budget, the image or the step that a row is about.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from helpers.chapters.comparisons import with_interval
from helpers.chapters.results import tidy
from helpers.chapters.starting.parameters import StartingParameters
from helpers.chapters.starting.run import Arm, Tasks, kinds
from helpers.experiments.initialisation import scores as scores_of

RANDOM = "random"
# Starts by what the paper calls them: the published weights, then what stands for them here.
DOMAIN = ("barlow-pathology", "barlow-tissue")
SUPERVISED = ("imagenet-v1", "supervised-natural")
SELF_SUPERVISED = ("barlow-imagenet", "barlow-natural")
# Between the group and the name of a test image.
OF_GROUP = " | "
EVERYWHERE = "every pixel"
BUDGET_NOTES = {"steps": "equal steps", "epochs": "equal epochs"}


# ------------------------------------------------------------------------------------ the numbers


def results_table(
    chapter: str, parameters: StartingParameters, tasks: Tasks, found: Mapping[Arm, dict]
) -> pd.DataFrame:
    """All numbers of a chapter's models.

    Tables: ``data`` (images of each part), ``scores`` (mean over test images, with their spread),
    ``images`` (Dice of every test image of the own data set, first budget), ``curve`` (mean Dice on
    the test images by step) and ``baseline`` (what calling every pixel an object scores).
    """
    rows = _data_rows(parameters, tasks) + _baseline_rows(tasks)
    for arm, result in found.items():
        common = {
            "dataset_train": arm.dataset,
            "method": arm.start,
            "rate": 100 * arm.share,
            "seed": arm.seed,
        }
        rows += _score_rows(common, arm, result)
        if arm.budget == parameters.budgets[0]:
            rows += _image_rows(common, result["images"][arm.dataset], arm.dataset)
            rows += _curve_rows(common, result["checks"], arm.dataset)
    common = {"chapter": chapter, "source": "this run", "profile": parameters.profile}
    return tidy([common | row for row in rows])


def _data_rows(parameters: StartingParameters, tasks: Tasks) -> list[dict]:
    kind_of = {name: kind for kind, names in kinds(parameters).items() for name in names}
    return [
        {
            "table": "data",
            "dataset_train": name,
            "method": kind_of.get(name, "glands"),
            "metric": f"{part} images",
            "value": images,
            "n": groups,
            "note": "n: groups (patients, slides or source images)",
        }
        for name, task in tasks.items()
        for part, (images, groups) in task.counts.items()
    ]


def _baseline_rows(tasks: Tasks) -> list[dict]:
    rows = []
    for name, task in tasks.items():
        truth = task.part("test")
        found = scores_of([np.ones(mask.shape, np.int32) for mask in truth.masks], truth)
        for metric, values in found.items():
            known = [value for value in values if value is not None]
            at = {"table": "baseline", "dataset_test": name, "method": EVERYWHERE}
            numbers = {"value": np.mean(known), "std": np.std(known), "n": len(known)}
            rows.append(at | {"metric": metric} | numbers)
    return rows


def _score_rows(common: dict, arm: Arm, result: dict) -> list[dict]:
    rows = []
    for tested, scores in result["images"].items():
        for metric in ("dice", "jaccard"):
            known = [value for value in scores[metric] if value is not None]
            if known:
                numbers = {"value": np.mean(known), "std": np.std(known), "n": len(known)}
                where = {"table": "scores", "dataset_test": tested, "metric": metric}
                rows.append(common | where | numbers | {"note": BUDGET_NOTES[arm.budget]})
    return rows


def _image_rows(common: dict, scores: dict, dataset: str) -> list[dict]:
    where = {"table": "images", "dataset_test": dataset, "metric": "dice"}
    rows = zip(scores["groups"], scores["ids"], scores["dice"], strict=True)
    return [
        common | where | {"value": value, "note": f"{group}{OF_GROUP}{name}"}
        for group, name, value in rows
        if value is not None
    ]


def _curve_rows(common: dict, checks: Iterable[dict], dataset: str) -> list[dict]:
    where = {"table": "curve", "dataset_test": dataset, "metric": "dice"}
    return [
        common | where | {"value": check["test_dice"], "note": str(check["step"])}
        for check in checks
        if "test_dice" in check
    ]


# -------------------------------------------------------------------------------------- the views


def kind_of(table: pd.DataFrame) -> dict[str, str]:
    """``"glands"`` or ``"nuclei"`` by data set."""
    data = table[table["table"] == "data"]
    return dict(zip(data["dataset_train"], data["method"], strict=True))


def datasets_of(table: pd.DataFrame, kind: str) -> list[str]:
    """Data sets of one kind that models were trained on, in the order of the table."""
    trained = set(table.loc[table["table"] == "scores", "dataset_train"])
    return [name for name, own in kind_of(table).items() if own == kind and name in trained]


def starts_of(table: pd.DataFrame) -> list[str]:
    """The starts of a table, in its order."""
    return list(table.loc[table["table"] == "scores", "method"].unique())


def role(table: pd.DataFrame, names: Iterable[str]) -> str | None:
    """The first of some starts that a table holds."""
    present = starts_of(table)
    return next((name for name in names if name in present), None)


def shares_of(table: pd.DataFrame) -> list[float]:
    """Shares of the training images in per cent, ascending."""
    return sorted(table.loc[table["table"] == "scores", "rate"].unique())


def main_budget(table: pd.DataFrame) -> str:
    """How the trainings of a table were made equal, first of all."""
    return str(table.loc[table["table"] == "scores", "note"].iloc[0])


def scores(
    table: pd.DataFrame,
    trained: str,
    tested: str | None = None,
    metric: str = "dice",
    budget: str | None = None,
) -> pd.DataFrame:
    """One metric of the models of a data set.

    Args:
        tested: on which data set; its own by default.
        budget: of the training; the first of the table by default.

    Returns:
        Index (start, share in per cent), one column per seed.
    """
    wanted = {
        "table": "scores",
        "dataset_train": trained,
        "dataset_test": tested or trained,
        "metric": metric,
    }
    rows = table[(table[list(wanted)] == pd.Series(wanted)).all(axis=1)]
    # With all images both budgets are one training.
    note = BUDGET_NOTES[budget] if budget else main_budget(table)
    rows = rows[(rows["note"] == note) | (rows["rate"] == 100)]
    return rows.pivot(index=["method", "rate"], columns="seed", values="value").astype(float)


def baseline(table: pd.DataFrame, tested: str, metric: str = "dice") -> float:
    """What calling every pixel an object scores on a data set; NaN where it is not known."""
    rows = table[
        (table["table"] == "baseline")
        & (table["dataset_test"] == tested)
        & (table["metric"] == metric)
    ]
    return float(rows["value"].iloc[0]) if len(rows) else float("nan")


def own_scores(table: pd.DataFrame, kind: str, metric: str = "dice") -> pd.DataFrame:
    """:func:`scores` of every data set of a kind on its own test images, its name before them."""
    parts = {name: scores(table, name, metric=metric) for name in datasets_of(table, kind)}
    if not parts:
        return pd.DataFrame()
    return pd.concat(parts, names=["dataset"])


def score_table(table: pd.DataFrame, kind: str, metric: str = "dice") -> pd.DataFrame:
    """Mean over seeds with its interval: rows data set and start, one column per share.

    Each data set begins with what calling every pixel an object scores.
    """
    rows = []
    for name in datasets_of(table, kind):
        found = scores(table, name, metric=metric)
        plain = f"{baseline(table, name, metric):.3f}"
        cells = dict.fromkeys((_share_name(share) for share in shares_of(table)), plain)
        rows.append({"trained on": name, "start": f"none: {EVERYWHERE}"} | cells)
        for start in starts_of(table):
            row = {"trained on": name, "start": start}
            for share in shares_of(table):
                values = found.loc[(start, share)] if (start, share) in found.index else []
                row[_share_name(share)] = with_interval(pd.Series(values).dropna())
            rows.append(row)
    return pd.DataFrame(rows)


def _share_name(share: float) -> str:
    return f"{share:g}% of the images"


def group_of(image: str) -> str:
    """Patient or source of a test image as :func:`image_stack` names it."""
    return image.partition(OF_GROUP)[0]


def image_stack(table: pd.DataFrame, trained: str, share: float) -> dict[str, pd.DataFrame]:
    """Dice of every test image by start: rows are seeds, columns images, the same for all starts.

    Images for which some model has no Dice are left out for all. :func:`group_of` tells whose
    image a column is.
    """
    rows = table[
        (table["table"] == "images")
        & (table["dataset_train"] == trained)
        & (table["rate"] == share)
    ]
    stacks = {
        start: own.pivot(index="seed", columns="note", values="value").astype(float)
        for start, own in rows.groupby("method", sort=False)
    }
    common = None
    for stack in stacks.values():
        names = set(stack.dropna(axis=1).columns)
        common = names if common is None else common & names
    kept = sorted(common or ())
    return {start: stack[kept] for start, stack in stacks.items()}


def curve(table: pd.DataFrame, trained: str, share: float) -> pd.DataFrame:
    """Dice by step (index), mean over seeds, one column per start."""
    rows = table[
        (table["table"] == "curve") & (table["dataset_train"] == trained) & (table["rate"] == share)
    ]
    rows = rows.assign(step=rows["note"].astype(float).astype(int))
    return rows.pivot_table(index="step", columns="method", values="value", sort=False)
