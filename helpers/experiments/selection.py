"""Which patches to learn from, and how many (arXiv 2511.04803, section III-B, Tables I to III).

One arm: choose a share of the training patches, train a model on it, measure it on whole held-out
images. What is compared is the choice; what follows it is the same everywhere
(:mod:`helpers.experiments.subset`). A model is known by the patches it saw, not by the method that
chose them: two methods with the same choice share a training.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from helpers import fingerprints
from helpers.experiments.prepared import Prepared, Row
from helpers.experiments.settings import prepare, recipe, worker_count
from helpers.experiments.subset import EXAMPLES_FILE, SubsetTrial, run_subset_trial
from helpers.experiments.trials import TrialStore, run_trials, store_for
from helpers.quantization import (
    DETERMINISTIC,
    coverage,
    k_means_cells,
    label_coverage,
    select,
)
from helpers.training.flows import steps_for_epochs

ALL = "all"
# Under which names ways to choose stand in tables and figures.
NAMES = {
    "random": "random",
    "stratified": "stratified",
    "k_center": "k-center",
    "herding": "herding",
    "facility_location": "facility location",
    "dq_paper_eq": "DQ, printed equation",
    "dq_official_code": "DQ, released code",
    "dq_graphcut": "DQ, graph cut",
    ALL: ALL,
}
EPOCHS = ", equal epochs"
# Measures of coverage, and what they are called.
COVERAGE = {
    "coverage_mean": "mean distance to the nearest chosen",
    "coverage_p95": "95th percentile of it",
    "cells_hit": "share of k-means cells hit",
    "instances": "annotated instances chosen",
    "sizes_hit": "share of instance sizes hit",
    "kinds_hit": "share of modalities hit",
}


@dataclass(frozen=True)
class Arm:
    """One model in the words of a chapter.

    Attributes:
        method: how its patches are chosen, a key of :data:`NAMES`.
        rate: share of the training patches; 1 for ``"all"``.
        seed: of the choice, the starting weights, the order of patches and the augmentation; where
            splits rotate, of the split, too.
        budget: ``"steps"`` trains for as many steps whatever the rate; ``"epochs"`` for as many
            passes over the chosen patches as those steps make over all, so that 1 % of the data
            gets 1 % of the updates, as in the paper.
    """

    method: str
    rate: float
    seed: int
    budget: Literal["steps", "epochs"] = "steps"

    @property
    def name(self) -> str:
        """Of its row in tables and figures."""
        return NAMES[self.method] + (EPOCHS if self.budget == "epochs" else "")


@dataclass(frozen=True)
class Models:
    """What a run left.

    Attributes:
        data: by seed.
        chosen: indices of each arm's patches, int64 and ascending.
        results: of each arm: see :func:`helpers.experiments.subset.run_subset_trial`.
        folders: where each arm's training lies.
    """

    data: Mapping[int, Prepared]
    chosen: Mapping[Arm, np.ndarray]
    results: Mapping[Arm, dict]
    folders: Mapping[Arm, Path]

    @property
    def trained(self) -> list[dict]:
        """Results of the trainings, each once whatever number of arms share it."""
        found = {folder: self.results[arm] for arm, folder in self.folders.items()}
        return list(found.values())

    def examples(self, arm: Arm) -> list[np.ndarray]:
        """Instances an arm's model finds on the first test images, int32 (height, width) each."""
        with np.load(self.folders[arm] / EXAMPLES_FILE) as arrays:
            return [arrays[name] for name in sorted(arrays.files)]


def run(
    p: Any, arms: Sequence[Arm], features: Callable[[Prepared], np.ndarray] = Prepared.descriptors
) -> Models:
    """Choose, train and measure all arms; trainings already there are read.

    Args:
        p: parameters of a chapter.
        features: what selections see of the training patches of a data set, (n, d).
    """
    data, chosen = {}, {}
    for turn in dict.fromkeys(arm.seed if p.rotate else None for arm in arms):
        own = prepare(p, turn)
        mine = [arm for arm in arms if turn in (None, arm.seed)]
        data |= dict.fromkeys([arm.seed for arm in mine], own)
        chosen |= choose(mine, features(own), p.n_bins)
    trials = {arm: trial_of(p, arm, chosen[arm], len(data[arm.seed].patches())) for arm in arms}
    subsets = {trials[arm].subset: chosen[arm] for arm in arms}
    stores = {seed: trial_store(own) for seed, own in data.items()}
    distinct = sorted(dict.fromkeys(trials.values()), key=lambda trial: trial.recipe.seed)
    found = run_trials(
        distinct,
        partial(_run_trial, data=data, subsets=subsets),
        lambda trial: stores[trial.recipe.seed],
        worker_count(p),
    )
    results = dict(zip(distinct, found, strict=True))
    return Models(
        data,
        chosen,
        {arm: results[trial] for arm, trial in trials.items()},
        {arm: stores[arm.seed].path(trial) for arm, trial in trials.items()},
    )


