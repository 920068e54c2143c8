"""The data manifest: what each data set and pretrained weight is, and where it comes from."""

import difflib
from collections.abc import Hashable
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from helpers.errors import DataError
from helpers.paths import PROJECT

Model = TypeVar("Model", bound=BaseModel)

Kind = Literal["dataset", "weights", "results", "synthetic"]
Access = Literal["direct", "accept-licence", "manual", "package"]
Reader = Literal[
    "bbbc038",
    "monuseg",
    "cellpose",
    "neurips-cellseg",
    "acdc",
    "idrid",
    "covid-qu",
    "glas",
    "crag",
    "cpm17",
    "tnbc",
    "coco",
    "livecell",
    "folder",
    "synthetic",
]

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
CitationKey = Annotated[str, StringConstraints(pattern=r"^[a-z]+\d{4}[a-z0-9]+$")]


def check_url(url: str) -> str:
    """Return ``url`` if it is an absolute http(s) address.

    Raises:
        ValueError: it is not.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or " " in url:
        raise ValueError(f"{url!r} is not an http(s) address")
    return url


Url = Annotated[str, Field(max_length=500)]


class Strict(BaseModel):
    """Base of the manifest's models: unknown fields are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Licence(Strict):
    """Terms of use: ``verified`` says whether they were read at the owner's own page."""

    id: Text
    name: Text
    source: Url | None
    verified: bool
    requires_acceptance: bool

    @field_validator("source")
    @classmethod
    def _source_is_url(cls, value: str | None) -> str | None:
        return value if value is None else check_url(value)


class Role(Strict):
    """What one paper (arXiv number; null for none) uses the entry for, and in which chapters."""

    paper: Annotated[str, StringConstraints(pattern=r"^\d{4}\.\d{5}$")] | None
    chapters: tuple[Name, ...] = ()
    use: Text


class Unverified(Strict):
    """A field whose content was not confirmed at its official source, and why."""

    field: Text
    reason: Text


class File(Strict):
    """One official file.

    ``sha256`` and ``md5`` hold as many leading hexadecimal digits as are published; anything less
    than a whole checksum needs a ``checksum_note``. ``url`` is null only where the official page
    gives no address of the file itself.
    """

    name: Text
    url: Url | None
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8,64}$")] | None = None
    md5: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{6,32}$")] | None = None
    bytes: Annotated[int, Field(gt=0)] | None = None
    checksum_note: Text | None = None

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if value in (".", "..") or "/" in value or "\\" in value or value.endswith(".part"):
            raise ValueError(f"{value!r} is not a plain file name")
        return value

    @field_validator("url")
    @classmethod
    def _well_formed(cls, value: str | None) -> str | None:
        return value if value is None else check_url(value)

    @model_validator(mode="after")
    def _checksum_or_reason(self) -> "File":
        if not self.has_whole_checksum and self.checksum_note is None:
            raise ValueError("no whole sha256 or md5: checksum_note must say why")
        return self

    @property
    def has_whole_checksum(self) -> bool:
        """Whether the file's content is pinned by a complete sha256 or md5."""
        return len(self.sha256 or "") == 64 or len(self.md5 or "") == 32


class Entry(Strict):
    """One data set, pretrained weight, released result or synthetic generator.

    An entry is what is fetched together. ``subset_of`` names the entry of which this one is a
    sample. A manual entry may list no files: then whatever lies in its folder is used. ``package``
    names the Python package that carries the files of an entry with access ``package``; nothing of
    it is imported.
    """

    name: Name
    title: Text
    kind: Kind
    role: Annotated[tuple[Role, ...], Field(min_length=1)]
    contents: Text
    homepage: Url | None
    files: tuple[File, ...] = ()
    licence: Licence
    citations: tuple[CitationKey, ...] = ()
    access: Access
    package: Name | None = None
    instructions: Text | None = None
    reader: Reader | None
    layout: Text | None
    quirks: tuple[Text, ...] = ()
    subset_of: Name | None = None
    unverified: tuple[Unverified, ...] = ()

    @field_validator("homepage")
    @classmethod
    def _homepage_is_url(cls, value: str | None) -> str | None:
        return value if value is None else check_url(value)

    @model_validator(mode="after")
    def _access_is_consistent(self) -> "Entry":
        if self.kind == "synthetic":
            if self.files or self.reader != "synthetic" or self.access != "direct":
                raise ValueError("synthetic: no files, reader 'synthetic' and access 'direct'")
            return self
        if (self.access == "package") != (self.package is not None):
            raise ValueError("access 'package' needs the package's name, and no other access does")
        if self.access == "manual":
            if self.instructions is None:
                raise ValueError("access 'manual' needs instructions")
        elif self.access == "package":
            if not self.files or not all(len(file.sha256 or "") == 64 for file in self.files):
                raise ValueError("access 'package' needs files, each with a whole sha256")
        elif not self.files or any(file.url is None for file in self.files):
            raise ValueError(f"access {self.access!r} needs files, each with a url")
        elif (self.access == "accept-licence") != self.licence.requires_acceptance:
            raise ValueError(f"access {self.access!r} contradicts licence.requires_acceptance")
        return self

    @model_validator(mode="after")
    def _doubts_are_named(self) -> "Entry":
        fields = [doubt.field.split(".")[0] for doubt in self.unverified]
        if unknown := sorted(set(fields) - set(Entry.model_fields)):
            raise ValueError(f"unverified names unknown fields: {', '.join(unknown)}")
        if self.licence.verified == ("licence" in fields):
            raise ValueError("licence.verified is false if and only if unverified names licence")
        if len({file.name for file in self.files}) != len(self.files):
            raise ValueError("two files of one name")
        return self


