"""``synthetic-histo``: tissue stained with haematoxylin and eosin, labelled nucleus by nucleus.

A picture is built as a section is: an architecture (epithelium, stroma, white gaps), nuclei placed
in it, concentrations of the two stains, light absorbed by them, a scanner. Magnification is about
that of a 40x objective, 0.25 micrometres per pixel.

``synthetic-histo-b`` is tissue of another mix from another laboratory (``LABORATORY_B``): the same
nuclei, stained and scanned in another way.
"""

from dataclasses import dataclass, field

import numpy as np

from helpers.data.synthetic import optics, shapes
from helpers.data.synthetic.shapes import Form


@dataclass(frozen=True)
class Scanner:
    """How a laboratory stains and scans; pictures vary around it.

    Attributes:
        stains: optical density of one unit of haematoxylin and of eosin in R, G, B; each picture
            turns them a little.
        strength: median amount of each stain.
        white: light without tissue in R, G, B, grey values; a picture has up to 14 less of each.
        blur: range of the standard deviation of the point spread, pixels.
        noise: range of the standard deviation of the noise, grey values.
        quality: range of the JPEG quality, the upper end exclusive.
    """

    stains: tuple[tuple[float, float, float], tuple[float, float, float]]
    strength: tuple[float, float] = (1.0, 1.0)
    white: tuple[float, float, float] = (243.0, 241.0, 244.0)
    blur: tuple[float, float] = (0.6, 1.1)
    noise: tuple[float, float] = (1.0, 3.0)
    quality: tuple[int, int] = (70, 95)


@dataclass(frozen=True)
class Laboratory:
    """Where pictures come from.

    Attributes:
        scanner: stain and camera.
        shares: share of the pictures of each of ``ARCHITECTURES``; those given there if empty.
    """

    scanner: Scanner
    shares: dict[str, float] = field(default_factory=dict)


# Usual densities for scanned sections.
LABORATORY_A = Laboratory(Scanner(stains=((0.56, 0.80, 0.38), (0.19, 0.82, 0.50))))
# A faded section: pale blue haematoxylin and orange eosin under a yellowish lamp, out of focus and
# compressed harder; more brain and loose infiltrates, fewer solid nests.
LABORATORY_B = Laboratory(
    Scanner(
        stains=((0.76, 0.72, 0.30), (0.08, 0.60, 0.74)),
        strength=(0.55, 0.6),
        white=(252.0, 243.0, 220.0),
        blur=(1.2, 1.9),
        noise=(2.0, 5.0),
        quality=(35, 60),
    ),
    {
        "solid": 0.15,
        "glandular": 0.1,
        "stromal": 0.2,
        "clear-cell": 0.1,
        "dispersed": 0.2,
        "neuropil": 0.25,
    },
)

# Ranges (low, high) by architecture; diameters in pixels, spacing in nucleus diameters.
_DEFAULTS = {
    "diameter": (22, 31),
    "spacing": (1.15, 1.6),
    "pleomorphism": (0.1, 0.2),  # relative standard deviation of the nuclear size
    "elongation": (1.1, 1.5),
    "stroma": (0.2, 0.5),  # share of the area
    "gap": (0.0, 0.12),  # share of white lumen and clefts
    "gap_scale": (30, 60),
    "lining": (0.0, 0.0),  # 1: epithelial nuclei line the gaps
    "clear": (0.0, 0.15),  # how empty the cytoplasm looks
    "foam": (0.0, 0.3),  # small vacuoles
    "membranes": (0.0, 0.3),
    "vesicular": (0.2, 0.8),  # pale nuclei with a dark envelope, against dark solid ones
    "lymphocytes": (0.0, 0.25),
    "eosin": (0.35, 0.65),
    "basophilia": (0.05, 0.3),  # haematoxylin in the cytoplasm
    "nucleus": (1.35, 2.2),  # haematoxylin of a nucleus
}
ARCHITECTURES: dict[str, tuple[float, dict[str, tuple[float, float]]]] = {
    # name: (share of pictures, ranges that differ from the defaults)
    "solid": (0.26, {"stroma": (0.05, 0.35), "spacing": (1.1, 1.35), "gap": (0.0, 0.05)}),
    "glandular": (
        0.22,
        {
            "gap": (0.1, 0.22),
            "gap_scale": (50, 80),
            "lining": (1.0, 1.0),
            "stroma": (0.2, 0.45),
            "elongation": (1.2, 1.7),
        },
    ),
    "stromal": (
        0.18,
        {"stroma": (0.65, 0.95), "diameter": (20, 28), "gap": (0.0, 0.06), "eosin": (0.5, 0.8)},
    ),
    "clear-cell": (
        0.14,
        {
            "clear": (0.75, 0.95),
            "membranes": (0.8, 1.3),
            "diameter": (19, 24),
            "spacing": (1.7, 2.3),
            "stroma": (0.1, 0.3),
            "foam": (0.1, 0.4),
            "vesicular": (0.0, 0.4),
        },
    ),
    "dispersed": (
        0.12,
        {
            "gap": (0.3, 0.5),
            "gap_scale": (22, 40),
            "stroma": (0.05, 0.25),
            "vesicular": (0.0, 0.3),
            "nucleus": (1.6, 2.4),
            "basophilia": (0.15, 0.4),
        },
    ),
    "neuropil": (
        0.08,
        {
            "stroma": (0.0, 0.05),
            "gap": (0.0, 0.02),
            "foam": (0.8, 1.3),
            "spacing": (1.7, 2.4),
            "diameter": (19, 26),
            "vesicular": (0.0, 0.3),
            "lymphocytes": (0.0, 0.1),
            "nucleus": (1.6, 2.4),
        },
    ),
}


