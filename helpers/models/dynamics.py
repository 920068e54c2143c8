"""Cellpose's flow dynamics, imported without compiling them anew in every process."""

from contextlib import contextmanager
from functools import cache
from types import ModuleType

from helpers.paths import code_cache


@cache
def load_dynamics() -> ModuleType:
    """The module ``cellpose.dynamics``.

    It compiles its loops with numba when it is imported, and keeps the machine code of only some of
    them on disk; the others cost every process about 15 seconds. Here all are kept, so that only
    the first import on a machine compiles.
    """
    with _numba_keeps_all():
        from cellpose import dynamics
    return dynamics


@contextmanager
def _numba_keeps_all():
    """While this lasts, ``numba.njit(...)`` means ``numba.njit(..., cache=True)``."""
    import numba

    code_cache()
    original = numba.njit

    def keeping(*arguments, **options):
        return original(*arguments, **{**options, "cache": True})

    numba.njit = keeping
    try:
        yield
    finally:
        numba.njit = original
