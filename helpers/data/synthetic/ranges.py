"""What the generated cells and tissues look like: every number, as data.

A set is a mixture of kinds of picture, each with a share and ranges (low, high), or one number, for
what differs from ``CELLS``, ``TISSUE`` or ``HEART``; :func:`draw` makes a picture's own style of
them. Pictures of one kind repeat each other and those of different kinds do not: that is the
redundancy that a selection method can find. Lengths are in pixels unless said otherwise.
"""

from helpers.data.synthetic.optics import Rng

Style = dict[str, float | str]

# fmt: off
CELLS = {
    "imaging": "fluorescence", "coloured": 1,  # or transmitted, stained
    # diameter and its relative deviation; least distance of centres in diameters
    "diameter": (26, 38), "spread": (0.12, 0.3), "spacing": (0.8, 1.1),
    "pairs": (0.1, 0.4), "sister": (0.7, 1.0),  # share of cells with a touching one; its size
    "cover": 1.0, "patch": (2.0, 4.0),  # share of the picture where cells lie; patches in diameters
    "elongation": (1.0, 1.4), "lobes": (0.05, 0.12), "spikes": 0.0, "rod": 0.0, "bend": 0.0,
    "align": 3.0,  # deviation of the long axes, radians
    "overlap": (0.1, 0.3), "swell": 0.0, "ruffle": 0.0,  # share hidden; both in diameters
    # weights of what a cell is made of, over its profile; widths in diameters
    "body": 1.0, "soft": (0.08, 0.14), "glow": 0.0, "rim": 0.0, "rim_width": 0.05, "ring": 0.0,
    "halo": 0.0, "halo_width": 0.07, "texture": (0.1, 0.3), "fibre": 0.0, "puncta": 0.0,
    "phase": 0.0, "phase_width": 0.13, "relief": 0.0,
    "variation": (0.15, 0.4),  # of brightness between cells, log scale
    "nucleus": 0.0, "nucleus_level": (0.8, 2.2), "hole": (0.2, 0.6), "nucleated": 1.0,
    # optics: weights relative to a mean cell; grey values
    "haze": (0.1, 0.3), "floor": (0.05, 0.2), "uneven": (0.2, 0.6), "psf": (0.6, 1.4),
    "light": (0.3, 0.9), "exposure": (60, 150), "photons": (0.8, 4.0), "read": 1.0, "level": 0.0,
}
CYTO = {
    "fluorescence/colony": (0.2, {
        "spacing": (0.72, 0.95), "swell": 0.2, "ruffle": 0.03, "lobes": 0.03, "cover": (0.5, 1.0),
        "body": 0.5, "rim": (0.4, 0.9), "texture": (0.2, 0.4), "nucleus": (0.45, 0.6)}),
    "fluorescence/fibroblasts": (0.16, {
        "diameter": (26, 36), "spacing": (0.95, 1.6), "elongation": (1.2, 2.4),
        "lobes": (0.12, 0.2), "spikes": (1, 3), "bend": 0.1, "glow": (0.8, 1.6),
        "texture": (0.05, 0.2), "nucleus": (0.5, 0.65), "hole": (0.0, 0.3)}),
    "fluorescence/spread": (0.14, {
        "diameter": (38, 54), "elongation": (1.1, 1.8), "lobes": (0.12, 0.2), "spikes": (0, 1),
        "overlap": (0.3, 0.45), "body": 0.5, "rim": (0.3, 0.7), "rim_width": 0.035, "fibre": 0.3,
        "puncta": (0.2, 0.8), "nucleus": (0.38, 0.5)}),
    "fluorescence/epithelium": (0.14, {
        "spacing": (0.8, 0.95), "swell": 3.0, "ruffle": 0.05, "lobes": 0.03, "cover": (0.5, 0.9),
        "body": (0.05, 0.25), "rim": (0.8, 1.4), "rim_width": 0.04, "texture": (0.15, 0.4)}),
    "fluorescence/spindles": (0.12, {
        "diameter": (26, 34), "elongation": (2.0, 3.2), "align": 0.4, "lobes": 0.08, "bend": 0.15,
        "fibre": 0.25, "nucleus": (0.5, 0.7)}),
    "fluorescence/packed": (0.12, {
        "diameter": (24, 36), "spacing": (0.75, 0.95), "swell": 0.15, "ruffle": 0.03,
        "lobes": 0.04, "texture": (0.05, 0.2), "exposure": (100, 200)}),
    "fluorescence/vesicles": (0.12, {
        "body": 0.3, "puncta": (1.5, 2.5), "elongation": (1.0, 1.8), "lobes": 0.12, "floor": 0.02,
        "exposure": (100, 160)}),
}
_GREY = {"imaging": "transmitted", "variation": 0.2, "uneven": (0.02, 0.04), "psf": 0.8,
         "light": (0.1, 0.4), "read": (1.5, 4), "level": (110, 160)}
