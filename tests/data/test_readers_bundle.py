"""Every real file of the bundle, against counts taken without the readers."""

import io
import re
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from matplotlib.path import Path as Polygon
from PIL import Image
from scipy.ndimage import binary_dilation, center_of_mass

from helpers.data.check import check_dataset
from helpers.data.datasets import open_dataset
from helpers.data.fields import borders_of, neighbours
from helpers.data.instances import open_instances
from helpers.data.readers.bbbc038 import modality_of
from helpers.data.readers.glas import read_grades
from helpers.data.readers.images import decode, to_float
from helpers.data.readers.monuseg import rasterise, read_regions
from helpers.errors import NoLabelsError

pytestmark = pytest.mark.bundle
FOLDER_OF_GLAS = "Warwick QU Dataset (Released 2016_07_08)"


@pytest.fixture(scope="module")
def opened(bundle, tmp_path_factory):
    """Opens a data set of the bundle, unpacked once into a temporary folder."""
    datasets = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOOK_DATA_DIR", str(tmp_path_factory.mktemp("data")))

        def open_once(name):
            if name not in datasets:
                datasets[name] = open_dataset(name, progress=False)
            return datasets[name]

        yield open_once


@pytest.mark.slow
def test_bbbc038_has_one_instance_per_mask_file_and_the_stated_modalities(bundle, opened):
    with zipfile.ZipFile(bundle / "bbbc038" / "stage1_train.zip") as archive:
        files = Counter(
            name.split("/")[0] for name in archive.namelist() if re.search(r"/masks/.+\.png$", name)
        )
    dataset = opened("bbbc038")
    assert {item.id for item in dataset.items} == set(files)
    report = check_dataset(dataset, progress=False)
    assert report.problems == ()
    assert report.n_images == 500
    assert 200 <= report.n_groups <= 320
    assert report.n_instances == sum(files.values()) == 21_774
    assert report.modalities == {"fluorescence": 414, "brightfield": 12, "histology": 74}
    assert (report.dtypes, report.channels) == (("uint8",), (3,))
    assert not report.complete
    for item in dataset.items[::50]:
        assert dataset.read(item).n_instances == files[item.id]


@pytest.mark.slow
def test_bbbc038_histology_is_the_red_and_purple_part_of_the_coloured_pictures(opened):
    whole = {item.id: item for item in opened("bbbc038").items}
    dataset = opened("bbbc038:histology")
    assert len(dataset) == 25
    assert all(whole[item.id] == item for item in dataset.items)
    chosen = {item.group for item in dataset.items}
    medians = {}
    for item in whole.values():
        pixels = decode(item.image)
        if (pixels != pixels[..., :1]).any():
            red, _, blue = np.median(pixels.reshape(-1, 3), axis=0)
            medians[item.id] = red / blue
            assert (item.group in chosen) == (item in dataset.items), "a field is of one stain"
    assert len(medians) == 74
    # Another measure of the same: violet is far from grey in the median, whatever its share.
    inside = {item.id for item in dataset.items}
    assert min(medians[name] for name in inside) > 0.92
    assert max(value for name, value in medians.items() if name not in inside) < 0.9


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "count"), [("fluorescence", 414), ("brightfield", 12)])
def test_bbbc038_kinds_by_light_are_the_grey_pictures(opened, kind, count):
    whole = {item.id: item for item in opened("bbbc038").items}
    dataset = opened(f"bbbc038:{kind}")
    assert len(dataset) == count
    assert all(whole[item.id] == item for item in dataset.items)
    assert dataset.fingerprint != opened("bbbc038").fingerprint
    objects = open_instances(f"bbbc038:{kind}", progress=False)
    assert objects.classes == ("nucleus",)
    assert objects.items == dataset.items
    # A grey picture on bright may have hundreds of masks of its own size.
    few = min(dataset.items, key=lambda item: len(list(item.labels.iterdir())))
    sample = dataset.read(few)
    assert sample.modality == kind
    nuclei = sample.labels > 0
    bright = sample.image[nuclei].mean() > sample.image[~nuclei].mean()
    assert bright == (kind == "fluorescence")
    picture, found = objects.read(few)
    np.testing.assert_array_equal(picture, sample.image)
    assert len(found) == sample.n_instances > 0


