import numpy as np
import pytest

from helpers.errors import ParameterError
from helpers.features import knn
from helpers.features.knn import chance_level, knn_accuracy


def brute_force(features, labels, groups, k):
    """One sample and one class at a time, from the definition."""
    by_class = {}
    for i in range(len(features)):
        others = [j for j in range(len(features)) if groups[j] != groups[i]]
        others.sort(key=lambda j: (((features[i] - features[j]) ** 2).sum(), j))
        votes = [labels[j] for j in others[:k]]
        most = max(votes.count(v) for v in votes)
        predicted = next(v for v in votes if votes.count(v) == most)
        by_class.setdefault(labels[i], []).append(predicted == labels[i])
    return np.mean([np.mean(right) for right in by_class.values()])


@pytest.mark.parametrize("seed", range(8))
def test_as_the_definition_says_ties_included(seed, monkeypatch):
    monkeypatch.setattr(knn, "CHUNK", 7)
    rng = np.random.default_rng(seed)
    features = rng.integers(0, 4, (30, 2)).astype(np.float32)  # whole numbers: many ties
    labels = rng.choice(["a", "b", "c"], 30)
    groups = np.arange(30) // 3
    for k in (1, 4):
        expected = brute_force(features, labels, groups, k)
        assert knn_accuracy(features, labels, groups, k) == pytest.approx(expected)


def test_overlapping_patches_of_one_image_do_not_vouch_for_each_other():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(60, 16))
    features = np.repeat(images, 5, axis=0) + 0.01 * rng.normal(size=(300, 16))
    groups = np.repeat(np.arange(60), 5)
    labels = np.repeat(rng.permutation(60) % 2, 5)  # says nothing about the features
    assert knn_accuracy(features, labels, np.arange(300)) > 0.95
    assert abs(knn_accuracy(features, labels, groups) - chance_level(labels)) < 0.2


def test_a_rare_class_counts_as_much_as_a_frequent_one():
    features = np.r_[np.zeros(95), np.full(5, 0.1)][:, None]
    labels = ["many"] * 95 + ["few"] * 5
    features[95:] = 0  # nothing tells them apart: all are called "many"
    assert knn_accuracy(features, labels, range(100)) == 0.5
    assert chance_level(labels) == 0.5


def test_nonsense_is_refused():
    features, labels, groups = np.eye(6), [0, 1] * 3, range(6)
    with pytest.raises(ParameterError, match="labels rare"):
        knn_accuracy(features, ["rare"] + ["x"] * 5, groups, 1)
    with pytest.raises(ParameterError, match="k=6"):
        knn_accuracy(features, labels, groups, 6)
