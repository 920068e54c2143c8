"""The work of the chapter ``coreset``: pretrain, embed, choose, train and measure."""

from functools import partial
from pathlib import Path

import numpy as np

from helpers import fingerprints
from helpers.chapters import segmentation
from helpers.chapters.coreset.parameters import Parameters
from helpers.chapters.coreset.tables import METHOD_NAMES
from helpers.chapters.segmentation import precision_name, recipe, worker_count
from helpers.experiments import coreset
from helpers.experiments.coreset import Choice, agreement, choose, list_trials
from helpers.experiments.encoding import (
    MaeTrial,
    mae_file,
    represent,
    run_mae_trial,
    tell_kinds_apart,
)
from helpers.experiments.prepared import Prepared
from helpers.experiments.subset import SubsetTrial, run_subset_trial
from helpers.experiments.trials import TrialStore, run_trials
from helpers.features.projection import project
from helpers.models.device import resolve_device
from helpers.models.mae import MaeArchitecture
from helpers.paths import runs_dir
from helpers.pretraining.mae import MaePlan, reconstruct
from helpers.quantization import DETERMINISTIC, METHODS, select

__all__ = [
    "check_features",
    "choices_for_coverage",
    "choices_to_train",
    "cover",
    "embed",
    "hide_patches",
    "orders",
    "place",
    "prepare",
    "pretrain",
    "reconstructions",
    "train",
]
HEAD = 32


def prepare(parameters: Parameters, seed: int | None = None) -> Prepared:
    """The data of the chapter.

    Args:
        seed: where the split rotates, that of the models that see them; the first if ``None``.
    """
    if not parameters.rotate:
        return segmentation.prepare(parameters)
    return segmentation.prepare(parameters, parameters.seeds[0] if seed is None else seed)


def mae_trial(parameters: Parameters) -> MaeTrial:
    """The pretraining of the chapter, as data."""
    architecture = MaeArchitecture(
        size=parameters.mae_size,
        patch=parameters.mae_patch,
        width=parameters.mae_width,
        depth=parameters.mae_depth,
        heads=parameters.mae_width // HEAD,
    )
    plan = MaePlan(
        steps=parameters.mae_steps,
        batch_size=parameters.mae_batch,
        learning_rate=parameters.mae_learning_rate,
        precision=precision_name(parameters),
    )
    device = resolve_device(parameters.device).type
    return MaeTrial(architecture, plan, parameters.seed, device, parameters.mae_threads)


def pretrain(parameters: Parameters, prepared: Prepared) -> tuple[dict, Path]:
    """Pretrain the masked autoencoder on the training patches, or find that done.

    Returns:
        What the pretraining left (losses, seconds), and its folder.
    """
    code = fingerprints.of_code(["helpers.pretraining.mae"])
    store = TrialStore(runs_dir() / "trials" / "mae", code, prepared.content)
    trial = mae_trial(parameters)
    (result,) = run_trials([trial], partial(run_mae_trial, prepared=prepared), store)
    return result, store.path(trial)


def embed(parameters: Parameters, prepared: Prepared, folder: Path) -> np.ndarray:
    """The training patches as the selections of the chapter see them, float32 (n, d)."""
    device = resolve_device(parameters.device).type
    return np.asarray(represent(parameters.features, prepared, folder, device=device))


