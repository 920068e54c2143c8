import dataclasses
import math

import numpy as np
import pytest
import torch

from helpers.errors import DataError, ParameterError
from helpers.models.mae import MaeArchitecture, load_mae
from helpers.pretraining.mae import (
    MaePlan,
    batch_order,
    image_statistics,
    learning_rate_at,
    pretrain_mae,
    random_crops,
    reconstruct,
    resize,
)

TINY = MaeArchitecture(
    size=32, patch=8, width=16, depth=2, heads=2, decoder_width=8, decoder_depth=1
)
PLAN = MaePlan(steps=6, batch_size=4, learning_rate=0.1, checkpoint_every=2)


def gratings(n=12, size=40):
    """Stripes of various directions and widths: a hidden patch follows from the visible ones."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    angle, period = rng.random(n) * np.pi, rng.uniform(8, 16, n)
    phase = np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y
    waves = np.sin(2 * np.pi * phase / period[:, None, None])
    return (0.5 + 0.4 * waves).astype(np.float32)


def weights(path):
    return load_mae(path)[0].state_dict()


def assert_same(first, second):
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_rate_rises_linearly_and_falls_by_half_a_cosine():
    plan = MaePlan(steps=100, batch_size=64, learning_rate=0.4, warmup_share=0.1)
    rates = [learning_rate_at(step, plan) for step in range(100)]
    np.testing.assert_allclose(rates[:10], 0.1 * np.arange(1, 11) / 10)
    expected = [0.05 * (1 + math.cos(math.pi * k / 90)) for k in range(90)]
    np.testing.assert_allclose(rates[10:], expected)
    assert all(learning_rate_at(0, MaePlan(steps=s)) > 0 for s in (1, 2, 30))


def test_every_image_is_seen_equally_often():
    order = batch_order(7, MaePlan(steps=21, batch_size=4), seed=3)
    assert (np.bincount(order.ravel()) == 12).all()


def test_the_loss_falls_on_images_that_can_be_completed(tmp_path):
    # Rings look alike in every orientation: what is hidden follows from where it lies.
    y, x = np.mgrid[:32, :32] - 15.5
    rings = np.stack([0.5 + 0.4 * np.cos(np.hypot(y, x) / 3)] * 4)
    plan = MaePlan(steps=120, batch_size=8, learning_rate=0.3, smallest_crop=0.9)
    losses = pretrain_mae(rings, TINY, plan, 0, tmp_path / "m.pt").losses
    # Predicting the mean of every patch costs 1.
    assert np.mean(losses[:5]) > 1
    assert np.mean(losses[-10:]) < 0.5


def test_bfloat16_learns_too(tmp_path):
    plan = dataclasses.replace(PLAN, steps=3, precision="bfloat16")
    exact = dataclasses.replace(PLAN, steps=3)
    found = pretrain_mae(gratings(), TINY, plan, 0, tmp_path / "b.pt").losses
    expected = pretrain_mae(gratings(), TINY, exact, 0, tmp_path / "f.pt").losses
    np.testing.assert_allclose(found, expected, rtol=0.05)
    assert found != expected


def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path):
    whole = pretrain_mae(gratings(), TINY, PLAN, 0, tmp_path / "whole.pt")

    class Killed(Exception):
        pass

    def kill(step, loss):
        if step == 5:
            raise Killed

    path = tmp_path / "parts.pt"
    with pytest.raises(Killed):
        pretrain_mae(gratings(), TINY, PLAN, 0, path, kill)
    assert not path.exists()
    seen = []
    log = pretrain_mae(gratings(), TINY, PLAN, 0, path, lambda step, loss: seen.append(step))
    assert seen == [5, 6]  # the checkpoint after step 4 was taken up
    assert log.losses == whole.losses
    assert_same(weights(tmp_path / "whole.pt"), weights(path))
    assert [p.name for p in tmp_path.glob("parts*")] == ["parts.pt"]


def test_a_finished_run_is_not_repeated_and_another_seed_differs(tmp_path):
    log = pretrain_mae(gratings(), TINY, PLAN, 0, tmp_path / "m.pt")

    def never(step, loss):
        raise AssertionError

    assert pretrain_mae(gratings(), TINY, PLAN, 0, tmp_path / "m.pt", never).losses == log.losses
    other = pretrain_mae(gratings(), TINY, PLAN, 1, tmp_path / "other.pt")
    assert other.losses != log.losses


def test_files_of_another_training_are_refused(tmp_path):
    path = tmp_path / "m.pt"
    pretrain_mae(gratings(), TINY, PLAN, 0, path)
    for seed, images in ((1, gratings()), (0, gratings(11))):
        with pytest.raises(DataError, match=r"m\.pt: belongs to another pretraining"):
            pretrain_mae(images, TINY, PLAN, seed, path)
    path.unlink()
    (tmp_path / "m.pt.checkpoint").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"m\.pt\.checkpoint"):
        pretrain_mae(gratings(), TINY, PLAN, 0, path)


def test_divergence_is_refused(tmp_path):
    path = tmp_path / "m.pt"
    wild = dataclasses.replace(PLAN, steps=50, learning_rate=1e12, warmup_share=0.01)
    with pytest.raises(ParameterError, match="pretraining diverged"):
        pretrain_mae(gratings(), TINY, wild, 0, path)


def test_uncropped_images_come_in_all_eight_orientations_and_no_other():
    image = np.random.default_rng(0).random((1, 16, 16)).astype(np.float32)
    generator = torch.Generator().manual_seed(0)
    # Ratios other than 1 shorten one side: only near 1 is the crop the whole image.
    crops = random_crops(image, np.zeros(400, int), 16, 1.0, generator)[:, 0].numpy()
    turned = [np.rot90(image[0], k) for k in range(4)]
    turned += [t[:, ::-1] for t in turned]
    whole = [[np.array_equal(crop, t) for t in turned] for crop in crops]
    assert (np.sum(whole, axis=0) > 0).all()


def test_crops_stay_inside_cover_the_stated_area_and_keep_brightness():
    size = 64
    y, x = np.mgrid[:size, :size] / (size - 1)
    both = np.stack([y, x]).astype(np.float32)
    areas = []
    for seed in range(200):
        rows = random_crops(both, np.array([0]), 32, 0.2, torch.Generator().manual_seed(seed))
        columns = random_crops(both, np.array([1]), 32, 0.2, torch.Generator().manual_seed(seed))
        assert rows.min() >= 0
        assert rows.max() <= 1
        spans = [float(part.max() - part.min()) for part in (rows, columns)]
        areas.append(spans[0] * spans[1])
    assert 0.1 < min(areas) < 0.3
    assert max(areas) > 0.85
    flat = np.full((2, 24, 40), 0.25, np.float32)
    crops = random_crops(flat, np.array([0, 1]), 16, 0.2, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(crops, 0.25, rtol=1e-6)


def test_resizing_averages_what_it_leaves_out():
    stripes = torch.zeros(1, 1, 32, 32)
    stripes[..., ::2] = 1
    small = resize(stripes, 8)
    np.testing.assert_allclose(small[..., 1:-1], 0.5, atol=0.05)


def test_statistics_are_those_of_the_clipped_pixels():
    images = np.random.default_rng(0).normal(0.5, 0.5, (9, 16, 16)).astype(np.float16)
    clipped = np.clip(images.astype(np.float64), 0, 1)
    np.testing.assert_allclose(image_statistics(images), (clipped.mean(), clipped.std()))
    assert image_statistics(np.zeros((2, 8, 8)))[1] > 0


def test_reconstruction_shows_visible_patches_and_hides_three_quarters(tmp_path):
    path = tmp_path / "m.pt"
    pretrain_mae(gratings(), TINY, PLAN, 0, path)
    images = gratings(3, 32)
    masked, painted = reconstruct(path, images, np.random.default_rng(0))
    hidden = np.isnan(masked)
    assert hidden.mean() == 0.75
    np.testing.assert_array_equal(masked[~hidden], images[~hidden])
    np.testing.assert_array_equal(painted[~hidden], images[~hidden])
    assert np.isfinite(painted).all()
    again = reconstruct(path, images, np.random.default_rng(0))[1]
    np.testing.assert_array_equal(again, painted)
