"""Generated domains: exact labels, reproducible pictures, and pictures that look as they claim."""

import cv2
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import pdist
from skimage.measure import regionprops
from skimage.segmentation import clear_border

from helpers.data.datasets import SyntheticSpec, open_dataset
from helpers.data.splits import split_by_group
from helpers.data.synthetic import (
    CLASSES,
    DOMAINS,
    GROUP_SIZES,
    cardiac,
    generate_sample,
    optics,
    ranges,
    shapes,
    tissue,
)
from helpers.errors import DataError, ParameterError
from helpers.metrics.baselines import baseline_masks
from helpers.metrics.evaluate import evaluate

N = 9
INSTANCES = [name for name in DOMAINS if name not in CLASSES]
CARDIAC = "synthetic-cardiac"
KINDS = [
    (ranges.CELLS, ranges.CYTO),
    (ranges.CELLS, ranges.MULTI),
    (ranges.TISSUE, ranges.HISTO),
    (ranges.TISSUE, ranges.HISTO_B),
    (ranges.TISSUE, ranges.GLANDS),
    (ranges.HEART, ranges.HEARTS),
]


@pytest.fixture(scope="module")
def samples():
    """Some pictures of each domain, made once."""
    return {name: [generate_sample(name, i, 11) for i in range(N)] for name in DOMAINS}


def rng(seed=0):
    return np.random.default_rng(seed)


# ------------------------------------------------------------------------------ contract


@pytest.mark.parametrize("domain", DOMAINS)
def test_samples_are_of_whole_grey_values_with_labels_and_names(samples, domain):
    for index, sample in enumerate(samples[domain]):
        assert (sample.image.shape, sample.image.dtype) == ((224, 224, 3), np.float32)
        assert (sample.labels.shape, sample.labels.dtype) == ((224, 224), np.int32)
        assert 0 <= sample.image.min() <= sample.image.max() <= 255
        assert np.array_equal(sample.image, np.rint(sample.image))
        assert sample.image.std() > 1
        assert sample.id == f"{domain}-224x224-s11-{index:05d}"
        assert sample.group == sample.id or domain in GROUP_SIZES
    kinds = {sample.modality for sample in samples[domain]}
    assert 2 <= len(kinds) < N
    assert all("/" in kind for kind in kinds)


@pytest.mark.parametrize("domain", INSTANCES)
def test_instances_are_numbered_without_gaps_and_whole(samples, domain):
    least = {"glands": tissue.MIN_GLAND, "histo": tissue.MIN_NUCLEUS}
    least = least.get(domain.split("-")[1], shapes.MIN_AREA)
    for sample in samples[domain]:
        assert sample.labels.any()
        for number, window in enumerate(ndimage.find_objects(sample.labels), start=1):
            mask = sample.labels[window] == number
            assert ndimage.label(mask)[1] == 1, f"{sample.id}: instance {number}"
            assert mask.sum() >= least


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_picture_depends_on_domain_seed_index_and_size_alone(samples, domain):
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        again = generate_sample(domain, N - 1, 11)
    finally:
        cv2.setNumThreads(threads)
    assert again.image.tobytes() == samples[domain][-1].image.tobytes()
    assert again.labels.tobytes() == samples[domain][-1].labels.tobytes()
    other = generate_sample(domain, N - 1, 12)
    assert other.id != again.id
    assert not np.array_equal(other.image, again.image)
    assert not np.array_equal(samples[domain][0].image, samples[domain][1].image)


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("size", [(64, 64), (65, 131)])
def test_any_size(domain, size):
    for index in range(4):
        assert generate_sample(domain, index, 5, size).image.shape == (*size, 3)


def test_size_changes_the_field_of_view_of_cells_and_the_resolution_of_hearts():
    def median_area(domain, size, n):
        labels = [generate_sample(domain, i, 2, size).labels for i in range(n)]
        areas = np.concatenate([np.bincount(one[20:-20, 20:-20].ravel())[1:] for one in labels])
        return np.median(areas[areas > 0])

    small = median_area("synthetic-histo", (160, 160), 24)
    assert median_area("synthetic-histo", (320, 320), 6) == pytest.approx(small, rel=0.5)
    shares = [
        np.mean([generate_sample(CARDIAC, i, 3, (side, side)).labels > 0 for i in range(12)])
        for side in (64, 160)
    ]
    assert shares[0] == pytest.approx(shares[1], rel=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("synthetic-moon", 0, 0), "synthetic-moon.*synthetic-cyto"),
        (("synthetic-cyto", 0, 0, (63, 224)), r"size=\(63, 224\).*at least 64"),
        (("synthetic-cyto", 0, 0, (224,)), r"\(height, width\)"),
        (("synthetic-cyto", -1, 0), "index=-1"),
        (("synthetic-cyto", 0, -7), "seed=-7"),
    ],
)
def test_unusable_requests_are_refused(arguments, message):
    with pytest.raises(DataError, match=message):
        generate_sample(*arguments)
    with pytest.raises(ParameterError, match="at least 64"):
        open_dataset("synthetic-glands", synthetic=SyntheticSpec(size=(48, 64)))


