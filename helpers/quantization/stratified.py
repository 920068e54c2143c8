"""Stratified sampling: k-means cells, one random sample of each."""

import numpy as np

from helpers.quantization.cells import k_means_cells
from helpers.quantization.checks import check_count, check_features

MOST_CELLS = 256


def stratified(features: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """One random sample of each k-means cell, as many cells as samples are asked for.

    Above 256 samples there are 256 cells, and every cell gives a second sample, a third, and so on
    in turn, until it is used up: the same number per cell, not the same share, since a cell per
    sample is what smaller counts have. In each turn larger cells come first. Samples within a cell
    are drawn at random rather than nearest to its centre, so that they vary as the cell does.

    Args:
        features: (N, d), finite.
        count: 1..N.
        rng: starts k-means and draws within the cells.

    Returns:
        int64 (count,), distinct sample indices in the order of choice, exactly ``count`` of them
        whatever the sizes of the cells.

    Raises:
        ParameterError: wrong shape, NaN or infinity, count outside 1..N.
    """
    points = check_features(features)
    count = check_count(count, len(points))
    cells = k_means_cells(points, min(count, MOST_CELLS), rng)
    shuffled = rng.permutation(len(points))
    sizes = np.bincount(cells)
    by_cell = shuffled[np.argsort(cells[shuffled], kind="stable")]
    cell = cells[by_cell]
    turn = np.arange(len(points)) - (np.cumsum(sizes) - sizes)[cell]
    return by_cell[np.lexsort((cell, -sizes[cell], turn))][:count]
