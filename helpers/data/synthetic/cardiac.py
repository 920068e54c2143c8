"""``synthetic-cardiac``: short-axis slices of a heart, as cine MRI shows it, labelled by class.

Every six consecutive pictures are slices of one patient, from the base of the heart to its apex,
where first the right and then the left ventricle end. The heart scales with the picture (lengths
are in shorter sides), unlike the cells of the other domains.
"""

import cv2
import numpy as np

from helpers.data.synthetic import optics, shapes
from helpers.data.synthetic.optics import Rng, Size
from helpers.data.synthetic.ranges import HEART, HEARTS, ORGANS, Style, draw

CLASSES = ("right ventricle", "myocardium", "left ventricle")
SLICES = 6
RIGHT, MUSCLE, LEFT = 1, 2, 3


def paint(rng: Rng, size: Size, patient: Rng, number: int) -> tuple[np.ndarray, np.ndarray, str]:
    """One slice of one patient.

    Args:
        rng: source of what belongs to this slice alone (texture, noise).
        size: (height, width) in pixels.
        patient: source of what all slices of the patient share.
        number: of the slice, 0 (base) to ``SLICES`` - 1 (apex).

    Returns:
        image: float32 (height, width, 3), whole grey values 0..255, equal channels.
        labels: int32 (height, width), 0 or 1..3 as ``CLASSES``; the myocardium closes around the
            left ventricle, each class is one part, and near the apex classes are missing.
        modality: ``"mri/KIND"``.
    """
    kind, body = draw(patient, HEARTS, HEART)
    body["waves"] = patient.standard_normal((2, 3)), patient.uniform(0, 2 * np.pi, (2, 3))
    image = _chest(rng, patient, size)
    labels, around = _heart(body, body["first"] + number * body["step"], size)
    texture = optics.field(rng, size, 0.05 * min(size), 3)
    fat = np.clip(0.3 + 0.4 * texture, 0, 0.9)
    image = np.where(around < 0.03 + 0.03 * texture, fat, image)
    image = np.where((around < 0.016) & (labels == 0), 0.8 * body["muscle"], image)
    blood = body["blood"] * (1 + 0.1 * optics.field(rng, size, 0.08 * min(size)))
    image = np.where(
        labels > 0, np.where(labels == MUSCLE, body["muscle"] * (1 + 0.08 * texture), blood), image
    )
    # Papillary muscles within the left ventricle, which count as blood.
    inner = shapes.depth((labels == LEFT).astype(np.int32))
    deep = inner.max()
    spots = optics.field(rng, size, max(0.35 * deep, 2.0)) > 1.2
    image = np.where(spots & (inner > 0.25 * deep) & (inner < 0.7 * deep), body["muscle"], image)
    image = optics.blur(image.astype(np.float32), max(0.005 * min(size), 0.5))
    signal = image * optics.illumination(rng, size, body["coil"])
    # A magnitude image: the modulus of a complex signal with Gaussian noise in both parts
    # (Gudbjartsson and Patz, Magn. Reson. Med. 34 (1995), 910-914).
    parts = (body["noise"] * rng.standard_normal(size, dtype=np.float32) for _ in "ri")
    grey = np.hypot(signal + next(parts), next(parts))
    return np.repeat(optics.developed(255 * grey)[..., None], 3, axis=2), labels, kind


def _heart(body: Style, level: float, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a slice (level 0 is the base, 1 the apex); distance to the heart in sides."""
    y, x = (np.indices(size, np.float32) + 0.5 - np.reshape(size, (2, 1, 1)) / 2) / min(size)
    dx, dy = x - body["x"] - level * body["drift"], y - body["y"] - 0.4 * level * body["drift"]
    far, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    order = np.arange(2, 5)[:, None, None]
    amplitude, phase = (v[..., None, None] for v in body["waves"])
    waves = ((2 / order) ** 1.5 * amplitude * np.cos(order * angle + phase)).sum(1)
    outer = body["radius"] * np.sqrt(max(1 - level**2.4, 0)) * (1 + 0.035 * waves[0])
    scar = body["thin"] * np.exp(2.5 * (np.cos(angle - body["scar"]) - 1))
    thick = body["radius"] * body["wall"] * (1 - 0.3 * level) * (1 + 0.08 * waves[1]) * (1 - scar)
    # At least one and a half pixels of muscle: thinner, and blood would touch the background.
    inner = outer - np.maximum(thick, 1.5 / min(size))
    away = (angle - body["septum"] + np.pi) % (2 * np.pi) - np.pi
    crescent = np.cos(np.minimum(np.abs(away) / body["opening"], 1) * np.pi / 2) ** body["bulge"]
    reach = body["radius"] * body["reach"] * np.sqrt(max(1 - (level / body["right_end"]) ** 2, 0))
    labels = np.zeros(size, np.int32)
    for number, mask, least in (
        (RIGHT, (far < outer + reach * crescent) & (far >= outer), 12),
        (MUSCLE, far < outer, 12),
        (LEFT, far < inner, 6),
    ):
        labels[shapes.finalise(mask.astype(np.int32), least) > 0] = number
    return labels, shapes.around(labels > 0) / min(size)


def _chest(rng: Rng, patient: Rng, size: Size) -> np.ndarray:
    """Everything but the heart: chest wall, lungs, liver, stomach, aorta, spine; 0..1."""
    side = min(size)
    image = np.full(size, 0.02, np.float32)
    speckles = np.clip(optics.field(rng, size, 0.025 * side) - 1.3, 0, 1)
    grain = 1 + 0.12 * optics.field(rng, size, 0.06 * side, 3)
    lean = 0.2 * patient.standard_normal()
    for ranges in ORGANS.values():
        x, y, width, height, level = (patient.uniform(*ends) for ends in ranges)
        stretch = width / height
        across = np.array([2 * side * height * np.sqrt(stretch)])
        (outline,) = shapes.outlines(patient, across, stretch, lean, lobes=0.02)
        middle = side * np.array([x, y]) + np.array(size[::-1]) / 2
        mask = np.zeros(size, np.uint8)
        cv2.fillPoly(mask, [np.rint(outline + middle).astype(np.int32)], 1)
        image = np.where(mask > 0, level * grain + 0.3 * speckles, image)
    return image
