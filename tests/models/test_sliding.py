import math

import numpy as np
import pytest
import torch
from torch import nn

from helpers.models.semantic import build_segmenter, class_probabilities
from helpers.models.sliding import predict_sliding, predict_sliding_classes, window_starts
from tests.models.tiny_encoder import TinyEncoder

# Sides around a window of 16, a step of 8: one window, one pixel more or less, many.
SHAPES = [(16, 16), (17, 16), (15, 40), (33, 47), (1, 20), (5, 3), (64, 31)]


class PixelFunction(nn.Module):
    """Scores of a pixel from that pixel alone."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        red, green, blue = images.unbind(dim=1)
        return torch.stack([red * green, blue.square(), red - blue], dim=1)


class Decided(nn.Module):
    """The same with probabilities 0, 1/3, 1/2 and 1, which no rounding of the softmax changes."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.where(images > 0, 200.0, 0.0)


class PlaceFunction(nn.Module):
    """Scores that depend on the place inside the window, and a little on the pixel."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows, columns = (torch.arange(side) for side in images.shape[2:])
        place = torch.sin(rows[:, None] * 1.7 + columns * 0.9)
        return torch.stack([3 * place + 0 * images[:, 0], images[:, 0]], dim=1)


class Spy(nn.Module):
    """Notes what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert not self.training
        assert torch.is_inference_mode_enabled()
        self.shapes.append(tuple(images.shape))
        return images[:, :2]


def image(height, width, seed=0):
    drawn = np.random.default_rng(seed).normal(size=(3, height, width))
    return drawn.astype(np.float32)


def plain(model, picture, window, step):
    """Pad by hand, loop over windows and their pixels, divide, cut back."""
    height, width = picture.shape[1:]
    before = [max(window - side + 1, 0) // 2 for side in (height, width)]
    after = [max(window - side, 0) - b for side, b in zip((height, width), before, strict=True)]
    pads = [(0, 0), *zip(before, after, strict=True)]
    padded = np.pad(picture, pads, mode="reflect")
    tall, wide = padded.shape[1:]
    total, cover = 0, np.zeros((tall, wide))
    starts = [sorted({*range(0, side - window + 1, step), side - window}) for side in (tall, wide)]
    for top in starts[0]:
        for left in starts[1]:
            square = padded[None, :, top : top + window, left : left + window]
            found = model(torch.from_numpy(square)).softmax(dim=1)[0].double().numpy()
            whole = np.zeros((len(found), tall, wide))
            for y, x in np.ndindex(window, window):
                whole[:, top + y, left + x] = found[:, y, x]
                cover[top + y, left + x] += 1
            total = total + whole
    cut = (slice(before[0], before[0] + height), slice(before[1], before[1] + width))
    return (total / cover)[:, *cut]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("step", [5, 8, 16])
def test_a_function_of_pixels_gives_exactly_what_it_gives_on_the_whole_image(shape, step):
    picture = image(*shape)
    found = predict_sliding(Decided(), picture, 16, step, batch=3)
    expected = class_probabilities(Decided(), picture[None])[0].numpy()
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32
    # The softmax of the library differs in the last digit with the shape of its input.
    found = predict_sliding(PixelFunction(), picture, 16, step, batch=3)
    expected = class_probabilities(PixelFunction(), picture[None])[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1.2e-7, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_windows_are_averaged_as_a_plain_loop_does(shape):
    picture = image(*shape, seed=1)
    for step in (7, 16):
        found = predict_sliding(PlaceFunction(), picture, 16, step, batch=4)
        expected = plain(PlaceFunction(), picture, 16, step)
        np.testing.assert_allclose(found, expected, atol=2e-7)
        np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("side", "window", "step", "expected"),
    [
        (256, 256, 128, [0]),
        (257, 256, 128, [0, 1]),
        (384, 256, 128, [0, 128]),
        (385, 256, 128, [0, 128, 129]),
        (1000, 256, 128, [0, 128, 256, 384, 512, 640, 744]),
        (512, 256, 256, [0, 256]),
        (200, 256, 128, [-28]),
        (201, 256, 128, [-28]),
        (1, 4, 2, [-2]),
    ],
)
def test_windows_along_a_side(side, window, step, expected):
    assert window_starts(side, window, step) == expected


def test_windows_cover_every_pixel_and_are_as_many_as_geometry_says():
    for window in (1, 4, 7):
        for step in range(1, window + 1):
            for side in range(1, 40):
                starts = window_starts(side, window, step)
                assert len(starts) == max(0, math.ceil((side - window) / step)) + 1
                covered = {pixel for start in starts for pixel in range(start, start + window)}
                assert set(range(side)) <= covered
                if side >= window:
                    assert covered == set(range(side))


def test_windows_are_batched_and_seen_in_evaluation_mode():
    spy = Spy().train()
    predict_sliding(spy, image(33, 40), 16, 8, batch=5)
    # Starts 0, 8, 16, 17 and 0, 8, 16, 24.
    assert [shape[0] for shape in spy.shapes] == [5, 5, 5, 1]
    assert {shape[1:] for shape in spy.shapes} == {(3, 16, 16)}


@pytest.mark.parametrize("batch", [1, 7])
def test_a_network_gives_the_same_whatever_the_batch(batch):
    model = build_segmenter(TinyEncoder(), 3, 0, "unet", (16, 16, 16)).train()
    picture = image(40, 50)
    expected = predict_sliding(model, picture, 32, 16)
    np.testing.assert_allclose(
        predict_sliding(model, picture, 32, 16, batch=batch), expected, atol=1e-6
    )
    rough = predict_sliding(model, picture, 32, 16, precision="bfloat16")
    assert not np.array_equal(rough, expected)
    np.testing.assert_allclose(rough, expected, atol=0.05)


def test_an_image_of_one_window_is_what_the_network_gives():
    model = build_segmenter(TinyEncoder(), 3, 0, "unet", (16, 16, 16))
    picture = image(32, 32)
    expected = class_probabilities(model, picture[None])[0].numpy()
    np.testing.assert_array_equal(predict_sliding(model, picture, 32, 16), expected)


def test_classes_of_a_list_of_images_of_several_sizes():
    pictures = [image(*shape, seed=seed) for seed, shape in enumerate(SHAPES)]
    found = predict_sliding_classes(PlaceFunction(), pictures, 16, 8)
    for classes, picture in zip(found, pictures, strict=True):
        shares = predict_sliding(PlaceFunction(), picture, 16, 8)
        np.testing.assert_array_equal(classes, shares[1] > shares[0])
        assert classes.dtype == np.int32


def test_of_equal_probabilities_the_lower_class_is_taken():
    flat = np.zeros((3, 20, 20), np.float32)
    assert not predict_sliding_classes(PixelFunction(), [flat], 16, 8)[0].any()


def test_a_memory_mapped_image_is_read_as_any_other(tmp_path):
    np.save(tmp_path / "image.npy", image(20, 30))
    mapped = np.load(tmp_path / "image.npy", mmap_mode="r")
    expected = predict_sliding(PixelFunction(), image(20, 30), 16, 8)
    np.testing.assert_array_equal(predict_sliding(PixelFunction(), mapped, 16, 8), expected)
