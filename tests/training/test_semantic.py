import dataclasses

import numpy as np
import pytest
import torch

from helpers.errors import DataError, ParameterError
from helpers.metrics.semantic import image_confusions, semantic_scores
from helpers.models.semantic import build_segmenter, freeze_encoder, predict_classes
from helpers.models.sliding import predict_sliding
from helpers.training.losses import batch_dice_loss, semantic_loss
from helpers.training.semantic import (
    SemanticPlan,
    batch_at,
    learning_rate_at,
    train_segmenter,
)
from tests.models.tiny_encoder import TinyEncoder

PLAN = SemanticPlan(steps=6, batch_size=4, looks=3, checkpoint_every=2)


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
SIZES = [(40, 33), (24, 24), (48, 27), (20, 45), (16, 17)]
PIECES, PIECE_MASKS = pieces(SIZES, 3)
HELD_BACK = pieces([(40, 40), (25, 48), (20, 30)], 4)
WINDOWED = dataclasses.replace(
    PLAN, crop=24, translate=0.1, optimiser="adam", learning_rate=3e-3, decay_power=0, loss="sum"
)


def weights_after(plan, seed=0, start=None, **more):
    network = start or model()
    log = train_segmenter(network, IMAGES, MASKS, plan, seed, **more)
    return {name: value.clone() for name, value in network.state_dict().items()}, log


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


class Killed(Exception):
    pass


def kill_at(step):
    def on_step(done, loss):
        if done == step:
            raise Killed

    return on_step


def validation_dice(network):
    found = predict_classes(network, VALIDATION[0])
    return semantic_scores(image_confusions(found, VALIDATION[1], 3)).mean_dice()


def test_it_learns_discs_on_a_textured_ground():
    plan = SemanticPlan(steps=60, batch_size=8, looks=1)
    images, masks = pictures(40, 2)
    network = model()
    before = validation_dice(network)
    log = train_segmenter(network, images, masks, plan, 0, VALIDATION)
    assert before < 0.4
    assert log.checks == [{"step": 60, "dice": validation_dice(network)}]
    assert log.checks[0]["dice"] > 0.75
    assert np.mean(log.losses[-5:]) < 0.6 * np.mean(log.losses[:5])
    assert log.seconds > 0


@pytest.mark.parametrize(
    "change",
    [
        {"loss": "cross_entropy"},
        {"loss": "sum"},
        {"optimiser": "adam", "learning_rate": 3e-3, "decay_power": 0},
    ],
)
def test_every_choice_lowers_the_loss(change):
    plan = dataclasses.replace(PLAN, steps=30, batch_size=6, **change)
    _, log = weights_after(plan)
    assert np.mean(log.losses[-5:]) < 0.85 * np.mean(log.losses[:5])


def test_bfloat16_gives_nearly_the_losses_of_float32():
    plan = dataclasses.replace(PLAN, steps=3)
    _, exact = weights_after(plan)
    _, rough = weights_after(dataclasses.replace(plan, precision="bfloat16"))
    assert rough.losses != exact.losses
    np.testing.assert_allclose(rough.losses, exact.losses, rtol=0.05)


def test_a_frozen_encoder_comes_out_bit_for_bit_as_it_went_in():
    network = model(dropout=0.3)
    freeze_encoder(network)
    encoder = {name: value.clone() for name, value in network.encoder.state_dict().items()}
    decoder = {name: value.clone() for name, value in network.decoder.state_dict().items()}
    weights_after(PLAN, start=network, validation=VALIDATION)
    assert same(encoder, network.encoder.state_dict())
    assert not same(decoder, network.decoder.state_dict())


def test_an_encoder_that_is_not_frozen_moves():
    network = model()
    before = {name: value.clone() for name, value in network.encoder.state_dict().items()}
    weights_after(PLAN, start=network)
    after = network.encoder.state_dict()
    assert not any(torch.equal(before[name], after[name]) for name in before)


def test_two_runs_are_identical_and_another_seed_is_not():
    torch.manual_seed(1)
    first, log = weights_after(PLAN, start=model(dropout=0.3))
    torch.manual_seed(2)
    second, again = weights_after(PLAN, start=model(dropout=0.3))
    assert same(first, second)
    assert log.losses == again.losses
    other, _ = weights_after(PLAN, seed=1, start=model(dropout=0.3))
    assert not same(first, other)


