"""Results table of the chapter ``representations``, and the numbers its rules are made of.

In the column ``dataset_train`` stands what the networks were fine-tuned on, in ``note`` the place
in the network. Tables: ``patches``, ``scores`` (Dice of the networks), ``pairs`` (two fine-tuned
networks), ``before`` (two encoders before that, a second draw of random weights among them),
``moved`` (one before and after), ``clouds`` (whether starts are told apart), ``maps``
(trustworthiness) and ``points`` (where patches lie on the maps of the first projection, so that a
recorded map can be drawn).
"""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from helpers.chapters.representations.parameters import Parameters
from helpers.chapters.representations.run import ANOTHER, RANDOM, Compared, JointMap
from helpers.chapters.results import tidy
from helpers.chapters.starting.run import Arm
from helpers.experiments.representations import PLACES, Patches, joint_overlap
from helpers.features.similarity import Similarity

CHAPTER = "representations"
UNTRAINED = (RANDOM, ANOTHER)
MEASURES = {
    "debiased_cka": "debiased CKA",
    "neighbours": "neighbourhood overlap",
    "procrustes": "Procrustes disparity",
}
ALL_STARTS = "all starts"
BETWEEN = " / "
DECIMALS = 3


# -------------------------------------------------------------------------------------- the rows


def results_table(
    parameters: Parameters,
    shown: Patches,
    compared: Compared,
    models: Mapping[Arm, dict],
    maps: Mapping[str, Mapping[str, Mapping[str, JointMap]]],
) -> pd.DataFrame:
    """All numbers of the chapter.

    Args:
        maps: by data set trained on, then as
            :func:`helpers.chapters.representations.run.joint_maps` gives them.
    """
    rows = _patch_rows(shown) + _score_rows(models)
    for (dataset, place), pairs in compared.pairs.items():
        for pair, found in pairs.items():
            at = {"table": "pairs", "dataset_train": dataset, "note": place}
            rows += _similarity_rows(at | {"method": BETWEEN.join(pair)}, found)
    for (dataset, place), starts in compared.moved.items():
        for start, found in starts.items():
            at = {"table": "moved", "dataset_train": dataset, "note": place, "method": start}
            rows += _similarity_rows(at, found)
    for place, pairs in compared.before.items():
        for pair, found in pairs.items():
            at = {"table": "before", "note": place, "method": BETWEEN.join(pair)}
            rows += _similarity_rows(at, found)
    rows += _cloud_rows(compared, len(parameters.starts))
    for dataset, by_name in maps.items():
        for name, by_place in by_name.items():
            for place, one in by_place.items():
                at = {"table": "maps", "dataset_train": dataset, "method": name, "note": place}
                rows.append(at | {"metric": "trustworthiness", "value": one.trust})
        rows += _point_rows(dataset, parameters.projections[0], by_name)
    common = {
        "chapter": CHAPTER,
        "source": "this run",
        "profile": parameters.profile,
        "rate": 100.0,
        "seed": parameters.seeds[0],
    }
    n = {"n": len(shown)}
    return tidy([common | n | row for row in rows if np.isfinite(row["value"])])


def _patch_rows(shown: Patches) -> list[dict]:
    rows = []
    for dataset in dict.fromkeys(shown.datasets):
        own = [i for i, name in enumerate(shown.datasets) if name == dataset]
        counts = {
            "patches": len(own),
            "images": len({shown.sources[i] for i in own}),
            "groups": len({shown.groups[i] for i in own}),
        }
        at = {"table": "patches", "dataset_test": dataset}
        rows += [at | {"metric": metric, "value": value} for metric, value in counts.items()]
    return rows


def _score_rows(models: Mapping[Arm, dict]) -> list[dict]:
    rows = []
    for arm, result in models.items():
        for tested, scores in result["images"].items():
            known = [value for value in scores["dice"] if value is not None]
            if known:
                at = {"table": "scores", "dataset_train": arm.dataset, "dataset_test": tested}
                numbers = {"value": np.mean(known), "std": np.std(known), "n": len(known)}
                rows.append(at | {"method": arm.start, "metric": "dice"} | numbers)
    return rows


