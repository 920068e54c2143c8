"""Metrics of a model on every image, kept image by image: a killed run loses one image."""

import json
import logging
import os
import warnings
from functools import cache
from pathlib import Path

import torch

from helpers import fingerprints
from helpers.errors import DataError
from helpers.metrics import evaluate
from helpers.models.device import resolve_device
from helpers.own_model.checkpoint import Model
from helpers.own_model.labelled import Labelled, object_diameter
from helpers.own_model.predict import predict

FOLDER = "scores"


def score(model: Model, data: Labelled, diameter: float, output: Path, device: str) -> list[dict]:
    """Metrics of every image, in the order of the items.

    Args:
        diameter: of the objects, pixels.
        output: folder of results; what was measured before is found there.
        device: by name.

    Returns:
        Per image ``id``, ``object_diameter`` (annotated, pixels) and all metrics.

    Raises:
        DataError: an image or its annotation cannot be read.
    """
    from tqdm import tqdm

    path = output / FOLDER / f"{_key(model, data, diameter)}.jsonl"
    known = _read(path)
    unknown = [item for item in data.items if item.id not in known]
    model.network.to(resolve_device(device))
    # It would say beside the bar of every image without objects that it found none.
    logging.getLogger("cellpose.dynamics").setLevel(logging.ERROR)
    bar = tqdm(unknown, f"{model.name} on {data.name}", unit="image", delay=1, mininterval=1)
    for item in bar:
        sample = data.dataset.read(item)
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse invariant checks")
            masks = predict(model, sample.image, diameter)
        size = object_diameter(sample.labels)
        metrics = evaluate(sample.labels, masks).as_dict()
        known[item.id] = {"id": item.id, "object_diameter": size, **metrics}
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(known[item.id]) + "\n")
    return [known[item.id] for item in data.items]


def _key(model: Model, data: Labelled, diameter: float) -> str:
    parts = [model.digest, data.dataset.fingerprint, diameter, _code()]
    return fingerprints.of_json(parts)[:16]


@cache
def _code() -> str:
    """Fingerprint of what predicts and measures."""
    return fingerprints.of_code(["helpers.own_model.predict", "helpers.metrics.evaluate"])


def _read(path: Path) -> dict[str, dict]:
    """Rows by id; a line that was not written to its end is cut off."""
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        os.truncate(path, len(whole.encode()))
    try:
        rows = [json.loads(line) for line in whole.splitlines()]
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: damaged ({error}). Delete it to measure anew.") from error
    return {row["id"]: row for row in rows}
