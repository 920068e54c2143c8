"""Results tables of the chapter ``coreset`` and what they say in words."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from helpers.chapters import results as all_results
from helpers.chapters.coreset.parameters import Parameters
from helpers.chapters.results import tidy
from helpers.experiments.coreset import ALL, Choice
from helpers.metrics import student_interval

METRICS = ("iou", "dice", "pq_paper", "pq", "ap_50", "aji", "foreground_dice")
METRIC_NAMES = {
    "iou": "IoU",
    "dice": "Dice",
    "pq_paper": "IoU × Dice (“PQ”)",
    "pq": "panoptic quality",
    "ap_50": "AP at IoU 0.5",
    "aji": "AJI",
    "foreground_dice": "Dice of the foreground before instances",
    "coverage_mean": "mean distance to the nearest chosen patch",
    "coverage_p95": "95th percentile of that distance",
    "cells_hit": "share of k-means cells hit",
    "instances": "annotated instances chosen",
    "sizes_hit": "share of instance sizes hit",
    "kinds_hit": "share of modalities hit",
}
METHOD_NAMES = {
    "random": "random",
    "stratified": "stratified",
    "k_center": "k-center",
    "herding": "herding",
    "facility_location": "facility location",
    "dq_paper_eq": "DQ, printed equation",
    "dq_official_code": "DQ, released code",
    "dq_graphcut": "DQ, graph cut",
    ALL: "all",
}
DQ_NAMES = [name for name in METHOD_NAMES.values() if name.startswith("DQ")]
FEATURE_NAMES = {
    "pixels": "raw pixels",
    "descriptor": "descriptor",
    "untrained": "encoder, untrained",
    "mae": "encoder, pretrained here",
    "mae-vit-base": "MAE ViT-B/16, official",
    "lunit-dino-vits16": "DINO ViT-S/16 on histology, official",
    "lunit-dino-vits8": "DINO ViT-S/8 on histology, official",
}


def results_table(parameters: Parameters, models: list[dict]) -> pd.DataFrame:
    """One row per model and metric: mean and standard deviation over held-out images."""
    rows = []
    for model in models:
        note = f"std over images; {model['n_patches']} patches, {model['n_instances']} instances"
        rows += _measured(parameters, "II", model, model["images"], note)
    for model in all_results.baseline_models(models):
        images = model["tested"][parameters.dataset]
        note = "std over images; no training"
        rows += _measured(parameters, "baselines", model, images, note)
    return tidy(rows)


def _measured(
    parameters: Parameters, table: str, model: dict, images: list[dict], note: str
) -> list[dict]:
    frame = pd.DataFrame(images)
    rows = []
    for metric in METRICS:
        values = frame[metric].dropna()
        spread = {"std": values.std(ddof=0), "n": len(values), "note": note}
        rows.append(_row(parameters, table, model, metric, values.mean()) | spread)
    return rows


def coverage_table(
    parameters: Parameters, choices: list[Choice], covered: list[dict], table: str = "coverage"
) -> pd.DataFrame:
    """One row per choice and measure of coverage.

    Args:
        covered: per choice, as of :func:`helpers.experiments.coreset.cover`.
        table: names the features in which distances are measured.
    """
    rows = [
        _row(parameters, table, vars(choice), metric, value)
        for choice, measures in zip(choices, covered, strict=True)
        for metric, value in measures.items()
    ]
    return tidy(rows)


def features_table(parameters: Parameters, found: list[dict]) -> pd.DataFrame:
    """One row per way to describe a patch: balanced nearest-neighbour accuracy."""
    rows = []
    for one in found:
        name = FEATURE_NAMES.get(one["features"], one["features"])
        note = f"{one['n_kinds']} modalities or data sets; chance {one['chance']:.3f}"
        model = {"method": name, "rate": None, "seed": parameters.seed}
        row = _row(parameters, "features", model, "knn_accuracy", one["accuracy"])
        rows.append(row | {"n": one["n"], "note": note})
    return tidy(rows)


def masking_table(parameters: Parameters, found: list[dict]) -> pd.DataFrame:
    """Agreement of selections whose features saw a random quarter of every patch."""
    rows = []
    for one in found:
        model = {"method": one["method"], "rate": one["rate"], "seed": parameters.seed}
        for metric in ("two_draws", "hidden_whole", "chance"):
            rows.append(_row(parameters, "masking", model, f"agreement_{metric}", one[metric]))
    return tidy(rows)


def picks_table(parameters: Parameters, distances: dict[str, np.ndarray]) -> pd.DataFrame:
    """How far from the mean each gain's first tenth lies, as a share of the mean of all.

    Args:
        distances: by method, distance to the mean of every patch, in the order of picking.
    """
    rows = []
    for method, values in distances.items():
        first = values[: max(1, len(values) // parameters.n_bins)]
        model = {"method": method, "rate": 1 / parameters.n_bins, "seed": parameters.seed}
        ratio = float(first.mean() / values.mean()) if values.mean() > 0 else float("nan")
        rows.append(_row(parameters, "picks", model, "first_distance", ratio))
    return tidy(rows)


def _row(
    parameters: Parameters, table: str, model: dict, metric: str, value: float
) -> dict[str, object]:
    rate = model["rate"]
    return {
        "chapter": "coreset",
        "table": table,
        "source": "this run",
        "profile": parameters.profile,
        "dataset_train": parameters.dataset,
        "dataset_test": parameters.dataset,
        "method": METHOD_NAMES.get(model["method"], model["method"]),
        "rate": None if rate is None else 100 * rate,
        "seed": model["seed"],
        "metric": metric,
        "value": value,
    }


def sources(this_run: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """All numbers of the chapter, by source: each published and each recorded data set apart."""
    found = {}
    for name, table in (
        ("published", all_results.published("coreset")),
        ("recorded", all_results.recorded("coreset")),
    ):
        for dataset, part in table.groupby("dataset_train", sort=True):
            found[f"{name}, {dataset}"] = part.reset_index(drop=True)
    return {**found, "this run": this_run}


def performance(table: pd.DataFrame) -> pd.DataFrame:
    """The rows about segmentation, published or our own."""
    return table[table["table"].isin(["II", "III"])]


def published_wide(table: str) -> pd.DataFrame:
    """Table II or III as printed: one row per rate, DQ beside random for each metric."""
    rows = all_results.published("coreset")
    rows = rows[rows["table"] == table]
    cells = rows["value"].map("{:.3f}".format) + " ± " + rows["std"].map("{:.3f}".format)
    name = rows["metric"].map(METRIC_NAMES) + ", " + rows["method"]
    printed = rows.assign(cell=cells, name=name).pivot(index="rate", columns="name", values="cell")
    printed = printed[list(dict.fromkeys(name))]
    printed.index = [f"{rate:g}" for rate in printed.index]
    return printed.rename_axis("rate (%)").rename_axis(None, axis=1).reset_index()


def same_spread() -> pd.DataFrame:
    """The spread of DQ "over five runs" in Table II beside the spread over images in Table I."""
    first = all_results.published("redundancy")
    second = all_results.published("coreset")
    keys = ["rate", "metric"]
    one = first[first["table"] == "I"].set_index(keys)["std"]
    two = second[(second["table"] == "II") & (second["method"] == "DQ")].set_index(keys)["std"]
    both = pd.concat([one, two], axis=1, join="inner", keys=["Table I", "Table II"]).reset_index()
    both["metric"] = both["metric"].map(METRIC_NAMES)
    wide = both.pivot(index="rate", columns="metric", values=["Table I", "Table II"])
    wide = wide.map("{:.3f}".format).swaplevel(axis=1).sort_index(axis=1)
    wide.columns = [f"{metric}, {table}" for metric, table in wide.columns]
    wide.index = [f"{rate:g}" for rate in wide.index]
    return wide.rename_axis("rate (%)").reset_index()


def by_method(table: pd.DataFrame, metrics: Iterable[str] = ("dice", "pq")) -> pd.DataFrame:
    """Means over seeds, with the standard deviation over seeds, per method and rate."""
    rows = performance(table)
    rows = rows[rows["metric"].isin(list(metrics))]
    grouped = rows.groupby(["method", "rate", "metric"])
    cells = grouped["value"].agg(_mean_and_spread)
    wide = cells.unstack("metric")[list(metrics)].rename(columns=METRIC_NAMES)
    first = next(iter(metrics))
    images = grouped["std"].mean().unstack("metric")[first].map("{:.3f}".format)
    wide[f"{METRIC_NAMES[first]}, sd over test images"] = images
    shown = wide.reset_index()
    shown["rate"] = shown["rate"].map("{:g}".format)
    return shown.rename(columns={"rate": "rate (%)"}).rename_axis(None, axis=1)


def _mean_and_spread(values: pd.Series) -> str:
    spread = f" ± {values.std():.3f}" if len(values) > 1 else ""
    return f"{values.mean():.3f}{spread}"


def minus_random(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Every method minus random, seed by seed, at every rate below 100 %.

    Returns:
        Columns method, rate, seed, difference; empty where a source has no seeds.
    """
    rows = performance(table)
    rows = rows[(rows["metric"] == metric) & (rows["rate"] < 100) & rows["seed"].notna()]
    wide = rows.pivot_table(index=["rate", "seed"], columns="method", values="value")
    if "random" not in wide:
        return pd.DataFrame(columns=["method", "rate", "seed", "difference"])
    apart = wide.drop(columns="random").sub(wide["random"], axis=0).dropna(axis=1, how="all")
    return apart.melt(ignore_index=False, value_name="difference").reset_index().dropna()


