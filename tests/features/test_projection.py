import numpy as np
import pytest
from sklearn.decomposition import PCA

from helpers.features.projection import project, trustworthiness

METHODS = ("tsne", "umap", "pca")


@pytest.fixture(scope="module")
def clusters():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 20)) * 8
    labels = np.arange(90) % 3
    return centres[labels] + rng.normal(size=(90, 20)), labels


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 16])
def test_any_number_of_samples_is_placed(method, n):
    features = np.random.default_rng(n).normal(size=(n, 6))
    placed = project(features, method, 0)
    assert placed.shape == (n, 2)
    assert placed.dtype == np.float32
    assert np.isfinite(placed).all()
    np.testing.assert_allclose(placed.mean(axis=0), 0, atol=1e-3 * max(1, np.abs(placed).max()))


@pytest.mark.parametrize("method", METHODS)
def test_groups_that_lie_apart_lie_apart_on_the_map(method, clusters):
    features, labels = clusters
    placed = project(features, method, 0)
    distances = np.linalg.norm(placed[:, None] - placed, axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (labels[distances.argmin(axis=1)] == labels).all()


@pytest.mark.parametrize("method", ["tsne", "umap"])
def test_the_seed_decides(method, clusters):
    features, _ = clusters
    first = project(features[:30], method, 0)
    np.testing.assert_array_equal(first, project(features[:30], method, 0))
    if method == "umap":
        assert not np.array_equal(first, project(features[:30], method, 1))


@pytest.mark.parametrize("method", ["tsne", "umap"])
def test_cosine_distances_do_not_see_lengths(method):
    # Two rays: along a ray directions agree, between them points of equal length are nearest.
    angle = np.repeat([0.0, 0.06], 12) + 1e-4 * np.random.default_rng(4).normal(size=24)
    length = np.tile(1 + 0.5 * np.arange(12), 2)
    rays = length[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    side = np.arange(24) // 12

    def agrees(features, **options):
        placed = project(features, method, 0, neighbours=5, **options)
        distances = np.linalg.norm(placed[:, None] - placed, axis=2)
        np.fill_diagonal(distances, np.inf)
        return np.mean(side[distances.argmin(axis=1)] == side)

    assert agrees(rays, metric="cosine") > 0.9
    assert agrees(rays, metric="euclidean") < 0.7
    by_default = project(rays, method, 0, neighbours=5)
    own = {"tsne": "euclidean", "umap": "cosine"}[method]
    np.testing.assert_array_equal(by_default, project(rays, method, 0, neighbours=5, metric=own))


def test_umap_is_told_how_far_to_look_and_how_close_to_place(clusters):
    features, _ = clusters
    usual = project(features[:30], "umap", 0)
    np.testing.assert_array_equal(usual, project(features[:30], "umap", 0, neighbours=25))
    for options in ({"neighbours": 4}, {"min_dist": 0.9}):
        assert not np.array_equal(usual, project(features[:30], "umap", 0, **options))


@pytest.mark.parametrize("shape", [(40, 7), (7, 40), (12, 2)])
def test_principal_components_are_those_of_scikit_learn(shape):
    features = np.random.default_rng(1).normal(size=shape)
    expected = PCA(2, svd_solver="full").fit_transform(features)
    np.testing.assert_allclose(np.abs(project(features, "pca", 0)), np.abs(expected), atol=1e-4)


def test_one_dimension_gives_a_line():
    placed = project(np.arange(6.0)[:, None], "pca", 0)
    np.testing.assert_allclose(placed, np.column_stack([np.arange(6) - 2.5, np.zeros(6)]))


@pytest.mark.parametrize("method", METHODS)
def test_equal_samples_fall_on_one_point(method):
    assert not project(np.full((8, 3), 1e3 / 3), method, 0).any()


def test_trustworthiness_tells_a_map_from_noise(clusters):
    plane = np.random.default_rng(2).normal(size=(50, 2))
    assert trustworthiness(np.pad(plane, [(0, 0), (0, 9)]), 3 * plane) == pytest.approx(1)
    features, _ = clusters
    placed = project(features, "pca", 0)
    assert trustworthiness(features, placed) > 0.9
    assert trustworthiness(features, placed[np.random.default_rng(3).permutation(90)]) < 0.7
    assert np.isnan(trustworthiness(features[:3], placed[:3]))
