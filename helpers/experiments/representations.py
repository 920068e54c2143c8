"""What networks from different starts see in the same patches (arXiv 2307.03275, Fig. 4).

The paper takes 300 random patches of the test images of its two gland data sets, features "from the
first encoder layer in U-Net, the deepest encoder layer, and the last decoder layer", and draws them
by UMAP. It does not say how large a patch is nor how a map of features becomes one vector; here a
patch is as large as the training's crops, and a map is averaged over its pixels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import nn

from helpers.errors import DataError, ParameterError
from helpers.experiments.foreground import ForegroundTask
from helpers.experiments.starts import random_patches
from helpers.features.knn import knn_accuracy
from helpers.features.similarity import NeighbourMetric, Similarity, compare_representations
from helpers.models.encoders import SavedEncoder, forward_levels, normalise
from helpers.models.semantic import Segmenter

FIRST, DEEPEST, DECODER = "first encoder level", "deepest encoder level", "last decoder block"
PLACES = (FIRST, DEEPEST, DECODER)
BATCH = 25

Features = Mapping[str, np.ndarray]


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
    tasks: Mapping[str, ForegroundTask], n: int, side: int, rng: np.random.Generator
) -> Patches:
    """Square patches at random places of all test images of some tasks.

    Every image gives equally many, up to one; those of one image follow one another. Images smaller
    than a patch are continued by reflection.

    Args:
        n: patches of all images together, at least one per image.
        side: in pixels.

    Raises:
        DataError: no task.
        ParameterError: fewer patches than images.
    """
    parts = {name: task.part("test") for name, task in tasks.items()}
    if not parts:
        raise DataError("no data set to take patches of: expected at least one of glands")
    n_images = sum(len(part) for part in parts.values())
    if n < n_images:
        raise ParameterError(f"n_patches={n}: expected at least one for each of {n_images} images")
    counts = iter(map(len, np.array_split(np.arange(n), n_images)))
    cut, datasets, sources, groups = [], [], [], []
    for name, part in parts.items():
        for image, own, group in zip(part.images, part.ids, part.groups, strict=True):
            count = next(counts)
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


# ------------------------------------------------------------------------------------ comparisons


def compare_pairs(
    features: Features, k: int, n_shuffles: int, seed: int
) -> dict[tuple[str, str], dict[str, Similarity]]:
    """All pairs of networks by :func:`helpers.features.similarity.compare_representations`.

    Args:
        features: of the same patches by name, (n, d) each.
        k: neighbours.
        seed: of the shuffles; every pair gets the same.
    """
    return {
        (one, other): compare_representations(
            features[one], features[other], np.random.default_rng(seed), k=k, n_shuffles=n_shuffles
        )
        for one, other in combinations(features, 2)
    }


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


def aligned(maps: Features) -> dict[str, np.ndarray]:
    """Maps of the same samples, turned, mirrored, shifted and scaled onto the first one.

    Args:
        maps: by name, (n, 2) each, not all points in one place.

    Returns:
        float64 (n, 2) by name, centred; the first has Frobenius norm 1.
    """
    from scipy.spatial import procrustes

    first = next(iter(maps.values()))
    return {name: procrustes(first, one)[1] for name, one in maps.items()}


def nearest_elsewhere(
    features: np.ndarray, sources: Sequence[str], query: int, k: int
) -> np.ndarray:
    """The patches most like one of them, none of its own image: int64 (up to k,), nearest first.

    By cosine distance of centred features, as in
    :func:`helpers.features.similarity.neighbourhood_overlap`.
    """
    unit = unit_rows(features - features.mean(axis=0, dtype=np.float64))
    order = np.argsort(-(unit @ unit[query]), kind="stable")
    return np.array([i for i in order if sources[i] != sources[query]][:k], np.int64)


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1; a row of zeros stays."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)
