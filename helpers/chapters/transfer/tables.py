"""Results tables that the chapters on transfer share.

Domains stand in them by their role, so that the paper's Cyto, Histo and MultiInst can be read
beside whatever plays source, target and third domain here. A training path is written
``"source -> target"``, a mixture ``"source + target"``.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from helpers.chapters import results as all_results
from helpers.chapters.redundancy import METRIC_NAMES
from helpers.chapters.results import tidy
from helpers.chapters.transfer.parameters import TransferParameters
from helpers.chapters.transfer.run import data_names, name_of, path_of
from helpers.experiments.curricula import ROLES

PUBLISHED_ROLES = dict(zip(("Cyto", "Histo", "MultiInst"), ROLES, strict=True))
# What the columns of a table hold besides their names.
SPREAD, STEPS = "std over test images", "rate is the step"


def results_table(
    parameters: TransferParameters, chapter: str, table: str, models: Iterable[dict]
) -> pd.DataFrame:
    """One row per model, tested domain and metric: mean and deviation over held-out images."""
    rows = []
    for model in models:
        for role, images in model["domains"].items():
            frame = pd.DataFrame(images)
            common = _common(parameters, chapter, table, model)
            for metric in METRIC_NAMES:
                values = frame[metric].dropna()
                spread = {"std": values.std(ddof=0), "n": len(values)}
                row = {"dataset_test": role, "metric": metric, "value": values.mean()}
                rows.append(common | row | spread)
    return tidy(rows)


def baselines_table(
    parameters: TransferParameters, chapter: str, models: Sequence[dict]
) -> pd.DataFrame:
    """The same of what needs no training, on the test images of every seed."""
    found = [
        {**model, "path": [], "domains": model["tested"]}
        for model in all_results.baseline_models(models)
    ]
    return results_table(parameters, chapter, "baselines", found)


def looks_table(
    parameters: TransferParameters, chapter: str, models: Iterable[dict]
) -> pd.DataFrame:
    """What was seen while training: foreground Dice on watched patches by number of steps.

    The column ``rate`` holds the step, the column ``table`` says ``"looks"``.
    """
    rows = []
    for model in models:
        common = _common(parameters, chapter, "looks", model, STEPS)
        for check in model["checks"]:
            at = {"rate": check["step"]}
            for role in model["domains"]:
                row = {"dataset_test": role, "metric": "watched_dice", "value": check[role]}
                rows.append(common | row | at)
            rows.append(common | at | {"metric": "replayed_share", "value": check["replayed"]})
    return tidy(rows)


def losses_table(
    parameters: TransferParameters, chapter: str, models: Iterable[dict]
) -> pd.DataFrame:
    """Training loss by number of steps, each the mean over a twentieth of ``fine_steps``.

    The column ``rate`` holds the middle of these steps, the column ``table`` says ``"losses"``.
    """
    width = max(1, parameters.fine_steps // 20)
    rows = []
    for model in models:
        common = _common(parameters, chapter, "losses", model, STEPS)
        losses = np.asarray(model["losses"][: len(model["losses"]) // width * width])
        for place, loss in enumerate(losses.reshape(-1, width).mean(axis=1)):
            row = {"metric": "training_loss", "value": loss, "rate": (place + 0.5) * width}
            rows.append(common | row)
    return tidy(rows)


def _common(
    parameters: TransferParameters, chapter: str, table: str, model: dict, note: str = SPREAD
) -> dict:
    names = data_names(parameters)
    data = ", ".join(f"{role}: {names[role]}" for role in model["domains"])
    more = f"; {model['note']}" if model.get("note") else ""
    return {
        "chapter": chapter,
        "table": table,
        "source": "this run",
        "profile": parameters.profile,
        "dataset_train": path_of(model["path"]) or "no training",
        "method": name_of(model["method"]),
        "rate": None if model["rate"] is None else 100 * model["rate"],
        "seed": model["seed"],
        "note": f"{note}; {data}{more}",
    }


def published(*chapters: str) -> pd.DataFrame:
    """The paper's numbers with its domains by their roles."""
    table = all_results.published(*chapters)
    renamed = {
        column: table[column].replace(PUBLISHED_ROLES, regex=True)
        for column in ("dataset_train", "dataset_test")
    }
    return table.assign(**renamed)


def gather(chapter: str, this_run: pd.DataFrame, *more: str) -> dict[str, pd.DataFrame]:
    """All numbers of a chapter by source; recorded ones only if there are some.

    Args:
        more: further chapters of the paper's part whose published tables belong here too.
    """
    recorded = all_results.recorded(chapter)
    found = {"published": published(chapter, *more)}
    return found | ({"recorded": recorded} if len(recorded) else {}) | {"this run": this_run}


