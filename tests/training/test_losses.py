import numpy as np
import pytest
import torch

from helpers.training.losses import PooledLoss, batch_dice_loss, semantic_loss, soft_dice


def drawn(seed=0, n=3, classes=4, side=5):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn((n, classes, side, side), generator=generator)
    return scores, torch.randint(0, classes, (n, side, side), generator=generator)


def plain_dice_loss(scores: np.ndarray, target: np.ndarray) -> float:
    """The formula, pixel by pixel."""
    n, classes, height, width = scores.shape
    dice = []
    for c in range(classes):
        shared = squares = size = 0.0
        for i, y, x in np.ndindex(n, height, width):
            p = np.exp(scores[i, c, y, x]) / np.exp(scores[i, :, y, x]).sum()
            shared += p * (target[i, y, x] == c)
            squares += p * p
            size += target[i, y, x] == c
        dice.append((2 * shared + 1e-5) / (squares + size + 1e-5))
    return 1 - sum(dice) / classes


@pytest.mark.parametrize("seed", range(3))
def test_the_dice_loss_is_the_formula(seed):
    scores, target = drawn(seed)
    expected = plain_dice_loss(scores.double().numpy(), target.numpy())
    assert float(batch_dice_loss(scores, target)) == pytest.approx(expected, abs=1e-6)


def test_of_certain_predictions_it_is_the_dice_of_the_counts():
    from helpers.metrics.semantic import class_confusion, semantic_scores

    scores, target = drawn(1)
    found = scores.argmax(dim=1)
    certain = torch.nn.functional.one_hot(found, 4).permute(0, 3, 1, 2).double()
    counts = class_confusion(found.numpy(), target.numpy(), 4)[None]
    expected = semantic_scores(counts).dice
    np.testing.assert_allclose(soft_dice(certain, target).numpy(), expected, atol=1e-5)


def test_it_is_of_the_batch_and_not_of_the_images():
    # One image with much of class 1 found, one with little of it missed.
    target = torch.zeros((2, 8, 8), dtype=torch.long)
    target[0, :, :4], target[1, 0, 0] = 1, 1
    found = target.clone()
    found[1] = 0
    certain = torch.nn.functional.one_hot(found, 2).permute(0, 3, 1, 2).double()
    assert float(soft_dice(certain, target)[1]) == pytest.approx(64 / 65, abs=1e-4)


def test_an_absent_class_costs_nothing_only_when_it_is_not_suggested():
    target = torch.zeros((1, 4, 4), dtype=torch.long)
    nothing = torch.stack([torch.ones(1, 4, 4), torch.zeros(1, 4, 4)], dim=1)
    assert soft_dice(nothing, target).tolist() == pytest.approx([1, 1])
    trace = torch.stack([torch.full((1, 4, 4), 0.9), torch.full((1, 4, 4), 0.1)], dim=1)
    assert float(soft_dice(trace, target)[1]) < 1e-3


def test_a_gradient_step_lowers_every_loss():
    for loss in ("dice", "cross_entropy", "sum"):
        scores, target = drawn(2)
        scores.requires_grad_()
        before = semantic_loss(scores, target, loss)
        before.backward()
        after = semantic_loss(scores.detach() - scores.grad, target, loss)
        assert float(after) < float(before.detach())


def test_the_sum_is_the_sum():
    scores, target = drawn(3)
    parts = [float(semantic_loss(scores, target, name)) for name in ("dice", "cross_entropy")]
    assert float(semantic_loss(scores, target, "sum")) == pytest.approx(sum(parts))
    log = -scores.log_softmax(dim=1).gather(1, target[:, None]).mean()
    assert parts[1] == pytest.approx(float(log))


def test_of_two_classes_the_sum_is_binary_cross_entropy_and_dice():
    scores, target = drawn(4, classes=2)
    logit = scores[:, 1] - scores[:, 0]
    binary = torch.nn.functional.binary_cross_entropy_with_logits(logit, target.float())
    expected = float(binary + batch_dice_loss(scores, target))
    assert float(semantic_loss(scores, target, "sum")) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("loss", ["dice", "cross_entropy", "sum"])
def test_a_batch_without_foreground_has_a_finite_loss_and_gradient(loss):
    scores, target = drawn(5, classes=2)
    scores.requires_grad_()
    value = semantic_loss(scores, target * 0, loss)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(scores.grad).all()
    # Downhill is less of the absent class.
    assert (scores.grad[:, 1] > 0).all()


@pytest.mark.parametrize("loss", ["dice", "cross_entropy", "sum"])
@pytest.mark.parametrize("absent", [False, True])
def test_the_pooled_loss_is_that_of_one_batch_however_it_is_cut(loss, absent):
    scores, target = drawn(6, n=5, side=6)
    if absent:
        target[target == 2] = 0
    shares = scores.softmax(dim=1)
    expected = float(semantic_loss(scores, target, loss))
    images, rows = PooledLoss(4, loss), PooledLoss(4, loss)
    for first in (0, 1, 3):
        upto = {0: 1, 1: 3, 3: 5}[first]
        images.add(shares[first:upto], target[first:upto])
    for row in range(6):
        rows.add(shares[:, :, row : row + 1], target[:, row : row + 1])
    assert images.value() == pytest.approx(expected, abs=1e-6)
    assert rows.value() == pytest.approx(expected, abs=1e-6)


def test_the_pooled_loss_of_a_certain_mistake_is_finite():
    pooled = PooledLoss(2, "cross_entropy")
    pooled.add(
        torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1), torch.ones((1, 1, 1), dtype=torch.long)
    )
    assert pooled.value() == pytest.approx(-np.log(np.finfo(np.float32).tiny))
