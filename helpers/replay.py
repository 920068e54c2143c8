"""Replay: which patches of which source a training step sees, fixed in advance or adapted.

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
from helpers.randomness import shuffled


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
    """One pool of all patches of all sources; parts are the patch numbers of each source."""
    return [Pool(np.concatenate([_rows(source, part) for source, part in enumerate(parts)]), 1.0)]


def controlled(parts: Sequence[np.ndarray], shares: Sequence[float]) -> list[Pool]:
    """One pool per source, with its share of every batch; empty sources need a share of zero."""
    return [
        Pool(_rows(source, part), float(share))
        for source, (part, share) in enumerate(zip(parts, shares, strict=True))
    ]


def _rows(source: int, patches: np.ndarray) -> np.ndarray:
    patches = np.asarray(patches, dtype=np.int64)
    return np.column_stack([np.full_like(patches, source), patches])


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
        self._pools, self._batch_size, self._seed = list(pools), batch_size, seed
        self._drawn = [0] * len(pools)
        self._owed = np.zeros(len(pools))
        self.set_shares([pool.share for pool in pools])

    @property
    def shares(self) -> list[float]:
        """Of every batch, by pool."""
        return self._shares.tolist()

    @property
    def drawn(self) -> list[int]:
        """Patches drawn so far, by pool."""
        return list(self._drawn)

    def set_shares(self, shares: Sequence[float]) -> None:
        """Change the shares of the batches to come."""
        values = np.asarray(shares, dtype=np.float64)
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
        slots = np.array([self._choose() for _ in range(self._batch_size)])
        batch = np.empty((self._batch_size, 2), dtype=np.int64)
        for number, pool in enumerate(self._pools):
            mine = slots == number
            if count := int(mine.sum()):
                places = (self._drawn[number], count, len(pool.rows))
                batch[mine] = pool.rows[shuffled(*places, self._seed, 1, number)]
                self._drawn[number] += count
        return batch

    def _choose(self) -> int:
        """The pool that gets the next slot."""
        self._owed += self._shares
        # A pool without a share must not be paid what it was owed before its share fell to 0.
        number = int(np.argmax(np.where(self._shares > 0, self._owed, -np.inf)))
        self._owed[number] -= 1
        return number

    def state_dict(self) -> dict[str, list]:
        """Plain values from which :meth:`load_state_dict` goes on."""
        return {"drawn": self.drawn, "owed": self._owed.tolist(), "shares": self.shares}

    def load_state_dict(self, state: dict[str, list]) -> None:
        """Go on where the mixer that gave this state was."""
        self._drawn, self._owed = list(state["drawn"]), np.array(state["owed"])
        self.set_shares(state["shares"])


@dataclass(frozen=True)
class AdaptiveShare:
    """Replay as much as the source is being forgotten (arXiv 2511.04803 leaves this open).

    The rule, ours: with drop = max(0, score before fine-tuning - score now) on validation images
    of the source,

        share = low + (high - low) * min(1, drop / tolerance)

    It is proportional control without memory: nothing lost, ``low`` of each batch is replayed; a
    drop of ``tolerance`` or more, ``high``. What is replayed settles where the drop it allows is
    the drop that asks for it. Until the first check the share is ``high``: most is forgotten in
    the first steps.

    Attributes:
        low, high: bounds of the share of each batch, 0 <= low <= high < 1.
        tolerance: drop at which the share is ``high``, in units of the score, above 0.
    """

    low: float = 0.02
    high: float = 0.5
    tolerance: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high < 1 or not self.tolerance > 0:
            raise ParameterError(
                f"low={self.low}, high={self.high}, tolerance={self.tolerance}: expected "
                "0 <= low <= high < 1 and a tolerance above 0"
            )

    def share(self, start: float, now: float) -> float:
        """Share of each batch until the next check, from the scores before and now."""
        drop = max(0.0, start - now)
        return self.low + (self.high - self.low) * min(1.0, drop / self.tolerance)
