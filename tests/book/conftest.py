"""One strict build of the book for all tests that look at its pages."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.book import build as book
from helpers.book.registry import CHAPTERS
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
    """The book's sources: every chapter from a tiny run, one that failed, one never run."""
    root = tmp_path_factory.mktemp("book")
    copied = copy_sources(root / "sources")
    tiny.write_benchmark(copied / "results/recorded/benchmarks")
    runs = {name: book.Run(tiny.write_run(root / name, name)) for name in CHAPTERS}
    runs["order"] = book.Run(root / "none", error="ValueError: `a` | b < c\n$x$ {role}`y`\n```")
    runs["replay"] = book.Run(root / "none")
    book.publish(runs, copied)
    return copied


@pytest.fixture(scope="session")
def built(sources: Path) -> Built:
    """The book, built with warnings as errors."""
    return Built(sources, book.build(book=sources, output=sources.parent).parent)
