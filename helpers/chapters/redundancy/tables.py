"""Results tables of the chapter ``redundancy`` and what they say in words."""

import numpy as np
import pandas as pd

from helpers.chapters import results as all_results
from helpers.chapters.comparisons import by_rate
from helpers.chapters.redundancy.parameters import Parameters
from helpers.chapters.results import tidy
from helpers.experiments.prepared import Prepared
from helpers.experiments.redundancy import RedundancyTrial, choose_patches, steps_of
from helpers.metrics import bootstrap_interval

PUBLISHED_METRICS = ("iou", "dice", "precision", "recall", "accuracy", "pq_paper")
INSTANCE_METRICS = ("pq", "ap_50", "aji")
MEASURED = (*PUBLISHED_METRICS, *INSTANCE_METRICS, "foreground_dice")
METRIC_NAMES = {
    "iou": "IoU",
    "dice": "Dice",
    "precision": "precision",
    "recall": "recall",
    "accuracy": "accuracy",
    "pq_paper": "IoU × Dice (“PQ”)",
    "pq": "panoptic quality",
    "ap_50": "AP at IoU 0.5",
    "aji": "AJI",
    "foreground_dice": "Dice of the foreground before instances",
}
METHOD_NAMES = {
    ("random", "steps"): "random",
    ("random", "epochs"): "random, equal epochs",
    ("dq_paper_eq", "steps"): "DQ, printed equation",
    ("dq_official_code", "steps"): "DQ, released code",
    ("all", "steps"): "all",
}


def method_of(selection: str, budget: str) -> str:
    """Name under which a way of choosing and training stands in tables and figures."""
    return METHOD_NAMES[selection, budget]


def results_table(parameters: Parameters, results: list[dict]) -> pd.DataFrame:
    """One row per model and metric: mean and standard deviation over held-out images."""
    rows = []
    for result in results:
        rows += _rows(_row(parameters, result), result["images"])
    for model in all_results.baseline_models(results):
        images = model["tested"][parameters.dataset]
        rows += _rows(_baseline_row(parameters, model), images)
    return tidy(rows)


def _rows(common: dict, images: list[dict]) -> list[dict]:
    frame = pd.DataFrame(images)
    rows = []
    for metric in MEASURED:
        values = frame[metric].dropna()
        spread = {"std": values.std(ddof=0), "n": len(values)}
        rows.append(common | {"metric": metric, "value": values.mean()} | spread)
    return rows


def _baseline_row(parameters: Parameters, model: dict) -> dict:
    return {
        "chapter": "redundancy",
        "table": "baselines",
        "source": "this run",
        "profile": parameters.profile,
        "dataset_train": parameters.dataset,
        "dataset_test": parameters.dataset,
        "method": model["method"],
        "seed": model["seed"],
        "note": "std over images; no training",
    }


def _row(parameters: Parameters, result: dict) -> dict:
    trial = result["trial"]
    return {
        "chapter": "redundancy",
        "table": "I",
        "source": "this run",
        "profile": parameters.profile,
        "dataset_train": parameters.dataset,
        "dataset_test": parameters.dataset,
        "method": method_of(trial["selection"], trial["budget"]),
        "rate": 100 * trial["rate"],
        "seed": trial["recipe"]["seed"],
        "note": f"std over images; {result['n_patches']} patches, {result['steps']} steps",
    }


def per_image(results: list[dict]) -> pd.DataFrame:
    """One row per model and held-out image, all metrics."""
    frames = []
    for result in results:
        trial = result["trial"]
        frame = pd.DataFrame(result["images"])
        frame.insert(0, "method", method_of(trial["selection"], trial["budget"]))
        frame.insert(1, "rate", 100 * trial["rate"])
        frame.insert(2, "seed", trial["recipe"]["seed"])
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def smallest_rate(table: pd.DataFrame) -> pd.DataFrame:
    """Foreground and instance measures of all methods at the smallest rate, and of all data."""
    rates = table["rate"].isin([table["rate"].min(), 100])
    metrics = ["dice", "pq_paper", "pq", "ap_50", "aji"]
    chosen = table[rates & table["metric"].isin(metrics)]
    means = chosen.pivot_table(index=["rate", "method"], columns="metric", values="value")
    shown = means[metrics].map("{:.3f}".format).rename(columns=METRIC_NAMES).reset_index()
    shown["rate"] = shown["rate"].map("{:g}".format)
    return shown.rename(columns={"rate": "rate (%)"}).rename_axis(None, axis=1)


