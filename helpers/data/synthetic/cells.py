"""Cells one by one: ``synthetic-cyto``, fluorescent, and ``synthetic-multi``, of many modalities.

One painter for all: how much light a cell sends or takes away is a sum of parts of its profile
(body, rim, ring within, halo around, relief ...), whose weights are data (:mod:`.ranges`).
"""

import numpy as np

from helpers.data.synthetic import optics, shapes
from helpers.data.synthetic.optics import Rng, Size
from helpers.data.synthetic.ranges import CELLS, SCANNERS, Style, draw


def paint(kinds: dict, rng: Rng, size: Size) -> tuple[np.ndarray, np.ndarray, str]:
    """One picture of one of the kinds.

    Args:
        kinds: ``CYTO`` (red nuclei, in some kinds not recorded, green cytoplasm, blue 0) or
            ``MULTI`` (cells, nuclei or bacteria; equal channels where the camera was grey).
        rng: source of randomness.
        size: (height, width) in pixels.

    Returns:
        image: float32 (height, width, 3), whole grey values 0..255.
        labels: int32 (height, width), one label for each whole cell.
        modality: the kind.
    """
    kind, style = draw(rng, kinds, CELLS)
    labels, cores = _place(rng, size, style)
    core = optics.blur((cores > 0).astype(np.float32), 1.2)
    signal = _profile(rng, labels, style) * (1 - style["hole"] * core)
    chromatin = levels(rng, cores, 0.25) * (1 + 0.2 * optics.field(rng, size, 4.0, 2))
    core = style["nucleus_level"] * core * np.maximum(chromatin, 0.2)
    light = optics.illumination(rng, size, style["light"])
    ground = style["uneven"] * optics.field(rng, size, 3 * style["diameter"])
    image = _CAMERAS[style["imaging"]](rng, signal, core, light, ground, style)
    return optics.developed(image), labels, kind


# ------------------------------------------------------------------------------ shape


def _place(rng: Rng, size: Size, style: Style) -> tuple[np.ndarray, np.ndarray]:
    """Finished labels of cells, in patches or everywhere; numbers of their nuclei, 0 elsewhere."""
    across, density = style["diameter"], None
    if style["cover"] < 1:
        hills = optics.field(rng, size, style["patch"] * across)
        density = (hills > np.quantile(hills, 1 - style["cover"])).astype(np.float32)
    centres = shapes.sprinkle(rng, size, style["spacing"] * across, density, 0.6 * across)
    n = len(centres)
    widths = across * np.exp(style["spread"] * rng.standard_normal(n))
    angles = rng.uniform(0, np.pi) + style["align"] * rng.standard_normal(n)
    stretch = 1 + (style["elongation"] - 1) * rng.uniform(0.5, 1.5, n)
    # Some have a sister that touches them: side by side, rods end to end.
    paired = rng.random(n) < style["pairs"]
    way = angles if style["rod"] else angles + np.pi / 2
    reach = 0.48 * (1 + style["sister"]) / (1 if style["rod"] else np.sqrt(stretch)) + style["rod"]
    beside = centres + (reach * widths)[:, None] * np.column_stack([np.cos(way), np.sin(way)])
    centres = np.concatenate([centres, beside[paired]])
    widths = np.concatenate([widths, style["sister"] * widths[paired]])
    angles, stretch = (np.concatenate([v, v[paired]]) for v in (angles, stretch))
    form = {key: style[key] for key in ("lobes", "spikes", "bend", "rod")}
    seeds = widths * max(1 - 2 * style["swell"], 0.5)
    drawn = shapes.outlines(rng, seeds, stretch, angles, **form)
    labels = shapes.scatter(size, centres, drawn, style["overlap"])
    if style["swell"]:
        labels = shapes.swell(rng, labels, style["swell"] * across, style["ruffle"] * across)
        if density is not None and style["swell"] > 1:
            labels[density == 0] = 0
    thin = widths * style["nucleus"] * rng.uniform(0.85, 1.1, len(widths)) / stretch**0.3
    thin[rng.random(len(widths)) >= style["nucleated"]] = 0
    cores = shapes.outlines(rng, thin, 1 + 0.35 * (stretch - 1), angles, 0.04)
    cores = shapes.scatter(size, centres, cores, 0.5)
    cores[(cores != labels) | (shapes.depth(labels) < 2)] = 0
    return shapes.finalise(labels), cores


