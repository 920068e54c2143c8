"""From a layout to pixels: ground, cast shadows, shaded things one over the other, camera.

Each thing is painted in its own window with its share of every pixel, so that edges blend in the
picture; the pixels of which it covers at least half become its own. What comes later takes pixels
as it covers colours: occlusion is exact by construction. cv2 draws outlines about half a pixel
outwards, in the picture and the labels alike, so that thin things stay visible.
"""

import colorsys
from dataclasses import dataclass

import cv2
import numpy as np

from helpers.data.synthetic import optics
from helpers.data.synthetic.natural.outlines import Part
from helpers.data.synthetic.natural.textures import TEXTURES, Plane, lay
from helpers.data.synthetic.objects.layout import Layout, Setting, Thing

Rng = np.random.Generator
# Fractional bits of the fixed-point coordinates that cv2 draws with.
_SHIFT = 4
_HALF = 128
_PATTERNS = tuple(TEXTURES)
_BLACK = dict.fromkeys(("body", "dark", "light", "accent"), np.zeros(3))
# Thickness of clutter, in sides of the picture: it lies flat.
_FLAT = 0.02
# Clutter that reaches less far, in sides of the picture, has no surface to speak of.
_CRUMB = 0.05


@dataclass(frozen=True)
class Cut:
    """A thing in its window.

    Attributes:
        pixels: uint8 (h, w, 4); R, G, B already times the share of the pixel that is covered, and
            that share, 0..255.
        left, top: where the window begins in the picture.
        side: of the picture in pixels.
    """

    pixels: np.ndarray
    left: int
    top: int
    side: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the picture."""
        height, width = self.pixels.shape[:2]
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    @property
    def share(self) -> np.ndarray:
        """float32 (h, w, 1), 0..1."""
        return self.pixels[..., 3:].astype(np.float32) / 255

    @property
    def solid(self) -> np.ndarray:
        """bool (h, w): pixels covered by half or more."""
        return self.pixels[..., 3] >= _HALF


def paint(rng: Rng, layout: Layout, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Picture and visible things of a layout.

    Args:
        rng: source of the ground and the camera; surfaces of things have seeds of their own.
        layout: what to paint.
        size: pixels a side.

    Returns:
        image: float32 (size, size, 3), about 0..255.
        owner: int32 (size, size); k + 1 where thing k is seen, 0 where the ground is.
    """
    image = _ground(rng, layout.setting, size)
    owner = np.zeros((size, size), np.int32)
    for k, thing in enumerate(layout.things):
        surface = np.random.default_rng(thing.seed)
        _cast(surface, image, thing, layout.setting)
        cut = cut_out(thing.parts, _inks(surface, image, thing), size)
        if cut is None:
            continue
        _lay_over(surface, image[cut.window], cut, thing, layout.setting.light)
        owner[cut.window][cut.solid] = k + 1
    return _camera(rng, image), owner


def cut_out(
    parts: tuple[Part, ...], inks: dict[str, np.ndarray], size: int, margin: int = 1
) -> Cut | None:
    """Parts in plain colours, in the smallest window that holds them; ``None`` outside the picture.

    Args:
        parts: outlines in sides of the picture.
        inks: R, G, B, 0..255, of each ink but ``"hole"``.
        size: pixels a side of the picture.
        margin: pixels that the window is larger at each side, within the picture.
    """
    points = size * np.concatenate([part.points for part in parts if part.ink != "hole"])
    left, top = np.clip(np.floor(points.min(axis=0)).astype(int) - margin, 0, size).tolist()
    right, bottom = np.clip(np.ceil(points.max(axis=0)).astype(int) + margin, 0, size).tolist()
    if right <= left or bottom <= top:
        return None
    pixels = np.zeros((bottom - top, right - left, 4), np.uint8)
    for outline, ink in parts:
        # The middle of the first pixel is 0.5 here and 0 for cv2.
        fixed = np.rint((size * outline - (left + 0.5, top + 0.5)) * 2**_SHIFT).astype(np.int32)
        # Blending all four channels alike gives colours times share; a hole wipes them out.
        colour = (0, 0, 0, 0) if ink == "hole" else (*inks[ink].tolist(), 255)
        cv2.fillPoly(pixels, [fixed], colour, lineType=cv2.LINE_AA, shift=_SHIFT)
    return Cut(pixels, left, top, size)


# ------------------------------------------------------------------------------ colours


def _colour(rng: Rng) -> np.ndarray:
    """Any hue, often pale, seldom very dark; R, G, B, 0..255."""
    hue, saturation, value = rng.random(), rng.uniform(0, 0.95) ** 1.3, rng.uniform(0.15, 1.0)
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value), np.float32) * 255


def _unlike(rng: Rng, other: np.ndarray, least: float) -> np.ndarray:
    """A colour that mostly differs from another, by ``least`` in the sum of its channels."""
    for _ in range(3):
        found = _colour(rng)
        if np.abs(found - other).sum() > least:
            break
    return found


