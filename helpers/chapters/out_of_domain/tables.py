"""Results tables of the chapter ``out-of-domain``, and the numbers its rules are made of.

Out of domain is a data set of the same kind that a model was not trained on. Images there may be
easier or harder for everybody, so that one ordered pair of data sets says little. The relative drop
of a start is therefore mean Dice at home minus mean Dice elsewhere, as a share of that at home,
with means over all ordered pairs: every data set counts as home as often as elsewhere, and what
makes its images harder for all models alike cancels. (A mean of ratios would not do: models of
equal worth with Dice 0.4 on one data set and 0.2 on the other drop by 50 % and by -100 %.) The
paper speaks of a "relative performance drop" and gives no formula.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from helpers.chapters.comparisons import with_interval
from helpers.chapters.out_of_domain.parameters import Parameters
from helpers.chapters.starting import tables
from helpers.chapters.starting.run import Arm, Tasks
from helpers.chapters.starting.tables import datasets_of

CHAPTER = "out-of-domain"
GLANDS, NUCLEI, WITHIN = "glands", "nuclei", "parts of one data set"
KINDS = (GLANDS, NUCLEI)
SHIFTS = (*KINDS, WITHIN)
# One model on one data set.
KEYS = ["trained", "start", "share", "seed"]


def results_table(parameters: Parameters, tasks: Tasks, found: Mapping[Arm, dict]) -> pd.DataFrame:
    """All numbers of the chapter (see :func:`helpers.chapters.starting.tables.results_table`).

    Parts of one data set are a kind of their own, so that nothing mixes them with the others.
    """
    table = tables.results_table(CHAPTER, parameters, tasks, found)
    part = (table["table"] == "data") & table["dataset_train"].isin(parameters.within)
    table.loc[part, "method"] = WITHIN
    return table


def kinds_of(table: pd.DataFrame, among: Sequence[str] = KINDS) -> list[str]:
    """Kinds of which there are several data sets, so that something is out of domain."""
    return [kind for kind in among if len(datasets_of(table, kind)) > 1]


def pairs(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Every model of a kind on every data set of that kind.

    Returns:
        Columns trained, tested, start, share (in per cent), seed, dice, own (Dice of that model on
        its own test images) and drop (own - dice).

    Raises:
        pandas.errors.MergeError: a model stands in the table twice.
    """
    names = datasets_of(table, kind)
    rows = table[
        (table["table"] == "scores")
        & (table["metric"] == "dice")
        & table["dataset_train"].isin(names)
        & table["dataset_test"].isin(names)
    ]
    columns = {
        "dataset_train": "trained",
        "dataset_test": "tested",
        "method": "start",
        "rate": "share",
        "seed": "seed",
        "value": "dice",
    }
    found = rows[list(columns)].rename(columns=columns).astype({"share": float, "dice": float})
    own = found[found["trained"] == found["tested"]].rename(columns={"dice": "own"})
    found = found.merge(own[[*KEYS, "own"]], on=KEYS, how="left", validate="many_to_one")
    found["drop"] = found["own"] - found["dice"]
    return found


def by_start(
    table: pd.DataFrame, kind: str, share: float, column: str, trained: list[str] | None = None
) -> pd.DataFrame:
    """Mean over the ordered pairs of different data sets, in the order of the starts.

    Args:
        share: in per cent.
        column: dice, own or drop of :func:`pairs`.
        trained: only models of these data sets.

    Returns:
        Index start, one column per seed; NaN if a pair is missing, and empty if the kind has a
        single data set.
    """
    found = pairs(table, kind)
    found = found[(found["trained"] != found["tested"]) & (found["share"] == share)]
    if trained is not None:
        found = found[found["trained"].isin(trained)]
    if found.empty:
        return pd.DataFrame()
    cells = found.pivot(index="start", columns=["trained", "tested", "seed"], values=column)
    mean = cells.T.groupby(level="seed").mean().T
    # A mean over fewer pairs would compare other things.
    known = cells.notna().T.groupby(level="seed").sum().T
    n_pairs = len(found[["trained", "tested"]].drop_duplicates())
    return mean.where(known == n_pairs).reindex(tables.starts_of(table)).dropna(how="all")


def relative_drop(table: pd.DataFrame, kind: str, share: float) -> pd.DataFrame:
    """Share of the Dice at home that is lost elsewhere, in the form of :func:`by_start`.

    NaN where the models of all data sets find nothing at home.
    """
    home = by_start(table, kind, share, "own")
    return by_start(table, kind, share, "drop") / home.where(home > 0)


def ends(table: pd.DataFrame) -> tuple[float, float]:
    """Smallest and largest share in per cent."""
    found = tables.shares_of(table)
    return found[0], found[-1]


def shares_shown(table: pd.DataFrame, kind: str) -> list[float]:
    """Shares at which a kind was trained, in per cent, ascending."""
    return sorted(pairs(table, kind)["share"].unique())


# -------------------------------------------------------------------------------------- the views


def matrix(table: pd.DataFrame, kind: str, start: str, share: float) -> pd.DataFrame:
    """Dice, mean over seeds: one row per data set trained on, one column per tested one."""
    found = pairs(table, kind)
    found = found[(found["start"] == start) & (found["share"] == share)]
    cells = found.pivot_table(index="trained", columns="tested", values="dice", aggfunc="mean")
    names = datasets_of(table, kind)
    return cells.reindex(index=names, columns=names)


def matrix_table(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The numbers of all matrices of a kind with 95 % intervals over seeds, one row per model."""
    found = pairs(table, kind)
    rows = []
    for (start, share, trained), own in found.groupby(["start", "share", "trained"], sort=False):
        row = {"start": start, "share (%)": f"{share:g}", "trained on": trained}
        for tested in datasets_of(table, kind):
            values = own.loc[own["tested"] == tested, "dice"].dropna()
            row[f"tested on {tested}"] = with_interval(values)
        rows.append(row)
    return pd.DataFrame(rows)


def drop_table(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Dice at home and elsewhere and the relative drop, means over pairs, by start and share."""
    rows = []
    for share in shares_shown(table, kind):
        home, away = (by_start(table, kind, share, column) for column in ("own", "dice"))
        relative = relative_drop(table, kind, share)
        for start in home.index:
            row = {"share (%)": f"{share:g}", "start": start}
            row["Dice at home"] = with_interval(home.loc[start].dropna())
            row["Dice elsewhere"] = with_interval(away.loc[start].dropna())
            row["relative drop"] = with_interval(relative.loc[start].dropna(), "{:.1%}")
            rows.append(row)
    return pd.DataFrame(rows)
