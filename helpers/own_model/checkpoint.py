"""Checkpoints of Cellpose 3: read whatever it wrote, write what it reads."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from helpers.errors import DataError, ParameterError
from helpers.features.encoders import read_weights
from helpers.files import write_torch
from helpers.models.cpnet import build_cpnet

RANDOM = "random:"
# What Cellpose takes where a file names no diameter: older built-in models name none.
STANDARD_DIAMETER, NUCLEI_DIAMETER = 30.0, 17.0
# The only width that cellpose.models.CellposeModel builds.
CELLPOSE_WIDTH = 32
FIRST, LAST = "downsample.down.res_down_0.conv.conv_0.2.weight", "output.2.weight"
DIAMETERS = ("diam_mean", "diam_labels")
EXPECTED = "Expected a segmentation model of Cellpose 1, 2 or 3 (a CPnet with three outputs)"


@dataclass(frozen=True, eq=False)
class Model:
    """A network with what its file tells about it.

    Attributes:
        name: file name, or ``random-WIDTH``.
        source: as it was asked for.
        network: CPnet; takes (n, channels, height, width).
        channels: 2 (Cellpose's default: grey and zeros) or 1.
        width: channels of the first of four levels; 32 in Cellpose.
        diam_mean: pixels, size to which objects were brought in training.
        diam_labels: pixels, mean size of the annotated objects it was trained on.
        digest: sha256 of the weights.
    """

    name: str
    source: str
    network: nn.Module
    channels: int
    width: int
    diam_mean: float
    diam_labels: float
    digest: str

    def diameter(self, chosen: float | None) -> float:
        """The diameter to predict with, pixels: ``chosen``, or the model's own ``diam_labels``.

        Raises:
            DataError: none was chosen and the model has none.
        """
        if chosen is not None:
            return chosen
        if not (np.isfinite(self.diam_labels) and self.diam_labels > 0):
            raise DataError(
                f"{self.source}: diam_labels is {self.diam_labels:g}, expected a size in pixels "
                "(training on images without objects does that). Name one with --diameter."
            )
        return self.diam_labels

    def rescale(self, diameter: float) -> np.float32:
        """Factor by which images are resized for the network: ``diam_mean / diameter``.

        In 32 bits as in Cellpose, so that rounding gives the same size in pixels.
        """
        return np.float32(self.diam_mean) / np.float32(diameter)


class GreyInput(nn.Module):
    """A CPnet that is given one grey channel, whatever number it takes.

    Cellpose calls that ``channels=[0, 0]``: the second of two channels is zero.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Output of the network for images (n, 1, height, width)."""
        lacking = self.network.nchan - images.shape[1]
        if lacking:
            n, _, height, width = images.shape
            images = torch.cat([images, images.new_zeros(n, lacking, height, width)], dim=1)
            images = images.contiguous(memory_format=torch.channels_last)
        return self.network(images)


def read_model(source: str, seed: int = 0) -> Model:
    """A checkpoint from ``cellpose.train.train_seg``, from here, or a built-in file of Cellpose.

    Args:
        source: path, or ``random:WIDTH`` for a network with random weights.
        seed: of random weights.

    Raises:
        DataError: no such file; cut off; of Cellpose 4, of a size model or of another network.
        ParameterError: ``random:`` without a width.
    """
    if source.startswith(RANDOM):
        return _random(source, seed)
    path = Path(source).expanduser()
    state = _read_state(path)
    channels, width = _shape(path, state)
    network = build_cpnet(width, 0, channels)
    mean, labels = _diameters(path, state)
    state = {**state, "diam_mean": torch.tensor([mean]), "diam_labels": torch.tensor([labels])}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        lines = " ".join(line.strip() for line in str(error).splitlines()[1:3])[:300]
        raise DataError(
            f"{path}: its tensors do not fit a CPnet of width {width} ({lines}). {EXPECTED}."
        ) from error
    return Model(path.name, source, network, channels, width, mean, labels, digest_of(network))


def write_model(path: Path, network: nn.Module, diameter: float) -> None:
    """Write a CPnet as Cellpose does, complete or not at all.

    Args:
        network: CPnet on any device.
        diameter: pixels; becomes ``diam_labels``, with which ``CellposeModel.eval`` predicts
            unless it is given another.
    """
    state = {
        name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()
    }
    write_torch(path, {**state, "diam_labels": torch.tensor([float(diameter)])})


def digest_of(network: nn.Module) -> str:
    """Sha256 over names and values of all weights."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _random(source: str, seed: int) -> Model:
    width = source.removeprefix(RANDOM)
    if not width.isdecimal() or not int(width):
        raise ParameterError(f"model {source!r}: expected random:WIDTH, for instance random:32")
    network = build_cpnet(int(width), seed, channels=2)
    size = STANDARD_DIAMETER
    return Model(f"random-{width}", source, network, 2, int(width), size, size, digest_of(network))


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise DataError(
            f"{path}: {what}. Name a checkpoint file; models are not fetched here (Cellpose keeps "
            "those it fetched in ~/.cellpose/models)."
        )
    with path.open("rb") as stream:
        start = stream.read(6)
    if start == b"\x93NUMPY":
        raise DataError(
            f"{path}: is a NumPy file, as Cellpose's size models are. {EXPECTED}: the file of the "
            "same name without size_ and .npy."
        )
    return read_weights(path)


def _shape(path: Path, state: dict[str, torch.Tensor]) -> tuple[int, int]:
    """Number of input channels and width."""
    if "W2" in state or any(name.startswith("encoder.") for name in state):
        kind = "Cellpose 4 (Cellpose-SAM)" if "W2" in state else "a transformer, not of a CPnet"
        raise DataError(
            f"{path}: is a checkpoint of {kind}. {EXPECTED}: train or download one with "
            "cellpose<4, or use that version for this file."
        )
    if FIRST not in state or LAST not in state:
        some = ", ".join(list(state)[:3]) or "nothing"
        raise DataError(f"{path}: holds other tensors ({some} ...). {EXPECTED}.")
    first, last = state[FIRST], state[LAST]
    if first.ndim != 4 or last.shape[0] != 3:
        what = "a 3-D network" if first.ndim == 5 else f"a network with {last.shape[0]} outputs"
        raise DataError(f"{path}: is {what}, as for restoring images. {EXPECTED}.")
    if first.shape[1] not in (1, 2):
        raise DataError(f"{path}: takes {first.shape[1]} channels, expected 1 or 2. {EXPECTED}.")
    return int(first.shape[1]), int(first.shape[0])


def _diameters(path: Path, state: dict[str, torch.Tensor]) -> tuple[float, float]:
    nuclei = path.name.endswith("nucleitorch_0")
    standard = NUCLEI_DIAMETER if nuclei else STANDARD_DIAMETER
    mean, labels = (float(state[n].reshape(-1)[0]) if n in state else standard for n in DIAMETERS)
    if not (np.isfinite(mean) and mean > 0):
        raise DataError(
            f"{path}: diam_mean is {mean:g}, expected a size in pixels (usually 30). The file is "
            "damaged or not of Cellpose 3."
        )
    return mean, labels
