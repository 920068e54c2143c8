"""Generated glands and second laboratories: labels, what colour tells, how domains shift."""

from collections import Counter

import numpy as np
import pytest
from skimage.color import rgb2hed
from skimage.measure import regionprops
from skimage.segmentation import clear_border

from helpers.data.synthetic import generate, generate_sample, glands, histo, optics
from helpers.errors import DataError

N = 20
SIZE = (160, 160)
A, B = "synthetic-glands", "synthetic-glands-b"
PIXEL = {A: glands.PIXEL, B: glands.PIXEL_B}
CHANNELS = ("red", "green", "blue", "grey", "haematoxylin", "eosin")
PAIRS = [("synthetic-histo", "synthetic-histo-b"), (A, B)]


@pytest.fixture(scope="module")
def samples():
    """Some pictures of each domain, made once."""
    names = [name for pair in PAIRS for name in pair]
    return {name: generate(name, N, seed=4, size=SIZE) for name in names}


def areas(sample):
    return np.bincount(sample.labels.ravel())[1:]


def channel(image, name, sigma):
    """Grey values or stain of a picture, blurred by ``sigma`` pixels."""
    if name in CHANNELS[:3]:
        values = image[..., CHANNELS.index(name)]
    elif name == "grey":
        values = image.mean(-1)
    else:
        values = rgb2hed(image.astype(np.uint8))[..., CHANNELS.index(name) - 4]
    return optics.blur(values.astype(np.float32), sigma).ravel()


def pooled(pictures, name, sigma):
    """Values of one channel and what is labelled, every seventh pixel of all pictures."""
    values = [channel(s.image, name, sigma)[::7] for s in pictures]
    inside = [s.labels.ravel()[::7] > 0 for s in pictures]
    return np.concatenate(values), np.concatenate(inside)


def colours(pictures):
    """Red, green and blue as they are and blurred, and a one: (pixels, 7); and what is labelled."""
    columns = [pooled(pictures, name, sigma) for name in CHANNELS[:3] for sigma in (0.0, 4.0)]
    inside = columns[0][1]
    return np.column_stack([*(values for values, _ in columns), np.ones(len(inside))]), inside


def linear_rule(table, inside):
    """Weights of the colours that part glands from stroma best by least squares."""
    return np.linalg.lstsq(table, inside.astype(float), rcond=None)[0]


def tuned(values, inside):
    """Threshold and direction of the best balanced accuracy, and that accuracy."""
    edges = np.quantile(values, np.linspace(0.005, 0.995, 199))
    scores = np.array([accuracy(values, inside, edge, 1) for edge in edges])
    best = np.argmax(np.abs(scores - 0.5))
    sign = 1 if scores[best] > 0.5 else -1
    return edges[best], sign, max(scores[best], 1 - scores[best])


def accuracy(values, inside, edge, sign):
    """Mean of sensitivity and specificity where labelled is what lies above (sign 1) or below."""
    above = (values > edge) == (sign > 0)
    return (above[inside].mean() + (~above[~inside]).mean()) / 2


def whole(pattern, pixel, n=6):
    """Regions of the glands that the border does not cut, in n fields of 450 micrometres."""
    side = round(450 / pixel)
    found = []
    for seed in range(n):
        rng = np.random.default_rng(seed)
        labels = glands._outlines(rng, (side, side), glands._style(rng, pattern, pixel))
        found += regionprops(clear_border(labels))
    return found


# ------------------------------------------------------------------------------ labels


@pytest.mark.parametrize("domain", PIXEL)
def test_glands_leave_background_and_lie_in_the_stated_range(samples, domain):
    # 36 images of GlaS: glands cover 0.11 to 0.69 of an image, 0.49 on average; the median gland
    # of an image is 50 to 220 micrometres wide, cut ones included.
    share = [(s.labels > 0).mean() for s in samples[domain]]
    assert 0.3 < np.mean(share) < 0.65
    assert max(share) < 0.95
    found = np.concatenate([areas(s) for s in samples[domain]])
    assert found.min() >= glands.MIN_AREA
    assert found.max() * PIXEL[domain] ** 2 < 25_000


@pytest.mark.parametrize("pattern", glands.PATTERNS)
def test_whole_glands_are_compact_and_as_wide_as_stated(pattern):
    ranges = {**glands._DEFAULTS, **glands.PATTERNS[pattern][1]}
    found = whole(pattern, 1.0)
    width = np.median([region.axis_minor_length for region in found])
    # Neighbours and septa take some of the width that a free gland would have.
    assert 0.55 * ranges["diameter"][0] < width < 1.15 * ranges["diameter"][1]
    assert all(r.area_filled - r.area <= 0.01 * r.area for r in found)


