"""The chapters that exist."""

import ast
import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from helpers.book.parameters import ChapterParameters, load_profile
from helpers.errors import ParameterError
from helpers.paths import PROJECT

NOTEBOOKS = PROJECT / "notebooks"


@dataclass(frozen=True)
class Chapter:
    """One chapter: a notebook of that name (hyphenated), a module, profiles."""

    name: str

    @property
    def title(self) -> str:
        """As it stands in the book: the notebook's first line."""
        return self.cells()[0][1].splitlines()[0].removeprefix("# ")

    @property
    def notebook(self) -> Path:
        """The canonical notebook, without outputs."""
        return NOTEBOOKS / f"{self.name}.ipynb"

    @property
    def module(self) -> str:
        """Whose ``Parameters`` is the chapter's schema, ``CLAIMS`` and ``GATES`` its rules."""
        return f"helpers.chapters.{self.name.replace('-', '_')}"

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


# In the order of the book.
NAMES = (
    *("redundancy", "coreset", "zero-shot", "forgetting", "order", "replay"),
    *("initialisation", "out-of-domain", "representations"),
    *("few-shot", "few-shot-ablations"),
    *("stopping-published", "stopping", "which-images"),
)
CHAPTERS = {name: Chapter(name) for name in NAMES}


def find_chapter(name: str) -> Chapter:
    """The chapter of that name.

    Raises:
        ParameterError: there is none; the message lists those there are.
    """
    if name not in CHAPTERS:
        raise ParameterError(f"chapter '{name}': unknown. Chapters: {', '.join(CHAPTERS)}")
    return CHAPTERS[name]
