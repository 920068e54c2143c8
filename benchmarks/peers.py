"""What others would do, to compare speed and results with.

Orders of dataset quantization: ``closed_form`` is the best that plain numpy does: one float32
matrix-vector product per pick over the samples that were left when the bin started, as many BLAS
threads as are set.
``released_procedure`` follows the released script of arXiv 2511.04803 step by step (all pairwise
distances, then a gain per candidate and pick, O(N^3)), in our words.
Both return the sample indices in the order of picking.

MoCo v2 by the library lightly: :func:`serve_lightly`, run in the environment of the public
libraries (``requirements-bench.in``), where the book's own packages are not: hence imports inside
functions.
"""

import copy
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np


def bin_sizes(count: int, n_bins: int) -> np.ndarray:
    """Sizes that differ by at most one, the larger first."""
    sizes = np.full(n_bins, count // n_bins)
    sizes[: count % n_bins] += 1
    return sizes


def closed_form(features: np.ndarray, n_bins: int, gain: str) -> np.ndarray:
    """One product of all samples with one vector per pick, in float32."""
    points = np.asarray(features, dtype=np.float32)
    if gain == "graphcut":
        points = points / np.linalg.norm(points, axis=1, keepdims=True)
    else:
        points = points - points.mean(axis=0)
    squares = np.einsum("ij,ij->i", points, points)
    left = np.arange(len(points))
    order = []
    for size in bin_sizes(len(points), n_bins):
        picks = _fill_bin(points[left], squares[left], size, gain, len(points))
        order.append(left[picks])
        left = np.delete(left, picks)
    return np.concatenate(order)


def _fill_bin(
    pool: np.ndarray, squares: np.ndarray, size: int, gain: str, n_samples: int
) -> np.ndarray:
    """Rows of ``pool`` in the order of picking."""
    total = pool.sum(axis=0)
    picked = np.zeros(pool.shape[1], dtype=np.float32)
    used = np.zeros(len(pool), dtype=bool)
    picks = np.empty(size, dtype=np.int64)
    for k in range(size):
        if gain == "graphcut":
            gains = pool @ (total - 2 * picked)
        elif gain == "paper_eq":
            gains = (2 * k - n_samples) * squares - 4 * (pool @ picked)
        else:
            gains = -(pool @ picked) if k else -squares
        gains[used] = -np.inf
        picks[k] = np.argmax(gains)
        used[picks[k]] = True
        picked += pool[picks[k]]
    return picks


def released_procedure(features: np.ndarray, n_bins: int) -> np.ndarray:
    """The gain ``official_code`` from its definition, candidate by candidate."""
    points = np.asarray(features, dtype=np.float64)
    squares = (points**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None] - 2 * points @ points.T, 0)
    left = list(range(len(points)))
    order = []
    for size in bin_sizes(len(points), n_bins):
        inside: list[int] = []
        for _ in range(size):
            if inside:
                gains = [distances[i, inside].mean() - distances[i].mean() for i in left]
            else:
                gains = [-distances[i].sum() for i in left]
            pick = left[int(np.argmax(gains))]
            inside.append(pick)
            left.remove(pick)
        order += inside
    return np.array(order)


@dataclass(frozen=True)
class MocoTask:
    """What both sides of the MoCo benchmark do; files are of numpy arrays.

    Attributes:
        images: file of uint8 (n, h, h, 3), trained on.
        watched: file of images of the same form, whose features are compared.
        network: ``"resnet18"`` or ``"resnet50"``.
        size, batch, queue: side of the views, images per step, number of keys.
        rate, momentum: highest learning rate, and that of the key encoder.
        steps: of the whole training.
        seed: of all that is random.
        device, threads: of the computation.
        workers: processes that load images; 0 for none.
    """

    images: str
    watched: str
    network: str
    size: int
    batch: int
    queue: int
    rate: float
    momentum: float
    steps: int
    seed: int
    device: str
    threads: int
    workers: int = 0