def _similarity_rows(at: dict, found: Mapping[str, Similarity]) -> list[dict]:
    """Every measure, what chance gives (mean and the 95% interval of shuffled values), and p."""
    rows = []
    for measure, one in found.items():
        numbers = {
            "": one.value,
            " by chance": one.chance,
            " by chance, low": one.low,
            " by chance, high": one.high,
            " above chance": one.above_chance,
            " p": one.p,
        }
        rows += [at | {"metric": f"{measure}{end}", "value": v} for end, v in numbers.items()]
    return rows


def _cloud_rows(compared: Compared, n_starts: int) -> list[dict]:
    rows = []
    for (dataset, place), accuracy in compared.apart.items():
        at = {"table": "clouds", "dataset_train": dataset, "note": place}
        overlap = joint_overlap(accuracy, n_starts)
        every = at | {"method": ALL_STARTS}
        rows += [
            every | {"metric": "accuracy", "value": accuracy},
            every | {"metric": "chance", "value": 1 / n_starts},
            every | {"metric": "overlap", "value": overlap},
        ]
        for start, own in compared.reordered[dataset, place].items():
            control = at | {"method": f"{start}{BETWEEN}reordered"}
            rows += [
                control | {"metric": "accuracy", "value": own},
                control | {"metric": "chance", "value": 0.5},
                control | {"metric": "overlap", "value": joint_overlap(own, 2)},
            ]
    return rows


def _point_rows(
    dataset: str, projection: str, by_name: Mapping[str, Mapping[str, JointMap]]
) -> list[dict]:
    at = {"table": "points", "dataset_train": dataset}
    return [
        at
        | {"method": start, "metric": axis, "value": round(float(value), DECIMALS)}
        | {"note": BETWEEN.join((projection, place, str(patch)))}
        for place, one in by_name[projection].items()
        for start, points in one.points.items()
        for patch, point in enumerate(points)
        for axis, value in zip("xy", point, strict=True)
    ]


# -------------------------------------------------------------------------------------- the views


def values(table: pd.DataFrame, part: str, metric: str, place: str | None = None) -> pd.DataFrame:
    """One metric of one of the tables.

    Returns:
        Index (dataset_train, method), columns the places of the network (or the one asked for) as
        far as the table has them.
    """
    rows = table[(table["table"] == part) & (table["metric"] == metric)]
    if place is not None:
        rows = rows[rows["note"] == place]
    rows = rows.assign(dataset_train=rows["dataset_train"].fillna(""))
    order = [name for name in PLACES if name in set(rows["note"])]
    wide = rows.pivot(index=["dataset_train", "method"], columns="note", values="value")
    return wide.reindex(columns=order).astype(float)


def datasets_of(table: pd.DataFrame) -> list[str]:
    """Data sets that networks were fine-tuned on, in the order of the table."""
    return list(table.loc[table["table"] == "pairs", "dataset_train"].unique())


def starts_of(table: pd.DataFrame) -> list[str]:
    """The starts of a table, in its order."""
    return list(table.loc[table["table"] == "scores", "method"].unique())


def overlaps(table: pd.DataFrame) -> pd.DataFrame:
    """Overlap of the clouds of all starts: rows data sets, columns places; empty if not known."""
    found = values(table, "clouds", "overlap")
    known = found.index.get_level_values("method") == ALL_STARTS
    return found[known].droplevel("method")


def matrix(
    table: pd.DataFrame, dataset: str, place: str, measure: str, chance: bool = False
) -> pd.DataFrame:
    """A measure between all starts, symmetric; NaN on the diagonal.

    Args:
        chance: what chance gives, instead.
    """
    metric = f"{measure} by chance" if chance else measure
    found = values(table, "pairs", metric, place)[place].loc[dataset]
    names = starts_of(table)
    square = pd.DataFrame(np.nan, index=names, columns=names)
    for pair, value in found.items():
        one, other = pair.split(BETWEEN)
        square.loc[one, other] = square.loc[other, one] = value
    return square


def before_pairs(table: pd.DataFrame, measure: str, place: str) -> pd.Series:
    """A measure of the pairs of starts before fine-tuning; empty for places of the decoder."""
    found = values(table, "before", measure, place)
    if found.empty:
        return pd.Series(dtype=float)
    own = found[place].droplevel("dataset_train")
    return own[[ANOTHER not in name.split(BETWEEN) for name in own.index]]


def untrained_pair(table: pd.DataFrame, measure: str, place: str) -> float:
    """A measure of two draws of random weights, neither trained; NaN where it is not known."""
    found = values(table, "before", measure, place)
    return float(found[place].loc["", BETWEEN.join(UNTRAINED)]) if len(found) else float("nan")


