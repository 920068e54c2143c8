"""Parameters of chapters: one schema each, profiles in YAML, refused before any work."""

import types
import typing
from pathlib import Path
from typing import Any

import pydantic
import yaml

from helpers.errors import ParameterError
from helpers.paths import PROJECT

PROFILES = ("smoke", "laptop", "real", "gpu", "paper")
PROFILE_FOLDER = PROJECT / "notebooks" / "profiles"


class ChapterParameters(pydantic.BaseModel):
    """Base of all chapter schemas: unknown names are refused, types are taken strictly."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)

    profile: str = pydantic.Field("laptop", description="name under which this run is recorded")

    @classmethod
    def check(cls, values: dict[str, Any]) -> "ChapterParameters":
        """Validated parameters.

        Raises:
            ParameterError: naming each faulty parameter, what was found and what is expected.
        """
        try:
            return cls.model_validate(values)
        except pydantic.ValidationError as error:
            faults = [_explain(cls, fault) for fault in error.errors()]
            raise ParameterError("\n".join(faults)) from None


def _explain(schema: type[pydantic.BaseModel], fault: dict) -> str:
    name = str(fault["loc"][0]) if fault["loc"] else "parameters"
    if fault["type"] == "extra_forbidden":
        from difflib import get_close_matches

        near = get_close_matches(name, schema.model_fields, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        known = ", ".join(schema.model_fields)
        return f"parameter '{name}': unknown.{hint} Known parameters: {known}"
    expected = describe_type(schema.model_fields[name].annotation) if fault["loc"] else ""
    return f"parameter '{name}': found {fault['input']!r}; {fault['msg']} (expected {expected})"


def describe_type(annotation: Any) -> str:
    """A type as a person would write it: ``int``, ``list[float]``, ``'pad' or 'drop'``."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return describe_type(arguments[0])
    if origin is typing.Literal:
        return " or ".join(repr(value) for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe_type(argument) for argument in arguments)
    if origin is list:
        return f"list of {describe_type(arguments[0])}"
    return getattr(annotation, "__name__", str(annotation))


def profile_path(chapter: str) -> Path:
    """The YAML file in which the profiles of a chapter stand side by side."""
    return PROFILE_FOLDER / f"{chapter}.yaml"


def load_profile(chapter: str, profile: str) -> dict[str, Any]:
    """Parameters of a profile that differ from the notebook's own cell (laptop: none).

    Raises:
        ParameterError: no such profile, or the file is not a mapping of mappings.
    """
    path = profile_path(chapter)
    profiles = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if not isinstance(profiles, dict) or not all(isinstance(p, dict) for p in profiles.values()):
        raise ParameterError(f"{path}: expected a mapping from profile to parameters")
    if profile not in profiles:
        raise ParameterError(
            f"profile '{profile}': chapter '{chapter}' has {', '.join(profiles)} ({path.name})"
        )
    return {"profile": profile, **profiles[profile]}


def parse_overrides(pairs: list[str]) -> dict[str, Any]:
    """``name=value`` pairs as given on the command line; values are read as YAML.

    Raises:
        ParameterError: a pair without ``=``, an empty name, or a value that is no YAML.
    """
    values = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or not name.strip():
            raise ParameterError(f"parameter '{pair}': expected name=value, for instance steps=50")
        try:
            values[name.strip()] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ParameterError(f"parameter '{name}': {text!r} is not a value ({error})") from None
    return values
