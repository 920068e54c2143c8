import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers.data.classes import changed_share, resize_classes, resize_image


def heart(side: int = 90) -> np.ndarray:
    """A ring of class 2 around a disc of class 3, and beside it a disc of class 1, as in ACDC."""
    rows, columns = np.mgrid[:side, :side]
    distance = np.hypot(rows - side * 0.5, columns - side * 0.6)
    mask = np.select([distance < side / 6, distance < side / 4], [3, 2]).astype(np.int32)
    mask[np.hypot(rows - side * 0.5, columns - side * 0.2) < side / 8] = 1
    return mask


@pytest.mark.parametrize("size", [7, 32, 64, 90, 91, 200])
def test_nearest_takes_the_pixel_under_the_centre(size):
    mask = heart()[:, :70]
    expected = F.interpolate(
        torch.from_numpy(mask)[None, None].double(), (size, size), mode="nearest-exact"
    )
    # torch counts in floating point: a centre on the border of two pixels may go either way.
    differs = resize_classes(mask, size) != expected[0, 0].numpy()
    assert differs.mean() < 0.01
    np.testing.assert_array_equal(resize_classes(mask[:, :45], 90)[::1, ::2], mask[:, :45])


@pytest.mark.parametrize("size", [16, 33, 128])
def test_nearest_invents_no_class_and_truncation_does(size):
    mask = np.where(heart() == 3, 3, 0).astype(np.int32)
    assert set(np.unique(resize_classes(mask, size))) == {0, 3}
    damaged = resize_classes(mask, size, "bilinear_truncated")
    assert {1, 2} <= set(np.unique(damaged))


@pytest.mark.parametrize("size", [32, 45, 64, 224])
def test_truncation_is_bilinear_interpolation_rounded_down(size):
    mask = heart()
    smooth = F.interpolate(
        torch.from_numpy(mask)[None, None].double(), (size, size), mode="bilinear"
    )[0, 0].numpy()
    found = resize_classes(mask, size, "bilinear_truncated")
    away = np.abs(smooth - np.round(smooth)) > 1e-4
    np.testing.assert_array_equal(found[away], np.floor(smooth[away]))
    flat = np.full((50, 37), 3, np.int32)
    assert (resize_classes(flat, size, "bilinear_truncated") == 3).all()


def test_truncation_puts_a_rim_of_ventricle_around_the_myocardium():
    mask = heart()
    mask[mask == 1] = 0
    nearest, truncated = (resize_classes(mask, 64, m) for m in ("nearest", "bilinear_truncated"))
    assert not (nearest == 1).any()
    assert (truncated == 1).sum() > 20
    change = changed_share(nearest, truncated)
    assert change.foreground > change.pixels > 0.01
    assert np.isnan(change.area_ratio[1])
    assert change.area_ratio[3] < 1 < change.area_ratio[0]


def test_changed_share_counts_pixels():
    first = np.array([[0, 1, 1, 2]])
    second = np.array([[0, 1, 2, 0]])
    change = changed_share(first, second)
    assert change.pixels == 0.5
    assert change.foreground == pytest.approx(2 / 3)
    np.testing.assert_array_equal(change.area_ratio, [2, 0.5, 1])
    same = changed_share(first * 0, first * 0)
    assert (same.pixels, same.foreground) == (0, 0)


@pytest.mark.parametrize("shape", [(60, 90), (90, 61), (40, 40)])
def test_image_and_mask_stay_aligned(shape):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    field = np.sin(rows / 9) + np.cos(columns / 7)
    image = np.stack([field, -field], axis=-1).astype(np.float32)
    resized = resize_image(image, 64)
    assert resized.shape == (64, 64, 2)
    assert resized.dtype == np.float32
    mask = resize_classes((field > 0).astype(np.int32), 64)
    # Nearest neighbour is off by up to half a pixel: only near the border of the mask.
    assert np.mean((resized[..., 0] > 0) != mask) < 0.05
    shifted = np.roll(mask, 2, axis=1)
    assert np.mean((resized[..., 0] > 0) != shifted) > 0.05


def test_shrinking_averages_what_becomes_one_pixel():
    checks = (np.indices((64, 64)).sum(axis=0) % 2).astype(np.float32)[..., None]
    assert resize_image(checks, 15).std() < 0.1
    np.testing.assert_array_equal(resize_image(checks, 64), checks)
