"""The work that the chapters on transfer share: prepare the domains, train and measure stages."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from helpers import fingerprints
from helpers.chapters.segmentation import prepare, recipe, worker_count
from helpers.chapters.transfer.parameters import TransferParameters
from helpers.experiments.curricula import ROLES, SOURCE, TARGET, THIRD, Arm, Course
from helpers.experiments.domains import Domain
from helpers.experiments.stages import Stage, in_layers, run_stage
from helpers.experiments.trials import TrialStore, run_trials
from helpers.metrics.baselines import BASELINES
from helpers.paths import runs_dir

SELECTION_NAMES = {
    "random": "random",
    "dq_paper_eq": "DQ, printed equation",
    "dq_official_code": "DQ, released code",
    "facility_location": "facility location",
}


def open_domains(parameters: TransferParameters, roles: Sequence[str] = ROLES) -> dict[str, Domain]:
    """The domains by role, each read or generated, split, cut, with flow targets.

    Where the target's split rotates, what its domain shows is that of the first seed.
    """
    names = data_names(parameters)
    domains = {}
    for role in roles:
        own = parameters.model_copy(update={"dataset": names[role]})
        rotating = role == TARGET and parameters.rotate_target
        turns = {seed: prepare(own, seed) for seed in parameters.seeds} if rotating else {}
        domains[role] = Domain(role, next(iter(turns.values()), None) or prepare(own), turns)
    return domains


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
    """Train and measure all stages of all arms, seed by seed; those already there are read.

    Stages are shared between arms and between chapters: what has the same past is the same model.

    Returns:
        In the order of the arms: method, rate, seed, note, path (the domains learned in each stage)
        and what the last stage left; under ``"history"`` the same of every stage of the path; and
        what identifies and accompanies its images (see :func:`helpers.chapters.results.per_image`).
    """
    results: dict[Stage, dict] = {}
    baselines = {}
    for seed in dict.fromkeys(arm.stage.recipe.seed for arm in arms):
        own = turned(domains, seed)
        store = trial_store(own)
        work = partial(_run_stage, data={n: d.prepared for n, d in own.items()}, store=store)
        for layer in in_layers([arm.stage for arm in arms if arm.stage.recipe.seed == seed]):
            found = run_trials(layer, work, store, worker_count(parameters))
            results |= dict(zip(layer, found, strict=True))
        rows = {role: domain.prepared.baselines() for role, domain in own.items()}
        baselines[seed] = {name: {role: rows[role][name] for role in rows} for name in BASELINES}
    return [_described(arm, results, baselines[arm.stage.recipe.seed]) for arm in arms]


def _described(arm: Arm, results: Mapping[Stage, dict], baselines: dict) -> dict:
    path = [list(stage.learned) for stage in arm.stage.path]
    known = {"method": arm.method, "rate": arm.rate, "seed": arm.stage.recipe.seed}
    shown = {"method": name_of(arm.method), "rate": None if arm.rate is None else 100 * arm.rate}
    result = results[arm.stage]
    return {
        **known,
        "note": arm.note,
        "path": path,
        **result,
        "history": [results[stage] for stage in arm.stage.path],
        "condition": {"train": path_of(path), **known, **shown},
        "tested": result["domains"],
        "baselines": baselines,
    }


def turned(domains: Mapping[str, Domain], seed: int) -> dict[str, Domain]:
    """The domains as models of this seed see them."""
    return {name: domain.turned(seed) for name, domain in domains.items()}


def path_of(learned: Iterable[Iterable[str]]) -> str:
    """Domains learned in each stage, as one line."""
    return " -> ".join(" + ".join(sorted(stage, key=ROLES.index)) for stage in learned)


def name_of(method: str) -> str:
    """A method as pages show it; selections inside of it by their names."""
    for key, name in SELECTION_NAMES.items():
        method = method.replace(key, name)
    return method


def _run_stage(stage: Stage, folder: Path, data: dict, store: TrialStore) -> dict:
    # Opened in the process that trains: an opened store would be copied into it.
    domains = {name: Domain(name, prepared) for name, prepared in data.items()}
    return run_stage(stage, folder, domains, store.path)


def trial_store(domains: Mapping[str, Domain]) -> TrialStore:
    """Where the stages of these domains are kept, whichever chapter asks for them."""
    code = fingerprints.of_code(["helpers.experiments.stages"])
    content = fingerprints.of_json({n: d.prepared.content for n, d in domains.items()})
    return TrialStore(runs_dir() / "trials" / "stages", code, content)


def example_masks(
    domains: Mapping[str, Domain], stage: Stage, role: str, index: int = 0
) -> np.ndarray:
    """Predicted instances of a finished stage on one of the first held-out images of a domain."""
    folder = trial_store(turned(domains, stage.recipe.seed)).path(stage)
    with np.load(folder / f"examples-{list(domains).index(role)}.npz") as kept:
        return kept[f"masks{index}"]
