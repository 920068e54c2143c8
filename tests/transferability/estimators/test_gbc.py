"""GBC against numerical integration and the Bhattacharyya distance with full matrices."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from helpers.transferability.estimators import gbc


def labelled(seed, n=40, d=4, n_classes=3, signal=1.0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    centres = rng.normal(size=(n_classes, d))
    spreads = rng.uniform(0.5, 2, size=(n_classes, d))
    return rng.normal(size=(n, d)) * spreads[labels] + signal * centres[labels], labels


def full_formula(features, labels):
    """The sum over ordered pairs, with determinants and inverses of d x d matrices."""
    total = 0.0
    for i in np.unique(labels):
        for j in np.unique(labels):
            if i == j:
                continue
            means, matrices = [], []
            for k in (i, j):
                rows = features[labels == k]
                variance = rows.var(axis=0)
                means.append(rows.mean(axis=0))
                matrices.append(np.diag(variance))
            mean, pooled = means[0] - means[1], (matrices[0] + matrices[1]) / 2
            dets = np.linalg.det(matrices[0]) * np.linalg.det(matrices[1])
            distance = mean @ np.linalg.inv(pooled) @ mean / 8
            distance += 0.5 * np.log(np.linalg.det(pooled) / np.sqrt(dets))
            total -= np.exp(-distance)
    return total


@pytest.mark.parametrize("seed", range(3))
def test_it_is_its_formula(seed):
    features, labels = labelled(seed)
    wanted = full_formula(features, labels)
    assert gbc(features, labels) == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_in_one_dimension_it_is_the_overlap_of_two_densities(seed):
    features, labels = labelled(seed, d=1, n_classes=2)
    a, b = (features[labels == k, 0] for k in (0, 1))
    p, q = norm(a.mean(), a.std()), norm(b.mean(), b.std())
    overlap, _ = quad(lambda x: np.sqrt(p.pdf(x) * q.pdf(x)), -30, 30, epsabs=1e-12)
    assert gbc(features, labels) == pytest.approx(-2 * overlap, rel=1e-7)


def test_closed_cases():
    # Equal classes overlap fully, -K(K-1); classes far apart not at all.
    same = np.tile([[0.0], [1.0]], (3, 1))
    assert gbc(same, [0, 0, 1, 1, 2, 2]) == pytest.approx(-6)
    apart = np.array([[0.0], [1.0], [1e3], [1e3 + 1]])
    assert gbc(apart, [0, 0, 1, 1]) == pytest.approx(0, abs=1e-12)
    # A single sample has the variance of the floor: distance 4e-4 / (8 x 1e-4), no second term.
    assert gbc([[0.0], [0.02]], [0, 1]) == pytest.approx(-2 * np.exp(-0.5))


def test_the_floor_holds_for_every_dimension():
    features, labels = labelled(3)
    flat = np.hstack([features, np.zeros((len(features), 2))])
    assert gbc(flat, labels) == pytest.approx(gbc(features, labels), rel=1e-12)
    flat[labels == 0, -1] = 0.01
    one = 0.01**2 / 1e-4 / 8
    two_classes = labels < 2
    wanted = gbc(features[two_classes], labels[two_classes]) * np.exp(-one)
    assert gbc(flat[two_classes], labels[two_classes]) == pytest.approx(wanted, rel=1e-9)


def test_order_names_and_shift_do_not_matter():
    features, labels = labelled(4)
    wanted = gbc(features, labels)
    order = np.random.default_rng(5).permutation(len(labels))
    assert gbc(features[order], labels[order]) == pytest.approx(wanted, rel=1e-10)
    assert gbc(features + 7, -3 * labels) == pytest.approx(wanted, rel=1e-10)
    assert gbc(30 * features, labels) == pytest.approx(wanted, rel=1e-10)


def test_better_features_score_higher():
    scores = [gbc(*labelled(6, n=300, signal=s)) for s in (0.0, 0.5, 1.0, 2.0)]
    assert scores == sorted(scores)
    assert -6 <= scores[0] < scores[-1] <= 0
