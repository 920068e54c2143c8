"""What a choice leaves behind: lists, contact sheets, and words about how good it is."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np

from helpers.annotate.candidates import MARK, companions
from helpers.annotate.choose import OWN_DRAWS, RANDOM_DRAWS, Choice
from helpers.annotate.sheet import MOST, write_sheets
from helpers.files import write_csv, write_json
from helpers.text import aligned

SELECTION, SKIPPED, MAP = "selection.csv", "skipped.csv", "map.csv"
SHEET = "contact-sheet"
RESULTS = (MARK, SELECTION, SKIPPED, MAP, f"{SHEET}*.png", "map.png", "map.html")
# Rows printed; the file has them all.
SHOWN = 20
WIDEST = 60


def write_report(choice: Choice) -> list[Path]:
    """Write list, skipped files and contact sheets of a choice.

    What an earlier choice with other settings has left is moved into ``earlier/`` first.
    """
    output = choice.request.output
    _set_aside(output, _settings(choice))
    write_json(output / MARK, _settings(choice))
    write_csv(output / SELECTION, selection_rows(choice))
    skipped = [asdict(one) for one in choice.survey.skipped]
    write_csv(output / SKIPPED, skipped, ["file", "page", "reason"])
    sheets = write_sheets(choice, output / SHEET)
    return [output / SELECTION, output / SKIPPED, *sheets]


def selection_rows(choice: Choice) -> list[dict]:
    """One row per chosen candidate, the first to annotate first."""
    request = choice.request
    how = {"method": request.method, "features": request.features, "seed": request.seed}
    return [
        {
            "rank": rank,
            **asdict(choice.candidates[index]),
            "stands_for": int(choice.stands_for[rank - 1]),
            **how,
        }
        for rank, index in enumerate(choice.chosen, start=1)
    ]


def write_map(choice: Choice, kept: np.ndarray, points: np.ndarray) -> Path:
    """Write where candidates lie on the map, and the rank of those that were chosen.

    Args:
        kept: int64 (n,), which candidates are on it.
        points: (n, 2).
    """
    ranks = {int(index): rank for rank, index in enumerate(choice.chosen, start=1)}
    rows = [
        {**asdict(choice.candidates[i]), "x": f"{x:.4f}", "y": f"{y:.4f}", "rank": ranks.get(i, "")}
        for i, (x, y) in zip(kept.tolist(), points, strict=True)
    ]
    write_csv(choice.request.output / MAP, rows)
    return choice.request.output / MAP


def _settings(choice: Choice) -> dict:
    return json.loads(json.dumps(asdict(choice.request), default=str))


def _set_aside(output: Path, settings: dict) -> None:
    """Move the results of another choice to ``earlier/NUMBER-METHOD-BUDGET``."""
    held = [path for pattern in RESULTS for path in sorted(output.glob(pattern))]
    known = output / MARK
    before = json.loads(known.read_text(encoding="utf-8")) if known.is_file() else {}
    if not held or before == settings:
        return
    earlier = output / "earlier"
    number = len(list(earlier.glob("*"))) + 1
    name = f"{number:02d}-{before.get('method', 'unknown')}-{before.get('budget', 0)}"
    (earlier / name).mkdir(parents=True)
    for path in held:
        shutil.move(path, earlier / name / path.name)


# -------------------------------------------------------------------------- words


def in_words(choice: Choice) -> str:
    """What was looked at, what was chosen, how good it is, what to do next."""
    parts = [_looked_at(choice), _table(choice), advice(choice), _skipped(choice), _next(choice)]
    return "\n\n".join(part for part in parts if part)


def _looked_at(choice: Choice) -> str:
    request, n, found = choice.request, len(choice.candidates), choice.survey.found
    kind = f"patches of {request.cut.size} px" if request.cut.size else "pictures"
    counts = {
        "masks left out": len(found.masks),
        "other files of Cellpose left out": len(found.leftovers),
        "files known by their content": len(found.images) - choice.survey.read,
    }
    told = "".join(f"; {what}: {count:,}" for what, count in counts.items() if count)
    text = f"{n:,} {kind} in {len(choice.survey.digests):,} files{told}."
    if pairs := companions(found.images):
        one, other = (path.name for path in pairs[0])
        text += (
            f"\n{len(pairs)} files are named after others, as {one} after {other}. If they are "
            "annotations, move them, or name\nthem NAME_mask; here they count as pictures."
        )
    if request.budget > n:
        text += f"\nThe budget of {request.budget:,} is more than there is: all {n:,} are ranked."
    if request.output.resolve().is_relative_to(request.folder.resolve()):
        text += "\nThe results lie in the folder of the images; they are not taken for images."
    return text


def _table(choice: Choice) -> str:
    rows = selection_rows(choice)
    several = any(one.page > 1 for one in choice.candidates)
    columns = ["rank", "file", *(["page"] if several else [])]
    columns += ["top", "left"] if choice.request.cut.size else []
    columns += ["stands_for"]
    text = [aligned([columns, *([_cell(row[name]) for name in columns] for row in rows[:SHOWN])])]
    if len(rows) > SHOWN:
        text.append(f"... and {len(rows) - SHOWN:,} more in {SELECTION}")
    if len(rows) > MOST:
        text.append(f"The contact sheets show the first {MOST}.")
    return "\n".join(text)


def _cell(value: object) -> str:
    """A value for the table; of a long path the middle is left out, the file has it whole."""
    text = str(value)
    return text if len(text) <= WIDEST else f"{text[: WIDEST // 2]}…{text[-(WIDEST // 2) + 1 :]}"


def advice(choice: Choice) -> str:
    """How the choice covers the folder, against random choices of the same size."""
    spread = choice.spread
    if spread is None:
        return "Everything is chosen; the order says what to begin with."
    own, drawn = spread.own[:, 0], spread.random[:, 0]
    # One draw may be lucky: the farthest (or nearest) of several must be so, too.
    gain = "closer than" if own.max() < drawn.min() else "about as close as"
    if own.min() > drawn.max():
        gain = "less close than"
    return (
        f"Coverage: from a picture to the nearest chosen one it is {spread.mean:.3g} on average "
        f"(in the space of the features);\n{_mean_and_range(own)} for {OWN_DRAWS} draws of this "
        f"method, {_mean_and_range(drawn)} for {RANDOM_DRAWS} random choices\nof the same size: "
        f"the method lies {gain} random ones.\n"
        f"It touches {spread.own[:, 2].mean():.0%} of {len(choice.chosen)} groups of similar "
        f"pictures, random choices {spread.random[:, 2].mean():.0%}.\n"
        "Closer coverage is no promise of a better model: in this book's runs on real images, "
        "subsets chosen by\ndataset quantization, the default, were not found to segment better "
        "than random ones (see the chapter coreset)."
    )


def _mean_and_range(values: np.ndarray) -> str:
    return f"{values.mean():.3g} ({values.min():.3g} to {values.max():.3g})"


def _skipped(choice: Choice) -> str:
    skipped = choice.survey.skipped
    if not skipped:
        return ""
    shown = [f"  {one.file}: {one.reason}" for one in skipped[:10]]
    more = [f"  and {len(skipped) - 10} more"] if len(skipped) > 10 else []
    return "\n".join([f"Could not be read ({SKIPPED}):", *shown, *more])


def _next(choice: Choice) -> str:
    what = "patches" if choice.request.cut.size else "pictures"
    pages = "; save pages as files of their own" if _stacked(choice) else ""
    return (
        f"Next: look at {SHEET}.png and map.html, leave out what is useless (blurred, empty), and\n"
        f"annotate the {what} from rank 1 down: NAME.tif gets NAME_mask.tif beside it{pages}.\n"
        "Annotated images in a folder of their own can train a network:\n"
        "  python -m helpers run redundancy -p dataset=folder:PATH"
    )


def _stacked(choice: Choice) -> bool:
    return any(choice.candidates[index].page > 1 for index in choice.chosen)
