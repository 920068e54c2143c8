import pytest
import torch
from torch import nn

from helpers.models.cpnet import build_cpnet
from helpers.models.l2sp import Anchor, decay_groups


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))


def move(module, by):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += by


def test_value_and_gradient_are_those_of_the_formula():
    net = network()
    anchor = Anchor(net, weight=0.5, heads=("3.",))
    assert anchor.names == ("0.weight", "0.bias")
    assert anchor.penalty().item() == 0
    move(net, 0.1)
    # 18 weights and 2 biases, each 0.1 away: 0.5 / 2 * 20 * 0.01.
    assert anchor.penalty().item() == pytest.approx(0.05, rel=1e-5)
    anchor.penalty().backward()
    # The gradient is weight * (w - w_start) where anchored and nothing elsewhere.
    torch.testing.assert_close(net[0].weight.grad, torch.full((2, 1, 3, 3), 0.05))
    assert net[1].weight.grad is None
    assert net[3].weight.grad is None


def test_a_refreshed_anchor_starts_from_the_present_weights():
    net = network()
    anchor = Anchor(net, 1.0)
    move(net, 0.3)
    far = anchor.squared_distance().item()
    saved = anchor.state()
    anchor.refresh()
    assert far > 0
    assert anchor.squared_distance().item() == 0
    anchor.restore(saved)
    assert anchor.squared_distance().item() == pytest.approx(far)


def test_anchored_parameters_have_no_ordinary_weight_decay():
    net = network()
    groups = decay_groups(net, 1e-2, Anchor(net, 1.0, heads=("3.",)))
    sizes = {group["weight_decay"]: len(group["params"]) for group in groups}
    assert sizes == {1e-2: 4, 0.0: 2}
    (only,) = decay_groups(net, 1e-2)
    assert only["weight_decay"] == 1e-2
    assert len(only["params"]) == 6


def test_steps_on_the_penalty_alone_lead_back():
    net = network()
    anchor = Anchor(net, 1.0)
    move(net, 0.5)
    optimiser = torch.optim.SGD(decay_groups(net, 1.0, anchor), lr=0.5)
    for _ in range(30):
        optimiser.zero_grad()
        anchor.penalty().backward()
        optimiser.step()
    assert anchor.squared_distance().item() < 1e-6


def test_no_normalisation_of_cellposes_network_is_anchored():
    net = build_cpnet(2, 0)
    anchored = set(Anchor(net, 1.0).names)
    normal = {name for name, module in net.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert normal
    assert not any(name.rsplit(".", 1)[0] in normal for name in anchored)
    assert any(
        name.startswith("output.") and name in anchored for name, _ in net.named_parameters()
    )
