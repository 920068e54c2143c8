"""What the chapters on few-shot cells say of data and pretrainings, put together by the code."""

import pandas as pd

from helpers.chapters.cells.parameters import CellParameters
from helpers.chapters.cells.run import Data


def describe_data(data: Data) -> str:
    """Images, groups, objects and sizes of every data set."""
    lines = []
    for kind, tasks in (("cells", data.cells.values()), ("source", data.sources)):
        for task in tasks:
            parts = ", ".join(
                f"{images} {part} images ({groups} groups, {objects} objects)"
                for part, (images, groups, objects) in task.counts.items()
            )
            low, high = ("x".join(map(str, size)) for size in task.sizes)
            span = low if low == high else f"{low} to {high}"
            lines.append(
                f"- **{task.name}** ({kind}): {parts}; {span} pixels, an object's side "
                f"{task.side:.0f} in the median; {len(task.classes)} "
                f"{'class' if len(task.classes) == 1 else 'classes'}"
            )
    return "\n".join(lines)


def choices(parameters: CellParameters) -> pd.DataFrame:
    """What the paper leaves open, and what is chosen here."""
    p = parameters
    rows = [
        ("rounds of AMT2", p.rounds, "rounds"),
        ("steps on cells, all rounds", p.contrast_steps, "contrast_steps"),
        ("steps on the source, all rounds", p.source_steps, "source_steps"),
        ("steps on the source before", p.warm_steps, "warm_steps"),
        ("weight of L2-SP", f"{p.anchor_weight:g}", "anchor_weight"),
        ("reference of L2-SP", "backbone after each round's cells", "–"),
        ("queue of MoCo", "half of the patches, at most 4,096; emptied each round", "–"),
        ("momentum of the key encoder", f"{p.key_momentum:g}", "key_momentum"),
        ("head of MoCo", "goes on from round to round", "–"),
        ("learning rates", f"{p.source_rate:g} (source), {p.contrast_rate:g} (cells), "
         f"{p.learning_rate:g} (fine-tuning); SGD", "source_rate, contrast_rate, learning_rate"),
        ("schedules", "tenth of the steps of warm-up, half a cosine over all rounds", "–"),
        ("classes of the source", {"one": "none: every object is an object (published: COCO's 80)",
         "own": "its own"}[p.source_classes], "source_classes"),
        ("which weights are carried over", "all but the layers whose outputs are classes", "–"),
        ("batch normalisation", "trained, statistics of each batch", "–"),
        ("steps of fine-tuning", f"{p.steps}, the same for every share", "steps"),
        ("which images a share is", "drawn anew for every seed, smaller inside larger", "seeds"),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["what the paper leaves open", "here", "parameter"])
