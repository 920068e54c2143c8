"""Time the robustness score against the pair-by-pair loop and against two forward passes.

    python -m benchmarks.bench_robustness [--repeats N] [--threads N] [--images N] [--record]

The peer goes image by image: torchvision's ColorJitter for each view, a forward pass for each of
query, key and negative, then the distances. The floor is two forward passes over all images in the
same precision and batches, which every form of the score needs: two views. Losses are checked to
be equal first. Weights are random, which does not change the time. The contestants take turns,
round after round, and medians are printed.
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.record import Benchmark, Row, add_options, finish, progress
from benchmarks.timing import seconds
from helpers.models.encoders import EncoderSpec, build_encoder, forward_levels
from helpers.transferability.negatives import choose_negatives
from helpers.transferability.robustness import Pairing, cosine_distance, measure_pairs, score_pairs
from helpers.views.jitter import Jitter, JitterStrength, draw_jitter

BATCH = 32
# Encoder and side of the images.
CASES = [("unet-16", 96), ("resnet18", 224), ("resnet50", 224)]

BENCHMARK = Benchmark(
    "robustness",
    "Robustness score",
    "The published form (cosine distance, deepest level, pooled, one negative) on colour images, "
    "float32. The peer takes image by image with torchvision's jitter and a forward pass for each "
    "of the two views and the negative. Medians, the contestants in turn.",
    "two forward passes over all images, in the same batches.",
    {
        "encoder": "",
        "side": "pixels",
        "n": "images",
        "ours": "ours, s",
        "peer": "image by image, s",
        "ratio": "peer / ours",
        "floor": "two passes, s",
        "of_floor": "ours / two passes",
        "grey": "ours on grey images / two passes",
    },
    ("torch", "torchvision", "segmentation-models-pytorch"),
)


def apply_peer(image: Tensor, jitter: Jitter) -> Tensor:
    """One view by torchvision."""
    from torchvision.transforms.v2 import functional as tv

    for step in jitter.order:
        image = getattr(tv, f"adjust_{step}")(image, float(getattr(jitter, step)[0]))
    return image


@torch.inference_mode()
def image_by_image(encoder: nn.Module, images: Tensor, seed: int) -> np.ndarray:
    """The peer: losses (n,)."""
    generator = torch.Generator().manual_seed(seed)
    first, second = (draw_jitter(JitterStrength(), generator) for _ in range(2))
    negatives = choose_negatives(len(images), "reversed", np.random.default_rng(0))

    def vector(index: int, jitter: Jitter) -> Tensor:
        maps = forward_levels(encoder, apply_peer(images[index], jitter)[None])
        return maps[-1].mean(dim=(2, 3))

    losses = []
    for index in range(len(images)):
        query, key = vector(index, first), vector(index, second)
        negative = vector(int(negatives[index]), second)
        gap = cosine_distance(query, key) - cosine_distance(query, negative)
        losses.append(max(0.0, gap.item() + 0.5))
    return np.array(losses)


def ours(encoder: nn.Module, images: Tensor, seed: int) -> np.ndarray:
    """Our losses, (n,)."""
    generator = torch.Generator().manual_seed(seed)

    def features(batch: Tensor) -> list[Tensor]:
        return forward_levels(encoder, batch)

    pairs = measure_pairs(features, images, generator, Pairing(), batch_size=BATCH)
    return score_pairs(pairs, np.random.default_rng(seed)).per_image


@torch.inference_mode()
def two_passes(encoder: nn.Module, images: Tensor) -> None:
    """The floor."""
    for _ in range(2):
        for batch in images.split(BATCH):
            forward_levels(encoder, batch)


def report(name: str, side: int, n: int, repeats: int) -> Row:
    encoder = build_encoder(EncoderSpec(name), seed=0).eval()
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((n, 3, side, side), generator=generator)
    grey = images[:, :1].repeat(1, 3, 1, 1)
    few = images[:5]
    np.testing.assert_allclose(
        ours(encoder, few, 1), image_by_image(encoder, few, 1), atol=1e-4, rtol=0
    )
    contestants: dict[str, Callable[[], object]] = {
        "ours": lambda: ours(encoder, images, 1),
        "grey": lambda: ours(encoder, grey, 1),
        "peer": lambda: image_by_image(encoder, images, 1),
        "floor": lambda: two_passes(encoder, images),
    }
    taken: dict[str, list[float]] = {key: [] for key in contestants}
    for _ in range(repeats):
        for key, work in contestants.items():
            taken[key].append(seconds(work))
    median = {key: float(np.median(times)) for key, times in taken.items()}
    return {
        "encoder": name,
        "side": side,
        "n": n,
        "ours": median["ours"],
        "peer": median["peer"],
        "ratio": median["peer"] / median["ours"],
        "floor": median["floor"],
        "of_floor": median["ours"] / median["floor"],
        "grey": median["grey"] / median["floor"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="rounds")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--images", type=int, default=64)
    add_options(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for name, side in CASES:
        progress(f"{name}, {side} pixels")
        rows.append(report(name, side, options.images, options.repeats))
    finish(BENCHMARK, rows, options.record, threads=options.threads)


if __name__ == "__main__":
    main()
