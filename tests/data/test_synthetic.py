"""Synthetic domains: exact labels, reproducible pictures, and pictures that look as they claim."""

import hashlib

import cv2
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import pdist

from helpers.data import synthetic
from helpers.data.synthetic import cyto, generate, generate_sample, multi, optics, shapes
from helpers.data.synthetic.shapes import Form
from helpers.errors import DataError

N = 24
# Glands take longer to paint; test_synthetic_glands looks at them more closely.
FEW = 10
# Those whose labels tell classes are tested in test_synthetic_semantic.
DOMAINS = [name for name in synthetic.DOMAINS if name not in synthetic.CLASSES]


@pytest.fixture(scope="module")
def samples():
    """Some pictures of each domain, made once."""
    return {domain: generate(domain, number(domain), seed=11) for domain in DOMAINS}


def number(domain):
    return FEW if domain.startswith("synthetic-glands") else N


def rng(seed=0):
    return np.random.default_rng(seed)


def polygon_area(points):
    x, y = points.T
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


# ------------------------------------------------------------------------------ contract


@pytest.mark.parametrize("domain", DOMAINS)
def test_shape_dtype_and_range(samples, domain):
    for sample in samples[domain]:
        assert sample.image.shape == (224, 224, 3)
        assert sample.image.dtype == np.float32
        assert sample.labels.dtype == np.int32
        assert sample.image.min() >= 0
        assert sample.image.max() <= 255
        assert np.array_equal(sample.image, np.rint(sample.image))
        assert sample.image.std() > 1
        assert sample.group == sample.id
        assert sample.modality
    assert len({sample.id for sample in samples[domain]}) == number(domain)


@pytest.mark.parametrize("domain", DOMAINS)
def test_labels_are_contiguous_connected_and_no_slivers(samples, domain):
    for sample in samples[domain]:
        k = sample.labels.max()
        assert np.array_equal(np.unique(sample.labels), np.arange(k + 1))
        for i, window in enumerate(ndimage.find_objects(sample.labels), start=1):
            mask = sample.labels[window] == i
            assert ndimage.label(mask)[1] == 1, f"{sample.id}: instance {i} is in several parts"
            assert mask.sum() >= shapes.MIN_AREA


@pytest.mark.parametrize("domain", DOMAINS)
def test_picture_depends_on_domain_seed_index_and_size_alone(samples, domain):
    alone = generate_sample(domain, number(domain) - 1, seed=11)
    assert alone.image.tobytes() == samples[domain][-1].image.tobytes()
    assert alone.labels.tobytes() == samples[domain][-1].labels.tobytes()
    assert alone.id == samples[domain][-1].id
    other = generate_sample(domain, number(domain) - 1, seed=12)
    assert other.id != alone.id
    assert not np.array_equal(other.image, alone.image)
    assert not np.array_equal(samples[domain][0].image, samples[domain][1].image)


@pytest.mark.parametrize(
    ("size", "digest"),
    [
        ((224, 224), "a5fb746b1cf85b6a79a594435a9fa5f3f4687d5abe4d07a0c1b5c44a5739add8"),
        ((96, 160), "5ee151e8ccdfbda187941ee681f40c8c927f3ed7cdb52e42912f4826a3d3175d"),
    ],
)
def test_pictures_of_histo_are_those_from_before_it_had_a_second_laboratory(size, digest):
    found = hashlib.sha256()
    for sample in generate("synthetic-histo", 6, seed=0, size=size):
        found.update(sample.image.astype(np.uint8).tobytes())
        found.update(sample.labels.tobytes())
        found.update(sample.id.encode())
    assert found.hexdigest() == digest


def test_threads_of_cv2_do_not_change_the_picture(samples):
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        again = generate_sample("synthetic-histo", 0, seed=11)
    finally:
        cv2.setNumThreads(threads)
    assert again.image.tobytes() == samples["synthetic-histo"][0].image.tobytes()


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("size", [(64, 64), (65, 131), (301, 97)])
def test_any_size(domain, size):
    for sample in generate(domain, 3, seed=5, size=size):
        assert sample.image.shape == (*size, 3)


