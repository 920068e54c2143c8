"""One strict build of the book for all tests that look at its pages."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.chapters import book
from helpers.chapters.registry import CHAPTERS
from tests.book import tiny


@dataclass(frozen=True)
class Built:
    """Sources with a tiny executed chapter in them, and the pages made from them."""

    sources: Path
    html: Path


def copy_sources(folder: Path) -> Path:
    """The book's sources without what was generated or built."""
    ignored = shutil.ignore_patterns("_build", "chapters")
    return Path(shutil.copytree(book.BOOK, folder, ignore=ignored))


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The book's sources with every chapter published from the same tiny run."""
    root = tmp_path_factory.mktemp("book")
    run = tiny.write_run(root / "run")
    copied = copy_sources(root / "sources")
    book.publish({name: book.Outcome(run) for name in CHAPTERS}, copied)
    return copied


@pytest.fixture(scope="session")
def built(sources: Path) -> Built:
    """The book, built with warnings as errors."""
    return Built(sources, book.build(book=sources, output=sources.parent).parent)
