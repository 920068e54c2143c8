"""Time MoCo v2 against the library lightly, and compare what both have learnt.

    python -m benchmarks.bench_moco [--quick] [--steps N] [--repeats N] [--threads N] [--device D]
                                    [--images N] [--bfloat16] [--record]

Both train the same network on the same images with the same batch, queue, rate, schedule and number
of steps: images per second from the whole step, reading and views included. They take turns, round
after round, a part of the steps each, in processes of their own; medians are printed. lightly runs
in the environment ``.venv-bench`` (``make setup-bench``), in float32, once without and once with
processes that load images; the faster counts. bfloat16 is timed where the processor multiplies it
natively.

After the last step balanced accuracy of 5 nearest neighbours on other images of the same generated
classes stands beside it, and that of the random weights both start from. It is one seed and few
steps: it shows that both learn, not which learns better.

The floor is the same two passes and one backward pass on one batch that is there already.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.peers import MocoTask
from benchmarks.record import Benchmark, Row, add_options, finish, progress
from benchmarks.timing import seconds
from helpers.data.synthetic.natural import natural_images
from helpers.features.knn import knn_accuracy
from helpers.models.device import resolve_device, resolve_precision
from helpers.models.encoders import EncoderSpec, build_encoder, normalise
from helpers.paths import PROJECT
from helpers.pretraining.moco import MocoPlan, build_optimiser, contrast_step
from helpers.pretraining.moco_views import PairSource, identify, unit
from helpers.pretraining.momentum import MomentumContrast
from helpers.pretraining.schedules import learning_rate_at
from helpers.pretraining.stepwise import autocast, rows_of_steps
from helpers.pretraining.supervised import channel_statistics

LIBRARIES = PROJECT / ".venv-bench" / "bin" / "python"
LIBRARY_NAMES = ("lightly", "torch", "torchvision")
VERSIONS = "import importlib.metadata as m; print(*(m.version(n) for n in {names}), sep='\\n')"
SERVE = "from benchmarks.peers import serve_lightly; serve_lightly()"
# Images in a group of batch normalisation: as in the plan's default of 128 in 8 groups.
GROUP = 16
NEIGHBOURS = 5
WATCHED = 400


@dataclass(frozen=True)
class Case:
    """Network, side of images and views, batch and keys."""

    network: str
    size: int
    batch: int
    queue: int


CPU_CASES = (Case("resnet18", 96, 32, 1024), Case("resnet50", 112, 32, 1024))
GPU_CASES = (Case("resnet18", 224, 256, 4096), Case("resnet50", 224, 256, 4096))
QUICK_CASES = (Case("resnet18", 64, 16, 64),)

BENCHMARK = Benchmark(
    "moco",
    "MoCo v2",
    "Whole steps, reading and views included, against lightly (MoCoV2Transform, NTXentLoss with a "
    "memory bank, update_momentum; float32, the faster of no and several loading processes), on "
    "the same generated pictures with the same network, batch, queue, rate, schedule and number of "
    "steps. Medians, the contestants in turn. Nearest neighbours: balanced accuracy after the last "
    "step on other pictures of the same classes, one seed. Ours takes the statistics of batch "
    f"normalisation in groups of {GROUP}, or of half a batch, lightly's over the whole batch.",
    "the two passes and the backward pass on one batch of random numbers, without views, queue and "
    "optimiser, batch normalisation over the whole batch.",
    {
        "case": "",
        "format": "numbers",
        "ours": "ours, images/s",
        "peer": "lightly, images/s",
        "workers": "its loading processes",
        "ratio": "ours / lightly",
        "floor": "floor, images/s",
        "of_floor": "ours / floor",
        "views": "views, share of our step",
        "steps": "steps",
        "knn": "ours, nearest neighbours",
        "peer_knn": "lightly, nearest neighbours",
        "start_knn": "random weights",
        "note": "",
    },
    ("torch", "torchvision", "segmentation-models-pytorch"),
    ("case",),
)


class Ours:
    """Our side: the parts of :func:`helpers.pretraining.moco.pretrain_moco`, without its files."""

    def __init__(self, task: MocoTask, precision: str) -> None:
        self.task, self.device = task, resolve_device(task.device)
        images = np.load(task.images)
        self.watched = np.load(task.watched)
        self.plan = MocoPlan(
            steps=task.steps,
            batch_size=task.batch,
            learning_rate=task.rate,
            queue=task.queue,
            key_momentum=task.momentum,
            groups=max(2, task.batch // GROUP),
            precision=precision,
        )
        self.statistics = channel_statistics(images)
        encoder = build_encoder(EncoderSpec(task.network), task.seed)
        network = MomentumContrast(encoder, self.plan, task.queue, task.seed)
        self.network = network.to(self.device, memory_format=torch.channels_last)
        self.optimiser = build_optimiser(self.network, self.plan)
        source = PairSource(images, identify(images)[0], task.seed, self.device)
        self.pairs = source.pairs(rows_of_steps(len(images), self.plan, task.seed, 0))
        self.views_seconds = 0.0
        self.done = 0

    def train(self, steps: int) -> None:
        """Some of the steps."""
        for pair in itertools.islice(self.pairs, steps):
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate_at(self.done, self.plan.steps, self.plan)
            contrast_step(self.network, self.optimiser, pair, self._normalised)
            self.done += 1
        self._wait()

    def draw_views(self, steps: int) -> None:
        """Reading and views alone, of the same steps again."""
        images = np.load(self.task.images)
        source = PairSource(images, np.arange(len(images)), 1, self.device)
        for _ in itertools.islice(source.pairs(rows_of_steps(len(images), self.plan, 1, 0)), steps):
            pass
        self._wait()

    def floor(self, steps: int) -> None:
        """The networks alone."""
        shape = (self.task.batch, 3, self.task.size, self.task.size)
        views = torch.rand(shape, device=self.device).contiguous(memory_format=torch.channels_last)
        query, key = self.network.query, self.network.key
        for _ in range(steps):
            with autocast(self.device, self.plan.precision):
                with torch.no_grad():
                    key(views)
                embeddings = query(views)
            torch.autograd.grad(embeddings.float().sum(), list(query.parameters()))
        self._wait()

    def neighbours(self, labels: np.ndarray) -> float:
        """Accuracy of nearest neighbours of the watched images."""
        self.network.eval()
        parts = []
        with torch.inference_mode():
            for part in torch.from_numpy(self.watched).split(self.task.batch):
                inputs = self._normalised(unit(part, self.device))
                parts.append(self.network.query.represent(inputs).cpu())
        self.network.train()
        return accuracy(torch.cat(parts).numpy(), labels)

    def _normalised(self, images: torch.Tensor) -> torch.Tensor:
        images = normalise(images, *self.statistics)
        return images.contiguous(memory_format=torch.channels_last)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


class Lightly:
    """Their side, in a process of its own (:func:`benchmarks.peers.serve_lightly`)."""

    def __init__(self, task: MocoTask) -> None:
        self.process = subprocess.Popen(
            [LIBRARIES, "-c", SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
        )
        self._say(json.dumps(asdict(task)))

    def train(self, steps: int) -> float:
        """Seconds of some of the steps."""
        return self._ask(f"train {steps}")

    def neighbours(self, labels: np.ndarray, folder: Path) -> float:
        """Accuracy of nearest neighbours of the watched images."""
        path = folder / "features.npy"
        self._ask(f"features {path}")
        return accuracy(np.load(path), labels)

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()

    def _say(self, line: str) -> None:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def _ask(self, line: str) -> float:
        self._say(line)
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("lightly's process ended; its message stands above")
        return float(answer)


def accuracy(features: np.ndarray, labels: np.ndarray) -> float:
    """Of nearest neighbours by cosine; every image is a group of its own."""
    units = F.normalize(torch.from_numpy(features).float(), dim=1).numpy()
    return knn_accuracy(units, labels, np.arange(len(labels)), NEIGHBOURS)


def write_images(case: Case, n: int, folder: Path) -> tuple[Path, Path, np.ndarray]:
    """Files of the images of both sides and the labels of the watched ones."""
    paths = folder / "images.npy", folder / "watched.npy"
    np.save(paths[0], natural_images(n, 0, case.size)[0])
    watched, labels = natural_images(WATCHED, 1, case.size)
    np.save(paths[1], watched)
    return *paths, labels


def report(case: Case, options: argparse.Namespace, formats: tuple[str, ...]) -> list[Row]:
    """One row for each number format."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images, watched, labels = write_images(case, options.images, folder)
        task = MocoTask(
            images=str(images),
            watched=str(watched),
            network=case.network,
            size=case.size,
            batch=case.batch,
            queue=case.queue,
            rate=0.03 * case.batch / 256,
            momentum=0.99,
            steps=options.steps,
            seed=0,
            device=options.device,
            threads=options.threads,
        )
        ours = {precision: Ours(task, precision) for precision in formats}
        start = {precision: side.neighbours(labels) for precision, side in ours.items()}
        workers = (0, options.workers) if LIBRARIES.is_file() else ()
        peers = {number: Lightly(replace(task, workers=number)) for number in workers}
        taken = measure(ours, peers, options)
        known = {number: peer.neighbours(labels, folder) for number, peer in peers.items()}
        for peer in peers.values():
            peer.close()
        rows = [_row(case, name, taken, options.steps, tuple(peers)) for name in formats]
        best = rows[0].get("workers")
        for row in rows:
            name = row["format"]
            row |= {"knn": ours[name].neighbours(labels), "start_knn": start[name]}
            row["peer_knn"] = known.get(best)
    return rows