def differences(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Mean of each method minus random over seeds, with its 95 % Student interval over seeds."""
    rows = []
    for (method, rate), group in minus_random(table, metric).groupby(["method", "rate"]):
        values = group["difference"].astype(float).tolist()
        low, high = student_interval(values)
        mean = float(np.mean(values))
        rows.append({"method": method, "rate": rate, "mean": mean, "low": low, "high": high})
        rows[-1]["n_seeds"] = len(values)
    return pd.DataFrame(rows, columns=["method", "rate", "mean", "low", "high", "n_seeds"])


def features_shown(table: pd.DataFrame) -> pd.DataFrame:
    """The check of features as a person reads it."""
    rows = table[table["table"] == "features"]
    shown = rows[["method", "value", "n", "note"]].copy()
    shown["value"] = shown["value"].map("{:.3f}".format)
    names = {"method": "features", "value": "balanced accuracy", "n": "patches", "note": ""}
    return shown.rename(columns=names)


def masking_shown(table: pd.DataFrame) -> pd.DataFrame:
    """The effect of hidden patches as a person reads it."""
    rows = table[table["table"] == "masking"]
    if not len(rows):
        return pd.DataFrame({"": ["these features are not made by a transformer: not applicable"]})
    wide = rows.pivot(index="method", columns="metric", values="value").map("{:.0%}".format)
    names = {
        "agreement_two_draws": "two embeddings with hidden patches",
        "agreement_hidden_whole": "hidden against whole patches",
        "agreement_chance": "two random selections",
    }
    return wide[list(names)].rename(columns=names).rename_axis(None, axis=1).reset_index()


def describe_sources(found: dict[str, pd.DataFrame]) -> str:
    """One sentence on what each source of numbers is; a subset of a data set is called one."""
    data = {entry["name"]: entry for entry in all_results.recorded_data("coreset")}
    parts = []
    for name, table in found.items():
        rows = performance(table)
        dataset = rows["dataset_train"].iloc[0]
        entry = data.get(dataset, {"complete": True})
        subset = f" (a subset: {entry['coverage']})" if not entry["complete"] else ""
        seeds = rows["seed"].nunique()
        repeats = f", {seeds} seeds" if seeds else ""
        n_methods = rows["method"].nunique()
        rates = ", ".join(f"{rate:g}%" for rate in sorted(rows["rate"].unique()))
        where = "" if dataset in name else f"{dataset}, "
        parts.append(
            f"- **{name}**{subset if name.startswith('recorded') else ''}: {where}"
            f"{n_methods} methods, rates {rates}{repeats}"
        )
    return "\n".join(parts)


def for_a_lab(found: dict[str, pd.DataFrame]) -> str:
    """Two sentences drawn from the recorded numbers (from this run's where none are recorded)."""
    names = [name for name in found if name.startswith("recorded")] or ["this run"]
    sentences = []
    for name in names:
        apart = differences(found[name], "dice")
        if not len(apart):
            continue
        rate = apart["rate"].min()
        small = apart[apart["rate"] == rate].sort_values("mean")
        best, worst = small.iloc[-1], small.iloc[0]
        better, equal, worse = _decided(apart)
        sentences.append(
            f"**{name}**: of {len(apart)} comparisons with random subsets of the same size "
            f"(methods × rates, Dice), {better} came out clearly better, {worse} clearly worse and "
            f"{equal} within what the {int(apart['n_seeds'].min())} seeds can tell. At {rate:g}%, "
            f"the smallest rate, {best['method']} did best ({best['mean']:+.3f} against random) "
            f"and {worst['method']} worst ({worst['mean']:+.3f})."
        )
    return "\n\n".join(sentences)


def _decided(apart: pd.DataFrame) -> tuple[int, int, int]:
    """How many intervals lie above zero, include it, lie below it."""
    better, worse = int((apart["low"] > 0).sum()), int((apart["high"] < 0).sum())
    return better, len(apart) - better - worse, worse
