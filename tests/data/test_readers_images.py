"""Decoding: every format gives the pixels that were written, in one shape; damage is refused."""

import numpy as np
import pytest
import tifffile
from imagecodecs import png_encode
from PIL import Image, ImageOps

from helpers.data.readers import images
from helpers.data.readers.images import decode, decode_pages, read_image, read_labels
from helpers.data.readers.masks import read_mask
from helpers.errors import DataError

H, W = 23, 31


@pytest.fixture
def pixels():
    rng = np.random.default_rng(0)
    return lambda *shape, dtype=np.uint8: rng.integers(
        0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True
    )


def write_tiff(path, data, **how):
    tifffile.imwrite(path, data, **how)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("stored", "kept"), [(1, 1), (2, 1), (3, 3), (4, 3)])
def test_png_of_all_depths_and_channels_keeps_its_values_and_loses_its_alpha(
    tmp_path, pixels, dtype, stored, kept
):
    data = pixels(H, W, stored, dtype=dtype)
    path = tmp_path / "a.png"
    path.write_bytes(png_encode(data.squeeze()))
    image = read_image(path)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, data[..., :kept])
    assert decode(path).dtype == dtype


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "i4", "f2", "f4", "f8", ">u2"])
def test_tiff_of_all_types_keeps_its_values(tmp_path, dtype):
    data = np.arange(H * W).reshape(H, W).astype(dtype)
    image = read_image(write_tiff(tmp_path / "a.tif", data))
    np.testing.assert_array_equal(image[..., 0], data.astype(np.float32))
    assert image.shape == (H, W, 1)


@pytest.mark.parametrize(
    ("shape", "how", "channel_axis"),
    [
        ((H, W, 3), {"photometric": "rgb"}, 2),
        ((3, H, W), {"photometric": "rgb", "planarconfig": "separate"}, 0),
        ((3, H, W), {"photometric": "minisblack"}, 0),
        ((2, H, W), {"photometric": "minisblack"}, 0),
        ((H, W, 2), {"photometric": "minisblack"}, 2),
        ((3, H, W), {"imagej": True, "metadata": {"axes": "CYX"}}, 0),
        ((7, H, W), {"photometric": "minisblack", "metadata": {"axes": "CYX"}}, 0),
        ((H, W, 3), {"photometric": "rgb", "compression": "lzw"}, 2),
        ((H, W, 3), {"photometric": "rgb", "compression": "packbits"}, 2),
        ((H, W, 3), {"photometric": "rgb", "tile": (16, 16), "compression": "zlib"}, 2),
    ],
)
def test_tiff_channels_end_up_last_wherever_they_were(tmp_path, pixels, shape, how, channel_axis):
    data = pixels(*shape)
    image = read_image(write_tiff(tmp_path / "a.tif", data, **how))
    np.testing.assert_array_equal(image, np.moveaxis(data, channel_axis, -1))


def test_ome_tiff_with_channels_first(tmp_path, pixels):
    data = pixels(3, H, W, dtype=np.uint16)
    path = write_tiff(tmp_path / "a.ome.tif", data, metadata={"axes": "CYX"})
    np.testing.assert_array_equal(read_image(path), np.moveaxis(data, 0, -1))


def test_axes_of_length_one_do_not_count(tmp_path, pixels):
    data = pixels(1, 1, 1, H, W)
    path = write_tiff(tmp_path / "a.ome.tif", data, metadata={"axes": "TCZYX"})
    np.testing.assert_array_equal(read_image(path)[..., 0], data[0, 0, 0])