def measure(
    ours: dict[str, Ours], peers: dict[int, Lightly], options: argparse.Namespace
) -> dict[tuple, list[float]]:
    """Images per second of every contestant in every round; the first round is not counted."""
    taken: dict[tuple, list[float]] = {}
    sizes = np.diff(np.linspace(0, options.steps, options.repeats + 2).astype(int)).tolist()

    def add(key: tuple, steps: int, spent: float) -> None:
        taken.setdefault(key, []).append(steps / spent)

    for number, steps in enumerate(sizes):
        progress(f"  round {number} of {options.repeats}: {steps} steps each")
        for name, side in ours.items():
            for key, work in (
                ("ours", side.train),
                ("views", side.draw_views),
                ("floor", side.floor),
            ):
                add((key, name), steps, seconds(lambda w=work, n=steps: w(n)))
        for workers, peer in peers.items():
            add(("peer", workers), steps, peer.train(steps))
    # Round 0 starts processes and allocates.
    return {key: rates[1:] for key, rates in taken.items()}


def _row(
    case: Case, name: str, taken: dict[tuple, list[float]], steps: int, workers: tuple[int, ...]
) -> dict:
    rate = {key: statistics.median(rates) * case.batch for key, rates in taken.items()}
    ours, floor = rate["ours", name], rate["floor", name]
    row = {
        "case": f"{case.network}, {case.size} px, batch {case.batch}, {case.queue} keys",
        "format": name,
        "ours": ours,
        "floor": floor,
        "of_floor": ours / floor,
        "views": ours / rate["views", name],
        "steps": steps,
    }
    if not workers:
        return row | {"note": "lightly not installed: make setup-bench"}
    best = max(workers, key=lambda number: rate["peer", number])
    peer = rate["peer", best]
    return row | {"peer": peer, "workers": best, "ratio": ours / peer}