def values(
    table: pd.DataFrame,
    train: str,
    test: str,
    metric: str = "dice",
    method: str | None = None,
    rate: float | None = None,
    column: str = "value",
) -> pd.Series:
    """Numbers of one cell by seed (seed -1 where the source has none), each seed once.

    Args:
        train: path; test: role; method: any if ``None``; rate: in per cent, any if ``None``.
    """
    kept = (table["dataset_train"] == train) & (table["dataset_test"] == test)
    kept &= table["metric"] == metric
    if method is not None:
        kept &= table["method"] == method
    if rate is not None:
        kept &= table["rate"].astype(float).round(6) == round(rate, 6)
    rows = table[kept]
    rows = rows.assign(seed=rows["seed"].fillna(-1)).drop_duplicates("seed")
    return rows.set_index("seed")[column].astype(float)


def together(*cells: pd.Series) -> pd.DataFrame:
    """Several cells by seed, one column each; empty where one has no numbers.

    Seeds whose numbers are all exactly zero are left out: none of these models found anything, so
    nothing was measured.
    """
    frame = pd.concat(cells, axis=1, join="inner", ignore_index=True)
    return frame[(frame != 0).any(axis=1)]


def paired(combine: Callable[..., float], *cells: pd.Series) -> list[float]:
    """``combine`` applied to several cells, seed by seed (see :func:`together`)."""
    return [float(combine(*row)) for row in together(*cells).itertuples(index=False)]


def matrix(
    table: pd.DataFrame, paths: Sequence[str], metric: str = "dice", tests: Sequence[str] = ROLES
) -> pd.DataFrame:
    """Means over seeds: one row per path, one column per tested domain; nan where not measured."""
    cells = {test: [values(table, path, test, metric).mean() for path in paths] for test in tests}
    return pd.DataFrame(cells, index=list(paths))


def wide(
    table: pd.DataFrame, metrics: Sequence[str], index: Sequence[str] = ("dataset_train",)
) -> pd.DataFrame:
    """Means over seeds with the deviation over seeds, one column per tested domain and metric."""
    rows = table[table["metric"].isin(list(metrics))]
    keys = [*index, "dataset_test", "metric"]
    cells = rows.groupby(keys, sort=False, dropna=False)["value"].agg(mean_and_spread)
    order = [
        (role, metric)
        for role in ROLES
        for metric in metrics
        if ((rows["dataset_test"] == role) & (rows["metric"] == metric)).any()
    ]
    shown = cells.unstack(["dataset_test", "metric"])[order]
    shown.columns = [f"{role}: {METRIC_NAMES[metric]}" for role, metric in order]
    shown = shown.reset_index()
    if "dataset_train" in shown:
        shown["dataset_train"] = shown["dataset_train"].str.replace("->", "→")
    shown = shown.rename(
        columns={"dataset_train": "trained on", "method": "method", "rate": "rate (%)"}
    )
    if "rate (%)" in shown:
        shown["rate (%)"] = [_plain(rate) for rate in shown["rate (%)"]]
    return shown


def _plain(rate: float) -> str:
    return "–" if pd.isna(rate) else f"{rate:g}"


def mean_and_spread(numbers: pd.Series) -> str:
    """Mean, and the standard deviation where there are several."""
    spread = f" ± {numbers.std():.3f}" if len(numbers) > 1 else ""
    return f"{numbers.mean():.3f}{spread}"


def describe_sources(chapter: str, found: dict[str, pd.DataFrame]) -> str:
    """One line on each source of numbers: data behind the roles, profile, seeds."""
    data = {entry["name"]: entry for entry in all_results.recorded_data(chapter)}
    lines = []
    for name, table in found.items():
        if name == "published":
            roles = ", ".join(f"{role}: {paper}" for paper, role in PUBLISHED_ROLES.items())
            lines.append(f"- **published**: {roles}; no seeds, ± over test images")
            continue
        roles = table["note"].str.partition("; ")[2].mode().iloc[0]
        subset = [n for n, e in data.items() if n in roles and not e["complete"]]
        partly = f" ({', '.join(subset)}: subsets of the data sets)" if subset else ""
        seeds = table.loc[table["table"] != "tuning", "seed"].nunique()
        profile = table["profile"].iloc[0]
        lines.append(
            f"- **{name}**: {roles}{partly if name == 'recorded' else ''}; profile {profile}, "
            f"{seeds} seed{'s' if seeds > 1 else ''}{_blind(table)}"
        )
    return "\n".join(lines)


def _blind(table: pd.DataFrame) -> str:
    """Which paths of several stages ended in models that find nothing on any domain."""
    dice = table[(table["metric"] == "dice") & table["dataset_train"].str.contains("->")]
    models = dice.groupby(["dataset_train", "table", "method", "rate", "seed"], dropna=False)
    blind = (models["value"].max() == 0).groupby("dataset_train").agg(["sum", "size"])
    blind = blind[blind["sum"] > 0]
    if blind.empty:
        return ""
    paths = ", ".join(
        f"{path.replace('->', '→')} ({row['sum']} of {row['size']})"
        for path, row in blind.iterrows()
    )
    return (
        f". Models that find nothing on any domain: {paths}; a seed in which no model of a "
        "comparison found anything settles no claim"
    )


def main_source(found: dict[str, pd.DataFrame]) -> str:
    """The source from which a page draws its advice: the recorded run where there is one."""
    return "recorded" if "recorded" in found else "this run"
