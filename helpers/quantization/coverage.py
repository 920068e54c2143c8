"""How well a selection stands for the whole set, by measures that no method here maximises.

Wrong shapes, NaN or infinity, areas not above 0, indices outside 0..N-1 or none at all are refused
with ParameterError.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from helpers.errors import ParameterError
from helpers.quantization.checks import check_features
from helpers.quantization.distances import centred, euclidean, mean_of


@dataclass(frozen=True)
class Coverage:
    """Coverage in feature space.

    Attributes:
        mean_distance: Euclidean distance of a sample to the nearest selected one, mean over all
            samples (selected ones count as 0).
        p95_distance: the 95th percentile of these distances.
        cells_hit: share of the k-means cells that hold a selected sample, above 0 to 1.
    """

    mean_distance: float
    p95_distance: float
    cells_hit: float


@dataclass(frozen=True)
class LabelCoverage:
    """Coverage of what the labels tell.

    Attributes:
        instances: number of instances in the selection.
        sizes_hit: share of the octaves of instance area that occur in the set (1 to 2 pixels, 2 to
            4, 4 to 8, ...) and also occur in the selection; NaN if the set has no instance.
        kinds_hit: share of the kinds (modalities, data sets) that occur in the selection.
    """

    instances: int
    sizes_hit: float
    kinds_hit: float


def coverage(features: np.ndarray, selected: np.ndarray, cells: np.ndarray) -> Coverage:
    """Coverage of all samples by the selected ones.

    Facility location and k-center make the distances small by design, stratified sampling hits
    many cells by design: look at both, and at :func:`label_coverage`, which none of them sees.

    Args:
        features: (N, d), finite; copies of one sample are fine.
        selected: (n,) sample indices, at least one, in any order; repeated ones count once.
        cells: (N,) cell of each sample, the same for all selections that are to be compared: see
            :func:`helpers.quantization.cells.k_means_cells`.
    """
    points = check_features(features)
    chosen = _check_selected(selected, len(points))
    cells = np.asarray(cells)
    if cells.shape != (len(points),):
        raise ParameterError(f"cells of shape {cells.shape}: expected ({len(points)},)")
    distances = distances_to_selected(points, chosen)
    return Coverage(
        float(distances.mean()),
        float(np.percentile(distances, 95)),
        len(np.unique(cells[chosen])) / len(np.unique(cells)),
    )


def distances_to_selected(
    features: np.ndarray, selected: np.ndarray, chunk: int = 1024
) -> np.ndarray:
    """Euclidean distance of every sample to the nearest selected one, float64 (N,).

    At most chunk x chunk distances are in memory at once.
    """
    mean = mean_of(features)
    nearest = np.full(len(features), np.inf)
    for first in range(0, len(selected), chunk):
        targets = centred(features[selected[first : first + chunk]], mean)
        for start in range(0, len(features), chunk):
            part = slice(start, start + chunk)
            found = euclidean(centred(features[part], mean), targets).min(axis=1)
            nearest[part] = np.minimum(nearest[part], found)
    return nearest


def label_coverage(
    selected: np.ndarray,
    instances: np.ndarray,
    sizes: Sequence[np.ndarray],
    kinds: Sequence[str],
) -> LabelCoverage:
    """Coverage of what the labels tell; labels are for judging only, selection never sees them.

    Args:
        selected: (n,) sample indices, at least one; repeated ones count once.
        instances: (N,) number of instances per sample, 0 or above.
        sizes: N arrays, the areas in pixels of the instances of each sample, above 0.
        kinds: N names, for instance the modality or data set of each sample.
    """
    counts = np.asarray(instances)
    lengths = {"instances": len(counts), "sizes": len(sizes), "kinds": len(kinds)}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ParameterError(f"{found}: expected one entry per sample in each")
    chosen = _check_selected(selected, len(counts))
    octaves = []
    for sample, areas in enumerate(sizes):
        values = np.asarray(areas, dtype=np.float64)
        if not (values > 0).all():
            raise ParameterError(f"sizes: sample {sample} holds an area that is not above 0")
        octaves.append(set(np.floor(np.log2(values)).tolist()))
    occurring = set().union(*octaves)
    hit = set().union(*(octaves[i] for i in chosen))
    return LabelCoverage(
        int(counts[chosen].sum()),
        len(hit) / len(occurring) if occurring else float("nan"),
        len({kinds[i] for i in chosen}) / len(set(kinds)),
    )


def _check_selected(selected: np.ndarray, n_samples: int) -> np.ndarray:
    """Ascending, without repetition."""
    indices = np.asarray(selected)
    if indices.ndim != 1 or not len(indices) or not np.issubdtype(indices.dtype, np.integer):
        raise ParameterError(
            f"selected of shape {indices.shape} and type {indices.dtype}: expected at least one "
            "sample index, in one dimension"
        )
    outside = (indices < 0) | (indices >= n_samples)
    if outside.any():
        raise ParameterError(
            f"selected: index {indices[outside][0]}; expected 0 to {n_samples - 1}"
        )
    return np.unique(indices)
