"""Outlines, layouts and label maps of cells: where the exact labels of the pictures come from.

Two ways of laying cells out are enough for all domains: ``scatter`` puts free outlines one behind
the other, ``swell`` lets them grow until they meet, as in a colony or a tissue. Pictures are
painted *from* the finished label map, so that labels are exact by construction. Points and
outlines are (x, y) in pixels, y down; sizes of pictures (height, width) in pixels.
"""

import cv2
import numpy as np
from scipy.spatial import cKDTree
from skimage.measure import label as connected_components
from skimage.segmentation import expand_labels

from helpers.data.synthetic.optics import Rng, Size, displace, field

MIN_AREA = 16
_ANGLES = np.linspace(0, 2 * np.pi, 64, endpoint=False)
_HARMONICS = np.arange(2, 9)
# Fractional bits of the fixed-point coordinates that cv2 draws with.
_SHIFT = 4


def outlines(
    rng: Rng,
    diameter: np.ndarray,
    elongation: np.ndarray | float = 1.0,
    angle: np.ndarray | float = 0.0,
    lobes: float = 0.06,
    spikes: float = 0.0,
    bend: float = 0.0,
    rod: float = 0.0,
) -> np.ndarray:
    """Closed outlines around the origin: Fourier harmonics of the radius, then stretch and turn.

    Args:
        rng: source of randomness.
        diameter: (n,) of the disc of equal area, without spikes and rod, in pixels.
        elongation: length over width, >= 1; (n,) or one for all.
        angle: direction of the long axis in radians; (n,) or one for all.
        lobes: amplitude of the harmonics relative to the radius, 0 for an ellipse.
        spikes: mean number of pointed processes, at most 8.
        bend: deviation of the sag of the long axis, relative to its length.
        rod: half the length of a straight piece put into the middle, in radii.

    Returns:
        float64 array (n, 64, 2) of (x, y) vertices.
    """
    n = len(diameter)
    amplitude = lobes * rng.standard_normal((n, 1, 7)) * (2.0 / _HARMONICS) ** 1.6
    phase = rng.uniform(0, 2 * np.pi, (n, 1, 7))
    radius = 1 + (amplitude * np.cos(_HARMONICS * _ANGLES[:, None] + phase)).sum(2)
    radius = np.clip(radius, 0.45, 1.8)
    radius /= np.sqrt((radius**2).mean(1, keepdims=True))
    if spikes > 0:
        # Cusps: processes leave the body with a broad base and end in a point.
        away = _ANGLES[:, None] - rng.uniform(0, 2 * np.pi, (n, 1, 8))
        away = np.abs((away + np.pi) % (2 * np.pi) - np.pi)
        reach = rng.uniform(0.2, 1.2, (n, 1, 8)) * (np.arange(8) < rng.poisson(spikes, (n, 1, 1)))
        radius += (reach * np.exp(-away / 0.2)).sum(2)
    stretch = np.sqrt(np.broadcast_to(elongation, n))[:, None]
    x = radius * np.cos(_ANGLES) * stretch + rod * np.sign(np.cos(_ANGLES))
    y = radius * np.sin(_ANGLES) / stretch
    y = y + bend * rng.standard_normal((n, 1)) * (x**2 / stretch - stretch / 3)
    c, s = (turn(np.broadcast_to(angle, n))[:, None] for turn in (np.cos, np.sin))
    half = np.asarray(diameter)[:, None, None] / 2
    return half * np.stack([c * x - s * y, s * x + c * y], axis=-1)


def sprinkle(
    rng: Rng, size: Size, spacing: float, density: np.ndarray | None = None, margin: float = 0.0
) -> np.ndarray:
    """Random points (n, 2), n >= 0, that keep a distance of ``spacing`` pixels.

    They lie where a map ``density`` (0..1) wants them, everywhere without, and up to ``margin``
    pixels (half of ``spacing`` if 0) outside the picture, where its nearest pixel counts.
    """
    margin = margin or spacing / 2
    low, high = np.full(2, -margin), np.array(size[::-1]) + margin
    # Random packing of discs saturates near 0.7 points per spacing squared: a few times as many
    # candidates come close to it.
    points = rng.uniform(low, high, (int(3 * np.prod(high - low) / spacing**2) + 1, 2))
    if density is not None:
        points = points[rng.random(len(points)) < at(density, points)]
    kept = np.ones(len(points), bool)
    if len(points) > 1:
        pairs = cKDTree(points).query_pairs(spacing, output_type="ndarray")
        # In the order of the first of each pair: who is kept drives out all later ones nearby.
        for i, j in pairs[np.argsort(pairs[:, 0], kind="stable")].tolist():
            kept[j] &= not kept[i]
    return points[kept]


