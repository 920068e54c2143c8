"""The work that the chapters on transfer share: prepare the domains, train and measure stages."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from helpers import fingerprints
from helpers.chapters.segmentation import prepare, recipe, worker_count
from helpers.chapters.transfer.parameters import TransferParameters
from helpers.experiments.curricula import ROLES, SOURCE, TARGET, THIRD, Arm, Course
from helpers.experiments.domains import Domain
from helpers.experiments.transfer import Stage, in_layers, run_stage
from helpers.experiments.trials import TrialStore, run_trials
from helpers.paths import runs_dir


def open_domains(parameters: TransferParameters, roles: Sequence[str] = ROLES) -> dict[str, Domain]:
    """The domains by role, each read or generated, split, cut, with flow targets."""
    names = data_names(parameters)
    return {
        role: Domain(role, prepare(parameters.model_copy(update={"dataset": names[role]})))
        for role in roles
    }


def data_names(parameters: TransferParameters) -> dict[str, str]:
    """Which data set plays which role."""
    return {
        SOURCE: parameters.dataset,
        TARGET: parameters.target,
        THIRD: parameters.third,
    }


def provenance(domains: Mapping[str, Domain]) -> list[dict]:
    """What is known of the data of all domains."""
    return [domain.prepared.provenance for domain in domains.values()]


def course(parameters: TransferParameters, seed: int) -> Course:
    """How the models of a chapter learn, for one seed."""
    return Course(
        recipe(parameters, seed),
        parameters.fine_steps,
        parameters.fine_learning_rate,
        parameters.looks,
    )


def train(
    parameters: TransferParameters, domains: Mapping[str, Domain], arms: Sequence[Arm]
) -> list[dict]:
    """Train and measure all stages of all arms; those already there are read.

    Stages are shared between arms and between chapters: what has the same past is the same model.

    Returns:
        In the order of the arms: method, rate, seed, path (the domains learned in each stage) and
        what the last stage left; under ``"history"`` the same of every stage of the path.
    """
    store = trial_store(domains)
    results: dict[Stage, dict] = {}
    work = partial(_run_stage, data={n: d.prepared for n, d in domains.items()}, store=store)
    for layer in in_layers([arm.stage for arm in arms]):
        found = run_trials(layer, work, store, worker_count(parameters))
        results |= dict(zip(layer, found, strict=True))
    return [
        {
            "method": arm.method,
            "rate": arm.rate,
            "seed": arm.stage.recipe.seed,
            "path": [list(stage.learned) for stage in arm.stage.path],
            **results[arm.stage],
            "history": [results[stage] for stage in arm.stage.path],
        }
        for arm in arms
    ]


def _run_stage(stage: Stage, folder: Path, data: dict, store: TrialStore) -> dict:
    # Opened in the process that trains: an opened store would be copied into it.
    domains = {name: Domain(name, prepared) for name, prepared in data.items()}
    return run_stage(stage, folder, domains, store.path)


def trial_store(domains: Mapping[str, Domain]) -> TrialStore:
    """Where the stages of these domains are kept, whichever chapter asks for them."""
    code = fingerprints.of_code(["helpers.experiments.transfer"])
    content = fingerprints.of_json({n: d.prepared.content for n, d in domains.items()})
    return TrialStore(runs_dir() / "trials" / "stages", code, content)


def example_masks(
    domains: Mapping[str, Domain], stage: Stage, role: str, index: int = 0
) -> np.ndarray:
    """Predicted instances of a finished stage on one of the first held-out images of a domain."""
    folder = trial_store(domains).path(stage)
    with np.load(folder / f"examples-{list(domains).index(role)}.npz") as kept:
        return kept[f"masks{index}"]
