"""What the manifest holds, and what of it is on this machine."""

import textwrap

from helpers.data.fetch import fingerprint_of
from helpers.data.manifest import Entry, load_manifest
from helpers.paths import bundle_dir
from helpers.text import aligned

LICENCE_WIDTH = 40


def list_entries() -> str:
    """A table of all entries: name, kind, where it is, how it is got, licence, title."""
    rows = [("name", "kind", "here", "access", "licence", "title")]
    return aligned([*rows, *map(_row, load_manifest().entries.values())])


def _row(entry: Entry) -> tuple[str, ...]:
    return (
        entry.name,
        entry.kind,
        _where(entry),
        entry.access if entry.kind != "synthetic" else "-",
        textwrap.shorten(entry.licence.name, LICENCE_WIDTH, placeholder=" ..."),
        entry.title,
    )


def _where(entry: Entry) -> str:
    if entry.kind == "synthetic":
        return "generated"
    if bundle_dir() is not None:
        from helpers.data.bundle import load_bundle

        if entry.name in load_bundle(bundle_dir()).datasets:
            return "bundle"
    return "yes" if fingerprint_of(entry.name) else "no"
