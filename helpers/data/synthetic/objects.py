"""``synthetic-objects``: scenes of everyday things, each with its class and its pixels.

A source for supervised pretraining of detectors that stands where COCO would: objects of many
classes, sizes, poses and colours, that hide parts of each other. Some have holes, some are seen in
several parts. Colour tells no class; outline and material do. No claim about a paper rests on it.
"""

import colorsys
from dataclasses import dataclass

import cv2
import numpy as np

from helpers.data.synthetic import optics
from helpers.data.synthetic.optics import Rng, generator
from helpers.data.synthetic.shapes import MIN_AREA
from helpers.data.synthetic.things import LOOSE, MATERIALS, TEXTURES, THINGS, drawing, texture

NAME = "synthetic-objects"
OBJECT_CLASSES: tuple[str, ...] = tuple(THINGS)
MIN_SIZE = 48
# Objects of a scene before occlusion; their half extent in sides of the picture.
COUNT, REACH = (2, 7), (0.1, 0.28)


@dataclass(frozen=True)
class Scene:
    """One picture and what is seen in it.

    Only visible pixels are labelled: those of an object may lie in several parts.
    """

    image: np.ndarray  # uint8 (size, size, 3), R, G, B
    labels: np.ndarray  # int32 (size, size); 0 is ground, 1..n the objects, the farthest first
    classes: np.ndarray  # int64 (n,), numbers of OBJECT_CLASSES from 1 on


def draw_scene(index: int, seed: int, size: int) -> Scene:
    """Picture number ``index``; it depends on the index, the seed and the size alone.

    It shows 2 to 7 objects, scaled with its ``size`` pixels a side. One of which fewer than
    ``shapes.MIN_AREA`` pixels are seen is not annotated; in an unlucky small picture none is left.
    """
    rng = generator(NAME, index, seed, size)
    image, owner = ground(rng, size), np.zeros((size, size), np.int32)
    kinds, places = [0], np.zeros((0, 3))
    for number in range(1, int(rng.integers(COUNT[0], COUNT[1] + 1)) + 1):
        reach = np.exp(rng.uniform(*np.log(REACH)))
        # The freest of some random places.
        tries = rng.uniform(0.05, 0.95, (4, 2))
        room = np.hypot(*(tries[:, None] - places[:, :2]).transpose(2, 0, 1)) - places[:, 2]
        x, y = tries[room.min(1, initial=1).argmax()]
        places = np.vstack([places, [x, y, reach]])
        kinds.append(int(rng.integers(len(THINGS))) + 1)
        window, solid = put(rng, image, OBJECT_CLASSES[kinds[-1] - 1], (x, y), reach)
        owner[window][solid] = number
    seen = np.bincount(owner.ravel(), minlength=len(kinds))
    kept = 1 + np.flatnonzero(seen[1:] >= MIN_AREA)
    renumber = np.zeros(len(kinds), np.int32)
    renumber[kept] = np.arange(1, len(kept) + 1)
    return Scene(camera(rng, image), renumber[owner], np.array(kinds, np.int64)[kept])


# ------------------------------------------------------------------------------ painting


def colour(rng: Rng) -> np.ndarray:
    """Any hue, often pale, seldom very dark; R, G, B, 0..255."""
    found = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, 0.95) ** 1.3, rng.uniform(0.2, 1))
    return 255 * np.array(found, np.float32)


def surface(rng: Rng, name: str, size: int, contrast: float) -> np.ndarray:
    """A texture all over the picture in two colours, float32 (size, size, 3)."""
    step, angle = size / np.exp(rng.uniform(1.4, 2.2)), rng.uniform(0, np.pi)
    light = colour(rng)
    dark = colour(rng) if rng.random() < 0.35 else light * np.float32(rng.uniform(0.1, 0.6))
    pattern = texture(rng, name, (size, size), step, angle)[..., None]
    return light + np.float32(contrast) * pattern * (dark - light)


