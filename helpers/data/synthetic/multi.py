"""``synthetic-multi``: pictures of many modalities, as in a collection for generalist models.

Each picture is of one of ``MODALITIES``; all have three channels, equal ones where the camera was
grey. How cells stand out differs: brighter than the background, darker, by a dark rim, a bright
halo or a relief. ``Modality.contrast`` declares it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from helpers.data.synthetic import optics, shapes
from helpers.data.synthetic.shapes import Form

Contrast = Literal["bright", "dark", "dark rim", "halo", "relief"]
Drawn = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Modality:
    """One kind of picture.

    Attributes:
        paint: takes a Generator and (height, width); returns image (float32, (height, width, 3),
            0..255) and finished labels (int32).
        contrast: how cells stand out from the background.
        share: of the pictures of the domain.
    """

    paint: Callable[[np.random.Generator, tuple[int, int]], Drawn]
    contrast: Contrast
    share: float


def paint(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, str]:
    """One picture of one of the ``MODALITIES``, drawn by their shares.

    Args:
        rng: source of randomness.
        size: (height, width) in pixels.

    Returns:
        image: float32 (height, width, 3), whole grey values 0..255.
        labels: int32 (height, width), one label for each cell, nucleus or bacterium.
        modality: ``"mixture/MODALITY"``.
    """
    names = list(MODALITIES)
    share = np.array([MODALITIES[name].share for name in names])
    name = names[rng.choice(len(names), p=share / share.sum())]
    image, labels = MODALITIES[name].paint(rng, size)
    image = np.clip(np.rint(image), 0, 255).astype(np.float32)
    return image, labels, f"mixture/{name}"


def _grey(image: np.ndarray) -> np.ndarray:
    return np.repeat(image[..., None], 3, axis=2)


def _patches(
    rng: np.random.Generator, size: tuple[int, int], scale: float, cover: float
) -> np.ndarray:
    """Density map 0/1 of colonies of width ``scale`` on about ``cover`` of the picture."""
    hills = optics.field(rng, size, scale)
    return (hills > np.quantile(hills, 1 - cover)).astype(np.float32)


def _blobs(
    rng: np.random.Generator,
    size: tuple[int, int],
    diameter: float,
    spacing: float,
    form: Form,
    density: np.ndarray | None = None,
    overlap: float = 0.15,
) -> np.ndarray:
    """Finished labels of similar outlines of random direction, ``spacing`` diameters apart."""
    centres = shapes.sprinkle(rng, size, spacing * diameter, density, margin=0.6 * diameter)
    outlines = []
    for _ in centres:
        own = Form(
            max(1.0, 1 + (form.elongation - 1) * rng.uniform(0.4, 1.6)),
            form.lobes,
            int(rng.integers(0, form.protrusions + 1)),
            form.reach,
            form.bend * rng.uniform(-1, 1),
        )
        outlines.append(shapes.outline(rng, diameter * np.exp(0.15 * rng.standard_normal()), own))
    return shapes.finalise(shapes.scatter(size, centres, outlines, overlap))


def _levels(rng: np.random.Generator, labels: np.ndarray, spread: float) -> np.ndarray:
    """Map of one log-normal factor for each instance; 0 in the background."""
    level = np.exp(spread * rng.standard_normal(labels.max() + 1)).astype(np.float32)
    level[0] = 0
    return level[labels]


def _dome(labels: np.ndarray, softness: float) -> np.ndarray:
    """Thickness of cells that rise over ``softness`` pixels from their edge to a plateau of 1."""
    return 1 - np.exp(-shapes.depth(labels) / np.float32(softness))


def _film(
    rng: np.random.Generator, image: np.ndarray, light: float, noise: float, sharpness: float
) -> np.ndarray:
    """Grey transmitted-light picture: blur, uneven lamp, noise."""
    image = optics.blur(image, sharpness) * optics.illumination(rng, image.shape, light)
    return _grey(optics.grain(rng, image, noise))


def phase_contrast(rng: np.random.Generator, size: tuple[int, int]) -> Drawn:
    """Adherent cells in phase contrast: grey textured bodies in bright halos.

    The phase plate removes slow variations of optical thickness: what remains is thickness minus
    its local mean, which darkens cells and brightens their surroundings.
    """
    diameter = rng.uniform(24, 44)
    form = Form(rng.uniform(1.2, 3.0), 0.2, int(rng.integers(0, 4)), 0.8, 0.15)
    density = _patches(rng, size, 3 * diameter, rng.uniform(0.4, 1.0))
    labels = _blobs(rng, size, diameter, rng.uniform(0.75, 1.4), form, density, 0.3)
    organelles = optics.fractal(rng, size, 6.0, 2)
    round_up = _levels(rng, labels, 0.3)
    thick = _dome(labels, 3.5) * round_up * np.maximum(1 + 0.3 * organelles, 0)
    halo_width = rng.uniform(3.5, 6.0)
    phase = thick - optics.blur(thick, halo_width)
    ring = optics.blur((labels > 0).astype(np.float32), 1.6) * (labels == 0)
    image = 128 - rng.uniform(45, 75) * phase + rng.uniform(35, 70) * ring
    image += 2.5 * optics.field(rng, size, 30.0)
    return _film(rng, image, rng.uniform(0, 0.25), rng.uniform(1.5, 4), 0.8), labels


def brightfield(rng: np.random.Generator, size: tuple[int, int]) -> Drawn:
    """Unstained cells a little out of focus: low contrast, dark rim, bright line inside it."""
    diameter = rng.uniform(20, 42)
    form = Form(rng.uniform(1.0, 1.5), 0.12)
    labels = _blobs(rng, size, diameter, rng.uniform(0.95, 1.8), form)
    inner = shapes.depth(labels)
    width = rng.uniform(1.2, 2.0)
    strength = _levels(rng, labels, 0.2)
    dark = np.exp(-(((inner - 1.2) / width) ** 2))
    bright = np.exp(-(((inner - 1.2 - 2.4 * width) / width) ** 2))
    grains = optics.field(rng, size, 2.6) * _dome(labels, 4.0)
    contrast = rng.uniform(22, 55)
    image = contrast * strength * (0.6 * bright - dark + 0.22 * grains)
    outside = optics.blur((labels > 0).astype(np.float32), 2.5) * (labels == 0)
    image = rng.uniform(120, 190) + image + 0.3 * contrast * outside
    image += 2.0 * optics.field(rng, size, 20.0)
    return _film(rng, image, rng.uniform(0.05, 0.35), rng.uniform(1.5, 4), 0.7), labels


def interference_contrast(rng: np.random.Generator, size: tuple[int, int]) -> Drawn:
    """Differential interference contrast: the slope of the optical thickness, as a relief."""
    diameter = rng.uniform(26, 48)
    form = Form(rng.uniform(1.0, 1.6), 0.15)
    labels = _blobs(rng, size, diameter, rng.uniform(0.85, 1.4), form, overlap=0.25)
    thick = _dome(labels, 0.16 * diameter) * _levels(rng, labels, 0.15)
    vesicles = np.maximum(optics.field(rng, size, 4.0) - 0.8, 0) * (shapes.depth(labels) > 3)
    nucleus = 0.35 * _dome(np.where(shapes.depth(labels) > 0.24 * diameter, labels, 0), 2.0)
    height = optics.blur(thick + 0.12 * vesicles + nucleus, 1.2)
    slope_y, slope_x = np.gradient(height)
    shear = rng.uniform(0, 2 * np.pi)
    relief = np.cos(shear) * slope_x + np.sin(shear) * slope_y
    image = rng.uniform(105, 145) + rng.uniform(260, 420) * relief
    return _film(rng, image, rng.uniform(0.05, 0.3), rng.uniform(1.5, 4), 0.6), labels


def bacteria(rng: np.random.Generator, size: tuple[int, int]) -> Drawn:
    """Rods in phase contrast: dark on grey with a thin halo; single, in chains or in clusters."""
    width = rng.uniform(5, 8)
    length = width * rng.uniform(2.2, 4.5)
    bend = rng.choice([0.0, 0.15, 1.0]) * rng.uniform(0.5, 1.3)
    density = _patches(rng, size, rng.uniform(40, 80), rng.uniform(0.35, 1.0))
    crowd = rng.uniform(0.45, 1.6)
    starts = shapes.sprinkle(rng, size, crowd * length, density, margin=0.5 * length)
    centres, rods = _chains(rng, starts, length, width, bend)
    labels = shapes.finalise(shapes.scatter(size, centres, rods, overlap=0.08))
    absorbed = _dome(labels, 1.3) * _levels(rng, labels, 0.12)
    phase = absorbed - 0.75 * optics.blur(absorbed, 3.2)
    image = rng.uniform(135, 190) - rng.uniform(110, 170) * phase
    image += 4 * optics.field(rng, size, 5.0)
    return _film(rng, image, rng.uniform(0, 0.2), rng.uniform(2, 5), 0.9), labels


def _chains(
    rng: np.random.Generator, starts: np.ndarray, length: float, width: float, bend: float
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Rods that begin at ``starts``, some followed by their sisters end to end or side by side."""
    centres, rods = [], []
    lean = rng.uniform(0, np.pi)
    order = rng.choice([0.25, 3.0])
    longest = int(rng.choice([1, 2, 4]))
    for start in starts:
        place, angle = np.array(start), lean + order * rng.standard_normal()
        for _ in range(rng.integers(1, longest + 1)):
            own = length * rng.uniform(0.7, 1.25)
            centres.append(place)
            rods.append(shapes.rod(rng, own, width * rng.uniform(0.9, 1.1), bend, angle))
            side = np.pi / 2 if rng.random() < 0.25 else 0.0
            gap = 1.12 * width if side else own + 0.6 * width
            angle = angle + (0 if side else 0.35 * rng.standard_normal())
            place = place + gap * np.array([np.cos(angle + side), np.sin(angle + side)])
    return np.array(centres).reshape(-1, 2), rods


