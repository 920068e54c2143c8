import base64
import html
import io
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.book import hover
from helpers.book.hover import HoverMap, show_hover_map, thin
from helpers.errors import ParameterError

BAD = "</script><b onclick='x'>&"


def a_map(n=12, **changes) -> HoverMap:
    rng = np.random.default_rng(0)
    parts = {
        "points": {"t-SNE": rng.normal(size=(n, 2)), "UMAP": rng.normal(size=(n, 2))},
        # Thumbnail i is grey level 20 i: its place in the sheet can be read off.
        "thumbnails": np.repeat(np.uint8(20 * (np.arange(n) % 12)), 64).reshape(n, 8, 8),
        "groups": {"bin": np.arange(n) % 3 + 1, "kind": [BAD, "b"] * (n // 2) + ["b"] * (n % 2)},
        "selections": {"random": np.array([1, 5]), "DQ": np.array([], dtype=int)},
        "tooltips": [f"patch {i} {BAD}" for i in range(n)],
    }
    return HoverMap(**{**parts, **changes})


def shown(a: HoverMap, alt="alt", caption="caption") -> str:
    return show_hover_map(a, alt, caption)._repr_html_()


def payload(*arguments) -> dict:
    page = shown(*arguments)
    return json.loads(re.search(r'\("[0-9a-f]{12}",(\{.*\})\);</script>', page, re.S).group(1))


def groups(labels) -> dict:
    n = len(labels)
    return payload(a_map(n, groups={"g": labels}, selections={}))["groups"]["g"]


def test_the_page_is_one_piece_asks_no_host_and_repeats():
    page = shown(a_map())
    bare = re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)
    assert not re.search(r"https?:|//[a-z]|url\(|import|fetch|XMLHttp|\ssrc=\"(?!data:)", bare)
    assert page.count("<script>") == page.count("</script>") == 1
    assert page.count("<figure") == page.count("</figure>") == 1
    key = re.compile(r'data-hover-map="([0-9a-f]{12})"')
    assert key.search(page).group(1) != key.search(shown(a_map(13))).group(1)
    assert page == shown(a_map())


def test_foreign_text_cannot_leave_its_place():
    page = shown(a_map(), f'"{BAD}', f"caption {BAD}")
    assert BAD not in page
    assert f'alt="{html.escape(chr(34) + BAD)}"' in page
    assert html.escape(f"caption {BAD}") in page
    assert payload(a_map())["tooltips"][3] == f"patch 3 {BAD}"
    assert payload(a_map())["groups"]["kind"]["labels"] == [BAD, "b"]


@pytest.mark.parametrize(
    ("places", "expected"),
    # Twice as wide as high, y grows downwards on a screen; one point stands in the middle.
    [([[0.0, 0.0], [4.0, 2.0]], [0, 750, 1000, 250]), ([[7.0, 7.0]], [500, 500])],
)
def test_points_keep_proportions_and_stand_upright(places, expected):
    n = len(places)
    held = {"points": {"map": np.array(places)}, "selections": {}, "groups": {"bin": range(n)}}
    assert payload(a_map(n, **held))["points"]["map"] == expected


@pytest.mark.parametrize("kind", ["uint8", "float16", "colour"])
def test_the_sheet_holds_every_thumbnail_at_its_place(kind):
    images = a_map().thumbnails
    if kind == "float16":
        images = np.float16(images / 255 * hover.WHITE)
    if kind == "colour":
        images = np.repeat(images[..., None], 3, axis=3)
    sheet = payload(a_map(thumbnails=images))["sheet"]
    side, columns = sheet["side"], sheet["columns"]
    content = sheet["image"].removeprefix("data:image/webp;base64,")
    found = np.array(Image.open(io.BytesIO(base64.b64decode(content))).convert("L"))
    assert found.shape == (3 * side, 4 * side)
    for index in range(12):
        row, column = divmod(index, columns)
        centre = found[row * side + side // 2, column * side + side // 2]
        assert abs(int(centre) - 20 * index) <= 6


def test_the_sheet_shrinks_until_it_fits(monkeypatch):
    noise = np.random.default_rng(0).integers(0, 255, (40, 96, 96), dtype=np.uint8)
    large = payload(a_map(40, thumbnails=noise))["sheet"]
    monkeypatch.setattr(hover, "MOST_BYTES", 30_000)
    small = payload(a_map(40, thumbnails=noise))["sheet"]
    assert small["side"] < large["side"]
    assert len(small["image"]) < 1.4 * 30_000


def test_numbers_are_ordered_or_put_into_ranges_and_texts_are_kinds():
    few = groups(np.arange(12) % 3 + 1)
    assert few["ordered"]
    assert few["labels"] == ["1", "2", "3"]
    assert few["of"][:4] == [0, 1, 2, 0]
    assert all(len(set(few[ground])) == 3 for ground in ("light", "dark"))
    counts = np.arange(60) ** 2
    many = groups(counts)
    assert 8 <= len(many["labels"]) <= 10
    assert (np.diff(many["of"]) >= 0).all()
    for number, label in enumerate(many["labels"]):
        held = counts[np.array(many["of"]) == number]
        assert list(map(int, label.split(" to "))) == [held[0], held[-1]]
    kinds = groups([f"kind {min(i, 9)}" for i in range(30)])
    assert not kinds["ordered"]
    assert len(kinds["labels"]) == len(kinds["dark"]) == 8
    assert {"others", "kind 9"} < set(kinds["labels"])


def test_thinning_keeps_the_chosen_but_at_most_half_of_the_places():
    kept = thin(1000, {"a": np.arange(10), "b": np.arange(5, 20)}, 100)
    assert len(kept) == 100
    assert (np.diff(kept) > 0).all()
    assert set(range(20)) <= set(kept)
    crowded = thin(1000, {"a": np.arange(900)}, 100)
    assert 50 <= (crowded < 900).sum() < 100
    np.testing.assert_array_equal(thin(5, {}, 5), np.arange(5))


def test_the_numbers_are_one_click_away():
    link = re.search(r"text/csv;base64,([^\"]+)", shown(a_map())).group(1)
    table = pd.read_csv(io.StringIO(base64.b64decode(link).decode()))
    assert len(table) == 12
    assert table["chosen by random"].sum() == 2
    np.testing.assert_allclose(table["UMAP x"], a_map().points["UMAP"][:, 0], atol=1e-3)


def test_a_picture_stands_where_no_script_runs():
    page = shown(a_map())
    still = re.search(r'<img src="data:image/png;base64,([^"]+)"', page).group(1)
    assert base64.b64decode(still).startswith(b"\x89PNG")
    assert '<div class="book-hover-live" hidden>' in page
    assert not plt.get_fignums()


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(ParameterError, match="thumbnails: 3 entries for 12"):
        a_map(thumbnails=np.zeros((3, 4, 4), np.uint8))
