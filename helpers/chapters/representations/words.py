"""What the numbers of the chapter ``representations`` say, put into sentences by the code."""

from collections.abc import Mapping

import pandas as pd

from helpers.chapters.representations import tables
from helpers.chapters.representations.run import RANDOM
from helpers.chapters.representations.tables import values
from helpers.experiments.representations import DEEPEST, FIRST, PLACES, Patches


def describe_patches(shown: Patches) -> str:
    """Patches, images and groups by data set."""
    rows = pd.DataFrame({"dataset": shown.datasets, "source": shown.sources, "group": shown.groups})
    lines = [
        f"- **{dataset}**: {len(own)} patches of {own['source'].nunique()} test images, "
        f"{own['group'].nunique()} groups"
        for dataset, own in rows.groupby("dataset", sort=False)
    ]
    side = shown.images.shape[1]
    return f"Patches of {side} x {side} pixels:\n\n" + "\n".join(lines)


def describe_widths(by_place: Mapping[str, Mapping[str, object]], n: int) -> str:
    """Channels at each place against the patches, and what that does to a rotation."""
    widths = {place: next(iter(f.values())).shape[1] for place, f in by_place.items()}
    listed = ", ".join(f"{place} {width}" for place, width in widths.items())
    wide = [place for place, width in widths.items() if width >= n]
    warning = (
        f" With at least as many channels as patches ({', '.join(wide)}) nearly anything can be "
        "rotated onto anything: there a low disparity by itself says nothing."
        if wide
        else " The more channels for the patches, the more a rotation fits by chance."
    )
    return f"Channels: {listed}; patches: {n}.{warning}"


def describe_trust(maps: Mapping[str, Mapping[str, Mapping[str, object]]]) -> str:
    """Trustworthiness of the joint maps: how many neighbours on them are neighbours in truth."""
    lines = []
    for dataset, by_name in maps.items():
        for name, by_place in by_name.items():
            listed = ", ".join(f"{place} {one.trust:.2f}" for place, one in by_place.items())
            lines.append(f"- {dataset}, {name}: {listed}")
    meaning = "(1: all neighbours on a map are neighbours in the features)"
    return f"Trustworthiness of the maps {meaning}:\n\n" + "\n".join(lines)


def clouds(table: pd.DataFrame) -> str:
    """Whether the overlap decreases, in one sentence."""
    found = tables.overlaps(table)
    if found.empty:
        return "Patches of a single group: who is told apart from whom cannot be asked."
    mean = found.mean()
    listed = ", ".join(f"{mean[place]:.2f} ({place})" for place in PLACES)
    return f"Overlap of the clouds, mean over data sets (1: nobody can tell them apart): {listed}."


def for_a_lab(found: Mapping[str, pd.DataFrame]) -> str:
    """One paragraph drawn from the recorded numbers (from this run's where none are recorded)."""
    name, table = next(iter(found.items()))
    after = values(table, "pairs", "debiased_cka")[DEEPEST].mean()
    before = tables.before_pairs(table, "debiased_cka", DEEPEST).mean()
    untrained = tables.untrained_pair(table, "debiased_cka", DEEPEST)
    moved = values(table, "moved", "debiased_cka")
    others = moved[moved.index.get_level_values("method") != RANDOM].mean()
    return (
        f"**{name}**: on the images they were trained for, networks from different starts end "
        f"within {100 * _spread(table):.1f} Dice points of one another. Their deepest features "
        f"have a CKA of {after:.2f} on average, {before:.2f} before fine-tuning; two encoders that "
        f"never learnt anything have {untrained:.2f}. Pretrained encoders kept a CKA of "
        f"{others[FIRST]:.2f} to what they were at the first level, {others[DEEPEST]:.2f} at the "
        f"deepest. {_advice(after > before)}"
    )


def _spread(table: pd.DataFrame) -> float:
    """Highest minus lowest Dice over starts on the own data set, mean over data sets."""
    rows = table[(table["table"] == "scores") & (table["dataset_train"] == table["dataset_test"])]
    by_dataset = rows.groupby("dataset_train")["value"]
    return float((by_dataset.max() - by_dataset.min()).mean())


def _advice(closer: bool) -> str:
    drawn = "drew them together" if closer else "did not draw them together"
    return (
        f"So learning the same task {drawn}. Wherever the CKA is short of 1, features of one "
        "network are no stand-in for those of another: an index of similar images, or a classifier "
        "on top, has to be rebuilt when the encoder is replaced."
    )
