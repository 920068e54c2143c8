import numpy as np
import pytest
import torch

from helpers.views.affine import Affine
from helpers.views.windows import apply_views, draw_views


def views(angle=0.0, flip=1.0, shift=(0.0, 0.0)) -> Affine:
    one = torch.ones(1)
    return Affine(angle * one, flip * one, one, torch.tensor([shift], dtype=torch.float32))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def waves(height=48, width=64, n=1):
    """A smooth picture, its opposite and a constant; and the mask of where it is positive."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    field = torch.sin(rows / 6.0 + 1) + torch.cos(columns / 8.0)
    field = field + 0.3 * torch.sin((rows + 2 * columns) / 11.0)
    images = torch.stack([field, 1 - field, torch.ones_like(field)])[None].repeat(n, 1, 1, 1)
    return images, (images[:, 0] > 0).long()


def test_a_quarter_turn_and_a_flip_move_pixels_exactly():
    images, masks = waves(32, 32)
    turned, turned_masks = apply_views(images, masks, views(angle=torch.pi / 2))
    torch.testing.assert_close(turned, torch.rot90(images, -1, (2, 3)), atol=1e-4, rtol=0)
    assert torch.equal(turned_masks, torch.rot90(masks, -1, (1, 2)))
    flipped, flipped_masks = apply_views(images, masks, views(flip=-1))
    torch.testing.assert_close(flipped, images.flip(3), atol=1e-4, rtol=0)
    assert torch.equal(flipped_masks, masks.flip(2))


def test_a_half_turn_of_an_oblong_image_is_both_flips():
    images, masks = waves(24, 40)
    turned, turned_masks = apply_views(images, masks, views(angle=torch.pi))
    torch.testing.assert_close(turned, images.flip(2, 3), atol=1e-4, rtol=0)
    assert torch.equal(turned_masks, masks.flip(1, 2))


@pytest.mark.parametrize("crop", [0, 32])
@pytest.mark.parametrize("seed", range(4))
def test_a_mask_that_is_a_threshold_of_the_image_stays_that(seed, crop):
    images, masks = waves(n=6)
    drawn = draw_views(6, (48, 64), crop, True, generator(seed))
    seen, seen_masks = apply_views(images, masks, drawn, crop, fill=(-7.0,))
    inside = seen[:, 2] > 0.999
    assert inside.float().mean() > 0.5
    # Half a pixel at the border between the classes, and nothing elsewhere.
    wrong = ((seen[:, 0] > 0) != seen_masks.bool()) & inside
    assert wrong.float().mean() < 0.02
    assert not (wrong & (seen[:, 0].abs() > 0.25)).any()
    off = ((seen[:, 0] > 0) != seen_masks.roll(3, 2).bool()) & inside
    assert off.float().mean() > 0.05


def test_outside_is_fill_and_background():
    images, masks = torch.ones((1, 2, 32, 32)), torch.ones((1, 32, 32), dtype=torch.long)
    seen, seen_masks = apply_views(images, masks, views(angle=torch.pi / 4), fill=(-2.0, 3.0))
    assert seen[0, :, 0, 0].tolist() == [-2, 3]
    assert seen_masks[0, 0, 0] == 0
    assert seen_masks[0, 16, 16] == 1
    # An eighth of a turn of a square leaves the regular octagon in it.
    assert float(seen_masks.float().mean()) == pytest.approx(2 * (2**0.5 - 1), abs=0.02)
    torch.testing.assert_close(seen[0, :, 16, 16], torch.ones(2))


def test_crops_without_turning_are_windows_of_the_image():
    images = torch.arange(12 * 15, dtype=torch.float32).reshape(1, 1, 12, 15).repeat(200, 1, 1, 1)
    masks = images[:, 0].long()
    drawn = draw_views(200, (12, 15), 8, False, generator())
    seen, seen_masks = apply_views(images, masks, drawn, 8)
    torch.testing.assert_close(seen, seen_masks[:, None].float(), atol=1e-2, rtol=0)
    corners = set()
    for window in seen_masks:
        top, left = divmod(int(window[0, 0]), 15)
        assert torch.equal(window, masks[0, top : top + 8, left : left + 8])
        corners.add((top, left))
    assert corners == {(top, left) for top in range(5) for left in range(8)}


def test_angles_cover_the_circle_and_half_are_flipped():
    drawn = draw_views(4000, (32, 32), 0, True, generator())
    counts, _ = np.histogram(drawn.angle.numpy(), bins=8, range=(0, 2 * np.pi))
    assert counts.sum() == 4000
    assert counts.min() > 400
    assert float((drawn.flip < 0).float().mean()) == pytest.approx(0.5, abs=0.04)
    assert not drawn.shift.any()


def test_crops_of_turned_images_stay_within_the_slack():
    drawn = draw_views(500, (40, 64), 32, True, generator())
    assert drawn.shift[:, 0].abs().max() <= 16
    assert drawn.shift[:, 0].abs().max() > 14
    assert drawn.shift[:, 1].abs().max() <= 4
