"""Splits that never tear a group (source image, patient) apart."""

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
