"""Splits that never tear a group (source image, patient) apart."""

import math
from collections.abc import Sequence

import numpy as np

from helpers.errors import ParameterError


def split_by_group(
    groups: Sequence[str], test_share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Random split of items into training and test, whole groups at a time.

    Groups are drawn in random order into the test part as long as that brings its number of items
    closer to ``test_share * n``. Patches are cut only afterwards: neighbouring patches overlap by
    half, so a split of patches would put the same pixels on both sides.

    Args:
        groups: group of each of the n items.
        test_share: wanted share of items in the test part, between 0 and 1 (exclusive).

    Returns:
        (training indices, test indices), each int64 and ascending; neither is empty.

    Raises:
        ParameterError: share out of range, or fewer than two groups.
    """
    if not 0 < test_share < 1:
        raise ParameterError(f"test_share={test_share}: expected a number between 0 and 1")
    names, member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(names) < 2:
        raise ParameterError(
            f"{len(names)} group(s) in {len(member)} item(s): a split needs at least two groups"
        )
    sizes = np.bincount(member)
    wanted = test_share * len(member)
    chosen: list[int] = []
    filled = 0
    for group in rng.permutation(len(names)):
        if len(chosen) < len(names) - 1 and abs(filled + sizes[group] - wanted) < abs(
            filled - wanted
        ):
            chosen.append(int(group))
            filled += int(sizes[group])
    if not chosen:
        chosen = [int(np.argmin(sizes))]
    in_test = np.isin(member, chosen)
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


def rotating_split(
    groups: Sequence[str], test_share: float, turn: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One of several splits of few items, whose test parts together hold every item.

    The items stand in a circle, group by group in random order. Turn 0 tests the first
    ``ceil(test_share * n)`` of them, every further turn as many that follow, so that in about
    ``1 / test_share`` turns each is tested once and a few are tested twice. A group that is tested
    in part is tested whole.

    Args:
        groups: group of each of the n items.
        test_share: wanted share of items in the test part, between 0 and 1 (exclusive).
        turn: 0 or above; the circle goes on for ever.
        rng: of the order; in an equal state for all turns.

    Returns:
        (training indices, test indices), each int64 and ascending; neither is empty.

    Raises:
        ParameterError: nothing would be left to train on.
    """
    names, member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    circle = np.argsort(rng.permutation(len(names))[member], kind="stable")
    n_tested = math.ceil(test_share * len(member) - 1e-9)
    tested = circle[(turn * n_tested + np.arange(n_tested)) % len(member)]
    in_test = np.isin(member, member[tested])
    if in_test.all():
        raise ParameterError(
            f"test_share={test_share}: turn {turn} tests all {len(names)} group(s) of "
            f"{len(member)} item(s). Take a smaller share, or data with more groups."
        )
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)
