"""Label maps and slow, obvious implementations that the metric tests compare with."""

import io
import zipfile
from fractions import Fraction
from itertools import permutations
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from scipy.optimize import linear_sum_assignment
from skimage.draw import polygon
from skimage.io import imread
from skimage.segmentation import expand_labels, find_boundaries, relabel_sequential


def numbered(labels: np.ndarray) -> np.ndarray:
    """Labels renumbered to 1..K: peers take the largest label for the number of objects."""
    return relabel_sequential(labels)[0].astype(np.int32)


def scattered_discs(rng, shape, n, radius) -> np.ndarray:
    """Label map of ``n`` discs dropped at random; the earlier one keeps a contested pixel."""
    labels = np.zeros(shape, np.int32)
    y, x = np.ogrid[: shape[0], : shape[1]]
    for label in range(1, n + 1):
        centre_y, centre_x = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        inside = (y - centre_y) ** 2 + (x - centre_x) ** 2 <= rng.uniform(radius / 2, radius) ** 2
        labels[inside & (labels == 0)] = label
    return numbered(labels)


def perturbations(truth: np.ndarray) -> dict[str, np.ndarray]:
    """Predictions made from a true map, one for each way of being wrong."""
    columns = np.arange(truth.shape[1])
    neighbours = np.where(truth > 0, (truth + 1) // 2, 0)
    halves = np.where(truth > 0, 2 * truth - columns % 2, 0)
    wrong = {
        "dilated": expand_labels(truth, 2),
        "eroded": np.where(find_boundaries(truth, mode="inner"), 0, truth),
        "dropped": np.where(truth % 3 == 0, 0, truth),
        "merged": neighbours,
        "split": halves,
        "shifted": np.roll(truth, 3, axis=1),
        "shifted far": np.roll(truth, 9, axis=0),
    }
    return {name: numbered(labels) for name, labels in wrong.items()}


def exact_scores(truth: np.ndarray, prediction: np.ndarray) -> dict:
    """Scores as fractions by looping over objects; ``aji_cellpose`` as the set of tied values."""
    trues = [truth == k for k in np.unique(truth) if k]
    predictions = [prediction == k for k in np.unique(prediction) if k]
    common = [[int((t & p).sum()) for p in predictions] for t in trues]
    union = [[int((t | p).sum()) for p in predictions] for t in trues]
    iou = [
        [Fraction(c, u) for c, u in zip(*row, strict=True)]
        for row in zip(common, union, strict=True)
    ]
    n_objects = len(trues) + len(predictions)
    strict = [value for row in iou for value in row if value > Fraction(1, 2)]
    scores = {
        "pq": Fraction(2 * sum(strict), n_objects),
        "sq": sum(strict) / Fraction(len(strict)) if strict else Fraction(0),
        "rq": Fraction(2 * len(strict), n_objects),
        "aji": _exact_aji(trues, predictions, common, union),
        "aji_cellpose": _exact_aji_cellpose(truth, prediction, common, iou),
        "n_true": len(trues),
        "n_predicted": len(predictions),
    }
    for k in range(10, 20):
        tp = _most_matches(iou, Fraction(k, 20))
        scores[f"ap_{5 * k}"] = Fraction(tp, n_objects - tp)
    return scores


def _most_matches(iou, threshold) -> int:
    if not iou or not iou[0]:
        return 0
    allowed = np.array([[value >= threshold for value in row] for row in iou])
    return int(allowed[linear_sum_assignment(~allowed)].sum())


def _exact_aji(trues, predictions, common, union) -> Fraction:
    intersections = unions = 0
    chosen = set()
    # The order in which a raster scan meets the predictions settles ties.
    order = sorted(range(len(predictions)), key=lambda j: np.flatnonzero(predictions[j])[0])
    for i, true in enumerate(trues):
        met = sorted(
            (j for j in order if common[i][j]),
            key=lambda j: np.flatnonzero(true & predictions[j])[0],
        )
        if not met:
            unions += int(true.sum())
            continue
        j = max(met, key=lambda j: Fraction(common[i][j], union[i][j]))
        chosen.add(j)
        intersections += common[i][j]
        unions += union[i][j]
    rest = sum(int(p.sum()) for j, p in enumerate(predictions) if j not in chosen)
    return Fraction(intersections, unions + rest)


def _exact_aji_cellpose(truth, prediction, common, iou) -> set[Fraction]:
    """Try every one-to-one matching; keep the values of those that are optimal."""
    foreground = int(((truth > 0) | (prediction > 0)).sum())
    n_true, n_predicted = len(common), len(common[0]) if common else 0
    if n_true > n_predicted:
        matchings = (
            list(zip(m, range(n_predicted), strict=True))
            for m in permutations(range(n_true), n_predicted)
        )
    else:
        matchings = (
            list(zip(range(n_true), m, strict=True))
            for m in permutations(range(n_predicted), n_true)
        )
    values = {}
    for pairs in matchings:
        count = sum(iou[i][j] >= Fraction(1, 2) for i, j in pairs)
        goodness = (count, sum((iou[i][j] for i, j in pairs), Fraction(0)))
        covered = Fraction(sum(common[i][j] for i, j in pairs), foreground)
        values.setdefault(goodness, set()).add(covered)
    return values[max(values)]


def cellpose_aji_range(truth: np.ndarray, prediction: np.ndarray) -> tuple[float, float]:
    """Smallest and largest value over all optimal matchings, from a dense assignment."""
    common = np.zeros((truth.max() + 1, prediction.max() + 1))
    np.add.at(common, (truth, prediction), 1)
    iou = common / (common.sum(0) + common.sum(1, keepdims=True) - common)
    common, iou = common[1:, 1:], iou[1:, 1:]
    weight = (iou >= 0.5) + iou / (2 * min(iou.shape))
    foreground = np.count_nonzero((truth > 0) | (prediction > 0))
    # A tip too small to make a worse matching win decides among equal ones.
    least, most = (
        common[linear_sum_assignment(weight + tip * common, maximize=True)].sum() / foreground
        for tip in (-1e-11, 1e-11)
    )
    return least, most


def real_label_maps(bundle: Path, n_nuclei: int, n_tissue: int) -> dict[str, np.ndarray]:
    """Some label maps of BBBC038 (one PNG per nucleus) and MoNuSeg (polygons), numbered 1..K."""
    maps = {}
    with zipfile.ZipFile(bundle / "bbbc038/stage1_train.zip") as archive:
        masks: dict[str, list[str]] = {}
        for name in archive.namelist():
            if "/masks/" in name and name.endswith(".png"):
                masks.setdefault(name.split("/masks/")[0], []).append(name)
        step = len(masks) // n_nuclei
        for image in sorted(masks)[::step][:n_nuclei]:
            stack = [imread(io.BytesIO(archive.read(name))) > 0 for name in masks[image]]
            labels = np.zeros(stack[0].shape, np.int32)
            for k, mask in enumerate(stack, start=1):
                labels[mask] = k
            maps[f"BBBC038 {image[-8:]}"] = numbered(labels)
    with zipfile.ZipFile(bundle / "monuseg/MoNuSeg 2018 Training Data.zip") as archive:
        annotations = sorted(name for name in archive.namelist() if name.endswith(".xml"))
        for name in annotations[:n_tissue]:
            labels = np.zeros((1000, 1000), np.int32)
            regions = ElementTree.fromstring(archive.read(name)).iter("Region")
            for k, region in enumerate(regions, start=1):
                corners = [(float(v.get("Y")), float(v.get("X"))) for v in region.iter("Vertex")]
                if len(corners) > 2:
                    labels[polygon(*np.transpose(corners), labels.shape)] = k
            maps[f"MoNuSeg {Path(name).stem}"] = numbered(labels)
    return maps
