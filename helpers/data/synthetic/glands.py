"""``synthetic-glands``: glands of the colon stained with haematoxylin and eosin, one label each.

A picture is built from the outside in: the outlines of the glands, lumens in them, mucus vacuoles
and nuclei in the epithelium between, the stroma around, and then stain and scanner as in
``histo``. The label of a gland covers all within its basement membrane, lumen included, as in GlaS
(Sirinukunwattana et al., Med. Image Anal. 35 (2017), 489-502).

Lengths are given in micrometres, so that another scanner sees the same tissue at another
magnification: ``synthetic-glands-b`` is such a one (``SCANNER_B``, ``PIXEL_B``).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from helpers.data.synthetic import histo, optics, shapes
from helpers.data.synthetic.histo import Scanner, sigmoid
from helpers.data.synthetic.shapes import Form

# Micrometres a pixel: glands are then 50 to 200 pixels wide and some fit into a small picture.
PIXEL, PIXEL_B = 1.0, 0.72
SCANNER = Scanner(
    stains=((0.60, 0.82, 0.36), (0.13, 0.80, 0.24)),
    white=(247.0, 245.0, 248.0),
    blur=(0.55, 0.9),
    quality=(75, 95),
)
# Overstained: bluer haematoxylin, redder eosin; a yellowish lamp, soft focus, strong compression.
SCANNER_B = Scanner(
    stains=((0.78, 0.80, 0.42), (0.07, 0.64, 0.48)),
    strength=(1.5, 1.25),
    white=(252.0, 244.0, 231.0),
    blur=(1.0, 1.6),
    noise=(2.0, 5.0),
    quality=(30, 55),
)
# Smaller pieces of glands at the border of the picture are left out.
MIN_AREA = 150
# Seen around the picture while it is painted, in micrometres, so that glands go on beyond it.
_MARGIN = 45

# Ranges (low, high) by pattern of growth; those in _LENGTHS in micrometres.
_DEFAULTS = {
    "diameter": (58, 84),  # of a gland, across
    "variation": (0.08, 0.16),  # relative standard deviation of the diameter
    "elongation": (1.0, 1.4),
    "spacing": (0.86, 1.02),  # in diameters
    "absent": (0.0, 0.12),  # share of the places that are left to the stroma
    "septum": (6, 14),  # least stroma between two glands
    "warp": (0.05, 0.12),  # how far glands are bent, in diameters
    "lobes": (0.01, 0.03),  # waviness of the outline, in diameters
    "lumen": (0.06, 0.22),  # share of the half-width
    "closed": (0.0, 0.2),  # share of the glands without lumen
    "height": (22, 28),  # least epithelium around a lumen
    "ragged": (0.5, 1.5),  # waviness of the lumen
    "holes": (0.0, 0.0),  # how densely more lumens are punched out
    "debris": (0.0, 0.15),  # necrosis in the lumens
    "goblet": (0.75, 1.0),  # how full of mucus vacuoles
    "rows": (1.0, 1.4),  # of nuclei
    "crowding": (0.85, 1.0),  # distance of nuclei in their widths
    "nucleus": (5.6, 6.8),  # width
    "slender": (1.2, 1.6),  # length over width of an epithelial nucleus
    "pleomorphism": (0.06, 0.12),
    "chromatin": (1.1, 1.6),  # haematoxylin of a nucleus
    "eosin": (0.5, 0.75),  # of the cytoplasm
    "basophilia": (0.08, 0.2),  # haematoxylin in the cytoplasm
    "cells": (0.2, 0.6),  # round nuclei in the stroma
    "spindles": (0.2, 0.5),  # nuclei along the fibres
    "fibrosis": (0.1, 0.4),  # loose 0, dense 1
    "loose": (0.05, 0.25),  # share of empty spaces in the stroma
    "cleft": (0.0, 0.4),  # retraction around the glands
    "blood": (0.0, 0.5),
}
_LENGTHS = {"diameter", "septum", "height", "ragged", "nucleus"}
_MALIGNANT = {
    "diameter": (75, 125),
    "variation": (0.2, 0.4),
    "elongation": (1.0, 1.7),
    "warp": (0.12, 0.25),
    "lobes": (0.05, 0.09),
    "lumen": (0.25, 0.6),
    "spacing": (0.8, 1.0),
    "height": (16, 24),
    "closed": (0.1, 0.35),
    "ragged": (2, 5),
    "debris": (0.3, 1.0),
    "goblet": (0.0, 0.15),
    "rows": (1.6, 3.0),
    "crowding": (0.85, 1.1),
    "nucleus": (6.5, 8.2),
    "slender": (1.2, 1.9),
    "pleomorphism": (0.14, 0.28),
    "chromatin": (0.9, 1.5),
    "basophilia": (0.12, 0.32),
    "cells": (0.05, 0.4),
    "spindles": (0.4, 0.9),
    "fibrosis": (0.5, 1.0),
    "loose": (0.02, 0.15),
}
PATTERNS: dict[str, tuple[float, dict[str, tuple[float, float]]]] = {
    # GRADE/PATTERN: (share of pictures, ranges that differ from the defaults)
    "benign/across": (0.2, {}),
    "benign/along": (
        0.14,
        {"elongation": (2.6, 4.5), "diameter": (52, 70), "septum": (7, 14), "warp": (0.1, 0.3)},
    ),
    "benign/dilated": (
        0.08,
        {
            "diameter": (60, 110),
            "variation": (0.2, 0.35),
            "lumen": (0.45, 0.7),
            "height": (13, 17),
            "goblet": (0.2, 0.6),
            "warp": (0.1, 0.2),
            "absent": (0.05, 0.25),
        },
    ),
    "benign/adenoma": (
        0.1,
        {
            "diameter": (60, 90),
            "elongation": (1.2, 2.6),
            "warp": (0.12, 0.25),
            "lobes": (0.02, 0.04),
            "lumen": (0.12, 0.3),
            "goblet": (0.1, 0.4),
            "rows": (1.7, 2.4),
            "crowding": (0.75, 0.85),
            "slender": (1.8, 2.5),
            "basophilia": (0.12, 0.28),
            "height": (18, 24),
        },
    ),
    "malignant/tubular": (0.2, _MALIGNANT),
    "malignant/cribriform": (
        0.14,
        {
            **_MALIGNANT,
            "diameter": (110, 170),
            "spacing": (0.75, 0.9),
            "septum": (5, 14),
            "lumen": (0.05, 0.3),
            "holes": (0.5, 1.0),
            "rows": (6, 9),
        },
    ),
    "malignant/poor": (
        0.14,
        {
            **_MALIGNANT,
            "diameter": (50, 85),
            "absent": (0.1, 0.35),
            "spacing": (0.8, 1.0),
            "lobes": (0.07, 0.11),
            "lumen": (0.1, 0.35),
            "closed": (0.5, 0.85),
            "rows": (3, 6),
        },
    ),
}


@dataclass(frozen=True)
class Glands:
    """Where the parts of the glands lie; maps (height, width), distances in pixels.

    Attributes:
        labels: int32, one label for each gland.
        depth: float32, below the basement membrane; 0 in the stroma.
        around: float32, from the nearest gland; 0 in the glands.
        lumen: bool.
        free: float32, from the nearest lumen; 0 in the lumens.
        inwards: float32, direction in radians from the basement membrane towards the lumen.
    """

    labels: np.ndarray
    depth: np.ndarray
    around: np.ndarray
    lumen: np.ndarray
    free: np.ndarray
    inwards: np.ndarray


def paint(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, str]:
    """One picture of glandular tissue.

    Args:
        rng: source of randomness.
        size: (height, width) in pixels of ``PIXEL`` micrometres.

    Returns:
        image: float32 (height, width, 3), whole grey values 0..255, R, G, B.
        labels: int32 (height, width), one label for each gland, of ``MIN_AREA`` pixels at least.
        modality: ``"GRADE/PATTERN"``, the grade benign or malignant.
    """
    return _paint(rng, size, SCANNER, PIXEL)


def paint_b(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, str]:
    """As :func:`paint`, from the other scanner, with pixels of ``PIXEL_B`` micrometres."""
    return _paint(rng, size, SCANNER_B, PIXEL_B)


def _paint(
    rng: np.random.Generator, size: tuple[int, int], scanner: Scanner, pixel: float
) -> tuple[np.ndarray, np.ndarray, str]:
    name = histo.draw_name(rng, {name: share for name, (share, _) in PATTERNS.items()})
    style = _style(rng, name, pixel)
    margin = round(_MARGIN / pixel)
    canvas = (size[0] + 2 * margin, size[1] + 2 * margin)
    window = (slice(margin, margin + size[0]), slice(margin, margin + size[1]))
    outlines = _outlines(rng, canvas, style)
    labels = shapes.finalise(outlines[window], MIN_AREA)
    # What is too small to be labelled in the picture is not painted in it either.
    kept = outlines.copy()
    kept[window][labels == 0] = 0
    glands = _glands(rng, kept, style)
    eosin, blue = _stroma(rng, glands, style)
    eosin, blue = _epithelium(rng, glands, eosin, blue, style)
    blur = rng.uniform(*scanner.blur)
    return histo.scan(rng, eosin[window], blue[window], scanner, blur), labels, name


def _style(rng: np.random.Generator, name: str, pixel: float) -> dict[str, float]:
    """Parameters of one picture, lengths in pixels; ``"um"`` is a micrometre."""
    ranges = {**_DEFAULTS, **PATTERNS[name][1]}
    style = {key: rng.uniform(*limits) for key, limits in ranges.items()}
    for key in _LENGTHS:
        style[key] /= pixel
    return {**style, "um": 1 / pixel}


# ------------------------------------------------------------------------------ shape


def _outlines(
    rng: np.random.Generator, size: tuple[int, int], style: dict[str, float]
) -> np.ndarray:
    """Label map of the glands: discs that swell until they meet, in a stretched and bent plane."""
    across = style["diameter"]
    half = (-(-size[0] // 2), -(-size[1] // 2))
    plane = _plane(rng, half, style)
    low, high = plane.min(0), plane.max(0)
    extent = (int(high[1] - low[1]) + 2, int(high[0] - low[0]) + 2)
    points = low + shapes.sprinkle(rng, extent, style["spacing"] * across)
    n = len(points)
    radii = 0.5 * across * np.exp(style["variation"] * rng.standard_normal(n))
    radii[rng.random(n) < style["absent"]] = -1e4
    distance, near = cKDTree(points).query(plane, k=np.arange(1, 1 + min(6, n)))
    reach = distance - radii[near]
    order = np.argsort(reach, axis=1)[:, :2]
    reach = np.take_along_axis(reach, order, axis=1)
    owner = np.take_along_axis(near, order[:, :1], axis=1)
    apart = reach[:, 1] - reach[:, 0] if n > 1 else np.full(len(reach), 1e4)
    # Distances are smooth, and owners change only within the septum: half the pixels are enough.
    reach = _enlarged(reach[:, 0].reshape(half), size, cv2.INTER_LINEAR)
    apart = _enlarged(apart.reshape(half), size, cv2.INTER_LINEAR)
    owner = _enlarged(owner.reshape(half), size, cv2.INTER_NEAREST).astype(np.int32)
    wave = optics.fractal(rng, size, 0.35 * across, 2)
    inside = (reach + style["lobes"] * across * wave < 0) & (apart > style["septum"])
    whole = ndimage.binary_fill_holes(inside)
    return shapes.finalise(np.where(whole, owner + 1, 0), MIN_AREA)


def _plane(rng: np.random.Generator, half: tuple[int, int], style: dict[str, float]) -> np.ndarray:
    """Coordinates (x, y) in the plane of round glands of every second pixel, (pixels, 2)."""
    across = style["diameter"]
    y, x = 2 * np.indices(half, np.float32) + np.float32(0.5)
    bend = np.float32(style["warp"] * across)
    x = x + bend * optics.field(rng, half, 0.7 * across)
    y = y + bend * optics.field(rng, half, 0.7 * across)
    angle = rng.uniform(0, np.pi)
    c, s = np.cos(angle), np.sin(angle)
    along, aside = (c * x + s * y) / style["elongation"], c * y - s * x
    return np.column_stack([along.ravel(), aside.ravel()])


def _enlarged(values: np.ndarray, size: tuple[int, int], how: int) -> np.ndarray:
    height, width = values.shape
    large = cv2.resize(values.astype(np.float32), (2 * width, 2 * height), interpolation=how)
    return large[: size[0], : size[1]]


def _glands(rng: np.random.Generator, labels: np.ndarray, style: dict[str, float]) -> Glands:
    depth = shapes.depth(labels)
    around = cv2.distanceTransform((labels == 0).astype(np.uint8), cv2.DIST_L2, 5)
    lumen = _lumens(rng, labels, depth, style)
    free = np.full(labels.shape, 1e4, np.float32)
    if lumen.any():
        free = cv2.distanceTransform((~lumen).astype(np.uint8), cv2.DIST_L2, 5)
    height = optics.blur(np.where(lumen, depth + 4 * style["um"], depth), 2.5 * style["um"])
    down, right = np.gradient(height)
    return Glands(labels, depth, around, lumen, free, np.arctan2(down, right))


def _lumens(
    rng: np.random.Generator, labels: np.ndarray, depth: np.ndarray, style: dict[str, float]
) -> np.ndarray:
    """Where the glands are hollow: along their middle, and in holes of cribriform ones."""
    n = int(labels.max())
    um = style["um"]
    thickness = np.zeros(n + 1)
    thickness[1:] = ndimage.maximum(depth, labels, np.arange(1, n + 1)) if n else 0
    share = np.clip(style["lumen"] * np.exp(0.35 * rng.standard_normal(n + 1)), 0.05, 0.75)
    edge = np.maximum(thickness * (1 - share), style["height"])
    edge[rng.random(n + 1) < style["closed"]] = 1e4
    wave = style["ragged"] * optics.fractal(rng, labels.shape, 9 * um, 2)
    lumen = depth + wave > edge.astype(np.float32)[labels]
    if style["holes"] > 0:
        wall = 12 * um
        density = np.float32(style["holes"]) * (depth > wall)
        points = shapes.sprinkle(rng, labels.shape, 30 * um, density)
        width = um * np.exp(rng.normal(np.log(15), 0.4, len(points)))
        holes = [shapes.outline(rng, w, Form(rng.uniform(1, 1.8), 0.12)) for w in width]
        lumen |= shapes.scatter(labels.shape, points, holes, overlap=0.5) > 0
        lumen &= depth > 0.7 * wall
    return lumen & (labels > 0)


# ------------------------------------------------------------------------------ nuclei


@dataclass(frozen=True)
class Kind:
    """Nuclei that look alike; lengths in pixels.

    Attributes:
        density: where they are wanted, 0..1, (height, width).
        spacing: least distance of two of them.
        width: median width.
        slender: length over width.
        angle: direction of the long axis, (height, width) in radians; random if ``None``.
        scatter: standard deviation around it.
    """

    density: np.ndarray
    spacing: float
    width: float
    slender: float
    angle: np.ndarray | None = None
    scatter: float = 0.25


def _nuclei(rng: np.random.Generator, kinds: list[Kind], spread: float) -> np.ndarray:
    """Label map of nuclei; ``spread`` is the relative standard deviation of their width."""
    size = kinds[0].density.shape
    centres, outlines = [np.zeros((0, 2))], []
    for kind in kinds:
        points = shapes.sprinkle(rng, size, kind.spacing, kind.density.astype(np.float32))
        centres.append(points)
        outlines += _ovals(rng, points, kind, spread)
    return shapes.scatter(size, np.concatenate(centres), outlines, overlap=0.35)


def _ovals(
    rng: np.random.Generator, points: np.ndarray, kind: Kind, spread: float
) -> list[np.ndarray]:
    """One outline for each point: copies of a few shapes, stretched and turned."""
    n = len(points)
    models = np.stack([shapes.outline(rng, 1, Form(lobes=0.06), 0.0)[::4] for _ in range(12)])
    width = kind.width * np.exp(spread * rng.standard_normal(n))
    length = width * np.maximum(kind.slender * np.exp(0.15 * rng.standard_normal(n)), 1)
    if kind.angle is None:
        angle = rng.uniform(0, np.pi, n)
    else:
        column = np.clip(points[:, 0].astype(int), 0, kind.angle.shape[1] - 1)
        row = np.clip(points[:, 1].astype(int), 0, kind.angle.shape[0] - 1)
        angle = kind.angle[row, column] + kind.scatter * rng.standard_normal(n)
    drawn = models[rng.integers(len(models), size=n)] * np.column_stack([length, width])[:, None]
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x, y = drawn[..., 0], drawn[..., 1]
    return list(np.stack([c * x - s * y, s * x + c * y], axis=-1))


def _dye(
    rng: np.random.Generator,
    nuclei: np.ndarray,
    eosin: np.ndarray,
    blue: np.ndarray,
    style: dict[str, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Stain the nuclei on the ground, each a little darker or paler than the next."""
    level = style["chromatin"] * np.exp(0.18 * rng.standard_normal(nuclei.max() + 1))
    grain = optics.field(rng, nuclei.shape, 2.5 * style["um"])
    body = level.astype(np.float32)[nuclei] * np.clip(0.85 + 0.22 * grain, 0.35, 1.5)
    soft = optics.blur((nuclei > 0).astype(np.float32), 0.5 * style["um"]) * (nuclei > 0)
    return eosin * (1 - 0.35 * soft), blue * (1 - soft) + body * soft


