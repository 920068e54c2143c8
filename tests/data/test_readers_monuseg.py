"""MoNuSeg: polygons to instances, against geometry and matplotlib's point-in-polygon test."""

import numpy as np
import pytest
import tifffile
from matplotlib.path import Path as Polygon

from helpers.data.readers.monuseg import MoNuSegReader, rasterise, read_regions
from helpers.errors import DataError

READER = MoNuSegReader()
SHAPE = (60, 80)
SQUARE = [(10, 20), (20, 20), (20, 30), (10, 30)]


def write_xml(path, outlines):
    """Aperio XML; an outline is a list of (x, y), each number or text."""
    regions = "".join(
        f'<Region Id="{i}"><Attributes/><Vertices>'
        + "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in outline)
        + "</Vertices></Region>"
        for i, outline in enumerate(outlines, 1)
    )
    head = "<RegionAttributeHeaders><AttributeHeader Id='9'/></RegionAttributeHeaders>"
    path.write_text(
        f"<Annotations><Annotation Id='1'><Regions>{head}{regions}</Regions></Annotation>"
        "</Annotations>"
    )
    return path


def write_pair(root, outlines, name="TCGA-21-5784-01Z-00-DX1", split="train", compression="lzw"):
    if split == "train":
        top = root / "MoNuSeg 2018 Training Data"
        image, xml = top / "Tissue Images" / f"{name}.tif", top / "Annotations" / f"{name}.xml"
    else:
        image = root / "MoNuSegTestData" / f"{name}.tif"
        xml = image.with_suffix(".xml")
    for path in (image, xml):
        path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3)).astype(np.uint8)
    tifffile.imwrite(image, data, photometric="rgb", compression=compression)
    write_xml(xml, outlines)
    return image, xml


@pytest.mark.parametrize("compression", ["lzw", "packbits"])
def test_a_square_covers_the_pixels_inside_its_edges(tmp_path, compression):
    image, _ = write_pair(tmp_path, [SQUARE], compression=compression)
    reading = READER.load(READER.items(tmp_path)[0])
    expected = np.zeros(SHAPE, bool)
    expected[20:30, 10:20] = True
    np.testing.assert_array_equal(reading.sample.labels == 1, expected)
    np.testing.assert_array_equal(reading.sample.image, tifffile.imread(image))
    assert reading.sample.modality == "histology"


def test_polygon_overlap_goes_to_the_smaller_one(tmp_path):
    small = [(18, 28), (22, 28), (22, 32), (18, 32)]
    write_pair(tmp_path, [SQUARE, small])
    reading = READER.load(READER.items(tmp_path)[0])
    assert np.bincount(reading.sample.labels.ravel())[1:].tolist() == [100 - 4, 16]
    assert reading.overlap == 4


def test_touching_polygons_stay_apart(tmp_path):
    right = [(x + 10, y) for x, y in SQUARE]
    write_pair(tmp_path, [SQUARE, right])
    reading = READER.load(READER.items(tmp_path)[0])
    assert np.bincount(reading.sample.labels.ravel())[1:].tolist() == [100, 100]
    assert reading.overlap == 0


def test_neighbours_with_vertices_on_pixel_centres_share_no_pixels():
    corner = np.array([(10.5, 20.5), (17.5, 20.5), (17.5, 27.5)])
    other = np.array([(10.5, 20.5), (17.5, 27.5), (10.5, 27.5)])
    right = np.array([(17.5, 20.5), (24.5, 20.5), (24.5, 27.5), (17.5, 27.5)])
    covered = np.concatenate([rasterise(outline, SHAPE) for outline in (corner, other, right)])
    assert len(covered) == len(np.unique(covered)) == 7 * 14


def test_parts_beyond_the_picture_are_cut_off(tmp_path):
    corner = [(-5, -5), (4, -5), (4, 3), (-5, 3)]
    far = [(70, 50), (95, 50), (95, 99), (70, 99)]
    write_pair(tmp_path, [corner, far, SQUARE])
    reading = READER.load(READER.items(tmp_path)[0])
    assert np.bincount(reading.sample.labels.ravel())[1:].tolist() == [12, 100, 100]
    assert reading.clipped == 2


