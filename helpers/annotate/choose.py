"""From a folder to a ranking: which of its images to annotate first, and how well they cover it."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from helpers.annotate.candidates import Candidate, Cut, find_images
from helpers.annotate.describe import Source, describe_folder
from helpers.annotate.survey import Survey
from helpers.errors import ParameterError
from helpers.locks import sole_user
from helpers.quantization import coverage, rank
from helpers.quantization.cells import k_means_cells

# Names of the command line, for those of helpers.quantization.
METHODS = {
    "dq": "dq_paper_eq",
    "dq-official": "dq_official_code",
    "dq-graphcut": "dq_graphcut",
    "facility-location": "facility_location",
    "k-center": "k_center",
    "herding": "herding",
    "stratified": "stratified",
    "random": "random",
}
RANDOM_DRAWS = 20
# Draws of the method itself, this choice among them: one alone may be lucky.
OWN_DRAWS = 5


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        folder: with images, at any depth.
        output: where results go and features are kept.
        budget: how many images (or patches) can be annotated.
        method: key of :data:`METHODS`.
        cut: whole images or patches.
        features: see :data:`helpers.annotate.describe.FEATURES`.
        n_bins: of dataset quantization; never more than are chosen.
        seed: of everything that is drawn.
        device: by name, for features that need a network.
    """

    folder: Path
    output: Path
    budget: int
    method: str = "dq"
    cut: Cut = Cut()  # noqa: RUF009 (frozen)
    features: str = "descriptor"
    n_bins: int = 10
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.budget < 1 or self.n_bins < 1 or self.seed < 0:
            raise ParameterError(
                f"budget {self.budget}, bins {self.n_bins}, seed {self.seed}: expected a budget "
                "and a number of bins of at least 1, and a seed of 0 or more"
            )
        if self.method not in METHODS:
            raise ParameterError(f"method '{self.method}': unknown. Methods: {', '.join(METHODS)}")
        if self.output.resolve() == self.folder.resolve():
            raise ParameterError(
                f"output {self.output}: is the folder of the images. Name another (--out)."
            )


@dataclass(frozen=True)
class Spread:
    """How well a choice stands for all candidates, and how well random choices do.

    Attributes:
        mean, p95: distance of all candidates to the nearest chosen one, its mean and 95th
            percentile; cells: share of as many k-means cells as candidates were chosen that hold a
            chosen one.
        own: the same three numbers for :data:`OWN_DRAWS` draws of the method with other seeds, this
            choice first, float64 (draws, 3); of a method that draws nothing they are all alike.
        random: the same three numbers for :data:`RANDOM_DRAWS` random choices of the same size,
            float64 (draws, 3).
    """

    mean: float
    p95: float
    cells: float
    own: np.ndarray
    random: np.ndarray


@dataclass(frozen=True)
class Choice:
    """What to annotate first.

    Attributes:
        request: what was asked for.
        survey: the folder, its candidates, and what could not be read.
        features: float32 (N, d), as the method saw them.
        chosen: int64 (n,), positions among the candidates, the first to annotate first.
        stands_for: int64 (n,), how many candidates have this one as their nearest chosen one.
        spread: ``None`` if everything was chosen.
    """

    request: Request
    survey: Survey
    features: np.ndarray
    chosen: np.ndarray
    stands_for: np.ndarray
    spread: Spread | None

    @property
    def candidates(self) -> list[Candidate]:
        """All images or patches of the folder."""
        return self.survey.candidates


def choose(request: Request) -> Choice:
    """Describe a folder's images (once) and choose among them.

    The features are kept in ``request.output / "features"``: another budget or method, or a folder
    with more images, costs only what is new.

    Raises:
        DataError: no images, none that can be read, or an output that cannot be written.
        ParameterError: unknown features.
    """
    found = find_images(request.folder)
    store = request.output / "features"
    source = Source(
        request.folder, store, request.cut, request.features, request.seed, request.device
    )
    with sole_user(store):
        survey, features = describe_folder(source, found)
    return _choice(request, survey, features)


def rank_again(choice: Choice, method: str, seed: int) -> Choice:
    """The same candidates and budget, chosen by another method or with another seed."""
    request = replace(choice.request, method=method, seed=seed)
    return _choice(request, choice.survey, choice.features)


def _choice(request: Request, survey: Survey, features: np.ndarray) -> Choice:
    chosen = _rank(features, request)
    spread = _spread(features, chosen, request)
    return Choice(request, survey, features, chosen, _stands_for(features, chosen), spread)


def _rank(features: np.ndarray, request: Request) -> np.ndarray:
    count = min(request.budget, len(features))
    rng = np.random.default_rng([request.seed, 1])
    # With more bins than picks the outermost bins would never be drawn from.
    return rank(features, count, rng, METHODS[request.method], min(request.n_bins, count))


def _stands_for(features: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Candidates whose nearest chosen one is each; a chosen one counts for itself."""
    from sklearn.metrics import pairwise_distances_argmin

    nearest = pairwise_distances_argmin(features, features[chosen])
    nearest[chosen] = np.arange(len(chosen))  # copies of one image: each stands for itself
    return np.bincount(nearest, minlength=len(chosen))


def _spread(features: np.ndarray, chosen: np.ndarray, request: Request) -> Spread | None:
    """``None`` if everything is chosen."""
    if len(chosen) == len(features):
        return None
    draw = np.random.default_rng([request.seed, 2])
    # One set of cells, so that all choices are held against the same.
    cells = k_means_cells(features, len(chosen), np.random.default_rng([request.seed, 3]))
    seeds = range(request.seed + 1, request.seed + OWN_DRAWS)
    own = [chosen, *(_rank(features, replace(request, seed=seed)) for seed in seeds)]
    others = [draw.choice(len(features), len(chosen), replace=False) for _ in range(RANDOM_DRAWS)]
    found = [coverage(features, one, cells) for one in (*own, *others)]
    numbers = np.array([(one.mean_distance, one.p95_distance, one.cells_hit) for one in found])
    return Spread(*numbers[0], numbers[:OWN_DRAWS], numbers[OWN_DRAWS:])
