"""Pictures and objects through one door: label images, generated ones, and the bundle's COCO."""

import json
from collections import Counter

import numpy as np
import pytest
import tifffile
from faster_coco_eval import COCO

from helpers.data.check import check_dataset
from helpers.data.datasets import SyntheticSpec, open_dataset
from helpers.data.instances import open_instances, to_colour
from helpers.data.readers import Item
from helpers.errors import DataError
from helpers.metrics.detection import decode_masks, mask_boxes
from tests.data.test_coco import assert_scores_of_the_library, perturbed

LABELS = np.zeros((12, 15), np.uint8)
LABELS[1:4, 2:6], LABELS[5:9, 2:14] = 3, 7
ITEM = Item("a", "a", None, None)


def test_each_number_of_a_label_image_is_an_object(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 15, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    tifffile.imwrite(tmp_path / "a_masks.tif", LABELS)
    dataset = open_instances(f"folder:{tmp_path}")
    assert (dataset.classes, len(dataset)) == (("cell",), 1)
    picture, objects = dataset.read(dataset.items[0])
    np.testing.assert_array_equal(picture, pixels)
    masks = decode_masks(objects.masks, objects.size)
    np.testing.assert_array_equal(masks, [LABELS == 3, LABELS == 7])
    assert objects.boxes.tolist() == [[2, 1, 6, 4], [2, 5, 14, 9]]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("synthetic-cyto", "cell"), ("synthetic-histo", "nucleus"), ("synthetic-glands", "gland")],
)
def test_generated_pictures_keep_their_grey_values(name, kind):
    spec = SyntheticSpec(2, 1, (64, 80))
    dataset, plain = open_instances(name, synthetic=spec), open_dataset(name, synthetic=spec)
    assert dataset.classes == (kind,)
    assert (dataset.name, dataset.fingerprint) == (name, plain.fingerprint)
    assert dataset.provenance == plain.provenance
    for (picture, objects), sample in zip(dataset, plain, strict=True):
        np.testing.assert_array_equal(picture, sample.image)
        assert len(objects) == sample.n_instances
        masks = decode_masks(objects.masks, objects.size)
        np.testing.assert_array_equal(masks.any(axis=0), sample.labels > 0)


def test_classes_of_pixels_are_no_objects_and_sets_come_one_at_a_time():
    with pytest.raises(DataError, match=r"labels pixels by class \(right ventricle"):
        open_instances("synthetic-cardiac")
    with pytest.raises(DataError, match="one data set at a time"):
        open_instances("bbbc038+monuseg")


def test_colours_of_every_number_of_channels():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    one, two = to_colour(pixels[..., :1], ITEM), to_colour(pixels[..., :2], ITEM)
    np.testing.assert_array_equal(one, np.stack([pixels[..., 0]] * 3, axis=-1))
    np.testing.assert_array_equal(two[..., :2], pixels[..., :2])
    assert (two[..., 2] == 0).all()
    np.testing.assert_array_equal(to_colour(pixels[..., :3], ITEM), pixels[..., :3])
    with pytest.raises(DataError, match="has 4 channels; expected at most three"):
        to_colour(pixels, ITEM)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_deeper_pictures_are_scaled_by_their_percentiles(dtype):
    ramp = np.linspace(0, 1000, 201).reshape(1, 201, 1).astype(dtype)
    scaled = to_colour(ramp, ITEM)[0, :, 0].astype(float)
    assert (scaled[0], scaled[-1]) == (0, 255)
    assert scaled[100] == pytest.approx(127.5, abs=0.6)
    assert scaled[3] == pytest.approx(255 * (15 - 10) / 980, abs=0.6)


@pytest.fixture(scope="module")
def tiny(bundle, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOOK_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        yield open_instances("coco-tiny", progress=False)


@pytest.mark.bundle
def test_coco_tiny_is_what_its_files_say(tiny):
    assert Counter(item.split for item in tiny.items) == {"train": 32, "val": 6}
    assert len(tiny.classes) == 80
    assert (tiny.classes[0], tiny.classes[79]) == ("person", "toothbrush")
    assert not tiny.provenance["complete"]
    found = [tiny.read(item) for item in tiny.items]
    assert sum(len(objects) for _, objects in found) == 424
    assert sum(objects.crowd.sum() for _, objects in found if objects.crowd is not None) == 5
    assert sum(len(objects) == 0 for _, objects in found) == 2
    gaps = []
    for picture, objects in found:
        assert picture.shape == (*objects.size, 3)
        gaps.append((objects.boxes - mask_boxes(objects.masks)) * [-1, -1, 1, 1])
    # Stated boxes lie around the masks; tips of polygons narrower than a pixel reach beyond them,
    # and boxes of crowds leave out the last row and column.
    gaps = np.concatenate(gaps)
    assert gaps.min() >= -1
    assert np.abs(np.median(gaps, axis=0)).max() < 0.5


@pytest.mark.bundle
def test_scores_on_coco_tiny_are_the_librarys(tiny, tmp_path):
    """On the file as it was released, which the library reads and rasterises itself."""
    items = [item for item in tiny.items if item.split == "val"]
    library = COCO(str(items[0].labels))
    numbers = {one["file_name"]: one["id"] for one in library.imgs.values()}
    items = sorted(items, key=lambda item: numbers[item.image.name])
    truth = [tiny.read(item)[1] for item in items]
    found = [perturbed(one, k) for k, one in enumerate(truth)]
    category = sorted(library.cats)
    records = [
        {
            "image_id": numbers[item.image.name],
            "category_id": category[objects.labels[k] - 1],
            "bbox": [*box[:2], box[2] - box[0], box[3] - box[1]],
            "segmentation": {**mask, "counts": mask["counts"].decode()},
            "score": float(objects.scores[k]),
        }
        for item, objects in zip(items, found, strict=True)
        for k, (box, mask) in enumerate(
            zip(objects.boxes.astype(float).tolist(), objects.masks, strict=True)
        )
    ]
    results = tmp_path / "results.json"
    results.write_text(json.dumps(records))
    scores = assert_scores_of_the_library(items[0].labels, truth, found, results)
    assert 0.1 < scores.masks.ap < 0.99


@pytest.mark.bundle
def test_the_check_reads_coco_tiny(tiny):
    report = check_dataset(tiny.dataset, progress=False)
    assert report.problems == ()
    assert report.n_images == 38
    assert report.dtypes == ("uint8",)
    lost = sum("annotated instances have no pixel" in note for note in report.notes)
    assert lost == 1
    assert report.n_instances == 424 - 5, "all but the crowds"
