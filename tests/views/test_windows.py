import numpy as np
import pytest
import torch

from helpers.views.affine import Affine
from helpers.views.windows import (
    Windows,
    apply_views,
    cut_windows,
    draw_turns,
    draw_windows,
)

CPU = torch.device("cpu")


def views(angle=0.0, flip=1.0, shift=(0.0, 0.0)) -> Affine:
    one = torch.ones(1)
    return Affine(angle * one, flip * one, one, torch.tensor([shift], dtype=torch.float32))


def straight(windows):
    """The same windows, not turned."""
    n = len(windows.corners)
    one = torch.ones(n)
    return Windows(windows.corners, Affine(0 * one, one, one, torch.zeros(n, 2)))


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


@pytest.mark.parametrize("seed", range(4))
def test_a_mask_that_is_a_threshold_of_the_image_stays_that(seed):
    images, masks = waves(n=6)
    drawn = draw_turns(6, generator(seed))
    seen, seen_masks = apply_views(images, masks, drawn, fill=(-7.0,))
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


def test_angles_cover_the_circle_and_half_are_flipped():
    drawn = draw_turns(4000, generator())
    counts, _ = np.histogram(drawn.angle.numpy(), bins=8, range=(0, 2 * np.pi))
    assert counts.sum() == 4000
    assert counts.min() > 400
    assert float((drawn.flip < 0).float().mean()) == pytest.approx(0.5, abs=0.04)
    assert not drawn.shift.any()


def test_a_translated_image_shows_fill_where_it_has_gone():
    images, masks = torch.ones((1, 1, 8, 8)), torch.ones((1, 8, 8), dtype=torch.long)
    seen, seen_masks = apply_views(images, masks, views(shift=(3.0, -2.0)), fill=(5.0,))
    expected = np.zeros((8, 8), int)
    expected[:6, 3:] = 1
    np.testing.assert_array_equal(seen_masks[0], expected)
    np.testing.assert_allclose(seen[0, 0], np.where(expected, 1, 5), atol=1e-4)


def coded(height, width):
    """An image whose every pixel is its own number, and the same as a mask."""
    mask = np.arange(height * width).reshape(height, width)
    return mask[None].astype(np.float32), mask


def test_windows_of_images_of_several_sizes_lie_anywhere_inside():
    shapes = torch.tensor([(12, 15), (8, 9), (30, 8)] * 200)
    drawn = draw_windows(shapes, 8, 0.0, generator())
    for first, (height, width) in enumerate(shapes[:3].tolist()):
        found = {tuple(corner) for corner in drawn.corners[first::3].tolist()}
        assert found == {(top, left) for top in range(height - 7) for left in range(width - 7)}


def test_windows_without_turning_are_exact():
    pairs = [coded(12, 15), coded(9, 8), coded(40, 20)]
    images, masks = zip(*pairs, strict=True)
    drawn = straight(draw_windows(torch.tensor([m.shape for m in masks]), 8, 0.0, generator(3)))
    seen, seen_masks = cut_windows(images, masks, drawn, 8, CPU)
    assert seen.dtype == torch.float32
    assert seen_masks.dtype == torch.int64
    torch.testing.assert_close(seen[:, 0], seen_masks.float(), atol=2e-2, rtol=0)
    for mask, window, (top, left) in zip(masks, seen_masks, drawn.corners.tolist(), strict=True):
        np.testing.assert_array_equal(window, mask[top : top + 8, left : left + 8])