@pytest.mark.parametrize(("defaults", "kinds"), KINDS)
def test_ranges_are_ranges_of_known_quantities_and_shares_sum_to_one(defaults, kinds):
    assert sum(share for share, _ in kinds.values()) == pytest.approx(1)
    for name, (_, own) in kinds.items():
        assert set(own) <= set(defaults), name
        pairs = [v for v in {**defaults, **own}.values() if isinstance(v, tuple)]
        assert all(len(pair) == 2 and pair[0] <= pair[1] for pair in pairs), name


# ------------------------------------------------------------------------------ difficulty


@pytest.mark.parametrize("domain", [name for name in INSTANCES if "glands" not in name])
def test_a_threshold_does_not_find_the_objects(domain):
    found = [generate_sample(domain, i, 0) for i in range(20)]
    scores = [evaluate(s.labels, baseline_masks(s.image, s.labels)["Otsu"]).pq for s in found]
    assert np.nanmean(scores) < 0.35


@pytest.mark.parametrize("domain", ["synthetic-glands", "synthetic-glands-b", CARDIAC])
def test_no_threshold_of_all_pictures_solves_the_semantic_task(samples, domain):
    grey = np.stack([sample.image.mean(axis=2) for sample in samples[domain]])
    labels = np.stack([sample.labels for sample in samples[domain]])
    if domain not in CLASSES:
        labels = np.minimum(labels, 1)
    for number in range(1, labels.max() + 1):
        mask = labels == number
        every = 2 * mask.sum() / (mask.sum() + mask.size)
        for edge in np.percentile(grey, np.arange(5, 100, 5)):
            for found in (grey > edge, grey <= edge):
                dice = 2 * (found & mask).sum() / (found.sum() + mask.sum())
                assert dice < max(0.6, every + 0.1)


# ------------------------------------------------------------------------------ appearance


# Means over pictures; the real sets were measured: Cellpose cyto 30 instances per 224 x 224,
# diameter 31, foreground 0.45; MoNuSeg 18, 24 and 0.18; GlaS covers 0.49.
@pytest.mark.parametrize(
    ("domain", "count", "diameter", "foreground"),
    [
        ("synthetic-cyto", (15, 50), (20, 38), (0.25, 0.65)),
        ("synthetic-histo", (13, 55), (16, 30), (0.15, 0.45)),
        ("synthetic-histo-b", (13, 55), (16, 30), (0.15, 0.45)),
        ("synthetic-multi", (15, 80), (14, 32), (0.15, 0.55)),
        ("synthetic-glands", (3, 12), (40, 120), (0.25, 0.65)),
    ],
)
def test_statistics_are_near_those_of_real_sets(samples, domain, count, diameter, foreground):
    areas = [np.bincount(s.labels.ravel())[1:] for s in samples[domain]]
    means = [
        np.mean([len(a) for a in areas]),
        np.mean([2 * np.sqrt(a / np.pi).mean() for a in areas if len(a)]),
        np.mean([(s.labels > 0).mean() for s in samples[domain]]),
    ]
    for value, (low, high) in zip(means, (count, diameter, foreground), strict=True):
        assert low <= value <= high


def test_cells_are_bright_nuclei_red_and_blue_is_empty(samples):
    with_nuclei = 0
    for sample in samples["synthetic-cyto"]:
        red, green, blue = np.moveaxis(sample.image, 2, 0)
        inside = sample.labels > 0
        assert not blue.any()
        assert green[inside].mean() > green[~inside].mean() + 3
        if red.any():
            with_nuclei += 1
            bright = optics.blur(red, 1.5) > 0.6 * np.percentile(red[inside], 99)
            assert inside[bright].mean() > 0.8
    assert 0 < with_nuclei < N


@pytest.mark.parametrize("domain", ["synthetic-histo", "synthetic-histo-b"])
def test_stained_nuclei_are_dark_and_bluer_than_the_tissue(samples, domain):
    for sample in samples[domain]:
        inside = sample.labels > 0
        nuclei, rest = sample.image[inside].mean(0), sample.image[~inside].mean(0)
        assert nuclei.mean() < rest.mean() - 8
        # Eosin leaves red light, haematoxylin absorbs it most.
        assert nuclei[0] / nuclei[2] < rest[0] / rest[2]