def spread_over_images(images: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The two kinds of spread side by side, for Dice of random subsets at every rate.

    Returns:
        Columns rate, mean, sd over images (as published), bootstrap interval of the mean over
        images, sd over seeds.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for rate, group in images[images["method"].isin(["random", "all"])].groupby("rate"):
        per_image_mean = group.groupby("id")["dice"].mean().to_numpy()
        low, high = bootstrap_interval(per_image_mean, rng)
        interval = f"{low:.3f} to {high:.3f}" if np.isfinite(low) else "–"
        seeds = group.groupby("seed")["dice"].mean()
        rows.append(
            {
                "rate (%)": f"{rate:g}",
                "Dice": f"{per_image_mean.mean():.3f}",
                "sd over images (as published)": f"{group['dice'].std(ddof=0):.3f}",
                "95% interval of the mean": interval,
                "sd over seeds": f"{seeds.std(ddof=1):.3f}" if len(seeds) > 1 else "–",
            }
        )
    return pd.DataFrame(rows)


def published_table() -> pd.DataFrame:
    """Table I (DQ, all rates) and the random columns of Table II of arXiv 2511.04803."""
    table = all_results.published("redundancy", "coreset")
    first = table["table"] == "I"
    random = (table["table"] == "II") & (table["method"] == "random") & (table["rate"] < 100)
    return table[first | random].reset_index(drop=True)


def wide(table: pd.DataFrame) -> pd.DataFrame:
    """A published table as it is printed: one row per rate, one column per metric."""
    cells = table["value"].map("{:.3f}".format) + " ± " + table["std"].map("{:.3f}".format)
    printed = table.assign(cell=cells).pivot(index="rate", columns="metric", values="cell")
    printed.index = [f"{rate:g}" for rate in printed.index]
    printed = printed[list(PUBLISHED_METRICS)].rename(columns=METRIC_NAMES)
    return printed.rename_axis("rate (%)").rename_axis(None, axis=1).reset_index()


def proxy_check(table: pd.DataFrame) -> pd.DataFrame:
    """Can the printed "panoptic quality" be the mean over images of IoU x Dice?

    That mean is E[IoU] E[Dice] + r sd[IoU] sd[Dice]; of the right-hand side only the correlation r
    is not printed. Dice is a rising function of IoU, so r is close to 1: the range is for 0.9 to 1.
    """
    rows = []
    for rate, group in table.groupby("rate"):
        cells = group.set_index("metric")
        mean, sd = cells["value"], cells["std"]
        low, high = (mean["iou"] * mean["dice"] + r * sd["iou"] * sd["dice"] for r in (0.9, 1.0))
        rows.append(
            {
                "rate (%)": f"{rate:g}",
                "printed": f"{mean['pq_paper']:.3f}",
                "mean of IoU × Dice": f"{low:.3f} to {high:.3f}",
                "(IoU + Dice) / 2, released script": f"{(mean['iou'] + mean['dice']) / 2:.3f}",
            }
        )
    return pd.DataFrame(rows)


def overview(trials: list[RedundancyTrial], prepared: Prepared) -> pd.DataFrame:
    """Patches, steps and passes over the data for each way of choosing and each rate."""
    n_all = len(prepared.patches())
    rows = []
    for trial in trials:
        if trial.seed != trials[0].seed:
            continue
        chosen = len(choose_patches(trial, prepared))
        steps = steps_of(trial, chosen, n_all)
        rows.append(
            {
                "method": method_of(trial.selection, trial.budget),
                "rate (%)": f"{100 * trial.rate:g}",
                "patches": chosen,
                "steps": steps,
                "passes over them": f"{steps * trial.recipe.plan.batch_size / chosen:,.1f}",
                "seeds": sum(t.rate == trial.rate and _arm(t) == _arm(trial) for t in trials),
            }
        )
    return pd.DataFrame(rows)


def _arm(trial: RedundancyTrial) -> tuple[str, str]:
    return trial.selection, trial.budget


def curve_data(sources: dict[str, pd.DataFrame], *metrics: str) -> pd.DataFrame:
    """The numbers behind a figure: all rows of the metrics, from all sources."""
    tables = [t[t["metric"].isin(metrics)].assign(source=s) for s, t in sources.items() if len(t)]
    return pd.concat(tables, ignore_index=True)


def describe_source(table: pd.DataFrame) -> str:
    """Source, data set and profile of a table in a few words."""
    first = table.iloc[0]
    return f"{first['source']}: {first['dataset_train']}, profile {first['profile']}"


def describe_sources(sources: dict[str, pd.DataFrame]) -> str:
    """One sentence on what each source of numbers is; a subset of a data set is called one."""
    coverage = {data["name"]: data for data in all_results.recorded_data("redundancy")}
    parts = []
    for name, table in sources.items():
        if len(table):
            data = ", ".join(sorted(table["dataset_train"].unique()))
            if name == "recorded" and not coverage.get(data, {"complete": True})["complete"]:
                data += f" (a subset: {coverage[data]['coverage']})"
            seeds = table["seed"].nunique()
            repeats = f", {seeds} seeds" if seeds else ""
            parts.append(f"**{name}**: {data}, {table['rate'].nunique()} rates{repeats}")
        else:
            parts.append(f"**{name}**: nothing yet")
    return "; ".join(parts) + "."


def in_words(sources: dict[str, pd.DataFrame]) -> str:
    """What the Dice curves say, with the numbers of the page put in by the code."""
    sentences = []
    for name, table in sources.items():
        method = "random" if name != "published" else "DQ"
        curve = by_rate(table, method, "dice") if len(table) else pd.DataFrame()
        if len(curve) < 2:
            continue
        first = curve.iloc[0]
        ten = curve.iloc[(curve["rate"] - 10).abs().argsort()[:1]].iloc[0]
        full = curve.iloc[-1]
        share = f" ({ten['mean'] / full['mean']:.1%} of what all give)" if full["mean"] > 0 else ""
        sentences.append(
            f"- **{name}**: {first['rate']:g}% of the patches, chosen by {method}, give Dice "
            f"{first['mean']:.3f}, {ten['rate']:g}% give {ten['mean']:.3f}{share}, "
            f"{full['rate']:g}% give {full['mean']:.3f}."
        )
    return "In short:\n\n" + "\n".join(sentences)
