"""Small labelled folders and checkpoints for all tests of this room."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.data.datasets import SyntheticSpec, open_dataset
from helpers.models.cpnet import build_cpnet
from helpers.models.dynamics import load_dynamics
from helpers.own_model.checkpoint import write_model


def write_folder(root: Path, name: str, count: int, size: int = 64) -> Path:
    """``NAME.png`` with ``NAME_masks.png``, from a synthetic data set."""
    root.mkdir(parents=True, exist_ok=True)
    spec = SyntheticSpec(n_images=count, seed=1, size=(size, size))
    for sample in open_dataset(name, synthetic=spec):
        Image.fromarray(sample.image.astype(np.uint8)).save(root / f"{sample.id}.png")
        labels = Image.fromarray(sample.labels.astype(np.uint16))
        labels.save(root / f"{sample.id}_masks.png")
    return root


def eager(network: torch.nn.Module) -> torch.nn.Module:
    """The network with outputs so large that it finds something without having been trained."""
    with torch.no_grad():
        network.output[2].weight[:2] *= 30
        network.output[2].bias[2] += 1
    return network


@pytest.fixture
def cells(tmp_path):
    return write_folder(tmp_path / "cells", "synthetic-cyto", 5)


@pytest.fixture
def tissue(tmp_path):
    return write_folder(tmp_path / "tissue", "synthetic-histo", 4)


@pytest.fixture
def narrow(tmp_path):
    """A checkpoint of width 2 whose objects were 20 px wide."""
    path = tmp_path / "narrow"
    write_model(path, eager(build_cpnet(2, 0, channels=2)), 20)
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A checkpoint by ``cellpose.train.train_seg``: full width, two epochs on four images."""
    load_dynamics()
    from cellpose import train

    root = tmp_path_factory.mktemp("train_seg")
    spec = SyntheticSpec(n_images=4, seed=0, size=(64, 64))
    samples = list(open_dataset("synthetic-cyto", synthetic=spec))
    path, _, _ = train.train_seg(
        build_cpnet(32, 0, channels=2),
        train_data=[sample.image for sample in samples],
        train_labels=[sample.labels for sample in samples],
        channels=[0, 0],
        SGD=True,
        learning_rate=0.1,
        n_epochs=2,
        bsize=64,
        min_train_masks=0,
        save_path=root,
        model_name="mine",
    )
    return Path(path)
