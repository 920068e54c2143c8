"""The chapters that exist."""

import ast
import json
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from helpers.book.parameters import ChapterParameters, load_profile
from helpers.errors import ParameterError
from helpers.paths import PROJECT

NOTEBOOKS = PROJECT / "notebooks"


@dataclass(frozen=True)
class Chapter:
    """One chapter: a notebook, a module, profiles.

    Attributes:
        name: of the notebook, hyphenated.
        title: as it stands in the book.
        paper: arXiv number of the paper it rebuilds.
    """

    name: str
    title: str
    paper: str

    @property
    def notebook(self) -> Path:
        """The canonical notebook, without outputs."""
        return NOTEBOOKS / f"{self.name}.ipynb"

    @property
    def module(self) -> str:
        """Whose ``Parameters`` is the chapter's schema, ``CLAIMS`` and ``GATES`` its rules."""
        name = f"helpers.chapters.{self.name.replace('-', '_')}"
        return f"{name}.parameters" if find_spec(name).submodule_search_locations else name

    @property
    def schema(self) -> type[ChapterParameters]:
        """The chapter's parameter schema (imported when asked for)."""
        return import_module(self.module).Parameters

    def cells(self) -> list[tuple[str, str, list[str]]]:
        """Kind, source and tags of each of the notebook's cells."""
        notebook = json.loads(self.notebook.read_text(encoding="utf-8"))
        return [
            (cell["cell_type"], "".join(cell["source"]), cell["metadata"].get("tags", []))
            for cell in notebook["cells"]
        ]

    def given(self, profile: str, overrides: dict[str, Any] | None = None) -> dict[str, Any]:
        """Parameters as they are written down, known without importing what the chapter needs.

        They are the notebook's own, then the profile's, then ``overrides``; nothing is validated.

        Raises:
            ParameterError: unknown profile.
        """
        own = next(source for _, source, tags in self.cells() if "parameters" in tags)
        values = {n.targets[0].id: ast.literal_eval(n.value) for n in ast.parse(own).body}
        return {**values, **load_profile(self.name, profile), **(overrides or {})}

    def parameters(self, profile: str, overrides: dict | None = None) -> ChapterParameters:
        """Validated parameters of a profile with overrides.

        Raises:
            ParameterError: unknown profile or parameter, wrong type, out of range.
        """
        return self.schema.check({**load_profile(self.name, profile), **(overrides or {})})


CHAPTERS = {
    chapter.name: chapter
    for chapter in [
        Chapter("redundancy", "How much data is enough?", "2511.04803"),
        Chapter("coreset", "Which patches to annotate?", "2511.04803"),
        Chapter("zero-shot", "Does it see what it never saw?", "2511.04803"),
        Chapter("forgetting", "What does fine-tuning cost?", "2511.04803"),
        Chapter("order", "Does the order of domains matter?", "2511.04803"),
        Chapter("replay", "How much old data must be kept?", "2511.04803"),
        Chapter("initialisation", "Whose weights to start from?", "2307.03275"),
        Chapter("out-of-domain", "How far does a model see?", "2307.03275"),
        Chapter("representations", "Do they see the same?", "2307.03275"),
        Chapter("few-shot", "Where to start with five per cent?", "2310.03981"),
        Chapter("few-shot-ablations", "What does the work?", "2310.03981"),
        Chapter("stopping-published", "Who can tell when to stop?", "2410.18677"),
        Chapter("stopping", "When is enough pretraining enough?", "2410.18677"),
        Chapter("which-images", "Which images should I annotate?", "2511.04803"),
    ]
}


def find_chapter(name: str) -> Chapter:
    """The chapter of that name.

    Raises:
        ParameterError: there is none; the message lists those there are.
    """
    if name not in CHAPTERS:
        raise ParameterError(f"chapter '{name}': unknown. Chapters: {', '.join(CHAPTERS)}")
    return CHAPTERS[name]
