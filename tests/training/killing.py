"""A training that ends in the middle, for tests of what happens when it begins again."""

import itertools

from helpers.training import loop


class Killed(Exception):
    """Stands in for a process that is killed."""


def killed_in(patch, number, how=None):
    """Let the so-many-th step (from 1, of all trainings to come together) end the process.

    Args:
        patch: pytest's ``monkeypatch``.
        how: called in place of raising :class:`Killed`.
    """
    count, rate = itertools.count(1), loop.learning_rate_at

    def dying(*arguments):
        if next(count) == number:
            if how:
                how()
            raise Killed
        return rate(*arguments)

    patch.setattr(loop, "learning_rate_at", dying)