@pytest.mark.parametrize("domain", [name for name in DOMAINS if number(name) == N])
def test_size_changes_the_field_of_view_and_not_the_magnification(domain):
    def median_diameter(size, n):
        areas = [
            np.bincount(s.labels[20:-20, 20:-20].ravel())[1:]
            for s in generate(domain, n, seed=2, size=size)
        ]
        areas = np.concatenate([a[a > 0] for a in areas])
        return np.median(2 * np.sqrt(areas / np.pi))

    assert median_diameter((320, 448), 12) == pytest.approx(
        median_diameter((192, 192), 30), rel=0.3
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: generate_sample("synthetic-moon", 0, 0), "synthetic-moon.*synthetic-cyto"),
        (lambda: generate_sample("synthetic-cyto", 0, 0, (63, 224)), "63.*at least 64"),
        (lambda: generate_sample("synthetic-cyto", 0, 0, (224,)), r"\(height, width\)"),
        (lambda: generate_sample("synthetic-cyto", -1, 0), "index=-1"),
        (lambda: generate_sample("synthetic-cyto", 0, -7), "seed=-7"),
        (lambda: generate("synthetic-cyto", 0, 0), "n=0.*at least 1"),
        (lambda: generate("synthetic-moon", 2, 0), "synthetic-moon"),
    ],
)
def test_unusable_requests_are_refused(call, message):
    with pytest.raises(DataError, match=message):
        call()


# ------------------------------------------------------------------------------ appearance


