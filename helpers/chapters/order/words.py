"""What the numbers of the chapter ``order`` say, put into sentences by the code."""

import pandas as pd

from helpers.chapters.order.run import LONG_PATHS, retention
from helpers.chapters.transfer.tables import main_source, matrix


def retention_table(models: list[dict]) -> pd.DataFrame:
    """Retention measures of all paths of three domains, mean with 95 % interval over seeds."""
    rows = []
    for path in LONG_PATHS:
        found = retention(models, path)
        row = {"path": path.replace("->", "→")}
        for field, name in (
            ("average_accuracy", "average Dice"),
            ("backward_transfer", "backward transfer"),
            ("forgetting", "forgetting"),
        ):
            one = getattr(found, field)
            span = f" ({one.low:.3f} to {one.high:.3f})" if one.n > 1 else ""
            row[name] = f"{one.mean:.3f}{span}"
        rows.append(row)
    return pd.DataFrame(rows)


def for_a_lab(found: dict[str, pd.DataFrame]) -> str:
    """One paragraph drawn from the recorded numbers (from this run's where none are recorded)."""
    name = main_source(found)
    cells = matrix(found[name], LONG_PATHS)
    average = cells.mean(axis=1)
    best, worst = average.idxmax(), average.idxmin()
    by_last = {
        role: average[[p for p in LONG_PATHS if p.endswith(role)]].mean() for role in cells.columns
    }
    last = ", ".join(f"{role} {value:.3f}" for role, value in by_last.items())
    return (
        f"**{name}**: over all three domains, the best of six orders ({best.replace('->', '→')}) "
        f"ends at an average Dice of {average[best]:.3f}, the worst ({worst.replace('->', '→')}) "
        f"at {average[worst]:.3f}. Grouped by the domain that came last: {last}. If a model has to "
        "serve several kinds of images and they arrive one after the other, think first about the "
        "one that comes last, and about keeping some of the earlier images (chapter *replay*)."
    )