def _inks(rng: Rng, image: np.ndarray, thing: Thing) -> dict[str, np.ndarray]:
    """Colours of the parts. Which part gets which is drawn: else a wheel would be known as dark."""
    if _is_crumb(thing):
        return {"body": _colour(rng)}
    size = image.shape[0]
    low, high = (np.array(thing.centre) + way * thing.reach for way in (-1, 1))
    (x0, y0), (x1, y1) = np.clip(size * np.array([low, high]), 0, size - 1).astype(int).tolist()
    ground = np.array(cv2.mean(image[y0 : y1 + 1, x0 : x1 + 1])[:3])
    body = _unlike(rng, ground, 120)
    dark = body * np.float32(rng.uniform(0.3, 0.65))
    light = body + (255 - body) * np.float32(rng.uniform(0.3, 0.7))
    tones = (body, dark, light, _colour(rng))
    return {ink: tones[k] for ink, k in zip(_BLACK, rng.permutation(4), strict=True)}


def _tint(rng: Rng, pattern: np.ndarray, contrast: float) -> np.ndarray:
    """A map 0..1 as colours from one to another, related or not."""
    light = _colour(rng)
    dark = _colour(rng) if rng.random() < 0.35 else light * np.float32(rng.uniform(0.2, 0.7))
    dark = light + np.float32(contrast) * (dark - light)
    return dark + pattern[..., None].astype(np.float32) * (light - dark)


# ------------------------------------------------------------------------------ things


def _is_crumb(thing: Thing) -> bool:
    return not thing.label and thing.reach < _CRUMB


def _lay_over(rng: Rng, behind: np.ndarray, cut: Cut, thing: Thing, light: np.ndarray) -> None:
    """Paint a thing into its window of the picture, float32 (h, w, 3), in place."""
    share = cut.share
    behind *= 1 - share
    if _is_crumb(thing):
        behind += cut.pixels[..., :3]
        return
    most = np.inf if thing.label else _FLAT * cut.side
    shade, shine, height = _relief(rng, cut.solid, light, most)
    behind += shade[..., None] * _textured(rng, cut, thing, height)
    if shine is not None:
        behind += (255 * shine)[..., None] * share


