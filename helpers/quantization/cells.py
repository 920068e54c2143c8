"""K-means cells of a set of features, for stratified sampling and for measuring coverage."""

import numpy as np

from helpers.quantization.distances import mean_of

FIT_ON = 10_000
CHUNK = 4096
ITERATIONS = 20


def k_means_cells(features: np.ndarray, n_cells: int, rng: np.random.Generator) -> np.ndarray:
    """Cell of every sample: k-means (k-means++ start, one run, at most 20 rounds of Lloyd).

    The centres are fitted on all samples or, above 10,000, on 10,000 drawn at random; then all are
    assigned to their nearest centre, chunk by chunk. It runs on one thread, so that the cells do
    not depend on the number of cores. Memory beyond the features: at most 10,000 rows and a chunk.

    Args:
        features: (N, d), finite.
        n_cells: 1..N.
        rng: draws the start, and the samples to fit on.

    Returns:
        int64 (N,), cell numbers 0..m-1 without gaps. m is below ``n_cells`` where fewer distinct
        samples exist.
    """
    # Here, because importing scikit-learn takes longer than most selections.
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    n_samples = len(features)
    chosen = slice(None)
    if n_samples > FIT_ON:
        chosen = np.sort(rng.choice(n_samples, FIT_ON, replace=False))
    mean = mean_of(features)
    scale = float(np.abs(features[chosen] - mean).max()) or 1.0

    def rows(part: slice | np.ndarray) -> np.ndarray:
        """Centred and scaled, for float32 to hold the squares of any input."""
        return np.asarray((features[part] - mean) / scale, dtype=np.float32)

    fitted = rows(chosen)
    n_distinct = len(np.unique(fitted, axis=0)) if n_cells > 1 else 1
    k_means = KMeans(
        min(n_cells, n_distinct),
        n_init=1,
        max_iter=ITERATIONS,
        random_state=int(rng.integers(2**31)),
        copy_x=False,
    )
    starts = range(0, n_samples, CHUNK)
    with threadpool_limits(1):
        k_means.fit(fitted)
        labels = [k_means.predict(rows(slice(start, start + CHUNK))) for start in starts]
    return np.unique(np.concatenate(labels), return_inverse=True)[1].astype(np.int64)
