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
from helpers.book.hover import HoverMap, restrict, show_hover_map, table_of, thin
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


def shown(*args, **options) -> str:
    return show_hover_map(*args, **options)._repr_html_()


def payload(page: str) -> dict:
    return json.loads(re.search(r'\("[0-9a-f]{12}",(\{.*\})\);</script>', page, re.S).group(1))


def sheet(page: str) -> np.ndarray:
    content = payload(page)["sheet"]["image"].removeprefix("data:image/webp;base64,")
    return np.array(Image.open(io.BytesIO(base64.b64decode(content))).convert("L"))


def test_the_page_is_one_piece_and_asks_no_host():
    page = shown(a_map(), "alt", "caption")
    bare = re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)
    assert not re.search(r"https?:|//[a-z]|url\(|import|fetch|XMLHttp|\ssrc=\"(?!data:)", bare)
    assert page.count("<script>") == page.count("</script>") == 1
    assert page.count("<figure") == page.count("</figure>") == 1


def test_foreign_text_cannot_leave_its_place():
    page = shown(a_map(), f'"{BAD}', f"caption {BAD}")
    assert BAD not in page
    assert f'alt="{html.escape(chr(34) + BAD)}"' in page
    assert html.escape(f"caption {BAD}") in page
    assert payload(page)["tooltips"][3] == f"patch 3 {BAD}"
    assert payload(page)["groups"]["kind"]["labels"] == [BAD, "b"]


def test_points_keep_proportions_and_stand_upright():
    places = np.array([[0.0, 0.0], [4.0, 2.0]])
    page = shown(
        a_map(2, points={"map": places}, selections={}, groups={"bin": [1, 2]}), "alt", "caption"
    )
    # Twice as wide as high; y grows downwards on a screen.
    assert payload(page)["points"]["map"] == [0, 750, 1000, 250]


def test_one_point_stands_in_the_middle():
    one = a_map(1, points={"map": [[7.0, 7.0]]}, selections={})
    assert payload(shown(one, "alt", "caption"))["points"]["map"] == [500, 500]