@dataclass(frozen=True)
class Tissue:
    """The architecture of one picture; maps are float32 (height, width).

    Attributes:
        stroma: 1 in connective tissue, 0 in epithelium, soft between.
        gap: 1 in lumens and clefts, where there is only glass, soft at the edge.
        margin: signed distance-like height above the edge of the gaps, in standard deviations.
        angle: direction of the fibres in radians.
    """

    stroma: np.ndarray
    gap: np.ndarray
    margin: np.ndarray
    angle: np.ndarray


def paint(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, str]:
    """One picture of stained tissue.

    Args:
        rng: source of randomness.
        size: (height, width) in pixels.

    Returns:
        image: float32 (height, width, 3), whole grey values 0..255, R, G, B.
        labels: int32 (height, width), one label for each nucleus.
        modality: ``"histology/ARCHITECTURE"``.
    """
    return _paint(rng, size, LABORATORY_A)


def paint_b(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, str]:
    """As :func:`paint`, from the other laboratory."""
    return _paint(rng, size, LABORATORY_B)


def _paint(
    rng: np.random.Generator, size: tuple[int, int], laboratory: Laboratory
) -> tuple[np.ndarray, np.ndarray, str]:
    shares = laboratory.shares or {name: share for name, (share, _) in ARCHITECTURES.items()}
    name = draw_name(rng, shares)
    ranges = {**_DEFAULTS, **ARCHITECTURES[name][1], "blur": laboratory.scanner.blur}
    style = {key: rng.uniform(*limits) for key, limits in ranges.items()}
    tissue, texture = _tissue(rng, size, style)
    labels = _place(rng, size, tissue, style)
    eosin, blue = _ground(rng, tissue, texture, labels, style)
    eosin, blue = _stain_nuclei(rng, labels, eosin, blue, style)
    image = scan(rng, eosin, blue, laboratory.scanner, style["blur"])
    return image, labels, f"histology/{name}"


def draw_name(rng: np.random.Generator, shares: dict[str, float]) -> str:
    """One of the names, each with the probability that is proportional to its share."""
    names = list(shares)
    share = np.array([shares[name] for name in names])
    return names[rng.choice(len(names), p=share / share.sum())]


