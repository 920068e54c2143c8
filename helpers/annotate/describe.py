"""Features of a folder's candidates: by the simple descriptor, or by a network."""

from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import numpy as np

from helpers import fingerprints
from helpers.annotate.candidates import Candidate, Cut, square
from helpers.annotate.survey import Survey, pictures, survey
from helpers.data.preprocess import scale_percentiles, to_grey
from helpers.data.readers.folder import Sorted
from helpers.errors import DataError, ParameterError
from helpers.features.descriptor import standardise

FEATURES = (
    "descriptor, lite0, mae, mae-vit-base, lunit-dino-vits16, lunit-dino-vits8, timm:NAME or "
    "timm:NAME=FILE"
)
# Squares that the in-house autoencoder is trained on at most, and for how long.
MAE_SQUARES = 4000
MAE_STEPS = 300


@dataclass(frozen=True)
class Source:
    """Where the pictures are and how they are described.

    Attributes:
        folder: of the images.
        store: folder for all that is computed of them.
        cut: whole images or patches.
        features: see :data:`FEATURES`.
        seed: of networks that start from random weights.
        device: by name.
    """

    folder: Path
    store: Path
    cut: Cut
    features: str = "descriptor"
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if not _is_known(self.features):
            raise ParameterError(f"features '{self.features}': unknown. Expected {FEATURES}.")


def _is_known(features: str) -> bool:
    if features in ("descriptor", "lite0", "mae"):
        return True
    # Only here, since it needs torch, which takes seconds to import.
    from helpers.features.encoders import PUBLISHED_VITS

    return features in PUBLISHED_VITS or (features.startswith("timm:") and features != "timm:")


def describe_folder(source: Source, found: Sorted) -> tuple[Survey, np.ndarray]:
    """All candidates of a folder with their features, float32 (N, d).

    Every file is read once for its descriptors, which also tell what is readable; a network then
    sees what was readable. Both are kept in the store, by the content of the files, and by the
    network's weights.

    Raises:
        DataError: nothing readable, or weights that are not there.
        ParameterError: unknown network.
    """
    code = fingerprints.of_code(["helpers.annotate.survey"])[:8]
    store = source.store / f"descriptor-{source.cut.name}-{code}"
    surveyed = survey(source.folder, found, source.cut, store)
    if source.features == "descriptor":
        return surveyed, standardise(surveyed.values)
    # Of the squares: candidates, cut, and the content of every file.
    held = [[astuple(one) for one in surveyed.candidates], asdict(source.cut), surveyed.digests]
    return surveyed, _by_network(source, surveyed.candidates, fingerprints.of_json(held))


class Squares(Sequence):
    """What a network sees of each candidate, read when asked for; quick in the order of the files.

    Grey, or in colours for a network that takes them and a picture that has three channels; scaled
    by percentiles of the whole picture.
    """

    def __init__(self, source: Source, candidates: list[Candidate], colours: bool = False) -> None:
        self._source, self._candidates, self._colours = source, candidates, colours
        self._file, self._pictures, self._current = "", iter(()), (0, np.zeros((0, 0)))

    def __len__(self) -> int:
        return len(self._candidates)

    def __getitem__(self, index: int) -> np.ndarray:
        one = self._candidates[index]
        window = (one.top, one.left, one.height, one.width)
        return square(self._picture(one), window, self._source.cut)

    def _picture(self, one: Candidate) -> np.ndarray:
        if one.file != self._file or one.page < self._current[0]:
            path = self._source.folder / one.file
            self._file, self._pictures = one.file, pictures(path, [])
            self._current = (0, np.zeros((0, 0)))
        while self._current[0] < one.page:
            page, image = next(self._pictures, (0, None))
            if image is None:
                raise DataError(f"{one.file}: changed while it was read. Start again.")
            keep = self._colours and image.shape[2] == 3
            self._current = (page, scale_percentiles(image if keep else to_grey(image)))
        return self._current[1]


def _by_network(source: Source, candidates: list[Candidate], key: str) -> np.ndarray:
    from helpers.features.embed import EmbedSettings, embed
    from helpers.models.device import resolve_device

    device = str(resolve_device(source.device))
    encoder = _encoder(source, candidates, key, device)
    squares = Squares(source, candidates, colours=encoder.channels == 3)
    settings = EmbedSettings(scaled=True)
    return np.asarray(embed(squares, encoder, settings, source.store / "networks", key, device))


def _encoder(source: Source, candidates: list[Candidate], key: str, device: str):
    from helpers.features import encoders

    if source.features == "lite0":
        from helpers.experiments.encoding import open_encoder

        return open_encoder("lite0")
    if source.features == "mae":
        return encoders.local_mae(_trained_mae(source, candidates, key, device))
    if source.features in encoders.PUBLISHED_VITS:
        return _official(source.features)
    name, _, weights = source.features.removeprefix("timm:").partition("=")
    return encoders.timm_encoder(name, Path(weights) if weights else None, source.seed)


def _official(name: str):
    from helpers.features import encoders

    try:
        return encoders.published_vit(name, progress=False)
    except DataError as error:
        raise DataError(
            f"{error}\nFetch the weights first, if you accept their licence: "
            f"python -m helpers data fetch {name} --accept-licence {name}"
        ) from error


def _trained_mae(source: Source, candidates: list[Candidate], key: str, device: str) -> Path:
    """A small masked autoencoder trained on the folder's own squares; kept, and resumed."""
    from tqdm import tqdm

    from helpers.models.mae import MaeArchitecture
    from helpers.pretraining.mae import MaePlan, pretrain_mae

    path = source.store / "networks" / f"mae-{key[:12]}-seed{source.seed}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        return path
    images = _training_squares(source, candidates, path.with_suffix(".squares.npy"))
    with tqdm(total=MAE_STEPS, desc="training the autoencoder", unit="step", mininterval=2) as bar:

        def show(done: int, loss: float) -> None:
            bar.update(done - bar.n)
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)

        plan = MaePlan(MAE_STEPS)
        pretrain_mae(images, MaeArchitecture(), plan, source.seed, path, show, device)
    path.with_suffix(".squares.npy").unlink()
    return path


def _training_squares(source: Source, candidates: list[Candidate], path: Path) -> np.ndarray:
    """Up to :data:`MAE_SQUARES` squares on disk, float16 (n, side, side), drawn at random."""
    from tqdm import tqdm

    rng = np.random.default_rng([source.seed, 4])
    count = min(MAE_SQUARES, len(candidates))
    drawn = np.sort(rng.permutation(len(candidates))[:count])
    squares = Squares(source, [candidates[i] for i in drawn])
    first = squares[0]
    kept = np.lib.format.open_memmap(path, "w+", np.float16, (count, *first.shape))
    for i in tqdm(range(count), "cutting images for the autoencoder", delay=2, mininterval=2):
        kept[i] = np.clip(squares[i], 0, 1)
    return kept
