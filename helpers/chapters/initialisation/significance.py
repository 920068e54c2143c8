"""Which differences between starts can be told from chance, and at which share of the data.

The paper calls differences significant and names no test. Here the start that knows the domain is
compared with every other one, on the same test images and seeds: a bootstrap over runs and
patients, a Wilcoxon test over patients with Holm's correction over all comparisons of a table, and
an exact test over runs, which few runs can never make significant.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from helpers.chapters.starting import tables
from helpers.metrics.comparisons import (
    Comparison,
    compare,
    holm,
    run_differences,
    smallest_detectable,
    smallest_p,
)

ALPHA = 0.05


@dataclass(frozen=True)
class Pair:
    """One comparison: the start that knows the domain against another one.

    Attributes:
        share: of the training images, in per cent.
        p: of the test over patients, corrected over all comparisons of the table.
    """

    dataset: str
    share: float
    first: str
    second: str
    found: Comparison
    p: float


def compare_starts(
    table: pd.DataFrame, datasets: Sequence[str], n_resamples: int = 2000, seed: int = 0
) -> list[Pair]:
    """All comparisons of a table; none where no start knows the domain."""
    first = tables.role(table, tables.DOMAIN)
    found = []
    for dataset in datasets:
        for share in tables.shares_of(table):
            stacks = tables.image_stack(table, dataset, share)
            for second in stacks if first in stacks else ():
                if second != first:
                    pair = _compared(stacks[first], stacks[second], n_resamples, seed)
                    found.append((dataset, share, second, pair))
    corrected = holm([pair.images.p for *_, pair in found]) if found else []
    return [
        Pair(dataset, share, first, second, pair, float(p))
        for (dataset, share, second, pair), p in zip(found, corrected, strict=True)
    ]


def _compared(a: pd.DataFrame, b: pd.DataFrame, n_resamples: int, seed: int) -> Comparison:
    seeds = a.index.intersection(b.index)
    groups = [tables.group_of(name) for name in a.columns]
    first, second = (stack.loc[seeds, a.columns].to_numpy() for stack in (a, b))
    rng = np.random.default_rng(seed)
    return compare(first, second, rng, groups, n_resamples=n_resamples)


def significance_table(pairs: Sequence[Pair]) -> pd.DataFrame:
    """One row per comparison, differences in Dice points."""
    rows = []
    for pair in pairs:
        found = pair.found
        rows.append(
            {
                "trained on": pair.dataset,
                "images": f"{pair.share:g}%",
                "against": pair.second,
                "difference": f"{100 * found.difference.mean:+.1f} ({_span(found)})",
                "patients: p, corrected": f"{pair.p:.3f}",
                "runs: p": f"{found.runs.p:.3f}",
                "effect over patients": f"{found.effect_images.g_z:+.2f}",
                "superior": f"{found.effect_images.superiority:.0%}",
            }
        )
    return pd.DataFrame(rows)


def _span(found: Comparison) -> str:
    low, high = (100 * end for end in (found.difference.low, found.difference.high))
    return f"{low:+.1f} to {high:+.1f}" if np.isfinite(low) else "no interval"


def excludes_zero(pair: Pair) -> bool:
    """Whether the interval over runs and patients leaves zero out."""
    low, high = pair.found.difference.low, pair.found.difference.high
    return bool(low > 0 or high < 0)


def first_indistinct(pairs: Sequence[Pair], dataset: str, second: str) -> float | None:
    """Smallest share, in per cent, at which the interval holds zero; ``None`` if none does."""
    shares = [
        pair.share
        for pair in pairs
        if (pair.dataset, pair.second) == (dataset, second) and not excludes_zero(pair)
    ]
    return min(shares, default=None)


def describe_power(table: pd.DataFrame, datasets: Sequence[str]) -> str:
    """What these runs could have found at all, in words."""
    stacks = [
        tables.image_stack(table, dataset, share)
        for dataset in datasets
        for share in tables.shares_of(table)
    ]
    first = tables.role(table, tables.DOMAIN)
    spreads = [
        np.std(run_differences(stack[first].to_numpy(), other.to_numpy()), ddof=1)
        for stack in stacks
        for name, other in stack.items()
        if first in stack and name != first and len(other) > 1
    ]
    runs = table.loc[table["table"] == "scores", "seed"].nunique()
    least = smallest_p(runs)
    sentence = (
        f"With {runs} runs the exact test over runs cannot give a p below {least:.3g}"
        + (": it can call nothing significant at 5%. " if least > ALPHA else ". ")
        + f"(The paper's five runs: {smallest_p(5):.4f}.) "
    )
    if not spreads:
        return sentence + "How far runs differ needs at least two of them."
    spread = float(np.median(spreads))
    return sentence + (
        f"Differences scatter over runs by {100 * spread:.1f} Dice points (median of all "
        f"comparisons): a paired t test over {runs} runs finds, with 80% power, differences from "
        f"{100 * smallest_detectable(spread, runs):.1f} points on, over five runs from "
        f"{100 * smallest_detectable(spread, 5):.1f}."
    )
