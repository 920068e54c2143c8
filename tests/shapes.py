"""Small label maps and samples for tests."""

import numpy as np

from helpers.data.sample import Sample


def discs(size: int, centres_radii: list[tuple[int, int, int]]) -> np.ndarray:
    """Labels int32 (size, size) of discs given as (row, column, radius)."""
    rows, columns = np.mgrid[:size, :size]
    labels = np.zeros((size, size), np.int32)
    for number, (row, column, radius) in enumerate(centres_radii, start=1):
        labels[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = number
    return labels


def disc_sample(name: str, size: int = 64, seed: int = 0) -> Sample:
    """A picture of four bright discs with some noise, already scaled to 0..1."""
    rng = np.random.default_rng(seed)
    quarter = size // 4
    spots = [
        (quarter * (1 + 2 * i) + int(rng.integers(-2, 3)), quarter * (1 + 2 * j), size // 8)
        for i in range(2)
        for j in range(2)
    ]
    labels = discs(size, spots)
    image = (labels > 0) + rng.normal(0, 0.1, labels.shape)
    return Sample(image.astype(np.float32)[..., None], labels, name, name)
