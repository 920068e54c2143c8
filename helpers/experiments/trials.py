"""Trials: one model trained and evaluated, stored one folder each, never computed twice."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from helpers import fingerprints
from helpers.errors import DataError
from helpers.files import write_json
from helpers.paths import runs_dir

RESULT = "result.json"


@dataclass(frozen=True)
class TrialStore:
    """Where the trials of one experiment lie.

    Attributes:
        folder: one subfolder per trial, named after its key.
        code: fingerprint of the code that a trial runs.
        data: fingerprint of the data it runs on.
    """

    folder: Path
    code: str
    data: str

    def key(self, trial: Any) -> str:
        """Name of a trial: its parameters, its data, its code."""
        identity = {"trial": asdict(trial), "code": self.code, "data": self.data}
        return fingerprints.of_json(identity)[:24]

    def path(self, trial: Any) -> Path:
        """Folder of a trial, whether or not it exists."""
        return self.folder / self.key(trial)

    def load(self, trial: Any) -> dict | None:
        """The stored result, or ``None`` if this trial was never finished.

        Raises:
            DataError: the result file is not readable JSON.
        """
        path = self.path(trial) / RESULT
        if not path.is_file():
            return None
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path}: not a trial result ({error}). Delete its folder to compute it again."
            ) from error


def store_for(kind: str, module: str, content: str) -> TrialStore:
    """The store of a kind of trials under ``runs_dir()``.

    Args:
        kind: name of its folder.
        module: whose code, with all that it imports, a trial runs.
        content: fingerprint of the data.
    """
    return TrialStore(runs_dir() / "trials" / kind, _code_of(module), content)


@cache
def _code_of(module: str) -> str:
    """Once per process: every trial asks, and reading all that a module imports takes seconds."""
    return fingerprints.of_code([module])


def run_trials(
    trials: Sequence[Any],
    run: Callable[[Any, Path], dict],
    store: TrialStore | Callable[[Any], TrialStore],
    workers: int = 1,
) -> list[dict]:
    """Results of all trials, in their order; those already stored are read, the others computed.

    Every finished trial is on disk at once, so that a killed run continues where it was. The same
    call runs on any joblib back end (``joblib.parallel_config(backend="dask")`` for a cluster with
    a shared folder).

    Args:
        trials: frozen dataclasses of plain values.
        run: ``run(trial, folder) -> result``; ``folder`` is the trial's own, for checkpoints and
            further files; the result is plain JSON. Must be picklable if ``workers`` > 1.
        store: of all trials, or a function that gives that of each, where they run on different
            data. A trial whose work needs another's files is left to a later call.
        workers: trials at a time.
    """
    from joblib import Parallel, delayed
    from tqdm import tqdm

    places = [(trial, store(trial) if callable(store) else store) for trial in trials]
    for folder in {own.folder for _, own in places}:
        folder.mkdir(parents=True, exist_ok=True)
    missing = [(trial, own) for trial, own in places if own.load(trial) is None]
    jobs = (delayed(_run_one)(trial, run, own) for trial, own in missing)
    done = Parallel(n_jobs=workers, return_as="generator_unordered")(jobs)
    with tqdm(done, "trials", len(trials), initial=len(trials) - len(missing), unit="trial") as bar:
        for _ in bar:
            pass
    return [own.load(trial) for trial, own in places]


def _run_one(trial: Any, run: Callable[[Any, Path], dict], store: TrialStore) -> None:
    """Compute and store one trial; a second process at the same trial waits for the first."""
    from filelock import FileLock

    folder = store.path(trial)
    with FileLock(f"{folder}.lock"):
        if store.load(trial) is None:
            folder.mkdir(exist_ok=True)
            result = {"trial": asdict(trial), **run(trial, folder)}
            write_json(folder / RESULT, result)
