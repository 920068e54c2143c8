"""Momentum contrast (MoCo; He et al., CVPR 2020, arXiv 1911.05722): loss, key encoder, queue.

:class:`MomentumContrast` trains any backbone that gives a list of maps, for as long as wanted: a
few steps, then something else, then on. As in MoCo v2 (Chen et al. 2020, arXiv 2003.04297) the head
has two layers and the temperature is 0.2; the loss is not symmetric.

**Batch normalisation on one device.** Where query and key of an image are normalised together with
the same other images, the statistics can tell the positive from the queue, and the loss falls with
little being learnt. The paper spreads a batch over GPUs, each with statistics of its own, and
shuffles the images between them for the keys ("shuffling BN", section 3.3). Here the batch of n is
cut into G groups with statistics of their own: groups of neighbours for queries, every G-th image
for keys. So the groups of the query and of the key of an image share at most ceil(n / G^2) of their
n / G images, itself among them, and are never the same; of a random shuffle that holds on average
alone. Running statistics take the mean of the groups'. Layers that do not normalise over the batch
(also batch normalisation in evaluation mode, or frozen) are left alone.

**Small data.** The queue knows of which image each key is. Keys of the query's own image, left from
an earlier step, are no negatives and are left out of the sum, as are places that no key has filled
yet; the paper leaves both in (random vectors at first), which does not matter where there are many
more images and steps than keys.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import get_ema_multi_avg_fn

from helpers.errors import ParameterError
from helpers.models.device import autocast
from helpers.pretraining.stepwise import PooledNetwork
from helpers.randomness import global_seed

EMPTY = -1


def contrastive_logits(
    queries: Tensor,
    keys: Tensor,
    queue: Tensor,
    temperature: float = 0.2,
    excluded: Tensor | None = None,
) -> Tensor:
    """q.k+ / T, and then q.k_i / T for every key of the queue: (n, 1 + K).

    Args:
        queries, keys: (n, d), each row of length 1; row i of both is one image.
        queue: (K, d), rows of length 1, the negatives.
        temperature: T in the paper, above 0.
        excluded: bool (n, K), where a key of the queue is no negative of a query: -infinity.

    Raises:
        ParameterError: shapes that do not fit, or a temperature of 0 or below.
    """
    shapes = [tuple(one.shape) for one in (queries, keys, queue)]
    if [len(shape) for shape in shapes] != [2, 2, 2] or (
        keys.shape != queries.shape or queue.shape[1] != queries.shape[1]
    ):
        raise ParameterError(
            f"queries, keys and queue of shapes {shapes}: expected (n, d), (n, d) and (K, d)"
        )
    if not temperature > 0:
        raise ParameterError(f"temperature={temperature}: expected above 0")
    negative = queries @ queue.T
    if excluded is not None:
        negative = negative.masked_fill(excluded, -torch.inf)
    positive = (queries * keys).sum(dim=1, keepdim=True)
    return torch.cat([positive, negative], dim=1) / temperature


def contrastive_loss(logits: Tensor) -> Tensor:
    """Mean over queries of -log(exp(q.k+ / T) / sum_i exp(q.k_i / T)) (InfoNCE, eq. 1).

    The sum is over the positive and the negatives.

    Args:
        logits: of :func:`contrastive_logits`, the positive first.
    """
    return F.cross_entropy(
        logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    )


def key_order(n: int, groups: int, device: torch.device | None = None) -> Tensor:
    """Order in which n images are given to the key encoder, int64 (n,).

    Images i, i + G, i + 2 G, ... become neighbours, and so one group.
    """
    return torch.arange(n, device=device).reshape(-1, groups).T.flatten()


@contextmanager
def grouped_statistics(network: nn.Module, groups: int) -> Iterator[None]:
    """Within the block, batch normalisation in training is done by groups of neighbours.

    Each group of a batch is normalised by its own statistics; running statistics move as by the
    mean of the groups'. The layers themselves stay as they are.

    Args:
        groups: into which a batch is cut; the batch is a multiple.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
    for layer in layers:
        layer.forward = partial(_by_groups, layer, layer.forward, groups)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def normalises_over_batch(network: nn.Module) -> bool:
    """Whether the output for an image depends on the other images of its batch."""
    return any(isinstance(m, _BatchNorm) and _uses_batch(m) for m in network.modules())


def check_groups(network: nn.Module, batch_size: int, groups: int) -> None:
    """Refuse groups in which query and key of an image would be normalised in the same company.

    Raises:
        ParameterError: the batch is no multiple of the groups; or, if the network normalises over
            it, there are fewer than 2 groups, or fewer than 2 images in each.
    """
    if batch_size % groups:
        raise ParameterError(
            f"groups={groups}: a batch of {batch_size} is no multiple. Change either."
        )
    if normalises_over_batch(network) and not 2 <= groups <= batch_size // 2:
        raise ParameterError(
            f"groups={groups} of a batch of {batch_size}: with batch normalisation expected at "
            "least 2 groups of at least 2 images, so that query and key of an image are normalised "
            "in different company"
        )


