"""Generated scenes of everyday objects as a data set of annotated instances."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from helpers.data.readers import Item
from helpers.data.synthetic.objects import MIN_SIZE, NAME, OBJECT_CLASSES, draw_scene
from helpers.errors import ParameterError
from helpers.fingerprints import of_code, of_json
from helpers.metrics.detection import Instances, from_labels

__all__ = ["OBJECT_CLASSES", "GeneratedObjects", "generated_objects"]


@dataclass(frozen=True)
class GeneratedObjects(Sequence[tuple[np.ndarray, Instances]]):
    """Pictures of ``synthetic-objects`` with their objects, each made when it is asked for.

    Picture i is uint8 (size, size, 3), R, G, B, and the same in a set of any length; its objects
    are annotated as in COCO, by the pixels of them that are seen. Some hundredths of a second a
    picture: keep what is needed more than once.

    Attributes:
        n: number of pictures, at least 1.
        seed: 0 or more; another seed is another set of pictures.
        size: pixels a side, at least ``helpers.data.synthetic.objects.MIN_SIZE``.

    Raises:
        ParameterError: a number out of range.
        IndexError: a picture that there is not.
    """

    n: int
    seed: int
    size: int

    def __post_init__(self) -> None:
        for name, least in (("n", 1), ("seed", 0), ("size", MIN_SIZE)):
            if getattr(self, name) < least:
                raise ParameterError(
                    f"{name}={getattr(self, name)}: expected {least} or more for {NAME}"
                )

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes 1..K."""
        return OBJECT_CLASSES

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits; other numbers, generator or versions of libraries, another one."""
        made = {"n": self.n, "seed": self.seed, "size": self.size}
        return of_json({"name": NAME, **made, "code": _code_of_the_generator()})

    @property
    def items(self) -> tuple[Item, ...]:
        """A place in the set for every picture, each a group of its own."""
        return tuple(Item(f"{i:05d}", f"{i:05d}", None, None) for i in range(self.n))

    @property
    def provenance(self) -> dict[str, Any]:
        """What a run record keeps of it."""
        told = {"name": NAME, "source": "synthetic", "complete": True}
        return told | {"coverage": f"{self.n} generated images", "fingerprint": self.fingerprint}

    def read(self, item: Item) -> tuple[np.ndarray, Instances]:
        """Picture and objects of one item."""
        return self[int(item.id)]

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[np.ndarray, Instances]:
        """Picture and objects number ``index``; negative numbers count from the end."""
        if not -self.n <= index < self.n:
            raise IndexError(f"picture {index} of {self.n} ({NAME})")
        scene = draw_scene(int(index) % self.n, self.seed, self.size)
        return scene.image, from_labels(scene.labels, scene.classes)


@cache
def _code_of_the_generator() -> str:
    return of_code([draw_scene.__module__])


def generated_objects(n: int, seed: int, size: int) -> GeneratedObjects:
    """The first ``n`` pictures of ``synthetic-objects``; see :class:`GeneratedObjects`.

    They stand where COCO would and need no download. For validation take another seed.

    Raises:
        ParameterError: a number out of range.
    """
    return GeneratedObjects(n, seed, size)