def quantile(share: float) -> float:
    """Height that a standard normal field exceeds on ``share`` of the area (logistic fit)."""
    share = min(max(share, 1e-4), 1 - 1e-4)
    return -float(np.log(share / (1 - share))) / 1.702


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Logistic function, float32, of the shape of ``x``."""
    return (1 / (1 + np.exp(-np.clip(x, -30, 30)))).astype(np.float32)


def _tissue(
    rng: np.random.Generator, size: tuple[int, int], style: dict[str, float]
) -> tuple[Tissue, np.ndarray]:
    """Architecture and the fibre texture (mean 0, standard deviation about 1)."""
    regions = optics.fractal(rng, size, 90.0, 3)
    stroma = sigmoid(8 * (regions - quantile(style["stroma"])))
    ragged = optics.field(rng, size, 5.0)
    hills = optics.field(rng, size, style["gap_scale"])
    hills += 0.15 * optics.field(rng, size, 14.0) + 0.06 * ragged
    margin = quantile(style["gap"]) - hills
    gap = sigmoid(-18 * margin)
    base = rng.uniform(0, np.pi)
    dx, dy = (12 * optics.field(rng, size, 55.0) for _ in range(2))
    dx += 2.5 * optics.field(rng, size, 12.0)
    straight = optics.fibres(rng, size, 3.0, 45.0, base)
    straight += 0.7 * optics.fibres(rng, size, 8.0, 90.0, base)
    return Tissue(stroma, gap, margin, direction(base, dx, dy)), optics.displace(straight, dx, dy)


def direction(base: float, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Where fibres of direction ``base`` point after they were looked up at a displaced place.

    With the Jacobian J of p + d(p), a direction t of the bent picture comes from the straight
    direction J t, hence t ~ adj(J) (cos, sin).
    """
    dx, dy = optics.blur(dx, 6.0), optics.blur(dy, 6.0)
    xy, xx = np.gradient(dx)
    yy, yx = np.gradient(dy)
    c, s = np.cos(base), np.sin(base)
    return np.arctan2(-yx * c + (1 + xx) * s, (1 + yy) * c - xy * s).astype(np.float32)


def _place(
    rng: np.random.Generator, size: tuple[int, int], tissue: Tissue, style: dict[str, float]
) -> np.ndarray:
    """Label map of nuclei: epithelial, stromal and lymphocytes, each where it belongs."""
    diameter = style["diameter"]
    solid = 1 - tissue.gap
    epithelium = (1 - tissue.stroma) * solid
    if style["lining"] > 0:
        # A row of nuclei some way behind the free surface, and looser rows further back.
        row = np.exp(-(((tissue.margin - 0.45) / 0.16) ** 2))
        epithelium = epithelium * np.maximum(row, 0.35 * (tissue.margin > 0.9))
    patches = optics.field(rng, size, 60.0) > quantile(0.5 * style["lymphocytes"])
    kinds = [
        # density, spacing, diameter, form, follows the fibres
        (0.8 * patches * solid, 0.75, 0.68, Form(1.1, 0.05), False),
        (epithelium, style["spacing"], 1.0, Form(style["elongation"], 0.1), False),
        (tissue.stroma * solid, 1.75, 0.85, Form(2.6, 0.1, bend=0.1), True),
    ]
    centres, outlines = [np.zeros((0, 2))], []
    lean = rng.uniform(0, np.pi)
    for density, spacing, scale, form, along in kinds:
        points = shapes.sprinkle(rng, size, spacing * diameter, density.astype(np.float32))
        centres.append(points)
        column = np.clip(points[:, 0].astype(int), 0, size[1] - 1)
        row = np.clip(points[:, 1].astype(int), 0, size[0] - 1)
        angles = tissue.angle[row, column] if along else np.full(len(points), lean)
        scatter = 0.2 if along else 0.9
        for angle in angles + scatter * rng.standard_normal(len(points)):
            width = scale * diameter * np.exp(style["pleomorphism"] * rng.standard_normal())
            stretch = max(1.0, form.elongation * rng.uniform(0.75, 1.3))
            own = Form(stretch, form.lobes, bend=form.bend * rng.uniform(-1, 1))
            outlines.append(shapes.outline(rng, width, own, angle))
    labels = shapes.scatter(size, np.concatenate(centres), outlines, overlap=0.12)
    return shapes.finalise(labels, min_area=24)


