"""How far a backbone's view of cells is from its view of the source, stage by stage.

The gap that arXiv 2310.03981 speaks of, and its digest asks to be drawn: the same patches of test
images go through the backbone after every stage of a training.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.errors import DataError
from helpers.experiments.few_shot import ENCODER, Alternation, FewShot
from helpers.experiments.objects import ObjectTask
from helpers.experiments.representations import DEEPEST, Patches, encoder_features
from helpers.experiments.starts import random_patches
from helpers.features.domain_gap import domain_classifier, median_bandwidth, mmd, proxy_a_distance
from helpers.models.encoders import EncoderSpec, SavedEncoder, build_encoder, load_encoder
from helpers.pretraining.amt2 import encoder_path

CELLS, SOURCE = "cells", "source"
RANDOM, START, TUNED = "random weights", "source", "fine-tuned"
FOLDS = 5


@dataclass(frozen=True)
class Gap:
    """Distance between two domains in one stage's features.

    Attributes:
        classifier: balanced accuracy of a linear classifier that tells the domains apart.
        a_distance: proxy A-distance, of the same.
        mmd: squared maximum mean discrepancy of features of length 1, on one bandwidth for all
            stages.
    """

    classifier: float
    a_distance: float
    mmd: float


def gap_patches(
    cells: ObjectTask, sources: Sequence[ObjectTask], n: int, side: int, seed: int
) -> Patches:
    """``n`` patches of test images of either domain, equally many of each image up to one.

    Where a domain has more images than that, the first ``n`` give one each.
    """
    rng = np.random.default_rng(seed)
    images, datasets, names, groups = [], [], [], []
    for domain, tasks in ((CELLS, [cells]), (SOURCE, sources)):
        parts = [(task, task.part("test")) for task in tasks]
        pictures = [image for _, part in parts for image in part.images]
        ids = [f"{task.name}/{one}" for task, part in parts for one in part.ids]
        own = [f"{task.name}/{one}" for task, part in parts for one in part.groups]
        images.append(random_patches(pictures, n, side, rng))
        places = [place % len(pictures) for place in range(n)]
        datasets += [domain] * n
        names += [ids[place] for place in places]
        groups += [own[place] for place in places]
    return Patches(np.concatenate(images), datasets, names, groups)


def stages(
    alternation: Alternation,
    result: dict,
    tuned: FewShot,
    folder_of: Callable[[object], Path],
) -> dict[str, SavedEncoder]:
    """The backbone of CUPre after every stage, by name, in order.

    Args:
        result: of the alternation.
        tuned: fine-tuned from it, its backbone kept.
    """
    folder = folder_of(alternation)
    start = load_encoder(encoder_path(folder, 0))
    spec = EncoderSpec(alternation.warming.architecture.encoder)
    drawn = build_encoder(spec, alternation.warming.seed).eval()
    found = {RANDOM: SavedEncoder(spec, drawn, start.mean, start.std), START: start}
    for number, one in enumerate(result["rounds"], 1):
        for side, step in zip((CELLS, SOURCE), one["ends"], strict=True):
            found[f"round {number}, {side}"] = load_encoder(encoder_path(folder, step))
    return found | {TUNED: load_encoder(folder_of(tuned) / ENCODER)}


def stage_features(
    encoders: Mapping[str, SavedEncoder], patches: Patches, device: str = "cpu"
) -> dict[str, np.ndarray]:
    """Pooled output of the deepest level, each row of length 1, (n, channels), by stage."""
    found = {}
    for name, saved in encoders.items():
        rows = encoder_features(saved.encoder, saved, patches.images, device)[DEEPEST]
        found[name] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return found


def measure_gaps(features: Mapping[str, np.ndarray], patches: Patches, seed: int) -> dict[str, Gap]:
    """The gap in every stage; the bandwidth is the median heuristic's in the stage ``source``.

    Five folds, or as many as a domain has groups where these are fewer.

    Raises:
        DataError: a domain of a single group, so that no patches are left to test a classifier on.
    """
    cells = np.array([name == CELLS for name in patches.datasets])
    groups = np.array(patches.groups)
    bandwidth = median_bandwidth(features[START])
    folds = min(FOLDS, len(set(groups[cells])), len(set(groups[~cells])))
    if folds < 2:
        raise DataError(
            "patches of a domain are all of one group of test images; expected at least two. Take "
            "more test images (of cells: test_share, max_test_images; source: max_source_test)."
        )
    found = {}
    for name, rows in features.items():
        one, two = rows[cells], rows[~cells]
        accuracy = domain_classifier(
            one, two, groups[cells], groups[~cells], folds=folds, seed=seed
        )
        found[name] = Gap(accuracy, proxy_a_distance(accuracy), mmd(one, two, bandwidth=bandwidth))
    return found
