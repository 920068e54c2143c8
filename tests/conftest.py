"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def bundle() -> Path:
    """The offline data bundle, or a skip that says why."""
    chosen = os.environ.get("BOOK_DATA_BUNDLE")
    if not chosen:
        pytest.skip("needs real files: set BOOK_DATA_BUNDLE to the folder of an offline bundle")
    return Path(chosen).resolve()
