"""Which parts of CUPre (arXiv 2310.03981) are varied, one at a time: arms of few-shot detectors."""

from itertools import product
from typing import Any

from helpers.experiments.few_shot import CUPRE, GROUPS, LONGER, SOURCE, Arm
from helpers.models.initialisations import RANDOM
from helpers.pretraining.moco import MocoPlan, queue_length

WEIGHT, ROUNDS, PART = "weight of L2-SP", "rounds", "share of steps on cells"
LENGTH, QUEUE = "steps of AMT2", "keys of MoCo's queue"
OWN = "CUPre, on its cells"
# Names that say transformer; all other backbones are convolutional.
TRANSFORMERS = ("pyramid-", "vit", "swin", "deit", "beit", "eva", "mit_", "pvt")


def studies(p: Any) -> list[tuple[str, float, str, dict[str, Any]]]:
    """All levels of all studies: study, level, start, and the parameters that differ.

    Args:
        p: parameters of the chapter ``few-shot-ablations``.
    """
    sides = {name: getattr(p, name) for name in ("contrast_steps", "source_steps")}
    total = sum(sides.values())

    def divided(contrast: float, rounds: int) -> dict[str, int]:
        # Each side has at least one step in each round, and the total stays.
        steps = min(max(round(contrast / rounds), 1) * rounds, total - rounds)
        return {"rounds": rounds, "contrast_steps": steps, "source_steps": total - steps}

    chosen = queue_length(MocoPlan(1, p.contrast_batch, groups=GROUPS), p.n_patches)
    found = [(WEIGHT, one, CUPRE, {"anchor_weight": one}) for one in p.anchor_weights]
    found += [(ROUNDS, n, CUPRE, divided(p.contrast_steps, n)) for n in p.round_counts]
    for part in p.contrast_shares:
        changes = divided(part * total, p.rounds) if part else {}
        found.append((PART, part, CUPRE if part else LONGER, changes))
    for factor in p.lengths:
        steps = {n: max(1, round(factor * one / p.rounds)) * p.rounds for n, one in sides.items()}
        found.append((LENGTH, sum(steps.values()), CUPRE, steps))
    return found + [(QUEUE, n, CUPRE, {"queue": 0 if n == chosen else n}) for n in p.queues]


def cases(p: Any) -> list[tuple[dict[str, Any], Arm]]:
    """What rows of the results are about, and the arm behind each.

    ``study`` is one of the studies (with ``level``), ``"base"`` (CUPre as the parameters have it),
    ``"backbones"`` (with ``encoder`` and ``family``) or ``"elsewhere"`` (on cells that the
    pretraining did not see). But in the studies CUPre is also trained on all images.
    """
    wanted = [("base", CUPRE, p.cells, {}, {})]
    wanted += [(study, start, p.cells, new, {"level": n}) for study, n, start, new in studies(p)]
    three = (SOURCE, LONGER, CUPRE)
    for name in dict.fromkeys([p.encoder, *p.encoders] if p.encoders else []):
        plain = not any(word in name.lower() for word in TRANSFORMERS)
        more = {"encoder": name, "family": "convolutional" if plain else "transformer"}
        # Published weights are of the chapter's own backbone.
        own = {"encoder": name} | ({} if name == p.encoder else {"backbone": RANDOM})
        wanted += [("backbones", start, p.cells, own, more) for start in three]
    for name in p.unseen:
        wanted += [("elsewhere", start, name, {}, {}) for start in three]
        wanted.append(("elsewhere", OWN, name, {"cells": name}, {}))
    found = []
    for seed, (study, method, cells, changes, more) in product(p.seeds, wanted):
        shares = (p.share, 1.0) if method == CUPRE and "level" not in more else (p.share,)
        for share in dict.fromkeys(shares):
            start = CUPRE if method == OWN else method
            arm = Arm(start, cells, share, seed, tuple(changes.items()))
            about = {"study": study, "method": method, "test": cells, "rate": 100 * share, **more}
            found.append((about | {"seed": seed}, arm))
    return found


def kept(p: Any) -> list[Arm]:
    """CUPre as the parameters have it, once for each pretraining: its stages are looked into."""
    return [Arm(CUPRE, p.cells, p.share, seed) for seed in p.seeds[: p.pretrainings]]
