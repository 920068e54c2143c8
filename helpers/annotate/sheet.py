"""Contact sheets: the chosen pictures in the order of choice, with their numbers."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from helpers.annotate.candidates import Candidate
from helpers.annotate.choose import Choice
from helpers.annotate.survey import displayed, fit, pictures
from helpers.files import replacing

TILE, LINE, GAP = 200, 18, 8
COLUMNS, ROWS = 6, 8
# More pictures than that nobody looks through; the list has them all.
MOST = 5 * COLUMNS * ROWS


def write_sheets(choice: Choice, stem: Path) -> list[Path]:
    """Write ``STEM.png``, ``STEM-2.png`` ... with 48 pictures each, at most 240 in all."""
    ranks = range(min(MOST, len(choice.chosen)))
    drawn = tiles(choice, ranks)
    per_sheet = COLUMNS * ROWS
    paths = []
    for number, start in enumerate(range(0, len(ranks), per_sheet), start=1):
        path = stem.with_name(f"{stem.name}{'' if number == 1 else f'-{number}'}.png")
        shown = {rank: drawn[rank] for rank in ranks[start : start + per_sheet]}
        with replacing(path) as temporary:
            _sheet(choice, shown).save(temporary, format="png")
        paths.append(path)
    return paths


def tiles(choice: Choice, ranks: range) -> dict[int, np.ndarray]:
    """Pictures of the chosen candidates by rank from 0, read again: uint8 (200, 200, 3)."""
    return dict(_read(choice, ranks))


def _read(choice: Choice, ranks: range) -> Iterator[tuple[int, np.ndarray]]:
    """(rank, picture) file by file, so that each is opened once."""
    wanted = {rank: choice.candidates[choice.chosen[rank]] for rank in ranks}
    for file in sorted({one.file for one in wanted.values()}):
        here = {rank: one for rank, one in wanted.items() if one.file == file}
        last = max(one.page for one in here.values())
        for page, image in pictures(choice.request.folder / file, []):
            shown = None
            for rank, one in here.items():
                if one.page == page:
                    shown = displayed(image) if shown is None else shown
                    yield rank, fit(shown, (one.top, one.left, one.height, one.width), TILE)
            if page >= last:
                break


def _sheet(choice: Choice, pictures_by_rank: dict[int, np.ndarray]):
    from PIL import Image, ImageDraw

    columns = min(COLUMNS, len(pictures_by_rank))
    rows = -(-len(pictures_by_rank) // columns)
    width, height = TILE + GAP, TILE + LINE + GAP
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), "white")
    pen, font = ImageDraw.Draw(sheet), _font()
    for place, (rank, tile) in enumerate(pictures_by_rank.items()):
        x, y = GAP + place % columns * width, GAP + place // columns * height
        sheet.paste(Image.fromarray(tile), (x, y + LINE))
        label = f"{rank + 1}  {short_name(choice.candidates[choice.chosen[rank]])}"
        pen.text((x, y), _shortened(label, font), fill="black", font=font)
    return sheet


def short_name(one: Candidate) -> str:
    """File name, with page and place where they matter."""
    page = f" p{one.page}" if one.page > 1 else ""
    place = f" ({one.left}, {one.top})" if one.top or one.left else ""
    return f"{one.file.rpartition('/')[2]}{page}{place}"


def _shortened(text: str, font) -> str:
    """``text`` as long as it fits above a tile, its middle left out where it does not."""
    kept = len(text)
    shown = text
    while font.getlength(shown) > TILE - GAP and kept > 8:
        kept -= 1
        shown = f"{text[: kept // 2]}…{text[len(text) - kept // 2 :]}"
    return shown


def _font():
    import matplotlib
    from PIL import ImageFont

    # Knows more letters than Pillow's own; those it lacks become boxes, the numbers stay.
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", 12)