def _ground(
    rng: np.random.Generator,
    tissue: Tissue,
    texture: np.ndarray,
    labels: np.ndarray,
    style: dict[str, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Eosin and haematoxylin of everything but the nuclei."""
    size = labels.shape
    grain = optics.field(rng, size, 2.5)
    cloud = optics.fractal(rng, size, 12.0, 3)
    cytoplasm = style["eosin"] * (0.75 + 0.22 * cloud + 0.13 * grain)
    # Foam: where a fine field is high, the cytoplasm is empty.
    holes = sigmoid(5 * (optics.field(rng, size, 6.0) - 0.8))
    cytoplasm *= 1 - np.minimum(style["foam"], 1) * holes
    cytoplasm *= 1 - style["clear"]
    if style["membranes"] > 0.05:
        cytoplasm += style["membranes"] * style["eosin"] * _membranes(rng, labels, style)
    collagen = style["eosin"] * np.maximum(1.15 + 0.22 * texture + 0.1 * grain, 0.15)
    # Clefts between the fibre bundles.
    collagen *= 1 - 0.4 * sigmoid(4 * (-texture - 1.9))
    eosin = tissue.stroma * collagen + (1 - tissue.stroma) * np.maximum(cytoplasm, 0.02)
    blue = style["basophilia"] * (1 - 0.6 * tissue.stroma) * (1 - 0.8 * style["clear"])
    blue = blue * np.maximum(1 + 0.4 * cloud + 0.3 * grain, 0)
    rim = 0.5 * np.exp(-(((tissue.margin - 0.06) / 0.05) ** 2)) * style["eosin"]
    full = 1 - tissue.gap
    return np.maximum((eosin + rim) * full, 0) + 0.01, blue * full


def _membranes(rng: np.random.Generator, labels: np.ndarray, style: dict[str, float]) -> np.ndarray:
    """Thin cell borders, 0..1: contact lines of cells grown around random seeds."""
    spacing = 1.6 * style["diameter"]
    centres = shapes.sprinkle(rng, labels.shape, spacing, margin=2 * spacing)
    radii = np.full(len(centres), np.inf)
    cells = shapes.grow(rng, labels.shape, centres, radii, Form(1.3, 0.1), ruffle=0.2)
    line = np.exp(-((shapes.depth(cells) - 1) ** 2) / np.float32(2 * 1.2**2))
    return line * np.clip(0.8 + 0.4 * optics.field(rng, labels.shape, 15.0), 0.1, 1.5)


def _stain_nuclei(
    rng: np.random.Generator,
    labels: np.ndarray,
    eosin: np.ndarray,
    blue: np.ndarray,
    style: dict[str, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Put the nuclei on the ground: envelope, chromatin clumps, nucleoli."""
    n = labels.max() + 1
    inner = shapes.depth(labels)
    inside = labels > 0
    area = np.bincount(labels.ravel(), minlength=n)
    small = area < 0.45 * np.pi / 4 * style["diameter"] ** 2
    pale = np.clip(style["vesicular"] + 0.2 * rng.standard_normal(n), 0, 0.9)
    pale = np.where(small, 0.1 * pale, pale)
    level = style["nucleus"] * np.exp(0.16 * rng.standard_normal(n)) * np.where(small, 1.15, 1)
    envelope = np.exp(-((inner - 1.5) ** 2) / np.float32(2 * 1.1**2))
    clumps = optics.field(rng, labels.shape, 3.5)
    chromatin = 0.8 + 0.18 * optics.fractal(rng, labels.shape, 7.0, 2) + 0.17 * clumps
    nucleoli = 0.9 * sigmoid(6 * (clumps - 1.9)) * (inner > 4)
    weak = pale.astype(np.float32)[labels]
    body = (1 - 0.62 * weak) * np.maximum(chromatin, 0.2) + weak * (0.45 * envelope + nucleoli)
    body += weak * 0.22 * np.maximum(clumps, 0)
    # The section cuts the rounded side of a nucleus: a fast but not abrupt rise.
    soft = optics.blur(inside.astype(np.float32), 0.7) * inside
    stained = level.astype(np.float32)[labels] * body
    return eosin * (1 - 0.3 * soft), blue * (1 - soft) + stained * soft


def scan(
    rng: np.random.Generator, eosin: np.ndarray, blue: np.ndarray, scanner: Scanner, blur: float
) -> np.ndarray:
    """Light through the stained section, the scanner's blur and noise, and JPEG.

    Args:
        rng: source of randomness.
        eosin: concentration in units of the stain, >= 0, float32 (height, width).
        blue: the same of haematoxylin.
        scanner: stain and camera.
        blur: standard deviation of the point spread in pixels.

    Returns:
        float32 (height, width, 3), whole grey values 0..255, R, G, B.
    """
    stains = np.array(scanner.stains)
    stains = stains * np.exp(0.06 * rng.standard_normal(stains.shape))
    strength = scanner.strength * np.exp(0.22 * rng.standard_normal(2))
    white = np.array(scanner.white) - rng.uniform(0, 14, 3)
    maps = [blue * strength[0], eosin * strength[1]]
    image = optics.blur(optics.absorb(maps, stains, white), blur)
    image = optics.grain(rng, image, rng.uniform(*scanner.noise))
    return optics.jpeg(image, int(rng.integers(*scanner.quality)))