def pair_table(table: pd.DataFrame) -> pd.DataFrame:
    """Every place and measure: all pairs, by chance, before fine-tuning, two random encoders."""
    rows = []
    for dataset in datasets_of(table):
        for place in PLACES:
            for measure, name in MEASURES.items():
                rows.append(
                    {"trained on": dataset, "place": place, "measure": name}
                    | _pair_cells(table, dataset, place, measure)
                )
    return pd.DataFrame(rows)


def _pair_cells(table: pd.DataFrame, dataset: str, place: str, measure: str) -> dict[str, str]:
    own, chance, p = (
        values(table, "pairs", f"{measure}{end}", place)[place].loc[dataset]
        for end in ("", " by chance", " p")
    )
    before, untrained = before_pairs(table, measure, place), untrained_pair(table, measure, place)
    return {
        "mean of pairs": f"{own.mean():.2f}",
        "lowest to highest": f"{own.min():.2f} to {own.max():.2f}",
        "by chance": f"{chance.mean():.2f}",
        "largest p": f"{p.max():.3f}",
        "before fine-tuning": f"{before.mean():.2f}" if len(before) else "–",
        "two random encoders": f"{untrained:.2f}" if np.isfinite(untrained) else "–",
    }


def cloud_table(table: pd.DataFrame) -> pd.DataFrame:
    """Whether starts are told apart, and a network from itself with reordered channels."""
    accuracy, chance, overlap = (
        values(table, "clouds", metric) for metric in ("accuracy", "chance", "overlap")
    )
    rows = []
    for (dataset, method), own in accuracy.iterrows():
        for place, value in own.items():
            rows.append(
                {
                    "trained on": dataset,
                    "told apart": method,
                    "place": place,
                    "accuracy": f"{value:.2f}",
                    "by chance": f"{chance.loc[(dataset, method), place]:.2f}",
                    "overlap": f"{overlap.loc[(dataset, method), place]:.2f}",
                }
            )
    columns = ["trained on", "told apart", "place", "accuracy", "by chance", "overlap"]
    return pd.DataFrame(rows, columns=columns)


def moved_table(table: pd.DataFrame) -> pd.DataFrame:
    """A network before and after fine-tuning, by start and place."""
    found = {name: values(table, "moved", measure) for measure, name in MEASURES.items()}
    rows = []
    for dataset, start in next(iter(found.values())).index:
        row = {"trained on": dataset, "start": start}
        for name, one in found.items():
            for place, value in one.loc[(dataset, start)].items():
                row[f"{name}, {place}"] = f"{value:.2f}"
        rows.append(row)
    return pd.DataFrame(rows)


def maps_of(table: pd.DataFrame) -> dict[str, dict[str, dict[str, JointMap]]]:
    """The maps that a table keeps: by data set trained on, projection and place."""
    rows = table[table["table"] == "points"]
    parts = rows["note"].str.split(BETWEEN, expand=True, regex=False)
    parts = parts.reindex(columns=range(3)).set_axis(["projection", "place", "patch"], axis=1)
    rows = rows.assign(**parts).astype({"patch": int})
    found: dict[str, dict[str, dict[str, JointMap]]] = {}
    keys = ["dataset_train", "projection", "place"]
    for (dataset, projection, place), own in rows.groupby(keys, sort=False):
        wide = own.pivot(index=["method", "patch"], columns="metric", values="value")[["x", "y"]]
        starts = list(own["method"].unique())
        points = {start: wide.loc[start].to_numpy(np.float32) for start in starts}
        trust = values(table, "maps", "trustworthiness", place)[place].loc[dataset, projection]
        found.setdefault(dataset, {}).setdefault(projection, {})[place] = JointMap(points, trust)
    return found


def map_points(maps: Mapping[str, Mapping[str, JointMap]]) -> pd.DataFrame:
    """Every point of some maps, for who wants to draw them again."""
    parts: Iterable[pd.DataFrame] = (
        pd.DataFrame(one.points[start], columns=["x", "y"]).assign(
            projection=name, place=place, start=start
        )
        for name, by_place in maps.items()
        for place, one in by_place.items()
        for start in one.points
    )
    return pd.concat(parts, ignore_index=True)