def test_tiff_alpha_is_dropped_but_an_unspecified_fourth_channel_is_kept(tmp_path, pixels):
    data = pixels(H, W, 4)
    alpha = write_tiff(tmp_path / "a.tif", data, photometric="rgb", extrasamples=["unassalpha"])
    other = write_tiff(tmp_path / "b.tif", data, photometric="rgb", extrasamples=["unspecified"])
    np.testing.assert_array_equal(read_image(alpha), data[..., :3])
    np.testing.assert_array_equal(read_image(other), data)
    grey = tmp_path / "c.tif"
    Image.fromarray(data[..., :2], "LA").save(grey)
    np.testing.assert_array_equal(read_image(grey), data[..., :1])


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
def test_palette_gives_colours_to_images_and_indices_to_labels(tmp_path, name):
    indices = np.random.default_rng(1).integers(0, 3, (H, W)).astype(np.uint8)
    colours = np.array([[0, 0, 0], [200, 0, 5], [0, 255, 128]], np.uint8)
    picture = Image.fromarray(indices)
    picture.putpalette(colours.ravel().tolist())
    picture.save(tmp_path / name)
    np.testing.assert_array_equal(read_image(tmp_path / name), colours[indices])
    np.testing.assert_array_equal(read_labels(tmp_path / name), indices)


def test_a_palette_of_one_bit_gives_colours_too(tmp_path):
    bits = np.random.default_rng(1).integers(0, 2, (H, W)).astype(bool)
    colours = np.array([[10, 20, 30], [200, 0, 5]], np.uint8)
    table = (colours.T.astype(np.uint16) * 257).ravel().tolist()
    path = tmp_path / "a.tif"
    extra = [(320, "H", 6, table, True)]
    tifffile.imwrite(path, bits, photometric="palette", colormap=None, extratags=extra)
    np.testing.assert_array_equal(read_image(path), colours[bits.astype(int)])


def test_jpeg_and_bmp(tmp_path):
    smooth = np.add.outer(np.arange(H), np.arange(W)).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=98)
    Image.fromarray(np.stack([smooth] * 3, -1)).save(tmp_path / "a.bmp")
    assert np.abs(read_image(tmp_path / "a.jpg")[..., 0] - smooth).max() <= 2
    np.testing.assert_array_equal(read_image(tmp_path / "a.bmp")[..., 2], smooth)


def test_the_content_decides_not_the_ending(tmp_path, pixels):
    data = pixels(H, W)
    (tmp_path / "a.tif").write_bytes(png_encode(data))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[..., 0], data)


def test_thumbnail_is_no_second_picture(tmp_path, pixels):
    data = pixels(64, 64)
    with tifffile.TiffWriter(tmp_path / "a.tif") as out:
        out.write(data, metadata=None)
        out.write(data[::2, ::2], subfiletype=1, metadata=None)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[..., 0], data)


def make_stack(path, kind):
    data = np.zeros((3, H, W), np.uint8)
    if kind == "ImageJ slices":
        tifffile.imwrite(path, data, imagej=True, metadata={"axes": "ZYX"})
    elif kind == "OME frames":
        tifffile.imwrite(path, data, metadata={"axes": "TYX"}, ome=True)
    elif kind == "pages":
        first, *others = [Image.fromarray(page) for page in data]
        first.save(path, save_all=True, append_images=others)
    elif kind == "unnamed, too many":
        tifffile.imwrite(path, np.zeros((9, H, W), np.uint8))
    elif kind == "two pictures":
        with tifffile.TiffWriter(path) as out:
            out.write(data[0])
            out.write(data[0, ::2])
    else:
        tifffile.imwrite(path, np.zeros((2, 5, H, W), np.uint8))
    return path


@pytest.mark.parametrize(
    "kind",
    ["ImageJ slices", "OME frames", "pages", "unnamed, too many", "two pictures", "4-D"],
)
def test_stacks_are_refused(tmp_path, kind):
    path = make_stack(tmp_path / "stack.tif", kind)
    for read in (read_image, read_labels):
        with pytest.raises(DataError, match=r"stack\.tif.*two-dimensional"):
            read(path)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", ["a.png", "a16.png", "a.tif", "lzw.tif", "a.jpg", "a.bmp"])
def test_cut_files_are_refused(tmp_path, pixels, name, share):
    path = tmp_path / name
    data = pixels(64, 64, 3)
    if name == "a16.png":
        path.write_bytes(png_encode(data.astype(np.uint16)))
    elif name == "lzw.tif":
        tifffile.imwrite(path, data, compression="lzw", photometric="rgb")
    elif name == "a.tif":
        tifffile.imwrite(path, data, photometric="rgb")
    else:
        Image.fromarray(data).save(path)
    read_image(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=name):
        read_image(path)