MULTI = {
    "mixture/phase-contrast": (0.2, {
        **_GREY, "diameter": (26, 40), "elongation": (1.1, 2.2), "lobes": 0.12, "bend": 0.1,
        "spacing": (0.78, 1.1), "cover": (0.5, 1.0), "body": -1.0, "texture": 0.3, "phase": 0.8,
        "phase_width": (0.14, 0.2), "halo": (0.8, 1.2), "exposure": (50, 80)}),
    "mixture/brightfield": (0.14, {
        **_GREY, "diameter": (22, 38), "spacing": (0.85, 1.3), "body": 0.0, "rim": -1.0,
        "ring": 0.6, "halo": 0.3, "puncta": 0.2, "exposure": (30, 55)}),
    "mixture/interference-contrast": (0.12, {
        **_GREY, "diameter": (26, 40), "spacing": (0.8, 1.2), "soft": 0.16, "relief": (6, 9),
        "nucleus": 0.45, "nucleus_level": 0.35, "hole": 0.0, "exposure": 45}),
    "mixture/bacteria": (0.14, {
        **_GREY, "diameter": (10, 13), "spread": 0.1, "rod": (1.0, 2.4), "bend": (0.0, 0.06),
        "align": (0.2, 3.0), "texture": 0.1, "spacing": (1.5, 2.6), "cover": (0.5, 1.0),
        "patch": (6, 9), "pairs": 0.6, "sister": 1.0, "body": -1.0, "soft": 0.15, "halo": 0.3,
        "halo_width": 0.3, "light": (0.2, 0.5), "exposure": (50, 90)}),
    "mixture/dark-field-nuclei": (0.18, {
        "coloured": 0, "diameter": (16, 34), "elongation": (1.1, 1.6), "lobes": (0.03, 0.1),
        "spacing": (0.85, 1.4), "cover": (0.5, 1.0), "texture": 0.3}),
    "mixture/yeast": (0.1, {
        **_GREY, "diameter": (20, 30), "spread": 0.1, "elongation": (1.02, 1.3), "lobes": 0.01,
        "spacing": 0.92, "cover": (0.4, 0.8), "pairs": 0.5, "sister": (0.4, 0.7), "body": 0.0,
        "rim": -1.0, "ring": 0.35, "halo": 0.8, "nucleus": 0.42, "nucleus_level": 0.5, "hole": 0.0,
        "exposure": (55, 90)}),
    "mixture/blood-smear": (0.12, {
        "imaging": "stained", "diameter": (26, 36), "spread": 0.06, "elongation": (1.0, 1.1),
        "lobes": 0.02, "spacing": (0.75, 0.98), "pairs": 0.5, "sister": 1.0, "body": 0.5,
        "glow": (-0.6, -0.2), "soft": 0.05, "texture": 0.05, "variation": 0.08, "nucleus": 0.8,
        "nucleus_level": 1.3, "hole": 0.7, "nucleated": 0.08, "light": (0.1, 0.3)}),
}
# Lengths in micrometres, of which one has ``um`` pixels.
TISSUE = {
    "um": 4.0, "of glands": 0, "thickness": (0.2, 0.6),  # unevenness of the section
    # nuclei: width, spacing in widths, deviation of the width, share that may be hidden
    "nucleus": (6, 8), "spacing": (1.1, 1.5), "pleomorphism": (0.1, 0.2),
    "elongation": (1.1, 1.6), "overlap": 0.1, "chromatin": (1.2, 1.9),  # haematoxylin
    "vesicular": (0.2, 0.8),  # pale nuclei with a dark envelope, against dark solid ones
    "lymphocytes": (0.0, 0.1), "spindles": (0.4, 0.8),  # share of the area; density in stroma
    # shares of connective tissue and of empty spaces; stains
    "stroma": (0.2, 0.5), "gap": (0.0, 0.1), "gap_scale": (8, 15), "fibre": (0.7, 1.0),
    "eosin": (0.35, 0.65), "collagen": (0.5, 1.15), "basophilia": (0.1, 0.45),
    "clear": 0.0, "foam": (0.0, 0.3), "membranes": 0.0,
    # glands: diameter (0: none), spacing and deviation in diameters, least stroma between two
    "gland": 0.0, "gland_spacing": (0.8, 0.98), "gland_spread": 0.15, "septum": (6, 14),
    "tube": (1.0, 1.4), "gland_lobes": (0.03, 0.06),  # length over width; waviness
    # share of the half width that is hollow, least epithelium around, share without lumen
    "lumen": (0.1, 0.3), "height": (22, 28), "closed": (0.0, 0.2), "ragged": 1.0, "holes": 0.0,
    "goblet": 0.0, "rows": (1.0, 1.4),  # fullness of mucus; rows of nuclei
}
_SOLID = {"stroma": (0.05, 0.3), "spacing": (1.05, 1.25), "basophilia": (0.2, 0.5)}
_STROMAL = {"stroma": (0.6, 0.9), "nucleus": (5.5, 7), "lymphocytes": (0.05, 0.2)}
_CLEAR = {"clear": (0.6, 0.9), "membranes": (0.6, 1.2), "nucleus": (5.5, 7),
          "spacing": (1.2, 1.7)}
