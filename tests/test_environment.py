"""pyproject.toml, the lock files and environment.yml describe one environment."""

import importlib.metadata
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from helpers.paths import PROJECT

PYTHONS = ("3.11", "3.12")


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def wanted(project: dict) -> list[Requirement]:
    """Direct dependencies, those of developers included: the lock holds both."""
    lines = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    return [Requirement(line) for line in lines]


def locked(name: str, python: str) -> dict[str, Version]:
    """Versions in a lock file that apply to Linux with this Python."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "os_name": "posix",
    }
    versions = {}
    for line in (PROJECT / name).read_text(encoding="utf-8").splitlines():
        if not line or line.startswith(("#", " ", "-")):
            continue
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            (pin,) = requirement.specifier
            assert pin.operator == "==", line
            versions[canonicalize_name(requirement.name)] = Version(pin.version)
    return versions


@pytest.mark.parametrize("python", PYTHONS)
def test_every_direct_dependency_is_locked_within_its_range(project: dict, python: str) -> None:
    versions = locked("requirements.lock", python)
    for requirement in wanted(project):
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in requirements.lock: make lock"
        assert requirement.specifier.contains(version, prereleases=True), (
            f"{requirement.name} {version} is not within {requirement.specifier}: make lock"
        )


def test_supported_pythons_are_those_that_are_locked(project: dict) -> None:
    supported = SpecifierSet(project["requires-python"])
    assert [v for v in ("3.10", "3.11", "3.12", "3.13") if f"{v}.9" in supported] == list(PYTHONS)


@pytest.mark.parametrize("python", PYTHONS)
def test_plain_sphinx_stack_is_locked(python: str) -> None:
    lines = (PROJECT / "requirements-sphinx.in").read_text(encoding="utf-8").splitlines()
    names = [Requirement(line).name for line in lines if line and not line.startswith("#")]
    versions = locked("requirements-sphinx.lock", python)
    assert {canonicalize_name(name) for name in names} <= set(versions)
    # Its point is to be ahead of what Jupyter Book 1 allows.
    assert versions["sphinx"] > locked("requirements.lock", python)["sphinx"]


def test_conda_environment_installs_the_lock(project: dict) -> None:
    environment = yaml.safe_load((PROJECT / "environment.yml").read_text(encoding="utf-8"))
    names = [d for d in environment["dependencies"] if isinstance(d, str)]
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    (python,) = [d.partition("=")[2] for d in names if d.startswith("python=")]
    assert f"{python}.9" in SpecifierSet(project["requires-python"])
    assert sorted(d.partition("=")[0] for d in names) == ["pip", "python"]
    assert pip == ["-r requirements.lock", "-e ."]


def test_installed_direct_dependencies_are_the_locked_ones(project: dict) -> None:
    import sys

    versions = locked("requirements.lock", f"{sys.version_info.major}.{sys.version_info.minor}")
    for requirement in wanted(project):
        # A build for another device carries a local part: 2.6.0+cpu is 2.6.0.
        installed = Version(importlib.metadata.version(requirement.name)).public
        assert installed == versions[canonicalize_name(requirement.name)].public, requirement.name


def test_torch_and_torchvision_belong_together() -> None:
    """A pair that does not match imports without complaint and fails at the first operator."""
    import torch
    from torchvision.ops import nms

    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]])
    kept = nms(boxes, torch.tensor([0.5, 0.9, 0.7]), iou_threshold=0.5)
    assert kept.tolist() == [1, 2]
