"""Time selection against brute force, closed forms and public libraries on the same features.

    python -m benchmarks.bench_selection [--quick] [--sizes N ...] [--repeats N] [--real FILE.npy]
        [--methods NAME ...] [--no-libraries] [--limit SECONDS] [--threads N ...] [--record]

Contestants run one after the other, each time in a process of its own, round after round; the
table shows medians. Peak memory is what the process needs beyond interpreter, libraries and
features. The public libraries run in the environment ``.venv-bench`` (``make setup-bench``); what
is not installed, does not fit into memory or runs past the limit is said so in the row.

To keep it within an hour: isotropic features only between 5,000 and 20,000 samples, where they are
the worst case to look at; more than one number of threads, isotropic and real features for dataset
quantization alone, and without the public libraries; above 20,000 samples the largest number of
threads alone.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.record import Benchmark, add_options, finish, progress
from benchmarks.selection_contestants import PAIRS_BLOCK
from helpers.paths import PROJECT

SIZES = (1_500, 10_063, 128_458)
# Above so many samples every process takes minutes: one number of threads, once.
LARGE = 20_000
# Numbers of samples at which features without structure are looked at.
ISOTROPIC = range(5_000, LARGE + 1)
DIMENSIONS = 768
LIBRARIES = PROJECT / ".venv-bench" / "bin" / "python"
VERSIONS = "import importlib.metadata as m; print(*(m.version(n) for n in {names}), sep='\\n')"
LIBRARY_NAMES = ("apricot-select", "submodlib-py")


@dataclass(frozen=True)
class Peer:
    """Somebody else's way to the same order.

    Attributes:
        contestant: name in benchmarks.selection_contestants.
        label: what it is.
        library: needs the environment of the public libraries.
        bytes_per_pair: of N x N values it holds, 0 if none; beyond 85 % of memory it is not run.
        largest: not run above this number of samples.
        why: not run above ``largest``.
    """

    contestant: str
    label: str
    library: bool = False
    bytes_per_pair: int = 0
    largest: int = 10**9
    why: str = ""


@dataclass(frozen=True)
class Case:
    """One method on one set of features."""

    kind: str
    path: Path
    n: int
    d: int
    method: str
    count: int
    threads: int


@dataclass
class Measured:
    """What the processes of one contestant said; ``note`` if they said nothing."""

    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    order: np.ndarray | None = None
    note: str = ""


CLOSED = "closed form, one product per pick"
PEERS: dict[str, tuple[Peer, ...]] = {
    "dq_paper_eq": (Peer("dq_paper_eq_closed", CLOSED, largest=LARGE, why="hours"),),
    "dq_official_code": (
        Peer("dq_official_code_closed", CLOSED, largest=LARGE, why="hours"),
        Peer(
            "dq_official_code_released",
            "as the released script, O(N^3)",
            bytes_per_pair=4,
            largest=2_000,
            why="hours at 10,000, weeks at 128,458",
        ),
    ),
    "dq_graphcut": (
        Peer("dq_graphcut_closed", CLOSED, largest=LARGE, why="hours"),
        Peer("apricot_graph_cut", "apricot-select, first tenth only", True, 12),
        Peer("submodlib_graph_cut", "submodlib-py, first tenth only", True, 16),
    ),
    "k_center": (Peer("k_center_plain", "one pass per pick"),),
    "herding": (Peer("herding_plain", "one product per pick"),),
    "stratified": (
        Peer("k_means_per_pick", "k-means with a cell per pick", largest=LARGE, why="hours"),
    ),
    "facility_location": (
        Peer(
            "facility_location_naive",
            "naive greedy, N x N float64",
            bytes_per_pair=24,
            largest=2_000,
            why="hours",
        ),
        Peer("apricot_facility_location", "apricot-select, lazy", True, 12),
        Peer("submodlib_facility_location", "submodlib-py, lazy", True, 16),
    ),
}

BENCHMARK = Benchmark(
    "selection",
    "Selection of samples",
    "Dataset quantization orders all samples in 10 bins, the other methods pick the number shown. "
    "Features are float32: structured (40 clusters of very different sizes, a decaying spectrum, "
    "heavy tails, some copies), isotropic (Gaussian, nothing to exploit), or real (embeddings of "
    "image patches). The median of up to three runs in turn, one only beyond a minute, each in a "
    "process of its own; memory is the peak beyond interpreter, libraries and features.",
    "for facility location half of all pairwise products at the speed of the machine's matrix "
    "product; for all others one matrix-vector product, since each has to read every feature once.",
    {
        "features": "features",
        "n": "N",
        "d": "d",
        "threads": "threads",
        "method": "method",
        "picks": "picks",
        "ours_s": "ours, s",
        "ours_mb": "ours, MB",
        "peer": "peer",
        "peer_s": "peer, s",
        "peer_mb": "peer, MB",
        "ratio": "peer / ours",
        "same": "same order",
        "floor_s": "floor, s",
        "note": "note",
    },
    ("numpy", "scikit-learn", "scipy", "torch"),
    ("features", "n", "d"),
)


# -------------------------------------------------------------------------- features


def structured(n: int, rng: np.random.Generator) -> np.ndarray:
    """Like embeddings: clusters, few strong directions, heavy tails, an offset, copies."""
    spread = np.zeros(DIMENSIONS, np.float32)
    spread[:128] = np.arange(1, 129) ** -0.8
    spread[128:] = 0.01
    share = 1 / np.arange(1, 41)
    cluster = rng.choice(40, n, p=share / share.sum())
    centres = 2 * spread * rng.standard_normal((40, DIMENSIONS), np.float32)
    points = rng.standard_normal((n, DIMENSIONS), np.float32) * spread
    points *= rng.lognormal(0, 0.4, (n, 1)).astype(np.float32)
    points += centres[cluster]
    # No direction is special to an encoder: rotate, then move away from the origin.
    points = points @ np.linalg.qr(rng.standard_normal((DIMENSIONS,) * 2))[0].astype(np.float32)
    offset = rng.standard_normal(DIMENSIONS)
    length = 1.3 * np.sqrt((points**2).sum(axis=1).mean())
    points += (offset / np.linalg.norm(offset) * length).astype(np.float32)
    copies = rng.choice(n, n // 200, replace=False)
    points[copies] = points[rng.choice(n, len(copies))]
    return points


def isotropic(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((n, DIMENSIONS), np.float32)


def feature_sets(options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Path]]:
    """Kind and file, made when its turn comes and deleted after."""
    path = folder / "features.npy"
    for n in options.sizes:
        for kind, make in (("structured", structured), ("isotropic", isotropic)):
            if kind in options.features and (kind != "isotropic" or n in ISOTROPIC):
                progress(f"{kind}, N = {n:,}")
                np.save(path, make(n, np.random.default_rng(0)))
                yield kind, path
    if options.real:
        rows = np.load(options.real, mmap_mode="r")
        for n in sorted({min(n, len(rows)) for n in options.sizes}):
            progress(f"real, N = {n:,}")
            chosen = np.sort(np.random.default_rng(0).choice(len(rows), n, replace=False))
            np.save(path, np.asarray(rows[chosen], dtype=np.float32))
            yield "real", path
    else:
        progress("no real features: give some with --real FILE.npy")


# -------------------------------------------------------------------------- measuring


def rows_of(case: Case, options: argparse.Namespace) -> Iterator[dict]:
    """One row per peer, the contestants in turn."""
    once = case.kind == "structured" and (case.threads == 1 or case.n > LARGE)
    once = once and not options.no_libraries
    peers = [peer for peer in PEERS[case.method] if once or not peer.library]
    ours = Measured()
    measured = {peer: Measured(note=_obstacle(peer, case)) for peer in peers}
    floor = Measured()
    for _ in range(options.repeats):
        _measure(case.method, False, case, options, ours)
        for peer, found in measured.items():
            _measure(peer.contestant, peer.library, case, options, found)
        share = case.method == "facility_location"
        _measure("all_pairs_share" if share else "one_pass", False, case, options, floor)
    for peer, found in measured.items():
        yield _row(case, peer, ours, found, floor)


def _obstacle(peer: Peer, case: Case) -> str:
    """Why a peer is not run at all; empty if it is."""
    import psutil

    needed = peer.bytes_per_pair * case.n**2
    memory = f"; needs {needed / 1e9:,.0f} GB" if needed > 1e9 else ""
    if case.n > peer.largest:
        return f"not run: {peer.why}{memory}"
    if needed > 0.85 * psutil.virtual_memory().available:
        return f"cannot run: needs {needed / 1e9:,.0f} GB (computed)"
    if peer.library and not LIBRARIES.is_file():
        return "not installed: make setup-bench"
    return ""


def _measure(
    contestant: str, library: bool, case: Case, options: argparse.Namespace, found: Measured
) -> None:
    if found.note or sum(found.seconds) > ENOUGH:
        return
    order = case.path.with_name("order.npy")
    command = [LIBRARIES if library else sys.executable, "-m", "benchmarks.selection_contestants"]
    command += [contestant, case.path, str(case.count), order]
    threads = {f"{name}_NUM_THREADS": str(case.threads) for name in THREADED}
    try:
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            timeout=options.limit,
            env={**os.environ, **threads},
            cwd=PROJECT,
        )
    except subprocess.TimeoutExpired:
        found.note = f"stopped after {options.limit} s, start of the process included"
    else:
        if done.returncode:
            found.note = f"failed: {(done.stderr.strip().splitlines() or ['no message'])[-1][:200]}"
        else:
            said = json.loads(done.stdout.splitlines()[-1])
            found.seconds.append(said["seconds"])
            found.megabytes.append(said["bytes"] / 2**20)
            found.order = np.load(order)
    took = f"{found.seconds[-1]:.3f} s" if found.seconds and not found.note else found.note
    progress(f"  {case.method}: {contestant} {took}")


# Seconds after which a contestant is not run again: noise matters less, and time more.
ENOUGH = 60
THREADED = ("OMP", "OPENBLAS", "MKL", "NUMBA")


def _row(case: Case, peer: Peer, ours: Measured, found: Measured, floor: Measured) -> dict:
    row = {
        "features": case.kind,
        "n": case.n,
        "d": case.d,
        "threads": case.threads,
        "method": case.method,
        "picks": len(ours.order) if ours.order is not None else case.count,
        "peer": peer.label,
        "note": "; ".join(text for text in (_own(ours.note), found.note) if text) or None,
    }
    if ours.seconds:
        row["ours_s"] = statistics.median(ours.seconds)
        row["ours_mb"] = statistics.median(ours.megabytes)
    if found.seconds:
        row["peer_s"] = statistics.median(found.seconds)
        row["peer_mb"] = statistics.median(found.megabytes)
    if floor.seconds:
        scale = case.n**2 / 2 / PAIRS_BLOCK**2 if case.method == "facility_location" else 1
        row["floor_s"] = min(floor.seconds) * scale
    if ours.seconds and found.seconds:
        row["ratio"] = row["peer_s"] / row["ours_s"]
        row["same"] = agreement(ours.order, found.order)
    return row


def _own(note: str) -> str:
    return f"ours: {note}" if note else ""


def agreement(ours: np.ndarray, theirs: np.ndarray) -> str:
    """``yes``, or how much of the sets is the same and where the orders part."""
    ours = ours[: len(theirs)]
    differ = np.flatnonzero(ours != theirs[: len(ours)])
    if not len(differ):
        return "yes"
    shared = len(np.intersect1d(ours, theirs)) / len(ours)
    return f"no, from pick {differ[0] + 1}; sets agree to {100 * shared:.1f} %"


# -------------------------------------------------------------------------- the whole job


def picks(method: str, n: int) -> int:
    """A tenth; of very many samples a hundredth, as a lab would ask for."""
    return n // 10 if n <= LARGE or method.startswith("dq_") else n // 100


def left_out(case: Case) -> dict | None:
    """Row of a method that is not run at this size; ``None`` if it is run."""
    if case.method != "facility_location" or case.n <= LARGE:
        return None
    note = "not run: at least three scans over all pairs, each about the time of the floor"
    return {
        "features": case.kind,
        "n": case.n,
        "d": case.d,
        "threads": case.threads,
        "method": case.method,
        "picks": case.count,
        "note": note,
    }


def run(options: argparse.Namespace) -> list[dict]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind, path in feature_sets(options, Path(folder)):
            for case in cases(kind, path, options):
                skipped = left_out(case)
                rows += [skipped] if skipped else rows_of(case, options)
    return rows


def cases(kind: str, path: Path, options: argparse.Namespace) -> Iterator[Case]:
    """What is run on one set of features (see the module)."""
    n, d = np.load(path, mmap_mode="r").shape
    numbers = [max(options.threads)] if n > LARGE else sorted(options.threads)
    for threads in numbers:
        for method in options.methods:
            quantization = method.startswith("dq_")
            if quantization or (kind == "structured" and threads == numbers[0]):
                yield Case(kind, path, n, d, method, picks(method, n), threads)


def library_versions() -> dict[str, str]:
    """Of the public libraries; empty if they are not installed."""
    if not LIBRARIES.is_file():
        return {}
    code = VERSIONS.format(names=LIBRARY_NAMES)
    done = subprocess.run([LIBRARIES, "-c", code], capture_output=True, text=True, check=True)
    return dict(zip(LIBRARY_NAMES, done.stdout.split(), strict=True))


def parse() -> argparse.Namespace:
    import psutil

    cores = psutil.cpu_count(logical=False) or 1
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smallest size, once")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of samples")
    parser.add_argument("--repeats", type=int, default=3, help="rounds")
    parser.add_argument("--methods", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument(
        "--features",
        nargs="*",
        default=["structured", "isotropic"],
        choices=["structured", "isotropic"],
        help="generated features",
    )
    parser.add_argument("--real", type=Path, help="file of embeddings, (N, d), .npy")
    parser.add_argument("--no-libraries", action="store_true", help="leave out what takes longest")
    parser.add_argument("--limit", type=int, default=300, help="seconds a process may take")
    parser.add_argument(
        "--threads", type=int, nargs="+", default=sorted({1, cores}), help="of each contestant"
    )
    add_options(parser)
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.repeats = (min(options.sizes),), 1
    return options


def main() -> None:
    options = parse()
    rows = run(options)
    finish(BENCHMARK, rows, options.record, max(options.threads), library_versions())


if __name__ == "__main__":
    main()
