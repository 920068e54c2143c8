"""Checkpoints of Cellpose 3 in and out, and what is refused."""

import numpy as np
import pytest
import torch

from helpers.errors import DataError, ParameterError
from helpers.files import read_torch, write_torch
from helpers.models.cpnet import build_cpnet
from helpers.own_model.checkpoint import GreyInput, digest_of, read_model, write_model


def test_a_checkpoint_of_cellposes_own_training_is_read(trained):
    model = read_model(str(trained))
    state = read_torch(trained)
    assert (model.channels, model.width, model.diam_mean) == (2, 32, 30)
    assert model.diam_labels == pytest.approx(float(state["diam_labels"]))
    assert model.diam_labels != 30
    for name, value in model.network.state_dict().items():
        torch.testing.assert_close(value, state[name].reshape(value.shape), rtol=0, atol=0)


@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_written_is_read_back(tmp_path, channels):
    network = build_cpnet(3, 5, channels).to(memory_format=torch.channels_last)
    write_model(tmp_path / "model", network, 17.5)
    model = read_model(str(tmp_path / "model"))
    assert (model.channels, model.width, model.diam_labels) == (channels, 3, 17.5)
    assert model.rescale(model.diameter(None)) == np.float32(30 / 17.5)
    assert model.diameter(12.0) == 12
    image = torch.randn(1, 1, 32, 32)
    expected = GreyInput(network.eval())(image)[0]
    torch.testing.assert_close(GreyInput(model.network.eval())(image)[0], expected)


def test_names_given_by_several_gpus_are_read(tmp_path):
    network = build_cpnet(2, 0, 2)
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    write_torch(tmp_path / "parallel", state)
    assert read_model(str(tmp_path / "parallel")).digest == digest_of(network)


def test_two_channels_get_grey_and_zeros():
    network = build_cpnet(2, 0, channels=2).eval()
    grey = torch.randn(2, 1, 16, 16)
    both = torch.cat([grey, torch.zeros_like(grey)], dim=1)
    torch.testing.assert_close(GreyInput(network)(grey)[0], network(both)[0])


def test_built_in_models_without_diameters_get_cellposes(tmp_path):
    state = build_cpnet(2, 0, 2).state_dict()
    bare = {name: value for name, value in state.items() if not name.startswith("diam")}
    for name, expected in (("cyto2torch_0", 30), ("nucleitorch_0", 17)):
        write_torch(tmp_path / name, bare)
        model = read_model(str(tmp_path / name))
        assert (model.diam_mean, model.diam_labels) == (expected, expected)


def test_random_weights_only_when_asked_for_by_name():
    one, same, other = (read_model("random:2", seed) for seed in (0, 0, 1))
    assert one.digest == same.digest != other.digest
    assert (one.channels, one.diam_labels) == (2, 30)
    for source in ("random:", "random:x", "random:0"):
        with pytest.raises(ParameterError, match="random:WIDTH"):
            read_model(source)


def test_a_model_without_a_diameter_asks_for_one(tmp_path):
    write_model(tmp_path / "model", build_cpnet(2, 0, 2), float("nan"))
    model = read_model(str(tmp_path / "model"))
    assert model.diameter(9.0) == 9
    with pytest.raises(DataError, match=r"diam_labels is nan.*--diameter"):
        model.diameter(None)


def wrong_states():
    good = build_cpnet(2, 0, 2).state_dict()
    last, first = "output.2.weight", "downsample.down.res_down_0.conv.conv_0.2.weight"
    return {
        "Cellpose 4": {"W2": torch.zeros(1), "encoder.pos_embed": torch.zeros(1)},
        "a transformer": {"encoder.pos_embed": torch.zeros(1)},
        "other tensors": {"fc.weight": torch.zeros(1)},
        "a network with 1 outputs": {**good, last: good[last][:1]},
        "takes 3 channels": {**good, first: torch.zeros(2, 3, 3, 3)},
        "do not fit": {name: v for name, v in good.items() if name != "output.2.bias"},
        r"holds network \(OrderedDict\), optimiser": {"network": good, "optimiser": {}},
        r"holds epoch \(int\)": {"epoch": 3},
        "diam_mean is nan": {**good, "diam_mean": torch.tensor([float("nan")])},
    }


@pytest.mark.parametrize("found", wrong_states())
def test_other_files_are_refused_by_name(tmp_path, found):
    write_torch(tmp_path / "model", wrong_states()[found])
    with pytest.raises(DataError, match=rf"model: .*{found}"):
        read_model(str(tmp_path / "model"))


def test_files_that_are_no_weights_are_refused(tmp_path, narrow):
    with pytest.raises(DataError, match=r"nowhere: no such file.*not fetched"):
        read_model(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="is a folder"):
        read_model(str(tmp_path))
    np.save(tmp_path / "size_cyto.npy", {"A": 1}, allow_pickle=True)
    with pytest.raises(DataError, match="size models"):
        read_model(str(tmp_path / "size_cyto.npy"))
    cut = tmp_path / "cut"
    cut.write_bytes(narrow.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"cut: not readable as saved tensors.*copy it again"):
        read_model(str(cut))
