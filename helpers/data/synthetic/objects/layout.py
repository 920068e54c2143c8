"""What stands where: the camera's view, the light, and posed things from the farthest to the next.

Lengths are in sides of the picture, points (x, y) with y down, so that a layout knows no pixels.
"""

from dataclasses import dataclass

import numpy as np

from helpers.data.synthetic.natural.outlines import Part
from helpers.data.synthetic.objects.outlines import KINDS, Kind, Rng, beam

FEWEST, MOST = 3, 15
# How often an object is of the same class as the one before: things come in groups.
_AGAIN = 0.25


@dataclass(frozen=True)
class Thing:
    """Something in the picture.

    Attributes:
        label: 1..K, or 0 for clutter that is not annotated.
        parts: outlines where they are seen, in the order of painting.
        centre: (x, y) of the thing's own origin.
        reach: about half its extent.
        base: y of its lowest point.
        material: texture of its surface, empty for any.
        seed: of its surface.
    """

    label: int
    parts: tuple[Part, ...]
    centre: tuple[float, float]
    reach: float
    base: float
    material: str
    seed: int


@dataclass(frozen=True)
class Setting:
    """View and light.

    Attributes:
        horizon: y where a wall meets the floor that things stand on; ``None`` where all is seen
            from above.
        light: unit vector towards the light: x right, y down, z to the viewer.
        cast: how shadows fall. Seen from above, the shift of the shadow of a thing of reach 1;
            else the shadow's tip of a thing of height 1, from its base.
        shade: darkness of shadows, 0..1.
    """

    horizon: float | None
    light: np.ndarray
    cast: tuple[float, float]
    shade: float


@dataclass(frozen=True)
class Layout:
    """A setting and its things, the farthest first: what comes later hides what came before."""

    setting: Setting
    things: tuple[Thing, ...]


def arrange(rng: Rng) -> Layout:
    """A layout of 3 to 15 objects and unannotated clutter behind, between and before them."""
    setting = _setting(rng)
    count = int(rng.integers(FEWEST, MOST + 1))
    placed = _objects(rng, setting, count) + _litter(rng, setting)
    placed.sort(key=lambda one: one[0])
    return Layout(setting, tuple(thing for _, thing in placed))


def _setting(rng: Rng) -> Setting:
    horizon = rng.uniform(0.1, 0.5) if rng.random() < 0.55 else None
    way, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 0.85)
    if horizon is not None:  # a lamp or the sun is above
        way = -rng.uniform(0.1, 0.9) * np.pi
    across = np.sqrt(1 - height**2)
    light = np.array([across * np.cos(way), across * np.sin(way), height])
    if horizon is None:
        cast = tuple(-light[:2] / height * rng.uniform(0.1, 0.5))
    else:
        cast = (-light[0] / height * rng.uniform(0.3, 1.0), -rng.uniform(0.08, 0.35))
    return Setting(horizon, light, cast, rng.uniform(0.15, 0.65))


Placed = tuple[float, Thing]  # with its depth: larger is nearer


def _objects(rng: Rng, setting: Setting, count: int) -> list[Placed]:
    # More objects are smaller ones, but not so much that they would all have room.
    largest = 0.38 * (6 / (count + 3)) ** 0.25
    tries = int(rng.integers(1, 4))
    names, placed = list(KINDS), []
    label = 0
    for _ in range(count):
        if not label or rng.random() > _AGAIN:
            label = 1 + int(rng.integers(len(names)))
        reach = float(np.exp(rng.uniform(np.log(0.045), np.log(largest))))
        x, y, reach = _spot(rng, setting, reach, [one for _, one in placed], tries)
        thing = _posed(rng, KINDS[names[label - 1]], label, (x, y), reach)
        placed.append((rng.random() if setting.horizon is None else thing.base, thing))
    return placed


def _spot(
    rng: Rng, setting: Setting, reach: float, others: list[Thing], tries: int
) -> tuple[float, float, float]:
    """The freest of some random places (fewer tries, denser heaps), and the reach seen there."""
    x, y = rng.uniform(0.03, 0.97, (2, tries))
    sizes = np.full(tries, reach)
    if setting.horizon is not None:
        foot = rng.uniform(setting.horizon + 0.03, 1.1, tries)
        # Linear perspective, weakened: what is near is at most some three times larger.
        sizes = reach * (0.6 + 0.7 * (foot - setting.horizon) / (1.1 - setting.horizon))
        y = foot - 0.9 * sizes
    room = np.full(tries, np.inf)
    for other in others:
        far = np.hypot(x - other.centre[0], y - other.centre[1])
        room = np.minimum(room, far / (sizes + other.reach))
    best = int(room.argmax())
    return float(x[best]), float(y[best]), float(sizes[best])


