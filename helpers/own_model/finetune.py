"""Fine-tuning of one's own checkpoint on new images, with a share of old ones replayed.

SGD as in :mod:`helpers.training.flows`, on patches at the magnification at which the model
predicts: images are resized by ``diam_mean / diameter``, one diameter per folder (Cellpose's own
training resizes each image by its annotated objects, which are not known when it predicts). Further
random scale 0.75 to 1.25 as in Cellpose's training with ``rescale=True``.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from helpers.data.archives import require_space
from helpers.errors import DataError, ParameterError
from helpers.features.descriptor import describe_all
from helpers.files import write_json, write_text
from helpers.leftovers import remove_leftovers
from helpers.locks import sole_user
from helpers.models.device import resolve_device, resolve_precision
from helpers.own_model.checkpoint import GreyInput, Model, read_model, write_model
from helpers.own_model.labelled import Labelled, examined, open_labelled, split
from helpers.own_model.patches import bytes_of, patch_store
from helpers.own_model.retention import Comparison, Side, compare
from helpers.own_model.scores import score
from helpers.quantization import METHODS, select
from helpers.replay import Mixer, appended, controlled
from helpers.training.flows import TrainingPlan, train
from helpers.training.targets import PatchStore

SETTINGS, LOSSES, CHECKPOINT, PATCHES = "finetune.json", "losses.csv", "checkpoint.pt", "patches"
SCALE_RANGE = 0.5
DEFAULT_SHARE = 0.1


@dataclass(frozen=True)
class Settings:
    """What to fine-tune, on what, and how.

    Attributes:
        model: checkpoint, or ``random:WIDTH``.
        target, replay: folders (or data sets) with the new and the old images.
        output: folder of results.
        setting: ``"controlled"`` gives old images a fixed share of each batch, ``"appended"`` adds
            their patches to the new ones and draws all alike.
        share: of each batch that is replayed, for the controlled setting; 0 replays nothing.
        method, rate: which patches of the old training images are replayed: this share of them,
            chosen by this method of :data:`helpers.quantization.METHODS`.
        steps, learning_rate, batch_size: of SGD.
        patch_size: side of the training patches, pixels, a multiple of 8.
        diameter, replay_diameter: of the objects in pixels; ``None``: the model's ``diam_labels``,
            and for the replayed images that of the target.
        test_share: of the images of each folder that are held out, by group.
        seed: of split, choice, order and augmentation.
        device: by name.
        checkpoint_every: steps.
    """

    model: str
    target: str
    replay: str
    output: Path
    setting: str = "controlled"
    share: float | None = None
    method: str = "random"
    rate: float = 1.0
    steps: int = 300
    learning_rate: float = 0.05
    batch_size: int = 8
    patch_size: int = 224
    diameter: float | None = None
    replay_diameter: float | None = None
    test_share: float = 0.2
    seed: int = 0
    device: str = "auto"
    checkpoint_every: int = 20

    def __post_init__(self) -> None:
        if self.setting not in ("controlled", "appended"):
            raise ParameterError(f"--setting {self.setting}: expected controlled or appended")
        if self.setting == "appended" and self.share is not None:
            raise ParameterError(
                f"--share {self.share:g} with --setting appended: the share follows there from the "
                "numbers of patches. Leave --share out (--rate changes how many are replayed)."
            )
        if not 0 <= self.replayed < 1:
            raise ParameterError(
                f"--share {self.replayed:g}: expected 0 (no replay) or more and less than 1"
            )
        if self.method not in METHODS:
            raise ParameterError(f"--select {self.method}: expected one of {', '.join(METHODS)}")
        if not 0 < self.test_share < 1:
            raise ParameterError(f"--test-share {self.test_share:g}: expected between 0 and 1")
        if not 0 < self.rate <= 1:
            raise ParameterError(f"--rate {self.rate:g}: expected more than 0 and at most 1")
        sizes = [size for size in (self.diameter, self.replay_diameter) if size is not None]
        if not all(size > 0 for size in sizes) or self.seed < 0 or not self.learning_rate > 0:
            raise ParameterError(
                f"--diameter {sizes}, --seed {self.seed}, --learning-rate {self.learning_rate:g}: "
                "expected diameters and learning rate above 0 and a seed of 0 or more"
            )
        self.plan("float32")

    @property
    def replayed(self) -> float:
        """Share of each batch in the controlled setting."""
        return DEFAULT_SHARE if self.share is None else self.share

    def plan(self, precision: str) -> TrainingPlan:
        """The training plan, for a number format of the network's arithmetic."""
        return TrainingPlan(
            steps=self.steps,
            batch_size=self.batch_size,
            crop=self.patch_size,
            learning_rate=self.learning_rate,
            scale_range=SCALE_RANGE,
            precision=precision,
            checkpoint_every=self.checkpoint_every,
        )


@dataclass(frozen=True, eq=False)
class Part:
    """One folder in its role.

    Attributes:
        role: ``"target"`` or ``"replay"``.
        train, test: its images on either side of the split.
        diameter: as asked for; ``None`` takes each model's own.
    """

    role: str
    train: Labelled
    test: Labelled
    diameter: float | None


