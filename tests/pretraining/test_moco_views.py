"""Views against their parts, and who depends on what."""

import numpy as np
import torch

from helpers.pretraining.augment import cut_crops, draw_crops
from helpers.pretraining.moco_views import (
    RECIPE,
    SMALLEST_CROP,
    PairSource,
    identify,
)
from helpers.pretraining.progress import STEPS
from helpers.pretraining.twin import change_view
from helpers.randomness import step_generator
from helpers.views.jitter import JitterStrength

CPU = torch.device("cpu")


def pictures(n=6, shape=(40, 40), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape, 3), dtype=np.uint8)


def source(images, seed=0):
    return PairSource(images, np.arange(len(images)), seed, CPU)


ROWS = [np.array([0, 3, 4]), np.array([5, 1, 2]), np.array([2, 4, 0])]


def test_the_published_numbers():
    shares = (RECIPE.jitter_share, RECIPE.grey_share, RECIPE.blur_share)
    assert shares == (0.8, 0.2, 0.5)
    assert RECIPE.jitter == JitterStrength(0.4, 0.4, 0.4, 0.1)
    assert (RECIPE.solarise_share, RECIPE.stain_share, RECIPE.upside_down_share) == (0, 0, 0)
    assert SMALLEST_CROP == 0.2


def test_images_are_cropped_in_a_batch_on_the_device():
    images = pictures()
    views = source(images)
    for step, pair in enumerate(views.pairs(ROWS)):
        drawn = step_generator(0, STEPS, step)
        pixels = torch.from_numpy(images[ROWS[step]]).permute(0, 3, 1, 2).float() / 255
        crops = [draw_crops(3, 0.2, drawn) for _ in range(2)]
        expected = [change_view(cut_crops(pixels, one, 40), RECIPE, drawn) for one in crops]
        assert torch.equal(pair.first, expected[0])
        assert torch.equal(pair.second, expected[1])
        assert pair.ids.tolist() == ROWS[step].tolist()
        # What is drawn afterwards is not what was drawn for the views.
        assert torch.equal(pair.generator.get_state(), drawn.get_state())


def test_a_step_depends_on_seed_and_number_alone():
    images = pictures()
    whole = list(source(images).pairs(ROWS))
    torch.manual_seed(9)
    late = list(source(images).pairs(ROWS[1:], first=1))
    other = list(source(images, seed=1).pairs(ROWS))
    for one, again, another in zip(whole[1:], late, other[1:], strict=True):
        assert torch.equal(one.first, again.first)
        assert torch.equal(one.second, again.second)
        assert not torch.equal(one.first, another.first)


def test_images_with_the_same_pixels_are_the_same():
    images = pictures(6)
    images[4] = images[1]
    images[5] = images[1]
    ids, fingerprint = identify(images)
    assert ids.tolist() == [0, 1, 2, 3, 1, 1]
    assert identify(list(images))[1] == fingerprint
    for change in (images[::-1], images[:5], pictures(6, seed=1)):
        assert identify(change)[1] != fingerprint
    flat = np.zeros((2, 4, 9, 3), np.uint8)
    assert identify([flat[0], flat[1].reshape(9, 4, 3)])[0].tolist() == [0, 1]
