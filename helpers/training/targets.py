"""Flow targets, computed once per patch and kept on disk."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.data.patches import Patch, PatchGrid, cut, list_patches
from helpers.data.sample import Sample
from helpers.errors import DataError
from helpers.models.dynamics import load_dynamics

CHANNELS = ("image", "foreground", "flow_y", "flow_x")


def flow_targets(labels: np.ndarray) -> np.ndarray:
    """Unit vectors that point along the diffusion from each instance's centre (Cellpose, 2021).

    Args:
        labels: int (height, width); numbers need not be contiguous.

    Returns:
        float32 (2, height, width): y and x components, zero outside instances.
    """
    import torch
    from skimage.segmentation import relabel_sequential

    if not labels.any():
        return np.zeros((2, *labels.shape), np.float32)
    dense = relabel_sequential(labels)[0].astype(np.int64)
    flows = load_dynamics().masks_to_flows(dense, device=torch.device("cpu"))
    return flows.astype(np.float32)


@dataclass(frozen=True)
class PatchStore:
    """Training patches with their targets, memory-mapped.

    Attributes:
        arrays: float16 (n, 4, size, size): grey image, foreground (0/1), flow y, flow x.
        groups: group of each patch.
        kinds: modality of each patch's source image, empty where it is not known.
        instances: int32 (n,), annotated instances in each patch.
        areas: int32, visible pixels of every instance, patch after patch.
    """

    arrays: np.ndarray
    groups: list[str]
    kinds: list[str]
    instances: np.ndarray
    areas: np.ndarray

    def __len__(self) -> int:
        return len(self.arrays)

    @property
    def images(self) -> np.ndarray:
        """float16 (n, size, size), the grey channel alone."""
        return self.arrays[:, 0]

    def areas_by_patch(self) -> list[np.ndarray]:
        """Visible pixels of the instances of each patch, int32 (instances of the patch,)."""
        return np.split(self.areas, np.cumsum(self.instances)[:-1])


def open_store(folder: Path) -> PatchStore:
    """The store in ``folder``, read-only."""
    meta = json.loads((folder / "meta.json").read_text())
    arrays = np.load(folder / "patches.npy", mmap_mode="r")
    instances, areas = (np.array(meta[name], np.int32) for name in ("instances", "areas"))
    return PatchStore(arrays, meta["groups"], meta["kinds"], instances, areas)


def build_store(
    samples: Sequence[Sample], grid: PatchGrid, folder: Path, workers: int = 1
) -> PatchStore:
    """Cut samples into patches, compute their targets, keep all on disk; reuse what is there.

    The folder appears under its name only when complete, so a killed build leaves nothing that
    could be mistaken for a store, and of two builds at once one wins.

    Args:
        samples: prepared samples (one channel).
        folder: where the store is or will be; the caller names it after all that went in.
        workers: processes that compute targets.

    Raises:
        DataError: the grid leaves no patch.
    """
    if (folder / "meta.json").is_file():
        return open_store(folder)
    patches = list_patches([sample.labels for sample in samples], grid)
    if not patches:
        raise DataError(
            f"no patches of {grid.size} px from {len(samples)} image(s): the images are smaller "
            "than the window (use edge='pad') or hold fewer instances than min_instances"
        )
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    temporary.mkdir(parents=True, exist_ok=True)
    shape = (len(patches), len(CHANNELS), grid.size, grid.size)
    arrays = np.lib.format.open_memmap(
        temporary / "patches.npy", mode="w+", dtype=np.float16, shape=shape
    )
    areas = _fill(arrays, samples, patches, grid.size, workers)
    arrays.flush()
    sources = [samples[patch.image] for patch in patches]
    meta = {
        "groups": [source.group for source in sources],
        "kinds": [source.modality for source in sources],
        "instances": [len(one) for one in areas],
        "areas": [area for one in areas for area in one],
    }
    (temporary / "meta.json").write_text(json.dumps(meta))
    _move_into_place(temporary, folder)
    return open_store(folder)


def _fill(
    arrays: np.ndarray, samples: Sequence[Sample], patches: list[Patch], size: int, workers: int
) -> list[list[int]]:
    """Compute all patches in order; returns the areas of the instances in each."""
    from joblib import Parallel, delayed
    from tqdm import tqdm

    jobs = (
        delayed(_patch_arrays)(
            cut(samples[p.image].image[..., 0], p.top, p.left, size),
            cut(samples[p.image].labels, p.top, p.left, size),
        )
        for p in patches
    )
    # Starting processes takes longer than computing a few patches.
    processes = workers if len(patches) > 200 else 1
    results = Parallel(n_jobs=processes, return_as="generator", batch_size=8)(jobs)
    areas = []
    for index, (stack, found) in enumerate(
        tqdm(results, "flow targets", len(patches), mininterval=2)
    ):
        arrays[index] = stack
        areas.append(found)
    return areas


def _patch_arrays(grey: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, list[int]]:
    stack = np.concatenate([grey[None], (labels > 0)[None], flow_targets(labels)])
    numbers, areas = np.unique(labels, return_counts=True)
    return stack.astype(np.float16), areas[numbers > 0].tolist()


def _move_into_place(temporary: Path, folder: Path) -> None:
    try:
        temporary.replace(folder)
    except OSError:
        # Another process finished the same store first; its content is the same.
        if not (folder / "meta.json").is_file():
            raise
        shutil.rmtree(temporary)
