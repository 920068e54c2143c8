"""BBBC038: one file per nucleus."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from helpers.data.readers.bbbc038 import BBBC038Reader, is_histology, modality_of
from helpers.errors import DataError, ParameterError

READER = BBBC038Reader()
SHAPE = (40, 50)


def write(root, name, masks, image=None):
    """One image folder in official layout; ``masks`` are boolean arrays."""
    folder = root / name
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    if image is None:
        image = np.full((*SHAPE, 4), (9, 9, 9, 255), np.uint8)
    Image.fromarray(image).save(folder / "images" / f"{name}.png")
    for i, mask in enumerate(masks):
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "masks" / f"m{i}.png")
    return folder


def box(top, left, height, width):
    mask = np.zeros(SHAPE, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def test_touching_masks_stay_apart_and_alpha_goes(tmp_path):
    write(tmp_path, "a", [box(5, 5, 10, 10), box(5, 15, 10, 10), box(15, 5, 3, 20)])
    [item] = READER.items(tmp_path)
    reading = READER.load(item)
    assert np.bincount(reading.sample.labels.ravel())[1:].tolist() == [100, 100, 60]
    assert reading.sample.image.shape == (*SHAPE, 3)
    assert (reading.overlap, reading.lost, reading.dtype) == (0, (), "uint8")


def test_overlap_goes_to_the_smaller_and_is_counted(tmp_path):
    write(tmp_path, "a", [box(0, 0, 20, 20), box(15, 15, 10, 10)])
    reading = READER.load(READER.items(tmp_path)[0])
    assert np.bincount(reading.sample.labels.ravel())[1:].tolist() == [400 - 25, 100]
    assert reading.overlap == 25


def test_empty_mask_is_reported_with_its_file(tmp_path):
    write(tmp_path, "a", [box(0, 0, 5, 5), np.zeros(SHAPE, bool), box(9, 9, 5, 5)])
    reading = READER.load(READER.items(tmp_path)[0])
    assert reading.sample.n_instances == reading.sample.labels.max() == 2
    assert len(reading.lost) == 1
    assert "m1.png" in reading.lost[0]


def test_items_are_ordered_and_grouped_by_field(tmp_path):
    rng = np.random.default_rng(0)
    field, alone = (_texture(rng, (SHAPE[0], 2 * SHAPE[1])) for _ in range(2))
    tiles = {
        "d": field[:, : SHAPE[1]],
        "b": field[:, SHAPE[1] :],
        "a": alone[:, : SHAPE[1]],
        "c": np.zeros(SHAPE),
    }
    for name, grey in tiles.items():
        image = np.repeat(grey[..., None].astype(np.uint8), 4, axis=2)
        write(tmp_path, name, [box(0, 0, 5, 5)], image)
    items = READER.items(tmp_path)
    assert [(item.id, item.group, item.split) for item in items] == [
        ("a", "a", ""),
        ("b", "b", ""),
        ("c", "c", ""),
        ("d", "b", ""),
    ]
    assert READER.read(items[3]).group == "b"


def _texture(rng, shape):
    smooth = gaussian_filter(rng.normal(size=shape), 3)
    return 128 + 40 * smooth / smooth.std() + rng.normal(size=shape)


def test_unreadable_image_is_refused_by_name_when_items_are_listed(tmp_path):
    folder = write(tmp_path, "a", [box(0, 0, 5, 5)])
    path = folder / "images" / "a.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"a\.png"):
        READER.items(tmp_path)


def test_masks_with_endings_in_capitals_count_and_hidden_files_do_not(tmp_path):
    folder = write(tmp_path, "a", [box(0, 0, 5, 5), box(10, 10, 5, 5)])
    first = sorted((folder / "masks").iterdir())[0]
    first.rename(first.with_suffix(".PNG"))
    (folder / "masks" / f"._{first.name}").write_bytes(b"macOS")
    assert READER.read(READER.items(tmp_path)[0]).n_instances == 2


def test_images_without_masks_and_masks_without_image_are_named(tmp_path):
    write(tmp_path, "good", [box(0, 0, 5, 5)])
    bare = write(tmp_path, "bare", [])
    with pytest.raises(DataError, match=r"1 images without masks:\n.*bare\.png"):
        READER.items(tmp_path)
    (bare / "images" / "bare.png").unlink()
    write(tmp_path, "orphan", [box(0, 0, 5, 5)])
    (tmp_path / "orphan" / "images" / "orphan.png").unlink()
    with pytest.raises(DataError, match=r"masks without an image:\n.*orphan"):
        READER.items(tmp_path)


def test_no_images_and_no_folder(tmp_path):
    with pytest.raises(DataError, match="holds no images in the layout"):
        READER.items(tmp_path)
    with pytest.raises(DataError, match="not a folder"):
        READER.items(tmp_path / "none")


def test_mask_of_another_size_is_refused_with_both_sizes(tmp_path):
    folder = write(tmp_path, "a", [box(0, 0, 5, 5)])
    Image.new("L", (SHAPE[0], SHAPE[1])).save(folder / "masks" / "turned.png")
    with pytest.raises(DataError, match=r"turned\.png: is 50 x 40 .*is 40 x 50"):
        READER.read(READER.items(tmp_path)[0])


def test_cut_mask_is_refused_by_name(tmp_path):
    folder = write(tmp_path, "a", [box(0, 0, 5, 5)])
    path = folder / "masks" / "m0.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"m0\.png"):
        READER.read(READER.items(tmp_path)[0])


@pytest.mark.parametrize(
    ("colour", "kind"),
    [
        ((12, 12, 12), "fluorescence"),
        ((230, 230, 230), "brightfield"),
        ((180, 90, 200), "histology"),
    ],
)
def test_modality_follows_background_and_colour(colour, kind):
    image = np.tile(np.float32(colour), (*SHAPE, 1))
    image[:5, :5] = 128
    assert modality_of(image) == kind


LILAC, VIOLET, PURPLE = (178, 160, 203), (60, 20, 150), (150, 60, 160)


def stained(background, nuclei, share=0.4):
    """A picture with nuclei in its left part."""
    image = np.tile(np.uint8(background), (*SHAPE, 1))
    image[:, : round(share * SHAPE[1])] = nuclei
    return image


@pytest.mark.parametrize(
    ("background", "nuclei", "expected"),
    [
        ((208, 207, 211), PURPLE, True),
        ((208, 207, 211), VIOLET, True),
        ((220, 140, 190), (140, 70, 120), True),  # pink all over
        (LILAC, VIOLET, False),
        (LILAC, LILAC, False),
        ((12, 12, 12), (200, 200, 200), False),
        ((230, 230, 230), (90, 90, 90), False),
    ],
)
def test_histology_is_purple_on_white_or_pink(background, nuclei, expected):
    assert is_histology(stained(background, nuclei)) == expected


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_some_white_is_enough(share):
    assert is_histology(stained((215, 214, 216), PURPLE, share))


def test_one_channel_is_no_histology():
    assert not is_histology(np.full((*SHAPE, 1), 240, np.uint8))


def test_a_kind_alone_keeps_the_groups_it_has_among_all(tmp_path):
    rng = np.random.default_rng(0)
    field = _texture(rng, (SHAPE[0], 2 * SHAPE[1]))
    # Two tiles of one field with the same grey values, of which the second one is reddish.
    tiles = {
        "a": (field[:, : SHAPE[1]], (0.8, 1.1, 1.1)),
        "b": (field[:, SHAPE[1] :], (1.1, 1, 0.9)),
    }
    for name, (grey, tint) in tiles.items():
        image = (grey[..., None] * tint).clip(0, 255).astype(np.uint8)
        write(tmp_path, name, [box(0, 0, 5, 5)], image)
    write(tmp_path, "c", [box(0, 0, 5, 5)])
    write(tmp_path, "d", [box(0, 0, 5, 5)], stained((210, 210, 212), PURPLE))
    groups = {item.id: item.group for item in READER.items(tmp_path)}
    assert groups["b"] == "a"
    items = BBBC038Reader("histology").items(tmp_path)
    assert [(item.id, item.group) for item in items] == [("b", "a"), ("d", "d")]


def test_kinds_by_light_share_no_image_and_keep_their_groups(tmp_path):
    rng = np.random.default_rng(0)
    field = _texture(rng, (SHAPE[0], 2 * SHAPE[1]))
    # Darker on its left, so that its two tiles are of different kinds.
    field += np.linspace(-60, 60, field.shape[1])
    tiles = {"b": field[:, : SHAPE[1]], "a": field[:, SHAPE[1] :]}
    for name, grey in tiles.items():
        image = np.repeat(grey.clip(0, 255)[..., None].astype(np.uint8), 4, axis=2)
        write(tmp_path, name, [box(0, 0, 5, 5)], image)
    write(tmp_path, "c", [box(0, 0, 5, 5)], stained((12, 12, 12), (200, 200, 200)))
    write(tmp_path, "d", [box(0, 0, 5, 5)], stained((230, 230, 230), (90, 90, 90)))
    write(tmp_path, "e", [box(0, 0, 5, 5)], stained((210, 210, 212), PURPLE))
    write(tmp_path, "f", [box(0, 0, 5, 5)], stained(LILAC, VIOLET))
    expected = {"fluorescence": "bc", "brightfield": "ad", "histology": "e"}
    groups = {item.id: item.group for item in READER.items(tmp_path)}
    assert groups["b"] == "a"
    for kind, names in expected.items():
        items = BBBC038Reader(kind).items(tmp_path)
        assert [item.id for item in items] == list(names)
        assert all(item.group == groups[item.id] for item in items)
        if kind != "histology":
            assert {READER.load(item).sample.modality for item in items} == {kind}


def test_no_image_of_the_kind_and_an_unknown_kind(tmp_path):
    write(tmp_path, "a", [box(0, 0, 5, 5)])
    with pytest.raises(DataError, match=r"holds no images in the layout .*, histology"):
        BBBC038Reader("histology").items(tmp_path)
    with pytest.raises(
        ParameterError, match=r"kind='cells': expected 'histology' or .*, or '' for"
    ):
        BBBC038Reader("cells")