_LOOSE = {"gap": (0.25, 0.45), "gap_scale": (6, 10), "stroma": (0.05, 0.25), "vesicular": 0.2}
_BRAIN = {"stroma": 0.02, "gap": 0.01, "foam": (0.5, 0.9), "spacing": (1.3, 1.9), "vesicular": 0.2}
_ACINI = {"gland": (34, 46), "septum": 2, "lumen": 0.4, "height": 13, "spacing": (0.95, 1.1),
          "elongation": (1.3, 1.8)}
HISTO = {
    "histology/solid": (0.28, _SOLID), "histology/glandular": (0.24, _ACINI),
    "histology/stromal": (0.2, _STROMAL), "histology/clear-cell": (0.12, _CLEAR),
    "histology/dispersed": (0.16, _LOOSE),
}
HISTO_B = {
    "histology/solid": (0.15, _SOLID), "histology/glandular": (0.15, _ACINI),
    "histology/stromal": (0.2, _STROMAL), "histology/clear-cell": (0.1, _CLEAR),
    "histology/dispersed": (0.2, _LOOSE), "histology/neuropil": (0.2, _BRAIN),
}
_BENIGN = {
    "um": 1.0, "of glands": 1, "thickness": (0.1, 0.4), "overlap": 0.35, "nucleus": (5.6, 6.8),
    "fibre": 2.2, "collagen": (0.5, 1.0), "gland": (58, 84), "goblet": (0.75, 1.0),
    "spacing": (0.85, 1.0), "chromatin": (1.0, 1.5), "vesicular": 0.1, "lymphocytes": (0.05, 0.3),
    "spindles": (0.2, 0.5), "gap": (0.02, 0.2), "gap_scale": 22,
}
_MALIGNANT = {
    **_BENIGN, "gland": (75, 120), "gland_spread": 0.3, "tube": (1.0, 1.7),
    "gland_lobes": (0.12, 0.2), "lumen": (0.25, 0.5), "height": (16, 22), "ragged": 3.5,
    "goblet": 0.05, "rows": (1.6, 3.0), "nucleus": (6.5, 8.2), "pleomorphism": (0.15, 0.25),
    "lymphocytes": (0.02, 0.15), "spindles": (0.4, 0.9),
}
GLANDS = {
    "benign/across": (0.24, _BENIGN),
    "benign/along": (0.14, {**_BENIGN, "tube": (2.4, 3.6), "gland": (75, 95)}),
    "benign/dilated": (0.12, {**_BENIGN, "gland": (65, 110), "gland_spread": 0.25,
                              "lumen": (0.45, 0.7), "height": (13, 17), "goblet": (0.2, 0.6)}),
    "malignant/tubular": (0.22, _MALIGNANT),
    "malignant/cribriform": (0.14, {**_MALIGNANT, "gland": (110, 160), "lumen": 0.1,
                                    "holes": (0.5, 1.0), "rows": (6, 9), "septum": (5, 14)}),
    "malignant/poor": (0.14, {**_MALIGNANT, "gland": (50, 85),
                              "closed": (0.5, 0.85), "rows": (3, 6)}),
}

