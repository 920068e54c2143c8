"""Results tables of the chapter ``few-shot-ablations``, and the numbers its rules are made of.

Tables: ``settings`` (a study in ``method``, its level in ``rate``), ``backbones`` (start in
``method``, backbone in ``note``), ``elsewhere`` (start in ``method``), ``base`` (CUPre as the
parameters have it), ``rounds`` of all alternations of the studies, ``gap`` and ``points`` (stage in
``method``) and ``maps`` (how far a map can be trusted).
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from helpers.chapters.cells.run import CUPRE, SOURCE, Arm, Data, Route
from helpers.chapters.cells.tables import SHOWN, data_rows, round_rows
from helpers.chapters.comparisons import with_interval
from helpers.chapters.few_shot_ablations.parameters import Parameters
from helpers.chapters.few_shot_ablations.run import (
    Maps,
    backbones,
    base,
    elsewhere,
    settings,
)
from helpers.chapters.results import tidy

CHAPTER = "few-shot-ablations"
BETWEEN = " | "
DECIMALS = 3

Results = Mapping[Arm, dict]


# ------------------------------------------------------------------------------------ the numbers


def results_table(
    parameters: Parameters,
    data: Data,
    pretrained: Mapping[Route, dict],
    found: Results,
    maps: Maps,
) -> pd.DataFrame:
    """All numbers of the chapter."""
    own = Rows(parameters, found)
    rows = data_rows(data) + own.of("base", base(parameters), parameters.cells, {"method": CUPRE})
    for one in settings(parameters):
        about = {"method": one.study, "note": f"{one.level:g}", "rate": one.level}
        rows += own.of("settings", one.route, parameters.cells, about)
        result = pretrained[one.route]
        rows += round_rows({"method": f"{one.study}: {one.level:g}"}, result)
    for encoder, starts in backbones(parameters).items():
        for kind, way in starts.items():
            about = {"method": kind, "note": encoder}
            rows += own.of("backbones", way, parameters.cells, about)
    for name, starts in elsewhere(parameters).items():
        for kind, way in starts.items():
            rows += own.of("elsewhere", way, name, {"method": kind})
    rows += _gap_rows(parameters, maps)
    common = {"chapter": CHAPTER, "source": "this run", "profile": parameters.profile}
    return tidy([common | row for row in rows])


class Rows:
    """Rows of the trainings behind a start, one per metric and draw."""

    def __init__(self, parameters: Parameters, found: Results) -> None:
        self._parameters, self._found = parameters, found

    def of(self, table: str, way: Route, dataset: str, about: dict) -> list[dict]:
        """The numbers of all draws; what they are about is in ``about``."""
        p = self._parameters
        rows = []
        for seed in p.seeds:
            result = self._found[Arm(way, dataset, p.share, seed)]
            common = {
                "table": table,
                "dataset_train": dataset,
                "dataset_test": dataset,
                "rate": 100 * p.share,
                "seed": seed,
                "n": result["n_images"],
                **about,
            }
            rows += [
                common | {"metric": name, "value": result["scores"][name]}
                for name in SHOWN
                if result["scores"][name] is not None
            ]
        return rows


def _gap_rows(parameters: Parameters, maps: Maps) -> list[dict]:
    at = {"dataset_train": parameters.cells, "n": len(maps.patches)}
    rows = [
        at | {"table": "gap", "method": stage, "rate": place, "metric": name, "value": value}
        for place, (stage, gap) in enumerate(maps.gaps.items())
        for name, value in vars(gap).items()
    ]
    for kind, by_stage in maps.points.items():
        for stage, points in by_stage.items():
            trust = maps.trust[kind][stage]
            told = {"table": "maps", "method": stage, "metric": "trustworthiness"}
            rows.append(at | told | {"value": trust, "note": kind})
            rows += [
                at
                | {"table": "points", "method": stage, "metric": axis}
                | {"value": round(float(value), DECIMALS)}
                | {"note": BETWEEN.join((kind, maps.patches.datasets[patch], str(patch)))}
                for patch, point in enumerate(points)
                for axis, value in zip("xy", point, strict=True)
            ]
    return rows


# -------------------------------------------------------------------------------------- the views


def _values(rows: pd.DataFrame, metric: str, index: list[str]) -> pd.DataFrame:
    """One column per draw."""
    rows = rows[rows["metric"] == metric]
    if rows.empty:
        return pd.DataFrame()
    return rows.pivot(index=index, columns="seed", values="value").astype(float)


def study(table: pd.DataFrame, name: str, metric: str = "box_ap") -> pd.DataFrame:
    """A metric by level of a study (index), a column per draw."""
    rows = table[(table["table"] == "settings") & (table["method"] == name)]
    return _values(rows, metric, ["rate"]).sort_index()


def studies_of(table: pd.DataFrame) -> list[str]:
    """Studies with at least two levels, in their order."""
    rows = table[table["table"] == "settings"]
    levels = rows.groupby("method", sort=False)["rate"].nunique()
    return list(levels[levels > 1].index)


def by_start(table: pd.DataFrame, part: str, metric: str = "box_ap") -> pd.DataFrame:
    """A metric by backbone or data set, and start (index), a column per draw."""
    key = {"backbones": "note", "elsewhere": "dataset_test"}[part]
    return _values(table[table["table"] == part], metric, [key, "method"])


def names_of(table: pd.DataFrame, part: str) -> list[str]:
    """Backbones, or data sets, in the order of the table."""
    key = {"backbones": "note", "elsewhere": "dataset_test"}[part]
    return list(table.loc[table["table"] == part, key].unique())


def kinds_of(table: pd.DataFrame, part: str) -> list[str]:
    """Starts in the order of the table."""
    return list(table.loc[table["table"] == part, "method"].unique())


def lead(table: pd.DataFrame, part: str, name: str, first: str, second: str) -> list[float]:
    """Box AP of one start minus that of another, draw by draw."""
    found = by_start(table, part)
    if not {(name, first), (name, second)} <= set(found.index):
        return []
    return [float(v) for v in (found.loc[(name, first)] - found.loc[(name, second)]).dropna()]


def gap(table: pd.DataFrame, metric: str) -> pd.Series:
    """A measure of the gap by stage, in order."""
    rows = table[(table["table"] == "gap") & (table["metric"] == metric)].sort_values("rate")
    return pd.Series(rows["value"].astype(float).to_numpy(), index=rows["method"])


def maps_of(table: pd.DataFrame) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Points of the maps: by projection, stage and domain, each (patches, 2)."""
    rows = table[table["table"] == "points"]
    if rows.empty:
        return {}
    parts = rows["note"].str.split(BETWEEN, expand=True, regex=False)
    rows = rows.assign(kind=parts[0], domain=parts[1], patch=parts[2].astype(int))
    found: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    for (kind, stage, domain), own in rows.groupby(["kind", "method", "domain"], sort=False):
        wide = own.pivot(index="patch", columns="metric", values="value")[["x", "y"]]
        found.setdefault(kind, {}).setdefault(stage, {})[domain] = wide.to_numpy(float)
    return found