def _posed(rng: Rng, kind: Kind, label: int, centre: tuple[float, float], reach: float) -> Thing:
    """An object of a kind: turned, stretched, sheared, mirrored."""
    turn = rng.uniform(-np.pi, np.pi) if kind.loose else rng.normal(0, 0.16)
    c, s = np.cos(turn), np.sin(turn)
    stretch = np.exp(rng.normal(0, 0.1)) ** np.array([1.0, -1.0])
    mirror = np.array([rng.choice([-1.0, 1.0]), 1.0])
    shear = np.array([[1, rng.normal(0, 0.1)], [0, 1]])
    matrix = reach * np.array([[c, -s], [s, c]]) @ shear @ np.diag(stretch * mirror)
    parts = [Part(part.points @ matrix.T + centre, part.ink) for part in kind.draw(rng)]
    return _thing(rng, label, parts, centre, reach, kind.material)


def _thing(
    rng: Rng,
    label: int,
    parts: list[Part],
    centre: tuple[float, float],
    reach: float,
    material: str = "",
) -> Thing:
    base = max(float(part.points[:, 1].max()) for part in parts if part.ink != "hole")
    seed = int(rng.integers(2**32))
    return Thing(label, tuple(parts), centre, reach, base, material, seed)


def _litter(rng: Rng, setting: Setting) -> list[Placed]:
    """Sheets and crumbs behind all objects, crumbs between them, sticks across."""
    top = 0.0 if setting.horizon is None else setting.horizon
    placed = [(-2.0, _sheet(rng, top)) for _ in range(rng.integers(0, 4))]
    for _ in range(rng.integers(3, 26)):
        crumb = _crumb(rng, top)
        depth = rng.random() if setting.horizon is None else crumb.base
        placed.append((depth if rng.random() < 0.3 else -1.0, crumb))
    for _ in range(rng.choice(4, p=[0.4, 0.3, 0.2, 0.1])):
        placed.append((rng.uniform(0.2, 1.2), _stick(rng)))
    return placed


def _polygon(rng: Rng, reach: float) -> np.ndarray:
    corners = int(rng.integers(3, 8))
    angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
    radius = reach * rng.uniform(0.6, 1.2, corners) * np.exp(rng.normal(0, 0.3, (2, 1)))
    return np.column_stack([np.cos(angle), np.sin(angle)]) * radius.T


def _sheet(rng: Rng, top: float) -> Thing:
    centre, reach = (rng.random(), rng.uniform(top, 1)), rng.uniform(0.15, 0.4)
    return _thing(rng, 0, [Part(_polygon(rng, reach) + centre)], centre, reach)


def _crumb(rng: Rng, top: float) -> Thing:
    centre = (rng.random(), rng.uniform(top, 1))
    reach = float(np.exp(rng.uniform(np.log(0.008), np.log(0.04))))
    kind = rng.random()
    if kind < 0.6:
        points = _polygon(rng, reach)
    else:
        way = rng.uniform(0, np.pi)
        tip = 2 * reach * np.array([np.cos(way), np.sin(way)])
        points = beam(-tip, tip, rng.uniform(0.2, 0.5) * reach)
    return _thing(rng, 0, [Part(points + centre)], centre, reach)


def _stick(rng: Rng) -> Thing:
    """A long thin thing that may part what lies behind it: a pole, a cable, a blade of grass."""
    centre, way = tuple(rng.random(2)), rng.uniform(0, np.pi)
    long, thick, bend = rng.uniform(0.2, 0.7), rng.uniform(0.012, 0.035), rng.normal(0, 0.3)
    s = np.linspace(-1, 1, 12)
    line = np.column_stack([s * long, bend * long * (s**2 - 0.5)])
    c, n = np.cos(way), np.sin(way)
    line = line @ np.array([[c, n], [-n, c]])
    along = np.gradient(line, axis=0)
    side = np.column_stack([-along[:, 1], along[:, 0]])
    side *= thick / 2 / np.hypot(*side.T)[:, None]
    points = np.concatenate([line + side, (line - side)[::-1]])
    return _thing(rng, 0, [Part(points + centre)], centre, long)
