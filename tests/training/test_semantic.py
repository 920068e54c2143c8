import dataclasses

import numpy as np
import pytest
import torch

from helpers.errors import ParameterError
from helpers.metrics.semantic import image_confusions, semantic_scores
from helpers.models.semantic import build_segmenter, freeze_encoder, predict_classes
from helpers.models.sliding import predict_sliding
from helpers.randomness import batch_at
from helpers.training.losses import batch_dice_loss, semantic_loss
from helpers.training.semantic import SemanticPlan, train_segmenter
from tests.models.tiny_encoder import TinyEncoder

PLAN = SemanticPlan(steps=6, batch_size=4, looks=3, checkpoint_every=2)
# As arXiv 2307.03275 may be read.
WINDOWED = dataclasses.replace(
    PLAN, crop=24, translate=0.1, optimiser="adam", learning_rate=3e-3, decay_power=0, loss="sum"
)


def model(encoder_seed=0, dropout=0.0):
    return build_segmenter(TinyEncoder(encoder_seed, dropout=dropout), 3, 0, "unet", (16, 16, 16))


def pictures(n, seed, side=32):
    """A bright (class 1) and a dark disc (class 2) on a striped and noisy ground."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    masks = np.zeros((n, side, side), np.int32)
    for mask in masks:
        for number, left in ((1, 0), (2, side // 2)):
            row, column = rng.uniform(8, side - 8), left + rng.uniform(6, side // 2 - 6)
            mask[np.hypot(rows - row, columns - column) < rng.uniform(4, 6)] = number
    phase = rng.uniform(0, 6, (n, 1, 1))
    ground = 0.5 * np.sin((rows + columns)[None] / 2 + phase)
    shade = ground + np.array([0.0, 1.5, -1.5])[masks] + rng.normal(0, 0.3, masks.shape)
    return np.repeat(shade[:, None], 3, axis=1).astype(np.float32), masks


IMAGES, MASKS = pictures(12, 0)
VALIDATION = pictures(6, 1)


def pieces(sizes, seed):
    """Images of several sizes with their masks, as two lists."""
    images, masks = pictures(len(sizes), seed, max(max(size) for size in sizes))
    cut = [(slice(0, h), slice(0, w)) for h, w in sizes]
    return (
        [image[:, *c] for image, c in zip(images, cut, strict=True)],
        [mask[c] for mask, c in zip(masks, cut, strict=True)],
    )


# Larger than a window of 24, as large, and smaller.
PIECES, PIECE_MASKS = pieces([(40, 33), (24, 24), (48, 27), (20, 45), (16, 17)], 3)
HELD_BACK = pieces([(40, 40), (25, 48), (20, 30)], 4)


def trained(plan=PLAN, seed=0, start=None, data=(IMAGES, MASKS), **more):
    network = start or model()
    log = train_segmenter(network, *data, plan, seed, **more)
    return network, {name: value.clone() for name, value in network.state_dict().items()}, log


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def validation_dice(network):
    found = predict_classes(network, VALIDATION[0])
    return semantic_scores(image_confusions(found, VALIDATION[1], 3)).mean_dice()


def test_it_learns_discs_on_a_textured_ground():
    plan = SemanticPlan(steps=60, batch_size=8, looks=1)
    before = validation_dice(model())
    network, _, log = trained(plan, data=pictures(40, 2), validation=VALIDATION)
    assert before < 0.4
    assert log.checks[0]["dice"] == pytest.approx(validation_dice(network))
    assert log.checks[0]["dice"] > 0.75
    assert np.mean(log.losses[-5:]) < 0.6 * np.mean(log.losses[:5])


def test_it_learns_from_windows_of_images_of_any_size():
    plan = dataclasses.replace(WINDOWED, steps=60, batch_size=6, looks=2)
    data = pieces([(40, 44)] * 12, 2)
    network, _, log = trained(plan, data=data, validation=HELD_BACK)
    truth = HELD_BACK[1][0][None].astype(int)
    hit = [
        np.take_along_axis(predict_sliding(one, HELD_BACK[0][0], 24, 12), truth, 0).mean()
        for one in (model(), network)
    ]
    assert hit[1] > hit[0] + 0.2
    assert log.checks[-1]["dice"] > 0.6
    assert log.checks[-1]["loss"] < log.losses[0]


@pytest.mark.parametrize("loss", ["cross_entropy", "sum"])
def test_every_loss_falls_and_without_foreground_the_ground_is_learnt(loss):
    plan = dataclasses.replace(WINDOWED, steps=30, loss=loss, learning_rate=1e-2)
    _, _, log = trained(plan, data=(PIECES, PIECE_MASKS))
    assert np.mean(log.losses[-5:]) < 0.85 * np.mean(log.losses[:5])
    blank = [mask * 0 for mask in PIECE_MASKS]
    network, _, log = trained(plan, data=(PIECES, blank))
    assert np.isfinite(log.losses).all()
    assert predict_sliding(network, PIECES[0], 24, 12)[0].mean() > 0.9


def test_bfloat16_gives_nearly_the_losses_of_float32():
    plan = dataclasses.replace(PLAN, steps=3)
    exact = trained(plan)[2].losses
    rough = trained(dataclasses.replace(plan, precision="bfloat16"))[2].losses
    assert rough != exact
    np.testing.assert_allclose(rough, exact, rtol=0.05)


def test_a_frozen_encoder_comes_out_bit_for_bit_as_it_went_in_and_another_moves():
    network = model(dropout=0.3)
    freeze_encoder(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    _, frozen, _ = trained(start=network, validation=VALIDATION)
    _, free, _ = trained(start=model())
    for name, value in before.items():
        if name.startswith("encoder."):
            assert torch.equal(value, frozen[name])
            assert not torch.equal(value, free[name])
    assert not same(before, frozen)


def test_the_first_step_is_the_published_update(monkeypatch):
    monkeypatch.setattr(
        "helpers.training.semantic.apply_views", lambda images, masks, *_, fill: (images, masks)
    )
    _, after, _ = trained(SemanticPlan(steps=1, batch_size=12))
    network = model().train()
    rows = batch_at(0, 12, 12, 0)
    scores = network(torch.from_numpy(IMAGES[rows]))
    batch_dice_loss(scores, torch.from_numpy(MASKS[rows]).long()).backward()
    for name, weight in network.named_parameters():
        expected = weight - 0.05 * (weight.grad + 1e-4 * weight)
        torch.testing.assert_close(after[name], expected.detach(), atol=1e-5, rtol=1e-4)


def test_stacks_are_trained_on_as_in_the_recorded_runs():
    # Computed before lists of images could be trained on.
    losses = [0.6582805, 0.6222036, 0.5706102, 0.5191603, 0.4899854, 0.4601398]
    options = {"validation": VALIDATION, "selection": "best_validation"}
    np.testing.assert_allclose(trained(start=model(dropout=0.3), **options)[2].losses, losses, 1e-4)


def test_one_step_sees_every_image_once_through_a_window():
    seen = []

    class Watched(type(model())):
        def forward(self, images):
            seen.append(images.clone())
            return super().forward(images)

    network = model()
    network.__class__ = Watched
    marked = [np.full_like(image, i) for i, image in enumerate(PIECES)]
    plan = dataclasses.replace(WINDOWED, steps=2, batch_size=5)
    trained(plan, start=network, data=(marked, PIECE_MASKS))
    for batch in seen:
        assert batch.shape == (5, 3, 24, 24)
        means = batch.mean(dim=(1, 2, 3))
        # One value all over: no fill at the corners, no mixture.
        torch.testing.assert_close(batch, means[:, None, None, None].expand_as(batch))
        assert sorted(means.round().int().tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("selection", ["best_validation", "best_validation_loss"])
def test_the_weights_of_the_best_look_are_kept(selection):
    windows = selection == "best_validation_loss"
    # Rates at which the scores go up and down.
    start, rate = (WINDOWED, 0.1) if windows else (PLAN, 0.3)
    plan = dataclasses.replace(start, steps=12, looks=12, learning_rate=rate)
    data, held = ((PIECES, PIECE_MASKS), HELD_BACK) if windows else ((IMAGES, MASKS), VALIDATION)
    left = {}

    def leave(step, network):
        left[step] = {name: value.clone() for name, value in network.state_dict().items()}
        return {"own": np.float32(step / 2)}

    how = {"data": data, "validation": held, "on_look": leave}
    _, kept, log = trained(plan, 2, selection=selection, **how)
    scores = [-check["loss"] if windows else check["dice"] for check in log.checks]
    assert [check["step"] for check in log.checks] == list(range(1, 13))
    assert [check["own"] for check in log.checks] == [step / 2 for step in range(1, 13)]
    assert np.argmax(scores) < 11, "the case is of use only if the last look is not the best"
    assert log.kept == int(np.argmax(scores)) + 1
    assert same(kept, left[log.kept])
    _, last, full = trained(plan, 2, **how)
    assert full.checks == log.checks
    assert full.kept == 12
    assert same(last, left[12])


def test_the_logged_loss_is_that_of_all_validation_pixels_at_once():
    for batch in (1, 4):
        plan = dataclasses.replace(WINDOWED, steps=1, looks=1, batch_size=batch)
        network, _, log = trained(plan, data=(PIECES, PIECE_MASKS), validation=HELD_BACK)
        shares = [predict_sliding(network, image, 24, 24) for image in HELD_BACK[0]]
        # All pixels in one row: the loss of a batch does not know where pixels lie.
        row = np.concatenate([share.reshape(3, -1) for share in shares], axis=1)
        truth = np.concatenate([mask.ravel() for mask in HELD_BACK[1]])
        logits = torch.from_numpy(np.log(row))[None, :, None]
        expected = semantic_loss(logits, torch.from_numpy(truth)[None, None].long(), "sum")
        assert log.checks[0]["loss"] == pytest.approx(float(expected), abs=1e-5)
        network, _, log = trained(dataclasses.replace(plan, crop=0), validation=VALIDATION)
        scores = network(torch.from_numpy(VALIDATION[0])).detach()
        expected = semantic_loss(scores, torch.from_numpy(VALIDATION[1]).long(), "sum")
        assert log.checks[0]["loss"] == pytest.approx(float(expected), abs=1e-5)


def test_validation_without_foreground_is_refused():
    with pytest.raises(ParameterError, match="background only"):
        trained(validation=(IMAGES, MASKS * 0))
