"""Generated organs: labels that are classes, anatomy that holds, tasks that no threshold solves."""

import cv2
import numpy as np
import pytest
from scipy import ndimage

from helpers.data.check import check_all
from helpers.data.datasets import SyntheticSpec, open_dataset
from helpers.data.manifest import load_manifest
from helpers.data.splits import split_by_group
from helpers.data.synthetic import (
    CLASSES,
    DOMAINS,
    GROUP_SIZES,
    anatomy,
    cardiac,
    chest,
    fundus,
    generate,
    generate_sample,
    shapes,
)
from helpers.doctor import GENERATED
from helpers.errors import NoLabelsError, ParameterError

N = 18
SIZE = (80, 80)
SEMANTIC = list(CLASSES)
CARDIAC, FUNDUS, CHEST = "synthetic-cardiac", "synthetic-fundus", "synthetic-chest"
# The four neighbours of a pixel and itself.
CROSS = ndimage.generate_binary_structure(2, 1)


@pytest.fixture(scope="module")
def samples():
    """Some pictures of each domain, made once."""
    return {domain: generate(domain, N, seed=11, size=SIZE) for domain in SEMANTIC}


def rng(seed=0):
    return np.random.default_rng(seed)


# ------------------------------------------------------------------------------ contract


def test_the_domains_are_those_of_the_manifest():
    entries = load_manifest().entries
    generated = [name for name, entry in entries.items() if entry.kind == "synthetic"]
    assert [*DOMAINS, "synthetic-natural", "synthetic-objects"] == generated == list(GENERATED)
    assert [CARDIAC, FUNDUS, CHEST] == SEMANTIC


@pytest.mark.parametrize("domain", SEMANTIC)
def test_shape_dtype_range_and_values(samples, domain):
    for sample in samples[domain]:
        assert sample.image.shape == (*SIZE, 3)
        assert sample.image.dtype == np.float32
        assert 0 <= sample.image.min() < sample.image.max() <= 255
        assert np.array_equal(sample.image, np.rint(sample.image))
        assert sample.image.std() > 5
        assert sample.labels.dtype == np.int32
        assert set(np.unique(sample.labels)) <= set(range(len(CLASSES[domain]) + 1))
    assert len({sample.id for sample in samples[domain]}) == N


@pytest.mark.parametrize("domain", SEMANTIC)
def test_every_class_occurs_and_background_prevails(samples, domain):
    labels = np.stack([sample.labels for sample in samples[domain]])
    for k in range(1, len(CLASSES[domain]) + 1):
        assert (labels == k).any(axis=(1, 2)).mean() > 0.3, CLASSES[domain][k - 1]
    assert 0.002 < (labels > 0).mean() < 0.25


@pytest.mark.parametrize("domain", SEMANTIC)
def test_no_stray_pixels(samples, domain):
    for sample in samples[domain]:
        for k in range(1, len(CLASSES[domain]) + 1):
            parts, count = ndimage.label(sample.labels == k)
            areas = np.bincount(parts.ravel())[1:]
            assert count <= (10 if domain == CHEST else 1), (sample.id, k)
            assert all(areas >= (shapes.MIN_AREA if domain == CHEST else 6))


@pytest.mark.parametrize("domain", SEMANTIC)
def test_picture_depends_on_domain_seed_index_and_size_alone(samples, domain):
    alone = generate_sample(domain, N - 1, seed=11, size=SIZE)
    assert alone.image.tobytes() == samples[domain][-1].image.tobytes()
    assert alone.labels.tobytes() == samples[domain][-1].labels.tobytes()
    assert (alone.id, alone.group) == (samples[domain][-1].id, samples[domain][-1].group)
    other = generate_sample(domain, N - 1, seed=12, size=SIZE)
    assert not np.array_equal(other.image, alone.image)
    pictures = {sample.image.tobytes() for sample in samples[domain]}
    assert len(pictures) == N


@pytest.mark.parametrize("domain", SEMANTIC)
def test_threads_of_cv2_do_not_change_the_picture(samples, domain):
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        again = generate_sample(domain, 0, seed=11, size=SIZE)
    finally:
        cv2.setNumThreads(threads)
    assert again.image.tobytes() == samples[domain][0].image.tobytes()


