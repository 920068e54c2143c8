"""Everyday things and surfaces as data, for the two generated sources of pretraining.

A thing is a list of parts, painted in order, in coordinates of about -1..1, x right and y down: a
letter for the shape, one for the ink (body, dark, light, accent; hole lets the ground through) and
numbers. Some classes are close on purpose: mug and teacup differ in proportions and details alone.
"""

from collections.abc import Callable

import numpy as np

from helpers.data.synthetic import optics
from helpers.data.synthetic.optics import Rng, Size

# o x y a b: oval; s x0 y0 x1 y1 w0 w1: bar; p: polygon of x y; c: the same with corners cut;
# l: y and half width, symmetric; f n r d: radius r + d cos(n angle).
THINGS = {
    "teacup": "oB .62 -.1 .3 .28; oH .62 -.1 .2 .19; oL 0 .42 .85 .11; "
    "lB -.4 .66 0 .56 .4 .28; oD 0 -.36 .58 .1",
    "mug": "oB .48 .05 .36 .4; oH .48 .05 .23 .27; lB -.65 .47 0 .47 .65 .44; "
    "pA -.47 -.1 .47 -.1 .47 .2 -.47 .2; oD 0 -.6 .42 .11",
    "teapot": "oB .55 .05 .3 .32; oH .55 .05 .2 .22; cB -.4 .3 -.98 -.42 -.8 -.42 -.33 -.15; "
    "oB 0 .15 .55 .47; oL 0 -.35 .28 .12; oD 0 -.52 .08 .08",
    "bottle": "lB -.95 .1 -.5 .1 -.2 .28 .9 .28 .95 .25; pD -.1 -1 .1 -1 .1 -.9 -.1 -.9; "
    "pL -.28 .1 .28 .1 .28 .6 -.28 .6",
    "wine glass": "sB 0 0 0 .88 .08 .08; oB 0 .88 .34 .07; lL -.9 .3 -.5 .4 0 .28 .1 .06; "
    "lA -.45 .36 -.05 .25 .06 .05",
    "fork": "sB 0 -.3 0 .95 .09 .15; lB -.55 .23 -.4 .23 -.25 .13 -.15 .05; "
    "sB -.19 -.5 -.19 -.98 .08 .05; sB 0 -.5 0 -.98 .08 .05; sB .19 -.5 .19 -.98 .08 .05",
    "hammer": "sB 0 -.8 0 .95 .13 .18; pD -.5 -.91 .18 -.88 .5 -.72 .18 -.62 -.5 -.59",
    "spanner": "sB 0 -.6 0 .7 .17 .17; oB 0 -.7 .29 .29; "
    "pH -.08 -1.2 .16 -1.2 .12 -.7 -.12 -.7; oB 0 .72 .23 .23; oH 0 .72 .13 .13",
    "key": "oB 0 -.6 .33 .3; oH 0 -.6 .2 .17; sB 0 -.35 0 .95 .11 .11; "
    "pB 0 .5 .25 .5 .25 .62 0 .62; pB 0 .78 .2 .78 .2 .9 0 .9",
    "scissors": "oB -.3 .7 .23 .27; oH -.3 .7 .14 .18; oB .3 .7 .23 .27; oH .3 .7 .14 .18; "
    "sL -.2 .5 .28 -.97 .17 .03; sB .2 .5 -.28 -.97 .17 .03",
    "lamp": "sD 0 -.2 0 .9 .1 .12; lD .8 .1 .86 .36 .95 .4; pL -.26 -.9 .26 -.9 .52 -.15 -.52 -.15",
    "daisy": "fB 13 .75 .22; fL 13 .5 .2; oA 0 0 .28 .28",
    "violet": "fB 5 .68 .26; fL 5 .35 .14; oA 0 0 .13 .13",
    "tree": "sD 0 .97 0 -.3 .24 .12; oB 0 -.35 .55 .45; oB -.35 -.2 .3 .26; "
    "oB .35 -.25 .3 .28; oL .12 -.55 .3 .22",
    "mushroom": "lL -.1 .17 .5 .16 .9 .24; cB -.75 0 -.6 -.45 0 -.75 .6 -.45 .75 0 0 .12; "
    "oL -.3 -.3 .08 .07; oL .15 -.45 .09 .08; oL .42 -.2 .07 .06",
    "pear": "sD 0 -.65 .06 -.98 .08 .05; lB -.75 .1 -.6 .25 -.2 .3 .35 .56 .8 .4 .92 .15",
    "fish": "pA .4 0 .95 -.35 .82 0 .95 .35; pA -.25 -.25 .05 -.55 .3 -.2; "
    "cB -.95 0 -.4 -.4 .2 -.3 .55 -.06 .55 .06 .2 .3 -.4 .4; oL -.62 -.08 .09 .09",
    "butterfly": "oB -.42 .4 .35 .3; oB .42 .4 .35 .3; oB -.5 -.3 .45 .4; oB .5 -.3 .45 .4; "
    "oA -.55 -.36 .16 .16; oA .55 -.36 .16 .16; oD 0 .05 .08 .55",
    "house": "pD .25 -.85 .45 -.85 .45 -.1 .25 -.1; pB -.65 -.15 .65 -.15 .65 .85 -.65 .85; "
    "pA -.8 -.15 0 -.82 .8 -.15; pL -.5 .05 -.25 .05 -.25 .32 -.5 .32; "
    "pL .25 .05 .5 .05 .5 .32 .25 .32; pD -.15 .35 .13 .35 .13 .85 -.15 .85",
    "wheel": "oD 0 0 .92 .92; oH 0 0 .76 .76; sB -.8 0 .8 0 .1 .1; sB 0 -.8 0 .8 .1 .1; "
    "sB -.6 -.6 .6 .6 .1 .1; sB -.6 .6 .6 -.6 .1 .1; oL 0 0 .16 .16",
    "car": "pB -.65 0 -.35 -.4 .4 -.4 .65 0; cB -.97 .4 -.97 .05 -.5 -.05 .6 -.05 .97 .05 .97 .4; "
    "pA -.45 -.03 -.28 -.3 .32 -.3 .45 -.03; oD -.55 .38 .2 .2; oD .55 .38 .2 .2",
    "striped ball": "oB 0 0 .95 .95",
    "checked ball": "oB 0 0 .95 .95",
}
MATERIALS = {"striped ball": "stripes", "checked ball": "checks"}
# Those that lie at any angle; the others stand.
LOOSE = {"fork", "hammer", "spanner", "key", "scissors", "daisy", "violet", "butterfly"}
LOOSE |= {"wheel", *MATERIALS}
_INKS = {"B": "body", "D": "dark", "L": "light", "A": "accent", "H": "hole"}
_ROUND = np.linspace(0, 2 * np.pi, 104, endpoint=False)
_CIRCLE = np.column_stack([np.cos(_ROUND), np.sin(_ROUND)])