def test_missing_empty_and_foreign_files_are_refused(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not a picture, only called one")
    with pytest.raises(DataError, match=r"none\.png.*No such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(DataError, match=r"empty\.png.*empty"):
        read_image(tmp_path / "empty.png")
    with pytest.raises(DataError, match=r"text\.png.*cannot be decoded"):
        read_image(tmp_path / "text.png")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_pixels_that_are_no_finite_float32_are_refused(tmp_path, value):
    data = np.ones((H, W))
    data[2, 3] = value
    path = write_tiff(tmp_path / "a.tif", data)
    with pytest.raises(DataError, match=r"a\.tif: 1 of 713 pixel values"):
        read_image(path)


def test_complex_pixels_are_refused(tmp_path):
    path = write_tiff(tmp_path / "a.tif", np.ones((H, W), np.complex64))
    with pytest.raises(DataError, match="complex64"):
        read_image(path)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4", "i4", "f4", "f8"])
def test_labels_of_all_types(tmp_path, dtype):
    labels = (np.arange(H * W).reshape(H, W) % 100).astype(dtype)
    found = read_labels(write_tiff(tmp_path / "a.tif", labels))
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, labels)


def test_labels_with_equal_channels_and_one_bit(tmp_path):
    labels = np.random.default_rng(0).integers(0, 9, (H, W)).astype(np.uint8)
    Image.fromarray(np.stack([labels] * 3, -1)).save(tmp_path / "rgb.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "rgb.png"), labels)
    Image.fromarray(labels > 4).save(tmp_path / "bit.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "bit.png"), labels > 4)


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (-1, np.int16, "negative"),
        (-1.0, np.float32, "negative"),
        (0.5, np.float32, "not a whole number"),
        (np.nan, np.float32, "not a whole number"),
        (2**31, np.uint32, "beyond int32"),
        (2.0**40, np.float64, "beyond int32"),
    ],
)
def test_values_that_are_no_labels_are_refused(tmp_path, value, dtype, message):
    labels = np.zeros((H, W), dtype)
    labels[0, 0] = value
    path = write_tiff(tmp_path / "a.tif", labels)
    with pytest.raises(DataError, match=rf"a\.tif: label .*{message}"):
        read_labels(path)


def test_coloured_and_jpeg_labels_are_refused(tmp_path, pixels):
    Image.fromarray(pixels(H, W, 3)).save(tmp_path / "colour.png")
    Image.fromarray(pixels(H, W)).save(tmp_path / "lossy.jpg")
    with pytest.raises(DataError, match="3 channels that differ"):
        read_labels(tmp_path / "colour.png")
    with pytest.raises(DataError, match="JPEG"):
        read_labels(tmp_path / "lossy.jpg")


BLACK, WHITE, RED, BLUE = (0, 0, 0), (255, 255, 255), (230, 25, 75), (0, 0, 255)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize(
    ("colours", "numbers"),
    [
        ((BLACK, RED, BLUE), [0, 1, 2]),
        ((WHITE, RED, BLUE), [0, 1, 2]),  # QuPath
        ((RED, BLUE, BLACK), [2, 1, 0]),  # quantised: the most frequent colour stands anywhere
        ((RED, BLACK, BLUE), [1, 0, 2]),
        ((BLACK, BLACK, RED), [0, 1, 2]),
        ((WHITE, BLACK, RED), None),  # which is the background?
        ((RED, BLUE, WHITE), None),
        ((RED, BLACK, BLACK), None),
    ],
)
def test_the_background_of_a_palette_is_0_or_refused(tmp_path, name, colours, numbers):
    indices = np.arange(H * W, dtype=np.uint8).reshape(H, W) % 3
    picture = Image.fromarray(indices, "P")
    picture.putpalette(np.ravel(colours).tolist())
    picture.save(tmp_path / name)
    if numbers is None:
        with pytest.raises(DataError, match=rf"{name}: .*which index is the background"):
            read_labels(tmp_path / name)
    else:
        np.testing.assert_array_equal(read_labels(tmp_path / name), np.array(numbers)[indices])


def test_unused_black_entries_are_no_background(tmp_path):
    indices = 1 + np.arange(H * W, dtype=np.uint8).reshape(H, W) % 2
    picture = Image.fromarray(indices, "P")
    for third, numbers in ((BLACK, [0, 1, 0]), (BLUE, [0, 1, 2])):
        picture.putpalette(np.ravel((BLACK, RED, third)).tolist())
        picture.save(tmp_path / "a.png")
        np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), np.array(numbers)[indices])


