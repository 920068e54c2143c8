"""The same masks as ``cellpose.models.CellposeModel.eval``."""

import numpy as np
import pytest
import torch

from helpers.data.synthetic import generate_sample
from helpers.models.cpnet import build_cpnet
from helpers.models.dynamics import load_dynamics
from helpers.own_model.checkpoint import read_model, write_model
from helpers.own_model.predict import normalised, predict
from tests.own_model.conftest import eager


def picture(shape=(64, 80)) -> np.ndarray:
    return generate_sample("synthetic-cyto", 7, 0, shape).image


@pytest.fixture(scope="module")
def eager_file(tmp_path_factory):
    """A full-width checkpoint written here."""
    path = tmp_path_factory.mktemp("written") / "eager"
    write_model(path, eager(build_cpnet(32, 0, channels=2)), 24)
    return path


@pytest.mark.parametrize("diameter", [None, 30.0, 41.0])
def test_masks_are_those_of_cellpose(eager_file, diameter, monkeypatch):
    from cellpose import models

    # Nothing of what an untrained network finds would be left by this check.
    monkeypatch.setattr(load_dynamics(), "remove_bad_flow_masks", lambda masks, *a, **k: masks)
    here = read_model(str(eager_file))
    # Without mkldnn, whose sums are rounded in another order.
    there = models.CellposeModel(gpu=False, pretrained_model=str(eager_file), mkldnn=False)
    image = picture()
    with torch.inference_mode():
        masks = predict(here, image, here.diameter(diameter))
    expected = there.eval(image, channels=[0, 0], diameter=diameter)[0]
    assert masks.max() > 0
    np.testing.assert_array_equal(masks, expected)


def test_units_do_not_matter_and_one_value_is_black_as_in_cellpose():
    image = picture()
    for factor in (1e-7, 1e4):
        seen = normalised(image * np.float32(factor))
        np.testing.assert_allclose(seen, normalised(image), atol=1e-4)
    image[:] = 0
    image[3, 3] = 255
    assert not normalised(image).any()


def test_networks_of_any_width_predict(narrow):
    model = read_model(str(narrow))
    with torch.inference_mode():
        masks = predict(model, picture()[:50, :50], model.diameter(None))
    assert masks.shape == (50, 50)
    assert masks.dtype == np.int32