def drawing(rng: Rng, name: str) -> list[tuple[str, np.ndarray]]:
    """Ink and outline (n, 2) of (x, y) of every part of a thing, warped by chance."""
    stretch, deep = np.exp(0.12 * rng.standard_normal(2)), rng.uniform(0.02, 0.08, 2)
    way, phase = rng.uniform(-2.2, 2.2, (2, 2)), rng.uniform(0, 2 * np.pi, 2)
    parts = []
    for text in THINGS[name].split(";"):
        head, *numbers = text.split()
        outline = _SHAPES[head[0]](np.array(numbers, float))
        warped = outline * stretch + deep * np.sin(outline @ way + phase)
        parts.append((_INKS[head[1]], warped))
    return parts


def _bar(v: np.ndarray) -> np.ndarray:
    steps = np.linspace(0, 1, 6)[:, None]
    line, (dx, dy) = v[:2] + steps * (v[2:4] - v[:2]), v[2:4] - v[:2]
    half = np.array([-dy, dx]) / np.hypot(dx, dy) / 2 * (v[4] + steps * (v[5] - v[4]))
    return np.concatenate([line + half, (line - half)[::-1]])


def _cut(points: np.ndarray) -> np.ndarray:
    # It takes scipy.signal with it, a second or two in every process that draws nothing.
    from skimage.measure import subdivide_polygon

    for _ in range(2):
        points = subdivide_polygon(np.vstack([points, points[:1]]))[:-1]
    return points