def study_table(table: pd.DataFrame) -> pd.DataFrame:
    """All studies of AMT2: rows study and level, mean over draws with its interval in points."""
    rows = []
    for name in studies_of(table):
        found = {metric: study(table, name, metric) for metric in ("box_ap", "mask_ap")}
        for level in found["box_ap"].index:
            row = {"varied": name, "to": f"{level:g}"}
            for metric, title in (("box_ap", "box AP"), ("mask_ap", "mask AP")):
                row[title] = with_interval(100 * found[metric].loc[level].dropna(), "{:.1f}")
            rows.append(row)
    return pd.DataFrame(rows)


def start_table(table: pd.DataFrame, part: str) -> pd.DataFrame:
    """Starts by backbone or data set: mean box AP over draws with its interval in points."""
    found = by_start(table, part)
    rows = []
    for name in names_of(table, part):
        own = found.loc[name]
        row = {{"backbones": "backbone", "elsewhere": "cells"}[part]: name}
        row |= {
            kind: with_interval(100 * own.loc[kind].dropna(), "{:.1f}")
            for kind in kinds_of(table, part)
            if kind in own.index
        }
        leads = [100 * value for value in lead(table, part, name, CUPRE, SOURCE)]
        rows.append(row | {"CUPre minus source": with_interval(leads, "{:+.1f}")})
    return pd.DataFrame(rows)


def gap_table(table: pd.DataFrame) -> pd.DataFrame:
    """All measures of the gap by stage."""
    names = {"classifier": "accuracy of a classifier", "a_distance": "A-distance", "mmd": "MMD²"}
    columns = {title: gap(table, metric).map("{:.3f}".format) for metric, title in names.items()}
    return pd.DataFrame(columns).rename_axis("stage").reset_index()
