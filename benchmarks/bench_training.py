"""Time training against ``cellpose.train.train_seg``, and against its floor.

    python -m benchmarks.bench_training [--quick] [--repeats N] [--threads N] [--bfloat16]
                                        [--quality-steps N] [--record]

First table: seconds of one step on the same patches with the same network, batch and crop. The
targets and the loss are checked to be the peer's first. The contestants take turns, round after
round, and medians are printed. A step is the difference of two runs of different length, so that
what happens once (loading, diameters, saving, the first step's preparations) is left out.
bfloat16 is timed where the processor multiplies it natively.

Second table, with BOOK_DATA_BUNDLE: average precision on held-out images of BBBC038 against seconds
of training from random weights, both predicted with the same code.

The floor is the number of multiplications and additions of the convolutions and products of one
step, forward and backward, at the rate of one large matrix product in the same number format,
measured in the same rounds.
"""

import argparse
import contextlib
import io
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.record import Benchmark, Row, add_options, finish, progress
from benchmarks.timing import gemm_rate, gemm_seconds
from helpers.data.patches import PatchGrid
from helpers.data.sample import Sample
from helpers.experiments.domains import WATCHED_PATCHES
from helpers.experiments.preparation import DataSettings, prepare_data
from helpers.experiments.stages import WATCHED_SIDE
from helpers.metrics import evaluate
from helpers.models.cpnet import build_cpnet, load_weights
from helpers.models.device import resolve_precision
from helpers.models.dynamics import load_dynamics
from helpers.models.predict import predict_masks
from helpers.paths import runs_dir
from helpers.replay import Mixer, appended
from helpers.training.flows import TrainingPlan, foreground_dice, segmentation_loss, train
from helpers.training.loop import Log, Looks
from helpers.training.targets import PatchStore, build_store
from tests.shapes import disc_sample

FORMATS = ("float32", "bfloat16")
# Of the second table, unless --quality-steps says otherwise.
QUALITY_SECONDS, MOST_STEPS = 360, 240
EPOCH_STEPS = 3


@dataclass(frozen=True)
class Case:
    """What is trained: width of the network, side of patches and crops, batch; steps per timing."""

    width: int
    crop: int
    batch: int
    steps: int

    @property
    def name(self) -> str:
        """As the table shows it."""
        levels = [1, *(self.width * 2**level for level in range(4))]
        return f"{self.crop} px, batch {self.batch}, {levels}"


CASES = (Case(32, 224, 8, 2), Case(16, 112, 16, 4))
QUICK_CASES = (Case(4, 64, 4, 4),)