def reconstructions(
    parameters: Parameters, prepared: Prepared, folder: Path, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Some training patches, the quarter of each that is seen, what the encoder makes of it."""
    images = prepared.patches().images
    rng = np.random.default_rng([parameters.seed, 6])
    shown = images[np.sort(rng.choice(len(images), min(n, len(images)), replace=False))]
    return shown, *reconstruct(mae_file(folder), shown, rng)


def orders(parameters: Parameters, features: np.ndarray) -> dict[str, np.ndarray]:
    """All patches in the order of each gain, bin after bin, by the name of the gain."""
    return coreset.orders(features, parameters.n_bins)


def place(parameters: Parameters, features: np.ndarray, kept: np.ndarray) -> dict[str, np.ndarray]:
    """The kept patches in the plane, float32 (n, 2), by each of the maps asked for."""
    methods = {"t-SNE": "tsne", "UMAP": "umap"}
    return {
        name: project(features[kept], methods[name], parameters.seed) for name in parameters.maps
    }


def check_features(parameters: Parameters, prepared: Prepared, folder: Path) -> list[dict]:
    """How well neighbours share their modality, for several ways to describe a patch.

    Returns:
        One entry per representation (name, accuracy, chance, n); empty where fewer than two
        modalities are known.
    """
    prepared_too = _contrast(parameters)
    found = []
    for name in dict.fromkeys(["pixels", "descriptor", "untrained", "mae", parameters.features]):
        told = tell_kinds_apart(name, [prepared, *prepared_too], folder)
        if told is not None:
            found.append({"features": name, **told})
    return found


def _contrast(parameters: Parameters) -> list[Prepared]:
    if not parameters.contrast:
        return []
    return [segmentation.prepare(parameters.model_copy(update={"dataset": parameters.contrast}))]


def choices_to_train(parameters: Parameters, features: np.ndarray) -> list[Choice]:
    """All selections on which models are trained, and all patches.

    Args:
        features: of the patches of :func:`prepare`. Where the split rotates, further seeds choose
            from patches, and see features, of their own.
    """
    rates, (first, *others) = [*parameters.rates, 1.0], parameters.seeds
    if not parameters.rotate:
        return choose(features, parameters.methods, rates, parameters.seeds, parameters.n_bins)
    choices = choose(features, parameters.methods, rates, [first], parameters.n_bins)
    for seed in others:
        prepared = prepare(parameters, seed)
        own = embed(parameters, prepared, pretrain(parameters, prepared)[1])
        choices += choose(own, parameters.methods, rates, [seed], parameters.n_bins)
    return choices


def choices_for_coverage(parameters: Parameters, features: np.ndarray) -> list[Choice]:
    """Selections by every method there is, at the rates of the coverage curves."""
    rates = [rate for rate in parameters.coverage_rates if rate < 1]
    return choose(features, list(METHODS), rates, parameters.seeds, parameters.n_bins)


def cover(
    parameters: Parameters, prepared: Prepared, features: np.ndarray, choices: list[Choice]
) -> list[dict[str, float]]:
    """How choices cover the training patches: see :func:`helpers.experiments.coreset.cover`."""
    return coreset.cover(choices, features, prepared, parameters.n_cells, parameters.seed)


def train(parameters: Parameters, prepared: Prepared, choices: list[Choice]) -> list[dict]:
    """Train and measure one model per choice, seed by seed; those already there are read.

    Returns:
        In the order of the choices: method, rate, seed, what the trial left, and what identifies
        and accompanies its images (see :func:`helpers.chapters.results.per_image`).
    """
    data = {
        seed: prepare(parameters, seed) if parameters.rotate else prepared
        for seed in parameters.seeds
    }
    trials = list_trials(choices, {seed: recipe(parameters, seed) for seed in parameters.seeds})
    subsets = {choice.subset: choice.indices for choice in choices}
    distinct = sorted(dict.fromkeys(trials), key=lambda trial: trial.recipe.seed)
    results = run_trials(
        distinct,
        partial(_run_trial, data=data, subsets=subsets),
        lambda trial: trial_store(data[trial.recipe.seed]),
        worker_count(parameters),
    )
    by_trial = dict(zip(distinct, results, strict=True))
    baselines = {
        seed: {name: {parameters.dataset: rows} for name, rows in own.baselines().items()}
        for seed, own in data.items()
    }
    models = []
    for choice, trial in zip(choices, trials, strict=True):
        known = {"method": choice.method, "rate": choice.rate, "seed": choice.seed}
        shown = {"method": METHOD_NAMES[choice.method], "rate": 100 * choice.rate}
        result = by_trial[trial]
        models.append(
            {
                **known,
                **result,
                "condition": {"train": parameters.dataset, **known, **shown},
                "tested": {parameters.dataset: result["images"]},
                "baselines": baselines[choice.seed],
            }
        )
    return models


def _run_trial(
    trial: SubsetTrial, folder: Path, data: dict[int, Prepared], subsets: dict[str, np.ndarray]
) -> dict:
    return run_subset_trial(trial, folder, data[trial.recipe.seed], subsets)


def trial_store(prepared: Prepared) -> TrialStore:
    """Where models trained on chosen patches are kept, whatever chose them."""
    code = fingerprints.of_code(["helpers.experiments.subset"])
    return TrialStore(runs_dir() / "trials" / "subset", code, prepared.content)


def hide_patches(
    parameters: Parameters, prepared: Prepared, folder: Path, features: np.ndarray
) -> list[dict]:
    """What the released embedding, which hides a random 75 % of each patch, does to a selection.

    Returns:
        Per deterministic method at the smallest rate: agreement (Jaccard index) between selections
        from two such embeddings, between one of them and the whole patches, and between two random
        selections of that size. Empty for features that no transformer makes.
    """
    if not parameters.features.startswith("mae"):
        return []
    device = resolve_device(parameters.device).type
    hidden = [
        represent(parameters.features, prepared, folder, hidden_seed=seed, device=device)
        for seed in (0, 1)
    ]
    rate = min(parameters.rates)
    rng = np.random.default_rng([parameters.seed, 7])
    chance = agreement(*(select(features, rate, rng, "random") for _ in range(2)))
    rows = []
    for method in DETERMINISTIC:
        one, two, whole = (
            select(f, rate, rng, method, parameters.n_bins) for f in (*hidden, features)
        )
        rows.append(
            {
                "method": method,
                "rate": rate,
                "two_draws": agreement(one, two),
                "hidden_whole": agreement(one, whole),
                "chance": chance,
            }
        )
    return rows