@pytest.mark.slow
def test_bbbc038_fields_are_of_one_kind_and_no_work_of_chance(opened):
    items = opened("bbbc038").items
    images = [decode(item.image) for item in items]
    kinds = defaultdict(set)
    for item, image in zip(items, images, strict=True):
        kinds[item.group].add(modality_of(to_float(image, item.image)))
    assert all(len(found) == 1 for found in kinds.values())
    assert set(kinds) <= {item.id for item in items}
    assert max(Counter(item.group for item in items).values()) <= 16

    tiles = [borders_of(image) for image in images]
    bottom, right = [tile.bottom for tile in tiles], [tile.right for tile in tiles]
    found = len(neighbours(bottom, [tile.top for tile in tiles]))
    found += len(neighbours(right, [tile.left for tile in tiles]))
    # No cut runs between a line and a reversed one: what matches there does so by chance.
    chance = len(neighbours(bottom, [tile.top[:, ::-1] for tile in tiles]))
    chance += len(neighbours(right, [tile.left[:, ::-1] for tile in tiles]))
    assert found > 200
    assert chance <= 0.01 * found


def test_monuseg_has_one_instance_per_region(opened):
    dataset = opened("monuseg")
    assert Counter(item.split for item in dataset.items) == {"train": 8, "test": 5}
    kumar_train = ["TCGA-21-5784", "TCGA-A7-A13E", "TCGA-AR-A1AK", "TCGA-G9-6362"]
    assert {item.group for item in dataset.items} >= set(kumar_train)
    lost = []
    for item in dataset.items:
        reading = dataset.load(item)
        lost += reading.lost
        regions = len(re.findall(r"<Region\s", item.labels.read_text()))
        assert reading.sample.n_instances + len(reading.lost) == regions
        assert reading.sample.image.shape == (1000, 1000, 3)
        assert reading.overlap < 0.02 * np.count_nonzero(reading.sample.labels)
    [speck] = lost  # seven vertices around a tenth of a pixel
    assert "region 478 (7 vertices) covers no pixel" in speck


def test_kumar_is_its_part_of_monuseg(opened):
    dataset, whole = opened("monuseg:kumar"), opened("monuseg")
    assert dataset.fingerprint != whole.fingerprint
    assert Counter(item.modality.rpartition("/")[2] for item in dataset.items) == {
        "train": 4,
        "same-organ": 3,
        "different-organ": 1,
    }
    files = {item.id: (item.image, item.labels, item.group) for item in whole.items}
    for item in dataset.items:
        assert (item.image, item.labels, item.group) == files[item.id]
        assert "MoNuSeg 2018 Training Data" in item.image.parts
        assert item.split == ("train" if item.modality.endswith("/train") else "test")


def test_glas_is_what_the_archive_holds(bundle, opened):
    dataset = opened("glas")
    [path] = (bundle / "glas").glob("*.zip")
    with zipfile.ZipFile(path) as archive:
        [table] = [name for name in archive.namelist() if name.endswith("Grade.csv")]
        lines = archive.read(table).decode().split("\r")[1:]
        for item in dataset.items:
            [line] = [one for one in lines if one.startswith(f"{item.id},")]
            assert line.startswith(f"{item.id},{item.group}, {item.modality}, ")
            stored = Image.open(io.BytesIO(archive.read(f"{FOLDER_OF_GLAS}/{item.id}_anno.bmp")))
            reading = dataset.load(item)
            np.testing.assert_array_equal(reading.sample.labels > 0, np.asarray(stored) > 0)
            assert reading.sample.n_instances == np.count_nonzero(np.unique(stored))
            assert (reading.dtype, reading.sample.image.shape[2]) == ("uint8", 3)
    assert Counter(item.split for item in dataset.items) == {"train": 24, "test": 12}
    parts = [opened(f"glas:{grade}").items for grade in ("benign", "malignant")]
    assert sorted(item.id for part in parts for item in part) == [i.id for i in dataset.items]


def test_glas_table_is_that_of_the_whole_data_set_and_its_split_shares_patients(opened):
    grades = read_grades(opened("glas").items[0].image.parent / "Grade.csv")
    parts = Counter(re.match("train|testA|testB", name)[0] for name in grades)
    assert parts == {"train": 85, "testA": 60, "testB": 20}
    kinds = Counter(grade for name, (_, grade) in grades.items() if name.startswith("train"))
    assert kinds == {"benign": 37, "malignant": 48}
    trained = {patient for name, (patient, _) in grades.items() if name.startswith("train")}
    tested = [patient for name, (patient, _) in grades.items() if name.startswith("test")]
    assert len({patient for patient, _ in grades.values()}) == 16
    assert len(trained & set(tested)) == 11
    assert sum(patient in trained for patient in tested) == 79