@pytest.mark.parametrize("shape", [(5, 6), (3, 20), (1, 1), (1, 9)])
def test_a_smaller_image_lies_in_the_middle_of_its_reflection(shape):
    image, mask = coded(*shape)
    drawn = straight(draw_windows(torch.tensor([shape]), 8, 0.0, generator()))
    seen, seen_masks = cut_windows([image], [mask], drawn, 8, CPU)
    pads = [((8 - s + 1) // 2, (8 - s) // 2) if s < 8 else (0, 0) for s in shape]
    expected = np.pad(mask, pads, mode="reflect")
    left = int(drawn.corners[0, 1]) if shape[1] > 8 else 0
    np.testing.assert_array_equal(seen_masks[0], expected[:8, left : left + 8])
    torch.testing.assert_close(seen[0, 0], seen_masks[0].float(), atol=2e-2, rtol=0)


def test_translated_windows_reach_beyond_the_border_and_show_its_reflection():
    image, mask = coded(10, 12)
    drawn = straight(draw_windows(torch.tensor([(10, 12)] * 500), 8, 0.25, generator()))
    corners = drawn.corners
    assert (corners.amin(dim=0) == torch.tensor([-2, -2])).all()
    assert (corners.amax(dim=0) == torch.tensor([4, 6])).all()
    _, seen = cut_windows([image] * 500, [mask] * 500, drawn, 8, CPU)
    padded = np.pad(mask, 2, mode="reflect")
    for window, (top, left) in zip(seen, corners.tolist(), strict=True):
        np.testing.assert_array_equal(window, padded[top + 2 : top + 10, left + 2 : left + 10])


def test_turned_windows_show_the_surroundings_and_never_a_blank_corner():
    ones, twos = np.ones((1, 40, 50), np.float32), np.full((40, 50), 2)
    drawn = draw_windows(torch.tensor([(40, 50)] * 64), 24, 0.5, generator())
    seen, seen_masks = cut_windows([ones] * 64, [twos] * 64, drawn, 24, CPU)
    torch.testing.assert_close(seen, torch.ones_like(seen), atol=1e-4, rtol=0)
    assert (seen_masks == 2).all()


@pytest.mark.parametrize("crop", [7, 8])
def test_quarter_turns_and_flips_turn_windows_about_their_middle(crop):
    image, mask = coded(20, 31)
    corner = torch.tensor([[5, 11]])
    expected = torch.from_numpy(mask[5 : 5 + crop, 11 : 11 + crop].copy())
    for turn, flip, move in (
        (1, 1.0, lambda m: torch.rot90(m, -1)),
        (2, 1.0, lambda m: m.flip(0, 1)),
        (0, -1.0, lambda m: m.flip(1)),
        (2, -1.0, lambda m: m.flip(0)),
    ):
        windows = Windows(corner, views(angle=turn * torch.pi / 2, flip=flip))
        seen, seen_masks = cut_windows([image], [mask], windows, crop, CPU)
        assert torch.equal(seen_masks[0], move(expected))
        torch.testing.assert_close(seen[0, 0], move(expected).float(), atol=2e-2, rtol=0)


@pytest.mark.parametrize("seed", range(3))
def test_masks_of_turned_windows_stay_thresholds_of_their_images(seed):
    (picture,), _ = waves(60, 90)
    image = picture[:1].numpy()
    drawn = draw_windows(torch.tensor([(60, 90)] * 8), 32, 0.2, generator(seed))
    seen, seen_masks = cut_windows(
        [image] * 8, [(image[0] > 0).astype(np.uint8)] * 8, drawn, 32, CPU
    )
    wrong = (seen[:, 0] > 0) != seen_masks.bool()
    assert wrong.float().mean() < 0.02
    assert not (wrong & (seen[:, 0].abs() > 0.25)).any()


def test_turns_of_windows_cover_the_circle_and_half_are_flipped():
    drawn = draw_windows(torch.tensor([(32, 40)] * 4000), 32, 0.1, generator())
    counts, _ = np.histogram(drawn.turns.angle.numpy(), bins=8, range=(0, 2 * np.pi))
    assert counts.min() > 400
    assert float((drawn.turns.flip < 0).float().mean()) == pytest.approx(0.5, abs=0.04)
    again = draw_windows(torch.tensor([(32, 40)] * 4000), 32, 0.1, generator())
    assert torch.equal(drawn.corners, again.corners)
