"""The house's walls: an import goes only downwards."""

import ast
from pathlib import Path

import pytest

from helpers.fingerprints import imports_of_source
from helpers.paths import PROJECT

LAYERS = [
    {"__main__"},
    {"cli"},
    {"doctor"},
    {"chapters"},
    # Their reports draw with what the book draws with.
    {"annotate", "own_model"},
    {"book"},
    {"experiments"},
    {"pretraining", "transferability"},
    {"training"},
    {"models", "features", "quantization", "replay", "retention", "views"},
    {"data"},
    {"metrics"},
    {"files", "fingerprints", "leftovers", "locks", "randomness", "text"},
    {"paths"},
    {"errors"},
]
HEIGHT = {name: len(LAYERS) - level for level, names in enumerate(LAYERS) for name in names}
PURE = {"metrics", "quantization", "retention"}
MODULES = sorted((PROJECT / "helpers").rglob("*.py"))


def room(path: Path) -> str:
    parts = path.relative_to(PROJECT / "helpers").with_suffix("").parts
    return parts[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PROJECT)))
def test_imports_go_downwards(path):
    if path.parent.name == "helpers" and path.name == "__init__.py":
        return
    here = room(path)
    for name in imports_of_source(path.read_text(encoding="utf-8")):
        parts = name.split(".")
        if parts[0] != "helpers" or len(parts) < 2 or parts[1] == here:
            continue
        assert HEIGHT[parts[1]] < HEIGHT[here], f"{here} imports {name}"


@pytest.mark.parametrize("path", [p for p in MODULES if room(p) in PURE], ids=lambda p: p.name)
def test_pure_rooms_touch_no_files_and_draw_nothing(path):
    names = {name.split(".")[0] for name in imports_of_source(path.read_text(encoding="utf-8"))}
    assert not names & {"matplotlib", "pathlib", "os", "io", "random"}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PROJECT)))
def test_functions_fit_a_screen_and_public_ones_are_documented(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "module without a docstring"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            length = node.end_lineno - node.lineno
            assert length < 60, f"{node.name}: {length} lines"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


def test_method_cores_need_neither_cellpose_nor_papermill():
    import subprocess
    import sys

    code = (
        "import sys\n"
        "import helpers.metrics, helpers.quantization, helpers.features.descriptor\n"
        "import helpers.training.loop, helpers.views.affine, helpers.models.cpnet\n"
        "heavy = {'cellpose', 'papermill', 'umap', 'sphinx'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PROJECT)
