"""Time all metrics of one image against Cellpose and scikit-learn.

    python -m benchmarks.bench_metrics [--repeats N] [--record]

Every case first checks that the peers return the same values, then times all contestants in turn,
round after round, and prints medians: the ratios hold on a busy machine, the milliseconds move with
its load. Label maps are generated; with BOOK_DATA_BUNDLE set they are annotations of MoNuSeg and
BBBC038. Predictions are those maps shifted by two pixels, with every seventh object missing.

The floor is one pass over both maps that counts where the pair of labels changes.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cellpose import metrics as cellpose
from sklearn import metrics as sklearn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.record import Benchmark, add_options, finish, progress
from helpers.metrics import AP_THRESHOLDS, evaluate
from tests.metrics.oracles import numbered, real_label_maps, scattered_discs

Pair = tuple[np.ndarray, np.ndarray]

AP = [f"ap_{round(100 * t)}" for t in AP_THRESHOLDS]


def cellpose_ap(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    return cellpose.average_precision(truth, prediction, threshold=list(AP_THRESHOLDS))[0]


def cellpose_aji(truth: np.ndarray, prediction: np.ndarray) -> float:
    return cellpose.aggregated_jaccard_index([truth], [prediction])[0]


def sklearn_pixel(truth: np.ndarray, prediction: np.ndarray) -> list[float]:
    """The five scores as the released code of arXiv 2511.04803 asks for them."""
    true, predicted = truth.ravel() > 0, prediction.ravel() > 0
    ratios = ("jaccard", "f1", "precision", "recall")
    scores = [getattr(sklearn, f"{r}_score")(true, predicted, zero_division=0) for r in ratios]
    return [*scores, sklearn.accuracy_score(true, predicted)]


def floor(truth: np.ndarray, prediction: np.ndarray) -> int:
    return count_changes(truth.reshape(-1), prediction.reshape(-1))


def compile_floor() -> Callable[[np.ndarray, np.ndarray], int]:
    import numba

    @numba.njit
    def changes(truth, prediction):
        n = 0
        for i in range(1, truth.size):
            n += (truth[i] != truth[i - 1]) | (prediction[i] != prediction[i - 1])
        return n

    return changes


count_changes = compile_floor()

CONTESTANTS = {
    "ours, everything": evaluate,
    "cellpose AP x10": cellpose_ap,
    "cellpose AJI": cellpose_aji,
    "sklearn pixel x5": sklearn_pixel,
    "floor: one pass": floor,
}


def check_equal(truth: np.ndarray, prediction: np.ndarray) -> None:
    """Stop if the contestants do not compute the same thing."""
    found = evaluate(truth, prediction)
    # Cellpose returns AP as float32.
    np.testing.assert_allclose(
        [getattr(found, name) for name in AP], cellpose_ap(truth, prediction), atol=1e-7
    )
    np.testing.assert_allclose(found.aji_cellpose, cellpose_aji(truth, prediction), rtol=1e-9)
    pixel = [found.iou, found.dice, found.precision, found.recall, found.accuracy]
    np.testing.assert_allclose(pixel, sklearn_pixel(truth, prediction), rtol=1e-9)


def median_ms(pairs: list[Pair], repeats: int) -> dict[str, float]:
    """Median milliseconds per image, contestants interleaved."""
    taken: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    for _ in range(repeats):
        for truth, prediction in pairs:
            for name, run in CONTESTANTS.items():
                start = time.perf_counter()
                run(truth, prediction)
                taken[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(times)) for name, times in taken.items()}


def report(title: str, truths: list[np.ndarray], repeats: int) -> list[dict]:
    """One row per contestant, and one for the peers whose sum is what ``evaluate`` replaces."""
    pairs = [(truth, predicted_from(truth)) for truth in truths]
    for pair in pairs:
        check_equal(*pair)
    times = median_ms(pairs, repeats)
    times["cellpose AP + AJI"] = times["cellpose AP x10"] + times["cellpose AJI"]
    times["cellpose + sklearn"] = times["cellpose AP + AJI"] + times["sklearn pixel x5"]
    objects = [int(truth.max()) for truth in truths]
    shared = {
        "images": f"{title}: {len(pairs)} images, {min(objects)}-{max(objects)} objects",
        "ours_ms": times.pop("ours, everything"),
        "floor_ms": times.pop("floor: one pass"),
    }
    return [
        {**shared, "peer": name, "peer_ms": value, "ratio": value / shared["ours_ms"]}
        for name, value in times.items()
    ]


def predicted_from(truth: np.ndarray) -> np.ndarray:
    shifted = np.roll(truth, 2, axis=1)
    return numbered(np.where(shifted % 7 == 0, 0, shifted))


def generated_cases() -> dict[str, list[np.ndarray]]:
    rng = np.random.default_rng(0)
    return {
        "1000x1000": [scattered_discs(rng, (1000, 1000), 430, 22) for _ in range(2)],
        "256x256 to 256x360": [
            scattered_discs(rng, (256, width), n, 12)
            for width, n in ((256, 10), (256, 60), (320, 90), (360, 150))
        ],
        "224x224": [scattered_discs(rng, (224, 224), n, 14) for n in (8, 20, 40)],
    }


def real_cases(bundle: Path) -> dict[str, list[np.ndarray]]:
    maps = real_label_maps(bundle, n_nuclei=40, n_tissue=3)
    tissue = [m for name, m in maps.items() if name.startswith("MoNuSeg")]
    nuclei = [m for name, m in maps.items() if name.startswith("BBBC") and m.size <= 360 * 360]
    patches = [numbered(m[300:524, 300:524]) for m in tissue]
    patches += [numbered(m[:224, :224]) for m in nuclei[:6]]
    return {
        "MoNuSeg 1000x1000": tissue,
        "BBBC038 256 to 360": nuclei[:12],
        "224x224 patches of both": [m for m in patches if m.any()],
    }


BENCHMARK = Benchmark(
    "metrics",
    "Metrics of one image",
    "All metrics of this book (pixel, instance and panoptic) in one call, against the "
    "functions of Cellpose and scikit-learn that give some of them. The values are checked to be "
    "equal first. Median milliseconds per image, the contestants in turn.",
    "one pass over both label maps that counts where the pair of labels changes.",
    {
        "images": "",
        "peer": "peer",
        "ours_ms": "ours, ms",
        "peer_ms": "peer, ms",
        "ratio": "peer / ours",
        "floor_ms": "floor, ms",
    },
    ("cellpose", "scikit-learn", "numba", "numpy"),
    ("images",),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15, help="rounds of the largest case")
    add_options(parser)
    options = parser.parse_args()
    bundle = os.environ.get("BOOK_DATA_BUNDLE")
    cases = real_cases(Path(bundle)) if bundle else generated_cases()
    progress("real annotations" if bundle else "generated label maps")
    warm_up = np.eye(8, dtype=np.int32)
    for run in CONTESTANTS.values():
        run(warm_up, warm_up)
    rows = []
    for k, (title, truths) in enumerate(cases.items()):
        progress(title)
        rows += report(title, truths, options.repeats * (1, 2, 4)[k])
    finish(BENCHMARK, rows, options.record, threads=1)


if __name__ == "__main__":
    main()
