"""What networks from different starts see in the same patches (arXiv 2307.03275, Fig. 4).

The paper takes 300 random patches of the test images of its two gland data sets, features "from the
first encoder layer in U-Net, the deepest encoder layer, and the last decoder layer", and draws them
by UMAP. It does not say how large a patch is nor how a map of features becomes one vector; here a
patch is as large as the training's crops, and a map is averaged over its pixels.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from helpers.data.patches import random_patches
from helpers.errors import DataError, ParameterError
from helpers.experiments import starting
from helpers.experiments.starting import Arm, Tasks
from helpers.experiments.tasks import Task
from helpers.features.knn import knn_accuracy
from helpers.features.projection import project, trustworthiness
from helpers.features.similarity import NeighbourMetric, compare_representations
from helpers.models.device import resolve_device
from helpers.models.encoders import SavedEncoder, forward_levels, normalise
from helpers.models.semantic import Segmenter

FIRST, DEEPEST, DECODER = "first encoder level", "deepest encoder level", "last decoder block"
PLACES = (FIRST, DEEPEST, DECODER)
BATCH = 25
NUMBERS = ("value", "chance", "low", "high", "above chance", "p")

RANDOM, ANOTHER = "random", "random, another draw"

Features = Mapping[str, np.ndarray]
# By data set trained on (empty before fine-tuning), start and seed: by place, (n, channels).
Seen = Mapping[tuple[str, str, int], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Patches:
    """Patches of test images, and where each comes from.

    Attributes:
        images: uint8 (n, side, side, 3).
        datasets: of each patch.
        sources: image of each, data set and id.
        groups: of each, data set and what no split tears apart (patient, slide or source image).
    """

    images: np.ndarray
    datasets: list[str]
    sources: list[str]
    groups: list[str]

    def __len__(self) -> int:
        return len(self.images)


def sample_patches(
    tasks: Mapping[str, Task], n: int, side: int, rng: np.random.Generator
) -> Patches:
    """Square patches at random places of all test images of some tasks.

    Every image gives equally many, up to one; those of one image follow one another. Images smaller
    than a patch are continued by reflection.

    Args:
        n: patches of all images together; where there are more images, the first give one each.
        side: in pixels.

    Raises:
        DataError: no task.
    """
    parts = {name: task.part("test") for name, task in tasks.items()}
    if not parts:
        raise DataError("no data set to take patches of: expected at least one of glands")
    n_images = sum(len(part) for part in parts.values())
    counts = iter(map(len, np.array_split(np.arange(n), n_images)))
    cut, datasets, sources, groups = [], [], [], []
    for name, part in parts.items():
        for image, own, group in zip(part.images, part.ids, part.groups, strict=True):
            if not (count := next(counts)):
                continue
            cut.append(random_patches([image], count, side, rng))
            datasets += [name] * count
            sources += [f"{name}: {own}"] * count
            groups += [f"{name}: {group}"] * count
    return Patches(np.concatenate(cut), datasets, sources, groups)


# -------------------------------------------------------------------------------------- features


def encoder_features(
    encoder: nn.Module, saved: SavedEncoder, patches: np.ndarray, device: str = "cpu"
) -> dict[str, np.ndarray]:
    """What an encoder's first and deepest levels say of patches, mean over pixels.

    Args:
        encoder: with levels (:func:`helpers.models.encoders.forward_levels`); put on the device and
            into evaluation mode.
        saved: says how inputs are normalised.
        patches: uint8 (n, side, side, 3).

    Returns:
        float32 (n, channels) under :data:`FIRST` and :data:`DEEPEST`.
    """
    encoder.to(device).eval()

    def maps_of(images: torch.Tensor) -> list[torch.Tensor]:
        levels = forward_levels(encoder, images)
        return [levels[0], levels[-1]]

    return dict(zip((FIRST, DEEPEST), _pooled(maps_of, saved, patches, device), strict=True))


def network_features(
    model: Segmenter, saved: SavedEncoder, patches: np.ndarray, device: str = "cpu"
) -> dict[str, np.ndarray]:
    """Those of :func:`encoder_features` and of the decoder's last block, before the scores.

    Patches whose sides are no multiples of the network's stride are padded by the network; what its
    decoder says of the padding counts.

    Returns:
        float32 (n, channels) by place, in the order of :data:`PLACES`.
    """
    model.to(device).eval()
    seen: list[torch.Tensor] = []
    hook = model.decoder.register_forward_hook(lambda _, inputs, output: seen.append(output))

    def maps_of(images: torch.Tensor) -> list[torch.Tensor]:
        model(images)
        return [seen.pop()]

    try:
        [decoded] = _pooled(maps_of, saved, patches, device)
    finally:
        hook.remove()
    return encoder_features(model.encoder, saved, patches, device) | {DECODER: decoded}


@torch.inference_mode()
def _pooled(
    maps_of: Callable[[torch.Tensor], list[torch.Tensor]],
    saved: SavedEncoder,
    patches: np.ndarray,
    device: str,
) -> list[np.ndarray]:
    """Means over pixels of all maps that a function gives, each (n, channels)."""
    parts = []
    for first in range(0, len(patches), BATCH):
        pixels = torch.from_numpy(patches[first : first + BATCH]).to(device)
        images = normalise(pixels.permute(0, 3, 1, 2).float() / 255, saved.mean, saved.std)
        parts.append([one.mean(dim=(2, 3)).cpu().numpy() for one in maps_of(images)])
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def see(p: Any, tasks: Tasks, arms: Sequence[Arm], patches: Patches) -> Seen:
    """What every finished network says of the patches, and its encoder before that.

    Encoders before fine-tuning are there once for each seed, with a second draw of random weights
    beside the first (:data:`ANOTHER`).
    """
    torch.set_num_threads(p.threads)
    device, found = resolve_device(p.device).type, {}
    for arm in arms:
        _, model, saved = starting.load_fitted(p, tasks, arm)
        at = (arm.dataset, arm.start, arm.seed)
        found[at] = network_features(model, saved, patches.images, device)
    folders, glands = starting.folders(p, tasks), arms[0].dataset
    for seed in dict.fromkeys(arm.seed for arm in arms):
        drawn = {name: (name, seed) for name in p.starts} | {ANOTHER: (RANDOM, seed + 1)}
        for name, (start, own) in drawn.items():
            saved = starting.open_start(starting.start_of(p, start, glands, own), own, folders)
            found["", name, seed] = encoder_features(saved.encoder, saved, patches.images, device)
    return found


def by_place(seen: Seen, train: str, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Features of all starts, by place."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for (name, start, own), features in seen.items():
        for place, rows in features.items() if (name, own) == (train, seed) else ():
            found.setdefault(place, {})[start] = rows
    return found


# ------------------------------------------------------------------------------------ comparisons


def measure(p: Any, seen: Seen, patches: Patches) -> pd.DataFrame:
    """How alike all networks are, as rows of results.

    Tables, each by ``train`` (data set), ``place`` and ``seed``: ``pairs`` (fine-tuned networks of
    two starts, ``start`` and ``other``), ``before`` (two encoders before that, and two draws of
    random weights) and ``moved`` (an encoder before and after), all with ``number``: the value,
    what shuffled patches give (mean, low and high end of 95 %), the way from there to identity, and
    p; ``clouds`` (are the starts told apart?) and ``reordered`` (is a network, from itself with
    reordered channels?).
    """
    return pd.DataFrame(row for row in _measured(p, seen, patches) if np.isfinite(row["value"]))


def _measured(p: Any, seen: Seen, patches: Patches) -> Iterator[dict]:
    for train, seed in dict.fromkeys((name, own) for name, _, own in seen):
        before = by_place(seen, "", seed)
        for place, features in by_place(seen, train, seed).items():
            at = {"train": train or None, "place": place, "seed": seed, "n": len(patches)}
            for one, other in combinations(features, 2):
                if other == ANOTHER and one != RANDOM:
                    continue
                pair = at | {"table": "pairs" if train else "before", "start": one, "other": other}
                yield from _similar(p, pair, features[one], features[other])
            if train:
                yield from _overlap(at | {"table": "clouds"}, features, patches, p.metric)
            rng = np.random.default_rng(p.seed)
            for start, rows in features.items() if train else ():
                own = at | {"table": "reordered", "start": start}
                itself = {"itself": rows, "reordered": reordered(rows, rng)}
                yield from _overlap(own, itself, patches, p.metric)
                if place in before:
                    own = at | {"table": "moved", "start": start}
                    yield from _similar(p, own, before[place][start], rows)


def _similar(p: Any, at: dict, x: np.ndarray, y: np.ndarray) -> Iterator[dict]:
    """Every measure, with what chance gives; every pair is shuffled alike."""
    rng = np.random.default_rng(p.seed)
    found = compare_representations(x, y, rng, k=p.neighbours, n_shuffles=p.shuffles)
    for metric, one in found.items():
        for number in NUMBERS:
            value = getattr(one, number.replace(" ", "_"))
            yield at | {"metric": metric, "number": number, "value": value}


def _overlap(at: dict, features: Features, patches: Patches, metric: str) -> Iterator[dict]:
    accuracy = tell_apart(features, patches.groups, metric)
    overlap = joint_overlap(accuracy, len(features))
    for name, value in (("accuracy", accuracy), ("overlap", overlap)):
        yield at | {"metric": name, "value": value}


def tell_apart(
    features: Features, groups: Sequence[str], metric: NeighbourMetric = "cosine"
) -> float:
    """Balanced accuracy with which nearest neighbours tell whose features they are.

    Five neighbours, none from the same group (:func:`helpers.features.knn.knn_accuracy`), whichever
    network they are of. One over the number of networks where the clouds are one; 1 where they lie
    apart. It asks what a map of all features at once shows, and needs channels that correspond:
    between two networks none do, unless both started from the same weights.

    Args:
        features: of the same patches by name, (n, d) each, all of one width.
        groups: of the patches, as for a split.
        metric: of distances between features.

    Returns:
        0..1; NaN for patches of one group, where no neighbour may be asked.

    Raises:
        ParameterError: fewer than two networks, or different widths.
    """
    widths = {rows.shape[1] for rows in features.values()}
    if len(features) < 2 or len(widths) > 1:
        raise ParameterError(
            f"features of {len(features)} networks, widths {sorted(widths)}: expected those of at "
            "least two networks of one architecture"
        )
    if len(set(groups)) < 2:
        return float("nan")
    rows = np.concatenate(
        [unit_rows(part) if metric == "cosine" else part for part in features.values()]
    )
    labels = np.repeat(list(features), len(groups))
    return knn_accuracy(rows, labels, list(groups) * len(features))


def joint_overlap(accuracy: float, n_networks: int) -> float:
    """From the accuracy of :func:`tell_apart`: 1 where nothing is told apart, 0 where everything.

    Above 1 if the guesses are worse than chance.
    """
    chance = 1 / n_networks
    return 1 - (accuracy - chance) / (1 - chance)


def reordered(features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same features with their channels in another order: the same network, written otherwise.

    Whoever reorders the channels of a level, and the weights that read them, has a network that
    computes the same.
    """
    return features[:, rng.permutation(features.shape[1])]