# ------------------------------------------------------------------------------ stroma


def _stroma(
    rng: np.random.Generator, glands: Glands, style: dict[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Eosin and haematoxylin of fibres, cells, blood and empty spaces around the glands."""
    size, um = glands.labels.shape, style["um"]
    texture, fibre = _fibres(rng, glands, style)
    dense = style["fibrosis"]
    hills = optics.fractal(rng, size, 22 * um, 3) - 0.6 * dense * texture
    empty = sigmoid(5 * (hills - histo.quantile(style["loose"])))
    wide = optics.field(rng, size, 40 * um) + 1.5 * style["cleft"] - 1.2
    cleft = sigmoid(1.2 * (3 * um * wide - glands.around / 2)) * (style["cleft"] > 0.1)
    solid = (1 - empty) * (1 - cleft)
    grain = optics.field(rng, size, 2 * um)
    eosin = 0.35 + 0.45 * dense + (0.12 + 0.13 * dense) * texture + 0.06 * grain
    eosin = np.maximum(eosin, 0.08) * solid
    blue = np.maximum(0.1 + 0.05 * texture + 0.05 * grain, 0) * solid
    free = solid * (glands.around > 2 * um)
    eosin = eosin + 1.1 * _blood(rng, free, style)
    crowd = sigmoid(2 * (optics.field(rng, size, 35 * um) + 3 * style["cells"] - 1.2))
    width = 4.8 * um
    kinds = [
        Kind(free * crowd * style["cells"], 1.2 * width, width, 1.2),
        Kind(free * style["spindles"] * 0.5, 2.0 * width, 0.6 * width, 3.2, fibre),
    ]
    nuclei = _nuclei(rng, kinds, 0.18)
    nuclei[glands.around <= 0.5 * um] = 0
    darker = {**style, "chromatin": 1.15 * style["chromatin"]}
    return _dye(rng, nuclei, eosin + 0.02, blue, darker)


def _fibres(
    rng: np.random.Generator, glands: Glands, style: dict[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Texture of the collagen (mean 0, standard deviation about 1) and its direction in radians."""
    size, um = glands.labels.shape, style["um"]
    base = rng.uniform(0, np.pi)
    # Bundles give way to the glands.
    swell = 22 * um * optics.blur((glands.labels > 0).astype(np.float32), 14 * um)
    dx = 7 * um * optics.field(rng, size, 40 * um) - np.float32(np.sin(base)) * swell
    dy = 7 * um * optics.field(rng, size, 40 * um) + np.float32(np.cos(base)) * swell
    straight = optics.fibres(rng, size, 2.2 * um, 35 * um, base)
    straight += 0.7 * optics.fibres(rng, size, 6 * um, 70 * um, base)
    return optics.displace(straight / 1.2, dx, dy), histo.direction(base, dx, dy)


def _blood(rng: np.random.Generator, free: np.ndarray, style: dict[str, float]) -> np.ndarray:
    """Red cells in small vessels, 0..1."""
    um = style["um"]
    patches = optics.field(rng, free.shape, 14 * um) > 3 - 2.2 * style["blood"]
    cells = _nuclei(rng, [Kind(patches * free, 4.5 * um, 5.5 * um, 1.1)], 0.08)
    return optics.blur((cells > 0).astype(np.float32), 0.6 * um)


# ------------------------------------------------------------------------------ epithelium


def _epithelium(
    rng: np.random.Generator,
    glands: Glands,
    eosin: np.ndarray,
    blue: np.ndarray,
    style: dict[str, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Lay the glands over the stroma: cytoplasm, mucus vacuoles, nuclei, what the lumens hold."""
    um, width, slender = style["um"], style["nucleus"], style["slender"]
    base = 1.5 * um
    top = base + width * slender * (1 + 0.75 * (style["rows"] - 1))
    vacuoles = _vacuoles(rng, glands, top, style)
    cloud = optics.fractal(rng, glands.labels.shape, 10 * um, 3)
    cytoplasm, purple = _cytoplasm(glands, vacuoles, top, cloud, style)
    rows = sigmoid((top - glands.depth) / (0.8 * um))
    rows = rows * (glands.depth > base + 0.25 * width * slender)
    rows = rows * (glands.free > 0.6 * width * slender) * (vacuoles == 0) * (glands.labels > 0)
    # Single rows are closed; sheets of nuclei show cytoplasm between them.
    share = 0.9 if style["rows"] < 2.5 else 0.5
    kind = Kind(share * rows, style["crowding"] * width, width, slender, glands.inwards, 0.3)
    nuclei = _nuclei(rng, [kind], style["pleomorphism"])
    nuclei[(glands.labels == 0) | glands.lumen] = 0
    cytoplasm, purple = _dye(rng, nuclei, cytoplasm, purple, style)
    content = _content(rng, glands, cloud, style)
    inside, lumen = glands.labels > 0, glands.lumen
    eosin = np.where(lumen, content[0], np.where(inside, cytoplasm, eosin))
    blue = np.where(lumen, content[1], np.where(inside, purple, blue))
    return eosin.astype(np.float32), blue.astype(np.float32)


def _cytoplasm(
    glands: Glands, vacuoles: np.ndarray, top: float, cloud: np.ndarray, style: dict[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Eosin and haematoxylin of the epithelium without its nuclei, which reach up to ``top``."""
    um = style["um"]
    eosin = style["eosin"] * np.maximum(0.85 + 0.18 * cloud, 0.2)
    blue = style["basophilia"] * np.maximum(1 + 0.35 * cloud, 0.1)
    # Where vacuoles are many, what lies between them is pale too.
    apical = sigmoid((glands.depth - top) / (1.5 * um)) * style["goblet"]
    eosin, blue = eosin * (1 - 0.45 * apical), blue * (1 - 0.3 * apical)
    wall = np.exp(-((shapes.depth(vacuoles) - 1) ** 2) / np.float32(1.2 * um**2))
    mucus = np.clip(0.1 + 0.08 * cloud, 0.02, 0.3)
    eosin = np.where(vacuoles > 0, mucus + 0.45 * wall, eosin)
    blue = np.where(vacuoles > 0, 0.7 * mucus + 0.22 * wall, blue)
    membrane = np.exp(-((glands.depth - 0.7 * um) ** 2) / np.float32(2 * (0.8 * um) ** 2))
    brush = np.exp(-(glands.free**2) / np.float32(2 * (1.2 * um) ** 2))
    return eosin + 0.15 * membrane + 0.2 * brush, blue


def _vacuoles(
    rng: np.random.Generator, glands: Glands, top: float, style: dict[str, float]
) -> np.ndarray:
    """Label map of the mucus vacuoles of goblet cells, between the nuclei and the lumen."""
    um = style["um"]
    zone = (glands.depth > top + 2.5 * um) & (glands.free > 2 * um)
    patches = optics.field(rng, zone.shape, 18 * um) > histo.quantile(style["goblet"])
    kind = Kind(zone * patches, 8 * um, 10 * um, 1.3, glands.inwards, 0.3)
    drawn = _nuclei(rng, [kind], 0.22)
    drawn[(glands.depth < top) | (glands.free < 1)] = 0
    return drawn


def _content(
    rng: np.random.Generator, glands: Glands, cloud: np.ndarray, style: dict[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Eosin and haematoxylin of the lumens: glass, thin mucus, or necrosis with its dust."""
    size, um = cloud.shape, style["um"]
    clumps = optics.fractal(rng, size, 9 * um, 3)
    share = histo.quantile(min(0.75 * style["debris"], 0.9))
    necrosis = sigmoid(4 * (clumps + 0.5 * cloud - share)) * (glands.free < 1)
    eosin = 0.02 + 0.06 * np.maximum(cloud, 0) + necrosis * (0.45 + 0.12 * clumps)
    blue = 0.01 + 0.04 * np.maximum(cloud, 0) + 0.15 * necrosis
    dust = _nuclei(rng, [Kind(0.8 * necrosis * glands.lumen, 4.5 * um, 3.2 * um, 1.2)], 0.35)
    return _dye(rng, dust, np.maximum(eosin, 0.01), np.maximum(blue, 0), style)
