"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Small tensors: several threads only wait for each other, the more so on a busy machine.

    Before every test and its fixtures, because what a test runs may set another number, on which
    the last digits of results depend.
    """
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def bundle() -> Path:
    """The offline data bundle, or a skip that says why."""
    chosen = os.environ.get("BOOK_DATA_BUNDLE")
    if not chosen:
        pytest.skip("needs real files: set BOOK_DATA_BUNDLE to the folder of an offline bundle")
    return Path(chosen).resolve()