# Ranges of the means over pictures; the real sets were measured: Cellpose cyto 4 to 87 instances
# per 224 x 224, diameter 14 to 53, foreground 0.07 to 0.93; MoNuSeg 13 to 24, 19 to 30, 0.10 to
# 0.29 (means over pictures of 30, 31, 0.45 and 18, 24, 0.18).
@pytest.mark.parametrize(
    ("domain", "count", "diameter", "foreground"),
    [
        ("synthetic-cyto", (15, 50), (22, 38), (0.25, 0.6)),
        ("synthetic-histo", (13, 40), (17, 27), (0.1, 0.3)),
        ("synthetic-histo-b", (13, 40), (17, 27), (0.1, 0.3)),
        ("synthetic-multi", (15, 60), (14, 32), (0.1, 0.45)),
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


def test_cyto_cells_are_bright_and_blue_is_empty(samples):
    margins = []  # of pictures with both; some sheets fill the picture
    for sample in samples["synthetic-cyto"]:
        inside = sample.labels > 0
        assert not sample.image[..., 2].any()
        if 0.02 < inside.mean() < 0.98:
            green = sample.image[..., 1]
            margins.append(green[inside].mean() - green[~inside].mean())
    assert min(margins) > 3
    assert np.mean(margins) > 20


def test_cyto_red_channel_lies_within_cells_or_is_empty(samples):
    with_nuclei = 0
    for sample in samples["synthetic-cyto"]:
        red = sample.image[..., 0]
        if not red.any():
            continue
        with_nuclei += 1
        bright = optics.blur(red, 1.0) > 0.5 * np.percentile(red[sample.labels > 0], 98)
        assert (sample.labels[bright] > 0).mean() > 0.95
    assert 0 < with_nuclei < N


@pytest.mark.parametrize("name", cyto.ARCHETYPES)
def test_every_cyto_archetype_occurs_and_states_known_ranges(name):
    share, layout, ranges = cyto.ARCHETYPES[name]
    assert share > 0.05
    assert layout in {"scatter", "grow", "sheet"}
    assert all(low <= high for low, high in ranges.values())
    assert set(ranges) <= set(cyto._DEFAULTS)


def test_pictures_of_a_domain_are_both_alike_and_different(samples):
    for domain in DOMAINS:
        kinds = [sample.modality for sample in samples[domain]]
        assert 4 <= len(set(kinds)) < number(domain)


@pytest.mark.parametrize(
    ("domain", "contrast"), [("synthetic-histo", 45), ("synthetic-histo-b", 30)]
)
def test_histo_nuclei_are_dark_and_bluer_than_the_tissue(samples, domain, contrast):
    margins = []
    for sample in samples[domain]:
        inside = sample.labels > 0
        nuclei, tissue = sample.image[inside].mean(0), sample.image[~inside].mean(0)
        margins.append(tissue.mean() - nuclei.mean())
        # Eosin leaves red light, haematoxylin absorbs it most.
        assert nuclei[0] / nuclei[2] < tissue[0] / tissue[2]
    assert min(margins) > 15
    assert np.mean(margins) > contrast


@pytest.mark.parametrize("name", multi.MODALITIES)
def test_contrast_of_each_modality_is_as_declared(name):
    modality = multi.MODALITIES[name]
    differences = []
    for seed in range(4):
        image, labels = modality.paint(rng(seed), (224, 224))
        grey = image.mean(axis=2) - ndimage.gaussian_filter(image.mean(axis=2), 60)
        outside = ndimage.distance_transform_edt(labels == 0)
        inside, far, near = labels > 0, outside > 8, (outside >= 1) & (outside < 3)
        differences.append(
            {
                "bright": grey[inside].mean() - grey[far].mean() - 10,
                "dark": grey[far].mean() - grey[inside].mean() - 10,
                "dark rim": grey[far].mean()
                - grey[inside & (shapes.depth(labels) <= 2)].mean()
                - 8,
                "halo": grey[near].mean() - grey[far].mean() - 5,
                "relief": grey[inside].std() - 1.8 * grey[far].std(),
            }[modality.contrast]
        )
    assert min(differences) > 0


def test_multi_has_all_contrasts_and_shares_sum_to_one():
    assert {m.contrast for m in multi.MODALITIES.values()} == set(multi.Contrast.__args__)
    assert len(multi.MODALITIES) >= 5
    assert sum(m.share for m in multi.MODALITIES.values()) == pytest.approx(1)


# ------------------------------------------------------------------------------ shapes


def test_outline_without_lobes_is_an_ellipse_of_the_asked_area():
    points = shapes.outline(rng(), 30, Form(elongation=2.0, lobes=0), angle=0.0)
    assert polygon_area(points) == pytest.approx(np.pi * 15**2, rel=0.01)
    assert np.ptp(points[:, 0]) / np.ptp(points[:, 1]) == pytest.approx(2.0, rel=0.01)
    turned = shapes.outline(rng(), 30, Form(elongation=2.0, lobes=0), angle=np.pi / 2)
    assert np.ptp(turned[:, 1]) / np.ptp(turned[:, 0]) == pytest.approx(2.0, rel=0.01)


def test_processes_reach_out_of_the_body():
    plain = shapes.outline(rng(), 30, Form(lobes=0))
    spiny = shapes.outline(rng(), 30, Form(lobes=0, protrusions=3, reach=2.0))
    assert np.hypot(*spiny.T).max() > 1.4 * np.hypot(*plain.T).max()


@pytest.mark.parametrize("bend", [0.0, 1.0])
def test_rod_area(bend):
    points = shapes.rod(rng(), 40, 8, bend)
    assert polygon_area(points) == pytest.approx(32 * 8 + np.pi * 4**2, rel=0.02)


def test_sprinkled_points_keep_their_distance_and_fill_the_plane():
    points = shapes.sprinkle(rng(), (200, 300), 15.0)
    assert pdist(points).min() >= 15.0
    assert len(points) > 0.5 * 200 * 300 / 15.0**2
    assert len(shapes.sprinkle(rng(), (200, 300), 15.0, np.zeros((200, 300)))) == 0
    half = np.zeros((200, 300))
    half[:, :150] = 1
    assert shapes.sprinkle(rng(), (200, 300), 15.0, half)[:, 0].max() < 150


def test_scatter_puts_the_first_in_front_and_leaves_out_the_hidden():
    square = np.array([[-10, -10], [10, -10], [10, 10], [-10, 10]], float)
    centres = np.array([[30, 30], [45, 30], [32, 30]], float)
    labels = shapes.scatter((64, 80), centres, [square] * 3, overlap=0.4)
    assert set(np.unique(labels)) == {0, 1, 2}
    assert (labels == 1).sum() == pytest.approx(21 * 21, abs=1)
    assert (labels == 2).sum() == pytest.approx(15 * 21, abs=1)


def test_grown_cells_are_discs_when_free_and_part_at_the_midline_when_not():
    disc = Form(lobes=0)
    free = shapes.grow(rng(), (100, 100), np.array([[50.0, 50.0]]), np.array([20.0]), disc, 0)
    assert free.astype(bool).sum() == pytest.approx(np.pi * 20**2, rel=0.06)
    pair = np.array([[30.0, 50.0], [70.0, 50.0]])
    sheet = shapes.grow(rng(), (100, 100), pair, np.full(2, np.inf), disc, ruffle=0)
    assert np.all(sheet[:, :48] == 1)
    assert np.all(sheet[:, 53:] == 2)


def test_finalise_keeps_the_largest_part_of_each_instance():
    labels = np.zeros((40, 40), np.int32)
    labels[2:10, 2:10] = 7
    labels[20:25, 2:8] = 7  # smaller part of the same instance
    labels[2:10, 20:30] = 3
    labels[30:33, 30:33] = 9  # below the least area
    labels[10, 10], labels[11, 11] = 5, 5  # touch by a corner only
    final = shapes.finalise(labels)
    assert final.dtype == np.int32
    assert sorted(np.bincount(final.ravel())[1:]) == [64, 80]
    assert final[5, 5] > 0
    assert final[22, 4] == 0
    assert not shapes.finalise(np.zeros((8, 8), np.int32)).any()


def test_depth_counts_contact_lines_but_not_the_border_of_the_picture():
    labels = np.zeros((41, 60), np.int32)
    labels[10:21, 10:21] = 1
    labels[10:21, 21:32] = 2
    labels[30:41, 0:20] = 3
    inner = shapes.depth(labels)
    assert inner[15, 15] == pytest.approx(6, rel=0.05)
    assert inner[15, 26] == pytest.approx(6, rel=0.05)
    assert inner[15, 20] == inner[15, 21] == inner[10, 15] == 1
    assert inner[40, 0] == pytest.approx(11, rel=0.05)
    assert np.array_equal(inner > 0, labels > 0)


@pytest.mark.parametrize("angle", [-1.2, 0.0, 0.7])
def test_measures_of_an_ellipse(angle):
    shape = shapes.outline(rng(), 40, Form(elongation=2.5, lobes=0), angle)
    labels = shapes.finalise(shapes.scatter((120, 120), np.array([[60.0, 60.0]]), [shape], 0))
    cells = shapes.measure(labels, shapes.depth(labels))
    assert np.sin(cells.angle[0] - angle) == pytest.approx(0, abs=0.03)
    assert cells.elongation[0] == pytest.approx(2.5, rel=0.05)
    assert cells.area[0] == pytest.approx(np.pi * 20**2, rel=0.06)
    assert cells.thickness[0] == pytest.approx(20 / np.sqrt(2.5), rel=0.12)
    assert np.linalg.norm(cells.core[0] - 60) < 16


def test_nuclei_lie_within_their_own_cells():
    for seed in range(6):
        generator = rng(seed)
        centres = shapes.sprinkle(generator, (224, 224), 30)
        radii = generator.uniform(12, 22, len(centres))
        labels = shapes.finalise(shapes.grow(generator, (224, 224), centres, radii, Form(1.3, 0.2)))
        inner = shapes.depth(labels)
        cores = shapes.nuclei(generator, labels, inner, shapes.measure(labels, inner), 0.5, 30)
        inside = cores > 0
        assert np.array_equal(cores[inside], labels[inside])
        assert inner[inside].min() > 1.5
        assert len(np.unique(cores[inside])) > 0.8 * labels.max()


# ------------------------------------------------------------------------------ optics


@pytest.mark.parametrize("scale", [1.5, 3.0, 6.0, 20.0, 50.0])
def test_fields_have_unit_variance_and_the_asked_length(scale):
    values = np.concatenate([optics.field(rng(s), (300, 400), scale) for s in range(8)])
    assert values.mean() == pytest.approx(0, abs=0.15)
    assert values.std() == pytest.approx(1, rel=0.2)
    far = max(round(3 * scale), 1)
    near = max(round(scale / 3), 1)
    centred = values - values.mean()

    def correlation(lag):
        return (centred[:, lag:] * centred[:, :-lag]).mean() / values.var()

    assert abs(correlation(far)) < 0.25
    assert correlation(near) > 0.5 or near > scale / 2


def test_fibres_run_along_their_angle():
    streaks = optics.fibres(rng(), (300, 300), 3.0, 40.0, angle=0.0)
    down, across = np.gradient(streaks)
    assert np.abs(down).mean() > 4 * np.abs(across).mean()


def test_shot_noise_has_poisson_mean_and_variance():
    for grey, photons in ((2.0, 1.0), (20.0, 1.0), (50.0, 0.5), (50.0, 4.0)):
        noisy = optics.shot_noise(rng(), np.full((500, 500), grey, np.float32), photons, read=0.0)
        assert noisy.mean() == pytest.approx(grey, rel=0.03)
        assert noisy.var() == pytest.approx(grey / photons, rel=0.12)
        assert noisy.min() >= 0


def test_light_is_absorbed_by_beer_and_lambert():
    stains = np.array([[0.6, 0.7, 0.4], [0.2, 0.8, 0.5]])
    white = np.array([240.0, 230.0, 220.0])
    one = optics.absorb([np.full((2, 2), 0.5), np.full((2, 2), 1.0)], stains, white)
    two = optics.absorb([np.full((2, 2), 1.0), np.full((2, 2), 2.0)], stains, white)
    assert one[0, 0] == pytest.approx(white * np.exp(-(0.5 * stains[0] + stains[1])), rel=1e-5)
    assert (two / white) == pytest.approx((one / white) ** 2, rel=1e-4)


@pytest.mark.parametrize("sigma", [0.0, 1.5, 7.0, 20.0])
def test_blur_keeps_the_sum_and_has_the_asked_width(sigma):
    image = np.zeros((201, 201), np.float32)
    image[100, 100] = 1000
    out = optics.blur(image, sigma)
    assert out.sum() == pytest.approx(1000, rel=0.02)
    y = np.arange(201) - 100
    width = np.sqrt((out.sum(axis=1) * y**2).sum() / out.sum())
    assert width == pytest.approx(sigma, rel=0.12, abs=0.1)


def test_jpeg_keeps_the_order_of_channels():
    image = np.full((64, 64, 3), (200.0, 100.0, 30.0), np.float32)
    assert optics.jpeg(image, 90).mean(axis=(0, 1)) == pytest.approx([200, 100, 30], abs=3)


def test_labels_survive_displacement_by_whole_pixels():
    labels = np.arange(1, 101, dtype=np.int32).reshape(10, 10)
    shift = np.ones((10, 10), np.float32)
    moved = optics.displace(labels, shift, 0 * shift)
    assert moved.dtype == np.int32
    assert np.array_equal(moved[:, :-1], labels[:, 1:])
