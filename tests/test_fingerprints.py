import pytest

from helpers import fingerprints
from helpers.paths import PROJECT


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package ``helpers`` of three modules: a imports b inside a function, c stands alone."""
    root = tmp_path / "helpers"
    root.mkdir()
    (root / "__init__.py").write_text("")
    (root / "a.py").write_text("def f():\n    from helpers import b\n    return b.x\n")
    (root / "b.py").write_text("import json\n\nx = 1\n")
    (root / "c.py").write_text("y = 1\n")
    monkeypatch.setattr(fingerprints, "PROJECT", tmp_path)
    return root


def of_a() -> str:
    return fingerprints.of_code(["helpers.a"])


def test_a_change_counts_where_it_is_reached_and_only_there(package):
    before = of_a()
    (package / "c.py").write_text("y = 2\n")
    assert of_a() == before
    (package / "b.py").write_text("import json\n\nx = 2\n")
    assert of_a() != before


def test_words_and_layout_do_not_count(package):
    before = of_a()
    (package / "b.py").write_text('"""Better words."""\nimport json\n# why\nx = (\n    1\n)\n')
    (package / "a.py").write_text(
        'def f():\n    """Say."""\n    from helpers import b\n    return b.x\n'
    )
    assert of_a() == before


def test_other_packages_count_with_their_version(package, monkeypatch):
    (package / "b.py").write_text("import numpy\n\nx = 1\n")
    own, foreign = fingerprints.reachable(["helpers.a"])
    assert own == {"helpers", "helpers.a", "helpers.b"}
    assert foreign == {"numpy"}
    before = of_a()
    monkeypatch.setattr(fingerprints.importlib.metadata, "version", lambda name: "99")
    assert of_a() != before


def test_trials_do_not_depend_on_figures_or_readers():
    own, _ = fingerprints.reachable(["helpers.experiments.subset"])
    assert "helpers.training.loop" in own
    assert "helpers.metrics.evaluate" in own
    assert not any(name.startswith(("helpers.chapters", "helpers.data.readers")) for name in own)


def test_json_order_and_file_content(tmp_path):
    assert fingerprints.of_json({"a": 1, "b": [2]}) == fingerprints.of_json({"b": [2], "a": 1})
    (tmp_path / "f").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert fingerprints.of_file(tmp_path / "f") == known
    assert (PROJECT / "pyproject.toml").is_file()


def test_threads_may_ask_at_once():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(fingerprints.of_code, [["helpers.data.datasets"]] * 8))
    assert len(set(found)) == 1