@pytest.mark.parametrize("domain", SEMANTIC)
@pytest.mark.parametrize("size", [(64, 64), (65, 131), (201, 97)])
def test_any_size(domain, size):
    for sample in generate(domain, 3, seed=5, size=size):
        assert sample.image.shape == (*size, 3)
        assert sample.labels.shape == size


@pytest.mark.parametrize("domain", SEMANTIC)
def test_organs_scale_with_the_picture(domain):
    def cover(side):
        return np.mean([(s.labels > 0).mean() for s in generate(domain, 12, 3, (side, side))])

    if domain == CARDIAC:  # the same patients at both sizes
        assert cover(64) == pytest.approx(cover(160), rel=0.05)
    else:
        assert cover(64) == pytest.approx(cover(160), rel=0.9)


def test_what_is_grey_has_equal_channels_and_the_retina_is_red(samples):
    for domain in (CARDIAC, CHEST):
        for sample in samples[domain]:
            assert np.ptp(sample.image, axis=2).max() == 0
    for sample in samples[FUNDUS]:
        red, green, blue = sample.image[sample.image.sum(axis=2) > 90].mean(axis=0)
        assert red > 1.2 * green > 1.2 * blue


@pytest.mark.parametrize(
    ("domain", "prefix", "kinds"),
    [(CARDIAC, "mri/", 2), (FUNDUS, "fundus/", 3), (CHEST, "x-ray/", 3)],
)
def test_modality_tells_the_kind(samples, domain, prefix, kinds):
    found = {sample.modality for sample in samples[domain]}
    assert all(kind.startswith(prefix) for kind in found)
    assert len(found) >= kinds


# ------------------------------------------------------------------------------ groups


