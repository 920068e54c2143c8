"""The robustness score against a plain loop written from its definition."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from helpers.errors import DataError, ParameterError
from helpers.transferability.negatives import choose_negatives
from helpers.transferability.robustness import (
    Pairing,
    Pairs,
    measure_pairs,
    score_pairs,
)
from helpers.views.jitter import JitterStrength, draw_jitter
from tests.transferability.peers import PEER

PUBLISHED = Pairing()


def robustness(features, images, margin=0.5, pairing=PUBLISHED, groups=None, seed=0):
    """The score with views from a seed."""
    generator = torch.Generator().manual_seed(seed)
    pairs = measure_pairs(features, images, generator, pairing, groups)
    return score_pairs(pairs, np.random.default_rng(0), margin)


def distance(a, b):
    return 1 - (a @ b) / np.sqrt((a @ a) * (b @ b))


class TinyEncoder(nn.Module):
    """Three levels of random convolutions, in double precision."""

    def __init__(self, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.levels = nn.ModuleList(
                nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.Tanh())
                for a, b in ((3, 4), (4, 6), (6, 8))
            )
        self.double().eval()

    def forward(self, x):
        maps, x = [], x.double()
        for level in self.levels:
            x = level(x)
            maps.append(x)
        return maps


def images(n=7, size=16, seed=1):
    return torch.rand((n, 3, size, size), generator=torch.Generator().manual_seed(seed))


def one_step(image, step, factor, grey_aware):
    """One step of the jitter of one image (3, h, w)."""
    if grey_aware and torch.equal(image[0], image[1]) and torch.equal(image[0], image[2]):
        if step == "saturation":
            return image**factor
        if step == "hue":
            columns = np.arange(image.shape[2])
            shade = 1 + factor * (2 * columns / (len(columns) - 1) - 1)
            return (image * torch.from_numpy(shade).float()).clamp(0, 1)
    return PEER[step](image, factor)


def plain_loss(encoder, pictures, seed, margin, pairing, groups=None):
    """The definition, image by image, with torchvision's jitter and numpy's distances."""
    generator = torch.Generator().manual_seed(seed)
    n = len(pictures)
    draws = n if pairing.jitter_per_image else 1
    views = [draw_jitter(JitterStrength(), generator, draws) for _ in range(2)]
    vectors = [[], []]
    for side, i in itertools.product(range(2), range(n)):
        image = pictures[i]
        for step in views[side].order:
            factor = float(getattr(views[side], step)[i if draws > 1 else 0])
            image = one_step(image, step, factor, pairing.grey_aware)
        vectors[side].append(encoder(image[None])[-1][0].detach().numpy().mean(axis=(1, 2)))
    apart = groups if pairing.apart else None
    if pairing.negatives == "all":
        names = groups if pairing.apart else range(n)
        others = [[j for j in range(n) if names[j] != names[i]] for i in range(n)]
    else:
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        others = [[j] for j in choose_negatives(n, pairing.negatives, rng, apart)]
    losses = []
    for i, (q, k) in enumerate(zip(*vectors, strict=True)):
        against = [distance(q, vectors[1][j]) for j in others[i]]
        losses.append(np.mean([max(0, distance(q, k) - d + margin) for d in against]))
    return np.array(losses)


PAIRINGS = [
    Pairing(jitter_per_image=each, negatives=kind, apart=apart)
    for each in (False, True)
    for kind in ("reversed", "random", "all")
    for apart in (False, True)
]
GROUPS = ["a", "a", "b", "b", "c", "c", "d"]


@pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
@pytest.mark.parametrize("batch_size", [2, 3, 32])
def test_the_score_equals_the_definition(pairing, batch_size):
    encoder, pictures = TinyEncoder(), images()
    pairs = measure_pairs(
        encoder,
        pictures,
        torch.Generator().manual_seed(5),
        pairing,
        GROUPS if pairing.apart else None,
        batch_size,
    )
    for margin in (0.0, 0.25, 1.0):
        expected = plain_loss(encoder, pictures, 5, margin, pairing, GROUPS)
        found = score_pairs(pairs, np.random.default_rng(0), margin)
        np.testing.assert_allclose(found.per_image, expected, atol=1e-6)
        assert found.loss == pytest.approx(expected.mean(), abs=1e-6)


@pytest.mark.parametrize("negatives", ["reversed", "all"])
@pytest.mark.parametrize("grey", [range(0), range(7), range(3)], ids=["none", "all", "some"])
def test_grey_aware_views_equal_the_definition(negatives, grey):
    encoder, pictures = TinyEncoder(), images()
    pictures[list(grey)] = pictures[list(grey), :1].repeat(1, 3, 1, 1)
    pairing = Pairing(jitter_per_image=True, grey_aware=True, negatives=negatives)
    found = robustness(encoder, pictures, pairing=pairing, seed=5)
    expected = plain_loss(encoder, pictures, 5, 0.5, pairing)
    np.testing.assert_allclose(found.per_image, expected, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("margin", [0.0, 0.5, 0.75])
def test_published_defaults(seed, margin):
    encoder, pictures = TinyEncoder(seed), images(6, seed=seed)
    found = robustness(encoder, pictures, margin, seed=seed)
    expected = plain_loss(encoder, pictures, seed, margin, Pairing())
    np.testing.assert_allclose(found.per_image, expected, atol=1e-6)
    assert found.low <= found.loss <= found.high


def test_lower_is_more_robust():
    """Features blind to light but not to content beat features that see light alone."""

    def content(batch):
        light = batch.mean(dim=(1, 2, 3), keepdim=True)
        spread = batch.std(dim=(1, 2, 3), keepdim=True)
        grey = ((batch - light) / spread).mean(dim=1, keepdim=True)
        return [grey.flatten(2).transpose(1, 2)[..., None]]

    def light(batch):
        return [batch.mean(dim=(2, 3), keepdim=True) - 0.5]

    pictures = images(40)
    scores = [robustness(features, pictures).loss for features in (content, light)]
    assert scores[0] < scores[1]


def test_a_large_margin_only_shifts_the_score():
    pairs = Pairs(np.array([0.1, 0.3]), np.array([[0.2], [0.1]]))
    rng = np.random.default_rng(0)
    one, more = (score_pairs(pairs, rng, margin).loss for margin in (0.5, 0.75))
    assert more - one == pytest.approx(0.25)
    assert score_pairs(pairs, rng, 0.0).loss == pytest.approx(0.1)


def test_constant_features_are_neither_robust_nor_an_error():
    found = robustness(lambda x: [torch.ones(len(x), 3, 2, 2)], images())
    assert found.loss == pytest.approx(0.5)


def test_all_in_one_group_leaves_no_negative():
    pairing = Pairing(negatives="all", apart=True)
    with pytest.raises(ParameterError, match="one group"):
        robustness(TinyEncoder(), images(3), pairing=pairing, groups=["a", "a", "a"])


def test_features_that_are_not_finite_are_refused():
    with pytest.raises(DataError, match="not finite"):
        robustness(lambda x: [torch.full((len(x), 2, 2, 2), torch.nan)], images())