# Optical density of one unit of haematoxylin and of eosin in R, G, B; median amount of each; light
# without tissue; ranges of blur in pixels and of noise in grey values; pixels for one elsewhere.
_A = {"stains": ((0.56, 0.80, 0.38), (0.19, 0.82, 0.50)), "strength": (1.0, 1.0), "zoom": 1.0,
      "white": (243, 241, 244), "blur": (0.6, 1.1), "noise": (1.0, 3.0)}
SCANNERS = {
    "a": _A,
    # Faded: pale blue haematoxylin, orange eosin, a yellowish lamp, soft focus.
    "b": {"stains": ((0.76, 0.72, 0.30), (0.08, 0.60, 0.74)), "strength": (0.55, 0.8), "zoom": 1.0,
          "white": (252, 243, 220), "blur": (1.1, 1.7), "noise": (2.0, 5.0)},
    "smear": {**_A, "stains": ((0.62, 0.80, 0.24), (0.25, 0.75, 0.70)), "white": (245, 239, 243)},
    "glands a": {**_A, "stains": ((0.60, 0.82, 0.36), (0.13, 0.80, 0.24))},
    # Overstained: bluer haematoxylin, redder eosin.
    "glands b": {"stains": ((0.78, 0.80, 0.42), (0.07, 0.64, 0.48)), "strength": (1.5, 1.25),
                 "zoom": 1 / 0.72, "white": (252, 244, 231), "blur": (0.9, 1.4), "noise": (2, 5)},
}

# Lengths in sides of the picture, angles in radians, brightness 0..1; wall and reach (of the right
# ventricle beyond the septum) relative to the radius; thin: share of the wall missing at a scar.
HEART = {
    "radius": (0.14, 0.19), "wall": (0.28, 0.4), "reach": (0.7, 1.05), "thin": (0, 0.1),
    "scar": (0, 6.3), "septum": (3.0, 3.8), "opening": (1.0, 1.6), "bulge": (0.75, 1.3),
    "right_end": (0.75, 0.9), "first": (0.0, 0.12), "step": (0.155, 0.185),
    "x": (-0.02, 0.12), "y": (-0.08, 0.08), "drift": (-0.01, 0.06),
    "blood": (0.6, 0.8), "muscle": (0.22, 0.36), "coil": (0.2, 0.8), "noise": (0.015, 0.05),
}
HEARTS = {
    "mri/healthy": (0.3, {}),
    "mri/dilated": (0.2, {"radius": (0.18, 0.22), "wall": (0.2, 0.27), "reach": (0.6, 0.9)}),
    "mri/thickened": (0.2, {"radius": (0.16, 0.2), "wall": (0.45, 0.6)}),
    "mri/scarred": (0.15, {"thin": (0.35, 0.55), "wall": (0.25, 0.35)}),
    "mri/wide right ventricle": (0.15, {"reach": (1.15, 1.5), "radius": (0.13, 0.16)}),
}
# From the outside in: x, y, both half axes, brightness.
ORGANS = {
    "fat": ((-0.06, 0.06), (0.03, 0.08), (0.57, 0.7), (0.48, 0.52), (0.6, 0.95)),
    "muscle": ((-0.04, 0.04), (0.04, 0.07), (0.53, 0.6), (0.43, 0.47), (0.25, 0.4)),
    "lung": ((-0.03, 0.03), (0.04, 0.07), (0.46, 0.52), (0.37, 0.41), (0.05, 0.16)),
    "liver": ((-0.35, -0.15), (0.34, 0.44), (0.28, 0.36), (0.18, 0.24), (0.25, 0.45)),
    "stomach": ((0.14, 0.32), (0.36, 0.45), (0.16, 0.22), (0.1, 0.16), (0.15, 0.8)),
    "spine": ((-0.12, 0.02), (0.48, 0.5), (0.1, 0.11), (0.08, 0.1), (0.3, 0.55)),
    "aorta": ((0.04, 0.14), (0.34, 0.4), (0.038, 0.05), (0.038, 0.05), (0.55, 0.8)),
}
# fmt: on


def draw(rng: Rng, kinds: dict, defaults: dict) -> tuple[str, Style]:
    """Name of one of the kinds, by their shares, and a style: its numbers, drawn uniformly."""
    name = rng.choice(list(kinds), p=[share for share, _ in kinds.values()]).item()
    ranges = {**defaults, **kinds[name][1]}
    return name, {k: rng.uniform(*v) if isinstance(v, tuple) else v for k, v in ranges.items()}