def _lathe(v: np.ndarray) -> np.ndarray:
    right = v.reshape(-1, 2)[:, ::-1]
    return _cut(np.concatenate([right, (right * (-1, 1))[::-1]]))


_SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "o": lambda v: _CIRCLE * v[2:] + v[:2],
    "s": _bar,
    "p": lambda v: v.reshape(-1, 2),
    "c": lambda v: _cut(v.reshape(-1, 2)),
    "l": _lathe,
    "f": lambda v: _CIRCLE * (v[1] + v[2] * np.cos(v[0] * _ROUND))[:, None],
}


# ------------------------------------------------------------------------------ surfaces


def texture(rng: Rng, name: str, size: Size, step: float, angle: float) -> np.ndarray:
    """A map 0..1 that a painter turns into two colours, float32 of shape ``size`` in pixels.

    ``name`` is a key of ``TEXTURES``, ``step`` pixels are a cell (a stripe, a brick), and ``angle``
    is the direction of its x axis in radians.
    """
    y, x = np.indices(size, dtype=np.float32) / np.float32(step)
    c, s, (u, v) = np.cos(angle), np.sin(angle), rng.uniform(16, 48, 2)

    def noise(scale: float, octaves: int = 1) -> np.ndarray:
        return optics.field(rng, size, scale * step, octaves)

    pattern = TEXTURES[name](c * x + s * y + u, c * y - s * x + v, noise)
    return np.clip(pattern, 0, 1).astype(np.float32)


def ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, straight between."""
    return np.clip((values - low) / (high - low), 0, 1)


def _edge(phase: np.ndarray) -> np.ndarray:
    """Distance to the nearest whole number."""
    return np.abs(phase - np.rint(phase))


# Of coordinates in cells and smooth noise of a correlation length in cells.
TEXTURES: dict[str, Callable[..., np.ndarray]] = {
    "stripes": lambda x, y, noise: ramp(np.cos(2 * np.pi * x), -0.2, 0.2),
    "checks": lambda x, y, noise: ramp(np.sin(np.pi * x) * np.sin(np.pi * y), -0.1, 0.1),
    "tiles": lambda x, y, noise: ramp(np.minimum(_edge(x), _edge(y)), 0.02, 0.08),
    "chevron": lambda x, y, noise: ramp(np.cos(2 * np.pi * (y + 2 * _edge(x / 2))), -0.2, 0.2),
    "polka dots": lambda x, y, noise: ramp(0.3 - np.hypot(_edge(x), _edge(y)), -0.04, 0.04),
    "zebra": lambda x, y, noise: ramp(np.sin(2 * np.pi * (x + 0.5 * noise(1.8))), -0.2, 0.2),
    "wood": lambda x, y, noise: (y + 0.4 * noise(2) + 0.1 * np.sin(x)) % 1,
    "marble": lambda x, y, noise: ramp(1 - np.abs(np.sin(x + 2.4 * noise(1.6, 4))), 0.6, 1),
    "granite": lambda x, y, noise: 0.45 + 0.4 * (noise(0.35) > 0.6) - 0.4 * (noise(0.16) > 0.9),
    "water": lambda x, y, noise: ramp(1 - np.abs(noise(0.7)) / 2 - np.abs(noise(0.45)) / 2, 0, 1),
    "clouds": lambda x, y, noise: ramp(noise(2.2, 4), -0.6, 1.2),
}
