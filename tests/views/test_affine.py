import numpy as np
import pytest
import torch

from helpers.training.targets import flow_targets
from helpers.views.affine import Affine, apply_affine, draw_affine
from tests.shapes import discs


def stack_of(labels: np.ndarray) -> torch.Tensor:
    flow = flow_targets(labels)
    parts = [labels[None] / 10, (labels > 0)[None], flow]
    return torch.from_numpy(np.concatenate(parts).astype(np.float32))[None]


def affine(angle=0.0, flip=1.0, scale=1.0, shift=(0.0, 0.0)) -> Affine:
    as_tensor = [torch.tensor([float(value)]) for value in (angle, flip, scale)]
    return Affine(*as_tensor, torch.tensor([shift], dtype=torch.float32))


@pytest.fixture(scope="module")
def stack() -> torch.Tensor:
    return stack_of(discs(64, [(18, 22, 9), (40, 44, 12), (44, 14, 7)]))


def test_identity_changes_nothing(stack):
    torch.testing.assert_close(apply_affine(stack, affine(), 64), stack, atol=1e-5, rtol=0)


def test_a_quarter_turn_and_a_flip_move_pixels_exactly(stack):
    # y points down: the turn that takes x to y takes the right edge to the bottom.
    turned = apply_affine(stack, affine(angle=torch.pi / 2), 64)
    torch.testing.assert_close(turned[0, 0], torch.rot90(stack[0, 0], -1), atol=1e-4, rtol=0)
    flipped = apply_affine(stack, affine(flip=-1), 64)
    torch.testing.assert_close(flipped[0, 0], stack[0, 0].flip(-1), atol=1e-4, rtol=0)
    torch.testing.assert_close(flipped[0, 3], -stack[0, 3].flip(-1), atol=1e-4, rtol=0)
    torch.testing.assert_close(flipped[0, 2], stack[0, 2].flip(-1), atol=1e-4, rtol=0)


def test_shift_is_in_pixels_of_the_crop(stack):
    moved = apply_affine(stack, affine(shift=(5, -3)), 64)
    torch.testing.assert_close(moved[0, 0, :-3, 5:], stack[0, 0, 3:, :-5], atol=1e-4, rtol=0)


@pytest.mark.parametrize("seed", range(6))
def test_augmented_flow_is_the_flow_of_the_augmented_labels(seed):
    labels = discs(96, [(30, 34, 12), (60, 62, 15), (66, 26, 11)])
    stack = stack_of(labels)
    drawn = draw_affine(1, 96, 80, 0.5, torch.Generator().manual_seed(seed))
    warped = apply_affine(stack, drawn, 80)[0].numpy()
    # Each instance is warped alone, so that labels are not mixed by interpolation.
    alone = [stack_of((labels == k) * 10)[:, :2] for k in (1, 2, 3)]
    alone = [torch.cat([a, torch.zeros_like(a)], dim=1) for a in alone]
    masks = [apply_affine(a, drawn, 80)[0, 1].numpy() > 0.5 for a in alone]
    # An instance cut by the border has another centre than before.
    masks = [m * (not (m[[0, -1]].any() or m[:, [0, -1]].any())) for m in masks]
    assert sum(m.any() for m in masks) >= 1
    new_labels = sum((k + 1) * mask for k, mask in enumerate(masks)).astype(np.int32)
    expected = flow_targets(new_labels)
    inside = (warped[1] > 0.99) & (new_labels > 0)
    cosine = (warped[2:] * expected).sum(axis=0)[inside]
    assert cosine.mean() > 0.95
    assert abs(np.hypot(*warped[2:])[inside].mean() - 1) < 0.05


def test_draws_depend_on_the_generator_alone_and_cover_the_range():
    first = draw_affine(500, 224, 112, 0.5, torch.Generator().manual_seed(1))
    again = draw_affine(500, 224, 112, 0.5, torch.Generator().manual_seed(1))
    torch.testing.assert_close(first.shift, again.shift)
    assert first.scale.min() >= 0.75
    assert first.scale.max() <= 1.25
    assert 0.4 < (first.flip > 0).float().mean() < 0.6
    assert first.angle.max() > 6