def choose(arms: Sequence[Arm], features: np.ndarray, n_bins: int) -> dict[Arm, np.ndarray]:
    """The patches of each arm, indices int64 and ascending.

    Args:
        features: (n, d), of all training patches.
        n_bins: of dataset quantization.
    """
    from tqdm import tqdm

    drawn = {}
    for arm in tqdm(arms, "selections", mininterval=2, delay=5):
        key = (arm.method, arm.rate, None if arm.method in (*DETERMINISTIC, ALL) else arm.seed)
        if key not in drawn:
            rng = np.random.default_rng([arm.seed, 3])
            drawn[key] = (
                np.arange(len(features))
                if arm.method == ALL
                else select(features, arm.rate, rng, arm.method, n_bins)
            )
        drawn[arm] = drawn[key]
    return {arm: drawn[arm] for arm in arms}


def trial_of(p: Any, arm: Arm, chosen: np.ndarray, n_all: int) -> SubsetTrial:
    """The training behind an arm.

    Args:
        chosen: its patches.
        n_all: number of training patches it was chosen from.
    """
    own = recipe(p, arm.seed)
    if arm.budget == "epochs":
        steps = steps_for_epochs(p.steps * p.batch_size / n_all, len(chosen), p.batch_size)
        own = replace(own, plan=replace(own.plan, steps=steps))
    return SubsetTrial(fingerprints.of_json(chosen.tolist())[:16], own)


def trial_store(prepared: Prepared) -> TrialStore:
    """Where models trained on chosen patches are kept, whatever chose them."""
    return store_for("subset", run_subset_trial.__module__, prepared.content)


def _run_trial(
    trial: SubsetTrial, folder: Path, data: Mapping[int, Prepared], subsets: dict[str, np.ndarray]
) -> dict:
    return run_subset_trial(trial, folder, data[trial.recipe.seed], subsets)


def scored(p: Any, models: Models, table: str) -> list[tuple[dict[str, Any], list[Row]]]:
    """Every model on its test images, and the two predictors without training.

    Args:
        table: name of the table of the models; that of the predictors is ``baselines``.

    Returns:
        For each the columns that tell it apart, and one row per image: see
        :func:`helpers.experiments.prepared.image_row`. ``rate`` is in per cent; ``patches``, the
        ``images`` they are from (fields of view, where several images show one) and the
        ``instances`` in them are what had to be annotated.
    """
    parts = []
    for arm, result in models.results.items():
        about = {"table": table, "train": p.dataset, "test": p.dataset, "method": arm.name}
        about |= {"rate": 100 * arm.rate, "seed": arm.seed, "patches": result["n_patches"]}
        about |= {"images": result["n_source_images"], "instances": result["n_instances"]}
        parts.append((about | {"steps": result["steps"]}, result["images"]))
    for seed, own in models.data.items() if p.rotate else [(None, models.data[p.seeds[0]])]:
        for name, rows in own.baselines().items():
            about = {"table": "baselines", "test": p.dataset, "method": name, "seed": seed}
            parts.append((about, rows))
    return parts


def cover(
    p: Any, chosen: Mapping[Arm, np.ndarray], features: np.ndarray, prepared: Prepared
) -> list[dict]:
    """Rows of the table ``coverage``: how choices cover the training patches.

    Distances in ``features`` are shares of the root mean square distance of the patches to their
    mean, so that they can be compared between features. The k-means cells are the same for all
    choices. Metrics: the keys of :data:`COVERAGE`.
    """
    store = prepared.patches()
    rng = np.random.default_rng([p.seed, 5])
    cells = k_means_cells(features, min(p.n_cells, len(features)), rng)
    scale = float(np.sqrt(features.var(axis=0, dtype=np.float64).sum())) or 1.0
    areas = store.areas_by_patch()
    rows = []
    for arm, indices in chosen.items():
        found = coverage(features, indices, cells)
        measures = {
            "coverage_mean": found.mean_distance / scale,
            "coverage_p95": found.p95_distance / scale,
            "cells_hit": found.cells_hit,
            **asdict(label_coverage(indices, store.instances, areas, store.kinds)),
        }
        row = {"table": "coverage", "train": p.dataset, "method": arm.name}
        row |= {"rate": 100 * arm.rate, "seed": arm.seed}
        rows += [row | {"metric": name, "value": value} for name, value in measures.items()]
    return rows
