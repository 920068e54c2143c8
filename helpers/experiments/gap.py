"""How far a backbone's view of cells is from its view of the source, stage by stage.

The gap that arXiv 2310.03981 speaks of: the same patches of test images go through the backbone
after every stage of a training.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from helpers.errors import DataError
from helpers.experiments.few_shot import ENCODER, Arm, Models
from helpers.experiments.representations import DEEPEST, Patches, encoder_features, sample_patches
from helpers.experiments.tasks import Task
from helpers.features.domain_gap import domain_classifier, median_bandwidth, mmd
from helpers.features.projection import project, trustworthiness
from helpers.models.encoders import EncoderSpec, SavedEncoder, build_encoder, load_encoder
from helpers.pretraining.amt2 import encoder_path

CELLS, SOURCE = "cells", "source"
RANDOM, START, TUNED = "random weights", "source", "fine-tuned"
FOLDS = 5


def measure_gap(p: Any, models: Models, arm: Arm) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The gap after every stage of CUPre, and maps of the patches.

    Args:
        p: ``map_patches`` of either domain, ``projections``, ``patch_size``, ``seed``, ``device``.
        arm: CUPre, kept.

    Returns:
        One row per stage with ``classifier`` (balanced accuracy with which a line tells the
        domains apart in patches of other images) and ``mmd`` (squared maximum mean discrepancy of
        features of length 1, on one bandwidth for all stages); one row per projection, stage and
        patch with ``x``, ``y``, ``domain`` and the map's ``trust``.
    """
    patches = gap_patches(
        models.data.cells[arm.cells], models.data.sources, p.map_patches, p.patch_size, p.seed
    )
    device = models.stages[arm].p.device
    features = stage_features(stages(models, arm), patches, device)
    places = [
        pd.DataFrame(placed, columns=["x", "y"]).assign(
            projection=kind,
            stage=stage,
            domain=patches.datasets,
            trust=trustworthiness(rows, placed),
        )
        for kind in p.projections
        for stage, rows in features.items()
        for placed in [project(rows, kind, p.seed)]
    ]
    return distances(features, patches, p.seed), pd.concat(places, ignore_index=True)


def gap_patches(cells: Task, sources: Sequence[Task], n: int, side: int, seed: int) -> Patches:
    """``n`` patches of test images of either domain: :func:`sample_patches`."""
    rng = np.random.default_rng(seed)
    every = ({task.name: task for task in tasks} for tasks in ([cells], sources))
    one, two = (sample_patches(tasks, n, side, rng) for tasks in every)
    return Patches(
        np.concatenate([one.images, two.images]),
        [CELLS] * n + [SOURCE] * n,
        one.sources + two.sources,
        one.groups + two.groups,
    )


def stages(models: Models, arm: Arm) -> dict[str, SavedEncoder]:
    """The backbone of CUPre after every stage, by name, in order."""
    tuned = models.stages[arm]
    rounds = tuned.before
    folder = models.data.folder(rounds)
    start, spec = load_encoder(encoder_path(folder, 0)), EncoderSpec(rounds.p.encoder)
    drawn = build_encoder(spec, rounds.before.seed).eval()
    found = {RANDOM: SavedEncoder(spec, drawn, start.mean, start.std), START: start}
    for number, one in enumerate(models.results[rounds]["rounds"], 1):
        for side, step in zip((CELLS, SOURCE), one["ends"], strict=True):
            found[f"round {number}, {side}"] = load_encoder(encoder_path(folder, step))
    return found | {TUNED: load_encoder(models.data.folder(tuned) / ENCODER)}


def stage_features(
    encoders: Mapping[str, SavedEncoder], patches: Patches, device: str = "cpu"
) -> dict[str, np.ndarray]:
    """Pooled output of the deepest level, each row of length 1, (n, channels), by stage."""
    found = {}
    for name, saved in encoders.items():
        rows = encoder_features(saved.encoder, saved, patches.images, device)[DEEPEST]
        found[name] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return found


def distances(features: Mapping[str, np.ndarray], patches: Patches, seed: int) -> pd.DataFrame:
    """``stage``, ``classifier``, ``mmd``; the bandwidth is the median heuristic's after the source.

    Five folds, or as many as a domain has groups where these are fewer.

    Raises:
        DataError: a domain of a single group, so that no patches are left to test a classifier on.
    """
    cells = np.array([name == CELLS for name in patches.datasets])
    groups = np.array(patches.groups)
    folds = min(FOLDS, len(set(groups[cells])), len(set(groups[~cells])))
    if folds < 2:
        raise DataError(
            "patches of a domain are all of one group of test images; expected at least two. Take "
            "more test images (of cells: test_share, max_test_images; source: max_source_test)."
        )
    width, split = median_bandwidth(features[START]), (groups[cells], groups[~cells])
    return pd.DataFrame(
        {
            "stage": name,
            "classifier": domain_classifier(
                rows[cells], rows[~cells], *split, folds=folds, seed=seed
            ),
            "mmd": mmd(rows[cells], rows[~cells], bandwidth=width),
        }
        for name, rows in features.items()
    )
