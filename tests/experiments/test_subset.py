import dataclasses

import numpy as np
import pytest
import torch

from helpers.data.patches import PatchGrid
from helpers.experiments.preparation import DataSettings, prepare_data
from helpers.experiments.subset import Recipe, SubsetTrial, measure, run_subset_trial
from helpers.training.flows import TrainingPlan

SETTINGS = DataSettings(
    dataset="synthetic-cyto",
    n_images=5,
    image_size=96,
    test_share=0.4,
    max_test_images=0,
    seed=0,
    polarity="as_is",
    grid=PatchGrid(48, 24, "pad"),
)
PLAN = TrainingPlan(steps=4, batch_size=2, crop=32)
RECIPE = Recipe(width=2, plan=PLAN, seed=0)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def prepared(cache):
    return prepare_data(SETTINGS, cache)


def test_no_image_is_on_both_sides_and_test_images_are_whole(prepared):
    assert not set(prepared.train_ids) & set(prepared.test_ids)
    assert len(prepared.train_ids) == 3
    assert set(prepared.patches().groups) == set(prepared.train_ids)
    assert [s.id for s in prepared.test_samples()] == prepared.test_ids
    assert all(s.image.shape == (96, 96, 1) for s in prepared.test_samples())
    assert len(prepared.patches()) == 3 * 16


def test_what_needs_no_training_is_measured_as_models_are(prepared):
    samples = prepared.test_samples()
    assert [s.group for s in samples] == prepared.test_groups
    assert all(s.modality.startswith("fluorescence/") for s in samples)
    rows = prepared.baselines()
    assert list(rows) == ["Otsu", "every pixel"]
    for sample, row in zip(samples, rows["every pixel"], strict=True):
        share = (sample.labels > 0).mean()
        assert (row["id"], row["modality"]) == (sample.id, sample.modality)
        assert row["dice"] == row["foreground_dice"] == pytest.approx(2 * share / (1 + share))
    again = prepared.baselines()
    assert again == rows


def test_a_foreground_without_flows_is_told_from_no_foreground(prepared, tmp_path):
    class Seeing(torch.nn.Module):
        """Sees whatever is bright, and knows of no flow."""

        def __init__(self):
            super().__init__()
            self.anything = torch.nn.Parameter(torch.zeros(1))

        def forward(self, images):
            return (torch.cat([0 * images, 0 * images, images - 0.5], dim=1),)

    rows = measure(Seeing(), prepared, RECIPE, tmp_path / "examples.npz")
    for sample, row in zip(prepared.test_samples(), rows, strict=True):
        bright, truth = sample.image[..., 0] > 0.5, sample.labels > 0
        expected = 2 * (bright & truth).sum() / (bright.sum() + truth.sum())
        assert row["foreground_dice"] == pytest.approx(expected)
        assert row["dice"] == 0


def test_preparing_again_reads_and_equal_content_has_an_equal_name(prepared, cache, tmp_path):
    assert prepare_data(SETTINGS, cache) == prepared
    elsewhere = prepare_data(SETTINGS, tmp_path)
    assert elsewhere.content == prepared.content
    other = prepare_data(dataclasses.replace(SETTINGS, seed=1), tmp_path)
    assert other.content != prepared.content


def test_a_trial_measures_every_test_image_and_repeats_exactly(prepared, tmp_path):
    trial, subsets = SubsetTrial("some", RECIPE), {"some": np.array([1, 5, 20])}
    results = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        results.append(run_subset_trial(trial, tmp_path / name, prepared, subsets))
    first, second = results
    assert [row["id"] for row in first["images"]] == prepared.test_ids
    assert first["steps"] == len(first["losses"]) == 4
    assert first["n_patches"] == 3
    assert first["n_instances"] == prepared.patches().instances[[1, 5, 20]].sum()
    np.testing.assert_equal(
        {k: v for k, v in first.items() if k != "train_seconds"},
        {k: v for k, v in second.items() if k != "train_seconds"},
    )
    assert {p.name for p in (tmp_path / "a").iterdir()} == {"weights.pt", "examples.npz"}