def at(values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values (n,) of a map (height, width) at points (n, 2) of (x, y), clipped to its border."""
    columns, rows = np.clip(points.astype(int), 0, np.array(values.shape[::-1]) - 1).T
    return values[rows, columns]


def scatter(size: Size, centres: np.ndarray, shapes: np.ndarray, overlap: float) -> np.ndarray:
    """Draw outlines one behind the other; what would be mostly hidden is left out.

    Args:
        size: of the picture.
        centres: (n, 2).
        shapes: (n, vertices, 2) around the origin; the first lies in front.
        overlap: largest share of an outline that may be hidden by those in front, 0..1.

    Returns:
        int32 label map; k + 1 is outline k, omitted ones are missing.
    """
    labels, placed = np.zeros(size, np.int32), shapes + centres[:, None]
    lows = np.maximum(np.floor(placed.min(1)).astype(int) - 1, 0)
    highs = np.minimum(np.ceil(placed.max(1)).astype(int) + 2, size[::-1])
    for k in np.flatnonzero((highs > lows).all(1)):
        window = labels[lows[k, 1] : highs[k, 1], lows[k, 0] : highs[k, 0]]
        mask = np.zeros(window.shape, np.uint8)
        fixed = np.rint((placed[k] - lows[k]) * 2**_SHIFT).astype(np.int32)
        cv2.fillPoly(mask, [fixed], 1, shift=_SHIFT)
        free = mask.view(bool) & (window == 0)
        visible = np.count_nonzero(free)
        if visible >= MIN_AREA and visible >= (1 - overlap) * np.count_nonzero(mask):
            window[free] = k + 1
    return labels


def swell(rng: Rng, seeds: np.ndarray, distance: float, ruffle: float) -> np.ndarray:
    """Let instances grow by ``distance`` or until they meet, with borders that wave by ``ruffle``.

    Both in pixels; ``seeds`` and the result are int32 label maps.
    """
    wave = (ruffle * field(rng, seeds.shape, max(10 * ruffle, 6.0), 2) for _ in "xy")
    return displace(expand_labels(seeds, distance).astype(np.int32), *wave)


def finalise(labels: np.ndarray, min_area: int = MIN_AREA) -> np.ndarray:
    """Make a label map fit to be a ground truth: whole, connected, numbered 1..K without gaps.

    Of each instance the largest 4-connected part is kept, and nothing below ``min_area`` pixels,
    at the border either. Returns an int32 map of the same shape.
    """
    parts, n = connected_components(labels, background=0, connectivity=1, return_num=True)
    area = np.bincount(parts.ravel(), minlength=n + 1)
    owner = np.zeros(n + 1, np.int64)
    owner[parts.ravel()] = labels.ravel()
    order = np.lexsort((-area[1:], owner[1:])) + 1
    kept = order[(np.diff(owner[order], prepend=0) > 0) & (area[order] >= min_area)]
    renumber = np.zeros(n + 1, np.int32)
    renumber[kept] = np.arange(1, len(kept) + 1)
    return renumber[parts]


def depth(labels: np.ndarray) -> np.ndarray:
    """Distance of each pixel to the outside of its own instance, float32, in pixels.

    It is 1 on the outermost pixels and 0 in the background. Contact lines between instances count
    as outside, the border of the picture does not.
    """
    across, down = np.diff(labels, axis=1) != 0, np.diff(labels, axis=0) != 0
    edge = np.pad(across, ((0, 0), (1, 0))) | np.pad(across, ((0, 0), (0, 1)))
    edge |= np.pad(down, ((1, 0), (0, 0))) | np.pad(down, ((0, 1), (0, 0)))
    return np.where(labels > 0, around(edge | (labels == 0)) + 1, 0).astype(np.float32)


def around(mask: np.ndarray) -> np.ndarray:
    """Distance of each pixel to the nearest True one, float32, in pixels, at most 1e4."""
    return np.minimum(cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5), 1e4)
