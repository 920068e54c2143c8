"""The same sources on plain, current Sphinx: the book does not hang on Jupyter Book 1."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from helpers.paths import PROJECT

# What Jupyter Book adds for itself; the sources do not need it.
ONLY_JUPYTER_BOOK = {"jupyter_book", "sphinx_comments", "sphinx_multitoc_numbering"}
OPTIONS_OF_THOSE = {"comments_config", "use_jupyterbook_latex", "use_multitoc_numbering"}


@pytest.fixture(scope="module")
def sphinx_python() -> Path:
    """Python of the environment that requirements-sphinx.lock describes."""
    chosen = os.environ.get("BOOK_SPHINX_PYTHON")
    python = Path(chosen) if chosen else PROJECT / ".venv-sphinx" / "bin" / "python"
    if not python.is_file():
        pytest.skip(
            f"needs plain Sphinx: no {python}; install requirements-sphinx.lock into .venv-sphinx "
            "(make test does), or let BOOK_SPHINX_PYTHON name a Python that has it"
        )
    return python


def write_conf(sources: Path) -> None:
    """Translate ``_config.yml`` into a ``conf.py`` for Sphinx alone."""
    from jupyter_book.config import get_final_config

    config, _ = get_final_config(
        user_yaml=sources / "_config.yml",
        cli_config={"latex_individualpages": False},
        sourcedir=sources,
    )
    config["extensions"] = [e for e in config["extensions"] if e not in ONLY_JUPYTER_BOOK]
    lines = [f"{k} = {v!r}" for k, v in config.items() if k not in OPTIONS_OF_THOSE]
    (sources / "conf.py").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_sources_build_on_plain_sphinx(sources: Path, sphinx_python: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(sources, tmp_path / "sources"))
    write_conf(copied)
    command = [str(sphinx_python), "-m", "sphinx", "-b", "html", "-W", "-n", "--keep-going", "-q"]
    done = subprocess.run(
        [*command, str(copied), str(tmp_path / "html")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "html/chapters/redundancy.html").read_text(encoding="utf-8")
    assert "How this page was made" in page
    assert "_static/mathjax/" in page
    assert "cdn." not in page
