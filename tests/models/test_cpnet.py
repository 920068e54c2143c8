import numpy as np
import pytest
import torch

from helpers.errors import DataError, ParameterError
from helpers.models.cpnet import build_cpnet, load_weights, memory_format, save_weights
from helpers.models.device import resolve_device, resolve_precision
from helpers.models.predict import MaskOptions, flows_to_masks, predict_flows, predict_masks
from helpers.training.targets import flow_targets
from tests.shapes import discs


def test_full_width_has_cellposes_number_of_parameters():
    n_parameters = sum(p.numel() for p in build_cpnet(32, 0, channels=2).parameters())
    assert round(n_parameters / 1e6, 2) == 6.60


def test_only_the_full_network_in_float32_on_the_cpu_has_its_channels_first():
    full, half = build_cpnet(32, 0), build_cpnet(16, 0)
    assert memory_format(full, torch.float32) == torch.contiguous_format
    assert memory_format(full, torch.bfloat16) == torch.channels_last
    assert memory_format(half, torch.float32) == torch.channels_last
    assert memory_format(full.to("meta"), torch.float32) == torch.channels_last


def test_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    first = build_cpnet(2, 5).state_dict()
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1)), "building a network must not use the global generator"
    second = build_cpnet(2, 5).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_saved_weights_come_back_and_wrong_ones_are_refused(tmp_path):
    network, other = build_cpnet(2, 0), build_cpnet(2, 1)
    save_weights(network, tmp_path / "w.pt")
    load_weights(other, tmp_path / "w.pt")
    image = torch.rand((1, 1, 32, 32))
    assert torch.equal(network.eval()(image)[0], other.eval()(image)[0])
    with pytest.raises(DataError, match=r"w\.pt"):
        load_weights(build_cpnet(4, 0), tmp_path / "w.pt")
    (tmp_path / "w.pt").write_bytes(b"")
    with pytest.raises(DataError, match=r"w\.pt"):
        load_weights(other, tmp_path / "w.pt")


def test_a_width_of_zero_is_refused():
    with pytest.raises(ParameterError, match="width=0"):
        build_cpnet(0, 0)


@pytest.mark.parametrize("shape", [(40, 56), (37, 51), (300, 250), (9, 8)])
def test_output_has_the_size_of_the_image(shape):
    image = np.random.default_rng(0).random(shape).astype(np.float32)
    network = build_cpnet(2, 0)
    assert predict_flows(network, image, torch.float32, MaskOptions()).shape == (3, *shape)
    masks = predict_masks(network, image)
    assert masks.shape == shape
    assert masks.dtype == np.int32


def test_prediction_leaves_the_statistics_of_the_network_alone():
    network = build_cpnet(2, 0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    predict_masks(network, np.random.default_rng(0).random((64, 64)).astype(np.float32))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_true_flows_give_back_the_true_instances():
    labels = discs(120, [(30, 30, 14), (30, 58, 14), (80, 80, 20), (90, 25, 9)])
    flows = np.concatenate([5 * flow_targets(labels), np.where(labels > 0, 5.0, -5.0)[None]])
    masks = flows_to_masks(flows.astype(np.float32), MaskOptions())
    assert masks.max() == 4
    for instance in range(1, 5):
        found = np.bincount(masks[labels == instance]).argmax()
        both = ((masks == found) & (labels == instance)).sum()
        assert both / ((masks == found) | (labels == instance)).sum() > 0.9


def test_devices_and_precisions_are_taken_at_their_word():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_precision("float32", torch.device("cpu")) == torch.float32
    assert resolve_precision("bfloat16", torch.device("cpu")) == torch.bfloat16
    with pytest.raises(ParameterError, match="device='tpu'"):
        resolve_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ParameterError, match="not on this machine"):
            resolve_device("cuda")
