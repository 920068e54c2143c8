"""Two checkpoints on the same labelled images: what the later one forgot."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import ParameterError
from helpers.locks import sole_user
from helpers.own_model.checkpoint import Model, read_model
from helpers.own_model.labelled import Labelled, at_most, examined, open_labelled
from helpers.own_model.scores import score


@dataclass(frozen=True)
class Request:
    """What to compare.

    Attributes:
        model, before: checkpoints after and before fine-tuning (or ``random:WIDTH``).
        data: folders of images with label images, or data sets of the manifest.
        output: folder of results.
        diameters: of the objects in pixels, one for all data or one for each; none: each model's
            own ``diam_labels``, as Cellpose does.
        limit: at most so many images of each, drawn at random; 0: all.
        seed: of the drawing and of the bootstrap.
        device: by name.
    """

    model: str
    before: str
    data: tuple[str, ...]
    output: Path
    diameters: tuple[float, ...] = ()
    limit: int = 0
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if len(self.diameters) not in (0, 1, len(self.data)):
            raise ParameterError(
                f"--diameter: {len(self.diameters)} values for {len(self.data)} data sets. "
                "Expected one for all or one for each."
            )
        if not all(value > 0 for value in self.diameters) or self.limit < 0 or self.seed < 0:
            raise ParameterError(
                f"--diameter {list(self.diameters)}, --limit {self.limit}, --seed {self.seed}: "
                "expected diameters above 0 and the others 0 or more"
            )

    def diameter(self, place: int) -> float | None:
        """The diameter for the data set at that place."""
        if not self.diameters:
            return None
        return self.diameters[place if len(self.diameters) > 1 else 0]


@dataclass(frozen=True, eq=False)
class Side:
    """Both models on one set of images.

    Attributes:
        data: the images.
        role: ``"target"`` or ``"replay"`` after fine-tuning here, else empty.
        before, after: metrics of each image, in the same order.
        diameters: with which each model predicted, pixels.
        rescales: by which images were resized for each model.
    """

    data: Labelled
    role: str
    before: list[dict]
    after: list[dict]
    diameters: tuple[float, float]
    rescales: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two models on the same images.

    Attributes:
        before, after: the models.
        sides: one per data set.
        output: folder of results.
        seed: of the bootstrap.
    """

    before: Model
    after: Model
    sides: list[Side]
    output: Path
    seed: int


def retention(request: Request) -> Comparison:
    """Measure both models on all images.

    Raises:
        DataError: a checkpoint or an image cannot be used, or the output cannot be written.
    """
    models = [read_model(source, request.seed) for source in (request.before, request.model)]
    opened = open_labelled(request.data)
    data = [examined(at_most(one, request.limit, request.seed)) for one in opened]
    with sole_user(request.output):
        sides = [
            compare(models, one, request.diameter(place), request.output, request.device)
            for place, one in enumerate(data)
        ]
    return Comparison(*models, sides, request.output, request.seed)


def compare(
    models: Sequence[Model],
    data: Labelled,
    diameter: float | None,
    output: Path,
    device: str,
    role: str = "",
) -> Side:
    """Both models on one set of images.

    Args:
        models: the one before, the one after.
        diameter: pixels; ``None`` takes each model's own.
        output: folder of results, which remembers what was measured.
    """
    diameters = [model.diameter(diameter) for model in models]
    rows = [
        score(model, data, size, output, device)
        for model, size in zip(models, diameters, strict=True)
    ]
    rescales = [float(model.rescale(size)) for model, size in zip(models, diameters, strict=True)]
    return Side(data, role, *rows, tuple(diameters), tuple(rescales))