def _relief(
    rng: Rng, solid: np.ndarray, light: np.ndarray, most: float = np.inf
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Light on a body that rises from its outline like a rounded slab; a disc becomes a dome.

    Args:
        rng: source of the shape and the gloss of the surface.
        solid: bool (h, w), the body.
        light: unit vector towards the light.
        most: greatest width of the rounded rim, in pixels.

    Returns:
        brightness after Lambert, 1 where the surface faces the viewer; highlight, 0..1, ``None`` on
        dull things; height of the body, 0..1. All float32 (h, w).
    """
    depth = cv2.distanceTransform(solid.astype(np.uint8), cv2.DIST_L2, 3)
    # Without a border in the window there is no distance to it.
    deepest = min(float(depth.max()), max(solid.shape))
    rise = max(min(deepest * rng.uniform(0.4, 1.0), most), 1.0)
    part = np.minimum(depth / np.float32(rise), 1)
    # Blurred, or the skeleton of the outline would show as a crease.
    height = optics.blur(np.sqrt(part * (2 - part)), 0.08 * rise + 0.4)
    steep = 0.5 * rise * rng.uniform(0.4, 1.0)
    dx, dy = (cv2.Sobel(height, cv2.CV_32F, *way, ksize=1, scale=steep) for way in ((1, 0), (0, 1)))
    facing = 1 / np.sqrt(1 + dx**2 + dy**2)

    def towards(direction: np.ndarray) -> np.ndarray:
        x, y, z = direction.astype(np.float32)
        return np.maximum(facing * (z - x * dx - y * dy), 0)

    ambient = np.float32(rng.uniform(0.3, 0.6))
    shade = ambient + (1 - ambient) / np.float32(light[2]) * towards(light)
    if rng.random() > 0.4:
        return shade, None, height
    middle = light + np.array([0, 0, 1])
    shine = towards(middle / np.linalg.norm(middle)) ** np.float32(rng.uniform(20, 60))
    return shade, np.float32(rng.uniform(0.15, 0.6)) * shine, height


def _textured(rng: Rng, cut: Cut, thing: Thing, height: np.ndarray) -> np.ndarray:
    """Colours times share, float32 (h, w, 3), under the material of the thing or any other."""
    body = cut.pixels[..., :3].astype(np.float32)
    kind = rng.random()
    if not thing.material and kind < 0.45:
        return body
    if not thing.material and kind < 0.65:
        cloud = optics.fractal(rng, height.shape, max(0.4 * max(height.shape), 2.0))
        return body * np.clip(1 + np.float32(rng.uniform(0.08, 0.2)) * cloud, 0.3, 1.7)[..., None]
    name = thing.material or _PATTERNS[rng.integers(len(_PATTERNS))]
    pattern = np.clip(TEXTURES[name](rng, _wrapped(rng, cut, thing, height)), 0, 1)
    weight = rng.uniform(0.75, 1.0) if thing.material else rng.uniform(0.25, 0.7)
    other = _unlike(rng, np.array(cv2.mean(body, cut.solid.astype(np.uint8))[:3]), 200) * cut.share
    return body + (np.float32(weight) * pattern.astype(np.float32))[..., None] * (other - body)


def _wrapped(rng: Rng, cut: Cut, thing: Thing, height: np.ndarray) -> Plane:
    """The surface of a thing for a texture: its cells grow denser where it curves away."""
    step = float(max(2 * thing.reach * cut.side / rng.uniform(3.0, 7.0), 1.5))
    turn = rng.uniform(0, np.pi)
    c, s = np.cos(turn), np.sin(turn)
    rows, columns = cut.window
    across = np.arange(columns.start, columns.stop)[None] + 0.5 - thing.centre[0] * cut.side
    down = np.arange(rows.start, rows.stop)[:, None] + 0.5 - thing.centre[1] * cut.side
    # On a sphere of radius 1, arcsin(r) / r goes from 1 in the middle to 1.57 at the edge.
    bend = 1 + 0.57 * (1 - height)
    x, y = ((c * across + s * down) * bend / step, (c * down - s * across) * bend / step)
    shift = rng.uniform(32, 64, 2)
    return Plane((x + shift[0]).astype(np.float32), (y + shift[1]).astype(np.float32), step, turn)


def _cast(rng: Rng, image: np.ndarray, thing: Thing, setting: Setting) -> None:
    """Darken the picture in place where the thing's soft shadow falls."""
    size = image.shape[0]
    dx, dy = setting.cast
    if thing.label and setting.horizon is not None:
        # It stands: each point's shadow falls as far from the foot as the point is high.
        high = [thing.base - part.points[:, 1] for part in thing.parts]
        moved = [
            np.column_stack([part.points[:, 0] + dx * z, thing.base + dy * z])
            for part, z in zip(thing.parts, high, strict=True)
        ]
    else:
        thick = thing.reach if thing.label else min(thing.reach, _FLAT)
        shift = thick * np.array([dx, dy if setting.horizon is None else abs(dy)])
        moved = [part.points + shift for part in thing.parts]
    parts = tuple(Part(points, part.ink) for points, part in zip(moved, thing.parts, strict=True))
    softness = rng.uniform(0.03, 0.1) * min(thing.reach, 0.2) * size
    sigma = 0.0 if _is_crumb(thing) else softness + 0.3
    cut = cut_out(parts, _BLACK, size, margin=1 + int(3 * sigma))
    if cut is not None:
        soft = optics.blur(cut.pixels[..., 3].astype(np.float32) / 255, sigma)
        image[cut.window] *= (1 - np.float32(setting.shade) * soft)[..., None]


# ------------------------------------------------------------------------------ picture


def _ground(rng: Rng, setting: Setting, size: int) -> np.ndarray:
    """A surface from above, or a floor before a wall; float32 (size, size, 3)."""
    if setting.horizon is None:
        return _carpet(rng, size, 0.0, rng.uniform(0.2, 0.9))
    floor = _carpet(rng, size, rng.uniform(0.4, 0.9), rng.uniform(0.2, 0.9))
    wall = _carpet(rng, size, 0.0, rng.uniform(0.1, 0.5))
    rows = np.arange(size, dtype=np.float32)[:, None, None] + 0.5 - setting.horizon * size
    return wall + np.clip(rows / 2 + 0.5, 0, 1) * (floor - wall)


def _carpet(rng: Rng, size: int, tilt: float, contrast: float) -> np.ndarray:
    """A texture or uneven paint all over the picture."""
    heaps = optics.fractal(rng, (size, size), max(0.3 * size, 2.0))
    if rng.random() < 0.6:
        plane = lay(rng, size, rng.uniform(4, 11), rng.uniform(0, np.pi), tilt)
        pattern = np.clip(TEXTURES[_PATTERNS[rng.integers(len(_PATTERNS))]](rng, plane), 0, 1)
        return _tint(rng, pattern, contrast) * (1 + 0.1 * heaps)[..., None]
    return _tint(rng, np.clip(0.5 + 0.3 * heaps, 0, 1), contrast)


def _camera(rng: Rng, image: np.ndarray) -> np.ndarray:
    """Uneven light, its tint, exposure, focus and noise."""
    size = image.shape[0]
    tint = np.exp(rng.normal(0, 0.06, 3) + rng.normal(0, 0.12)).astype(np.float32)
    image = image * optics.illumination(rng, image.shape[:2], rng.uniform(0, 0.35))[..., None]
    image = optics.blur(image * tint, max(rng.uniform(-0.002, 0.005), 0) * size)
    return optics.grain(rng, image, rng.uniform(1, 7))
