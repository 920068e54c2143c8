"""Sections stained with haematoxylin and eosin: ``synthetic-histo`` and ``synthetic-glands``.

A picture is built as a section is: where epithelium, connective tissue and empty spaces lie (as
glands, or as solid regions), nuclei placed in them, concentrations of the two stains, light
absorbed by them, a scanner. Sets of nuclei label every nucleus; sets of glands, seen from farther
away, all within the basement membrane of a gland, lumen included, as in GlaS (Sirinukunwattana et
al., Med. Image Anal. 35 (2017), 489-502).
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import expit, ndtri
from skimage.segmentation import expand_labels

from helpers.data.synthetic import optics, shapes
from helpers.data.synthetic.cells import levels
from helpers.data.synthetic.optics import Rng, Size
from helpers.data.synthetic.ranges import SCANNERS, TISSUE, Style, draw

Map = np.ndarray
# Smaller pieces at the border of the picture are left out; in pixels.
MIN_GLAND, MIN_NUCLEUS = 150, 24


@dataclass(frozen=True)
class Section:
    """Where the parts of a tissue lie: maps (height, width), angles in radians."""

    glands: Map  # one label for each, all 0 in tissue without
    epithelium: Map  # 0..1; the rest is connective tissue
    gap: Map  # 0..1, where there is only glass
    rows: Map  # 0..1, where epithelial nuclei lie
    apical: Map  # 0..1, where vacuoles of mucus may lie
    inwards: Map  # direction of epithelial nuclei
    fibres: Map  # texture of the connective tissue, mean 0, deviation about 1
    along: Map  # direction of its fibres


def paint(kinds: dict, scanner: str, rng: Rng, size: Size) -> tuple[Map, Map, str]:
    """One picture of one of the kinds.

    Args:
        kinds: ``HISTO``, ``HISTO_B`` or ``GLANDS``.
        scanner: key of ``SCANNERS``: stain and camera.
        rng: source of randomness.
        size: (height, width) in pixels.

    Returns:
        image: float32 (height, width, 3), whole grey values 0..255, R, G, B.
        labels: int32 (height, width), one label for each nucleus, or for each gland.
        modality: the kind; of glands ``"GRADE/PATTERN"``, the grade benign or malignant.
    """
    kind, style = draw(rng, kinds, TISSUE)
    style["um"] *= SCANNERS[scanner]["zoom"]
    section = _section(rng, size, style)
    nuclei = _nuclei(rng, section, style)
    eosin, blue = _ground(rng, section, nuclei, style)
    eosin, blue = _dye(rng, nuclei, eosin, blue, style)
    thick = optics.illumination(rng, size, style["thickness"])
    image = optics.scan(rng, thick * blue, thick * eosin, SCANNERS[scanner])
    return image, section.glands if style["of glands"] else nuclei, kind


# ------------------------------------------------------------------------------ architecture


def _section(rng: Rng, size: Size, style: Style) -> Section:
    um, base = style["um"], rng.uniform(0, np.pi)
    hills = optics.field(rng, size, style["gap_scale"] * um, 3)
    gap = expit(12 * (hills + ndtri(style["gap"])))
    glands, apical = np.zeros(size, np.int32), np.zeros(size, np.float32)
    if style["gland"]:
        glands = _glands(rng, size, style)
        inner = shapes.depth(glands)
        lumen = _lumens(rng, glands, inner, style)
        free = shapes.around(lumen)
        down, right = np.gradient(optics.blur(np.where(lumen, inner + 4 * um, inner), 2.5 * um))
        inwards = np.arctan2(down, right)
        # Epithelial nuclei stand in rows on the basement membrane.
        long = style["nucleus"] * style["elongation"] * um
        top = 1.5 * um + long * (1 + 0.75 * (style["rows"] - 1))
        rows = expit((top - inner) / (0.8 * um)) * (inner > 1.5 * um + 0.25 * long)
        rows = rows * (free > 0.5 * long) * (glands > 0)
        apical = np.float32(1) * ((inner > top + 2.5 * um) & (free > 2 * um))
        epithelium = (glands > 0).astype(np.float32)
        gap = np.where(glands > 0, lumen, gap).astype(np.float32)
    else:
        regions = optics.field(rng, size, 22 * um, 3)
        epithelium = expit(-8 * (regions + ndtri(style["stroma"])))
        rows = epithelium * (1 - gap)
        inwards = base + 0.9 * optics.field(rng, size, 10 * um)
    # Bundles of fibres bend, and give way to glands.
    aside = 22 * um * optics.blur((glands > 0).astype(np.float32), 14 * um)
    dx = 3 * um * optics.field(rng, size, 14 * um) - np.float32(np.sin(base)) * aside
    dy = 3 * um * optics.field(rng, size, 14 * um) + np.float32(np.cos(base)) * aside
    width = style["fibre"] * um
    straight = optics.streaks(rng, size, width, 14 * width, base)
    straight += 0.7 * optics.streaks(rng, size, 2.7 * width, 28 * width, base)
    fibres = optics.displace(straight / np.float32(1.2), dx, dy)
    # With the Jacobian J of p + d(p), a direction t of the bent picture comes from the straight
    # direction J t, hence t ~ adj(J) (cos, sin).
    (xy, xx), (yy, yx) = (np.gradient(optics.blur(d, 1.5 * um)) for d in (dx, dy))
    c, s = np.cos(base), np.sin(base)
    along = np.arctan2(-yx * c + (1 + xx) * s, (1 + yy) * c - xy * s)
    return Section(glands, epithelium, gap, rows, apical, inwards, fibres, along)


def _glands(rng: Rng, size: Size, style: Style) -> Map:
    """Finished labels of glands with a septum of stroma between them."""
    across = style["gland"] * style["um"]
    centres = shapes.sprinkle(rng, size, style["gland_spacing"] * across, margin=0.6 * across)
    n = len(centres)
    widths = across * np.exp(style["gland_spread"] * rng.standard_normal(n))
    stretch = 1 + (style["tube"] - 1) * rng.uniform(0.6, 1.4, n)
    angles = rng.uniform(0, np.pi) + 0.4 * rng.standard_normal(n)
    drawn = shapes.outlines(rng, widths, stretch, angles, style["gland_lobes"], bend=0.12)
    labels = shapes.scatter(size, centres, drawn, 0.45)
    labels[shapes.depth(labels) <= style["septum"] * style["um"] / 2] = 0
    return shapes.finalise(labels, MIN_GLAND)


def _lumens(rng: Rng, glands: Map, inner: Map, style: Style) -> Map:
    """Where glands are hollow: along their middle, and in round holes of cribriform ones."""
    n, um = int(glands.max()), style["um"]
    thick = np.append(0, ndimage.maximum(inner, glands, np.arange(1, n + 1)) if n else [])
    share = np.clip(style["lumen"] * np.exp(0.3 * rng.standard_normal(n + 1)), 0.05, 0.75)
    edge = np.maximum(thick * (1 - share), style["height"] * um)
    edge[rng.random(n + 1) < style["closed"]] = 1e4
    lumen = inner + style["ragged"] * um * optics.field(rng, glands.shape, 9 * um, 2) > edge[glands]
    if style["holes"]:
        points = shapes.sprinkle(rng, glands.shape, 30 * um, style["holes"] * (inner > 12 * um))
        widths = 15 * um * np.exp(0.4 * rng.standard_normal(len(points)))
        lumen |= shapes.scatter(glands.shape, points, shapes.outlines(rng, widths), 0.5) > 0
        lumen &= inner > 8 * um
    return lumen & (glands > 0)


def _nuclei(rng: Rng, section: Section, style: Style) -> Map:
    """Finished labels of lymphocytes, epithelial and spindle nuclei, each where it belongs."""
    size, across = section.gap.shape, style["nucleus"] * style["um"]
    stroma = (1 - section.epithelium) * (1 - section.gap)
    crowd = optics.field(rng, size, 30 * style["um"]) > -ndtri(style["lymphocytes"])
    # Lymphocytes stay out of glands, and infiltrate tissue without.
    free = stroma if style["gland"] else 1 - section.gap
    centres, drawn = [], []
    for density, spacing, scale, stretch, direction, spread in (
        (0.9 * crowd * free, 0.74, 0.68, 1.1, section.along, 3.0),
        (0.9 * section.rows, style["spacing"], 1.0, style["elongation"], section.inwards, 0.3),
        (style["spindles"] * stroma, 1.6, 0.8, 2.4, section.along, 0.2),
    ):
        points = shapes.sprinkle(rng, size, spacing * across, density)
        n = len(points)
        width = scale * across * np.exp(style["pleomorphism"] * rng.standard_normal(n))
        long = np.maximum(stretch * rng.uniform(0.8, 1.25, n), 1)
        turn = shapes.at(direction, points) + spread * rng.standard_normal(n)
        centres.append(points)
        drawn.append(shapes.outlines(rng, width * np.sqrt(long), long, turn, 0.08))
    labels = shapes.scatter(size, np.concatenate(centres), np.concatenate(drawn), style["overlap"])
    labels[(section.gap > 0.5) & (section.glands > 0)] = 0
    return shapes.finalise(labels, MIN_NUCLEUS if style["um"] > 2 else 6)


# ------------------------------------------------------------------------------ stain


def _ground(rng: Rng, section: Section, nuclei: Map, style: Style) -> tuple[Map, Map]:
    """Eosin and haematoxylin of everything but the nuclei."""
    size, um = nuclei.shape, style["um"]
    grain = optics.field(rng, size, max(0.6 * um, 2.0))
    cloud = optics.field(rng, size, max(3 * um, 8.0), 3)
    cytoplasm = style["eosin"] * (0.8 + 0.2 * cloud + 0.12 * grain) * (1 - style["clear"])
    # Foam: where a fine field is high, the cytoplasm is empty.
    cytoplasm *= 1 - style["foam"] * expit(5 * (optics.field(rng, size, 1.5 * um) - 0.8))
    purple = style["basophilia"] * np.maximum(1 + 0.35 * cloud + 0.3 * grain, 0)
    purple *= 1 - 0.8 * style["clear"]
    if style["membranes"]:
        line = np.exp(-((shapes.depth(expand_labels(nuclei, 30 * um)) - 1) ** 2) / np.float32(3))
        cytoplasm += style["membranes"] * style["eosin"] * line
    if style["goblet"]:
        # Vacuoles of goblet cells, pale with a thin wall, between the nuclei and the lumen.
        points = shapes.sprinkle(rng, size, 8 * um, style["goblet"] * section.apical)
        widths = 10.5 * um * np.exp(0.2 * rng.standard_normal(len(points)))
        drawn = shapes.outlines(rng, widths, 1.3, shapes.at(section.inwards, points))
        drawn = shapes.scatter(size, points, drawn, 0.35) * (section.apical > 0)
        wall = np.exp(-((shapes.depth(drawn) - 1) ** 2) / np.float32(1.2 * um**2))
        pale = 1 - 0.45 * style["goblet"] * section.apical
        cytoplasm = np.where(drawn > 0, 0.1 + 0.45 * wall, cytoplasm * pale)
        purple = np.where(drawn > 0, 0.07 + 0.2 * wall, purple * pale)
    collagen = style["collagen"] * np.maximum(1 + 0.24 * section.fibres + 0.1 * grain, 0.15)
    collagen *= 1 - 0.4 * expit(4 * (-section.fibres - 1.9))  # clefts between the bundles
    cells, full = section.epithelium, 1 - section.gap
    eosin = (1 - cells) * collagen + cells * np.maximum(cytoplasm, 0.02)
    blue = (1 - cells) * 0.3 * style["basophilia"] + cells * purple
    return np.maximum(eosin * full, 0) + 0.015, blue * full


def _dye(rng: Rng, nuclei: Map, eosin: Map, blue: Map, style: Style) -> tuple[Map, Map]:
    """Put the nuclei on the ground: dark solid ones, pale ones with envelope and nucleoli."""
    um, inner, inside = style["um"], shapes.depth(nuclei), nuclei > 0
    level = style["chromatin"] * levels(rng, nuclei, 0.16)
    pale = np.clip(style["vesicular"] + 0.2 * rng.standard_normal(nuclei.max() + 1), 0, 0.9)
    weak = pale.astype(np.float32)[nuclei]
    clumps = optics.field(rng, nuclei.shape, max(0.9 * um, 2.0))
    envelope = np.exp(-((inner - 1.5) ** 2) / np.float32(2.4))
    body = (1 - 0.6 * weak) * np.clip(0.85 + 0.22 * clumps, 0.3, 1.5)
    body += weak * (0.45 * envelope + 0.9 * expit(6 * (clumps - 1.9)) * (inner > 4))
    # The section cuts the rounded side of a nucleus: a fast but not abrupt rise.
    soft = optics.blur(inside.astype(np.float32), min(0.18 * um, 0.7) + 0.3) * inside
    return eosin * (1 - 0.3 * soft), blue * (1 - soft) + level * body * soft
