"""Notebooks as they are committed: stripped, parameterised, in step with schema and profiles."""

import ast

import nbformat
import pytest
import yaml

from helpers.book.parameters import PROFILES, load_profile, profile_path
from helpers.book.registry import CHAPTERS, NOTEBOOKS

chapters = pytest.mark.parametrize("chapter", CHAPTERS.values(), ids=lambda c: c.name)


def cells(chapter, kind="code"):
    notebook = nbformat.read(chapter.notebook, as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def parameter_cells(chapter):
    return [c for c in cells(chapter) if "parameters" in c.metadata.get("tags", [])]


def assigned(source: str) -> dict:
    tree = ast.parse(source)
    return {node.targets[0].id: ast.literal_eval(node.value) for node in tree.body}


def test_every_notebook_is_a_chapter_and_has_profiles():
    assert {p.stem for p in NOTEBOOKS.glob("*.ipynb")} == set(CHAPTERS)
    assert {p.stem for p in (NOTEBOOKS / "profiles").glob("*.yaml")} == set(CHAPTERS)


@chapters
def test_the_notebook_is_valid_stripped_and_has_speaking_ids(chapter):
    notebook = nbformat.read(chapter.notebook, as_version=4)
    nbformat.validate(notebook)
    for cell in cells(chapter):
        assert cell.outputs == []
        assert cell.execution_count is None
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert all(name.replace("-", "").isalpha() and name.islower() for name in ids)


@chapters
def test_the_first_code_cell_holds_the_laptop_values_of_exactly_the_schema(chapter):
    (cell,) = parameter_cells(chapter)
    assert cell.id == cells(chapter)[0].id
    values = assigned(cell.source)
    assert list(values) == list(chapter.schema.model_fields)
    assert chapter.schema.check(values) == chapter.schema()


def profiles_of(name):
    return yaml.safe_load(profile_path(name).read_text())


@pytest.mark.parametrize(
    ("chapter", "profile"),
    [(chapter, profile) for chapter in CHAPTERS.values() for profile in profiles_of(chapter.name)],
    ids=lambda value: getattr(value, "name", value),
)
def test_every_profile_is_valid_and_flat(chapter, profile):
    parameters = chapter.parameters(profile)
    assert parameters.profile == profile
    own = load_profile(chapter.name, profile)
    laptop = chapter.schema().model_dump()
    same = [name for name, value in own.items() if name != "profile" and laptop[name] == value]
    assert not same, f"profile {profile} repeats the laptop value of {same}"


@chapters
@pytest.mark.parametrize("profile", ["gpu", "paper"])
def test_profiles_made_for_a_gpu_ask_for_it(chapter, profile):
    if "device" not in chapter.schema.model_fields:
        return  # Nothing is trained.
    # With "auto" they would start on a processor and take weeks.
    assert chapter.parameters(profile).device == "cuda"


@chapters
def test_profile_files_hold_the_five_profiles_and_named_variants_of_them(chapter):
    profiles = profiles_of(chapter.name)
    assert list(profiles)[: len(PROFILES)] == list(PROFILES)
    assert all(name.split("-")[0] in PROFILES for name in profiles)
    assert profiles["laptop"] == {}


@chapters
def test_the_second_code_cell_validates_and_no_function_hides_work(chapter):
    assert ".check(" in cells(chapter)[1].source
    for cell in cells(chapter):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 10
