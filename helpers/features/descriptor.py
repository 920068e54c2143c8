"""A simple, deterministic description of a patch that needs no trained network.

It stands in for the masked-autoencoder features of arXiv 2511.04803 where nothing can be
downloaded: what is bright and how much (histogram), how coarse the structure is (energy in bands of
spatial frequency), and where it lies (a coarse thumbnail).
"""

from collections.abc import Iterable

import numpy as np

HISTOGRAM_BINS = 16
FREQUENCY_BANDS = 12
THUMBNAIL = 4
DIMENSION = HISTOGRAM_BINS + FREQUENCY_BANDS + THUMBNAIL**2


def describe(patch: np.ndarray) -> np.ndarray:
    """Descriptor of one patch.

    Args:
        patch: (size, size), grey, scaled to about 0..1 (values outside are clipped to -0.25..1.5);
            the side must be at least 8.

    Returns:
        float32 (44,): square roots of 16 histogram shares, log energies of 12 octave-spaced
        frequency bands, 4 x 4 mean intensities.
    """
    grey = np.clip(np.asarray(patch, np.float32), -0.25, 1.5)
    counts, _ = np.histogram(grey, bins=HISTOGRAM_BINS, range=(-0.25, 1.5))
    histogram = np.sqrt(counts / grey.size)
    return np.concatenate([histogram, _band_energies(grey), _thumbnail(grey)]).astype(np.float32)


def describe_all(patches: Iterable[np.ndarray]) -> np.ndarray:
    """Descriptors of many patches, float32 (n, 44), as :func:`standardise` leaves them."""
    return standardise(np.stack([describe(patch) for patch in patches]))


def standardise(raw: np.ndarray) -> np.ndarray:
    """Descriptors (n, 44) of :func:`describe`, centred, each part scaled to unit variance.

    Scaling whole parts, not columns, keeps a column that hardly varies from being blown up to the
    weight of one that does. A part that does not vary at all is left at zero.
    """
    centred = raw - raw.mean(axis=0)
    parts = np.split(centred, [HISTOGRAM_BINS, HISTOGRAM_BINS + FREQUENCY_BANDS], axis=1)
    spreads = [np.sqrt((part**2).sum(axis=1).mean()) for part in parts]
    scaled = [p / s if s > 1e-6 else np.zeros_like(p) for p, s in zip(parts, spreads, strict=True)]
    return np.concatenate(scaled, axis=1)


def _band_energies(grey: np.ndarray) -> np.ndarray:
    """Log10 of the mean power in frequency bands from one cycle per patch to the Nyquist limit."""
    size = min(grey.shape)
    power = np.abs(np.fft.rfft2(grey - grey.mean())) ** 2 / grey.size
    rows = np.fft.fftfreq(grey.shape[0])[:, None]
    columns = np.fft.rfftfreq(grey.shape[1])[None, :]
    radius = np.hypot(rows, columns)
    edges = np.geomspace(0.9 / size, 0.5, FREQUENCY_BANDS + 1)
    band = np.digitize(radius, edges) - 1
    inside = (band >= 0) & (band < FREQUENCY_BANDS)
    total = np.bincount(band[inside], power[inside], FREQUENCY_BANDS)
    count = np.maximum(np.bincount(band[inside], minlength=FREQUENCY_BANDS), 1)
    return np.log10(total / count + 1e-6) / 6


def _thumbnail(grey: np.ndarray) -> np.ndarray:
    """Mean intensity of a 4 x 4 grid of blocks, row by row."""
    rows = np.array_split(np.arange(grey.shape[0]), THUMBNAIL)
    columns = np.array_split(np.arange(grey.shape[1]), THUMBNAIL)
    return np.array([grey[np.ix_(r, c)].mean() for r in rows for c in columns]) / THUMBNAIL
