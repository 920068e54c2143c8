import pytest

from helpers.book.parameters import describe_type, load_profile, parse_overrides
from helpers.book.registry import CHAPTERS, find_chapter
from helpers.errors import ParameterError


def check(**overrides):
    return find_chapter("redundancy").parameters("laptop", overrides)


def test_a_misspelt_name_is_refused_with_the_likely_one():
    with pytest.raises(ParameterError, match=r"'raets': unknown\. Did you mean 'rates'"):
        check(raets=[0.1])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", "x"),
        ("steps", 0),
        ("steps", 10.5),
        ("rates", [0.1, 1.5]),
        ("rates", []),
        ("rates", [0.1, 0.1]),
        ("edge", "wrap"),
        ("crop", 100),
        ("equal_epochs", "yes"),
        ("selections", ["best"]),
        ("device", "tpu"),
    ],
)
def test_wrong_types_and_ranges_are_refused_by_name(name, value):
    with pytest.raises(ParameterError, match=f"parameter '{name}'"):
        check(**{name: value})


def test_all_faults_are_told_at_once():
    with pytest.raises(ParameterError) as caught:
        check(steps=-1, width=0)
    assert "'steps'" in str(caught.value)
    assert "'width'" in str(caught.value)


def test_overrides_are_text_where_the_schema_says_so_and_yaml_elsewhere(tmp_path, monkeypatch):
    schema = find_chapter("redundancy").schema
    pairs = ["rates=[0.1, 1.0]", "equal_epochs=false", "steps=5", "dataset=1e3", "edge=no"]
    assert parse_overrides(pairs, schema) == {
        "rates": [0.1, 1.0],
        "equal_epochs": False,
        "steps": 5,
        "dataset": "1e3",
        "edge": "no",
    }
    for bad in ("steps", "=5", "rates=[0.1", "dataset=folder:/caf\udce9"):
        with pytest.raises(ParameterError, match="parameter"):
            parse_overrides([bad], schema)


@pytest.mark.parametrize("name", ["run 1 #2", "a: b", "- a", "a=b", "'a", "{a}", "a, b", "ä"])
def test_paths_are_taken_literally_and_from_here(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    held = parse_overrides([f"dataset=folder:{name}"], find_chapter("redundancy").schema)
    assert held == {"dataset": f"folder:{tmp_path / name}"}
    few_shot, stopping = (find_chapter(one).schema for one in ("few-shot", "stopping"))
    quoted = f'"folder:{name}"' if "," in name else f"folder:{name}"
    held = parse_overrides([f"sources=[{quoted}, 'coco']"], few_shot)
    assert held == {"sources": [f"folder:{tmp_path / name}", "coco"]}
    assert parse_overrides([f"source={name}"], stopping) == {"source": str(tmp_path / name)}
    assert parse_overrides(["source=synthetic-natural"], stopping)["source"] == "synthetic-natural"


def test_unknown_profiles_and_chapters_list_what_there_is():
    with pytest.raises(ParameterError, match="smoke, laptop, real, gpu, paper"):
        load_profile("redundancy", "fast")
    with pytest.raises(ParameterError, match="redundancy"):
        find_chapter("redundance")


@pytest.mark.parametrize("chapter", CHAPTERS.values(), ids=lambda c: c.name)
def test_every_parameter_is_described(chapter):
    for name, field in chapter.schema.model_fields.items():
        assert field.description, name
        assert describe_type(field.annotation), name
