"""Models that move between domains (arXiv 2511.04803, sections III-D to III-G).

A stage is one training: on which shares of which domains, from which weights, held back by what. A
path is a chain of stages. Each stage is a trial of its own, known by its whole past, so that all
paths that begin alike share their beginning; it is measured on every domain.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from helpers.errors import ParameterError
from helpers.experiments.domains import Domain
from helpers.experiments.subset import Recipe, measure
from helpers.models.cpnet import build_cpnet, load_weights, save_weights
from helpers.models.device import resolve_device
from helpers.models.l2sp import Anchor
from helpers.replay import AdaptiveShare, Mixer, Pool, appended, controlled
from helpers.training.flows import Teacher, foreground_dice, train
from helpers.training.loop import Check, Log, Looks, evenly

WEIGHTS = "weights.pt"
# Side of the central part of a patch on which models are watched.
WATCHED_SIDE = 112


@dataclass(frozen=True)
class Portion:
    """What a stage sees of one domain.

    Attributes:
        domain: name.
        rate: share of the domain's patches, 0..1.
        method: how they are chosen, of :data:`helpers.quantization.METHODS`; not used at 0 and 1.
        share: of every batch; ``None`` for all portions of a stage draws all patches alike.
    """

    domain: str
    rate: float = 1.0
    method: str = "random"
    share: float | None = None

    def __post_init__(self) -> None:
        if self.rate in (0, 1):
            # None and all are the same whatever chooses them, and so must the trials be.
            object.__setattr__(self, "method", "random")


@dataclass(frozen=True)
class Keep:
    """What is done against forgetting besides replay.

    Attributes:
        anchor: weight of L2-SP toward the starting weights; 0 turns it off.
        teacher: weight of distillation from the starting network on images of the first portion.
        adaptive: share of the second portion in every batch, set while training.
    """

    anchor: float = 0.0
    teacher: float = 0.0
    adaptive: AdaptiveShare | None = None


@dataclass(frozen=True)
class Stage:
    """One training on one mixture of domains.

    Attributes:
        portions: what is trained on; with an adaptive share exactly two, the new domain first.
        recipe: network, plan and seed; the seed is also that of the choices.
        start: the stage whose weights this one begins with; ``None`` for random weights.
        keep: measures against forgetting; they refer to ``start``.
        looks: into how many parts looks at the domains divide the training, with one before and
            one after; 0 for no look.

    Raises:
        ParameterError: a share for some portions and not for others; an adaptive share without
            looks, or with other than two portions that have shares.
    """

    portions: tuple[Portion, ...]
    recipe: Recipe
    start: "Stage | None" = None
    keep: Keep = field(default_factory=Keep)
    looks: int = 0

    def __post_init__(self) -> None:
        shares = [portion.share for portion in self.portions]
        if len({share is None for share in shares}) > 1:
            raise ParameterError(f"shares {shares}: expected one for each portion, or none at all")
        if self.keep.adaptive and (len(shares) != 2 or None in shares or not self.looks):
            raise ParameterError(
                f"adaptive share with shares {shares} and {self.looks} looks: "
                "expected two portions with shares, and at least one look"
            )

    @property
    def depth(self) -> int:
        """Number of stages before this one."""
        return 0 if self.start is None else 1 + self.start.depth

    @property
    def path(self) -> tuple["Stage", ...]:
        """All stages from the first to this one."""
        return (self,) if self.start is None else (*self.start.path, self)

    @property
    def learned(self) -> tuple[str, ...]:
        """Names of the domains trained on in this stage."""
        return tuple(portion.domain for portion in self.portions if portion.rate > 0)


def in_layers(stages: Sequence[Stage]) -> list[list[Stage]]:
    """All stages of all paths, once each, those first on which others build."""
    every = dict.fromkeys(stage for last in stages for stage in last.path)
    deepest = max((stage.depth for stage in every), default=-1)
    return [[s for s in every if s.depth == depth] for depth in range(deepest + 1)]


def run_stage(
    stage: Stage,
    folder: Path,
    domains: Mapping[str, Domain],
    folder_of: Callable[[Stage], Path],
) -> dict:
    """Train one stage and measure it on all domains.

    Args:
        folder: its own; keeps weights, examples and, while training, a checkpoint.
        domains: by name; all of them are tested on.
        folder_of: where the stage lies that this one starts from.

    Returns:
        Plain values: numbers of patches, losses, what was seen while training, shares of the
        batches, metrics of every test image by domain.
    """
    recipe = stage.recipe
    torch.set_num_threads(recipe.threads)
    network = build_cpnet(recipe.width, recipe.seed)
    if stage.start is not None:
        load_weights(network, folder_of(stage.start) / WEIGHTS)
    network.to(resolve_device(recipe.device))
    chosen = choose(stage, domains)
    log, mixer = _train(network, stage, domains, chosen, folder)
    images = {
        name: measure(network, domain.prepared, recipe, folder / f"examples-{place}.npz")
        for place, (name, domain) in enumerate(domains.items())
    }
    save_weights(network, folder / WEIGHTS)
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    return {
        "n_patches": [len(part) for part in chosen],
        "steps": recipe.plan.steps,
        "train_seconds": log.seconds,
        "losses": [round(loss, 5) for loss in log.losses],
        "checks": log.checks,
        "drawn": _drawn(stage, mixer, chosen),
        "domains": images,
    }


def choose(stage: Stage, domains: Mapping[str, Domain]) -> list[np.ndarray]:
    """Patches of each portion, int64; the same seed chooses the same."""
    return [domains[p.domain].choose(p.method, p.rate, stage.recipe.seed) for p in stage.portions]


def pools_of(stage: Stage, chosen: Sequence[np.ndarray]) -> list[Pool]:
    """One pool per portion with a share, or one pool of all portions without."""
    shares = [portion.share for portion in stage.portions]
    if all(share is None for share in shares):
        return appended(chosen)
    return controlled(chosen, shares)


def _train(
    network: torch.nn.Module,
    stage: Stage,
    domains: Mapping[str, Domain],
    chosen: Sequence[np.ndarray],
    folder: Path,
) -> tuple[Log, Mixer]:
    plan, seed = stage.recipe.plan, stage.recipe.seed
    # A later stage must not repeat the order and the crops of the one before.
    stage_seed = int(np.random.SeedSequence([seed, stage.depth]).generate_state(1)[0])
    mixer = Mixer(pools_of(stage, chosen), plan.batch_size, stage_seed)
    keep = stage.keep
    log = train(
        network,
        [domains[p.domain].store for p in stage.portions],
        mixer,
        plan,
        stage_seed,
        anchor=Anchor(network, keep.anchor) if keep.anchor else None,
        teacher=Teacher(network, keep.teacher) if keep.teacher else None,
        looks=_looks(stage, domains, mixer, chosen),
        checkpoint=folder / "checkpoint.pt",
        name=describe(stage),
    )
    return log, mixer


def _looks(
    stage: Stage, domains: Mapping[str, Domain], mixer: Mixer, chosen: Sequence[np.ndarray]
) -> Looks | None:
    if not stage.looks:
        return None
    plan = stage.recipe.plan
    precision = getattr(torch, plan.precision)
    patches = {name: domain.watched() for name, domain in domains.items()}

    def look(step: int, network: torch.nn.Module) -> Check:
        side = min(WATCHED_SIDE, next(iter(patches.values())).shape[-1])
        scores = {
            name: foreground_dice(network, stack, precision, side)
            for name, stack in patches.items()
        }
        return {**scores, "replayed": _replayed(stage, mixer, chosen)}

    rule, source = stage.keep.adaptive, stage.portions[-1].domain
    if rule and not (patches[source][:, 1] > 0.5).any():
        raise ParameterError(
            f"adaptive share: the watched patches of {source!r} show no instance, so that nobody "
            "can tell what is forgotten. Take more images, or a fixed share."
        )

    def react(checks: list[Check]) -> None:
        share = rule.high
        if len(checks) > 1:
            share = rule.share(checks[0][source], checks[-1][source])
        mixer.set_shares((1 - share, share))

    return Looks(evenly(plan.steps, stage.looks), look, react if rule else None)


def _replayed(stage: Stage, mixer: Mixer, chosen: Sequence[np.ndarray]) -> float:
    """Share of the last portion in the batches to come, 0 where there is but one."""
    if len(chosen) < 2:
        return 0.0
    if stage.portions[-1].share is not None:
        return mixer.shares[-1]
    return len(chosen[-1]) / sum(map(len, chosen))


def _drawn(stage: Stage, mixer: Mixer, chosen: Sequence[np.ndarray]) -> list[float]:
    """Share of all that was trained on, by portion."""
    if all(portion.share is None for portion in stage.portions):
        counts = np.array([len(part) for part in chosen], dtype=float)
    else:
        counts = np.array(mixer.drawn, dtype=float)
    return [round(float(share), 4) for share in counts / counts.sum()]


def describe(stage: Stage) -> str:
    """A stage in a few words, for a progress bar."""
    parts = [
        portion.domain if portion.rate == 1 else f"{portion.rate:.0%} {portion.domain}"
        for portion in stage.portions
        if portion.rate > 0
    ]
    here = " + ".join(parts)
    return here if stage.start is None else f"{describe(stage.start)} -> {here}"
