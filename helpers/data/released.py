"""The two tables released with arXiv 2410.18677, read into tidy frames; and a stand-in for them.

One holds what every segmentation model reached that started from a checkpoint of a pretraining, the
other the robustness score of the checkpoints in all its settings. No licence is stated, so they are
read where they lie (offline bundle, cache) or fetched; nothing of them is kept in this project.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.data.fetch import locate
from helpers.errors import DataError

NAME = "medsegpretrain"
GENERATED = f"synthetic-{NAME}"
DOWNSTREAM, ROBUSTNESS = "downstream_scores.csv", "robustness_scores.csv"
DATASETS = {
    "ACDC": "ACDC",
    "COVIDQUDataset": "COVID-QU-Ex",
    "COVID-QU": "COVID-QU-Ex",
    "IDRiD": "IDRiD",
}
ENCODERS = {
    "ResNet50 Attention U-Net": "ResNet-50",
    "Swin U-Net": "Swin",
    "basic U-Net": "U-Net",
    "resnet50": "ResNet-50",
    "swin_transformer": "Swin",
    "u-net_encoder": "U-Net",
}
SCHEMES = {"advanced_training": "advanced", "simple_training": "simple"}
DISTANCES = {"cosine_distance": "cosine", "inv_pearson_corr": "pearson", "l2_loss": "l2"}
# Made-up numbers bear no real names.
GENERATED_SETS = ("A", "B", "C")
GENERATED_LEVELS = {"encoder 1": 5, "encoder 2": 5, "encoder 3": 4}
LEVELS = {"ResNet-50": 5, "U-Net": 5, "Swin": 4, **GENERATED_LEVELS}
MARGINS = (0.0, 0.25, 0.5, 0.75, 1.0)
LENGTHS = (0, 1, 5, 20, 50, 100, 150, 200, 250, 300)


@dataclass(frozen=True)
class ReleasedTables:
    """The two tables.

    Attributes:
        downstream: dataset, encoder, scheme, frozen, length (epochs), seed, dice (mean over the
            foreground classes), accuracy (top-1 on ImageNet); one row per segmentation model.
        robustness: dataset, encoder, scheme, distance, margin, pooled, level (1 the shallowest),
            length, loss; one row per checkpoint and setting.
        provenance: name, source, complete, coverage, fingerprint, as a record keeps them.
    """

    downstream: pd.DataFrame
    robustness: pd.DataFrame
    provenance: dict


def open_released() -> ReleasedTables:
    """The released tables, from the offline bundle, the cache, or the repository of the paper.

    Raises:
        DataError: not available, or not the tables that are expected.
    """
    found = locate(NAME)
    paths = {path.name: path for path in found.files}
    return ReleasedTables(
        _downstream(paths[DOWNSTREAM]),
        _robustness(paths[ROBUSTNESS]),
        found.provenance,
    )


def _downstream(path: Path) -> pd.DataFrame:
    columns = {
        "dataset": "dataset",
        "model": "encoder",
        "pretraining scheme": "scheme",
        "freeze encoder": "frozen",
        "pretraining length": "length",
        "seed": "seed",
        "ImageNet accuracy": "accuracy",
    }
    table = _read(path, [*columns, "dice index", "mean dice index"])
    # Two tasks have one foreground class, the third has three and another column.
    dice = table["dice index"].fillna(table["mean dice index"])
    tidy = table[list(columns)].rename(columns=columns).assign(dice=dice)
    return _named(tidy, path, {"dataset": DATASETS, "encoder": ENCODERS})


def _robustness(path: Path) -> pd.DataFrame:
    columns = {
        "dataset": "dataset",
        "encoder": "encoder",
        "pretraining_scheme": "scheme",
        "metric": "distance",
        "margin": "margin",
        "pooled": "pooled",
        "level": "level",
        "pretraining_length": "length",
        "robustness": "loss",
    }
    tidy = _read(path, list(columns)).rename(columns=columns)
    names = {
        "dataset": DATASETS,
        "encoder": ENCODERS,
        "scheme": SCHEMES,
        "distance": DISTANCES,
    }
    return _named(tidy, path, names)


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    table = pd.read_csv(path)
    lacking = [name for name in columns if name not in table.columns]
    if lacking:
        raise DataError(
            f"{path}: no column(s) {', '.join(lacking)}; found {', '.join(table.columns)}. "
            "Expected the tables released with arXiv 2410.18677."
        )
    return table[columns]


def _named(table: pd.DataFrame, path: Path, names: dict[str, dict[str, str]]) -> pd.DataFrame:
    """The same names in both tables."""
    for column, known in names.items():
        unknown = sorted(set(table[column]) - set(known))
        if unknown:
            raise DataError(
                f"{path}: unknown {column} {', '.join(map(str, unknown))}; expected one of "
                f"{', '.join(known)}"
            )
        table = table.assign(**{column: table[column].map(known)})
    return table


def generated_tables(seed: int = 0) -> ReleasedTables:
    """Tables of the same form with made-up numbers, for running without the released files.

    Their data sets are called A, B and C, so that no page shows invented numbers of a real one.
    Dice rises with the pretraining and falls a little at its end, differently in every set-up; the
    robustness loss follows it loosely. As in the release, the scheme ``"advanced"`` has no models
    of length 0, and the losses at length 0 repeat those at 300 for two of the data sets.
    """
    rng = np.random.default_rng(seed)
    downstream, robustness = [], []
    progress = np.log1p(np.array(LENGTHS)) / np.log1p(LENGTHS[-1])
    for dataset in GENERATED_SETS:
        for encoder in GENERATED_LEVELS:
            for scheme in ("simple", "advanced"):
                names = {"dataset": dataset, "encoder": encoder, "scheme": scheme}
                turn = rng.uniform(0.7, 1.1)
                shape = progress - 0.5 * np.maximum(0, progress - turn)
                downstream += _generated_models(rng, names, shape, progress)
                robustness += _generated_losses(rng, names, shape)
    return ReleasedTables(
        pd.DataFrame(downstream),
        pd.DataFrame(robustness),
        {
            "name": GENERATED,
            "source": "synthetic",
            "complete": True,
            "coverage": f"generated tables in the form of the released ones, seed {seed}",
            "fingerprint": "",
        },
    )


def _generated_models(
    rng: np.random.Generator, names: dict, shape: np.ndarray, progress: np.ndarray
) -> list[dict]:
    rows = []
    for frozen in (False, True):
        level, gain = rng.uniform(0.6, 0.8), rng.uniform(0.02, 0.12) * (2 if frozen else 1)
        for place, length in enumerate(LENGTHS):
            if length == 0 and names["scheme"] == "advanced":
                continue
            common = {"frozen": frozen, "length": length, "accuracy": 0.75 * progress[place]}
            for run in range(5):
                dice = level + gain * shape[place] + 0.003 * rng.standard_normal()
                rows.append({**names, **common, "seed": run, "dice": dice})
    return rows


def _generated_losses(rng: np.random.Generator, names: dict, shape: np.ndarray) -> list[dict]:
    rows = []
    for level in range(1, LEVELS[names["encoder"]] + 1):
        for distance in ("cosine", "pearson", "l2"):
            for pooled in (False, True):
                gap = 0.2 + 0.3 * shape + 0.05 * rng.standard_normal(len(LENGTHS))
                if names["dataset"] != "C":
                    gap[0] = gap[-1]
                setting = {"distance": distance, "pooled": pooled, "level": level}
                for margin in MARGINS:
                    losses = np.maximum(0, margin - gap)
                    rows += [
                        {**names, **setting, "margin": margin, "length": length, "loss": loss}
                        for length, loss in zip(LENGTHS, losses, strict=True)
                    ]
    return rows
