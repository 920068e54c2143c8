"""Outlines, layouts and label maps of cells: where the exact labels of the pictures come from.

Two ways of laying cells out are enough for all domains: ``scatter`` puts free outlines one behind
the other, ``grow`` lets cells swell from seeds until they meet, as in a colony or a tissue.
Pictures are painted *from* the finished label map, so that labels are exact by construction.
Points and outlines are (x, y) in pixels, y down.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import cKDTree
from skimage.measure import label as connected_components

from helpers.data.synthetic.optics import displace, field

MIN_AREA = 16
_ANGLES = np.linspace(0, 2 * np.pi, 80, endpoint=False)
_HARMONICS = np.arange(2, 9)
# Fractional bits of the fixed-point coordinates that cv2 draws with.
_SHIFT = 4


@dataclass(frozen=True)
class Form:
    """How an outline looks, before its size: all parameters are pure numbers.

    Attributes:
        elongation: length over width, >= 1.
        lobes: amplitude of the random Fourier terms of the radius, 0 for an ellipse.
        protrusions: number of pointed processes.
        reach: length of the processes in radii.
        bend: sag of the long axis, relative to its length.
    """

    elongation: float = 1.0
    lobes: float = 0.05
    protrusions: int = 0
    reach: float = 1.0
    bend: float = 0.0


def outline(
    rng: np.random.Generator, diameter: float, form: Form, angle: float | None = None
) -> np.ndarray:
    """Closed outline around the origin: random Fourier radius, processes, then an affine map.

    Args:
        rng: source of randomness.
        diameter: of the disc of equal area before processes are added, in pixels.
        form: the kind of shape.
        angle: direction of the long axis in radians; random if ``None``.

    Returns:
        float64 array (80, 2) of (x, y) vertices.
    """
    amplitude = form.lobes * rng.standard_normal(_HARMONICS.size) * (2.0 / _HARMONICS) ** 1.6
    phase = rng.uniform(0, 2 * np.pi, _HARMONICS.size)
    waves = np.cos(_HARMONICS * _ANGLES[:, None] + phase)
    radius = np.clip(1 + waves @ amplitude, 0.45, 1.8)
    radius /= np.sqrt((radius**2).mean())
    for direction in rng.uniform(0, 2 * np.pi, form.protrusions):
        away = np.abs((_ANGLES - direction + np.pi) % (2 * np.pi) - np.pi)
        # A cusp: processes leave the body with a broad base and end in a point.
        radius += form.reach * rng.uniform(0.3, 1.2) * np.exp(-away / rng.uniform(0.12, 0.3))
    stretch = np.sqrt(form.elongation)
    x = radius * np.cos(_ANGLES) * stretch
    y = radius * np.sin(_ANGLES) / stretch
    y = y + form.bend * (x**2 / stretch - stretch / 3)
    return _turned(np.column_stack([x, y]) * (diameter / 2), rng, angle)


def rod(
    rng: np.random.Generator, length: float, width: float, bend: float, angle: float | None = None
) -> np.ndarray:
    """Closed outline of a rod with round ends whose axis turns by ``bend`` radians end to end.

    Args:
        rng: source of randomness.
        length: along the axis, in pixels, ends included; at least ``width``.
        width: in pixels.
        bend: turn of the axis in radians; 0 is straight.
        angle: direction of the axis at its middle, random if ``None``.

    Returns:
        float64 array (48, 2) of (x, y) vertices around the middle of the axis.
    """
    s = np.linspace(-0.5, 0.5, 16)
    spine = max(length - width, 0.1)
    turn = bend * s
    step = spine / (s.size - 1)
    x = np.concatenate([[0], np.cumsum(np.cos((turn[1:] + turn[:-1]) / 2) * step)])
    y = np.concatenate([[0], np.cumsum(np.sin((turn[1:] + turn[:-1]) / 2) * step)])
    half = width / 2
    side = np.column_stack([-np.sin(turn), np.cos(turn)]) * half
    axis = np.column_stack([x, y])
    cap = np.linspace(np.pi / 2, -np.pi / 2, 10)[1:-1]
    front = axis[-1] + half * np.column_stack([np.cos(cap + turn[-1]), np.sin(cap + turn[-1])])
    back = axis[0] - half * np.column_stack([np.cos(cap + turn[0]), np.sin(cap + turn[0])])
    points = np.concatenate([axis + side, front, (axis - side)[::-1], back])
    return _turned(points - axis[8], rng, angle)


def _turned(points: np.ndarray, rng: np.random.Generator, angle: float | None) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi) if angle is None else angle
    c, s = np.cos(angle), np.sin(angle)
    return points @ np.array([[c, s], [-s, c]])


def sprinkle(
    rng: np.random.Generator,
    size: tuple[int, int],
    spacing: float,
    density: np.ndarray | None = None,
    margin: float | None = None,
) -> np.ndarray:
    """Random points that keep a distance of ``spacing``, also a little outside the picture.

    Args:
        rng: source of randomness.
        size: (height, width) of the picture in pixels.
        spacing: least distance between two points in pixels.
        density: where points are wanted, 0..1, (height, width); everywhere if ``None``. Outside
            the picture the nearest border pixel counts.
        margin: how far outside the picture points may lie; half of ``spacing`` if ``None``.

    Returns:
        float64 array (n, 2) of (x, y), n >= 0.
    """
    margin = spacing / 2 if margin is None else margin
    height, width = size
    area = (height + 2 * margin) * (width + 2 * margin)
    # Random packing of discs saturates near 0.7 points per spacing squared: a few times as many
    # candidates come close to it.
    n = int(np.ceil(3.0 * area / spacing**2))
    points = rng.uniform(-margin, (width + margin, height + margin), (n, 2))
    if density is not None:
        x = np.clip(points[:, 0].astype(int), 0, width - 1)
        y = np.clip(points[:, 1].astype(int), 0, height - 1)
        points = points[rng.random(n) < density[y, x]]
    if len(points) == 0:
        return points
    close = cKDTree(points).query_pairs(spacing, output_type="ndarray")
    later = [[] for _ in range(len(points))]
    for i, j in close.tolist():
        later[min(i, j)].append(max(i, j))
    kept = np.ones(len(points), bool)
    for i, neighbours in enumerate(later):
        if kept[i]:
            kept[neighbours] = False
    return points[kept]


def scatter(
    size: tuple[int, int], centres: np.ndarray, outlines: list[np.ndarray], overlap: float
) -> np.ndarray:
    """Draw outlines one behind the other; what would be mostly hidden is left out.

    Args:
        size: (height, width) in pixels.
        centres: (n, 2) of (x, y).
        outlines: n arrays (vertices, 2) around the origin; the first lies in front.
        overlap: largest share of an outline that may be hidden by those in front, 0..1.

    Returns:
        int32 label map; label k+1 is outline k, labels of omitted outlines are missing.
    """
    labels = np.zeros(size, np.int32)
    for k, (centre, shape) in enumerate(zip(centres, outlines, strict=True)):
        points = shape + centre
        low = np.maximum(np.floor(points.min(0)).astype(int) - 1, 0)
        high = np.minimum(np.ceil(points.max(0)).astype(int) + 2, (size[1], size[0]))
        if np.any(high <= low):
            continue
        window = labels[low[1] : high[1], low[0] : high[0]]
        mask = np.zeros(window.shape, np.uint8)
        cv2.fillPoly(mask, [_fixed(points - low)], 1, shift=_SHIFT)
        mask = mask.view(bool)
        free = mask & (window == 0)
        visible = np.count_nonzero(free)
        if visible >= MIN_AREA and visible >= (1 - overlap) * np.count_nonzero(mask):
            window[free] = k + 1
    return labels


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.rint(points * 2**_SHIFT).astype(np.int32)


def grow(
    rng: np.random.Generator,
    size: tuple[int, int],
    centres: np.ndarray,
    radii: np.ndarray,
    form: Form,
    ruffle: float = 0.1,
) -> np.ndarray:
    """Cells that swell from seeds at equal speed, up to their radius or until they meet.

    Each seed is an outline of half the final radius, so that large seeds win ground from small
    ones; the result is a Voronoi partition of the seeds, bounded by the radii, with wavy borders.

    Args:
        rng: source of randomness.
        size: (height, width) in pixels.
        centres: (n, 2) of (x, y), may lie outside the picture.
        radii: (n,) final radius of a free cell in pixels; ``inf`` fills the plane.
        form: shape of the seeds.
        ruffle: amplitude of the wavy borders relative to the median cell radius.

    Returns:
        int32 label map; label k+1 belongs to ``centres[k]``.
    """
    if len(centres) == 0:
        return np.zeros(size, np.int32)
    finite = np.isfinite(radii)
    typical = float(np.median(radii[finite])) if finite.any() else _half_spacing(centres)
    margin = int(np.ceil(2 * typical))
    padded = (size[0] + 2 * margin, size[1] + 2 * margin)
    seed_radii = np.where(finite, radii, typical) / 2
    outlines = [outline(rng, 2 * r, form) for r in seed_radii]
    seeds = scatter(padded, centres + margin, outlines, overlap=0.9)
    if not seeds.any():
        return np.zeros(size, np.int32)
    owner, distance = _nearest(seeds)
    limit = np.concatenate([[0], np.where(finite, radii - seed_radii, np.inf)])
    labels = np.where(distance <= limit[owner], owner, 0).astype(np.int32)
    if ruffle > 0:
        wave = [
            np.float32(ruffle * typical) * field(rng, padded, max(0.7 * typical, 3.0))
            + np.float32(0.25 * ruffle * typical) * field(rng, padded, max(0.2 * typical, 2.0))
            for _ in range(2)
        ]
        labels = displace(labels, *wave)
    return np.ascontiguousarray(labels[margin : margin + size[0], margin : margin + size[1]])


def _half_spacing(centres: np.ndarray) -> float:
    if len(centres) < 2:
        return 20.0
    distance, _ = cKDTree(centres).query(centres, k=2)
    return float(np.median(distance[:, 1])) / 2


def _nearest(seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Label of the nearest seed pixel, and its distance, for every pixel."""
    distance, pixel = cv2.distanceTransformWithLabels(
        (seeds == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    inside = seeds > 0
    owner = np.zeros(pixel.max() + 1, np.int32)
    owner[pixel[inside]] = seeds[inside]
    return owner[pixel], distance


def finalise(labels: np.ndarray, min_area: int = MIN_AREA) -> np.ndarray:
    """Make a label map fit to be a ground truth: whole, connected, numbered 1..K without gaps.

    Of each instance the largest 4-connected part is kept, and nothing below ``min_area`` pixels,
    at the border either.

    Returns:
        int32 label map of the same shape.
    """
    parts = connected_components(labels, background=0, connectivity=1)
    n = parts.max()
    if n == 0:
        return np.zeros(labels.shape, np.int32)
    area = np.bincount(parts.ravel(), minlength=n + 1)
    owner = np.zeros(n + 1, np.int64)
    owner[parts.ravel()] = labels.ravel()
    order = np.lexsort((-area[1:], owner[1:])) + 1
    first = np.concatenate([[True], np.diff(owner[order]) > 0])
    kept = order[first & (area[order] >= min_area)]
    renumber = np.zeros(n + 1, np.int32)
    renumber[kept] = np.arange(1, len(kept) + 1)
    return renumber[parts]


def depth(labels: np.ndarray) -> np.ndarray:
    """Distance of each pixel to the outside of its own instance, in pixels; 0 in the background.

    Contact lines between instances count as outside, the border of the picture does not.

    Returns:
        float32 array, about 1 on the outermost pixels of an instance.
    """
    edge = np.zeros(labels.shape, bool)
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    edge |= labels == 0
    if not edge.any():
        return np.full(labels.shape, float(max(labels.shape)), np.float32)
    inner = cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, 5)
    return np.where(labels > 0, inner + 1, 0).astype(np.float32)


@dataclass(frozen=True)
class Measures:
    """One row for each instance 1..K of a label map; arrays have K entries.

    Attributes:
        area: pixels.
        angle: direction of the long axis in radians, from x towards y (down).
        elongation: ratio of the axes of the ellipse of equal second moments, >= 1, at most 10.
        thickness: largest ``depth`` in pixels.
        core: (K, 2) the (x, y) of a deepest pixel.
    """

    area: np.ndarray
    angle: np.ndarray
    elongation: np.ndarray
    thickness: np.ndarray
    core: np.ndarray


def measure(labels: np.ndarray, inner: np.ndarray) -> Measures:
    """Measure the instances of a finalised label map; ``inner`` is its ``depth``."""
    k = int(labels.max())
    y, x = np.nonzero(labels)
    owner = labels[y, x]

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(owner, values, k + 1)[1:] / area

    area = np.bincount(owner, minlength=k + 1)[1:]
    cx, cy = mean(x), mean(y)
    xx, yy, xy = mean(x * x) - cx**2, mean(y * y) - cy**2, mean(x * y) - cx * cy
    root = np.sqrt((xx - yy) ** 2 + 4 * xy**2)
    elongation = np.sqrt((xx + yy + root) / np.maximum(xx + yy - root, 0.02 * (xx + yy)))
    values = inner[y, x]
    thickness = np.zeros(k + 1)
    np.maximum.at(thickness, owner, values)
    deepest = np.flatnonzero(values >= thickness[owner])
    _, first = np.unique(owner[deepest], return_index=True)
    core = np.column_stack([x[deepest[first]], y[deepest[first]]]).astype(float)
    return Measures(area, np.arctan2(2 * xy, xx - yy) / 2, elongation, thickness[1:], core)


def nuclei(
    rng: np.random.Generator,
    labels: np.ndarray,
    inner: np.ndarray,
    cells: Measures,
    ratio: float,
    diameter: float,
) -> np.ndarray:
    """One nucleus in the thickest part of each cell, oval along the cell, never touching its edge.

    Args:
        rng: source of randomness.
        labels: finalised label map of the cells.
        inner: its ``depth``.
        cells: its ``measure``.
        ratio: nucleus to cell diameter, 0..1.
        diameter: typical cell diameter in pixels: nuclei of spread cells do not grow with them.

    Returns:
        int32 map: the number of the cell on its nucleus, 0 elsewhere. Cells too thin have none.
    """
    width = np.minimum(2 * cells.thickness, 0.5 * diameter + cells.thickness)
    width = ratio * width * rng.uniform(0.85, 1.15, len(width))
    form = [Form(min(1 + 0.35 * (e - 1), 2.2), 0.03) for e in cells.elongation]
    shapes = [
        outline(rng, w * f.elongation**0.5, f, a + rng.normal(0, 0.15))
        for w, f, a in zip(width, form, cells.angle, strict=True)
    ]
    centres = cells.core + rng.normal(0, 0.06, cells.core.shape) * width[:, None]
    drawn = scatter(labels.shape, centres, shapes, overlap=0.5)
    return np.where((drawn == labels) & (inner > 1.5), drawn, 0)