def joint_maps(p: Any, features: Mapping[str, Features], patches: Patches) -> pd.DataFrame:
    """All starts' features in one map, by projection and place, as in Fig. 4 of the paper.

    Args:
        features: by place and start.

    Returns:
        A row per projection, place, start and patch (``image``), with ``group``, ``x``, ``y`` and
        the map's ``trust`` (:func:`helpers.features.projection.trustworthiness`).
    """
    parts = []
    for name in p.projections:
        for place, by_start in features.items():
            rows = np.concatenate(list(by_start.values()))
            placed = _placed(p, name, rows)
            judged = unit_rows(rows) if p.metric == "cosine" else rows
            at = {"projection": name, "place": place, "trust": trustworthiness(judged, placed)}
            for start, points in zip(by_start, np.split(placed, len(by_start)), strict=True):
                parts.append(_points(points, patches).assign(start=start, **at))
    return pd.concat(parts, ignore_index=True)


def lone_maps(p: Any, features: Mapping[str, Features], patches: Patches) -> pd.DataFrame:
    """Each start in a map of its own, turned, mirrored and scaled onto that of the first start.

    Returns:
        A row per place, start and patch with ``x``, ``y`` and ``angle``: of the patch about the
        middle of the first start's map.
    """
    from scipy.spatial import procrustes

    parts = []
    for place, by_start in features.items():
        placed = {start: _placed(p, p.projections[0], rows) for start, rows in by_start.items()}
        first = next(iter(placed.values()))
        turned = {start: procrustes(first, points)[1] for start, points in placed.items()}
        angle = np.arctan2(*next(iter(turned.values())).T[::-1])
        for start, points in turned.items():
            parts.append(_points(points, patches).assign(place=place, start=start, angle=angle))
    return pd.concat(parts, ignore_index=True)


def _points(points: np.ndarray, patches: Patches) -> pd.DataFrame:
    frame = pd.DataFrame(points, columns=["x", "y"])
    return frame.assign(image=[str(i) for i in range(len(patches))], group=patches.groups)


def _placed(p: Any, name: str, rows: np.ndarray) -> np.ndarray:
    options = {"neighbours": p.neighbours, "min_dist": p.min_dist, "metric": p.metric}
    return project(rows, name, p.seed, **options)


def nearest_elsewhere(
    features: np.ndarray, sources: Sequence[str], query: int, k: int
) -> np.ndarray:
    """The patches most like one of them, none of its own image: int64 (up to k,), nearest first.

    By cosine distance of centred features, as in :mod:`helpers.features.similarity`.
    """
    unit = unit_rows(features - features.mean(axis=0, dtype=np.float64))
    order = np.argsort(-(unit @ unit[query]), kind="stable")
    return np.array([i for i in order if sources[i] != sources[query]][:k], np.int64)


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1; a row of zeros stays."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)
