"""Time the embedding of patches against one patch at a time, and against its floor.

    python -m benchmarks.bench_embedding [--repeats N] [--threads N] [--bfloat16] [--record]

The peer is the way of the script released with arXiv 2511.04803: float32, one patch per call. Both
prepare inputs alike and the features are checked to be equal first, those in bfloat16 to be close;
bfloat16 is timed where the processor multiplies it natively.
Weights are random, which does not change the time; patches are noise, 224 x 224, grey. The
contestants take turns, round after round, and medians are printed.

The floor is the number of arithmetic operations of the network at the rate of one large matrix
product in the same number format, measured in the same rounds.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.record import Benchmark, Row, add_options, finish, progress
from benchmarks.timing import gemm_rate, gemm_seconds, seconds
from helpers.features.embed import EmbedSettings, embed, pool, prepare_input
from helpers.features.encoders import Encoder, local_mae, timm_encoder
from helpers.models.device import resolve_precision
from helpers.models.mae import MaeArchitecture, build_mae, save_mae

SIDE = 224
# Largest difference to the peer, as a share of the largest feature.
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1}

BENCHMARK = Benchmark(
    "embedding",
    "Features of patches",
    "Frozen encoders on 224 x 224 patches: percentile scaling, resizing and network. The peer "
    "embeds one patch at a time in float32, as the script released with arXiv 2511.04803. "
    "Medians, the contestants in turn.",
    "the arithmetic operations of the network at the measured rate of one large matrix product in "
    "the same number format.",
    {
        "encoder": "",
        "format": "numbers",
        "gflop": "GFLOP per patch",
        "ours": "ours, patches/s",
        "peer": "one by one, patches/s",
        "ratio": "ours / peer",
        "floor": "floor, patches/s",
        "of_floor": "ours / floor",
        "gemm": "matrix product, GFLOP/s",
    },
    ("torch", "timm", "numpy"),
)


def one_by_one(images: np.ndarray, encoder: Encoder) -> np.ndarray:
    """The peer."""
    rows = []
    with torch.inference_mode():
        for image in images:
            inputs = prepare_input(image, encoder, scaled=False)[None]
            tokens = encoder.module.forward_features(inputs)
            rows.append(pool(encoder.module, tokens, "mean").numpy())
    return np.concatenate(rows)


def gflop(encoder: Encoder) -> float:
    """Operations of one forward pass, a multiplication and an addition counted as two."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        encoder.module.forward_features(torch.zeros(1, encoder.channels, *(encoder.size,) * 2))
    return counter.get_total_flops() / 1e9


def cases() -> dict[Encoder, int]:
    """Encoders, and how many patches take a second or more."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mae.pt"
        save_mae(path, build_mae(MaeArchitecture(), 0), (0.4, 0.3), steps=0)
        own = local_mae(path)
    return {
        timm_encoder("vit_base_patch16_224.mae"): 8,
        timm_encoder("vit_tiny_patch16_224"): 48,
        own: 192,
    }


def check_equal(images: np.ndarray, encoder: Encoder, formats: tuple[str, ...]) -> None:
    """Stop if the contestants do not compute the same thing."""
    expected = one_by_one(images, encoder)
    size = np.abs(expected).max()
    for name in formats:
        found = embed(images, encoder, EmbedSettings(precision=name))
        np.testing.assert_allclose(found, expected, atol=TOLERANCE[name] * size)


def report(encoder: Encoder, n: int, repeats: int, formats: tuple[str, ...]) -> list[Row]:
    images = np.random.default_rng(0).random((n, SIDE, SIDE), dtype=np.float32)
    check_equal(images[:8], encoder, formats)
    taken: dict[str, list[float]] = {}
    for _ in range(repeats):
        taken.setdefault("peer", []).append(seconds(lambda: one_by_one(images, encoder)))
        for name in formats:
            settings = EmbedSettings(precision=name)
            work = seconds(lambda s=settings: embed(images, encoder, s))
            taken.setdefault(name, []).append(work)
            taken.setdefault(f"gemm {name}", []).append(gemm_seconds(name))
    median = {name: float(np.median(times)) for name, times in taken.items()}
    operations = gflop(encoder)
    return [_row(encoder, name, n, operations, median) for name in formats]


def _row(encoder: Encoder, name: str, n: int, operations: float, median: dict) -> Row:
    gemm = gemm_rate(median[f"gemm {name}"])
    ours, peer, floor = n / median[name], n / median["peer"], gemm / operations
    return {
        "encoder": encoder.name.split(" (")[0],
        "format": name,
        "gflop": operations,
        "ours": ours,
        "peer": peer,
        "ratio": ours / peer,
        "floor": floor,
        "of_floor": ours / floor,
        "gemm": gemm,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="rounds")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bfloat16", action="store_true", help="even where it is emulated")
    add_options(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    native = resolve_precision("auto", torch.device("cpu")) == torch.bfloat16
    formats = tuple(TOLERANCE) if native or options.bfloat16 else ("float32",)
    if len(formats) == 1:
        progress("bfloat16 left out: this processor emulates it, slowly (--bfloat16 times it)")
    rows = []
    for encoder, n in cases().items():
        progress(encoder.name)
        rows += report(encoder, n, options.repeats, formats)
    finish(BENCHMARK, rows, options.record, threads=options.threads)


if __name__ == "__main__":
    main()