@pytest.mark.parametrize("killed_at", [1, 3, 5])
@pytest.mark.parametrize("selection", ["last", "best_validation"])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path, killed_at, selection):
    options = {"validation": VALIDATION, "selection": selection}
    whole, log = weights_after(PLAN, start=model(dropout=0.3), **options)
    options["checkpoint"] = tmp_path / "c.pt"
    with pytest.raises(Killed):
        weights_after(PLAN, start=model(dropout=0.3), on_step=kill_at(killed_at), **options)
    resumed, again = weights_after(PLAN, start=model(dropout=0.3), **options)
    assert same(whole, resumed)
    assert (again.losses, again.checks, again.kept) == (log.losses, log.checks, log.kept)


def test_a_finished_run_is_not_done_again(tmp_path):
    options = {"checkpoint": tmp_path / "c.pt", "validation": VALIDATION}
    options["selection"] = "best_validation"
    first, log = weights_after(PLAN, **options)
    steps = []
    second, again = weights_after(PLAN, on_step=lambda *step: steps.append(step), **options)
    assert steps == []
    assert same(first, second)
    assert again == log


@pytest.mark.parametrize("change", ["seed", "plan", "start", "frozen", "masks", "looks"])
def test_a_checkpoint_of_another_training_is_refused(tmp_path, change):
    path = tmp_path / "c.pt"
    weights_after(PLAN, checkpoint=path)
    network, masks, plan = model(), MASKS.copy(), PLAN
    if change == "start":
        network = model(encoder_seed=1)
    if change == "frozen":
        freeze_encoder(network)
    if change == "plan":
        plan = dataclasses.replace(PLAN, learning_rate=0.01)
    if change == "masks":
        masks[0, 0, 0] += 1
    seed = int(change == "seed")
    validation = VALIDATION if change == "looks" else None
    with pytest.raises(DataError, match=r"c\.pt: not a checkpoint of this training"):
        train_segmenter(network, IMAGES, masks, plan, seed, validation, checkpoint=path)


def test_a_broken_checkpoint_is_named(tmp_path):
    (tmp_path / "c.pt").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"c\.pt"):
        weights_after(PLAN, checkpoint=tmp_path / "c.pt")


def test_selection_keeps_the_step_with_the_best_validation():
    # A rate at which the score goes up and down.
    plan = dataclasses.replace(PLAN, steps=12, looks=12, learning_rate=0.3)
    network = model()
    kept, log = weights_after(plan, 2, network, validation=VALIDATION, selection="best_validation")
    scores = [check["dice"] for check in log.checks]
    assert [check["step"] for check in log.checks] == list(range(1, 13))
    assert np.argmax(scores) < 11, "the case is of use only if the last look is not the best"
    assert log.kept == int(np.argmax(scores)) + 1
    assert validation_dice(network) == max(scores)
    last, full = weights_after(plan, 2, validation=VALIDATION)
    assert full.checks == log.checks
    assert full.kept == 12
    assert not same(kept, last)


def test_looking_changes_nothing():
    seen, _ = weights_after(PLAN, start=model(dropout=0.3), validation=VALIDATION)
    unseen, log = weights_after(PLAN, start=model(dropout=0.3))
    assert same(seen, unseen)
    assert log.checks == []


def test_looks_are_spread_evenly_and_end_with_the_training():
    assert SemanticPlan(steps=100, looks=4).look_steps == (25, 50, 75, 100)
    assert SemanticPlan(steps=2, looks=10).look_steps == (1, 2)


@pytest.mark.parametrize("power", [0, 0.9, 2])
def test_the_rate_decays_as_a_polynomial(power):
    plan = SemanticPlan(steps=50, learning_rate=0.05, decay_power=power)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=0.05)
    oracle = torch.optim.lr_scheduler.PolynomialLR(optimiser, total_iters=50, power=power)
    for step in range(50):
        assert learning_rate_at(step, plan) == pytest.approx(optimiser.param_groups[0]["lr"])
        assert learning_rate_at(step, plan) > 0
        optimiser.step()
        oracle.step()


