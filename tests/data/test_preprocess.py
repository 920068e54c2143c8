import numpy as np

from helpers.data.preprocess import prepare, scale_percentiles, to_grey
from helpers.data.sample import Sample


def test_grey_is_the_mean_of_the_channels():
    image = np.dstack([np.full((3, 4), v, np.float32) for v in (0, 30, 60)])
    assert (to_grey(image) == 30).all()


def test_percentiles_land_on_zero_and_one():
    grey = np.random.default_rng(0).normal(50, 10, (100, 100))
    scaled = scale_percentiles(grey)
    low, high = np.percentile(scaled, [1, 99])
    assert abs(low) < 1e-5
    assert abs(high - 1) < 1e-5


def test_scaling_does_not_depend_on_units():
    grey = np.random.default_rng(0).random((50, 50)) ** 3
    grey[0, 0] = 50  # a hot pixel
    for factor, offset in ((4000, 100), (1e-6, 0)):
        other = (grey * factor + offset).astype(np.float32)
        np.testing.assert_allclose(scale_percentiles(other), scale_percentiles(grey), atol=1e-4)


def test_a_constant_image_becomes_zero_and_a_sparse_one_keeps_its_signal():
    assert not scale_percentiles(np.full((8, 8), 7.0)).any()
    sparse = np.zeros((100, 100))
    sparse[50, 50] = 9
    assert scale_percentiles(sparse).max() == 1


def test_prepare_leaves_labels_alone():
    labels = np.eye(4, dtype=np.int32)
    sample = prepare(Sample(np.ones((4, 4, 3), np.float32), labels, "a", "g"))
    assert sample.image.shape == (4, 4, 1)
    assert (sample.labels == labels).all()
