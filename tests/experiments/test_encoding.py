import numpy as np
import pytest

from helpers.data.patches import PatchGrid
from helpers.experiments.encoding import (
    MaeTrial,
    mae_file,
    represent,
    run_mae_trial,
    tell_kinds_apart,
)
from helpers.experiments.preparation import DataSettings, prepare_data
from helpers.features.descriptor import describe_all
from helpers.models.mae import MaeArchitecture
from helpers.pretraining.mae import MaePlan

SETTINGS = DataSettings(
    dataset="synthetic-multi",
    n_images=14,
    image_size=96,
    test_share=0.25,
    max_test_images=0,
    seed=0,
    polarity="as_is",
    grid=PatchGrid(48, 48, "pad"),
)
TRIAL = MaeTrial(
    MaeArchitecture(size=16, patch=4, width=32, depth=1, heads=1, decoder_width=32),
    MaePlan(steps=2, batch_size=4),
    seed=0,
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare_data(SETTINGS, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def folder(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mae")
    result = run_mae_trial(TRIAL, folder, prepared)
    assert result["n_patches"] == len(prepared.patches())
    assert len(result["losses"]) == 2
    assert mae_file(folder).is_file()
    return folder


@pytest.mark.parametrize(
    ("name", "dimension"), [("pixels", 1024), ("descriptor", 44), ("mae", 32), ("untrained", 32)]
)
def test_every_representation_has_one_finite_row_per_patch(prepared, folder, name, dimension):
    features = represent(name, prepared, folder)
    assert features.shape == (len(prepared.patches()), dimension)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    np.testing.assert_array_equal(features, represent(name, prepared, folder))


def test_pixels_and_descriptor_are_what_they_say(prepared):
    images = prepared.patches().images
    means = represent("pixels", prepared).mean(axis=1)
    np.testing.assert_allclose(means, np.float32(images).mean(axis=(1, 2)), atol=1e-3)
    np.testing.assert_array_equal(represent("descriptor", prepared), describe_all(images))


def test_training_changes_the_encoder_and_hiding_changes_the_features(prepared, folder):
    trained = represent("mae", prepared, folder)
    assert not np.allclose(trained, represent("untrained", prepared, folder))
    hidden = [represent("mae", prepared, folder, hidden_seed=seed) for seed in (0, 1, 0)]
    assert not np.allclose(hidden[0], hidden[1])
    np.testing.assert_array_equal(hidden[0], hidden[2])


def test_modalities_seen_in_two_images_count(prepared):
    store = prepared.patches()
    sources = {}
    for kind, group in zip(store.kinds, store.groups, strict=True):
        sources.setdefault(kind, set()).add(group)
    several = [kind for kind, groups in sources.items() if len(groups) > 1]
    told = tell_kinds_apart("pixels", [prepared])
    assert told["n_kinds"] == len(several) >= 2
    assert told["n"] == sum(store.kinds.count(kind) for kind in several)
    assert told["chance"] == pytest.approx(1 / len(several))
    assert 0 <= told["accuracy"] <= 1