def test_one_step_is_the_published_update(monkeypatch):
    monkeypatch.setattr(
        "helpers.training.semantic.apply_views", lambda images, masks, *_, fill: (images, masks)
    )
    after, _ = weights_after(SemanticPlan(steps=1, batch_size=12))
    network = model().train()
    rows = batch_at(0, 12, 12, 0)
    scores = network(torch.from_numpy(IMAGES[rows]))
    batch_dice_loss(scores, torch.from_numpy(MASKS[rows]).long()).backward()
    for name, weight in network.named_parameters():
        expected = weight - 0.05 * (weight.grad + 1e-4 * weight)
        torch.testing.assert_close(after[name], expected.detach(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("n", "batch"), [(12, 4), (10, 4), (3, 8), (1, 2)])
def test_batches_are_whole_permutations_in_a_row(n, batch):
    steps = 2 * n
    row = np.concatenate([batch_at(step, n, batch, 5) for step in range(steps)])
    passes = row[: len(row) // n * n].reshape(-1, n)
    np.testing.assert_array_equal(np.sort(passes, axis=1), np.tile(np.arange(n), (len(passes), 1)))
    if n > 3:
        assert len({tuple(order) for order in passes.tolist()}) == len(passes)
        assert not np.array_equal(batch_at(0, n, batch, 5), batch_at(0, n, batch, 6))


def test_divergence_names_the_learning_rate():
    plan = dataclasses.replace(PLAN, steps=30, learning_rate=1e30)
    with pytest.raises(ParameterError, match="learning_rate"):
        weights_after(plan)


def test_stacks_are_trained_on_as_in_the_recorded_runs():
    # Computed before lists of images could be trained on.
    losses = [0.6582805, 0.6222036, 0.5706102, 0.5191603, 0.4899854, 0.4601398]
    options = {"validation": VALIDATION, "selection": "best_validation"}
    _, log = weights_after(PLAN, start=model(dropout=0.3), **options)
    np.testing.assert_allclose(log.losses, losses, rtol=1e-4)


def test_validation_without_foreground_is_refused():
    with pytest.raises(ParameterError, match="background only"):
        train_segmenter(model(), IMAGES, MASKS, PLAN, 0, (IMAGES, MASKS * 0))


def windowed(plan=WINDOWED, seed=0, start=None, **more):
    network = start or model()
    log = train_segmenter(network, PIECES, PIECE_MASKS, plan, seed, **more)
    return {name: value.clone() for name, value in network.state_dict().items()}, log


def test_it_learns_from_windows_of_images_of_any_size():
    plan = dataclasses.replace(WINDOWED, steps=60, batch_size=6, looks=2)
    network = model()
    before = predict_sliding(network, HELD_BACK[0][0], 24, 12)
    log = train_segmenter(network, *pieces([(40, 44)] * 12, 2), plan, 0, HELD_BACK)
    after = predict_sliding(network, HELD_BACK[0][0], 24, 12)
    truth = HELD_BACK[1][0]
    hit = [np.take_along_axis(p, truth[None].astype(int), 0).mean() for p in (before, after)]
    assert hit[1] > hit[0] + 0.2
    assert log.checks[-1]["dice"] > 0.6
    assert log.checks[-1]["loss"] < log.losses[0]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_one_image_is_a_training_set(batch_size):
    plan = dataclasses.replace(WINDOWED, steps=25, batch_size=batch_size)
    log = train_segmenter(model(), PIECES[:1], PIECE_MASKS[:1], plan, 0)
    assert len(log.losses) == 25
    assert np.mean(log.losses[-5:]) < 0.85 * np.mean(log.losses[:5])


@pytest.mark.parametrize("loss", ["dice", "cross_entropy", "sum"])
def test_without_any_foreground_it_learns_background(loss):
    steps = 5 if loss == "dice" else 40
    plan = dataclasses.replace(WINDOWED, steps=steps, loss=loss, learning_rate=1e-2)
    network = model()
    blank = [mask * 0 for mask in PIECE_MASKS]
    log = train_segmenter(network, PIECES, blank, plan, 0)
    assert np.isfinite(log.losses).all()
    if loss != "dice":
        assert predict_sliding(network, PIECES[0], 24, 12)[0].mean() > 0.9


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
    train_segmenter(network, marked, PIECE_MASKS, plan, 0)
    for batch in seen:
        assert batch.shape == (5, 3, 24, 24)
        means = batch.mean(dim=(1, 2, 3))
        # One value all over: no fill at the corners, no mixture.
        torch.testing.assert_close(batch, means[:, None, None, None].expand_as(batch))
        assert sorted(means.round().int().tolist()) == [0, 1, 2, 3, 4]


def test_the_logged_loss_is_that_of_all_validation_pixels_at_once():
    _, log = weights_after(
        dataclasses.replace(PLAN, loss="sum"),
        start=(network := model()),
        validation=VALIDATION,
        selection="best_validation_loss",
    )
    scores = network(torch.from_numpy(VALIDATION[0])).detach()
    expected = float(semantic_loss(scores, torch.from_numpy(VALIDATION[1]).long(), "sum"))
    best = min(log.checks, key=lambda check: check["loss"])
    assert best["loss"] == pytest.approx(expected, abs=1e-5)
    assert log.kept == best["step"]
    assert best["dice"] == pytest.approx(validation_dice(network))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_loss_of_a_list_is_that_of_its_windows(batch_size):
    network = model()
    plan = dataclasses.replace(WINDOWED, steps=1, looks=1, batch_size=batch_size)
    log = train_segmenter(network, PIECES, PIECE_MASKS, plan, 0, HELD_BACK)
    shares = [predict_sliding(network, image, 24, 24) for image in HELD_BACK[0]]
    # All pixels in one row: the loss of a batch does not know where pixels lie.
    row = np.concatenate([share.reshape(3, -1) for share in shares], axis=1)
    truth = np.concatenate([mask.ravel() for mask in HELD_BACK[1]])
    logits = torch.from_numpy(np.log(row))[None, :, None]
    expected = semantic_loss(logits, torch.from_numpy(truth)[None, None].long(), "sum")
    assert log.checks[0]["loss"] == pytest.approx(float(expected), abs=1e-5)


def test_the_look_with_the_lowest_loss_is_kept():
    plan = dataclasses.replace(WINDOWED, steps=12, looks=12, learning_rate=0.1)
    options = {"validation": HELD_BACK, "selection": "best_validation_loss"}
    left = {}

    def leave(step, network):
        left[step] = {name: value.clone() for name, value in network.state_dict().items()}

    kept, log = windowed(plan, 1, on_look=leave, **options)
    losses = [check["loss"] for check in log.checks]
    assert np.argmin(losses) < 11, "the case is of use only if the last look is not the best"
    assert log.kept == int(np.argmin(losses)) + 1
    assert same(kept, left[log.kept])
    assert not same(kept, left[12])


def test_a_look_gives_the_network_of_that_step():
    plan = dataclasses.replace(WINDOWED, looks=3)
    left = {}

    def leave(step, network):
        assert not network.training
        left[step] = {name: value.clone() for name, value in network.state_dict().items()}
        torch.rand(step)
        return {"score": np.float32(step / 2)}

    last, log = windowed(plan, start=model(dropout=0.3), on_look=leave)
    unseen, blind = windowed(plan, start=model(dropout=0.3))
    assert log.checks == [{"step": s, "score": s / 2} for s in (2, 4, 6)]
    assert same(left[6], last)
    assert same(unseen, last)
    assert blind.checks == []
    shorter, _ = windowed(dataclasses.replace(plan, steps=4), start=model(dropout=0.3))
    assert same(left[4], shorter)


@pytest.mark.parametrize("killed_at", [1, 3, 4, 5])
def test_an_interrupted_run_has_the_looks_of_an_uninterrupted_one(tmp_path, killed_at):
    plan = dataclasses.replace(WINDOWED, looks=6)
    options = {"validation": HELD_BACK, "selection": "best_validation_loss"}

    def measure(seen):
        def on_look(step, network):
            seen.setdefault(step, []).append(network.head[0].weight.detach().clone())
            return {"own": float(seen[step][-1].abs().sum())}

        return on_look

    whole, log = windowed(plan, start=model(dropout=0.3), on_look=measure(first := {}), **options)
    options["checkpoint"] = tmp_path / "c.pt"
    options["on_look"] = measure(second := {})
    with pytest.raises(Killed):
        windowed(plan, start=model(dropout=0.3), on_step=kill_at(killed_at), **options)
    resumed, again = windowed(plan, start=model(dropout=0.3), **options)
    assert same(whole, resumed)
    assert (again.losses, again.checks, again.kept) == (log.losses, log.checks, log.kept)
    assert sorted(second) == sorted(first) == [1, 2, 3, 4, 5, 6]
    for step, weights in second.items():
        assert all(torch.equal(one, first[step][0]) for one in weights)


def test_a_kill_inside_a_look_loses_nothing(tmp_path):
    whole, log = windowed(on_look=lambda step, network: {"own": 1.0})

    def die(step, network):
        if step == 4:
            raise Killed
        return {"own": 1.0}

    with pytest.raises(Killed):
        windowed(checkpoint=tmp_path / "c.pt", on_look=die)
    again, resumed = windowed(
        checkpoint=tmp_path / "c.pt", on_look=lambda step, network: {"own": 1.0}
    )
    assert same(whole, again)
    assert resumed.checks == log.checks


@pytest.mark.parametrize("change", ["image", "mask", "order", "on_look"])
def test_a_checkpoint_of_other_lists_is_refused(tmp_path, change):
    path = tmp_path / "c.pt"
    windowed(checkpoint=path)
    images, masks = list(PIECES), list(PIECE_MASKS)
    more = {}
    if change == "image":
        images[1] = images[1] + 1
    if change == "mask":
        masks[1] = masks[1] * 0
    if change == "order":
        images.reverse()
        masks.reverse()
    if change == "on_look":
        more["on_look"] = lambda step, network: None
    with pytest.raises(DataError, match=r"c\.pt: not a checkpoint of this training"):
        train_segmenter(model(), images, masks, WINDOWED, 0, checkpoint=path, **more)
