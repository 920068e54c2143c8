"""What ``synthetic-objects`` shows beside the outlines of ``natural``, and the list of its classes.

An object fills about -1..1 in both directions, x right and y down, as in
:mod:`helpers.data.synthetic.natural.outlines`. Some classes share an outline and differ in their
material alone (three balls, two cushions); some have holes (ring, spectacles, frame, ladder,
chain).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from helpers.data.synthetic.natural.outlines import OBJECTS, Part

Rng = np.random.Generator
_ANGLES = np.linspace(0, 2 * np.pi, 40, endpoint=False)


@dataclass(frozen=True)
class Kind:
    """A class of objects.

    Attributes:
        draw: outlines of one object, from a Generator.
        material: the texture that belongs to the class, a key of
            :data:`helpers.data.synthetic.natural.textures.TEXTURES`; empty where any surface will
            do.
        loose: lies at any angle; else about upright.
    """

    draw: Callable[[Rng], list[Part]]
    material: str = ""
    loose: bool = False


def superellipse(
    a: float, b: float, power: float = 2.0, x: float = 0.0, y: float = 0.0
) -> np.ndarray:
    """Outline (40, 2) of half axes ``a`` and ``b``: an oval at 2, nearly a rectangle at 8."""
    c, s = np.cos(_ANGLES), np.sin(_ANGLES)
    wide, high = np.abs(c) ** (2 / power) * np.sign(c), np.abs(s) ** (2 / power) * np.sign(s)
    return np.column_stack([x + a * wide, y + b * high])


def beam(start: tuple[float, float], end: tuple[float, float], width: float) -> np.ndarray:
    """Outline (4, 2) of a straight bar."""
    a, b = np.array(start, float), np.array(end, float)
    along = (b - a) / np.hypot(*(b - a))
    side = np.array([-along[1], along[0]]) * width / 2
    return np.array([a + side, b + side, b - side, a - side])


def ring(rng: Rng) -> list[Part]:
    """A thick ring with a round hole, a little flattened by the view."""
    inner, flat = rng.uniform(0.42, 0.68), rng.uniform(0.75, 1.0)
    return [
        Part(superellipse(0.95, 0.95 * flat)),
        Part(superellipse(0.95 * inner, 0.95 * inner * flat), "hole"),
    ]


def spectacles(rng: Rng) -> list[Part]:
    """Two frames without lenses, a bridge, and the stubs of the temples."""
    u = rng.uniform
    a, rim, power = u(0.36, 0.42), u(0.06, 0.1), u(2.0, 5.0)
    b, middle = a * u(0.7, 1.0), 0.95 - a
    parts = [Part(beam((-0.3, -0.1), (0.3, -0.1), u(0.07, 0.12)), "dark")]
    for side in (-1, 1):
        stub = beam((side * 0.9, -0.15), (side * 1.05, -u(0.3, 0.55)), 0.09)
        parts += [Part(stub, "dark"), Part(superellipse(a, b, power, side * middle))]
    inner = [superellipse(a - rim, b - rim, power, side * middle) for side in (-1, 1)]
    return [*parts, *(Part(points, "hole") for points in inner)]


def frame(rng: Rng) -> list[Part]:
    """A picture frame with nothing in it."""
    u = rng.uniform
    a, b, rim = u(0.65, 0.95), u(0.65, 0.95), u(0.16, 0.3)
    bead = 0.6 * rim
    return [
        Part(superellipse(a, b, 40)),
        Part(superellipse(a - bead, b - bead, 40), "light"),
        Part(superellipse(a - rim, b - rim, 40), "hole"),
    ]


def ladder(rng: Rng) -> list[Part]:
    """Two rails, closer at the top, and four to seven rungs."""
    u = rng.uniform
    foot, thick = u(0.32, 0.48), u(0.08, 0.13)
    top = foot * u(0.65, 1.0)
    rungs = []
    for y in np.linspace(-0.75, 0.75, int(rng.integers(4, 8))):
        half = top + (foot - top) * (y + 1) / 2
        rungs.append(Part(beam((-half, y), (half, y), 0.8 * thick), "light"))
    rails = [Part(beam((side * top, -0.98), (side * foot, 0.98), thick)) for side in (-1, 1)]
    return [*rungs, *rails]


def chain(rng: Rng) -> list[Part]:
    """Three oval links in a row, each through the next."""
    u = rng.uniform
    a, b, thick = u(0.38, 0.44), u(0.24, 0.32), u(0.07, 0.1)
    links = [
        (superellipse(a, b, 2.6, x), superellipse(a - thick, b - thick, 2.6, x))
        for x in (-0.5, 0.5, 0.0)
    ]
    (left, left_in), (right, right_in), middle = links
    outer = [Part(left), Part(right, "light"), Part(left_in, "hole"), Part(right_in, "hole")]
    # A hole would wipe out what is seen of the outer links within the middle one.
    return [*outer, Part(_band(*middle), "dark")]


def _band(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """One closed outline of what lies between two, which leaves what is inside untouched."""
    return np.concatenate([outer, outer[:1], inner[:1], inner[::-1]])


def cherries(rng: Rng) -> list[Part]:
    """Two fruits on thin stems that meet."""
    u = rng.uniform
    r, joint = u(0.32, 0.42), (u(-0.2, 0.2), -0.92)
    parts = []
    for side in (-1, 1):
        x, y = side * u(0.42, 0.55), u(0.35, 0.58)
        parts.append(Part(beam((x, y - 0.8 * r), joint, 0.08), "dark"))
        parts.append(Part(superellipse(r, r * u(0.9, 1.05), 2.0, x, y)))
        parts.append(Part(superellipse(0.2 * r, 0.14 * r, 2.0, x - 0.35 * r, y - 0.4 * r), "light"))
    return parts


def basket(rng: Rng) -> list[Part]:
    """Wicker walls that widen to the rim, and a high handle with a large hole below it."""
    u = rng.uniform
    rim, foot, top = u(0.7, 0.92), u(0.5, 0.65), u(-0.1, 0.15)
    thick, high = u(0.1, 0.15), u(0.75, 0.95)
    wall = np.array([(-rim, top), (rim, top), (foot, 0.85), (-foot, 0.85)])
    outer, inner = (superellipse(0.85 * rim - d, high + top - d, 2.2, 0.0, top) for d in (0, thick))
    # Half of the arch, or it would hang out below the walls.
    lowest = np.array([np.inf, top])
    return [
        Part(np.minimum(outer, lowest)),
        Part(np.minimum(inner, lowest), "hole"),
        Part(wall),
        Part(beam((-1.06 * rim, top), (1.06 * rim, top), thick), "light"),
    ]


def ball(rng: Rng) -> list[Part]:
    """A sphere; what it is made of is told by the class."""
    return [Part(superellipse(0.95, 0.95))]


def cushion(rng: Rng) -> list[Part]:
    """A square with round corners and sides drawn in a little."""
    u = rng.uniform
    points = superellipse(0.95, 0.95 * u(0.7, 1.0), u(5.0, 9.0))
    waist = 1 - u(0.04, 0.12) * np.cos(2 * _ANGLES) ** 2
    return [Part(points * waist[:, None])]


# Those of ``natural`` whose silhouettes differ at a few dozen pixels; and whether they are loose.
_UPRIGHT = (
    *("teacup", "teapot", "bottle", "wine glass", "chair", "lamp", "tree", "mushroom", "pear"),
    *("bird", "fish", "house", "car", "umbrella"),
)
_LOOSE = (
    *("fork", "hammer", "spanner", "key", "scissors", "oak leaf", "daisy", "butterfly"),
    *("starfish", "wheel"),
)

KINDS: dict[str, Kind] = {
    **{name: Kind(OBJECTS[name]) for name in _UPRIGHT},
    **{name: Kind(OBJECTS[name], loose=True) for name in _LOOSE},
    "ring": Kind(ring, loose=True),
    "spectacles": Kind(spectacles, loose=True),
    "frame": Kind(frame),
    "ladder": Kind(ladder),
    "chain": Kind(chain, loose=True),
    "cherries": Kind(cherries),
    "striped ball": Kind(ball, "stripes", loose=True),
    "checked ball": Kind(ball, "checks", loose=True),
    "football": Kind(ball, "honeycomb", loose=True),
    "tartan cushion": Kind(cushion, "tartan", loose=True),
    "knitted cushion": Kind(cushion, "knit", loose=True),
    "wicker basket": Kind(basket, "weave"),
}
