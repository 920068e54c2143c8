"""What patches look like to an encoder: pretrain one on them, embed them, see if it tells much."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from helpers.experiments.prepared import Prepared
from helpers.experiments.selection import NAMES as METHOD_NAMES
from helpers.experiments.settings import precision_name
from helpers.experiments.trials import run_trials, store_for
from helpers.features.descriptor import describe_all
from helpers.features.embed import EmbedSettings, embed
from helpers.features.encoders import (
    PUBLISHED_VITS,
    Encoder,
    local_mae,
    make_encoder,
    published_vit,
    random_like,
    timm_encoder,
)
from helpers.features.knn import chance_level, knn_accuracy
from helpers.models.device import resolve_device
from helpers.models.initialisations import classifying_lite0
from helpers.models.mae import MaeArchitecture
from helpers.pretraining.mae import MaePlan, pretrain_mae
from helpers.quantization import DETERMINISTIC, select

ENCODER = "mae.pt"
PIXELS = 32
# Channels of an attention head.
HEAD = 32
# Under which names ways to describe a patch stand in tables and figures.
NAMES = {
    "pixels": "raw pixels",
    "descriptor": "descriptor",
    "untrained": "encoder, untrained",
    "mae": "encoder, pretrained here",
    "lite0": "EfficientNet-Lite0, ImageNet",
    "mae-vit-base": "MAE ViT-B/16, official",
    "lunit-dino-vits16": "DINO ViT-S/16 on histology, official",
    "lunit-dino-vits8": "DINO ViT-S/8 on histology, official",
}


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


def pretrain(p: Any, prepared: Prepared) -> tuple[dict, Path]:
    """Pretrain the masked autoencoder of a chapter on the training patches, or find that done.

    Args:
        p: parameters of the chapter; those of the autoencoder begin with ``mae_``.

    Returns:
        What :func:`run_mae_trial` left, and the trial's folder.
    """
    heads = p.mae_width // HEAD
    architecture = MaeArchitecture(
        size=p.mae_size, patch=p.mae_patch, width=p.mae_width, depth=p.mae_depth, heads=heads
    )
    plan = MaePlan(
        steps=p.mae_steps,
        batch_size=p.mae_batch,
        learning_rate=p.mae_learning_rate,
        precision=precision_name(p),
    )
    trial = MaeTrial(architecture, plan, p.seed, resolve_device(p.device).type, p.mae_threads)
    store = store_for("mae", "helpers.pretraining.mae", prepared.content)
    (result,) = run_trials([trial], partial(run_mae_trial, prepared=prepared), store)
    return result, store.path(trial)


def features_of(p: Any, prepared: Prepared, hidden_seed: int | None = None) -> np.ndarray:
    """The training patches as the selections of a chapter see them: see :func:`represent`."""
    folder, device = pretrain(p, prepared)[1], resolve_device(p.device).type
    return np.asarray(represent(p.features, prepared, folder, hidden_seed, device))


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
            weights), ``"lite0"`` (EfficientNet-Lite0 with ImageNet's weights, from a package: the
            means of its last maps), a key of ``PUBLISHED_VITS`` (official weights, from the
            manifest), ``"timm:NAME"`` (any architecture of timm with random weights).
    """
    if name == "lite0":
        half = (0.5, 0.5, 0.5)
        return make_encoder("EfficientNet-Lite0 (ImageNet)", classifying_lite0(), 224, half, half)
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


def told_apart(p: Any, pool: list[Prepared], seed: int) -> list[dict]:
    """Rows of the table ``features``: :func:`tell_kinds_apart` by several descriptions.

    Args:
        pool: the data of a chapter, then what is mixed in for this check.
        seed: of the row.
    """
    folder = pretrain(p, pool[0])[1]
    rows = []
    for name in dict.fromkeys(["pixels", "descriptor", "untrained", "mae", "lite0", p.features]):
        told = tell_kinds_apart(name, pool, folder)
        if told is not None:
            row = {"table": "features", "train": p.dataset, "method": NAMES.get(name, name)}
            row |= {"metric": "knn_accuracy", "value": told["accuracy"], "seed": seed}
            rows.append(row | {"chance": told["chance"], "n": told["n"], "kinds": told["n_kinds"]})
    return rows


def agreements(p: Any, prepared: Prepared) -> list[dict]:
    """Rows of the table ``masking``: what hiding 75 % of every patch does to a selection.

    By deterministic method, at the smallest rate and for each seed: agreement between selections
    from two embeddings with hidden parts, between one of them and the whole patches, and between
    two random selections. Empty for features that no masked autoencoder makes.
    """
    if not p.features.startswith("mae"):
        return []
    whole, rate, rows = features_of(p, prepared), min(p.rates), []
    for seed in p.seeds:
        hidden = [features_of(p, prepared, hidden_seed=2 * seed + draw) for draw in (0, 1)]
        rng = np.random.default_rng([seed, 7])
        chance = agreement(*(select(whole, rate, rng, "random") for _ in range(2)))
        for method in DETERMINISTIC:
            one, two, best = (select(f, rate, rng, method, p.n_bins) for f in (*hidden, whole))
            row = {"table": "masking", "train": p.dataset, "method": METHOD_NAMES[method]}
            row |= {"rate": 100 * rate, "seed": seed}
            found = {"two_draws": agreement(one, two), "hidden_whole": agreement(one, best)}
            for name, value in {**found, "chance": chance}.items():
                rows.append(row | {"metric": f"agreement_{name}", "value": value})
    return rows


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Share of what either choice holds that both hold (Jaccard index), 0..1."""
    return len(np.intersect1d(first, second)) / len(np.union1d(first, second))
