"""Chapter ``redundancy``: parameters, trials, table and claims (arXiv 2511.04803, Table I)."""

import os
from functools import partial
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field, field_validator

from helpers import fingerprints
from helpers.chapters.claims import Claim
from helpers.chapters.parameters import ChapterParameters
from helpers.chapters.results import tidy
from helpers.chapters.trials import TrialStore, run_trials
from helpers.data.patches import PatchGrid
from helpers.experiments.preparation import DataSettings, Prepared, prepare_data
from helpers.experiments.redundancy import RedundancyTrial, list_trials, run_trial
from helpers.metrics import bootstrap_interval
from helpers.models.device import resolve_device, resolve_precision
from helpers.paths import runs_dir
from helpers.training.loop import TrainingPlan

EXPERIMENT = "helpers.experiments.redundancy"
PUBLISHED_METRICS = ("iou", "dice", "precision", "recall", "accuracy", "pq_paper")
INSTANCE_METRICS = ("pq", "ap_50", "aji")
METHOD_NAMES = {
    ("random", "steps"): "random",
    ("random", "epochs"): "random, equal epochs",
    ("dq_paper_eq", "steps"): "DQ, printed equation",
    ("dq_official_code", "steps"): "DQ, released code",
    ("all", "steps"): "all",
}

Share = Annotated[float, Field(gt=0, le=1)]


class Parameters(ChapterParameters):
    """Parameters of the chapter ``redundancy``."""

    dataset: str = Field("synthetic-cyto", description="name in the manifest, or folder:PATH")
    n_images: int = Field(48, ge=0, description="images generated, or drawn at most (0: all)")
    image_size: int = Field(320, ge=64, description="side of generated images in pixels")
    test_share: float = Field(0.25, gt=0, lt=1, description="share of images held out")
    max_test_images: int = Field(0, ge=0, description="held-out images tested on (0: all)")
    seed: int = Field(0, ge=0, description="of the data: generation, drawing, split")
    patch_size: int = Field(224, ge=16, description="side of the patches in pixels")
    patch_stride: int = Field(112, ge=1, description="step between patches in pixels")
    edge: Literal["pad", "drop"] = Field("pad", description="windows at the border")
    min_instances: int = Field(0, ge=0, description="patches with fewer are left out (0: none)")
    rates: list[Share] = Field([0.02, 0.1, 0.3, 1.0], description="shares of training patches")
    selections: list[Literal["random", "dq_paper_eq", "dq_official_code"]] = Field(
        ["random", "dq_paper_eq", "dq_official_code"], description="how patches are chosen"
    )
    equal_epochs: bool = Field(True, description="also train random subsets for equal epochs")
    seeds: list[Annotated[int, Field(ge=0)]] = Field([0, 1], description="one model each")
    n_bins: int = Field(10, ge=1, description="bins of dataset quantization")
    width: int = Field(8, ge=1, description="CPnet's first level; 32 is the full network")
    steps: int = Field(100, ge=1, description="optimisation steps on all patches")
    batch_size: int = Field(8, ge=1, description="crops per step")
    crop: int = Field(112, ge=16, description="side of the training crops, a multiple of 8")
    learning_rate: float = Field(0.1, gt=0, description="of SGD")
    scale_range: float = Field(0.5, ge=0, lt=2, description="width of the random scale interval")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="to train on")
    precision: Literal["auto", "bfloat16", "float32"] = Field("auto", description="of the network")
    threads: int = Field(1, ge=1, description="per trial; results depend on it in the last digits")
    workers: int = Field(0, ge=0, description="trials at a time (0: one per core)")

    @field_validator("rates", "seeds", "selections")
    @classmethod
    def _distinct(cls, values: list) -> list:
        if not values or len(set(values)) != len(values):
            raise ValueError("the list must hold at least one value and none twice")
        return values

    @field_validator("crop")
    @classmethod
    def _multiple(cls, value: int) -> int:
        if value % 8:
            raise ValueError("must be a multiple of 8")
        return value


