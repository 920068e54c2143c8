"""What a microscope and its camera add: random fields, blur, uneven light, stain and noise.

Lengths are in pixels and never relative to the picture, so that a larger picture shows more of the
same world. Every function is pure: randomness comes in as ``rng``, a numpy Generator; ``size`` is
(height, width) in pixels, and maps are float32 of that shape.
"""

import zlib

import cv2
import numpy as np

Rng = np.random.Generator
Size = tuple[int, int]
# The cubic interpolation of cv2 leaves white noise 0.857 of its standard deviation.
_GAIN = np.float32(1 / 0.857)


def generator(name: str, *numbers: int) -> Rng:
    """The source of randomness of a picture: of its set, and numbers of 0 or more."""
    return np.random.default_rng([zlib.crc32(name.encode()), *numbers])


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian point spread function of standard deviation ``sigma`` pixels (0 leaves it as is).

    Of one channel or several, float32. Wide ones run on a reduced picture: same result to within a
    percent, at a fraction of the time.
    """
    if sigma <= 0.05:
        return image
    if sigma <= 5:
        return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    factor, (height, width) = int(sigma // 2.5), image.shape[:2]
    small = cv2.resize(
        image, (-(-width // factor), -(-height // factor)), None, 0, 0, cv2.INTER_AREA
    )
    small = cv2.GaussianBlur(small, (0, 0), sigma / factor, borderType=cv2.BORDER_REFLECT_101)
    return cv2.resize(small, (width, height))


def field(rng: Rng, size: Size, scale: float, octaves: int = 1) -> np.ndarray:
    """Smooth random field: white noise on a grid of ``scale`` pixels, interpolated.

    Mean 0 and standard deviation about 1. With ``octaves``, fields of ``scale``, ``scale`` / 2, ...
    are summed with halving weight; up to a scale of 1 the noise is white.
    """
    total = np.zeros(size, np.float32)
    for k in range(octaves):
        total += np.float32(0.5**k) * _octave(rng, size, scale / 2**k)
    return total / np.float32(np.sqrt((0.25 ** np.arange(octaves)).sum()))


def _octave(rng: Rng, size: Size, step: float) -> np.ndarray:
    if step <= 1:
        return rng.standard_normal(size, dtype=np.float32)
    if step > 12:  # the same on a reduced picture
        factor = int(step // 6)
        small = _octave(rng, tuple(n // factor + 2 for n in size), step / factor)
        return cv2.resize(small, None, fx=factor, fy=factor)[: size[0], : size[1]]
    grid = rng.standard_normal([int(n / step) + 4 for n in size], dtype=np.float32)
    wide = [round(n * step) for n in grid.shape[::-1]]
    large = _GAIN * cv2.resize(grid, wide, interpolation=cv2.INTER_CUBIC)
    # A random window, or the nodes would lie at the same pixels of all pictures.
    top, left = (int(step * (1 + rng.random())) for _ in range(2))
    return large[top : top + size[0], left : left + size[1]]


def streaks(rng: Rng, size: Size, width: float, length: float, angle: float) -> np.ndarray:
    """Random field of correlation ``width`` across and ``length`` along ``angle``.

    The angle is in radians from the x axis towards the y axis, which points down; mean 0 and
    standard deviation about 1.
    """
    reach = float(np.hypot(*size)) + 4 * length
    rows, columns = int(np.ceil(reach / width)) + 4, int(np.ceil(reach / length)) + 4
    grid = _GAIN * rng.standard_normal((rows, columns), dtype=np.float32)
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c / length, s / length], [-s / width, c / width]])
    middle = np.array([columns / 2, rows / 2]) + rng.uniform(-0.5, 0.5, 2)
    matrix = np.column_stack([turn, middle - turn @ (np.array(size[::-1]) / 2)])
    return cv2.warpAffine(grid, matrix, size[::-1], flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)


def displace(image: np.ndarray, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Look up ``image`` at (x + dx, y + dy), in pixels: linear for float32, nearest for labels."""
    y, x = np.indices(image.shape, dtype=np.float32)
    how = cv2.INTER_LINEAR if image.dtype == np.float32 else cv2.INTER_NEAREST
    out = cv2.remap(image.astype(np.float32), x + dx, y + dy, how, None, cv2.BORDER_REFLECT_101)
    return out.astype(image.dtype)


def illumination(rng: Rng, size: Size, strength: float) -> np.ndarray:
    """Multiplicative light around 1: a tilt, an off-centre vignette and a slow ripple.

    ``strength`` is about the relative difference between bright and dark corners, 0..1; no value
    is below 0.05.
    """
    y = np.linspace(-1, 1, size[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, size[1], dtype=np.float32)[None, :]
    angle, cy, cx = rng.uniform(0, 2 * np.pi), *rng.uniform(-0.5, 0.5, 2)
    tilt = 0.5 * (np.cos(angle) * x + np.sin(angle) * y)
    vignette = 0.4 - 0.5 * ((x - cx) ** 2 + (y - cy) ** 2)
    light = 1 + strength * (tilt + vignette + 0.15 * field(rng, size, 120.0))
    return np.maximum(light, 0.05).astype(np.float32)


def absorb(densities: list[np.ndarray], stains: np.ndarray, white: np.ndarray) -> np.ndarray:
    """Transmitted light behind stains, by the law of Beer and Lambert: I = I0 exp(-sum c_s v_s).

    Source: Ruifrok and Johnston, Anal. Quant. Cytol. Histol. 23 (2001), 291-299.

    Args:
        densities: a map of the concentration of each stain.
        stains: optical density of one unit of each in R, G, B; (stains, 3).
        white: light without tissue in R, G, B, grey values; (3,).
    """
    density = np.stack(densities, axis=-1).astype(np.float32) @ stains.astype(np.float32)
    return white.astype(np.float32) * np.exp(-density)


def scan(rng: Rng, blue: np.ndarray, eosin: np.ndarray, scanner: dict) -> np.ndarray:
    """A section with these concentrations of haematoxylin and eosin, as a slide scanner sees it.

    Stains and light of the picture vary around those of the ``scanner`` (``ranges.SCANNERS``).
    """
    stains = np.array(scanner["stains"]) * np.exp(0.06 * rng.standard_normal((2, 3)))
    strength = scanner["strength"] * np.exp(0.2 * rng.standard_normal(2))
    white = np.array(scanner["white"]) - rng.uniform(0, 14, 3)
    image = absorb([blue * strength[0], eosin * strength[1]], stains, white)
    image = blur(image, rng.uniform(*scanner["blur"]))
    return developed(noise(rng, image, rng.uniform(*scanner["noise"])))


def noise(rng: Rng, image: np.ndarray, read: float, photons: float = np.inf) -> np.ndarray:
    """Camera noise: of the electronics, and of the photons.

    ``image`` holds expected grey values, of any shape, and ``read`` is the standard deviation in
    the dark; the Poisson count of ``photons`` per grey value is taken as normal. Not clipped.
    """
    spread = np.sqrt(np.float32(read) ** 2 + np.maximum(image, 0) / np.float32(photons))
    return image + spread * rng.standard_normal(image.shape, dtype=np.float32)


def developed(image: np.ndarray) -> np.ndarray:
    """Whole grey values 0..255, as an 8-bit file holds them, float32 of the shape of ``image``."""
    return np.clip(np.rint(image), 0, 255).astype(np.float32)