def ground(rng: Rng, size: int) -> np.ndarray:
    """What lies behind objects: a surface out of focus, float32 (size, size, 3)."""
    image = surface(rng, rng.choice(list(TEXTURES)), size, rng.uniform(0.1, 0.6))
    return optics.blur(image, rng.uniform(0, 0.02) * size)


def put(
    rng: Rng, image: np.ndarray, name: str, centre: np.ndarray, reach: float
) -> tuple[tuple[slice, slice], np.ndarray]:
    """Paint a thing with its shadow into a picture, float32 (size, size, 3), in place.

    Its ``centre`` (x, y) and ``reach``, half its extent, are in sides of the picture. Returns the
    window of rows and columns that holds it, and there, bool, the pixels it covers at least half.
    """
    size, far = len(image), reach * len(image)
    left, top, right, bottom = (
        int(np.clip(size * v + way * 1.7 * far, 0, size)) for way in (-1, 1) for v in centre
    )
    seen = image[top:bottom, left:right]
    # Of some colours the body mostly has that which stands out most from what is behind.
    behind, tones = seen.mean(axis=(0, 1)), [colour(rng) for _ in range(4)]
    body = max(tones, key=lambda tone: np.abs(tone - behind).sum() * rng.uniform(0.7, 1))
    inks = {"body": body, "dark": 0.5 * body, "light": 0.5 * body + 127, "accent": tones[0]}
    turn = rng.uniform(0, 2 * np.pi) if name in LOOSE else 0.16 * rng.standard_normal()
    pose = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    pose = far * pose @ [[rng.choice([-1, 1]), 0.1 * rng.standard_normal()], [0, 1]]
    canvas = np.zeros((*seen.shape[:2], 4), np.uint8)
    for ink, outline in drawing(rng, name):
        # Blending all four channels alike gives colours times share; a hole wipes them out.
        paint = np.zeros(4) if ink == "hole" else np.append(inks[ink], 255)
        # The middle of the first pixel is 0.5 here and 0 for cv2, which counts in 16ths.
        points = outline @ pose.T + size * np.array(centre) - (left + 0.5, top + 0.5)
        fixed = np.rint(16 * points).astype(np.int32)
        cv2.fillPoly(canvas, [fixed], paint.tolist(), cv2.LINE_AA, shift=4)
    share = canvas[..., 3].astype(np.float32) / 255
    soft = optics.blur(share, 0.12 * far)
    shift = np.float32([[1, 0, far * rng.uniform(-0.15, 0.15)], [0, 1, 0.15 * far]])
    shadow = cv2.warpAffine(soft, shift, soft.shape[::-1])
    seen *= ((1 - np.float32(rng.uniform(0, 0.6)) * shadow) * (1 - share))[..., None]
    # Relief lit from one side, and a material or grain.
    way, (down, across) = rng.uniform(0, 2 * np.pi), np.gradient(soft)
    shade = 1 + 0.25 * far * (np.sin(way) * down + np.cos(way) * across)
    if name in MATERIALS or rng.random() < 0.3:
        pattern = MATERIALS.get(name) or rng.choice(list(TEXTURES))
        deep = rng.uniform(0.5, 0.75) if name in MATERIALS else rng.uniform(0.15, 0.4)
        step = max(far / rng.uniform(1.5, 3.5), 1.5)
        shade *= 1 - deep * texture(rng, pattern, soft.shape, step, way)
    seen += canvas[..., :3] * np.clip(shade, 0.15, 1.8).astype(np.float32)[..., None]
    return (slice(top, bottom), slice(left, right)), share >= 0.5


def camera(rng: Rng, image: np.ndarray) -> np.ndarray:
    """Uneven light, its tint, focus and noise; uint8 (size, size, 3)."""
    size = len(image)
    tint = np.exp(rng.normal(0, 0.06, 3) + rng.normal(0, 0.12)).astype(np.float32)
    image = image * optics.illumination(rng, (size, size), rng.uniform(0, 0.5))[..., None] * tint
    image = optics.blur(image, max(rng.uniform(-0.004, 0.008), 0) * size)
    return optics.developed(optics.noise(rng, image, rng.uniform(1, 8))).astype(np.uint8)
