"""What the numbers of the chapter ``replay`` say, put into sentences by the code."""

import pandas as pd

from helpers.chapters.comparisons import with_interval
from helpers.chapters.transfer.tables import main_source, values

NONE, WITH, JOINT = "source -> target", "source -> source + target", "source + target"


def entries(table: pd.DataFrame) -> dict[str, list[dict]]:
    """Families of models for the picture of the trade-off, those that a table holds."""
    eight = table[table["table"] == "VIII"]
    found = {"no replay": [{"train": NONE, "method": m, "rate": 0} for m in _methods(eight, 0)]}
    for family in sorted(m for m in eight["method"].dropna().unique() if m not in ("none",)):
        rates = sorted(eight.loc[eight["method"] == family, "rate"].unique())
        found[f"{family} (rates)"] = [
            {"train": WITH, "method": family, "rate": rate, "short": f"{rate:g}%"}
            for rate in rates
            if rate > 0
        ]
    for label, part, train in [("shares of the batch", "shares", WITH)]:
        names = table.loc[table["table"] == part, "method"].unique()
        found[label] = [
            {"train": train, "method": m, "short": m.removeprefix("share ")} for m in names
        ]
    for rival in table.loc[table["table"] == "rivals", "method"].unique():
        train = JOINT if rival == "joint" else WITH if "replay" in rival else NONE
        found[rival] = [{"train": train, "method": rival}]
    return {family: rows for family, rows in found.items() if rows}


def _methods(eight: pd.DataFrame, rate: float) -> list[str]:
    return list(eight.loc[eight["rate"] == rate, "method"].unique())


def rivals_table(table: pd.DataFrame) -> pd.DataFrame:
    """Everything tried at equal steps: Dice and panoptic quality on both domains, over seeds."""
    rows = []
    for family, models in entries(table).items():
        if family.startswith("appended"):
            continue
        for entry in models:
            row = {"method": f"{family} {entry.get('short', '')}".strip()}
            for test in ("source", "target"):
                for metric, name in (("dice", "Dice"), ("pq", "PQ")):
                    cell = values(table, entry["train"], test, metric, entry["method"],
                                  entry.get("rate"))  # fmt: skip
                    row[f"{test}: {name}"] = with_interval(cell)
            rows.append(row)
    return pd.DataFrame(rows)


def for_a_lab(found: dict[str, pd.DataFrame]) -> str:
    """One paragraph drawn from the recorded numbers (from this run's where none are recorded)."""
    name = main_source(found)
    table = found[name]
    eight = table[table["table"] == "VIII"]
    before = values(table[table["table"] == "V"], "source", "source").mean()
    none = values(eight, NONE, "source").mean(), values(eight, NONE, "target").mean()
    rates = sorted(rate for rate in eight["rate"].dropna().unique() if rate > 0)
    parts = []
    for rate in rates:
        method = "controlled, random"
        kept = [values(eight, WITH, test, "dice", method, rate).mean() for test in
                ("source", "target")]  # fmt: skip
        parts.append(f"{rate:g}% of the source: {kept[0]:.3f} / {kept[1]:.3f}")
    return (
        f"**{name}** (Dice on source / target): before fine-tuning the source stood at "
        f"{before:.3f}; fine-tuning on the target alone gives {none[0]:.3f} / {none[1]:.3f}; with "
        f"half of every batch from a random share of the old images, {'; '.join(parts)}. "
        "If you fine-tune, keep some of the old annotated images and mix them in; "
        "`python -m helpers finetune` does it for a Cellpose model and reports both sides."
    )