class Manifest(Strict):
    """All entries by name."""

    format: Literal[1]
    entries: dict[str, Entry]

    @model_validator(mode="before")
    @classmethod
    def _name_entries(cls, data: Any) -> Any:
        """The key of an entry is its name; it is written once."""
        if isinstance(data, dict) and isinstance(data.get("entries"), dict):
            named = {
                key: {"name": key, **entry} if isinstance(entry, dict) else entry
                for key, entry in data["entries"].items()
            }
            return {**data, "entries": named}
        return data

    @model_validator(mode="after")
    def _samples_have_a_whole(self) -> "Manifest":
        for name, entry in self.entries.items():
            if entry.name != name:
                raise ValueError(f"entry {name!r} calls itself {entry.name!r}")
            if entry.subset_of is not None and entry.subset_of not in self.entries:
                raise ValueError(f"entry {name!r}: subset_of {entry.subset_of!r} is no entry")
        return self

    def entry(self, name: str) -> Entry:
        """The entry called ``name``.

        Raises:
            DataError: there is none; the message lists the names that come near.
        """
        if name in self.entries:
            return self.entries[name]
        near = difflib.get_close_matches(name, self.entries, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(self.entries)}"
        raise DataError(f"data set {name!r} is not in the manifest. {hint}")


def load_manifest(path: Path | None = None) -> Manifest:
    """Read and check the manifest (default: ``data_manifest.yaml`` of the project).

    A file that has not changed is read once per process.

    Raises:
        DataError: no such file, no YAML, or a field against the schema (named in the message).
    """
    path = (path or PROJECT / "data_manifest.yaml").resolve()
    return read_model(Manifest, path, "the data manifest")


def read_model(model: type[Model], path: Path, what: str) -> Model:
    """A YAML file checked against a schema; a file that has not changed is read once.

    Args:
        what: the file in words, for the error.

    Raises:
        DataError: the file is missing, not YAML, or against the schema.
    """
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        raise DataError(f"{path}: {what} cannot be read ({error}).") from error
    return _parse(model, path, changed)


@lru_cache(maxsize=16)
def _parse(model: type[Model], path: Path, changed: int) -> Model:
    return validate(model, read_yaml(path), path)


def validate(model: type[Model], content: Any, path: Path) -> Model:
    """``content`` of ``path`` as a ``model``.

    Raises:
        DataError: naming file, entry and field, what was found and what is expected.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problems = "\n".join(f"  {_problem(item)}" for item in error.errors())
        raise DataError(f"{path}: not as the schema expects:\n{problems}") from error


def _problem(item: Any) -> str:
    location = [str(part) for part in item["loc"]]
    if len(location) > 1 and location[0] in ("entries", "datasets"):
        where = f"entry {location[1]!r}"
        where += f", field {'.'.join(location[2:])!r}" if location[2:] else ""
    else:
        where = f"field {'.'.join(location)!r}" if location else "top level"
    found = item["input"]
    shown = f" (found {found!r})" if isinstance(found, str | int | float | bool | None) else ""
    return f"{where}: {item['msg']}{shown}"


class _UniqueKeys(yaml.SafeLoader):
    """YAML without silently overwritten entries."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        if repeated := sorted({str(key) for key in keys if keys.count(key) > 1}):
            raise yaml.constructor.ConstructorError(
                None, None, f"key used twice: {', '.join(repeated)}", node.start_mark
            )
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Content of a YAML file; a key that stands twice in one mapping is refused.

    Raises:
        DataError: the file cannot be read or is not YAML.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}).") from error
    except yaml.YAMLError as error:
        raise DataError(f"{path}: is not valid YAML: {error}") from error


def is_inside(path: str) -> bool:
    """Whether a relative POSIX path stays below the folder it is taken from."""
    pure = PurePosixPath(path)
    return bool(pure.parts) and not pure.is_absolute() and ".." not in pure.parts
