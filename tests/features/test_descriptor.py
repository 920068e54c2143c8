import numpy as np
from scipy.ndimage import gaussian_filter

from helpers.features.descriptor import DIMENSION, describe, describe_all


def test_shape_and_determinism():
    patch = np.random.default_rng(0).random((64, 64))
    first = describe(patch)
    assert first.shape == (DIMENSION,)
    assert first.dtype == np.float32
    assert (first == describe(patch)).all()


def test_flat_and_empty_patches_are_finite():
    assert np.isfinite(describe(np.zeros((32, 32)))).all()
    assert np.isfinite(describe_all([np.ones((16, 16)), np.ones((16, 16))])).all()


def test_texture_of_one_kind_lies_closer_than_of_another():
    rng = np.random.default_rng(0)

    def texture(sigma):
        field = gaussian_filter(rng.normal(size=(64, 64)), sigma)
        return 0.5 + 0.2 * field / field.std()

    fine, coarse = [texture(1) for _ in range(8)], [texture(6) for _ in range(8)]
    features = describe_all(fine + coarse)
    distances = np.linalg.norm(features[:, None] - features[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argmin(axis=1)
    assert ((nearest < 8) == (np.arange(16) < 8)).all()


def test_each_part_has_the_same_weight():
    features = describe_all(np.random.default_rng(0).random((40, 32, 32)))
    for part in np.split(features, [16, 28], axis=1):
        assert np.isclose((part**2).sum(axis=1).mean(), 1, atol=1e-4)
