import re

import pytest
import yaml

from helpers.data.bundle import load_bundle
from helpers.data.manifest import Manifest, load_manifest
from helpers.errors import DataError
from helpers.paths import PROJECT

LICENCE = {
    "id": "CC0-1.0",
    "name": "CC0",
    "source": "https://example.org/licence",
    "verified": True,
    "requires_acceptance": False,
}


def entry(**changes):
    """A valid entry, changed; a value of ... removes the field."""
    fields = {
        "title": "A data set",
        "kind": "dataset",
        "role": [{"paper": None, "use": "test"}],
        "contents": "1 file",
        "homepage": "https://example.org",
        "files": [{"name": "a.zip", "url": "https://example.org/a.zip", "sha256": "0" * 64}],
        "licence": LICENCE,
        "access": "direct",
        "reader": None,
        "layout": None,
    } | changes
    return {key: value for key, value in fields.items() if value is not ...}


def written(tmp_path, entries):
    path = tmp_path / "manifest.yaml"
    path.write_text(yaml.safe_dump({"format": 1, "entries": entries}))
    return path


@pytest.fixture(scope="module")
def real() -> Manifest:
    return load_manifest()


def test_valid_entry_is_read(tmp_path):
    found = load_manifest(written(tmp_path, {"one": entry()})).entry("one")
    assert (found.name, found.files[0].name, found.access) == ("one", "a.zip", "direct")


NC = LICENCE | {"requires_acceptance": True}
FILE = {"name": "a.zip", "url": "https://example.org/a.zip", "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"title": ...}, "'title'"),
        ({"titel": "x"}, "'titel'"),
        ({"kind": "picture"}, "'kind'.*picture"),
        ({"reader": "nonesuch"}, "'reader'"),
        ({"homepage": "example.org"}, "'homepage'.*example.org"),
        ({"homepage": "file:///etc/passwd"}, "'homepage'"),
        ({"files": [FILE | {"sha256": "xyz"}]}, r"'files\.0\.sha256'"),
        ({"files": [FILE | {"sha256": None}]}, r"'files\.0'.*checksum_note"),
        ({"files": [FILE | {"sha256": "0676ba61"}]}, "checksum_note"),
        ({"files": [FILE | {"name": "../a.zip"}]}, r"'files\.0\.name'"),
        ({"files": [FILE | {"bytes": 0}]}, r"'files\.0\.bytes'"),
        ({"files": [FILE, FILE]}, "two files"),
        ({"files": [FILE | {"url": None}]}, "url"),
        ({"files": []}, "needs files"),
        ({"access": "manual"}, "instructions"),
        ({"access": "accept-licence"}, "requires_acceptance"),
        ({"licence": NC}, "requires_acceptance"),
        ({"licence": LICENCE | {"verified": False}}, "unverified"),
        ({"unverified": [{"field": "colour", "reason": "?"}]}, "colour"),
        ({"citations": ["Some Paper"]}, "'citations.0'"),
        ({"subset_of": "nothing"}, "nothing"),
        ({"kind": "synthetic"}, "synthetic"),
    ],
)
def test_schema_violation_names_entry_and_field(tmp_path, changes, expected):
    with pytest.raises(DataError) as caught:
        load_manifest(written(tmp_path, {"good": entry(), "broken": entry(**changes)}))
    assert "broken" in str(caught.value)
    assert "'good'" not in str(caught.value)
    assert re.search(expected, str(caught.value))


def test_repeated_key_is_refused(tmp_path):
    path = tmp_path / "manifest.yaml"
    path.write_text("format: 1\nentries:\n  a: {}\n  a: {}\n")
    with pytest.raises(DataError, match="twice"):
        load_manifest(path)


@pytest.mark.parametrize("text", ["entries: [", "just words", ""])
def test_no_manifest_at_all(tmp_path, text):
    path = tmp_path / "manifest.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=r"manifest\.yaml"):
        load_manifest(path)


def test_missing_manifest(tmp_path):
    with pytest.raises(DataError, match=r"none\.yaml"):
        load_manifest(tmp_path / "none.yaml")


def test_changed_manifest_is_read_again(tmp_path):
    path = written(tmp_path, {"one": entry()})
    assert load_manifest(path) is load_manifest(path)
    written(tmp_path, {"two": entry(), "three": entry()})
    assert set(load_manifest(path).entries) == {"two", "three"}


def test_unknown_name_lists_near_ones(real):
    with pytest.raises(DataError, match="bbbc038"):
        real.entry("bbc038")
    with pytest.raises(DataError, match="cellpose-cyto"):
        real.entry("cellpose_cyto")


def test_every_url_of_the_project_is_http(real):
    text = (PROJECT / "data_manifest.yaml").read_text()
    checked = {
        url
        for item in real.entries.values()
        for url in [item.homepage, item.licence.source, *(file.url for file in item.files)]
        if url
    }
    assert checked
    assert all(re.fullmatch(r"https?://[\w.-]+\.[a-z]+(/[^\s\"<>]*)?", url) for url in checked)
    assert {url.rstrip(".") for url in re.findall(r"url: \"?(http[^\s\",}]+)", text)} <= checked


def test_papers_data_and_weights_are_there(real):
    by_paper: dict[str | None, set[str]] = {}
    for name, item in real.entries.items():
        for role in item.role:
            by_paper.setdefault(role.paper, set()).add(name)
    assert {"cellpose-cyto", "monuseg", "neurips-cellseg", "mae-vit-base"} <= by_paper["2511.04803"]
    assert {"glas", "crag", "kumar", "cpm17", "tnbc"} <= by_paper["2307.03275"]
    assert {"resnet50-imagenet-v1", "resnet50-imagenet-v2"} <= by_paper["2307.03275"]
    assert {"barlow-twins-imagenet", "lunit-bt-rn50"} <= by_paper["2307.03275"]
    assert {"livecell", "bbbc038", "coco-2017", "moco-v2-200"} <= by_paper["2310.03981"]
    assert {"acdc", "covid-qu", "idrid", "medsegpretrain", "imagenet-1k"} <= by_paper["2410.18677"]


def test_restricted_licences_are_never_direct(real):
    for item in real.entries.values():
        if "NC" in item.licence.id or "non-commercial" in item.licence.name:
            assert item.access != "direct", item.name
            assert item.licence.requires_acceptance, item.name


def test_what_comes_from_a_paper_can_be_cited(real):
    for item in real.entries.values():
        assert item.citations or item.kind == "synthetic", item.name


@pytest.mark.bundle
def test_every_bundle_entry_is_in_the_manifest(bundle, real):
    held = load_bundle(bundle).datasets
    assert not set(held) - set(real.entries)
    for name in ("coco-tiny", "stardist-samples", "tnbc-derived", "livecell-unlabelled"):
        # Samples that only a bundle offers are the same bytes in both places.
        (file,), (expected,) = held[name].files, real.entry(name).files
        assert (file.sha256, file.bytes) == (expected.sha256, expected.bytes)