def test_monuseg_polygons_agree_with_the_point_test_and_the_shoelace_area(opened):
    item = next(item for item in opened("monuseg").items if item.group == "TCGA-AR-A1AK")
    columns, rows = np.meshgrid(np.arange(1000) + 0.5, np.arange(1000) + 0.5)
    raster_area = exact_area = 0.0
    for _, outline in read_regions(item.labels)[:60]:
        found = np.zeros((1000, 1000), bool)
        found.flat[rasterise(outline, found.shape)] = True
        low = np.maximum(np.floor(outline.min(axis=0)).astype(int) - 2, 0)
        high = np.ceil(outline.max(axis=0)).astype(int) + 2
        part = np.s_[low[1] : high[1], low[0] : high[0]]
        points = np.stack([columns[part].ravel(), rows[part].ravel()], -1)
        # Vertices of this file lie on pixel centres, where the two rules for edges differ.
        inside = (
            Polygon(outline + 1e-5 * np.array([1, 0.618]))
            .contains_points(points)
            .reshape(columns[part].shape)
        )
        np.testing.assert_array_equal(found[part], inside)
        assert not found[: low[1]].any()
        assert not found[:, high[0] :].any()
        x, y = outline.T
        raster_area += found.sum()
        exact_area += abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
    assert raster_area == pytest.approx(exact_area, rel=0.003)


@pytest.mark.parametrize("patient", ["TCGA-HT-8564", "TCGA-ZF-A9R5", "TCGA-B0-5698"])
def test_monuseg_labels_lie_on_the_dark_nuclei_to_the_pixel(opened, patient):
    dataset = opened("monuseg")
    sample = dataset.read(next(item for item in dataset.items if item.group == patient))
    darkness = 255 - sample.image.mean(axis=2)

    def contrast(rows, columns):
        inside = np.roll(sample.labels > 0, (rows, columns), (0, 1))
        return darkness[inside].mean() - darkness[~inside].mean()

    here = contrast(0, 0)
    assert all(here > contrast(*step) for step in [(0, 1), (0, -1), (1, 0), (-1, 0)])


