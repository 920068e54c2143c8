"""What the numbers of the chapter ``stopping`` say, put into sentences by the code."""

import numpy as np
import pandas as pd

from helpers.chapters.stopping import tables
from helpers.chapters.stopping.run import Found
from helpers.chapters.stopping.tables import FULL, NONE, ONLINE, RANDOM, ROBUST, values
from helpers.data.classes import LabelChange
from helpers.experiments.tasks import Task


def describe_tasks(tasks: dict[str, Task]) -> str:
    """One line per task: classes, images and patients on each side of the splits."""
    lines = []
    for name, task in tasks.items():
        parts = ", ".join(
            f"{part} {images} images of {groups}" for part, (images, groups) in task.counts.items()
        )
        lines.append(
            f"- **{name}** ({task.provenance['coverage']}): {', '.join(task.classes)}; {parts} "
            "patients or sources."
        )
    return "\n".join(lines)


def label_damage(task: Task, change: LabelChange) -> pd.DataFrame:
    """What interpolated labels lose: share of the foreground that changes, area of each class."""
    row = {"task": task.name, "foreground changed": f"{change.foreground:.1%}"}
    for name, ratio in zip(task.classes, change.area_ratio[1:], strict=True):
        row[f"area, {name}"] = f"{ratio - 1:+.1%}"
    return pd.DataFrame([row])


def describe_pretraining(pretrainings: dict[int, dict]) -> str:
    """Accuracy on the source before, half-way and at the end, over seeds."""
    curves = np.array([[r["accuracy"] for r in run["epochs"]] for run in pretrainings.values()])
    mean = curves.mean(axis=0)
    seconds = np.mean([run["train_seconds"] for run in pretrainings.values()])
    middle = len(mean) // 2
    return (
        f"Accuracy on new source images: {mean[0]:.1%} before training, {mean[middle]:.1%} after "
        f"{middle} epochs, {mean[-1]:.1%} after {len(mean) - 1}; {seconds:.0f} s per pretraining."
    )


def time_spent(pretrainings: dict[int, dict], found: dict[str, Found]) -> dict:
    """Epochs and seconds of the full and of the stopped pretrainings, means over seeds.

    Those of a stopped one include its looks at the task's images.
    """
    stopped = {}
    for task, one in found.items():
        looks = [sum(run["notes"]["look_seconds"]) for run in one.online.values()]
        trained = [run["train_seconds"] for run in one.online.values()]
        stopped[task] = {
            "epochs": float(np.mean([run["epochs"][-1]["epoch"] for run in one.online.values()])),
            "train_seconds": float(np.mean(trained)),
            "look_seconds": float(np.mean(looks)),
        }
    full = {
        "epochs": max(r["epoch"] for run in pretrainings.values() for r in run["epochs"]),
        "train_seconds": float(np.mean([run["train_seconds"] for run in pretrainings.values()])),
    }
    return {"full": full, "stopped": stopped}


def describe_time(spent: dict[str, dict]) -> str:
    """What online stopping spent against the full pretraining, by source and task.

    Args:
        spent: of :func:`time_spent`, by source (a recorded profile, or this run).
    """
    lines = []
    for source, one in spent.items():
        full = one["full"]
        for task, stopped in one["stopped"].items():
            lines.append(
                f"- **{task}** ({source}): {stopped['epochs']:.1f} of {full['epochs']} epochs, "
                f"{stopped['train_seconds'] + stopped['look_seconds']:.0f} of "
                f"{full['train_seconds']:.0f} s, {stopped['look_seconds']:.1f} s of them for the "
                "looks."
            )
    return "Means over seeds; seconds depend on the machine.\n\n" + "\n".join(lines)


def describe_undefined(found: dict[str, Found]) -> str:
    """Which estimators had no value somewhere, and why."""
    reasons: dict[str, str] = {}
    for one in found.values():
        for score in one.scores.values():
            for name, why in score.get("undefined", {}).items():
                reasons.setdefault(tables.ESTIMATOR_NAMES[name], why)
    if not reasons:
        return "Every estimator has a value for every checkpoint."
    return "Without a value at some checkpoint: " + "; ".join(
        f"{name} ({why})" for name, why in reasons.items()
    )


def describe_cases(found: dict[str, pd.DataFrame]) -> str:
    """How many patients or sources the Dice of each source of numbers rests on."""
    lines = []
    for source, table in found.items():
        rows = table[table["table"] == "transfer"]
        counts = rows.groupby("dataset_test", sort=False)["n"].first()
        listed = ", ".join(f"{task} {int(n)}" for task, n in counts.items())
        lines.append(f"- {source}: {listed}")
    return (
        "Patients or sources that were tested, in one split for all seeds:\n\n"
        + "\n".join(lines)
        + "\n\nIntervals over seeds do not hold the chance of which patients these are: with fewer "
        "than ten, read a difference between checkpoints as one between checkpoints *on these "
        "patients*."
    )


def for_a_lab(found: dict[str, pd.DataFrame]) -> str:
    """One paragraph drawn from the recorded numbers (from this run's where none are recorded)."""
    name, table = next(iter(found.items()))
    regret = {
        rule: 100 * values(table, rule, "regret").mean()
        for rule in (ROBUST, FULL, NONE, ONLINE, RANDOM)
    }
    saved = values(table, ONLINE, "compute_saved").mean()
    return (
        f"**{name}**: against the best checkpoint, the last one loses {regret[FULL]:.1f} Dice "
        f"points, the one of lowest robustness loss {regret[ROBUST]:.1f}, one drawn at random "
        f"{regret[RANDOM]:.1f}, the random initialisation {regret[NONE]:.1f}. Stopping online "
        f"saved {saved:.0%} of the pretraining and ended {regret[ONLINE]:.1f} points below the "
        "best."
    )
