import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.data.patches import Patch, PatchGrid, corners, cut, list_patches
from helpers.errors import ParameterError


def test_published_counts_of_a_1000_pixel_image():
    # 37 MoNuSeg images of 1000 x 1000 give the paper's 2,997 patches only with padded edges.
    assert len(corners(1000, 1000, PatchGrid(edge="pad"))) == 81
    assert 37 * 81 == 2997
    assert len(corners(1000, 1000, PatchGrid(edge="drop"))) == 49


def test_an_image_smaller_than_the_window():
    assert corners(100, 100, PatchGrid(edge="pad")) == [(0, 0)]
    assert corners(100, 300, PatchGrid(edge="drop")) == []


@settings(deadline=None)
@given(
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    size=st.integers(1, 20),
    stride=st.integers(1, 20),
)
def test_padded_patches_cover_the_image_and_full_ones_lie_inside(height, width, size, stride):
    image = np.arange(1, height * width + 1).reshape(height, width)
    seen = set()
    for top, left in corners(height, width, PatchGrid(size, stride, "pad")):
        patch = cut(image, top, left, size)
        assert patch.shape == (size, size)
        seen |= set(patch.ravel()) - {0}
    if stride <= size:
        assert seen == set(image.ravel())
    for top, left in corners(height, width, PatchGrid(size, stride, "drop")):
        assert top + size <= height
        assert left + size <= width


def test_outside_is_zero_and_channels_are_kept():
    image = np.ones((10, 12, 3), np.float32)
    patch = cut(image, 8, 8, 6)
    assert patch.shape == (6, 6, 3)
    assert patch[:2, :4].all()
    assert not patch[2:].any()
    assert not patch[:, 4:].any()


def test_empty_patches_stay_unless_left_out_on_purpose():
    labels = np.zeros((40, 40), np.int32)
    labels[:4, :4] = 7
    labels[2:4, 6:9] = 9
    grid = PatchGrid(size=20, stride=20, edge="drop")
    assert len(list_patches([labels], grid)) == 4
    assert list_patches([labels], PatchGrid(20, 20, "drop", min_instances=1)) == [Patch(0, 0, 0)]
    assert list_patches([labels], PatchGrid(20, 20, "drop", min_instances=3)) == []


def test_nonsense_is_refused_by_name():
    with pytest.raises(ParameterError, match="stride 0"):
        PatchGrid(stride=0)
    with pytest.raises(ParameterError, match="edge='wrap'"):
        PatchGrid(edge="wrap")