def test_degenerate_polygons_are_named_and_the_rest_is_read(tmp_path):
    outside = [(200, 200), (210, 200), (210, 210)]
    sliver = [(5.1, 5.1), (5.2, 5.1), (5.2, 5.2)]
    write_pair(tmp_path, [[], [(1, 1)], [(1, 1), (9, 9)], outside, sliver, SQUARE])
    reading = READER.load(READER.items(tmp_path)[0])
    assert reading.sample.n_instances == reading.sample.labels.max() == 1
    assert len(reading.lost) == 5
    for number, (vertices, text) in enumerate(zip([0, 1, 2, 3, 3], reading.lost, strict=True), 1):
        assert f"region {number} ({vertices} vertices)" in text


def test_polygon_under_smaller_ones_is_reported_as_covered(tmp_path):
    left = [(10, 20), (15, 20), (15, 30), (10, 30)]
    right = [(x + 5, y) for x, y in left]
    write_pair(tmp_path, [SQUARE, left, right])
    reading = READER.load(READER.items(tmp_path)[0])
    assert reading.sample.n_instances == 2
    assert "region 1 (4 vertices) is covered by others" in reading.lost[0]


@pytest.mark.parametrize("seed", range(8))
def test_rasteriser_equals_the_point_in_polygon_test(seed):
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 40))
    radius = rng.uniform(5, 30, 40)  # ragged, concave, partly outside
    outline = np.stack([40 + radius * np.cos(angles), 10 + radius * np.sin(angles)], -1)
    columns, rows = np.meshgrid(np.arange(SHAPE[1]) + 0.5, np.arange(SHAPE[0]) + 0.5)
    inside = Polygon(outline).contains_points(np.stack([columns.ravel(), rows.ravel()], -1))
    np.testing.assert_array_equal(rasterise(outline, SHAPE), np.flatnonzero(inside))


def test_area_of_a_disc():
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    outline = np.stack([40 + 25 * np.cos(angles), 30 + 25 * np.sin(angles)], -1)
    assert len(rasterise(outline, SHAPE)) == pytest.approx(np.pi * 25**2, rel=0.01)


def test_groups_are_patients_and_splits_are_archives(tmp_path):
    write_pair(tmp_path, [SQUARE], "TCGA-B0-5698-01Z-00-DX1")
    write_pair(tmp_path, [SQUARE], "TCGA-B0-5698-02A-01-BS2")
    write_pair(tmp_path, [SQUARE], "TCGA-AO-A0J2-01A-01-BSA", split="test")
    items = READER.items(tmp_path)
    assert [(item.group, item.split) for item in items] == [
        ("TCGA-AO-A0J2", "test"),
        ("TCGA-B0-5698", "train"),
        ("TCGA-B0-5698", "train"),
    ]
    assert items[1].id == "TCGA-B0-5698-01Z-00-DX1"


def test_one_archive_alone_is_a_layout_too(tmp_path):
    write_pair(tmp_path, [SQUARE], split="test")
    assert len(READER.items(tmp_path / "MoNuSegTestData")) == 1


def test_unpaired_files_are_named(tmp_path):
    image, xml = write_pair(tmp_path, [SQUARE])
    content = xml.read_text()
    xml.unlink()
    with pytest.raises(DataError, match=rf"without XML files:\n.*{image.name}"):
        READER.items(tmp_path)
    xml.write_text(content)
    image.unlink()
    with pytest.raises(DataError, match=rf"XML files without an image:\n.*{xml.name}"):
        READER.items(tmp_path)


@pytest.mark.parametrize("content", ["", "<Annotations>", "no xml", "<Annotations/>", "\x00\x01"])
def test_broken_or_empty_xml_is_refused_by_name(tmp_path, content):
    path = tmp_path / "a.xml"
    path.write_text(content)
    with pytest.raises(DataError, match=r"a\.xml"):
        read_regions(path)


@pytest.mark.parametrize("x", ["nan", "inf", "", "1,5"])
def test_vertex_without_a_number_is_refused(tmp_path, x):
    path = write_xml(tmp_path / "a.xml", [[(1, 2), (x, 3), (4, 4)]])
    with pytest.raises(DataError, match=r"a\.xml: region 1 has a vertex with X="):
        read_regions(path)