def worker_count(parameters: Parameters) -> int:
    """Trials at a time: as asked, or one per core (one on a GPU)."""
    if parameters.workers:
        return parameters.workers
    if resolve_device(parameters.device).type != "cpu":
        return 1
    return max(1, (os.cpu_count() or 1) // parameters.threads)


def prepare(parameters: Parameters) -> Prepared:
    """Data of the chapter: read or generated, split by group, cut, with flow targets."""
    settings = DataSettings(
        dataset=parameters.dataset,
        n_images=parameters.n_images,
        image_size=parameters.image_size,
        test_share=parameters.test_share,
        max_test_images=parameters.max_test_images,
        seed=parameters.seed,
        grid=PatchGrid(
            parameters.patch_size,
            parameters.patch_stride,
            parameters.edge,
            parameters.min_instances,
        ),
    )
    return prepare_data(settings, runs_dir() / "data", worker_count(parameters))


def plan_trials(parameters: Parameters) -> list[RedundancyTrial]:
    """All models of the chapter, as data."""
    device = resolve_device(parameters.device)
    precision = str(resolve_precision(parameters.precision, device)).removeprefix("torch.")
    plan = TrainingPlan(
        steps=parameters.steps,
        batch_size=parameters.batch_size,
        crop=parameters.crop,
        learning_rate=parameters.learning_rate,
        scale_range=parameters.scale_range,
        precision=precision,
    )
    template = RedundancyTrial(
        selection="random",
        rate=1.0,
        budget="steps",
        seed=0,
        width=parameters.width,
        plan=plan,
        n_bins=parameters.n_bins,
        device=device.type,
        threads=parameters.threads,
    )
    return list_trials(
        parameters.rates,
        parameters.seeds,
        parameters.selections,
        parameters.equal_epochs,
        template,
    )


def trial_store(prepared: Prepared) -> TrialStore:
    """Where the chapter's trials on these data are kept."""
    code = fingerprints.of_code([EXPERIMENT])
    return TrialStore(runs_dir() / "trials" / "redundancy", code, prepared.fingerprint)


def run(parameters: Parameters, prepared: Prepared) -> list[dict]:
    """Train and measure all models; those already there are read."""
    return run_trials(
        plan_trials(parameters),
        partial(run_trial, prepared=prepared),
        trial_store(prepared),
        worker_count(parameters),
    )


def results_table(parameters: Parameters, results: list[dict]) -> pd.DataFrame:
    """One row per model and metric: mean and standard deviation over held-out images."""
    rows = []
    for result in results:
        images = pd.DataFrame(result["images"])
        for metric in (*PUBLISHED_METRICS, *INSTANCE_METRICS):
            values = images[metric].dropna()
            rows.append(
                _row(parameters, result)
                | {
                    "metric": metric,
                    "value": values.mean(),
                    "std": values.std(ddof=0),
                    "n": len(values),
                }
            )
    return tidy(rows)


def _row(parameters: Parameters, result: dict) -> dict:
    trial = result["trial"]
    return {
        "chapter": "redundancy",
        "table": "I",
        "source": "this run",
        "profile": parameters.profile,
        "dataset_train": parameters.dataset,
        "dataset_test": parameters.dataset,
        "method": METHOD_NAMES[trial["selection"], trial["budget"]],
        "rate": 100 * trial["rate"],
        "seed": trial["seed"],
        "note": f"std over images; {result['n_patches']} patches, {result['steps']} steps",
    }


def per_image(results: list[dict]) -> pd.DataFrame:
    """One row per model and held-out image, all metrics."""
    frames = []
    for result in results:
        trial = result["trial"]
        frame = pd.DataFrame(result["images"])
        frame.insert(0, "method", METHOD_NAMES[trial["selection"], trial["budget"]])
        frame.insert(1, "rate", 100 * trial["rate"])
        frame.insert(2, "seed", trial["seed"])
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def by_rate(table: pd.DataFrame, method: str, metric: str) -> pd.DataFrame:
    """Mean, lowest and highest value over seeds at each rate; ``all`` closes every curve at 100 %.

    Args:
        table: results of one source.

    Returns:
        Columns rate, mean, low, high, n_seeds; ascending in rate.
    """
    chosen = table[table["method"].isin([method, "all"]) & (table["metric"] == metric)]
    grouped = chosen.groupby("rate")["value"]
    return grouped.agg(mean="mean", low="min", high="max", n_seeds="count").reset_index()


def spread_over_images(table: pd.DataFrame, images: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The two kinds of spread side by side, for Dice of random subsets at every rate.

    Returns:
        Columns rate, mean, sd over images (as published), bootstrap interval of the mean over
        images, sd over seeds.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    rows = []
    for rate, group in images[images["method"].isin(["random", "all"])].groupby("rate"):
        per_image_mean = group.groupby("id")["dice"].mean().to_numpy()
        low, high = bootstrap_interval(per_image_mean, rng)
        seeds = group.groupby("seed")["dice"].mean()
        rows.append(
            {
                "rate (%)": f"{rate:g}",
                "Dice": f"{per_image_mean.mean():.3f}",
                "sd over images (as published)": f"{group['dice'].std(ddof=0):.3f}",
                "95 % interval of the mean, over images": f"{low:.3f} to {high:.3f}",
                "sd over seeds": f"{seeds.std(ddof=1):.3f}" if len(seeds) > 1 else "–",
            }
        )
    return pd.DataFrame(rows)


def _values(table: pd.DataFrame, method: str, rate: float, metric: str = "dice") -> pd.Series:
    """Values of a metric by seed (seed -1 where the source has none)."""
    rows = table[
        (table["method"] == method) & (table["rate"].round(6) == rate) & (table["metric"] == metric)
    ]
    return rows.assign(seed=rows["seed"].fillna(-1)).set_index("seed")["value"].astype(float)


def _paired(table: pd.DataFrame, combine, *cells: tuple[str, float]) -> list[float]:
    """``combine`` applied to several (method, rate) cells, seed by seed."""
    columns = [_values(table, method, rate) for method, rate in cells]
    frame = pd.concat(columns, axis=1, join="inner")
    return [float(combine(*row)) for row in frame.itertuples(index=False)]


def _subset_method(table: pd.DataFrame) -> str:
    """The selection a source's claim is about: DQ in the paper's table, random in our runs."""
    return "random" if (table["method"] == "random").any() else "DQ"


def _full(table: pd.DataFrame) -> str:
    return "all" if (table["method"] == "all").any() else "DQ"


def _share_at_ten(table: pd.DataFrame) -> list[float]:
    return _paired(
        table, lambda ten, full: ten / full, (_subset_method(table), 10), (_full(table), 100)
    )


def _gain_by_ten(table: pd.DataFrame) -> list[float]:
    return _paired(
        table,
        lambda one, ten, full: (ten - one) / (full - one),
        (_subset_method(table), 1),
        (_subset_method(table), 10),
        (_full(table), 100),
    )


def _beyond_forty(table: pd.DataFrame) -> list[float]:
    return _paired(
        table, lambda forty, full: forty - full, (_subset_method(table), 40), (_full(table), 100)
    )


def _dq_minus_random(table: pd.DataFrame) -> list[float]:
    dq = "DQ" if (table["method"] == "DQ").any() else METHOD_NAMES["dq_paper_eq", "steps"]
    rates = sorted(rate for rate in table["rate"].dropna().unique() if rate < 100)
    frame = pd.DataFrame(
        {rate: _values(table, dq, rate) - _values(table, "random", rate) for rate in rates}
    )
    return [float(value) for value in frame.dropna(axis=1, how="all").mean(axis=1)]


def _steps_minus_epochs(table: pd.DataFrame) -> list[float]:
    smallest = table.loc[table["method"] == "random, equal epochs", "rate"].min()
    return _paired(
        table,
        lambda steps, epochs: steps - epochs,
        ("random", smallest),
        ("random, equal epochs", smallest),
    )


CLAIMS = [
    Claim(
        "About 10 % of the training data yields near-saturated performance.",
        "arXiv 2511.04803, contributions; Table I",
        "Dice at 10 % is at least 95 % of Dice on all data.",
        _share_at_ten,
        0.95,
    ),
    Claim(
        "The first 10 % already captures most of the essential information.",
        "arXiv 2511.04803, section IV-A",
        "Of the rise in Dice from 1 % to 100 %, at least half is reached at 10 %.",
        _gain_by_ten,
        0.5,
    ),
    Claim(
        "Beyond 40 % additional data are of little value.",
        "arXiv 2511.04803, section IV-A",
        "Dice at 40 % is at most 0.01 below Dice on all data.",
        _beyond_forty,
        -0.01,
    ),
    Claim(
        "Dataset quantization is an effective way to choose the subset.",
        "arXiv 2511.04803, section V; Table II",
        "Dice of DQ minus Dice of random subsets, averaged over the rates below 100 %, is not "
        "below zero.",
        _dq_minus_random,
        0.0,
    ),
    Claim(
        "Ours: equal epochs make small subsets look worse than they are.",
        "this book",
        "At the smallest rate, Dice at equal steps exceeds Dice at equal epochs by at least 0.02.",
        _steps_minus_epochs,
        0.02,
    ),
]