@pytest.mark.parametrize("photometric", ["miniswhite", "minisblack"])
def test_one_bit_is_1_where_viewers_show_white(tmp_path, photometric):
    bits = np.random.default_rng(0).random((H, W)) > 0.8
    path = write_tiff(tmp_path / "a.tif", bits, photometric=photometric)
    np.testing.assert_array_equal(read_labels(path), np.asarray(Image.open(path)))
    np.testing.assert_array_equal(read_mask(path), np.asarray(Image.open(path)))
    # ImageJ's inverting look-up table: the object is 255 and shown black.
    grey = write_tiff(tmp_path / "b.tif", np.uint8(255 * bits), photometric=photometric)
    np.testing.assert_array_equal(read_labels(grey), 255 * bits)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
def test_a_turned_picture_is_put_upright_alone_and_refused_beside_labels(
    tmp_path, name, orientation
):
    smooth = np.add.outer(5 * np.arange(H), 2 * np.arange(W)).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / name
    if name == "a.tif":
        write_tiff(path, smooth, extratags=[(274, "H", 1, orientation, True)])
    else:
        Image.fromarray(smooth).save(path, exif=exif, quality=98)
    [shown] = decode_pages(path)
    stored = Image.fromarray(smooth)
    stored.getexif()[274] = orientation
    expected = np.asarray(ImageOps.exif_transpose(stored), int)
    assert np.abs(shown[..., 0] - expected).max() <= 2
    if orientation == 1:
        assert decode(path).shape == (H, W, 1)
    else:
        with pytest.raises(DataError, match=rf"{name}: .*orientation {orientation}.*-auto-orient"):
            decode(path)


@pytest.mark.parametrize("kind", ["separated", "cielab", "ycbcr"])
def test_other_colour_spaces_are_refused(tmp_path, pixels, kind):
    data = pixels(H, W, 4 if kind == "separated" else 3)
    path = write_tiff(tmp_path / "a.tif", data, photometric=kind)
    for read in (read_image, lambda one: list(decode_pages(one))):
        with pytest.raises(DataError, match=rf"a\.tif: its colours are stored as {kind.upper()}"):
            read(path)


def test_colours_out_of_a_jpeg_are_rgb(tmp_path):
    red = np.full((32, 32, 3), (200, 10, 10), np.uint8)
    write_tiff(tmp_path / "a.tif", red, photometric="rgb", compression="jpeg")
    Image.fromarray(red).convert("CMYK").save(tmp_path / "cmyk.jpg")
    # A phone's JPEG holds a smaller copy.
    small = Image.fromarray(red[::2, ::2])
    Image.fromarray(red).save(tmp_path / "b.jpg", "MPO", save_all=True, append_images=[small])
    for name in ("a.tif", "cmyk.jpg", "b.jpg"):
        assert np.abs(read_image(tmp_path / name) - red).max() <= 4, name


