"""``synthetic-cyto``: fluorescent cells, green cytoplasm and red nuclei, labelled cell by cell.

Each picture follows one of a few *archetypes* (as the experiments that a collection is made of) and
draws its own values from the archetype's ranges: pictures of one archetype repeat each other, those
of different archetypes do not. That is the redundancy that a selection method can find.
"""

from dataclasses import dataclass

import numpy as np

from helpers.data.synthetic import optics, shapes
from helpers.data.synthetic.shapes import Form, Measures

# Ranges (low, high) by archetype. Lengths: diameter in pixels, psf in pixels; spacing, haze_width
# and rim in cell diameters. Weights are relative to the intensity of a mean cell.
_DEFAULTS = {
    "diameter": (28, 40),
    "spread": (0.12, 0.3),  # relative standard deviation of the size
    "spacing": (0.8, 1.1),
    "elongation": (1.0, 1.3),
    "lobes": (0.05, 0.15),
    "protrusions": (0, 0),
    "reach": (0.5, 1.0),
    "bend": (0.0, 0.1),
    "clustering": (0.0, 0.6),
    "cover": (0.5, 1.0),  # share of the picture where cells may lie, if clustered
    "overlap": (0.1, 0.3),
    "body": (0.5, 1.0),
    "rim": (0.0, 0.2),
    "rim_width": (0.03, 0.06),
    "patchy": (0.2, 0.6),  # unevenness of the rim
    "glow": (0.0, 0.6),  # brighter around the nucleus
    "texture": (0.1, 0.3),
    "fibre": (0.0, 0.0),
    "puncta": (0.0, 0.2),
    "nucleus": (0.4, 0.55),  # relative to the cell's width
    "nucleus_level": (0.8, 2.2),  # red of a nucleus, relative to the green of a cell
    "hole": (0.2, 0.6),  # how much darker the green is over the nucleus
    "variation": (0.15, 0.45),  # of intensity between cells, log scale
    "haze": (0.05, 0.3),
    "floor": (0.01, 0.08),
    "psf": (0.6, 1.4),
    "light": (0.0, 0.4),
    "exposure": (35, 110),
    "photons": (0.6, 4.0),
}
ARCHETYPES: dict[str, tuple[float, str, dict[str, tuple[float, float]]]] = {
    # name: (share of pictures, layout, ranges that differ from the defaults)
    "fibroblasts": (
        0.22,
        "scatter",
        {
            "diameter": (26, 36),
            "spread": (0.2, 0.45),
            "spacing": (1.15, 2.2),
            "elongation": (1.1, 2.4),
            "lobes": (0.12, 0.25),
            "protrusions": (1, 6),
            "reach": (0.7, 1.9),
            "bend": (0.0, 0.35),
            "rim": (0.0, 0.05),
            "glow": (0.8, 1.6),
            "texture": (0.05, 0.2),
            "psf": (0.6, 1.1),
            "nucleus": (0.5, 0.65),
            "hole": (0.0, 0.3),
            "haze": (0.02, 0.12),
            "exposure": (30, 70),
        },
    ),
    "colony": (
        0.22,
        "grow",
        {
            "diameter": (28, 38),
            "spacing": (0.72, 0.95),
            "clustering": (0.2, 1.0),
            "cover": (0.35, 0.95),
            "body": (0.3, 0.5),
            "rim": (0.5, 1.0),
            "texture": (0.2, 0.45),
            "puncta": (0.0, 0.5),
            "nucleus": (0.45, 0.6),
            "hole": (0.2, 0.5),
            "haze": (0.15, 0.45),
            "psf": (0.6, 1.8),
            "exposure": (45, 90),
        },
    ),
    "spread": (
        0.16,
        "scatter",
        {
            "diameter": (46, 62),
            "spread": (0.15, 0.35),
            "spacing": (0.8, 1.15),
            "elongation": (1.1, 2.0),
            "lobes": (0.15, 0.32),
            "protrusions": (0, 3),
            "reach": (0.4, 0.9),
            "overlap": (0.3, 0.45),
            "body": (0.35, 0.6),
            "rim": (0.4, 0.9),
            "rim_width": (0.02, 0.05),
            "texture": (0.15, 0.35),
            "fibre": (0.15, 0.45),
            "puncta": (0.2, 0.9),
            "nucleus": (0.38, 0.5),
            "haze": (0.1, 0.4),
            "psf": (0.6, 2.4),
            "exposure": (60, 120),
        },
    ),
    "tissue": (
        0.12,
        "scatter",
        {
            "diameter": (14, 20),
            "spread": (0.15, 0.3),
            "spacing": (1.15, 1.9),
            "elongation": (1.1, 1.8),
            "lobes": (0.05, 0.15),
            "body": (0.3, 0.6),
            "rim": (0.7, 1.2),
            "rim_width": (0.08, 0.12),
            "nucleus": (0.5, 0.65),
            "hole": (0.5, 0.9),
            "variation": (0.3, 0.6),
            "haze": (0.1, 0.3),
            "floor": (0.06, 0.2),
            "psf": (0.6, 1.2),
            "exposure": (35, 70),
        },
    ),
    "epithelium": (
        0.12,
        "sheet",
        {
            "diameter": (26, 44),
            "spacing": (0.8, 0.95),
            "elongation": (1.0, 1.8),
            "clustering": (1.0, 1.0),
            "cover": (0.45, 0.9),
            "body": (0.12, 0.4),
            "lobes": (0.0, 0.1),
            "rim": (0.8, 1.6),
            "rim_width": (0.03, 0.05),
            "patchy": (0.2, 0.4),
            "texture": (0.15, 0.4),
            "nucleus": (0, 0),
            "floor": (0.05, 0.2),
            "haze": (0.2, 0.6),
            "light": (0.2, 0.7),
            "exposure": (25, 70),
            "photons": (0.5, 2.0),
        },
    ),
    "spindles": (
        0.08,
        "scatter",
        {
            "diameter": (20, 28),
            "spread": (0.1, 0.3),
            "spacing": (0.75, 1.4),
            "elongation": (2.8, 5.5),
            "lobes": (0.05, 0.15),
            "bend": (0.0, 0.3),
            "overlap": (0.15, 0.35),
            "fibre": (0.1, 0.35),
            "nucleus": (0.5, 0.7),
            "exposure": (40, 110),
        },
    ),
    "packed": (
        0.08,
        "grow",
        {
            "diameter": (22, 48),
            "spacing": (0.75, 0.95),
            "spread": (0.1, 0.4),
            "lobes": (0.02, 0.15),
            "body": (0.8, 1.2),
            "nucleus": (0, 0),
            "texture": (0.05, 0.2),
            "rim": (0.0, 0.1),
            "floor": (0.05, 0.3),
            "haze": (0.1, 0.3),
            "exposure": (90, 190),
            "photons": (2.0, 6.0),
        },
    ),
}


