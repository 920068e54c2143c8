"""The values of claims that keep their rule are those of the first tables, to 1e-9.

``golden/claims.json`` was written down when every chapter still read a table of fixed columns: by
chapter the number of each claim, the source and the value of its rule for each seed. A chapter's
YAML file maps these numbers to today's (counted from 1) or says why a rule is another now, and the
names of the sources.
"""

import json
from pathlib import Path

import pytest
import yaml

from helpers.book import results
from helpers.book.registry import CHAPTERS, import_module

GOLDEN = Path(__file__).parent / "golden"
WRITTEN = json.loads((GOLDEN / "claims.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_values_of_claims_stay(path):
    """Every old claim is mapped or its end explained; mapped ones have their old values."""
    chapter = CHAPTERS[path.stem]
    module = import_module(chapter.module)
    spoken = yaml.safe_load(path.read_text(encoding="utf-8"))
    printed = results.published(*module.PUBLISHED) if module.PUBLISHED else None
    found = results.sources(chapter.name, results.Cells(results.joined([])), printed)
    assert set(spoken["claims"]) == {row["number"] for row in WRITTEN[chapter.name]}
    compared = 0
    for row in WRITTEN[chapter.name]:
        today = spoken["claims"][row["number"]]
        source = spoken["sources"].get(row["source"])
        if isinstance(today, str) or source is None:
            continue
        values = module.CLAIMS[today - 1].quantity(found[source]).dropna()
        assert sorted(values) == pytest.approx(sorted(row["values"]), abs=1e-9), row["claim"]
        compared += len(values)
    assert compared or all(isinstance(one, str) for one in spoken["claims"].values())
