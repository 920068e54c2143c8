import dataclasses

import numpy as np
import pytest
import torch

from helpers.data.patches import PatchGrid
from helpers.errors import ParameterError
from helpers.models.cpnet import build_cpnet
from helpers.replay import Mixer, appended
from helpers.training.flows import (
    Teacher,
    TrainingPlan,
    foreground_dice,
    steps_for_epochs,
    train,
)
from helpers.training.targets import build_store
from tests.shapes import disc_sample

PLAN = TrainingPlan(steps=60, batch_size=4, crop=32)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    samples = [disc_sample(str(i), 64, i) for i in range(4)]
    return build_store(samples, PatchGrid(64, 64, "drop"), tmp_path_factory.mktemp("s") / "store")


def trained(store, network, plan=PLAN, **more):
    mixer = Mixer(appended([np.arange(4)]), plan.batch_size, 0)
    return train(network, [store], mixer, plan, 0, **more)


def test_equal_epochs_give_a_small_set_few_steps():
    # 10,063 patches x 500 epochs / 8, and 1 % of it.
    assert steps_for_epochs(500, 10_063, 8) == 628_938
    assert steps_for_epochs(500, 101, 8) == 6312
    assert steps_for_epochs(0.01, 3, 8) == 1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_reduces_the_loss(store, precision):
    plan = dataclasses.replace(PLAN, precision=precision)
    losses = trained(store, build_cpnet(4, 0), plan).losses
    assert np.mean(losses[-5:]) < 0.4 * np.mean(losses[:5])


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch_size": 0}, {"crop": 36}])
def test_plans_that_no_network_can_follow_are_refused(wrong):
    with pytest.raises(ParameterError, match="expected at least 1"):
        dataclasses.replace(PLAN, **wrong)


def test_a_teacher_pulls_the_answers_toward_its_own(store):
    plan = dataclasses.replace(PLAN, steps=30)
    images = torch.from_numpy(np.float32(store.arrays[:4, :1]))
    start = build_cpnet(2, 0).eval()
    apart = []
    for weight in (0.0, 20.0):
        network = build_cpnet(2, 0)
        log = trained(store, network, plan, teacher=Teacher(network, weight))
        with torch.no_grad():
            difference = network.train()(images)[0] - start(images)[0]
        apart.append(float((difference**2).mean()))
    assert apart[1] < 0.7 * apart[0]
    assert set(log.numbers) == {"loss", "teacher"}


def test_a_teacher_is_asked_about_new_images_alone():
    network = build_cpnet(2, 0)
    teacher = Teacher(network, 1.0)
    images = torch.rand((3, 1, 16, 16))
    output = network(images)[0].detach().requires_grad_()
    assert teacher.term(images, output, torch.tensor([1, 1, 2])).item() == 0
    teacher.term(images, output, torch.tensor([1, 0, 1])).backward()
    assert output.grad[1].abs().sum() > 0
    assert output.grad[[0, 2]].abs().sum() == 0


def test_foreground_dice_is_that_of_the_pixels(store):
    class Answer(torch.nn.Module):
        """Logits that are positive in the left half of every image."""

        def __init__(self):
            super().__init__()
            self.anything = torch.nn.Parameter(torch.zeros(1))

        def forward(self, images):
            logits = torch.full_like(images, -1.0)
            logits[..., : images.shape[-1] // 2] = 1.0
            return (torch.cat([logits] * 3, dim=1),)

    stack = np.asarray(store.arrays[:3])
    found = foreground_dice(Answer(), stack, torch.float32, crop=32, batch=2)
    truth = stack[:, 1, 16:48, 16:48] > 0.5
    half = np.zeros_like(truth)
    half[:, :, :16] = True
    expected = 2 * (truth & half).sum() / (truth.sum() + half.sum())
    assert found == pytest.approx(expected)