def test_the_two_laboratories_differ_in_colour(samples):
    for home in ("synthetic-histo", "synthetic-glands"):
        ratio = [
            np.array([s.image[..., 0].mean() / s.image[..., 2].mean() for s in samples[name]])
            for name in (home, f"{home}-b")
        ]
        assert ratio[1].mean() - ratio[0].mean() > max(one.std() for one in ratio)


def test_only_stained_smears_are_coloured_in_the_mixture(samples):
    for sample in samples["synthetic-multi"]:
        assert (np.ptp(sample.image, axis=2).max() > 0) == sample.modality.endswith("smear")


def test_glands_are_of_both_grades_and_malignant_ones_less_convex():
    found = {"benign": [], "malignant": []}
    for index in range(16):
        sample = generate_sample("synthetic-glands", index, 0, (320, 320))
        regions = regionprops(clear_border(sample.labels))
        found[sample.modality.split("/")[0]] += [region.solidity for region in regions]
    assert min(map(len, found.values())) > 10
    assert np.median(found["benign"]) > np.median(found["malignant"]) + 0.01


# ------------------------------------------------------------------------------ hearts


def test_six_consecutive_slices_are_of_one_patient(samples):
    found = samples[CARDIAC]
    assert len({s.group for s in found[:6]}) == len({s.modality for s in found[:6]}) == 1
    assert found[0].group != found[6].group
    centres = [ndimage.center_of_mass(s.labels == cardiac.MUSCLE) for s in found]
    assert np.hypot(*np.subtract(centres[0], centres[1])) < 0.06 * 224
    dataset = open_dataset(CARDIAC, synthetic=SyntheticSpec(20, 3, (64, 64)))
    assert dataset.classes == cardiac.CLASSES
    parts = split_by_group([item.group for item in dataset.items], 0.3, rng())
    assert not {i // 6 for i in parts[0]} & {i // 6 for i in parts[1]}


def test_myocardium_surrounds_the_left_ventricle_and_blood_is_brighter(samples):
    cross = ndimage.generate_binary_structure(2, 1)
    for sample in samples[CARDIAC]:
        left, muscle = (sample.labels == k for k in (cardiac.LEFT, cardiac.MUSCLE))
        assert np.all(muscle[ndimage.binary_dilation(left, cross) & ~left])
        for number in (1, 2, 3):
            assert ndimage.label(sample.labels == number)[1] <= 1
        assert np.ptp(sample.image, axis=2).max() == 0
        blood = ndimage.binary_erosion(left, iterations=2)
        if blood.sum() > 100:
            assert sample.image[blood].mean() > 1.2 * sample.image[muscle].mean()


def test_ventricles_shrink_and_end_towards_the_apex():
    labels = np.stack([generate_sample(CARDIAC, i, 0, (64, 64)).labels for i in range(72)])
    areas = np.stack([(labels == k).sum(axis=(1, 2)).reshape(12, 6) for k in (1, 2, 3)])
    assert np.all(areas[:, :, 0] > 20)
    assert np.all(areas[:, :, 5] < 0.6 * areas[:, :, 1])
    ended = (areas == 0).mean(axis=(1, 2))
    assert ended[0] > ended[2] >= ended[1] > 0


# ------------------------------------------------------------------------------ shapes


def test_outlines_without_lobes_are_ellipses_of_the_asked_area():
    width = np.array([30.0, 30.0])
    one, turned = shapes.outlines(rng(), width, 2.0, np.array([0, np.pi / 2]), lobes=0)
    x, y = one.T
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    assert area == pytest.approx(np.pi * 15**2, rel=0.01)
    assert np.ptp(x) / np.ptp(y) == pytest.approx(2.0, rel=0.01)
    assert np.ptp(turned[:, 1]) / np.ptp(turned[:, 0]) == pytest.approx(2.0, rel=0.01)
    (spiny,) = shapes.outlines(rng(), width[:1], lobes=0, spikes=3)
    assert np.hypot(*spiny.T).max() > 1.3 * 15
    (rod,) = shapes.outlines(rng(), width[:1], lobes=0, rod=2.0)
    assert np.ptp(rod, axis=0) == pytest.approx([30 + 60, 30], rel=0.02)


def test_sprinkled_points_keep_their_distance_and_fill_the_plane():
    points = shapes.sprinkle(rng(), (200, 300), 15.0)
    assert pdist(points).min() >= 15.0
    assert len(points) > 0.5 * 200 * 300 / 15.0**2
    half = np.zeros((200, 300))
    assert len(shapes.sprinkle(rng(), (200, 300), 15.0, half)) == 0
    half[:, :150] = 1
    assert shapes.sprinkle(rng(), (200, 300), 15.0, half)[:, 0].max() < 150


def test_scatter_puts_the_first_in_front_and_leaves_out_the_hidden():
    square = np.array([[-10, -10], [10, -10], [10, 10], [-10, 10]], float)
    centres = np.array([[30, 30], [45, 30], [32, 30]], float)
    labels = shapes.scatter((64, 80), centres, np.stack([square] * 3), overlap=0.4)
    assert set(np.unique(labels)) == {0, 1, 2}
    assert (labels == 1).sum() == pytest.approx(21 * 21, abs=1)
    assert (labels == 2).sum() == pytest.approx(15 * 21, abs=1)


def test_swollen_cells_meet_at_the_midline():
    seeds = np.zeros((100, 100), np.int32)
    seeds[48:52, 28:32], seeds[48:52, 68:72] = 1, 2
    grown = shapes.swell(rng(), seeds, 200, ruffle=0.0)
    assert np.all(grown[:, :48] == 1)
    assert np.all(grown[:, 52:] == 2)


def test_finalise_keeps_the_largest_part_of_each_instance():
    labels = np.zeros((40, 40), np.int32)
    labels[2:10, 2:10] = 7
    labels[20:25, 2:8] = 7  # smaller part of the same instance
    labels[2:10, 20:30] = 3
    labels[30:33, 30:33] = 9  # below the least area
    labels[10, 10], labels[11, 11] = 5, 5  # touch by a corner only
    final = shapes.finalise(labels)
    assert sorted(np.bincount(final.ravel())[1:]) == [64, 80]
    assert final[5, 5] > 0 == final[22, 4]
    assert not shapes.finalise(np.zeros((8, 8), np.int32)).any()


def test_depth_counts_contact_lines_but_not_the_border_of_the_picture():
    labels = np.zeros((41, 60), np.int32)
    labels[10:21, 10:21], labels[10:21, 21:32], labels[30:41, 0:20] = 1, 2, 3
    inner = shapes.depth(labels)
    assert inner[15, [15, 26]] == pytest.approx(6, rel=0.05)
    assert inner[15, 20] == inner[15, 21] == inner[10, 15] == 1
    assert inner[40, 0] == pytest.approx(11, rel=0.05)
    assert np.array_equal(inner > 0, labels > 0)


# ------------------------------------------------------------------------------ optics


@pytest.mark.parametrize("scale", [3.0, 20.0])
@pytest.mark.parametrize("octaves", [1, 3])
def test_fields_are_of_unit_variance_smooth_over_their_scale_and_run_along_their_angle(
    scale, octaves
):
    fields = np.stack([optics.field(rng(k), (200, 200), scale, octaves) for k in range(20)])
    assert fields.mean() == pytest.approx(0, abs=0.1)
    assert fields.std() == pytest.approx(1, abs=0.12)
    far = int(3 * scale)
    assert abs((fields[:, far:] * fields[:, :-far]).mean()) < 0.1
    if octaves == 1:
        assert (fields[:, 1:] * fields[:, :-1]).mean() > 1 - 2 / scale
    down, across = np.gradient(optics.streaks(rng(), (200, 200), scale, 10 * scale, 0.0))
    assert np.abs(down).mean() > 4 * np.abs(across).mean()


def test_noise_has_the_variance_of_photons_and_electronics():
    noisy = optics.noise(rng(), np.full((500, 500), 50, np.float32), read=3.0, photons=2.0)
    assert noisy.mean() == pytest.approx(50, rel=0.01)
    assert noisy.var() == pytest.approx(9 + 25, rel=0.03)


def test_light_is_absorbed_by_beer_and_lambert():
    stains, white = np.array([[0.6, 0.7, 0.4], [0.2, 0.8, 0.5]]), np.array([240.0, 230.0, 220.0])
    one = optics.absorb([np.full((2, 2), 0.5), np.full((2, 2), 1.0)], stains, white)
    assert one[0, 0] == pytest.approx(white * np.exp(-(0.5 * stains[0] + stains[1])), rel=1e-5)


@pytest.mark.parametrize("sigma", [0.0, 1.5, 20.0])
def test_blur_keeps_the_sum_and_has_the_asked_width(sigma):
    image = np.zeros((201, 201), np.float32)
    image[100, 100] = 1000
    out = optics.blur(image, sigma)
    assert out.sum() == pytest.approx(1000, rel=0.02)
    width = np.sqrt((out.sum(axis=1) * (np.arange(201) - 100) ** 2).sum() / out.sum())
    assert width == pytest.approx(sigma, rel=0.12, abs=0.1)