def test_six_consecutive_slices_are_of_one_patient(samples):
    assert GROUP_SIZES == {CARDIAC: 6}
    groups = [sample.group for sample in samples[CARDIAC]]
    assert [groups.index(group) // 6 for group in groups] == [i // 6 for i in range(N)]
    assert len(set(groups)) == N // 6
    for domain in (FUNDUS, CHEST):
        assert all(sample.group == sample.id for sample in samples[domain])


def test_slices_of_a_patient_share_their_anatomy(samples):
    centres = np.array(
        [
            ndimage.center_of_mass(samples[CARDIAC][i + k].labels == cardiac.MUSCLE)
            for i in range(0, N, 6)
            for k in (0, 1)
        ]
    ).reshape(-1, 2, 2)
    within = np.linalg.norm(centres[:, 0] - centres[:, 1], axis=1)
    between = np.linalg.norm(centres[1:, 0] - centres[:-1, 0], axis=1)
    assert within.max() < 0.04 * SIZE[0] < between.max()
    kinds = [sample.modality for sample in samples[CARDIAC]]
    assert all(len(set(kinds[i : i + 6])) == 1 for i in range(0, N, 6))


def test_a_split_by_group_keeps_patients_apart():
    dataset = open_dataset(CARDIAC, synthetic=SyntheticSpec(20, 3, (64, 64)))
    assert dataset.classes == cardiac.CLASSES
    groups = [item.group for item in dataset.items]
    assert len(set(groups)) == 4
    train, test = split_by_group(groups, 0.3, rng())
    patients = [{i // 6 for i in part} for part in (train, test)]
    assert not patients[0] & patients[1]
    assert [dataset.read(dataset.items[i]).group for i in (0, 7)] == [groups[0], groups[7]]
    assert groups[0] != groups[7]


@pytest.mark.parametrize("domain", [FUNDUS, CHEST])
def test_items_of_other_domains_are_groups_of_their_own(domain):
    items = open_dataset(domain, synthetic=SyntheticSpec(5)).items
    assert [item.group for item in items] == [item.id for item in items]


# ------------------------------------------------------------------------------ heart


def hearts(count, size=(64, 64)):
    """Labels of some patients' slices, without painting them: (patients, slices, h, w)."""
    out = []
    for k in range(count):
        body = cardiac.draw_patient(rng(k))
        levels = [body.first + i * body.step for i in range(cardiac.SLICES)]
        out.append([cardiac.classes(cardiac.cut(body, level, size)) for level in levels])
    return np.array(out)


@pytest.mark.parametrize("size", [(64, 64), (96, 130)])
def test_myocardium_surrounds_the_left_ventricle(size):
    for labels in hearts(12, size).reshape(-1, *size):
        left = labels == cardiac.LEFT
        around = ndimage.binary_dilation(left, CROSS) & ~left
        assert np.all(labels[around] == cardiac.MUSCLE)
        assert np.array_equal(ndimage.binary_fill_holes(left), left)
        muscle = labels == cardiac.MUSCLE
        assert ndimage.label(muscle)[1] <= 1
        assert np.array_equal(ndimage.binary_fill_holes(muscle), muscle | left)


def test_the_right_ventricle_leans_on_the_septum_and_lies_on_the_left_of_the_picture():
    for labels in hearts(12)[:, 0]:
        right, muscle = labels == cardiac.RIGHT, labels == cardiac.MUSCLE
        contact = ndimage.binary_dilation(right, CROSS) & muscle
        assert contact.sum() > 5
        assert not (ndimage.binary_dilation(right, CROSS) & (labels == cardiac.LEFT)).any()
        assert ndimage.center_of_mass(right)[1] < ndimage.center_of_mass(muscle)[1]


def test_ventricles_shrink_and_end_towards_the_apex():
    labels = hearts(24)
    for k in (cardiac.RIGHT, cardiac.LEFT):
        area = (labels == k).sum(axis=(2, 3))
        # Near the base the wall of the left one thins faster than its radius shrinks.
        assert np.all(area[:, 1:] <= np.maximum(1.15 * area[:, :-1], 12))
        assert np.all(area[:, 5] < 0.6 * area[:, 2])
        assert np.all(area[:, 0] > 20)
    absent = [(labels == k).sum(axis=(2, 3)) == 0 for k in (1, 2, 3)]
    assert absent[0].mean() > absent[2].mean() > absent[1].mean() > 0.02
    assert not (absent[1] & ~absent[2]).any()


def test_beyond_the_apex_there_is_no_heart():
    body = cardiac.draw_patient(rng())
    assert not cardiac.classes(cardiac.cut(body, 1.05, (64, 64))).any()


def test_a_patient_is_the_same_at_any_resolution():
    body = cardiac.draw_patient(rng(4))
    fine = cardiac.classes(cardiac.cut(body, 0.2, (256, 256)))
    coarse = cardiac.classes(cardiac.cut(body, 0.2, (64, 64)))
    enlarged = np.kron(coarse, np.ones((4, 4), np.int32))
    for k in (1, 2, 3):
        both = ((fine == k) & (enlarged == k)).sum()
        assert 2 * both / ((fine == k).sum() + (enlarged == k).sum()) > 0.85


def test_blood_is_brighter_than_muscle(samples):
    for sample in samples[CARDIAC]:
        grey, muscle = sample.image[..., 0], sample.labels == cardiac.MUSCLE
        blood = ndimage.binary_erosion(sample.labels == cardiac.LEFT)
        if blood.sum() > 20:
            assert grey[blood].mean() > 1.2 * grey[muscle].mean()


def test_kinds_of_patients_have_shares_that_sum_to_one():
    for table in (cardiac.KINDS, chest.PATTERNS):
        assert sum(row[0] for row in table.values()) == pytest.approx(1)


# ------------------------------------------------------------------------------ retina


def test_the_optic_disc_lies_in_the_field_of_view_and_is_seen_there(samples):
    contrast = []
    for sample in samples[FUNDUS]:
        seen = ndimage.binary_opening(sample.image.sum(axis=2) > 30, iterations=2)
        disc = sample.labels == 1
        assert disc.any()
        assert seen[disc].mean() > 0.98
        ring = ndimage.binary_dilation(disc, iterations=4) & ~disc & seen
        contrast.append(sample.image[disc][:, 1].mean() - sample.image[ring][:, 1].mean())
    assert np.mean(np.array(contrast) > 0) > 0.9
    assert np.mean(contrast) > 15


def test_corners_of_the_photograph_are_black(samples):
    for sample in samples[FUNDUS]:
        assert sample.image[:4, :4].max() < 40


def test_the_optic_disc_is_round_and_of_the_drawn_size():
    for seed in range(12):
        eye = fundus.Eye.draw(rng(seed))
        disc = fundus.disc_distance(eye, (200, 200)) < 0
        assert disc.sum() / 200**2 == pytest.approx(np.pi * eye.radius**2, rel=0.1)
        assert np.hypot(*eye.disc) + eye.radius < eye.field
        apart = np.hypot(eye.disc[0] - eye.macula[0], eye.disc[1] - eye.macula[1])
        assert 3.5 < apart / eye.radius < 6  # about two and a half disc diameters


# ------------------------------------------------------------------------------ chest


def test_infection_lies_within_the_lungs():
    infected = 0
    for seed in range(25):
        _, labels, modality = chest.paint(rng(seed), (64, 64))
        # The painter draws the chest first.
        lungs = chest.lung_distance(chest.Thorax.draw(rng(seed)), (64, 64)) < 0
        assert np.all(lungs[labels == 1])
        assert (modality == "x-ray/clear") == (not labels.any())
        infected += labels.any()
    assert 5 < infected < 22


def test_lungs_are_two_dark_fields_beside_the_midline():
    for seed in range(8):
        image, labels, _ = chest.paint(rng(seed), (96, 96))
        thorax = chest.Thorax.draw(rng(seed))
        distance = chest.lung_distance(thorax, (96, 96))
        lungs = distance < 0
        parts, _ = ndimage.label(lungs)
        assert (np.bincount(parts.ravel())[1:] > 300).sum() == 2
        middle = round(48 + 96 * thorax.midline)
        assert not lungs[:, middle - 1 : middle + 1].any()
        clear = (distance < -0.03) & ~ndimage.binary_dilation(labels == 1, iterations=4)
        tissue = image[..., 0][(distance > 0.03) & (distance < 0.08)]
        assert image[..., 0][clear].mean() < 0.75 * tissue.mean()


def test_infected_lung_is_brighter_than_clear_lung():
    margins = []
    for seed in range(25):
        image, labels, _ = chest.paint(rng(seed), (64, 64))
        lungs = chest.lung_distance(chest.Thorax.draw(rng(seed)), (64, 64)) < -0.03
        ill = labels == 1
        well = lungs & ~ndimage.binary_dilation(ill, iterations=3)
        if ill.any() and well.sum() > 30:
            margins.append(image[..., 0][ill].mean() - image[..., 0][well].mean())
    assert np.mean(margins) > 20
    assert np.mean(np.array(margins) > 5) > 0.85


def test_about_the_stated_share_is_clear(samples):
    clear = np.mean([not sample.labels.any() for sample in samples[CHEST]])
    (quirk,) = (q for q in load_manifest().entry(CHEST).quirks if "no infection" in q)
    assert f"{chest.CLEAR:.0%}" in quirk.replace(" %", "%")
    assert abs(clear - chest.CLEAR) < 3 * np.sqrt(chest.CLEAR * (1 - chest.CLEAR) / N)


# ------------------------------------------------------------------------------ difficulty


def best_threshold_dice(images, masks):
    """Dice of the best single threshold on one channel, either side, for all pictures at once."""
    best = 0.0
    for channel in range(3):
        grey = np.rint(images[..., channel]).astype(int).ravel()
        inside = np.bincount(grey[masks.ravel()], minlength=256)
        total = np.bincount(grey, minlength=256)
        for hits, area in (
            (np.cumsum(inside), np.cumsum(total)),
            (np.cumsum(inside[::-1]), np.cumsum(total[::-1])),
        ):
            best = max(best, float((2 * hits / (area + masks.sum())).max()))
    return best


def test_the_threshold_oracle_finds_what_a_threshold_can_find():
    images = np.zeros((1, 8, 8, 3), np.float32)
    masks = np.zeros((1, 8, 8), bool)
    masks[0, 2:5, 2:5] = True
    images[masks] = 100
    assert best_threshold_dice(images, masks) == 1


@pytest.mark.parametrize("domain", SEMANTIC)
def test_no_threshold_solves_the_task(samples, domain):
    images = np.stack([sample.image for sample in samples[domain]])
    labels = np.stack([sample.labels for sample in samples[domain]])
    for k, name in enumerate(CLASSES[domain], start=1):
        assert best_threshold_dice(images, labels == k) < 0.55, name


@pytest.mark.parametrize("domain", SEMANTIC)
def test_the_place_alone_does_not_solve_the_task(samples, domain):
    labels = np.stack([sample.labels for sample in samples[domain]])
    for k, name in enumerate(CLASSES[domain], start=1):
        masks = labels == k
        often = masks.mean(axis=0)
        best = max(
            2 * masks[:, often >= share].sum() / ((often >= share).sum() * N + masks.sum())
            for share in np.linspace(0.02, 0.98, 49)
        )
        assert best < 0.75, name


# ------------------------------------------------------------------------------ parts


@pytest.mark.parametrize("size", [(64, 64), (50, 80)])
def test_grid_counts_in_shorter_sides_from_the_middle(size):
    x, y = anatomy.grid(size)
    assert x.mean() == pytest.approx(0, abs=1e-6)
    assert y.mean() == pytest.approx(0, abs=1e-6)
    assert x[0, 1] - x[0, 0] == pytest.approx(1 / min(size), rel=1e-4)
    assert y[1, 0] - y[0, 0] == pytest.approx(1 / min(size), rel=1e-4)


def test_distance_to_a_circle_is_exact_and_to_an_ellipse_at_its_outline():
    x, y = anatomy.grid((120, 120))
    radius = np.hypot(x - 0.1, y + 0.05)
    circle = anatomy.ellipse(x, y, (0.1, -0.05), (0.3, 0.3), 0.7)
    assert np.abs(circle - (radius - 0.3)).max() < 1e-4
    inside = anatomy.ellipse(x, y, (0, 0), (0.4, 0.2), 0.5) < 0
    assert inside.mean() == pytest.approx(np.pi * 0.4 * 0.2, rel=0.01)
    outside = np.where(inside, 0, ndimage.distance_transform_edt(~inside) / 120)
    near = (outside > 0) & (outside < 0.05)
    distance = anatomy.ellipse(x, y, (0, 0), (0.4, 0.2), 0.5)
    assert np.abs(distance - outside)[near].max() < 0.015


def test_cover_is_an_area():
    x, y = anatomy.grid((64, 64))
    share = anatomy.cover(anatomy.ellipse(x, y, (0, 0), (0.3, 0.3)), 1 / 64)
    assert share.min() == 0
    assert share.max() == 1
    assert share.mean() == pytest.approx(np.pi * 0.09, rel=0.005)


def test_waves_close_and_have_mean_zero():
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False).astype(np.float32)
    values = anatomy.Waves.draw(rng(), 0.2).at(angle)
    assert values.mean() == pytest.approx(0, abs=1e-3)
    assert np.abs(np.diff(values, append=values[0])).max() < 0.05
    assert values.std() > 0.01


def test_a_vessel_runs_where_it_is_told_and_forks_add_to_it():
    twig = anatomy.Twig((-0.4, 0.0), 0.0, 0.8, 0.03)
    alone = anatomy.tree(rng(), [twig], (64, 96), forks=0, wriggle=0.0)
    assert alone.shape == (64, 96)
    rows, columns = np.nonzero(alone > 0.2)
    assert abs(rows.mean() - 31.5) < 1
    assert columns.min() == pytest.approx(16 + 0.1 * 64, abs=2)
    assert columns.max() == pytest.approx(16 + 0.9 * 64, abs=2)
    forked = anatomy.tree(rng(), [twig], (64, 96), forks=2)
    assert forked.sum() > 1.2 * alone.sum()
    assert 0 <= forked.min() <= forked.max() <= 1


def test_largest_part_leaves_out_what_is_too_small():
    mask = np.zeros((20, 20), bool)
    mask[2:8, 2:8], mask[12:15, 12:15] = True, True
    assert anatomy.largest_part(mask, 12).sum() == 36
    assert not anatomy.largest_part(mask, 40).any()


# ------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("name", ["natural", "objects"])
def test_pictures_without_label_images_are_refused_with_a_way_out(name):
    with pytest.raises(NoLabelsError, match=rf"synthetic-{name}.*{name} makes its.*synthetic-cyto"):
        open_dataset(f"synthetic-{name}")


@pytest.mark.parametrize("name", ["natural", "objects"])
def test_the_check_of_all_data_does_not_stumble_over_them(name):
    (report,) = check_all([f"synthetic-{name}"], progress=False)
    assert not report.available
    assert not report.problems
    assert "no label images" in report.notes[0]


def test_images_too_small_are_refused():
    with pytest.raises(ParameterError, match="at least 64"):
        open_dataset(FUNDUS, synthetic=SyntheticSpec(size=(48, 64)))