def dark_field_nuclei(rng: np.random.Generator, size: tuple[int, int]) -> Drawn:
    """Fluorescent nuclei on a dark background, from tiny and many to large and few."""
    diameter = rng.choice([14.0, 22.0, 36.0]) * rng.uniform(0.85, 1.2)
    density = _patches(rng, size, 4 * diameter, rng.uniform(0.4, 1.0))
    form = Form(rng.uniform(1.1, 1.6), rng.uniform(0.03, 0.12))
    labels = _blobs(rng, size, diameter, rng.uniform(0.95, 2.2), form, density)
    chromatin = np.maximum(1 + 0.3 * optics.fractal(rng, size, 0.25 * diameter, 2), 0.15)
    glow = _dome(labels, 0.08 * diameter) * chromatin * _levels(rng, labels, 0.35)
    image = optics.blur(glow, rng.uniform(0.6, 1.6)) + 0.12 * optics.blur(glow, 0.6 * diameter)
    image = (image + rng.uniform(0.02, 0.12)) * optics.illumination(rng, size, rng.uniform(0, 0.4))
    noisy = optics.shot_noise(rng, rng.uniform(35, 150) * image, rng.uniform(0.5, 4), 1.0)
    return _grey(noisy), labels


def yeast(rng: np.random.Generator, size: tuple[int, int]) -> Drawn:
    """Budding yeast in bright field: oval cells in clumps, sharp dark rim, vacuole, bright edge."""
    diameter = rng.uniform(18, 30)
    density = _patches(rng, size, 4 * diameter, rng.uniform(0.25, 0.7))
    mothers = shapes.sprinkle(rng, size, 1.02 * diameter, density, margin=0.6 * diameter)
    centres, outlines = [], []
    for mother in mothers:
        own = diameter * rng.uniform(0.85, 1.1)
        centres.append(mother)
        outlines.append(shapes.outline(rng, own, Form(rng.uniform(1.02, 1.35), 0.01)))
        if rng.random() < 0.35:
            bud, angle = own * rng.uniform(0.35, 0.7), rng.uniform(0, 2 * np.pi)
            reach = 0.5 * (own + bud) * 1.02
            centres.append(mother + reach * np.array([np.cos(angle), np.sin(angle)]))
            outlines.append(shapes.outline(rng, bud, Form(1.1, 0.01)))
    centres = np.array(centres).reshape(-1, 2)
    labels = shapes.finalise(shapes.scatter(size, centres, outlines, overlap=0.2))
    inner = shapes.depth(labels)
    rim = np.exp(-(((inner - 1.5) / 1.4) ** 2))
    glow = np.exp(-(((inner - 5.0) / 2.0) ** 2)) * (labels > 0)
    vacuole = _vacuoles(rng, labels, inner)
    halo = optics.blur((labels > 0).astype(np.float32), 2.2) * (labels == 0)
    cell = -1.0 * rim + 0.35 * glow + 0.4 * vacuole + 0.08 * optics.field(rng, size, 3.0)
    image = rng.uniform(125, 175) + rng.uniform(55, 95) * (cell * (labels > 0) + 0.8 * halo)
    return _film(rng, image, rng.uniform(0.05, 0.3), rng.uniform(1.5, 4), 0.8), labels