@dataclass(frozen=True)
class Cells:
    """What the painter needs to know of the cells of one picture; maps are (height, width)."""

    labels: np.ndarray
    inner: np.ndarray
    measures: Measures
    nuclei: np.ndarray


def paint(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, str]:
    """One picture of fluorescent cells.

    Args:
        rng: source of randomness.
        size: (height, width) in pixels.

    Returns:
        image: float32 (height, width, 3), whole grey values 0..255; red nuclei (empty in some
            archetypes), green cytoplasm, blue 0.
        labels: int32 (height, width), one label for each whole cell.
        modality: ``"fluorescence/ARCHETYPE"``.
    """
    names = list(ARCHETYPES)
    share = np.array([ARCHETYPES[name][0] for name in names])
    name = names[rng.choice(len(names), p=share / share.sum())]
    _, layout, ranges = ARCHETYPES[name]
    style = {k: rng.uniform(*v) for k, v in {**_DEFAULTS, **ranges}.items()}
    cells = _cells(rng, size, layout, style)
    green, red = _green(rng, cells, style), _red(rng, cells, style)
    return _camera(rng, green, red, style), cells.labels, f"fluorescence/{name}"


def _cells(
    rng: np.random.Generator, size: tuple[int, int], layout: str, style: dict[str, float]
) -> Cells:
    diameter = style["diameter"]
    spacing = diameter * style["spacing"]
    density = _density(rng, size, style)
    centres = shapes.sprinkle(rng, size, spacing, density, margin=0.6 * diameter)
    sizes = diameter * np.exp(style["spread"] * rng.standard_normal(len(centres)))
    form = _form(style)
    if layout == "scatter":
        forms = [_form(style, rng) for _ in centres]
        lean = rng.uniform(0, np.pi)
        angles = lean + rng.normal(0, 0.3 if form.elongation > 2.6 else 3.0, len(centres))
        drawn = [shapes.outline(rng, d, f, a) for d, f, a in zip(sizes, forms, angles, strict=True)]
        labels = shapes.scatter(size, centres, drawn, style["overlap"])
    else:
        radii = np.full(len(centres), np.inf) if layout == "sheet" else sizes / 2
        ruffle = 0.04 + 0.4 * style["lobes"]
        labels = shapes.grow(rng, size, centres, radii, form, ruffle)
        if layout == "sheet" and density is not None:
            labels[density == 0] = 0
    labels = shapes.finalise(labels)
    inner = shapes.depth(labels)
    measures = shapes.measure(labels, inner)
    cores = np.zeros_like(labels)
    if style["nucleus"] > 0:
        cores = shapes.nuclei(rng, labels, inner, measures, style["nucleus"], diameter)
    return Cells(labels, inner, measures, cores)


def _form(style: dict[str, float], rng: np.random.Generator | None = None) -> Form:
    """The style's shape; with ``rng``, one cell's deviation from it."""
    wobble = rng.uniform(0.6, 1.4, 4) if rng is not None else np.ones(4)
    return Form(
        elongation=max(1.0, 1 + (style["elongation"] - 1) * wobble[0]),
        lobes=style["lobes"] * wobble[1],
        protrusions=round(style["protrusions"] * wobble[2]),
        reach=style["reach"],
        bend=style["bend"] * (wobble[3] - 1) * 2.5,
    )