def test_cellpose_keeps_sixteen_bits_and_all_labels(bundle, opened):
    dataset = opened("cellpose-cyto")
    assert len(dataset) == 35
    with zipfile.ZipFile(bundle / "cellpose-cyto" / "train.zip") as archive:
        for item in dataset.items:
            masks = np.asarray(Image.open(io.BytesIO(archive.read(f"{item.id}_masks.png"))))
            reading = dataset.load(item)
            np.testing.assert_array_equal(reading.sample.labels, masks)
            assert (reading.dtype, reading.sample.image.shape[2]) == ("uint16", 3)
            # Pillow gives the upper 8 bits of 16-bit colour.
            eight = Image.open(io.BytesIO(archive.read(f"{item.id}_img.png")))
            np.testing.assert_array_equal(reading.sample.image // 256, np.asarray(eight))
            assert not reading.sample.image[..., 2].any(), "blue is empty"


def test_neurips_types_channels_and_labels(opened):
    dataset = opened("neurips-cellseg")
    readings = {Path(item.id).name: dataset.load(item) for item in dataset.items}
    kinds = {name: (r.dtype, r.sample.image.shape) for name, r in readings.items()}
    assert kinds == {
        "cell_00225": ("uint8", (1024, 1024, 3)),
        "cell_00528": ("uint16", (200, 200, 1)),
        "cell_00849": ("uint8", (512, 512, 3)),
    }
    for item in dataset.items:
        stored = tifffile.imread(item.labels)
        ranks = np.unique(stored, return_inverse=True)[1].reshape(stored.shape)
        np.testing.assert_array_equal(readings[Path(item.id).name].sample.labels, ranks)


@pytest.fixture(scope="module")
def cardiac(opened):
    """Every slice of the ACDC files: item and sample."""
    dataset = opened("acdc")
    return [(item, dataset.read(item)) for item in dataset.items]


def test_acdc_gives_every_slice_of_every_file_once(bundle, opened, cardiac):
    expected = {}
    with zipfile.ZipFile(bundle / "acdc" / "ACDC.zip") as archive:
        for name in archive.namelist():
            if name.endswith(".h5"):
                with h5py.File(io.BytesIO(archive.read(name))) as file:
                    image, labels = file["image"][()], file["label"][()]
                stem = Path(name).stem
                slices = [(stem, image, labels)] if image.ndim == 2 else []
                if image.ndim == 3:
                    names = [f"{stem}_slice_{i + 1}" for i in range(len(image))]
                    slices = zip(names, image, labels, strict=True)
                expected |= {one: (pixels, classes) for one, pixels, classes in slices}
    assert [item.id for item, _ in cardiac] == sorted(expected)
    assert len(expected) == 280
    for item, sample in cardiac:
        pixels, classes = expected[item.id]
        np.testing.assert_array_equal(sample.image[..., 0], pixels)
        np.testing.assert_array_equal(sample.labels, classes)
    assert opened("acdc").load(cardiac[0][0]).dtype == "float32"


def test_acdc_patients_and_parts_are_those_of_the_lists(bundle, cardiac):
    with zipfile.ZipFile(bundle / "acdc" / "ACDC.zip") as archive:
        lists = {
            name: set(re.findall(r"patient\d+", archive.read(f"ACDC/{name}.list").decode()))
            for name in ("train", "val", "test")
        }
    parts = {item.group: item.split for item, _ in cardiac}
    assert len(parts) == 14
    for patient, split in parts.items():
        assert [name for name, named in lists.items() if patient in named] in (
            [["train"], ["val"]] if split == "train" else [["test"]]
        )
    assert Counter(parts.values()) == {"train": 9, "test": 5}


def test_acdc_is_scaled_per_volume_and_its_classes_lie_as_in_a_heart(cardiac):
    ranges = defaultdict(lambda: [1.0, 0.0])
    closed, sides = [], []
    for item, sample in cardiac:
        seen = ranges[item.id.partition("_slice_")[0]]
        seen[:] = [min(seen[0], sample.image.min()), max(seen[1], sample.image.max())]
        right, muscle, left = (sample.labels == k for k in (1, 2, 3))
        if left.any():
            rim = binary_dilation(left) & ~left
            closed.append(muscle[rim].mean())
        if left.any() and right.any():
            sides.append(center_of_mass(right)[1] < center_of_mass(left)[1])
    assert set(map(tuple, ranges.values())) == {(0.0, 1.0)}
    # The muscle is a ring around the left ventricle; the right ventricle is on the viewer's left.
    assert np.mean(closed) > 0.95
    assert np.mean(sides) > 0.95
    assert len(closed) > 200


def test_idrid_optic_discs_are_the_masks_of_the_files(opened):
    dataset = opened("idrid:optic-disc")
    assert (len(dataset), dataset.classes) == (10, ("optic disc",))
    assert {item.split for item in dataset.items} == {"train"}
    item = dataset.items[3]
    sample = dataset.read(item)
    assert sample.image.shape == (2848, 4288, 3)
    np.testing.assert_array_equal(sample.labels, np.asarray(Image.open(item.labels)))
    disc = sample.labels == 1
    rows, columns = (np.ptp(np.flatnonzero(disc.any(axis=axis))) + 1 for axis in (1, 0))
    # Nearly round, a seventh of the picture high, and the brightest thing in it.
    assert disc.sum() == pytest.approx(np.pi / 4 * rows * columns, rel=0.05)
    assert 300 < rows < 700
    green = sample.image[::8, ::8, 1]
    assert green[disc[::8, ::8]].mean() > np.percentile(green, 95)


def test_idrid_without_masks_of_microaneurysms_says_which_there_are(opened):
    message = r"no masks of microaneurysms .* masks of: optic disc\."
    with pytest.raises(NoLabelsError, match=message):
        opened("idrid")


def test_covid_qu_infections_are_in_lungs_and_in_covid_only(opened):
    dataset, lungs = opened("covid-qu"), opened("covid-qu:lung")
    assert dataset.fingerprint != lungs.fingerprint
    assert [item.id for item in dataset.items] == [item.id for item in lungs.items]
    assert Counter(item.id.split("/")[1] for item in dataset.items) == {
        "COVID-19": 4,
        "Non-COVID": 4,
        "Normal": 4,
    }
    for item, outline in zip(dataset.items, lungs.items, strict=True):
        infected, lung = dataset.read(item).labels, lungs.read(outline).labels
        for labels, path in ((infected, item.labels), (lung, outline.labels)):
            np.testing.assert_array_equal(labels * 255, np.asarray(Image.open(path)))
        assert infected.any() == item.id.startswith("Test/COVID-19/")
        assert 0.1 < lung.mean() < 0.5
        if infected.any():
            assert lung[infected == 1].mean() > 0.9
        assert (item.split, dataset.load(item).dtype) == ("test", "uint8")