@pytest.mark.parametrize("kind", ["uint8", "float16", "colour"])
def test_the_sheet_holds_every_thumbnail_at_its_place(kind):
    images = a_map().thumbnails
    if kind == "float16":
        images = np.float16(images / 255 * hover.WHITE)
    if kind == "colour":
        images = np.repeat(images[..., None], 3, axis=3)
    page = shown(a_map(thumbnails=images), "alt", "caption")
    side, columns = payload(page)["sheet"]["side"], payload(page)["sheet"]["columns"]
    found = sheet(page)
    assert found.shape == (3 * side, 4 * side)
    for index in range(12):
        row, column = divmod(index, columns)
        centre = found[row * side + side // 2, column * side + side // 2]
        assert abs(int(centre) - 20 * index) <= 6


def test_the_sheet_shrinks_until_it_fits(monkeypatch):
    noise = np.random.default_rng(0).integers(0, 255, (40, 96, 96), dtype=np.uint8)
    kinds = {"groups": {"bin": np.arange(40)}, "thumbnails": noise}
    large = payload(shown(a_map(40, **kinds), "alt", "caption"))["sheet"]
    monkeypatch.setattr(hover, "MOST_BYTES", 30_000)
    small = payload(shown(a_map(40, **kinds), "alt", "caption"))["sheet"]
    assert small["side"] < large["side"]
    assert len(small["image"]) < 1.4 * 30_000


def test_numbers_are_ordered_and_texts_are_kinds():
    groups = payload(shown(a_map(), "alt", "caption"))["groups"]
    assert groups["bin"]["ordered"]
    assert groups["bin"]["labels"] == ["1", "2", "3"]
    assert groups["bin"]["of"][:4] == [0, 1, 2, 0]
    assert not groups["kind"]["ordered"]
    for ground in ("light", "dark"):
        assert len(set(groups["bin"][ground])) == 3
        assert len(groups["kind"][ground]) == 2


def test_many_numbers_are_put_into_ranges():
    counts = np.arange(60) ** 2
    group = payload(shown(a_map(60, groups={"instances": counts}), "alt", "caption"))["groups"]
    labels, of = group["instances"]["labels"], np.array(group["instances"]["of"])
    assert 8 <= len(labels) <= 10
    assert (np.diff(of) >= 0).all()
    for number, label in enumerate(labels):
        low, high = map(int, label.split(" to "))
        assert list(counts[of == number][[0, -1]]) == [low, high]


def test_more_kinds_than_colours_share_the_last_one():
    kinds = [f"kind {min(i, 9)}" for i in range(30)]
    groups = payload(shown(a_map(30, groups={"kind": kinds}), "alt", "caption"))["groups"]
    labels = groups["kind"]["labels"]
    assert len(labels) == 8
    assert {"others", "kind 9"} < set(labels)


def test_too_many_points_are_thinned_and_the_caption_says_so():
    chosen = {"random": np.arange(0, 200, 10)}
    many = a_map(200, groups={"bin": np.arange(200) % 3}, selections=chosen)
    page = shown(many, "alt", "caption", limit=50)
    assert len(payload(page)["tooltips"]) == 50
    assert "Drawn: 50 of 200" in page
    assert "Drawn" not in shown(many, "alt", "caption")
    assert len(payload(page)["selections"]["random"]) == 20


def test_thinning_keeps_the_chosen_but_at_most_half_of_the_places():
    kept = thin(1000, {"a": np.arange(10), "b": np.arange(5, 20)}, 100)
    assert len(kept) == 100
    assert (np.diff(kept) > 0).all()
    assert set(range(20)) <= set(kept)
    crowded = thin(1000, {"a": np.arange(900)}, 100)
    assert 50 <= (crowded < 900).sum() < 100
    np.testing.assert_array_equal(thin(5, {}, 5), np.arange(5))


def test_a_restricted_map_speaks_of_the_same_points():
    whole = a_map()
    part = restrict(whole, np.array([1, 4, 5]))
    assert part.tooltips == [whole.tooltips[i] for i in (1, 4, 5)]
    np.testing.assert_array_equal(part.points["UMAP"], whole.points["UMAP"][[1, 4, 5]])
    np.testing.assert_array_equal(part.selections["random"], [0, 2])
    np.testing.assert_array_equal(part.thumbnails[1], whole.thumbnails[4])
    assert list(part.groups["bin"]) == [2, 2, 3]


def test_the_numbers_are_one_click_away():
    page = shown(a_map(), "alt", "caption")
    content = base64.b64decode(re.search(r"text/csv;base64,([^\"]+)", page).group(1)).decode()
    table = pd.read_csv(io.StringIO(content))
    assert len(table) == 12
    assert table["chosen by random"].sum() == 2
    np.testing.assert_allclose(table["UMAP x"], a_map().points["UMAP"][:, 0], rtol=1e-3)
    assert list(table_of(a_map())["bin"]) == list(table["bin"])


def test_a_picture_stands_where_no_script_runs():
    page = shown(a_map(), "alt", "caption")
    still = re.search(r'<img src="data:image/png;base64,([^"]+)"', page).group(1)
    assert base64.b64decode(still).startswith(b"\x89PNG")
    assert '<div class="book-hover-live" hidden>' in page
    assert not plt.get_fignums()


def test_maps_on_one_page_have_their_own_keys_and_runs_repeat():
    key = re.compile(r'data-hover-map="([0-9a-f]{12})"')
    first, other = shown(a_map(), "alt", "caption"), shown(a_map(13), "alt", "caption")
    assert key.search(first).group(1) != key.search(other).group(1)
    assert first == shown(a_map(), "alt", "caption")
    assert ' id="' not in re.sub(r"<script>.*?</script>", "", first, flags=re.S)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points": {}}, "at least one"),
        ({"points": {"map": np.zeros((3, 2))}}, "points.*map.*expected \\(12, 2\\)"),
        ({"points": {"map": np.full((12, 2), np.nan)}}, "finite"),
        ({"thumbnails": np.zeros((3, 4, 4), np.uint8)}, "thumbnails: 3 entries for 12"),
        ({"groups": {"bin": [1]}}, "bin: 1 entries"),
        ({"selections": {"random": np.array([12])}}, "random.*0 to 11"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes, message):
    with pytest.raises(ParameterError, match=message):
        a_map(**changes)