@pytest.mark.parametrize("pattern", ["benign/across", "malignant/tubular"])
def test_glands_of_both_scanners_have_one_size_in_micrometres(pattern):
    width = [
        pixel * np.median([r.axis_minor_length for r in whole(pattern, pixel)])
        for pixel in PIXEL.values()
    ]
    assert width[1] == pytest.approx(width[0], rel=0.2)


# ------------------------------------------------------------------------------ grades


def test_patterns_state_known_ranges_and_both_grades_are_as_likely():
    shares = Counter()
    for name, (share, ranges) in glands.PATTERNS.items():
        shares[name.split("/")[0]] += share
        assert set(ranges) <= set(glands._DEFAULTS)
        assert all(low <= high for low, high in ranges.values())
    assert set(shares) == {"benign", "malignant"}
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["benign"] == pytest.approx(0.5, abs=0.05)


def test_malignant_glands_are_less_regular_and_tubes_longer():
    found = {name: whole(name, 1.0, 4) for name in glands.PATTERNS}
    solid = {name: np.median([r.solidity for r in regions]) for name, regions in found.items()}
    malignant = [value for name, value in solid.items() if name.startswith("malignant")]
    # Tubes cut along are bent and hence not convex either.
    assert min(solid["benign/across"], solid["benign/dilated"]) > max(malignant) + 0.02
    stretch = {
        name: np.median([r.axis_major_length / r.axis_minor_length for r in regions])
        for name, regions in found.items()
    }
    assert stretch["benign/along"] > 1.5 * stretch["benign/across"]


@pytest.mark.parametrize("domain", PIXEL)
def test_pictures_are_of_both_grades(samples, domain):
    assert {s.modality.split("/")[0] for s in samples[domain]} == {"benign", "malignant"}


# ------------------------------------------------------------------------------ colour


@pytest.mark.parametrize("domain", PIXEL)
@pytest.mark.parametrize("sigma", [0.0, 4.0])
def test_no_threshold_of_a_colour_finds_the_glands(samples, domain, sigma):
    # Balanced accuracy: 0.5 is chance, 1 perfect; nuclei of synthetic-histo reach 0.94 in red.
    # Measured: 0.60 to 0.62 here, 0.66 to 0.69 on the other scanner.
    best = {name: tuned(*pooled(samples[domain], name, sigma))[2] for name in CHANNELS}
    assert max(best.values()) < 0.72, best


@pytest.mark.parametrize(("home", "abroad"), PAIRS)
def test_the_two_laboratories_differ_in_colour(samples, home, abroad):
    # Ratio of red to blue light, of which strength and thickness take little; over pictures.
    ratio = [
        np.array([s.image[..., 0].mean() / s.image[..., 2].mean() for s in samples[name]])
        for name in (home, abroad)
    ]
    spread = np.sqrt((ratio[0].var() + ratio[1].var()) / 2)
    assert abs(ratio[0].mean() - ratio[1].mean()) > spread


@pytest.mark.parametrize(("name", "loss"), [("green", 0.1), ("grey", 0.05)])
def test_a_threshold_for_nuclei_does_worse_in_the_other_laboratory(samples, name, loss):
    # Balanced accuracy 0.85 and 0.65 in green, 0.88 and 0.79 in grey.
    home, abroad = (pooled(samples[domain], name, 1.0) for domain in PAIRS[0])
    edge, sign, at_home = tuned(*home)
    assert accuracy(*abroad, edge, sign) < at_home - loss


def test_a_colour_rule_for_glands_is_weak_and_fails_on_the_other_scanner(samples):
    # 0.64 where it was tuned, 0.51 on the other scanner, whose own rule reaches 0.72.
    (home, inside), (abroad, inside_abroad) = (colours(samples[domain]) for domain in (A, B))
    rule = linear_rule(home, inside)
    edge, sign, at_home = tuned(home @ rule, inside)
    _, _, own = tuned(abroad @ linear_rule(abroad, inside_abroad), inside_abroad)
    assert max(at_home, own) < 0.78
    there = accuracy(abroad @ rule, inside_abroad, edge, sign)
    assert there < at_home - 0.05
    assert there < own - 0.1


def test_histo_b_keeps_the_nuclei_and_changes_the_mix():
    shares = histo.LABORATORY_B.shares
    assert set(shares) == set(histo.ARCHITECTURES)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["neuropil"] > 2 * histo.ARCHITECTURES["neuropil"][0]


@pytest.mark.parametrize("domain", [name for pair in PAIRS for name in pair])
def test_size_below_the_least_is_refused(domain):
    with pytest.raises(DataError, match="at least 64"):
        generate_sample(domain, 0, 0, (63, 256))