def model_path(settings: Settings) -> Path:
    """Where the fine-tuned checkpoint is written."""
    name = Path(settings.model.replace(":", "-")).name
    return settings.output / f"{name}_finetuned"


def finetune(settings: Settings) -> Comparison:
    """Fine-tune, and measure both sides on held-out images before and after.

    A killed run goes on where it was when it is started again with the same settings; a finished
    one is only reported again.

    Raises:
        DataError: a checkpoint, a folder or the output cannot be used, or holds another run.
        ParameterError: the training diverged.
    """
    model = read_model(settings.model, settings.seed)
    resolve_device(settings.device)
    parts = _parts(settings)
    output = settings.output
    with sole_user(output):
        _claim(settings, model, parts)
        for part in parts:
            score(model, part.test, model.diameter(part.diameter), output, settings.device)
        path = model_path(settings)
        if not path.is_file():
            _train(settings, model, parts, path)
        _clear(output)
        after = read_model(str(path))
        before = read_model(settings.model, settings.seed)
        sides = [_side(settings, (before, after), part) for part in parts]
    return Comparison(before, after, sides, output, settings.seed)


def _side(settings: Settings, models: tuple[Model, Model], part: Part) -> Side:
    return compare(models, part.test, part.diameter, settings.output, settings.device, part.role)


def _parts(settings: Settings) -> list[Part]:
    target, replay = map(examined, open_labelled([settings.target, settings.replay]))
    for data in (target, replay):
        if data.merged:
            raise DataError(
                f"{data.name}: {data.merged} A model would learn that all of them are one. Number "
                "the objects (skimage.measure.label(mask > 0), where they do not touch), or leave "
                "the image out."
            )
    if target.dataset.fingerprint == replay.dataset.fingerprint:
        raise DataError(
            f"{settings.target} and {settings.replay}: hold the same images. Name the new ones "
            "with --target and the old ones with --replay."
        )
    second = settings.diameter if settings.replay_diameter is None else settings.replay_diameter
    return [
        Part(role, *split(data, settings.test_share, settings.seed), diameter)
        for role, data, diameter in (
            ("target", target, settings.diameter),
            ("replay", replay, second),
        )
    ]


def _claim(settings: Settings, model: Model, parts: list[Part]) -> None:
    """Keep the settings in the output, or see that they are those that lie there."""
    wanted = {k: v for k, v in asdict(settings).items() if k not in ("output", "device")}
    wanted["weights"] = model.digest
    wanted |= {f"{part.role}_images": part.train.dataset.fingerprint for part in parts}
    wanted = json.loads(json.dumps(wanted))
    path = settings.output / SETTINGS
    if not path.is_file():
        write_json(path, wanted)
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    differing = [name for name in wanted if found.get(name) != wanted[name]]
    if differing:
        named = ", ".join(f"{n} was {found.get(n)}, now {wanted[n]}" for n in differing)
        raise DataError(
            f"{settings.output}: holds a fine-tuning with other settings or data ({named}). Name "
            "another folder (--out)."
        )


def _train(settings: Settings, model: Model, parts: list[Part], path: Path) -> None:
    output, device = settings.output, resolve_device(settings.device)
    stores = _stores(settings, model, parts)
    chosen = np.arange(len(stores[0])), _replayed(stores[1], settings)
    if settings.setting == "appended":
        pools = appended(chosen)
    else:
        pools = controlled(chosen, (1 - settings.replayed, settings.replayed))
    mixer = Mixer(pools, settings.batch_size, settings.seed)
    plan = settings.plan(str(resolve_precision("auto", device)).removeprefix("torch."))
    network = GreyInput(model.network).to(device)
    how = {"checkpoint": output / CHECKPOINT, "name": "fine-tuning"}
    log = train(network, stores, mixer, plan, settings.seed, **how)
    lines = [f"{step},{loss:.5f}" for step, loss in enumerate(log.losses, start=1)]
    write_text(output / LOSSES, "\n".join(["step,loss", *lines]) + "\n")
    write_model(path, model.network, model.diameter(settings.diameter))


def _stores(settings: Settings, model: Model, parts: list[Part]) -> list[PatchStore]:
    size, folder = settings.patch_size, settings.output / PATCHES
    weights = sum(value.nbytes for value in model.network.state_dict().values())
    # Checkpoint and its successor hold weights and momentum each, and then comes the model.
    needed = 5 * weights
    for part in parts:
        remove_leftovers(folder, part.role)
        if not (folder / part.role / "meta.json").is_file():
            needed += bytes_of(part.train, model, model.diameter(part.diameter), size)
    # Patches are mapped into memory: without room the process would end without a word.
    require_space(settings.output, needed, "fine-tuning")
    return [
        patch_store(part.train, model, model.diameter(part.diameter), size, folder / part.role)
        for part in parts
    ]


def _replayed(store: PatchStore, settings: Settings) -> np.ndarray:
    """Which patches of the old images are replayed, int64."""
    if settings.rate == 1:
        return np.arange(len(store))
    rng = np.random.default_rng([settings.seed, 3])
    return select(describe_all(store.images), settings.rate, rng, settings.method)


def _clear(output: Path) -> None:
    """Remove what only an unfinished training needs."""
    (output / CHECKPOINT).unlink(missing_ok=True)
    shutil.rmtree(output / PATCHES, ignore_errors=True)
