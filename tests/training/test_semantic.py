import dataclasses

import numpy as np
import pytest
import torch

from helpers.errors import DataError, ParameterError
from helpers.metrics.semantic import image_confusions, semantic_scores
from helpers.models.semantic import build_segmenter, freeze_encoder, predict_classes
from helpers.training.losses import batch_dice_loss
from helpers.training.semantic import (
    SemanticPlan,
    batch_at,
    learning_rate_at,
    train_segmenter,
)
from helpers.views.jitter import Photometric
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
    return semantic_scores(image_confusions(found, VALIDATION[1], 3), "pooled").mean_dice()


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
        {"crop": 24, "rotate": False},
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
    photometric = Photometric((0.5,) * 3, (0.5,) * 3)
    plan = dataclasses.replace(PLAN, photometric=photometric)
    options = {"validation": VALIDATION, "selection": selection}
    whole, log = weights_after(plan, start=model(dropout=0.3), **options)
    options["checkpoint"] = tmp_path / "c.pt"
    with pytest.raises(Killed):
        weights_after(plan, start=model(dropout=0.3), on_step=kill_at(killed_at), **options)
    resumed, again = weights_after(plan, start=model(dropout=0.3), **options)
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


def test_one_step_is_the_published_update():
    plan = SemanticPlan(steps=1, batch_size=12, rotate=False)
    after, _ = weights_after(plan)
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


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"steps": 0}, "steps=0"),
        ({"looks": 0}, "looks=0"),
        ({"learning_rate": 0}, "learning_rate=0"),
        ({"decay_power": -1}, "decay_power=-1"),
        ({"loss": "focal"}, "loss='focal'"),
        ({"optimiser": "lion"}, "optimiser='lion'"),
        ({"precision": "float16"}, "precision='float16'"),
    ],
)
def test_impossible_plans_are_refused(change, match):
    with pytest.raises(ParameterError, match=match):
        dataclasses.replace(PLAN, **change)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"images": IMAGES.astype(np.float64)}, "images are float64"),
        ({"images": IMAGES * np.nan}, "NaN"),
        ({"masks": MASKS[:, :8]}, "masks are int32 of shape"),
        ({"masks": MASKS + 1}, "classes from 1 to 3; expected 0 to 2"),
        ({"validation": (IMAGES, MASKS - 1)}, "validation masks hold"),
        ({"validation": (IMAGES, MASKS * 0)}, "background only"),
        ({"selection": "best_validation"}, "together with validation"),
        ({"selection": "best_on_test", "validation": VALIDATION}, "'best_on_test'"),
        ({"plan": dataclasses.replace(PLAN, crop=40)}, "crop=40"),
        ({"plan": dataclasses.replace(PLAN, fill=(0.0, 0.0))}, "fill="),
        (
            {
                "images": IMAGES[:, :1],
                "plan": dataclasses.replace(PLAN, photometric=Photometric((0,) * 3, (1,) * 3)),
            },
            "photometric",
        ),
    ],
)
def test_impossible_data_are_refused(arguments, match):
    call = {"images": IMAGES, "masks": MASKS, "plan": PLAN, "seed": 0, **arguments}
    with pytest.raises(ParameterError, match=match):
        train_segmenter(model(), **call)