def _density(
    rng: np.random.Generator, size: tuple[int, int], style: dict[str, float]
) -> np.ndarray | None:
    """Where cells may lie (0 or 1): everywhere, or in patches some cells wide."""
    if rng.random() > style["clustering"]:
        return None
    landscape = optics.field(rng, size, rng.uniform(1.5, 3.5) * style["diameter"])
    # Threshold of a standard normal field that leaves about `cover` of the area.
    patches = landscape > -2.2 * (style["cover"] - 0.5)
    return patches.astype(np.float32) if patches.any() else None


def _green(rng: np.random.Generator, cells: Cells, style: dict[str, float]) -> np.ndarray:
    """Cytoplasm before the optics; a mean cell is about 1, the background 0."""
    labels, inner, size = cells.labels, cells.inner, cells.labels.shape
    diameter = style["diameter"]
    mass = style["body"] * (1 - np.exp(-inner / np.float32(0.12 * diameter)))
    if style["glow"] > 0:
        thickness = np.concatenate([[1], cells.measures.thickness]).astype(np.float32)[labels]
        mass *= 1 + style["glow"] * ((inner / thickness) ** 1.5 - 0.35)
    mass *= np.maximum(1 + style["texture"] * optics.fractal(rng, size, 0.2 * diameter), 0.1)
    if style["fibre"] > 0.05:
        mass *= np.maximum(1 + style["fibre"] * _fibre(rng, cells), 0.1)
    if style["puncta"] > 0.05:
        spots = np.maximum(optics.field(rng, size, 2.0) - 1.8, 0)
        mass += style["puncta"] * spots * (labels > 0)
    if style["nucleus"] > 0:
        mass *= 1 - style["hole"] * optics.blur((cells.nuclei > 0).astype(np.float32), 1.5)
    rim = np.exp(-(inner - 1) / np.float32(style["rim_width"] * diameter)) * (labels > 0)
    patches = 0.8 + style["patchy"] * optics.field(rng, size, 0.35 * diameter)
    mass += style["rim"] * rim * np.maximum(patches, 0.1)
    return _unit_mean(mass * _levels(rng, labels, style["variation"]), labels > 0)


def _unit_mean(signal: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Scale so that the mean inside is 1, which makes the exposure the mean grey value of cells."""
    total = float(signal[inside].sum())
    return signal * np.float32(np.count_nonzero(inside) / total) if total > 0 else signal


def _levels(rng: np.random.Generator, labels: np.ndarray, variation: float) -> np.ndarray:
    """Map of one log-normal brightness for each instance, 0 in the background."""
    level = np.exp(variation * rng.standard_normal(labels.max() + 1) - variation**2 / 2)
    level = np.maximum(level, 0.35)
    level[0] = 0
    return level.astype(np.float32)[labels]


def _fibre(rng: np.random.Generator, cells: Cells) -> np.ndarray:
    """Filaments along the long axis of each cell: the nearest of four directions."""
    count = 4
    bins = np.rint(cells.measures.angle / np.pi * count).astype(int) % count
    which = np.concatenate([[0], bins])[cells.labels]
    out = np.zeros(cells.labels.shape, np.float32)
    for k in np.unique(bins):
        streaks = optics.fibres(rng, out.shape, 2.0, 18.0, np.pi * k / count)
        out = np.where(which == k, streaks, out)
    return out


def _red(rng: np.random.Generator, cells: Cells, style: dict[str, float]) -> np.ndarray | None:
    """Nuclei before the optics, with chromatin; ``None`` if the channel was not recorded."""
    if style["nucleus"] == 0:
        return None
    inside = cells.nuclei > 0
    chromatin = np.maximum(1 + 0.2 * optics.fractal(rng, inside.shape, 4.0, 2), 0.2)
    soft = 1 - np.exp(-shapes.depth(cells.nuclei) / np.float32(2.0))
    mass = _unit_mean(_levels(rng, cells.nuclei, 0.25) * soft * chromatin, inside)
    bleed = 0.05 * (cells.labels > 0)
    return np.where(inside, style["nucleus_level"] * mass, bleed).astype(np.float32)


def _camera(
    rng: np.random.Generator,
    green: np.ndarray,
    red: np.ndarray | None,
    style: dict[str, float],
) -> np.ndarray:
    """Point spread, light from out of focus, uneven lamp, exposure and noise."""
    size = green.shape
    light = optics.illumination(rng, size, style["light"])
    floor = style["floor"] * (1 + 0.3 * optics.field(rng, size, 3 * style["diameter"]))
    image = np.zeros((*size, 3), np.float32)
    for channel, signal in ((1, green), (0, red)):
        if signal is None:
            continue
        sharp = optics.blur(signal, style["psf"])
        # Cells above and below the focal plane: wide light, here from the same cells and others.
        haze = optics.blur(signal, 0.4 * style["diameter"])
        grey = (sharp + style["haze"] * haze + floor) * light * style["exposure"]
        image[..., channel] = optics.shot_noise(rng, grey, style["photons"], 0.8)
    return np.clip(np.rint(image), 0, 255)