def test_large_pictures_are_no_bombs(tmp_path, pixels, monkeypatch):
    Image.fromarray(pixels(H, W)).save(tmp_path / "a.jpg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert read_image(tmp_path / "a.jpg").shape == (H, W, 1)


def coordinates(*shape):
    """An array whose every value tells its place."""
    return np.arange(np.prod(shape)).reshape(shape).astype(np.uint16)


@pytest.mark.parametrize(
    ("shape", "axes", "how"),
    [
        ((3, H, W), "PYX", {"imagej": True, "metadata": {"axes": "ZYX"}}),
        ((2, 3, 4, H, W), "PPCYX", {"imagej": True, "metadata": {"axes": "TZCYX"}}),
        ((3, 2, H, W), "PCYX", {"ome": True, "metadata": {"axes": "TCYX"}}),
        ((2, 3, H, W), "CPYX", {"ome": True, "metadata": {"axes": "CZYX"}}),
        ((5, H, W), "PYX", {}),
        ((2, 5, H, W), "PPYX", {}),
        ((4, H, W, 3), "PYXC", {"photometric": "rgb"}),
        ((3, H, W), "CYX", {"metadata": {"axes": "CYX"}}),
        ((3, H, W), "CYX", {"photometric": "minisblack"}),
        ((H, W), "YX", {}),
    ],
)
def test_pages_are_what_is_neither_a_channel_nor_a_side(tmp_path, shape, axes, how):
    """P: pages, C: channels, as the file is meant; the order of pages is that of the file."""
    data = coordinates(*shape)
    pages = [i for i, name in enumerate(axes) if name == "P"]
    stack = np.moveaxis(data, pages, range(len(pages))).reshape(
        -1, *(length for i, length in enumerate(shape) if i not in pages)
    )
    rest = axes.replace("P", "")
    channel = rest.find("C")
    expected = [np.moveaxis(p, channel, -1) if channel >= 0 else p[..., None] for p in stack]
    found = list(decode_pages(write_tiff(tmp_path / "a.tif", data, **how)))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_pages_of_different_sizes_and_kinds(tmp_path, pixels):
    grey, colour, alpha = pixels(H, W, dtype=np.uint16), pixels(9, 8, 3), pixels(9, 9, 4)
    with tifffile.TiffWriter(tmp_path / "a.tif") as out:
        out.write(grey)
        out.write(colour, photometric="rgb")
        out.write(alpha, photometric="rgb", extrasamples=["unassalpha"])
        out.write(grey[::2, ::2], subfiletype=1)
    found = list(decode_pages(tmp_path / "a.tif"))
    for one, other in zip(found, [grey[..., None], colour, alpha[..., :3]], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_stack_too_large_for_memory_is_mapped(tmp_path, monkeypatch, compression):
    data = coordinates(6, H, W)
    path = write_tiff(tmp_path / "a.tif", data, compression=compression)
    monkeypatch.setattr(images, "LARGE_STACK_BYTES", 10)
    np.testing.assert_array_equal(np.stack(list(decode_pages(path)))[..., 0], data)


def test_each_file_of_an_ome_set_gives_its_own_pages(tmp_path):
    """Two files of one recording: each names the other, and neither may be counted twice."""
    data = coordinates(2, H, W)
    planes = "".join(
        f'<TiffData FirstT="{t}" IFD="0" PlaneCount="1">'
        f'<UUID FileName="{t}.ome.tif">urn:uuid:0000000{t}-0000-0000-0000-000000000000</UUID>'
        "</TiffData>"
        for t in range(2)
    )
    for t in range(2):
        description = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:0000000{t}-0000-0000-0000-000000000000"><Image ID="Image:0">'
            f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="{W}" SizeY="{H}" '
            f'SizeC="1" SizeZ="1" SizeT="2"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{planes}'
            "</Pixels></Image></OME>"
        )
        tifffile.imwrite(tmp_path / f"{t}.ome.tif", data[t], description=description, metadata=None)
    for t in range(2):
        [page] = decode_pages(tmp_path / f"{t}.ome.tif")
        np.testing.assert_array_equal(page[..., 0], data[t])


@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_cut_stacks_are_refused(tmp_path, pixels, share, compression):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels(9, 64, 64), compression=compression)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"a\.tif"):
        list(decode_pages(path))


def test_one_page_for_other_formats_and_the_same_refusals(tmp_path, pixels):
    data = pixels(H, W, 3)
    Image.fromarray(data).save(tmp_path / "a.png")
    [page] = decode_pages(tmp_path / "a.png")
    np.testing.assert_array_equal(page, data)
    (tmp_path / "empty.tif").touch()
    with pytest.raises(DataError, match=r"empty\.tif.*empty"):
        list(decode_pages(tmp_path / "empty.tif"))