# ------------------------------------------------------------------------------ light


def levels(rng: Rng, labels: np.ndarray, variation: float) -> np.ndarray:
    """Map of one log-normal brightness for each instance, of mean 1; 0 in the background."""
    level = np.exp(variation * rng.standard_normal(labels.max() + 1) - variation**2 / 2)
    level[0] = 0
    return level.astype(np.float32)[labels]


def _profile(rng: Rng, labels: np.ndarray, style: Style) -> np.ndarray:
    """What cells send or take of the light; inside a cell of ``body`` 1 alone it is about 1."""
    size, across, inside = labels.shape, style["diameter"], labels > 0
    inner = shapes.depth(labels)
    dome = 1 - np.exp(-inner / np.float32(style["soft"] * across))
    texture = style["texture"] * optics.field(rng, size, 0.2 * across, 3)
    if style["fibre"]:
        texture += style["fibre"] * optics.streaks(rng, size, 2.0, 18.0, rng.uniform(0, np.pi))
    mass = style["body"] * dome * np.maximum(1 + texture, 0.1)
    mass *= 1 + style["glow"] * (inner / np.float32(0.4 * across) - 0.5)
    mass += style["puncta"] * np.maximum(optics.field(rng, size, 2.0) - 1.5, 0) * dome
    width = np.float32(max(style["rim_width"] * across, 1.2))
    patchy = np.maximum(1 + 0.35 * optics.field(rng, size, 0.4 * across), 0.2) * inside
    for weight, place in ((style["rim"], 1.2), (style["ring"], 1.2 + 2.4 * width)):
        mass += weight * np.exp(-(((inner - place) / width) ** 2)) * patchy
    mass *= levels(rng, labels, style["variation"])
    halo = optics.blur(inside.astype(np.float32), style["halo_width"] * across)
    return (mass + style["halo"] * halo * ~inside).astype(np.float32)


# ------------------------------------------------------------------------------ cameras


def _glowing(rng, signal, core, light, ground, style) -> np.ndarray:
    """Fluorescence, one colour for cells, one for nuclei where there are any."""
    image = np.zeros((*signal.shape, 3), np.float32)
    masses = {1: signal, 0: core + 0.05 * signal} if core.any() else {1: signal}
    for channel, mass in masses.items():
        # Cells above and below the focal plane: wide light, here from the same cells.
        haze = style["haze"] * optics.blur(mass, 0.4 * style["diameter"])
        floor = style["floor"] * np.maximum(1 + 2 * ground, 0)
        grey = style["exposure"] * light * (optics.blur(mass, style["psf"]) + haze + floor)
        image[..., channel] = optics.noise(rng, grey, style["read"], style["photons"])
    return image if style["coloured"] else np.repeat(image[..., 1:2], 3, axis=2)


def _transmitted(rng, signal, core, light, ground, style) -> np.ndarray:
    """Grey transmitted light; phase contrast takes the local mean away, DIC shows the slope."""
    thick = signal + core
    thick -= style["phase"] * optics.blur(thick, style["phase_width"] * style["diameter"])
    if style["relief"]:
        shear = rng.uniform(0, 2 * np.pi)
        down, right = np.gradient(optics.blur(thick, 1.2))
        thick = style["relief"] * (np.cos(shear) * right + np.sin(shear) * down)
    grey = style["level"] + style["exposure"] * optics.blur(thick + ground, style["psf"])
    grey = optics.noise(rng, grey * light, style["read"])
    return np.repeat(grey[..., None], 3, axis=2)


def _stained(rng, signal, core, light, ground, style) -> np.ndarray:
    """Pink cells with purple nuclei on glass."""
    return (
        optics.scan(rng, core, signal + 0.05 * (1 + ground), SCANNERS["smear"]) * light[..., None]
    )


_CAMERAS = {"fluorescence": _glowing, "transmitted": _transmitted, "stained": _stained}