class LightlyMoco:
    """MoCo v2 as lightly's example for it, with the published numbers.

    Its transform, loss with memory bank, head and momentum update; torchvision's network, torch's
    DataLoader, float32. The schedule is the half cosine of the paper, as on the other side.
    """

    def __init__(self, task: MocoTask) -> None:
        import torch
        from lightly.loss import NTXentLoss
        from lightly.models.modules import MoCoProjectionHead
        from lightly.models.utils import deactivate_requires_grad
        from torchvision.models import get_model

        torch.set_num_threads(task.threads)
        torch.manual_seed(task.seed)
        self.task, self.device = task, torch.device(task.device)
        network = get_model(task.network, weights=None)
        width = network.fc.in_features
        network.fc = torch.nn.Identity()
        self.query = torch.nn.ModuleList([network, MoCoProjectionHead(width, width, 128)])
        self.query.to(self.device)
        self.key = copy.deepcopy(self.query)
        for part in self.key:
            deactivate_requires_grad(part)
        bank = (task.queue, 128)
        self.loss = NTXentLoss(temperature=0.2, memory_bank_size=bank).to(self.device)
        self.optimiser = torch.optim.SGD(
            self.query.parameters(), lr=task.rate, momentum=0.9, weight_decay=1e-4
        )
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, task.steps)
        self.batches = self._batches()

    def _batches(self) -> Iterator[Any]:
        from lightly.transforms import MoCoV2Transform
        from PIL import Image
        from torch.utils.data import DataLoader, Dataset

        task = self.task
        images = np.load(task.images)

        class Pictures(Dataset):
            def __len__(self) -> int:
                return len(images)

            def __getitem__(self, index: int) -> list[Any]:
                return transform(Image.fromarray(images[index]))

        transform = MoCoV2Transform(
            input_size=task.size,
            cj_prob=0.8,
            cj_bright=0.4,
            cj_contrast=0.4,
            cj_sat=0.4,
            cj_hue=0.1,
            min_scale=0.2,
            random_gray_scale=0.2,
            gaussian_blur=0.5,
            sigmas=(0.1, 2),
        )
        loader = DataLoader(
            Pictures(),
            batch_size=task.batch,
            shuffle=True,
            drop_last=True,
            num_workers=task.workers,
            persistent_workers=task.workers > 0,
            pin_memory=task.device == "cuda",
        )
        while True:
            yield from loader

    def train(self, steps: int) -> None:
        """Some of the steps."""
        from lightly.models.utils import update_momentum

        for _ in range(steps):
            first, second = (view.to(self.device, non_blocking=True) for view in next(self.batches))
            for query, key in zip(self.query, self.key, strict=True):
                update_momentum(query, key, m=self.task.momentum)
            queries, keys = (self._embed(*one) for one in ((self.query, first), (self.key, second)))
            loss = self.loss(queries, keys.detach())
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            self.schedule.step()
        if self.device.type == "cuda":
            import torch

            torch.cuda.synchronize()

    @staticmethod
    def _embed(parts: Any, views: Any) -> Any:
        network, head = parts
        return head(network(views).flatten(start_dim=1))

    def features(self) -> np.ndarray:
        """Pooled output for the watched images, float32 (n, channels)."""
        import torch
        from lightly.transforms.utils import IMAGENET_NORMALIZE
        from torchvision.transforms.functional import normalize, resize

        network = self.query[0].eval()
        pixels = torch.from_numpy(np.load(self.task.watched)).permute(0, 3, 1, 2) / 255
        pixels = normalize(resize(pixels, [self.task.size] * 2), **IMAGENET_NORMALIZE)
        with torch.inference_mode():
            parts = [network(part.to(self.device)).cpu() for part in pixels.split(self.task.batch)]
        network.train()
        return torch.cat(parts).numpy()


def serve_lightly() -> None:
    """Do what the lines of the standard input ask for, until it ends.

    The first line is a :class:`MocoTask` as JSON. Then ``train N`` answers with the seconds of N
    steps, ``features FILE`` with the seconds of writing them.
    """
    answers = sys.stdout
    # What libraries print must not be taken for an answer.
    sys.stdout = sys.stderr
    side = LightlyMoco(MocoTask(**json.loads(sys.stdin.readline())))
    for line in sys.stdin:
        command, argument = line.split(maxsplit=1)
        start = time.perf_counter()
        if command == "train":
            side.train(int(argument))
        else:
            np.save(argument.strip(), side.features())
        print(time.perf_counter() - start, file=answers, flush=True)
