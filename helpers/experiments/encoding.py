"""What patches look like to an encoder: pretrain one on them, embed them, see if it tells much."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from helpers.experiments.prepared import Prepared
from helpers.features.descriptor import describe_all
from helpers.features.embed import EmbedSettings, embed
from helpers.features.encoders import (
    PUBLISHED_VITS,
    Encoder,
    local_mae,
    published_vit,
    random_like,
    timm_encoder,
)
from helpers.features.knn import chance_level, knn_accuracy
from helpers.models.mae import MaeArchitecture
from helpers.pretraining.mae import MaePlan, pretrain_mae

ENCODER = "mae.pt"
PIXELS = 32


@dataclass(frozen=True)
class MaeTrial:
    """One masked autoencoder, pretrained on all training patches without their annotation.

    Attributes:
        threads: of the computation; part of the identity, since sums depend on it.
    """

    architecture: MaeArchitecture
    plan: MaePlan
    seed: int
    device: str = "cpu"
    threads: int = 1


def run_mae_trial(trial: MaeTrial, folder: Path, prepared: Prepared) -> dict:
    """Pretrain and keep ``mae.pt`` in the trial's own folder.

    Returns:
        Plain values: number of patches, losses, seconds.
    """
    from tqdm import tqdm

    torch.set_num_threads(trial.threads)
    images = prepared.patches().images
    with tqdm(total=trial.plan.steps, desc="masked autoencoder", mininterval=5) as bar:

        def show(done: int, loss: float) -> None:
            bar.update(done - bar.n)
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)

        path = mae_file(folder)
        arguments = (trial.architecture, trial.plan, trial.seed, path, show, trial.device)
        log = pretrain_mae(images, *arguments)
    return {
        "n_patches": len(images),
        "train_seconds": log.seconds,
        "losses": [round(loss, 5) for loss in log.losses],
    }


def mae_file(folder: Path) -> Path:
    """Where a pretraining keeps its autoencoder."""
    return folder / ENCODER


def open_encoder(name: str, folder: Path | None = None) -> Encoder:
    """An encoder by the name used in chapters.

    Args:
        name: ``"mae"`` (of the trial in ``folder``), ``"untrained"`` (its architecture with random
            weights), a key of ``PUBLISHED_VITS`` (official weights, from the manifest),
            ``"timm:NAME"`` (any architecture of timm with random weights).
    """
    if name == "mae":
        return local_mae(mae_file(folder))
    if name == "untrained":
        return random_like(local_mae(mae_file(folder)))
    if name in PUBLISHED_VITS:
        return published_vit(name)
    return timm_encoder(name.removeprefix("timm:"))


def represent(
    name: str,
    prepared: Prepared,
    folder: Path | None = None,
    hidden_seed: int | None = None,
    device: str = "cpu",
) -> np.ndarray:
    """All training patches as vectors, float32 (n, d); computed once and kept beside the data.

    Args:
        name: ``"pixels"`` (32 x 32, grey), ``"descriptor"``, or an encoder of
            :func:`open_encoder`.
        folder: of the pretraining, where ``name`` needs one.
        hidden_seed: embed as the released script does: a random 75 % of every patch hidden, drawn
            with this seed, and the class token in the mean. ``None`` hides nothing.
    """
    images = prepared.patches().images
    if name == "pixels":
        return _pixels(images)
    if name == "descriptor":
        return describe_all(images)
    settings = EmbedSettings(scaled=True)
    if hidden_seed is not None:
        settings = EmbedSettings("mean+cls", "released", seed=hidden_seed, scaled=True)
    encoder = open_encoder(name, folder)
    store = prepared.folder / "features"
    return embed(images, encoder, settings, store, prepared.content, device)


def _pixels(images: np.ndarray) -> np.ndarray:
    import torch.nn.functional as F

    small = [
        F.interpolate(
            torch.from_numpy(np.asarray(image, np.float32))[None, None],
            (PIXELS, PIXELS),
            mode="area",
        )
        for image in images
    ]
    return torch.cat(small).flatten(1).numpy()


def tell_kinds_apart(
    name: str, pool: list[Prepared], folder: Path | None = None, k: int = 5
) -> dict | None:
    """How well neighbours share their modality, or ``None`` where only one is known.

    The paper's own break condition: features that carry no information make any selection by them
    as good as chance. Neighbours from the same source image do not count, and a modality seen in
    one source image alone is left out.

    Args:
        name: as for :func:`represent`.
        pool: data whose patches are put together; patches of unknown modality are named after
            their data set.

    Returns:
        Balanced accuracy, chance level, number of patches and of modalities.
    """
    features = np.concatenate([represent(name, one, folder) for one in pool])
    kinds = np.array(
        [kind or one.provenance["name"] for one in pool for kind in one.patches().kinds]
    )
    groups = np.array([f"{i}/{g}" for i, one in enumerate(pool) for g in one.patches().groups])
    sources = {kind: len(set(groups[kinds == kind])) for kind in set(kinds)}
    known = np.array([sources[kind] > 1 for kind in kinds])
    if len(set(kinds[known])) < 2:
        return None
    accuracy = knn_accuracy(features[known], kinds[known], groups[known], k)
    return {
        "accuracy": accuracy,
        "chance": chance_level(kinds[known]),
        "n": int(known.sum()),
        "n_kinds": len(set(kinds[known])),
    }
