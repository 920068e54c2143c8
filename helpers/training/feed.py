"""What a training step sees: patches from one or several stores, in an order made elsewhere."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from helpers.training.targets import PatchStore


class Order(Protocol):
    """An endless sequence of batches that can be continued (:class:`helpers.replay.Mixer`)."""

    def next(self) -> np.ndarray:
        """Int64 (batch, 2): number of the store and number of the patch in it."""

    def state(self) -> dict:
        """Plain values from which :meth:`restore` goes on."""

    def restore(self, state: dict) -> None:
        """Go on from a state."""


class Feed:
    """Batches of patches with their targets, from any number of stores.

    Args:
        stores: whose patches all have the same side.
        order: names stores by their place in ``stores``.
    """

    def __init__(self, stores: Sequence[PatchStore], order: Order) -> None:
        self._stores, self.order = list(stores), order

    def next(self) -> tuple[np.ndarray, np.ndarray]:
        """The next batch.

        Returns:
            float16 (batch, 4, side, side) of image, foreground, flow y, flow x; int64 (batch,),
            the store of each.
        """
        rows = self.order.next()
        return self.take(rows), rows[:, 0]

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Patches by store and number, float16 (n, 4, side, side)."""
        return np.stack([self._stores[store].arrays[patch] for store, patch in rows])
