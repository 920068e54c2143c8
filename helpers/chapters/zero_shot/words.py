"""What the numbers of the chapter ``zero-shot`` say, put into sentences by the code."""

import pandas as pd

from helpers.chapters.comparisons import interval_in_words
from helpers.chapters.transfer.tables import main_source, paired, values


def for_a_lab(found: dict[str, pd.DataFrame]) -> str:
    """One paragraph drawn from the recorded numbers (from this run's where none are recorded)."""
    name = main_source(found)
    table = found[name]
    home = values(table, "source", "source", method="all")
    away = values(table, "source", "third", method="all")
    lost = paired(lambda here, there: here - there, home, away)
    rates = sorted(rate for rate in table["rate"].dropna().unique() if rate < 100)
    sentences = [
        f"**{name}**: the same model gives Dice {home.mean():.3f} on held-out images of the source "
        f"and {away.mean():.3f} on the third domain, which it never saw: a loss of "
        f"{interval_in_words(lost)}."
    ]
    for rate in rates[:1]:
        parts = [
            f"{method} {values(table, 'source', 'third', method=method, rate=rate).mean():.3f}"
            for method in table.loc[table["rate"] == rate, "method"].unique()
        ]
        sentences.append(
            f"With {rate:g}% of the source it is {', '.join(parts)}. Measure a model on twenty "
            "annotated images of your own before you trust it: what it scores on its own test set "
            "says little about yours."
        )
    return " ".join(sentences)