def library_versions() -> dict[str, str]:
    """Of the peer's environment; empty if it is not there."""
    if not LIBRARIES.is_file():
        return {}
    code = VERSIONS.format(names=LIBRARY_NAMES)
    done = subprocess.run([LIBRARIES, "-c", code], capture_output=True, text=True, check=True)
    found = zip(LIBRARY_NAMES, done.stdout.split(), strict=True)
    return {name if name == "lightly" else f"{name} of lightly": one for name, one in found}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one small network, few steps")
    parser.add_argument("--steps", type=int, default=120, help="of each training")
    parser.add_argument("--repeats", type=int, default=5, help="rounds, after one to warm up")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="loading processes of lightly"
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--images", type=int, default=2048, help="trained on")
    parser.add_argument("--bfloat16", action="store_true", help="even where it is emulated")
    add_options(parser)
    options = parser.parse_args()
    if options.quick:
        options.steps, options.repeats, options.images = 12, 2, 128
    if options.steps <= options.repeats:
        parser.error("--steps: at least one for each round and one to warm up")
    return options


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    device = resolve_device(options.device)
    native = resolve_precision("auto", device) == torch.bfloat16
    formats = ("float32", "bfloat16") if native or options.bfloat16 else ("float32",)
    if len(formats) == 1:
        progress("bfloat16 left out: this processor emulates it, slowly (--bfloat16 times it)")
    cases = QUICK_CASES if options.quick else GPU_CASES if device.type == "cuda" else CPU_CASES
    rows: list[Row] = []
    for case in cases:
        progress(f"{case.network}, {case.size} pixels")
        rows += report(case, options, formats)
    finish(BENCHMARK, rows, options.record, options.threads, library_versions())


if __name__ == "__main__":
    main()
