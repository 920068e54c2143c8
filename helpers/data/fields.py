"""Which images are neighbouring tiles of one larger field of view.

Some data sets are published as tiles, without saying which tiles were cut from which picture. A
split by tile then trains and tests on the same field. The cut itself tells: it ran between two
adjacent lines of pixels, so the last line of one tile and the first line of the next are as alike
as any two adjacent lines within them.

The rule (see :func:`continues`): two lines of equal length belong together if their correlation is
above :data:`MIN_CORRELATION` and the mean absolute step across the cut is at most
:data:`MAX_STEP_RATIO` times the step between adjacent lines inside the two tiles. The second
condition does most of the work: two nuclei of different pictures that happen to lie at the same
place of a border correlate well (two smooth bumps), but their step is larger than the noise.

How often it errs: on 500 images of BBBC038 it joins 278 pairs, which makes 250 fields of up to 10
tiles. As a control, with one of the two lines reversed, where no cut can be found, it joins 1
(0.4 %). Of 56 pairs on either side of the thresholds, stitched together and looked at, 2 are
joined though a seam shows. What it misses are dim borders without structure and a few true pairs
beyond the thresholds, so a field may rarely still be torn; two fields joined by mistake only make
a split coarser.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

# True neighbours with dim borders go down to 0.9, as noise dilutes what they share. Between 0.85
# and 0.9 reversed lines correlate as often as true ones (127 and 130 pairs of BBBC038).
MIN_CORRELATION = 0.9
# 1 is what a cut without any loss gives. Noise and structure spread true neighbours up to about
# 1.4; beyond, seams show in most of the pairs that are stitched together.
MAX_STEP_RATIO = 1.4
# In grey levels of 0..255. A border of background alone says nothing: black ones are all equal, and
# one stray pixel at the same place would make a perfect correlation.
MIN_DEVIATION = 1.0


@dataclass(frozen=True)
class Borders:
    """The outermost two lines of pixels at each side of a tile, each float32 (2, length).

    Row 0 is the outermost line, row 1 the one next to it; lines run to the right or downwards.

    Attributes:
        digest: sha256 of all pixels, shape and type; equal for identical images only.
    """

    top: np.ndarray
    bottom: np.ndarray
    left: np.ndarray
    right: np.ndarray
    digest: str


def borders_of(image: np.ndarray) -> Borders:
    """Borders of an image, (H, W) or (H, W, C), grey values being the mean of the channels."""
    digest = hashlib.sha256(f"{image.shape} {image.dtype}".encode())
    digest.update(np.ascontiguousarray(image))

    def grey(strip: np.ndarray) -> np.ndarray:
        return strip.mean(axis=2, dtype=np.float32) if strip.ndim == 3 else np.float32(strip)

    # An image one pixel thin has no second line; it counts as its own neighbour then.
    height, width = (min(2, side) for side in image.shape[:2])
    return Borders(
        top=grey(image[[0, height - 1]]),
        bottom=grey(image[[-1, -height]]),
        left=grey(image[:, [0, width - 1]]).T,
        right=grey(image[:, [-1, -width]]).T,
        digest=digest.hexdigest(),
    )


def continues(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Which border of ``second`` continues which of ``first`` across a cut.

    Args:
        first: float (n, 2, length), n borders in grey levels 0..255, as in :class:`Borders`.
        second: float (m, 2, length), the opposite borders of the same length.

    Returns:
        bool (n, m). Borders with a standard deviation below :data:`MIN_DEVIATION` match nothing.
    """
    first, second = np.float64(first), np.float64(second)
    one, other = _standardised(first[:, 0]), _standardised(second[:, 0])
    found = one @ other.T > MIN_CORRELATION
    i, j = np.nonzero(found)
    across = np.abs(first[i, 0] - second[j, 0]).mean(axis=1)
    inside = (_inner_step(first)[i] + _inner_step(second)[j]) / 2
    found[i, j] = across <= MAX_STEP_RATIO * inside
    return found


def _standardised(lines: np.ndarray) -> np.ndarray:
    """Lines (n, length) with mean 0 and norm 1; those without structure all 0."""
    centred = lines - lines.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    structured = norm >= MIN_DEVIATION * np.sqrt(lines.shape[1])
    return np.divide(centred, norm, out=np.zeros_like(centred), where=structured)


def _inner_step(borders: np.ndarray) -> np.ndarray:
    """Mean absolute difference of the two lines of each border: (n, 2, length) to (n,)."""
    return np.abs(borders[:, 0] - borders[:, 1]).mean(axis=1)


def neighbours(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> np.ndarray:
    """Pairs (i, j), i != j, where border ``second[j]`` continues ``first[i]``: int64 (pairs, 2).

    Only borders of equal length are compared.

    Args:
        first: one border (2, length) per tile, for example the bottom ones.
        second: the opposite border of each tile, in the same order.
    """
    pairs = [np.empty((0, 2), np.int64)]
    for length in sorted({border.shape[1] for border in first}):
        i = np.array([k for k, border in enumerate(first) if border.shape[1] == length])
        j = np.array([k for k, border in enumerate(second) if border.shape[1] == length])
        if len(j):
            match = continues(np.stack([first[k] for k in i]), np.stack([second[k] for k in j]))
            match &= i[:, None] != j
            rows, columns = np.nonzero(match)
            pairs.append(np.stack([i[rows], j[columns]], axis=1))
    return np.concatenate(pairs)


def group_tiles(tiles: Sequence[Borders]) -> list[int]:
    """The field of each tile, named by the position of the field's first tile.

    Tiles belong to one field if a chain of neighbours (right with left, bottom with top) or of
    identical images links them; a tile without neighbours is a field of its own.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not tiles:
        return []
    links = np.concatenate(
        [
            neighbours([tile.bottom for tile in tiles], [tile.top for tile in tiles]),
            neighbours([tile.right for tile in tiles], [tile.left for tile in tiles]),
            np.array(list(_doubles(tiles)), np.int64).reshape(-1, 2),
        ]
    )
    graph = coo_array((np.ones(len(links)), tuple(links.T)), shape=(len(tiles), len(tiles)))
    _, field = connected_components(graph, directed=False)
    _, earliest = np.unique(field, return_index=True)
    return earliest[field].tolist()


def _doubles(tiles: Sequence[Borders]) -> Iterator[tuple[int, int]]:
    """(first, later) for every tile that repeats an earlier one."""
    seen: dict[str, int] = {}
    for k, tile in enumerate(tiles):
        first = seen.setdefault(tile.digest, k)
        if first != k:
            yield first, k
