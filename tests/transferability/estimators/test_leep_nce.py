"""LEEP and NCE against loops over dictionaries, closed cases, and each other."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from helpers.transferability.estimators import leep, nce


def leep_by_loops(theta, labels):
    joint, marginal = defaultdict(float), defaultdict(float)
    for row, label in zip(theta, labels, strict=True):
        for z, probability in enumerate(row):
            joint[label, z] += probability / len(labels)
            marginal[z] += probability / len(labels)
    total = 0.0
    for row, label in zip(theta, labels, strict=True):
        expected = [joint[label, z] / marginal[z] * p for z, p in enumerate(row) if marginal[z]]
        total += math.log(sum(expected))
    return total / len(labels)


def nce_by_loops(sources, labels):
    pairs, single = Counter(zip(sources, labels, strict=True)), Counter(sources)
    logarithms = [math.log(pairs[z, y] / single[z]) for z, y in zip(sources, labels, strict=True)]
    return sum(logarithms) / len(labels)


def drawn(seed, n=60, n_sources=5, n_classes=3, sharpness=2.0):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, n - n_classes)])
    logits = sharpness * rng.normal(size=(n, n_sources))
    logits[np.arange(n), labels] += 1
    theta = np.exp(logits)
    return theta / theta.sum(axis=1, keepdims=True), labels


def entropy(labels):
    shares = np.bincount(labels) / len(labels)
    return -sum(p * math.log(p) for p in shares if p)


@pytest.mark.parametrize("seed", range(4))
def test_leep_is_its_definition(seed):
    theta, labels = drawn(seed)
    assert leep(theta, labels) == pytest.approx(leep_by_loops(theta, labels), rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_nce_is_its_definition(seed):
    theta, labels = drawn(seed)
    sources = theta.argmax(axis=1)
    wanted = mutual_info_score(sources, labels) - entropy(labels)
    assert nce(sources, labels) == pytest.approx(nce_by_loops(sources, labels), rel=1e-12)
    assert nce(sources, labels) == pytest.approx(wanted, rel=1e-9)


def test_source_classes_that_tell_the_target_are_perfect():
    labels = np.array([0, 1, 2, 1, 0, 2])
    # A permutation of the names, and two source classes for one target class.
    sources = np.array([4, 0, 2, 0, 4, 3])
    assert nce(sources, labels) == 0
    assert leep(np.eye(5)[sources], labels) == 0


def test_source_classes_that_tell_nothing():
    labels = np.array([0] * 6 + [1] * 2)
    constant = np.zeros(8, dtype=int)
    independent = np.array([0, 1] * 4)
    uniform = np.full((8, 4), 0.25)
    for score in (nce(constant, labels), nce(independent, labels), leep(uniform, labels)):
        assert score == pytest.approx(-entropy(labels))


@pytest.mark.parametrize("seed", range(3))
def test_leep_of_certain_predictions_is_nce(seed):
    theta, labels = drawn(seed)
    sources = theta.argmax(axis=1)
    assert leep(np.eye(7)[sources], labels) == pytest.approx(nce(sources, labels), rel=1e-12)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("sharpness", [0.1, 2.0, 20.0])
def test_bounds_of_leep(seed, sharpness):
    theta, labels = drawn(seed, sharpness=sharpness)
    joint = np.stack([theta[labels == k].sum(axis=0) for k in range(3)]) / len(labels)
    # Jensen: the logarithm of a mean is at least the mean of the logarithms, here -H(Y | Z).
    below = (joint * np.log(joint / joint.sum(axis=0))).sum()
    assert -entropy(labels) <= below <= leep(theta, labels) <= 0


def test_order_and_names_do_not_matter():
    theta, labels = drawn(8)
    sources, order = theta.argmax(axis=1), np.random.default_rng(9).permutation(60)
    renamed = np.array([30, -4, 2])[labels]
    assert leep(theta[order], labels[order]) == pytest.approx(leep(theta, labels), rel=1e-12)
    assert leep(theta[:, ::-1], renamed) == pytest.approx(leep(theta, labels), rel=1e-12)
    assert nce(sources[order], labels[order]) == pytest.approx(nce(sources, labels), rel=1e-12)
    assert nce(100 - sources, renamed) == pytest.approx(nce(sources, labels), rel=1e-12)


def test_half_precision_rows_are_scaled_to_one():
    theta, labels = drawn(10)
    half = theta.astype(np.float16)
    assert leep(half, labels) == pytest.approx(leep(theta, labels), abs=2e-3)
    assert leep(0.9995 * theta, labels) == pytest.approx(leep(theta, labels), rel=1e-12)
