"""What a microscope and its camera add: random fields, blur, uneven light, stain and noise.

Lengths are in pixels and never relative to the picture, so that a larger picture shows more of the
same world. Every function is pure; randomness comes in as a numpy Generator.
"""

import cv2
import numpy as np

# Up to this correlation length white noise is blurred; above it a coarse grid is interpolated.
_FINE = 4.0
# Above this one the field is made on a reduced picture and enlarged.
_COARSE = 12.0


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian point spread function of standard deviation ``sigma`` pixels (0 leaves it as is).

    Args:
        image: float32, (height, width) or (height, width, channels).
        sigma: standard deviation in pixels. Wide ones run on a reduced picture: same result to
            within a percent, at a fraction of the time.
    """
    if sigma <= 0.05:
        return image
    if sigma <= 5:
        return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    factor = int(sigma // 2.5)
    height, width = image.shape[:2]
    small = cv2.resize(
        image, (-(-width // factor), -(-height // factor)), interpolation=cv2.INTER_AREA
    )
    small = cv2.GaussianBlur(small, (0, 0), sigma / factor, borderType=cv2.BORDER_REFLECT_101)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def field(rng: np.random.Generator, size: tuple[int, int], scale: float) -> np.ndarray:
    """Smooth random field, mean 0 and standard deviation about 1, of correlation length ``scale``.

    Args:
        rng: source of randomness.
        size: (height, width) in pixels.
        scale: correlation length in pixels, > 0.

    Returns:
        float32 array of shape ``size``.
    """
    if scale <= _FINE:
        sigma = max(scale / 2, 0.4)
        white = rng.standard_normal(size, dtype=np.float32)
        # A Gaussian of width sigma leaves white noise a variance of 1 / (4 pi sigma^2).
        gain = 2 * sigma * np.sqrt(np.pi) if sigma > 0.6 else 1.2
        return blur(white, sigma) * np.float32(gain)
    if scale > _COARSE:
        factor = int(scale // 6)
        reduced = tuple(n // factor + 2 for n in size)
        small = field(rng, reduced, scale / factor)
        large = cv2.resize(small, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
        return large[: size[0], : size[1]]
    shape = [int(np.ceil(n / scale)) + 4 for n in size]
    grid = rng.standard_normal(shape, dtype=np.float32)
    zoomed = cv2.resize(
        grid,
        (round(shape[1] * scale), round(shape[0] * scale)),
        interpolation=cv2.INTER_CUBIC,
    )
    # A random window: otherwise the nodes of the grid would lie at the same place in all pictures.
    top, left = (int(scale + rng.random() * scale) for _ in range(2))
    # Cubic interpolation between unit nodes keeps about 0.58 of their variance.
    return zoomed[top : top + size[0], left : left + size[1]] * np.float32(1.3)


def fractal(
    rng: np.random.Generator, size: tuple[int, int], scale: float, octaves: int = 3
) -> np.ndarray:
    """Sum of fields at ``scale``, ``scale/2``, ... with halving weight; standard deviation about 1.

    Returns:
        float32 array of shape ``size``.
    """
    weights = 0.5 ** np.arange(octaves)
    total = sum(np.float32(w) * field(rng, size, scale / 2**k) for k, w in enumerate(weights))
    return total / np.float32(np.sqrt((weights**2).sum()))


def fibres(
    rng: np.random.Generator, size: tuple[int, int], width: float, length: float, angle: float
) -> np.ndarray:
    """Streaky random field: correlation ``width`` across and ``length`` along ``angle`` (radians).

    The angle is counted from the x axis towards the y axis, which points down.

    Returns:
        float32 array of shape ``size``, mean 0 and standard deviation about 1.
    """
    height, width_px = size
    reach = float(np.hypot(height, width_px)) + 4 * length
    rows, cols = int(np.ceil(reach / width)) + 4, int(np.ceil(reach / length)) + 4
    grid = rng.standard_normal((rows, cols), dtype=np.float32)
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c / length, s / length], [-s / width, c / width]])
    shift = np.array([cols / 2, rows / 2]) - turn @ np.array([width_px / 2, height / 2])
    matrix = np.column_stack([turn, shift])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(grid, matrix, (width_px, height), flags=flags) * np.float32(1.3)


def displace(image: np.ndarray, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Look up ``image`` at (x + dx, y + dy): linear for float32, nearest for label images.

    Args:
        image: float32 or int32, (height, width). Labels must stay below 2**24 (exact in float32).
        dx: displacement in pixels, float32, (height, width).
        dy: the same downwards.

    Returns:
        Array of the shape and dtype of ``image``.
    """
    y, x = np.indices(image.shape, dtype=np.float32)
    linear = image.dtype == np.float32
    out = cv2.remap(
        image.astype(np.float32),
        x + dx,
        y + dy,
        cv2.INTER_LINEAR if linear else cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return out if linear else out.astype(image.dtype)


def illumination(rng: np.random.Generator, size: tuple[int, int], strength: float) -> np.ndarray:
    """Multiplicative light field around 1: a tilt, an off-centre vignette and a slow ripple.

    Args:
        rng: source of randomness.
        size: (height, width) in pixels.
        strength: about the relative difference between bright and dark corners, 0..1.

    Returns:
        float32 array of shape ``size``, at least 0.05, mean about 1.
    """
    y = np.linspace(-1, 1, size[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, size[1], dtype=np.float32)[None, :]
    angle, cy, cx = rng.uniform(0, 2 * np.pi), *rng.uniform(-0.5, 0.5, 2)
    tilt = 0.5 * (np.cos(angle) * x + np.sin(angle) * y)
    vignette = 0.4 - 0.5 * ((x - cx) ** 2 + (y - cy) ** 2)
    ripple = 0.15 * field(rng, size, 120.0)
    light = 1 + strength * (tilt + vignette + ripple)
    return np.maximum(light, 0.05).astype(np.float32)


def shot_noise(
    rng: np.random.Generator, image: np.ndarray, photons: float, read: float
) -> np.ndarray:
    """Poisson photon noise and Gaussian read noise of a camera.

    Counts are squares of a normal variable, (sqrt(m - 1/8) + z/2)^2 - 1/8, after the transform of
    Anscombe (Biometrika 35 (1948), 246-254): skewed, with mean and variance m like Poisson counts
    (within some percent from two photons on, where clipping at 0 is rare), though not whole
    numbers; several times faster than drawing those.

    Args:
        rng: source of randomness.
        image: expected grey values, float32, any shape; negative ones count as 0.
        photons: photons per grey value; fewer is noisier.
        read: standard deviation of the read noise in grey values.

    Returns:
        float32 array of the same shape, not clipped.
    """
    mean = np.maximum(image, 0) * np.float32(photons)
    root = np.sqrt(np.maximum(mean - np.float32(0.125), 0))
    root += np.float32(0.5) * rng.standard_normal(image.shape, dtype=np.float32)
    counts = np.maximum(root**2 - np.float32(0.125), 0) / np.float32(photons)
    return counts + np.float32(read) * rng.standard_normal(image.shape, dtype=np.float32)


def grain(rng: np.random.Generator, image: np.ndarray, sigma: float) -> np.ndarray:
    """Camera noise of bright pictures, where Poisson noise is Gaussian and nearly constant.

    Returns:
        float32 ``image`` plus white noise of standard deviation ``sigma`` grey values.
    """
    return image + np.float32(sigma) * rng.standard_normal(image.shape, dtype=np.float32)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """The picture after JPEG compression, as slide scanners store it.

    Args:
        image: grey values 0..255, (height, width, 3).
        quality: 1..100.

    Returns:
        float32 array of the same shape, whole numbers 0..255.
    """
    reverse = np.ascontiguousarray(to_bytes(image)[..., ::-1])  # cv2 counts channels B, G, R
    _, coded = cv2.imencode(".jpg", reverse, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32)


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Round and clip grey values to uint8, as an 8-bit file holds them."""
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def absorb(densities: list[np.ndarray], stains: np.ndarray, white: np.ndarray) -> np.ndarray:
    """Transmitted light behind stains, by the law of Beer and Lambert: I = I0 exp(-sum c_s v_s).

    Source: Ruifrok and Johnston, Anal. Quant. Cytol. Histol. 23 (2001), 291-299.

    Args:
        densities: one (height, width) float32 map of stain concentration for each stain.
        stains: optical density of one unit of each stain in R, G, B; (stains, 3).
        white: light without tissue in R, G, B, grey values; (3,).

    Returns:
        float32 (height, width, 3).
    """
    density = np.stack(densities, axis=-1).astype(np.float32) @ stains.astype(np.float32)
    return white.astype(np.float32) * np.exp(-density)
