"""One contestant of the selection benchmark, in a process of its own.

    python -m benchmarks.selection_contestants NAME FEATURES.npy COUNT ORDER.npy

writes the order of choice and prints seconds and peak memory as JSON. A process of its own, because
peak memory is that of a process; and because the public libraries live in an environment apart
(``requirements-bench.in``), where the book's own packages are not: hence all imports of either side
are inside functions.

Every contestant takes features, float32 (N, d), and how many samples to pick, and returns sample
indices in the order of choice. Two are no selections but floors, and return no order.
"""

import json
import resource
import sys
import time
from collections.abc import Callable

import numpy as np

Contestant = Callable[[np.ndarray, int], np.ndarray]

N_BINS = 10
WARM_UP = 200
WARM_UP_OURS = 3000


def main(name: str, features_path: str, count: str, order_path: str) -> None:
    features = np.load(features_path)
    run = CONTESTANTS[name]
    # Imports and compilation are not what is timed. Code of this book takes other ways for few
    # samples than for many, so it needs more of them to have all compiled.
    rows = WARM_UP_OURS if name in OURS else WARM_UP
    run(features[:rows].copy(), min(int(count), len(features[:rows]) // 10))
    before = _restart_peak()
    start = time.perf_counter()
    order = run(features, int(count))
    seconds = time.perf_counter() - start
    np.save(order_path, np.asarray(order, dtype=np.int64))
    print(json.dumps({"seconds": seconds, "bytes": _peak_bytes() - before}))


def _restart_peak() -> int:
    """Bytes in use; from here on the peak counts anew, where the system allows it (Linux)."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        # Elsewhere the peak of loading and warming up stays, and hides what is below it.
        pass
    return _peak_bytes()


def _peak_bytes() -> int:
    """Largest resident size so far."""
    try:
        with open("/proc/self/status") as file:
            lines = [line.split() for line in file]
        return next(1024 * int(line[1]) for line in lines if line[0] == "VmHWM:")
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# -------------------------------------------------------------------------- this book


def _ours(method: str) -> Contestant:
    def run(features: np.ndarray, count: int) -> np.ndarray:
        from helpers.quantization import quantize, rank

        if method.startswith("dq_"):
            # The whole order: bins depend on the bins before them.
            return quantize(features, N_BINS, method.removeprefix("dq_")).order
        return rank(features, count, np.random.default_rng(0), method)

    return run


def _peer(name: str, *arguments: str) -> Contestant:
    """A function of benchmarks.peers, by name."""

    def run(features: np.ndarray, count: int) -> np.ndarray:
        from benchmarks import peers

        return getattr(peers, name)(features, N_BINS, *arguments)

    return run


# -------------------------------------------------------------------------- the usual ways


def k_center_plain(features: np.ndarray, count: int) -> np.ndarray:
    """One pass over all samples per pick."""
    squares = np.einsum("ij,ij->i", features, features)
    to_mean = squares - 2 * features @ features.mean(axis=0)
    picks = [int(np.argmin(to_mean))]
    nearest = np.full(len(features), np.inf, np.float32)
    while len(picks) < count:
        new = squares + squares[picks[-1]] - 2 * features @ features[picks[-1]]
        np.minimum(nearest, new, out=nearest)
        nearest[picks] = -1
        picks.append(int(np.argmax(nearest)))
    return np.array(picks)


def herding_plain(features: np.ndarray, count: int) -> np.ndarray:
    """One matrix-vector product per pick."""
    centred = features - features.mean(axis=0)
    values = np.einsum("ij,ij->i", centred, centred)
    total = np.zeros(features.shape[1], np.float32)
    picks: list[int] = []
    while len(picks) < count:
        misses = values + 2 * centred @ total
        misses[picks] = np.inf
        picks.append(int(np.argmin(misses)))
        total += centred[picks[-1]]
    return np.array(picks)


def facility_location_naive(features: np.ndarray, count: int) -> np.ndarray:
    """All pairwise distances in float64 in memory, all gains for every pick; ties by index."""
    distances = _distances(features.astype(np.float64))
    totals = distances.sum(axis=0)
    picks = [int(np.argmax(totals <= totals.min() * (1 + 1e-9)))]
    nearest = distances[picks[0]].copy()
    while len(picks) < count:
        gains = np.maximum(nearest[:, None] - distances, 0).sum(axis=0)
        gains[picks] = -1
        picks.append(int(np.argmax(gains >= gains.max() * (1 - 1e-9))))
        np.minimum(nearest, distances[picks[-1]], out=nearest)
    return np.array(picks)


def k_means_per_pick(features: np.ndarray, count: int) -> np.ndarray:
    """As many k-means cells as picks, the sample nearest to each centre."""
    from sklearn.cluster import KMeans

    fitted = KMeans(count, n_init=1, max_iter=20, random_state=0).fit(features)
    return np.unique(fitted.transform(features).argmin(axis=0))


def _distances(features: np.ndarray) -> np.ndarray:
    points = features - features.mean(axis=0)
    squares = np.einsum("ij,ij->i", points, points)
    products = points @ points.T
    products *= -2
    products += squares
    products += squares[:, None]
    np.maximum(products, 0, out=products)
    np.fill_diagonal(products, 0)
    return np.sqrt(products, out=products)


# -------------------------------------------------------------------------- public libraries


def _distance_kernel(features: np.ndarray) -> np.ndarray:
    distances = _distances(features)
    return np.subtract(distances.max(), distances, out=distances)


def _cosine_kernel(features: np.ndarray) -> np.ndarray:
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    kernel = unit @ unit.T
    kernel *= 0.5
    kernel += 0.5
    return kernel


def apricot_facility_location(features: np.ndarray, count: int) -> np.ndarray:
    from apricot import FacilityLocationSelection

    chosen = FacilityLocationSelection(count, metric="precomputed", optimizer="lazy")
    return chosen.fit(_distance_kernel(features)).ranking


def apricot_graph_cut(features: np.ndarray, count: int) -> np.ndarray:
    from apricot import GraphCutSelection

    chosen = GraphCutSelection(count, metric="precomputed", alpha=1, optimizer="lazy")
    return chosen.fit(_cosine_kernel(features)).ranking


def submodlib_facility_location(features: np.ndarray, count: int) -> np.ndarray:
    from submodlib import FacilityLocationFunction

    kernel = _distance_kernel(features)
    function = FacilityLocationFunction(len(kernel), "dense", separate_rep=False, sijs=kernel)
    return _maximised(function, count, "LazyGreedy")


def submodlib_graph_cut(features: np.ndarray, count: int) -> np.ndarray:
    from submodlib import GraphCutFunction

    kernel = _cosine_kernel(features)
    function = GraphCutFunction(
        len(kernel), "dense", lambdaVal=1, separate_rep=False, ggsijs=kernel
    )
    return _maximised(function, count, "NaiveGreedy")


def _maximised(function, count: int, optimizer: str) -> np.ndarray:
    picks = function.maximize(budget=count, optimizer=optimizer, show_progress=False)
    return np.array([index for index, _ in picks])


# -------------------------------------------------------------------------- floors


def one_pass(features: np.ndarray, count: int) -> np.ndarray:
    """One float32 matrix-vector product: every method has to read every number once."""
    features @ features[0]
    return np.empty(0)


def all_pairs_share(features: np.ndarray, count: int) -> np.ndarray:
    """One block of a product of all samples with all samples; see PAIRS_BLOCK."""
    block = features[:PAIRS_BLOCK]
    block @ block.T
    return np.empty(0)


PAIRS_BLOCK = 1024
OURS = (
    "dq_paper_eq",
    "dq_official_code",
    "dq_graphcut",
    "k_center",
    "herding",
    "stratified",
    "facility_location",
)
CONTESTANTS: dict[str, Contestant] = {
    **{name: _ours(name) for name in OURS},
    "dq_paper_eq_closed": _peer("closed_form", "paper_eq"),
    "dq_official_code_closed": _peer("closed_form", "official_code"),
    "dq_graphcut_closed": _peer("closed_form", "graphcut"),
    "dq_official_code_released": _peer("released_procedure"),
    "k_center_plain": k_center_plain,
    "herding_plain": herding_plain,
    "facility_location_naive": facility_location_naive,
    "k_means_per_pick": k_means_per_pick,
    "apricot_facility_location": apricot_facility_location,
    "apricot_graph_cut": apricot_graph_cut,
    "submodlib_facility_location": submodlib_facility_location,
    "submodlib_graph_cut": submodlib_graph_cut,
    "one_pass": one_pass,
    "all_pairs_share": all_pairs_share,
}

if __name__ == "__main__":
    main(*sys.argv[1:])