class MomentumContrast(nn.Module):
    """A query encoder that is trained, a key encoder that follows it, and the queue.

    Called with two views of each image it gives the loss, and takes the keys into the queue; an
    optimiser of ``query.parameters()`` does the rest. To train a part of another network, hand in
    that part: it is not copied. ``state_dict`` holds all that goes on: both encoders, both heads,
    queue, and place in it. After ``.to(device)`` all of it is there.

    Args:
        backbone: images (n, c, h, w) in, a list of maps out, of which the deepest, (n, channels,
            h', w'), comes last. Its weights become the key encoder's.
        plan: with ``batch_size``, ``dim``, ``temperature``, ``key_momentum``, ``groups`` and
            ``precision`` (:class:`helpers.pretraining.moco.MocoPlan`).
        queue: K, number of keys.
        seed: of the head's weights.

    Raises:
        ParameterError: see :func:`check_groups`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        plan: Any,
        queue: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.plan = plan
        width = backbone.out_channels[-1]
        with global_seed(seed):
            head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, plan.dim))
        self.query = PooledNetwork(backbone, head)
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        self.register_buffer("queue", torch.zeros(queue, plan.dim))
        self.register_buffer("queue_ids", torch.full((queue,), EMPTY))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))
        self._average = get_ema_multi_avg_fn(plan.key_momentum)
        # Before any work, and not in the first step.
        check_groups(self.query, plan.batch_size, plan.groups)

    def forward(self, first: Tensor, second: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Loss, and share of the queries that are nearer to their key than to any negative.

        Queries, step of the key encoder, keys, loss against the queue as it was; then the keys take
        the place of the oldest. (In algorithm 1 the key encoder's step ends an iteration, which is
        the same: it then comes before the next one's keys.) No gradient reaches the key encoder.

        Args:
            first, second: (n, c, h, w), normalised: views of the same n images, of which the
                queries and the keys are made. n is a multiple of the groups.
            ids: int64 (n,), 0 or above: which images these are. Keys with the id of the query are
                no negatives to it, so images that show the same get the same.
        """
        queries = self._embed(self.query, first)
        with torch.no_grad():
            self.follow()
            order = key_order(len(second), self.plan.groups, second.device)
            keys = self._embed(self.key, _reordered(second, order))[order.argsort()]
        excluded = (ids[:, None] == self.queue_ids) | (self.queue_ids == EMPTY)
        # A caller's autocast would round the products.
        with torch.autocast(first.device.type, enabled=False):
            logits = contrastive_logits(
                queries, keys, self.queue.clone(), self.plan.temperature, excluded
            )
            loss = contrastive_loss(logits)
        self._enqueue(keys, ids)
        nearest = (logits[:, :1] > logits[:, 1:]).all(dim=1)
        return loss, nearest.float().mean()

    @torch.no_grad()
    def follow(self) -> None:
        """One step of the key encoder towards the query encoder (eq. 2)."""
        self._average(list(self.key.parameters()), list(self.query.parameters()), 0)

    @torch.no_grad()
    def restart(self) -> None:
        """Make the key encoder the query encoder and empty the queue.

        For a backbone that something else has trained meanwhile: keys of the former one would tell
        the positive, which is new, from the negatives, which are old.
        """
        self.key.load_state_dict(self.query.state_dict())
        self.queue.zero_()
        self.queue_ids.fill_(EMPTY)
        self.place.zero_()

    def _embed(self, network: PooledNetwork, images: Tensor) -> Tensor:
        """Embeddings of length 1, float32 (n, d), in the order of the images."""
        with (
            autocast(images.device, self.plan.precision),
            grouped_statistics(network, self.plan.groups),
        ):
            embeddings = network(images)
        return F.normalize(embeddings.float(), dim=1)

    @torch.no_grad()
    def _enqueue(self, keys: Tensor, ids: Tensor) -> None:
        # Computed where the queue is: reading the place would make the processor wait for a GPU.
        rows = (self.place + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        self.queue.index_copy_(0, rows, keys)
        self.queue_ids.index_copy_(0, rows, ids)
        self.place.copy_((self.place + len(keys)) % len(self.queue))


def _uses_batch(layer: _BatchNorm) -> bool:
    return layer.training or layer.running_mean is None


def _by_groups(
    layer: _BatchNorm, plain: Callable[[Tensor], Tensor], groups: int, inputs: Tensor
) -> Tensor:
    """What ``plain``, the layer's own forward, makes of each group of ``inputs``.

    Every group sees the running statistics as they were, in rows of their own: the gradient needs
    them unchanged.
    """
    if not _uses_batch(layer):
        return plain(inputs)
    buffers = dict(layer.named_buffers(recurse=False))
    rows = {name: one.detach().expand(groups, *one.shape).clone() for name, one in buffers.items()}
    outputs = []
    try:
        for group, part in enumerate(inputs.chunk(groups)):
            _set_buffers(layer, {name: one[group] for name, one in rows.items()})
            outputs.append(plain(part))
    finally:
        _set_buffers(layer, buffers)
    with torch.no_grad():
        for name, one in buffers.items():
            one.copy_(rows[name].mean(dim=0) if one.is_floating_point() else rows[name][0])
    return torch.cat(outputs)


def _set_buffers(layer: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    for name, one in buffers.items():
        setattr(layer, name, one)


def _reordered(images: Tensor, order: Tensor) -> Tensor:
    """Images in another order and the same layout in memory."""
    return torch.index_select(images, 0, order, out=torch.empty_like(images))
