"""Short names for content: of code, of files, of settings. Equal name, equal result."""

import ast
import hashlib
import importlib.metadata
import json
import sys
import threading
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from helpers.paths import PROJECT

PACKAGE = "helpers"
# Python 3.11 miscounts its recursion depth where two threads build syntax trees at once.
_PARSING = threading.Lock()


def of_json(value: Any) -> str:
    """sha256 of a JSON value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def of_file(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def of_code(modules: Iterable[str]) -> str:
    """Fingerprint of all code that the named modules reach by import.

    Goes into it: every module of this package that is reached, without comments, docstrings and
    layout (so that better words throw no training away), and the installed version of every other
    package they import.

    Args:
        modules: dotted names such as ``"helpers.experiments.subset"``.
    """
    own, foreign = reachable(modules)
    parts = {name: _source(name) for name in sorted(own)}
    return of_json({"code": parts, "packages": package_versions(foreign)})


def reachable(modules: Iterable[str]) -> tuple[set[str], set[str]]:
    """Modules of this package reached from ``modules`` and top-level names of all other imports."""
    own: set[str] = set()
    foreign: set[str] = set()
    queue = list(modules)
    while queue:
        name = queue.pop()
        if name in own or _path(name) is None:
            continue
        own.add(name)
        queue.extend(_parents(name))
        for imported in imports_of_source(_path(name).read_text(encoding="utf-8")):
            if imported.split(".")[0] == PACKAGE:
                queue.append(imported)
            else:
                foreign.add(imported.split(".")[0])
    return own, foreign - set(sys.stdlib_module_names)


def imports_of_source(source: str) -> frozenset[str]:
    """Dotted names that a piece of Python imports, inside functions too.

    ``from a import b`` counts as both ``a`` and ``a.b``, because b may be a module.
    """
    return _read(source)[0]


@cache
def _read(source: str) -> tuple[frozenset[str], str]:
    """What a piece of Python imports, and its code without docstrings, comments and layout."""
    with _PARSING:
        tree = ast.parse(source)
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body
            if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                node.body = body[1:] or [ast.Pass()]
    return frozenset(names), ast.unparse(tree)


def package_versions(import_names: Iterable[str]) -> dict[str, str]:
    """Installed version of the distribution behind each import name; unknown names are left out."""
    owners = _distributions()
    found = {dist for name in import_names for dist in owners.get(name, [])}
    return {dist: importlib.metadata.version(dist) for dist in sorted(found)}


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())


def _path(name: str) -> Path | None:
    base = PROJECT.joinpath(*name.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _source(name: str) -> str:
    """The module's code, and its script and style sheet."""
    path = _path(name)
    beside = [path.with_suffix(suffix) for suffix in (".js", ".css")]
    texts = [one.read_text(encoding="utf-8") for one in beside if one.is_file()]
    return "\n".join([_read(path.read_text(encoding="utf-8"))[1], *texts])
