"""Batches from any number of sources, each with its share of every batch.

Replay reintroduces a part of an earlier domain while a model is trained on a new one
(Rolnick et al. 2019; arXiv 2511.04803, section III-G). Two settings are named here:

    appended    the replayed patches are added to the target's and all are drawn alike, as in the
                paper ("1-100 % Cyto + 100 % Histo"): the share of each batch follows from the
                numbers of patches, so that it grows with the pool
    controlled  each source has a fixed share of each batch, whatever its number of patches
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from helpers.errors import ParameterError


@dataclass(frozen=True, eq=False)
class Pool:
    """Patches that are drawn alike.

    Attributes:
        rows: int64 (n, 2): number of the source and number of the patch in it.
        share: of every batch, 0..1.
    """

    rows: np.ndarray
    share: float


def appended(parts: Sequence[np.ndarray]) -> list[Pool]:
    """One pool of all patches of all sources.

    Args:
        parts: patch numbers of each source, in the order of the sources.
    """
    return [Pool(np.concatenate([_rows(source, part) for source, part in enumerate(parts)]), 1.0)]


def controlled(parts: Sequence[np.ndarray], shares: Sequence[float]) -> list[Pool]:
    """One pool per source, with its share of every batch; empty sources need a share of zero."""
    return [
        Pool(_rows(source, part), float(share))
        for source, (part, share) in enumerate(zip(parts, shares, strict=True))
    ]


def _rows(source: int, patches: np.ndarray) -> np.ndarray:
    patches = np.asarray(patches, dtype=np.int64)
    return np.column_stack([np.full(len(patches), source, dtype=np.int64), patches])


class Mixer:
    """An endless sequence of batches.

    Every slot of a batch goes to the pool that is farthest behind its share, so that over any
    stretch each pool got its share to within a patch or two; shares need not divide the batch.
    Within a pool whole permutations follow one another: no patch is seen twice before all were
    seen once. The sequence depends on the pools, the shares and the seed alone.

    Args:
        pools: with shares that sum to 1; none with a share above zero may be empty.
        batch_size: patches per batch.
        seed: of the permutations.

    Raises:
        ParameterError: a share outside 0..1, a sum other than 1, an empty pool that has a share.
    """

    def __init__(self, pools: Sequence[Pool], batch_size: int, seed: int) -> None:
        if batch_size < 1:
            raise ParameterError(f"batch_size={batch_size}: expected at least 1")
        self._pools, self._batch_size, self._seed = list(pools), batch_size, seed
        self._drawn = np.zeros(len(self._pools), dtype=np.int64)
        self._owed = np.zeros(len(self._pools))
        self._order: dict[int, tuple[int, np.ndarray]] = {}
        self.set_shares([pool.share for pool in self._pools])

    @property
    def shares(self) -> list[float]:
        """Of every batch, by pool."""
        return self._shares.tolist()

    @property
    def drawn(self) -> list[int]:
        """Patches drawn so far, by pool."""
        return self._drawn.tolist()

    def set_shares(self, shares: Sequence[float]) -> None:
        """Change the shares of the batches to come."""
        values = np.asarray(shares, dtype=np.float64)
        if len(values) != len(self._pools) or not len(values):
            raise ParameterError(f"shares={shares}: expected one for each of {len(self._pools)}")
        if not ((values >= 0) & (values <= 1)).all() or abs(values.sum() - 1) > 1e-9:
            raise ParameterError(
                f"shares={list(shares)}: expected numbers from 0 to 1 that sum to 1"
            )
        for number, (pool, share) in enumerate(zip(self._pools, values, strict=True)):
            if share > 0 and not len(pool.rows):
                raise ParameterError(
                    f"pool {number} has a share of {share:g} and no patch: "
                    "give it patches, or a share of 0"
                )
        self._shares = values

    def next(self) -> np.ndarray:
        """The next batch: int64 (batch_size, 2), source and patch."""
        rows = np.empty((self._batch_size, 2), dtype=np.int64)
        for slot in range(self._batch_size):
            self._owed += self._shares
            # A pool without a share must not be paid what it was owed before its share fell to 0.
            behind = np.where(self._shares > 0, self._owed, -np.inf)
            number = int(np.argmax(behind))
            self._owed[number] -= 1
            rows[slot] = self._draw(number)
        return rows

    def _draw(self, number: int) -> np.ndarray:
        rows = self._pools[number].rows
        turn, place = divmod(int(self._drawn[number]), len(rows))
        if self._order.get(number, (-1, None))[0] != turn:
            rng = np.random.default_rng([self._seed, 1, number, turn])
            self._order[number] = (turn, rng.permutation(len(rows)))
        self._drawn[number] += 1
        return rows[self._order[number][1][place]]

    def state(self) -> dict[str, list]:
        """Plain values from which :meth:`restore` goes on."""
        return {"drawn": self.drawn, "owed": self._owed.tolist(), "shares": self.shares}

    def restore(self, state: dict[str, list]) -> None:
        """Go on where the mixer that gave this state was.

        Raises:
            KeyError, ValueError: not a state of a mixer with as many pools.
        """
        drawn, owed = np.array(state["drawn"], np.int64), np.array(state["owed"], np.float64)
        if len(drawn) != len(self._pools) or len(owed) != len(self._pools):
            raise ValueError(f"state of {len(drawn)} pools for a mixer of {len(self._pools)}")
        self.set_shares(state["shares"])
        self._drawn, self._owed = drawn, owed
