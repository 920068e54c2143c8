"""What the numbers of the chapter ``forgetting`` say, put into sentences by the code."""

import pandas as pd

from helpers.chapters.comparisons import interval_in_words, with_interval
from helpers.chapters.transfer.tables import main_source, paired, values

THERE = "source -> target"


def drops(found: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Drop on the first domain after fine-tuning on the second, both ways, by source of numbers."""
    rows = []
    for name, table in found.items():
        five = table[table["table"] == "V"]
        for path in (THERE, "target -> source"):
            first = path.split(" -> ")[0]
            for metric, shown in (("dice", "Dice"), ("pq", "panoptic quality")):
                cells = values(five, first, first, metric), values(five, path, first, metric)
                lost = paired(lambda before, after: before - after, *cells)
                if lost:
                    row = {"numbers": name, "path": path.replace("->", "→"), "metric": shown}
                    ends = {"before": f"{cells[0].mean():.3f}", "after": f"{cells[1].mean():.3f}"}
                    rows.append(row | ends | {"drop": with_interval(lost)})
    return pd.DataFrame(rows)


def for_a_lab(found: dict[str, pd.DataFrame]) -> str:
    """One paragraph drawn from the recorded numbers (from this run's where none are recorded)."""
    name = main_source(found)
    five = found[name][found[name]["table"] == "V"]
    before, after = values(five, "source", "source"), values(five, THERE, "source")
    gained = paired(
        lambda tuned, plain: tuned - plain,
        values(five, THERE, "target"),
        values(five, "source", "target"),
    )
    lost = paired(lambda one, two: one - two, before, after)
    joint = values(five, "source + target", "source"), values(five, "source + target", "target")
    return (
        f"**{name}**: fine-tuning a model of the source on the target gains "
        f"{interval_in_words(gained)} Dice on the target and costs "
        f"{interval_in_words(lost)} on the source. "
        f"Trained on both together, for as many steps in all, a model reaches "
        f"{joint[0].mean():.3f} on the source and {joint[1].mean():.3f} on the target. If you fine-"
        "tune a generalist for one kind of image, keep the generalist: the new model is one for "
        "those images, and `python -m helpers retention` tells what it lost on the others."
    )