def _vacuoles(rng: np.random.Generator, labels: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """One round vacuole in each cell, bright within and dark at its edge."""
    cells = shapes.measure(labels, inner)
    drawn = shapes.nuclei(rng, labels, inner, cells, 0.42, 2 * float(inner.max()))
    disc = shapes.depth(drawn)
    return np.where(disc > 1.5, 1.0, -1.2 * (disc > 0)).astype(np.float32)


def blood_smear(rng: np.random.Generator, size: tuple[int, int]) -> Drawn:
    """Stained blood: pink red cells with a pale centre, a few white cells, unlabelled platelets.

    All red and white cells are labelled.
    """
    diameter = rng.uniform(26, 38)
    reds = shapes.sprinkle(rng, size, rng.uniform(0.85, 1.25) * diameter, margin=0.6 * diameter)
    whites = shapes.sprinkle(rng, size, 5.5 * diameter, margin=0.4 * diameter)
    widths = np.concatenate(
        [np.full(len(whites), 1.45), np.exp(0.06 * rng.standard_normal(len(reds)))]
    )
    outlines = [shapes.outline(rng, w * diameter, Form(1.08, 0.025)) for w in widths]
    placed = shapes.scatter(size, np.concatenate([whites, reds]), outlines, overlap=0.35)
    labels = shapes.finalise(placed)
    white = (placed > 0) & (placed <= len(whites)) & (labels > 0)
    inner = shapes.depth(labels)
    pallor = 1 - rng.uniform(0.2, 0.75) * (1 - np.exp(-((inner / (0.32 * diameter)) ** 4)))
    eosin = 0.5 * pallor * _levels(rng, labels, 0.08) * np.minimum(inner / 1.5, 1)
    granules = 1 + 0.25 * optics.field(rng, size, 2.5)
    nucleus = _lobed_nuclei(rng, labels, inner, white)
    eosin = np.where(white, 0.14 * granules, eosin)
    platelets = np.maximum(optics.field(rng, size, 5.0) - 2.7, 0) * (labels == 0)
    blue = np.where(white, 0.22 * granules, 0) + 1.5 * nucleus * granules + 1.2 * platelets
    stains = np.array([[0.62, 0.80, 0.24], [0.25, 0.75, 0.70]])
    stains = stains * np.exp(0.08 * rng.standard_normal(stains.shape))
    image = optics.absorb([blue, eosin], stains, np.array([238, 232, 236]) - rng.uniform(0, 10, 3))
    light = optics.illumination(rng, size, rng.uniform(0, 0.1))[..., None]
    image = optics.grain(rng, optics.blur(image, rng.uniform(0.7, 1.2)) * light, 2.0)
    return optics.jpeg(image, int(rng.integers(70, 95))), labels


def _lobed_nuclei(
    rng: np.random.Generator, labels: np.ndarray, inner: np.ndarray, white: np.ndarray
) -> np.ndarray:
    """Soft 0..1 map of the lobed nuclei of the white cells."""
    folds = 0.55 + 0.25 * optics.field(rng, labels.shape, 12.0)
    share = inner / max(float(inner[white].max()) if white.any() else 1.0, 1.0)
    return optics.blur(((share > 1 - folds) & white).astype(np.float32), 0.8)


MODALITIES: dict[str, Modality] = {
    "phase-contrast": Modality(phase_contrast, "halo", 0.2),
    "brightfield": Modality(brightfield, "dark rim", 0.14),
    "interference-contrast": Modality(interference_contrast, "relief", 0.1),
    "bacteria": Modality(bacteria, "dark", 0.16),
    "dark-field-nuclei": Modality(dark_field_nuclei, "bright", 0.18),
    "yeast": Modality(yeast, "dark rim", 0.1),
    "blood-smear": Modality(blood_smear, "dark", 0.12),
}