@dataclass(frozen=True)
class Quality:
    """The second comparison.

    Attributes:
        case: network, crop and batch.
        steps: of the longest training, about.
        images: drawn from BBBC038.
        tested: held-out images at most.
    """

    case: Case
    steps: int
    images: int
    tested: int

    @property
    def epochs(self) -> tuple[int, ...]:
        """Lengths of the trainings: about a quarter, a half and the whole."""
        quarter = max(3, self.steps // EPOCH_STEPS // 4)
        return tuple(part * quarter for part in (1, 2, 4))


SPEED = Benchmark(
    "training",
    "A step of training",
    "CPnet with SGD against cellpose.train.train_seg, on the same patches with the same network, "
    "batch and crop; targets and loss are checked to be the same. A step is the difference of two "
    "runs of different length. Medians, the contestants in turn. Data, forward and backward are "
    "shares of our step; a look "
    f"is the foreground Dice on the central {WATCHED_SIDE} px of {WATCHED_PATCHES} patches.",
    "the multiplications and additions of the convolutions and products of one step, forward and "
    "backward, at the measured rate of one large matrix product in the same number format.",
    {
        "case": "",
        "format": "numbers",
        "gflop": "GFLOP per step",
        "ours": "ours, s/step",
        "peer": "train_seg, s/step",
        "ratio": "train_seg / ours",
        "floor": "floor, s/step",
        "of_floor": "floor / ours",
        "data": "data",
        "forward": "forward",
        "backward": "backward",
        "look": "a look / a step",
        "gemm": "matrix product, GFLOP/s",
        "note": "",
    },
    ("cellpose", "torch", "numpy"),
    ("case",),
)

QUALITY = Benchmark(
    "training-quality",
    "Training time for equal quality",
    "From random weights on the same 112-px patches of BBBC038, batch 16; mean average precision "
    "at IoU 0.5 on held-out whole images, all predicted with the same code. Learning rate 0.1, "
    "weight decay 1e-4, momentum 0.9, scale 0.75 to 1.25, no rescaling to a diameter. Schedules "
    "are each contestant's own: train_seg warms up over ten epochs, of three steps here, and stays "
    "there if it runs for no more than 100; ours warms up over a twentieth and falls in the last "
    "fifth. Each row is a training of its own, the contestants in turn; the ratio is given where a "
    "row reaches what train_seg reaches in its longest. One seed.",
    "",
    {
        "contestant": "",
        "steps": "steps",
        "seconds": "s of training",
        "ap": "AP at IoU 0.5",
        "ratio": "s of train_seg's longest / s",
        "note": "",
    },
    ("cellpose", "torch", "numpy"),
)


def peer_inputs(store: PatchStore) -> dict[str, list[np.ndarray]]:
    """Images and finished targets as ``train_seg`` takes them.

    It reads from the instances alone how many and how large they are, of which nothing enters when
    images are not rescaled; so the foreground stands in for them.
    """
    stacks = np.float32(store.arrays)
    return {"train_data": list(stacks[:, :1]), "train_labels": list(stacks[:, [1, 1, 2, 3]])}


def run_peer(case: Case, store: PatchStore, folder: Path, epochs: int, **more) -> None:
    """``train_seg`` from random weights."""
    from cellpose.train import train_seg

    settings = {
        "SGD": True,
        "learning_rate": 0.1,
        "weight_decay": 1e-4,
        "batch_size": case.batch,
        "bsize": case.crop,
        "n_epochs": epochs,
        "rescale": False,
        "min_train_masks": 0,
        # As a dictionary: a plain False would be written into a default of the whole module.
        "normalize": {"normalize": False},
        "save_path": folder,
        "model_name": "peer",
    }
    with contextlib.redirect_stderr(io.StringIO()):
        train_seg(build_cpnet(case.width, 0), **peer_inputs(store), **{**settings, **more})


def run_ours(
    network: torch.nn.Module, store: PatchStore, plan: TrainingPlan, looks: Looks | None = None
) -> Log:
    """Our trainer."""
    mixer = Mixer(appended([np.arange(len(store))]), plan.batch_size, 0)
    return train(network, [store], mixer, plan, 0, looks=looks)


def peer_step(case: Case, store: PatchStore, folder: Path) -> float:
    """Seconds of one step of the peer; the store holds one batch, so that an epoch is a step."""
    taken = []
    for epochs in (1, 1 + case.steps):
        start = time.perf_counter()
        run_peer(case, store, folder, epochs)
        taken.append(time.perf_counter() - start)
    return (taken[1] - taken[0]) / case.steps


def our_step(case: Case, store: PatchStore, precision: str) -> dict[str, float]:
    """Seconds of one step of ours, of its parts, and of one look."""
    short, long = (_our_run(case, store, precision, steps) for steps in (1, 1 + case.steps))
    look = long.pop("evaluation")
    short.pop("evaluation")
    parts = {name: (long[name] - short[name]) / case.steps for name in long}
    return {**parts, "look": look}


def _our_run(case: Case, store: PatchStore, precision: str, steps: int) -> dict[str, float]:
    """Seconds of the whole call without its one look, of its parts, and of the look."""
    stack = np.asarray(store.arrays[np.arange(WATCHED_PATCHES) % len(store)])
    side = min(case.crop, WATCHED_SIDE)

    def look(step: int, network: torch.nn.Module) -> dict[str, float]:
        return {"dice": foreground_dice(network, stack, getattr(torch, precision), side)}

    # A rate at which no start diverges; the time does not depend on it.
    plan = TrainingPlan(steps, case.batch, crop=case.crop, learning_rate=0.01, precision=precision)
    network = build_cpnet(case.width, 0)
    start = time.perf_counter()
    log = run_ours(network, store, plan, Looks((steps,), look))
    whole = time.perf_counter() - start - log.phases["evaluation"]
    return {"ours": whole, **log.phases}


def gflop(case: Case) -> float:
    """Operations of one step, a multiplication and an addition counted as two."""
    network = build_cpnet(case.width, 0)
    images, target = (torch.zeros(1, n, case.crop, case.crop) for n in (1, 3))
    with FlopCounterMode(display=False) as counter:
        segmentation_loss(network(images)[0], target).backward()
    return case.batch * counter.get_total_flops() / 1e9


def check_equal(samples: Sequence[Sample], store: PatchStore) -> None:
    """Stop if the contestants do not learn the same thing."""
    from cellpose.train import _loss_fn_seg

    labels = [sample.labels.copy() for sample in samples[:2]]
    with contextlib.redirect_stderr(io.StringIO()):
        flows = load_dynamics().labels_to_flows(labels, device=torch.device("cpu"))
    target = np.float32(store.arrays[:2, 1:])
    np.testing.assert_allclose(target, np.stack(flows)[:, 1:], atol=1e-3)
    output = torch.from_numpy(target[:, ::-1].copy())
    expected = _loss_fn_seg(target, output, torch.device("cpu"))
    torch.testing.assert_close(segmentation_loss(output, torch.from_numpy(target)), expected)


def time_case(case: Case, repeats: int, formats: Sequence[str]) -> list[Row]:
    """Rows of one case: all formats, those left out too."""
    samples = [disc_sample(str(i), case.crop, i) for i in range(case.batch)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = build_store(samples, PatchGrid(case.crop, case.crop, "drop"), folder / "store")
        check_equal(samples, store)
        # The first call of each compiles and allocates.
        run_peer(case, store, folder, 1)
        for precision in formats:
            our_step(case, store, precision)
        rounds = [_round(case, store, folder, formats) for _ in range(repeats)]
    median = {key: float(np.median([one[key] for one in rounds])) for key in rounds[0]}
    left_out = {"case": case.name, "note": "not timed: this processor emulates it"}
    return [_row(case, name, median) for name in formats] + [
        left_out | {"format": name} for name in FORMATS if name not in formats
    ]


def _round(case: Case, store: PatchStore, folder: Path, formats: Sequence[str]) -> dict:
    """Every contestant once."""
    found = {"peer": peer_step(case, store, folder)}
    for name in formats:
        found |= {(name, key): value for key, value in our_step(case, store, name).items()}
        found[name, "gemm"] = float(np.median([gemm_seconds(name) for _ in range(5)]))
    return found


def _row(case: Case, name: str, median: dict) -> Row:
    operations, ours = gflop(case), median[name, "ours"]
    gemm = gemm_rate(median[name, "gemm"])
    shares = {key: median[name, key] / ours for key in ("data", "forward", "backward", "look")}
    return {
        "case": case.name,
        "format": name,
        "gflop": operations,
        "ours": ours,
        "peer": median["peer"],
        "ratio": median["peer"] / ours,
        "floor": operations / gemm,
        "of_floor": operations / gemm / ours,
        **shares,
        "gemm": gemm,
    }


def quality_rows(quality: Quality, formats: Sequence[str]) -> list[Row]:
    """Average precision and seconds of all trainings."""
    if not os.environ.get("BOOK_DATA_BUNDLE"):
        return [{"note": "not run: set BOOK_DATA_BUNDLE to a bundle that holds BBBC038"}]
    settings = DataSettings(
        dataset="bbbc038",
        n_images=quality.images,
        image_size=0,
        test_share=0.2,
        max_test_images=quality.tested,
        seed=0,
        polarity="bright_objects",
        grid=PatchGrid(quality.case.crop, quality.case.crop, "drop", min_instances=1),
    )
    prepared = prepare_data(settings, runs_dir() / "data")
    store, samples = _first_patches(prepared.patches(), quality.case), prepared.test_samples()
    rows: dict[str, list[Row]] = {}
    for epochs in quality.epochs:
        for name in ("train_seg", *formats):
            row = _quality_row(quality.case, store, samples, epochs, name)
            progress(", ".join(f"{key} {value}" for key, value in row.items()))
            rows.setdefault(name, []).append(row)
    last = rows["train_seg"][-1]
    return [_compared(row, last) for part in rows.values() for row in part]


def _first_patches(store: PatchStore, case: Case) -> PatchStore:
    """Patches drawn once, as many as make whole epochs."""
    n = EPOCH_STEPS * case.batch
    chosen = np.sort(np.random.default_rng(0).permutation(len(store))[:n])
    if len(chosen) < n:
        raise SystemExit(f"{len(chosen)} patches: expected {n}; draw more images")
    # Only the arrays are trained on.
    return PatchStore(np.array(store.arrays[chosen]), [], [], store.instances[:0], store.areas[:0])


def _quality_row(
    case: Case, store: PatchStore, samples: Sequence[Sample], epochs: int, name: str
) -> Row:
    """One training from random weights and what it is worth; the peer's precision is float32."""
    if name == "train_seg":
        network, taken = _peer_trained(case, store, epochs)
    else:
        network, taken = _our_trained(case, store, epochs, name)
    found = [
        evaluate(one.labels, predict_masks(network, one.image[..., 0])).ap_50 for one in samples
    ]
    return {
        "contestant": "train_seg, float32" if name == "train_seg" else f"ours, {name}",
        "steps": epochs * EPOCH_STEPS,
        "seconds": taken,
        "ap": float(np.mean(found)),
    }


def _peer_trained(case: Case, store: PatchStore, epochs: int) -> tuple[torch.nn.Module, float]:
    """The peer's network, and seconds from its first step to its last."""
    middle = (epochs - 1) // 2
    with tempfile.TemporaryDirectory() as name:
        more = {"scale_range": 0.5, "save_every": middle, "save_each": True}
        run_peer(case, store, Path(name), epochs, **more)
        half, end = (Path(name) / "models" / f for f in (f"peer_epoch_{middle:04d}", "peer"))
        # From one file to another, so that what comes before the first step is left out.
        taken = end.stat().st_mtime - half.stat().st_mtime
        network = build_cpnet(case.width, 0)
        load_weights(network, end)
    return network, taken / (epochs - 1 - middle) * epochs


def _our_trained(
    case: Case, store: PatchStore, epochs: int, precision: str
) -> tuple[torch.nn.Module, float]:
    """Our network, and seconds of training."""
    plan = TrainingPlan(
        epochs * EPOCH_STEPS, case.batch, crop=case.crop, scale_range=0.5, precision=precision
    )
    network = build_cpnet(case.width, 0)
    return network, run_ours(network, store, plan).seconds


def _compared(row: Row, last: Row) -> Row:
    """With the ratio where a row reaches what the peer reaches at its end."""
    if not row["ap"] >= last["ap"] > 0:
        return row
    return {**row, "ratio": last["seconds"] / row["seconds"]}


def affordable_steps(rows: Sequence[Row]) -> int:
    """Steps of the longest training of the second table, from the times of the first.

    All contestants train for a quarter, a half and the whole.
    """
    a_step = 1.75 * (rows[0]["peer"] + sum(row["ours"] for row in rows))
    return min(MOST_STEPS, max(1, int(QUALITY_SECONDS / a_step)))


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny cases: does it run?")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of the first table")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bfloat16", action="store_true", help="even where it is emulated")
    parser.add_argument(
        "--quality-steps",
        type=int,
        help="of the longest training in the second table, about; 0 leaves the table out "
        f"(default: what fits into {QUALITY_SECONDS // 60} minutes, at most {MOST_STEPS})",
    )
    add_options(parser)
    return parser.parse_args()


def main() -> None:
    options = parse()
    import cv2

    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    native = resolve_precision("auto", torch.device("cpu")) == torch.bfloat16
    formats = FORMATS if native or options.bfloat16 else FORMATS[:1]
    rows = []
    for case in QUICK_CASES if options.quick else CASES:
        progress(case.name)
        rows += time_case(case, 1 if options.quick else options.repeats, formats)
    finish(SPEED, rows, options.record, options.threads)
    steps = options.quality_steps
    if steps is None:
        steps = affordable_steps(
            [row for row in rows if "ours" in row and row["case"] == case.name]
        )
    if steps:
        quality = Quality(Case(16, 112, 16, 1), steps, 60, 10)
        if options.quick:
            quality = Quality(Case(4, 112, 4, 1), min(steps, 48), 20, 2)
        finish(QUALITY, quality_rows(quality, formats), options.record, options.threads)


if __name__ == "__main__":
    main()
