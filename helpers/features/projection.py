"""Maps of a feature space: all samples as points of a plane.

The map of arXiv 2511.04803, Fig. 3, is t-SNE (van der Maaten & Hinton 2008); that of arXiv
2307.03275 is UMAP (McInnes et al. 2018) with 25 neighbours, a minimum distance of 0.1 and cosine
distances. Both keep neighbours together and neither keeps distances: what they show as an empty
stretch may be none. The first two principal components, a shadow of the true space, stand beside
them, and :func:`trustworthiness` says how far a map can be believed.
"""

from typing import Literal

import numpy as np

Projection = Literal["tsne", "umap", "pca"]
Metric = Literal["cosine", "euclidean"]

PERPLEXITY = 30.0
UMAP_NEIGHBOURS = 25
UMAP_DISTANCE = 0.1
# Below this there are no neighbourhoods to keep, and both methods refuse to work.
FEWEST = 5


def project(
    features: np.ndarray,
    method: Projection,
    seed: int,
    *,
    neighbours: int = UMAP_NEIGHBOURS,
    min_dist: float = UMAP_DISTANCE,
    metric: Metric | None = None,
) -> np.ndarray:
    """Place all samples in the plane.

    Args:
        features: (N, d), finite.
        method: ``"tsne"`` (started from the principal components, perplexity 30 or a third of
            N - 1), ``"umap"`` or ``"pca"``. Fewer than five samples, and samples that are all the
            same, are placed by their principal components whatever the method.
        seed: of the method's own draws; the same seed gives the same map on the same machine.
        neighbours: of UMAP, at least 2; N - 1 if there are fewer.
        min_dist: of UMAP, 0..1: how close points may come to lie on the map.
        metric: of distances between features; by default ``"cosine"`` for UMAP and
            ``"euclidean"`` for t-SNE. Principal components have none.

    Returns:
        float32 (N, 2), centred on the origin.
    """
    points = np.asarray(features, dtype=np.float32)
    flat = _principal(points)
    if method == "pca" or len(points) < FEWEST or not flat.any():
        return flat.astype(np.float32)
    if method == "tsne":
        placed = _tsne(points, flat, seed, metric or "euclidean")
    else:
        placed = _umap(points, seed, neighbours, min_dist, metric or "cosine")
    return (placed - placed.mean(axis=0)).astype(np.float32)


def trustworthiness(features: np.ndarray, placed: np.ndarray, n_neighbours: int = 10) -> float:
    """Share of a map's neighbours that are neighbours in the feature space, too.

    Venna & Kaski (2001): 1 if every point's neighbours on the map are among its nearest in truth;
    those that are not count by how far down they rank there. Euclidean distances; needs an N x N
    matrix, so it is meant for the few thousand points of a map.

    Args:
        features: (N, d), finite.
        placed: (N, 2), the map.
        n_neighbours: neighbours looked at; fewer if N does not allow as many.

    Returns:
        0..1; NaN below four samples, where the measure is not defined.
    """
    from sklearn.manifold import trustworthiness as measure

    points = np.asarray(features, dtype=np.float32)
    # The measure is defined for fewer neighbours than half of the samples.
    neighbours = min(n_neighbours, (len(points) - 1) // 2)
    if neighbours < 1 or len(points) < 4:
        return float("nan")
    return float(measure(points, np.asarray(placed, np.float32), n_neighbors=neighbours))


def _principal(points: np.ndarray) -> np.ndarray:
    """First two principal components, float64 (N, 2); a missing second one is zero.

    A component without spread is zero and not what rounding leaves. Signs are those that make the
    largest loading of each component positive.
    """
    centred = points - points.mean(axis=0, dtype=np.float64)
    small = centred.T @ centred if len(points) > points.shape[1] else centred @ centred.T
    values, vectors = np.linalg.eigh(small)
    placed = np.zeros((len(points), 2))
    for column, index in enumerate(range(len(values) - 1, max(len(values) - 3, -1), -1)):
        if values[index] <= 1e-12 * max(values[-1], np.square(points, dtype=np.float64).sum()):
            break
        vector = vectors[:, index]
        if len(points) > points.shape[1]:
            loading, scores = vector, centred @ vector
        else:
            loading, scores = centred.T @ vector, vector * np.sqrt(values[index])
        placed[:, column] = scores * np.sign(loading[np.abs(loading).argmax()])
    return placed


def _tsne(points: np.ndarray, start: np.ndarray, seed: int, metric: Metric) -> np.ndarray:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    # The start is tiny, so that it sets where groups come to lie and not how they are shaped.
    start = start / start[:, 0].std() * 1e-4
    perplexity = min(PERPLEXITY, (len(points) - 1) / 3)
    model = TSNE(
        perplexity=perplexity,
        metric=metric,
        init=start.astype(np.float32),
        random_state=seed,
        n_jobs=1,
    )
    # One thread: several add up the gradient in any order, and t-SNE makes much of a last digit.
    with threadpool_limits(1):
        return model.fit_transform(points)


def _umap(
    points: np.ndarray, seed: int, neighbours: int, min_dist: float, metric: Metric
) -> np.ndarray:
    import umap

    model = umap.UMAP(
        n_neighbors=min(neighbours, len(points) - 1),
        min_dist=min_dist,
        metric=metric,
        # The spectral start needs more samples than dimensions of the plane, with room to spare.
        init="spectral" if len(points) > 3 * FEWEST else "random",
        random_state=seed,
        n_jobs=1,
    )
    return model.fit_transform(points)
