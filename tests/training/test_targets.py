import dataclasses

import numpy as np
import pytest
import torch

from helpers.data.patches import PatchGrid
from helpers.errors import DataError
from helpers.models.dynamics import load_dynamics
from helpers.training.flows import segmentation_loss
from helpers.training.targets import build_store, flow_targets, open_store
from tests.shapes import disc_sample, discs


def test_flows_of_a_disc_point_to_its_centre_with_unit_length():
    labels = discs(41, [(20, 20, 15)])
    flow = flow_targets(labels)
    rows, columns = np.nonzero(labels)
    toward = np.stack([20 - rows, 20 - columns]).astype(float)
    far = np.hypot(*toward) > 3
    cosine = (flow[:, rows, columns] * toward).sum(axis=0)[far] / np.hypot(*toward)[far]
    assert cosine.mean() > 0.98
    np.testing.assert_allclose(np.hypot(*flow[:, rows, columns])[far], 1, atol=1e-5)
    assert not flow[:, labels == 0].any()


@pytest.mark.parametrize("numbers", [(1, 2, 3), (4, 900, 70_000)])
def test_targets_and_their_loss_are_those_of_train_seg(tmp_path, numbers):
    from cellpose.train import _loss_fn_seg

    dense = discs(48, [(12, 12, 8), (30, 34, 11), (40, 8, 5)])
    labels = np.array([0, *numbers], np.int32)[dense]
    sample = dataclasses.replace(disc_sample("a", 48), labels=labels)
    store = build_store([sample], PatchGrid(48, 48, "drop"), tmp_path / "store")
    target = np.float32(store.arrays[:, 1:])
    (theirs,) = load_dynamics().labels_to_flows([labels.copy()], device=torch.device("cpu"))
    # Foreground and two flows, kept in half precision here.
    np.testing.assert_allclose(target[0], theirs[1:], atol=5e-4)
    output = torch.randn((1, 3, 48, 48), generator=torch.Generator().manual_seed(0))
    expected = _loss_fn_seg(theirs[None, 1:], output, torch.device("cpu"))
    found = segmentation_loss(output, torch.from_numpy(target))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


def test_labels_need_not_be_contiguous_and_may_be_absent():
    labels = discs(40, [(10, 10, 6), (28, 28, 8)])
    sparse = np.where(labels == 2, 60_000, labels * 7)
    np.testing.assert_array_equal(flow_targets(labels), flow_targets(sparse))
    assert not flow_targets(np.zeros((8, 8), np.int32)).any()


def test_store_holds_patches_targets_and_groups_and_is_reused(tmp_path):
    samples = [disc_sample("a", 64, 0), disc_sample("b", 64, 1)]
    grid = PatchGrid(size=32, stride=32, edge="drop")
    store = build_store(samples, grid, tmp_path / "store")
    assert store.arrays.shape == (8, 4, 32, 32)
    assert store.groups == ["a"] * 4 + ["b"] * 4
    expected = samples[1].image[32:, :32, 0].astype(np.float16)
    np.testing.assert_array_equal(store.images[6], expected)
    np.testing.assert_array_equal(store.arrays[6, 1] > 0.5, samples[1].labels[32:, :32] > 0)
    before = (tmp_path / "store" / "patches.npy").stat().st_mtime_ns
    again = build_store(samples, grid, tmp_path / "store")
    assert (tmp_path / "store" / "patches.npy").stat().st_mtime_ns == before
    assert (again.arrays == open_store(tmp_path / "store").arrays).all()


def test_a_half_built_store_is_not_taken_for_one(tmp_path):
    (tmp_path / "store.123.part").mkdir()
    (tmp_path / "store.123.part" / "patches.npy").write_bytes(b"half")
    store = build_store([disc_sample("a")], PatchGrid(64, 64), tmp_path / "store")
    assert len(store) == 1


def test_no_patches_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="use edge='pad'"):
        build_store([disc_sample("a", 64)], PatchGrid(224, 112, "drop"), tmp_path / "store")
