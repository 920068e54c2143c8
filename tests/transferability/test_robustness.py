"""The robustness score against a plain loop written from its definition."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from helpers.errors import DataError, ParameterError
from helpers.transferability.distances import all_distances, find_distance
from helpers.transferability.negatives import choose_negatives
from helpers.transferability.robustness import (
    FeatureChoice,
    Pairing,
    Pairs,
    measure_pairs,
    robustness,
    score_pairs,
)
from helpers.views.jitter import JitterStrength, draw_jitter
from tests.transferability.peers import PEER

PLAIN = {
    "cosine": lambda a, b: 1 - (a @ b) / np.sqrt((a @ a) * (b @ b)),
    "l2": lambda a, b: np.mean((a - b) ** 2),
    "pearson": lambda a, b: 1 - np.corrcoef(a, b)[0, 1],
}


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


def plain_loss(encoder, pictures, seed, choice, margin, pairing, groups=None):
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
        chosen = encoder(image[None])[choice.level if choice.level < 0 else choice.level - 1][0]
        array = chosen.detach().numpy()
        vectors[side].append(array.mean(axis=(1, 2)) if choice.pooled else array.ravel())
    distance = PLAIN[choice.distance]
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


CHOICES = [
    FeatureChoice(distance, pooled, level)
    for distance in PLAIN
    for pooled in (True, False)
    for level in (1, 2, -1)
]
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
        CHOICES,
        pairing,
        GROUPS if pairing.apart else None,
        batch_size,
    )
    for choice, margin in itertools.product(CHOICES, (0.0, 0.25, 1.0)):
        expected = plain_loss(encoder, pictures, 5, choice, margin, pairing, GROUPS)
        found = score_pairs(pairs[choice], np.random.default_rng(0), margin)
        np.testing.assert_allclose(found.per_image, expected, atol=1e-6)
        assert found.loss == pytest.approx(expected.mean(), abs=1e-6)


@pytest.mark.parametrize("negatives", ["reversed", "all"])
@pytest.mark.parametrize("grey", [range(0), range(7), range(3)], ids=["none", "all", "some"])
def test_grey_aware_views_equal_the_definition(negatives, grey):
    encoder, pictures = TinyEncoder(), images()
    pictures[list(grey)] = pictures[list(grey), :1].repeat(1, 3, 1, 1)
    pairing = Pairing(jitter_per_image=True, grey_aware=True, negatives=negatives)
    generator = torch.Generator().manual_seed(5)
    pairs = measure_pairs(encoder, pictures, generator, CHOICES, pairing)
    for choice in CHOICES:
        expected = plain_loss(encoder, pictures, 5, choice, 0.5, pairing)
        found = score_pairs(pairs[choice], np.random.default_rng(0), 0.5)
        np.testing.assert_allclose(found.per_image, expected, atol=1e-6)


@pytest.mark.parametrize("distance", sorted(PLAIN))
def test_all_distances_of_long_vectors_close_together(distance):
    """As at the start of a pretraining, in single precision: their squares cancel."""
    vectors = 30 + 0.01 * torch.randn((6, 500), generator=torch.Generator().manual_seed(2))
    found = all_distances(distance, vectors, vectors.flip(0)).numpy()
    plain = PLAIN[distance]
    wide = vectors.double().numpy()
    expected = np.array([[plain(a, b) for b in wide[::-1]] for a in wide])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("margin", [0.0, 0.5, 0.75])
def test_published_defaults(seed, margin):
    encoder, pictures = TinyEncoder(seed), images(6, seed=seed)
    found = robustness(encoder, pictures, torch.Generator().manual_seed(seed), margin=margin)
    expected = plain_loss(encoder, pictures, seed, FeatureChoice(), margin, Pairing())
    np.testing.assert_allclose(found.per_image, expected, atol=1e-6)
    assert found.low <= found.loss <= found.high


def test_lower_is_more_robust():
    """Features blind to light but not to content beat features that see light alone."""

    def content(batch):
        light = batch.mean(dim=(1, 2, 3), keepdim=True)
        spread = batch.std(dim=(1, 2, 3), keepdim=True)
        return [((batch - light) / spread).mean(dim=1, keepdim=True)]

    def light(batch):
        return [batch.mean(dim=(2, 3), keepdim=True) - 0.5]

    pictures = images(40)
    choice = FeatureChoice(pooled=False)
    scores = [
        robustness(features, pictures, torch.Generator().manual_seed(0), choice).loss
        for features in (content, light)
    ]
    assert scores[0] < scores[1]


def test_a_large_margin_only_shifts_the_score():
    pairs = Pairs(np.array([0.1, 0.3]), np.array([[0.2], [0.1]]))
    rng = np.random.default_rng(0)
    one, more = (score_pairs(pairs, rng, margin).loss for margin in (0.5, 0.75))
    assert more - one == pytest.approx(0.25)
    assert score_pairs(pairs, rng, 0.0).loss == pytest.approx(0.1)


@pytest.mark.parametrize("name", PLAIN)
def test_distances_against_numpy_and_each_other(name):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 6, 11))
    expected = [[PLAIN[name](x, y) for y in b] for x in a]
    tensors = torch.from_numpy(a), torch.from_numpy(b)
    np.testing.assert_allclose(all_distances(name, *tensors), expected, atol=1e-9)
    np.testing.assert_allclose(find_distance(name)(*tensors), np.diag(expected), atol=1e-9)


@pytest.mark.parametrize(("name", "expected"), [("cosine", 1), ("l2", 0), ("pearson", 1)])
def test_vectors_of_zeros_have_a_distance(name, expected):
    zero = torch.zeros(1, 4)
    assert find_distance(name)(zero, zero).item() == expected


def test_constant_features_are_neither_robust_nor_an_error():
    found = robustness(lambda x: [torch.ones(len(x), 3, 2, 2)], images(), torch.Generator())
    assert found.loss == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e, g: robustness(e, images(1), g), "n at least 2"),
        (lambda e, g: robustness(e, torch.zeros(4, 1, 8, 8), g), r"expected \(n, 3, h, w\)"),
        (lambda e, g: robustness(e, images(), g, FeatureChoice(level=4)), "has 3 levels"),
        (lambda e, g: robustness(e, images(), g, FeatureChoice(level=-4)), "has 3 levels"),
        (lambda e, g: robustness(e, images(), g, margin=-0.1), "margin=-0.1"),
        (lambda e, g: robustness(e, images(), g, pairing=Pairing(apart=True)), "needs the group"),
        (lambda e, g: robustness(e, images(), g, groups=["a"]), "groups of 1"),
        (lambda e, g: robustness(e.train(), images(), g), "training mode"),
        (lambda e, g: FeatureChoice(level=0), "level=0"),
        (lambda e, g: FeatureChoice(distance="manhattan"), "manhattan"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ParameterError, match=message):
        call(TinyEncoder(), torch.Generator().manual_seed(0))


def test_all_in_one_group_leaves_no_negative():
    pairing = Pairing(negatives="all", apart=True)
    with pytest.raises(ParameterError, match="one group"):
        robustness(
            TinyEncoder(), images(3), torch.Generator(), pairing=pairing, groups=["a", "a", "a"]
        )


def test_features_that_are_not_finite_are_refused():
    with pytest.raises(DataError, match="not finite"):
        robustness(
            lambda x: [torch.full((len(x), 2, 2, 2), torch.nan)], images(), torch.Generator()
        )
