"""Domains: the data sets between which models are moved, each with its patches and test images."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from helpers.data.splits import split_by_group
from helpers.experiments.prepared import Prepared
from helpers.quantization import select
from helpers.training.targets import PatchStore

# Share of the training groups of a domain on which models are watched and never trained.
WATCHED_SHARE = 0.1
WATCHED_PATCHES = 24


@dataclass(frozen=True)
class Domain:
    """One data set in its role.

    Attributes:
        name: of the role or of the data, as pages show it.
        prepared: patches and held-out images.
        turns: where the split rotates, the same by the seed of the models; empty where it is fixed.
    """

    name: str
    prepared: Prepared
    turns: Mapping[int, Prepared] = field(default_factory=dict, hash=False)

    def turned(self, seed: int) -> "Domain":
        """The domain as models of this seed see it."""
        return Domain(self.name, self.turns[seed]) if self.turns else self

    @cached_property
    def store(self) -> PatchStore:
        """Training patches, memory-mapped."""
        return self.prepared.patches()

    @cached_property
    def _split(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([0, 8])
        if len(set(self.store.groups)) < 2:
            return np.arange(len(self.store)), np.arange(len(self.store))[:0]
        return split_by_group(self.store.groups, WATCHED_SHARE, rng)

    @property
    def trainable(self) -> np.ndarray:
        """Patches that models may be trained on, int64."""
        return self._split[0]

    def watched(self) -> np.ndarray:
        """Patches on which models are watched, float16 (n, 4, side, side); none from a source
        image that is trained on, and none at all where there is but one source image."""
        patches = self._split[1]
        if len(patches) > WATCHED_PATCHES:
            rng = np.random.default_rng([0, 9])
            patches = np.sort(rng.choice(patches, WATCHED_PATCHES, replace=False))
        return np.array(self.store.arrays[patches])

    def choose(self, method: str, rate: float, seed: int, n_bins: int = 10) -> np.ndarray:
        """A share of the trainable patches, int64 ascending.

        Args:
            method: of :data:`helpers.quantization.METHODS`, on descriptors of the patches.
            rate: 0 gives none, 1 all of them.
        """
        if rate in (0, 1):
            return self.trainable if rate else self.trainable[:0]
        features = self.prepared.descriptors()[self.trainable]
        rng = np.random.default_rng([seed, 3])
        return self.trainable[select(features, rate, rng, method, n_bins)]
