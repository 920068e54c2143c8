"""The released numbers of arXiv 2410.18677, analysed again.

A *set-up* is one encoder, pretraining scheme, data set and way of fine-tuning (encoder frozen or
not): one row of checkpoints, of which a rule chooses one. A *setting* is one form of the robustness
score. Levels are counted from the deepest (1) upwards, because the encoders have four or five.
"""

import re
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import pandas as pd

from helpers.data.released import DISTANCES, LEVELS, MARGINS, ReleasedTables
from helpers.errors import ParameterError
from helpers.transferability.judging import (
    StoppingRule,
    choose_highest,
    choose_lowest,
    compute_saved,
    rank_correlation,
    scores_by_seed,
    stop_online,
)

KEYS = ["dataset", "encoder", "scheme"]
SETTING_KEYS = ["distance", "margin", "pooled", "level"]


@dataclass(frozen=True)
class Setting:
    """One form of the score; the defaults are those the paper recommends.

    Attributes:
        from_top: 1 for the deepest level of the encoder, 2 for the one before it, ...
    """

    distance: str = "cosine"
    margin: float = 0.5
    pooled: bool = True
    from_top: int = 1


ALL_SETTINGS = [
    Setting(*values)
    for values in product(sorted(DISTANCES.values()), MARGINS, (True, False), (1, 2, 3, 4))
]


@dataclass(frozen=True)
class SetUp:
    """One row of checkpoints.

    Attributes:
        lengths: epochs of pretraining, ascending; 0 is the random initialisation.
        dice: (lengths, seeds), NaN where a model is missing.
        accuracy: top-1 on ImageNet, (lengths,).
        losses: robustness by setting, (lengths,) each, NaN where it is missing or faulty.
        borrowed: whether the models of length 0 are those of the other scheme (a random
            initialisation knows no scheme, and they were released for one only).
    """

    dataset: str
    encoder: str
    scheme: str
    frozen: bool
    lengths: np.ndarray
    dice: np.ndarray
    accuracy: np.ndarray
    losses: dict[Setting, np.ndarray]
    borrowed: bool

    @property
    def full(self) -> int:
        """Position of the longest pretraining."""
        return len(self.lengths) - 1

    @property
    def name(self) -> str:
        """Data set, encoder, scheme, frozen or fine-tuned."""
        way = "frozen" if self.frozen else "fine-tuned"
        return f"{self.dataset}, {self.encoder}, {self.scheme}, {way}"


def repeated_lengths(robustness: pd.DataFrame) -> pd.DataFrame:
    """Pairs of lengths whose losses agree to the last digit in every setting: a fault.

    Two different checkpoints do not give equal losses in all of a data set's settings; where they
    do, one was scored twice.

    Returns:
        dataset, length, repeats (the other length), rows (compared), equal (rows that agree); one
        row per data set and pair of lengths of which at least one row agrees, faults first. A pair
        is a fault if ``equal == rows``.
    """
    found = []
    for dataset, rows in robustness.groupby("dataset"):
        wide = rows.pivot_table(
            index=["encoder", "scheme", *SETTING_KEYS], columns="length", values="loss"
        )
        for one, other in combinations(wide.columns, 2):
            both = wide[[one, other]].dropna()
            equal = int((both[one] == both[other]).sum())
            if equal:
                found.append((dataset, one, other, len(both), equal))
    table = pd.DataFrame(found, columns=["dataset", "length", "repeats", "rows", "equal"])
    return table.sort_values(["equal", "dataset"], ascending=[False, True], ignore_index=True)


def without_faults(robustness: pd.DataFrame) -> pd.DataFrame:
    """The losses without the shorter one of every pair of lengths that was scored twice."""
    pairs = repeated_lengths(robustness)
    faults = pairs[pairs["equal"] == pairs["rows"]]
    marks = set(zip(faults["dataset"], faults["length"], strict=True))
    keep = [
        pair not in marks for pair in zip(robustness["dataset"], robustness["length"], strict=True)
    ]
    return robustness[keep]


def gather_set_ups(tables: ReleasedTables) -> list[SetUp]:
    """All set-ups of the released tables, faulty losses left out, double models counted once."""
    models = tables.downstream.drop_duplicates([*KEYS, "frozen", "length", "seed"])
    losses = _losses_by_setting(without_faults(tables.robustness))
    return [
        _set_up(names, rows, models, losses) for names, rows in models.groupby([*KEYS, "frozen"])
    ]


def _set_up(names: tuple, rows: pd.DataFrame, models: pd.DataFrame, losses: dict) -> SetUp:
    dataset, encoder, scheme, frozen = names
    borrowed = not (rows["length"] == 0).any()
    if borrowed:
        same = models[["dataset", "encoder", "frozen"]].eq([dataset, encoder, frozen]).all(axis=1)
        rows = pd.concat([models[same & (models["length"] == 0)], rows])
    dice = rows.pivot(index="length", columns="seed", values="dice").sort_index()
    return SetUp(
        *names,
        lengths=dice.index.to_numpy(),
        dice=dice.to_numpy(),
        accuracy=rows.groupby("length")["accuracy"].first().to_numpy(),
        losses={
            setting: one.reindex(dice.index).to_numpy()
            for setting, one in losses[dataset, encoder, scheme].items()
        },
        borrowed=borrowed,
    )


def _losses_by_setting(robustness: pd.DataFrame) -> dict[tuple, dict[Setting, pd.Series]]:
    found: dict[tuple, dict[Setting, pd.Series]] = {}
    for names, rows in robustness.groupby([*KEYS, *SETTING_KEYS]):
        dataset, encoder, scheme, distance, margin, pooled, level = names
        setting = Setting(distance, float(margin), bool(pooled), LEVELS[encoder] + 1 - level)
        series = rows.set_index("length")["loss"]
        found.setdefault((dataset, encoder, scheme), {})[setting] = series
    return found


# ------------------------------------------------------------------------------ rules


@dataclass(frozen=True)
class Chosen:
    """What a rule did in one set-up.

    Attributes:
        at: position of the chosen checkpoint; ``None`` for one drawn among the pretrained.
        seen: position up to which was pretrained.
    """

    at: int | None
    seen: int


RULES = (
    "lowest robustness loss",
    "highest robustness loss",
    "highest ImageNet accuracy",
    "random checkpoint",
    "always full",
    "no pretraining",
    "oracle",
)


def preference(rule: str, one: SetUp, setting: Setting) -> np.ndarray | None:
    """What an offline rule ranks the checkpoints by, higher for better, float64 (lengths,).

    NaN for the random initialisation (length 0): no indicator may choose it, because its losses are
    faulty in two of three data sets. ``None`` for a rule that ranks nothing.
    """
    indicators = {
        "lowest robustness loss": -one.losses[setting],
        "highest robustness loss": one.losses[setting],
        "highest ImageNet accuracy": one.accuracy,
        "always full": one.lengths,
    }
    if rule not in indicators:
        return None
    return np.where(one.lengths > 0, indicators[rule], np.nan)


def apply_rule(rule: str, one: SetUp, setting: Setting) -> Chosen:
    """The choice of an offline or trivial rule (:data:`RULES`) in one set-up."""
    ranks = preference(rule, one, setting)
    if ranks is not None:
        return Chosen(choose_highest(ranks), one.full)
    if rule == "random checkpoint":
        return Chosen(None, one.full)
    if rule == "no pretraining":
        return Chosen(0, 0)
    return Chosen(choose_highest(np.nanmean(one.dice, axis=1)), one.full)


_ONLINE = re.compile(
    r"^online, patience (\d+)(?:, mean of (\d+))?(?:, from (\d+) epochs on)?"
    r"(, watching the start)?$"
)


@dataclass(frozen=True)
class OnlineRule:
    """A :class:`~helpers.transferability.judging.StoppingRule` in terms of epochs.

    Attributes:
        patience: checkpoints without a new minimum after which the pretraining stops.
        smoothing: checkpoints over which the loss is averaged.
        least: shortest pretraining, in epochs, that may be chosen; shorter ones are not compared.
        watch_start: also compare with the random initialisation.
    """

    patience: int = 1
    smoothing: int = 1
    least: int = 1
    watch_start: bool = False

    @property
    def name(self) -> str:
        """The rule in a few words; :meth:`parse` reads them."""
        parts = [f"online, patience {self.patience}"]
        parts += [f"mean of {self.smoothing}"] if self.smoothing > 1 else []
        parts += [f"from {self.least} epochs on"] if self.least > 1 else []
        return ", ".join([*parts, "watching the start"] if self.watch_start else parts)

    @classmethod
    def parse(cls, name: str) -> "OnlineRule | None":
        """The rule of a name, ``None`` if it is not that of an online rule."""
        found = _ONLINE.match(name)
        if not found:
            return None
        patience, smoothing, least, watched = found.groups()
        return cls(int(patience), int(smoothing or 1), int(least or 1), watched is not None)

    def on(self, lengths: np.ndarray) -> StoppingRule:
        """The rule in terms of positions in a row of checkpoints.

        Raises:
            ParameterError: no checkpoint is as long as ``least``.
        """
        if self.least > lengths[-1]:
            raise ParameterError(
                f"least={self.least}: the longest pretraining has {lengths[-1]} epochs; expected "
                "at most that"
            )
        least = int(np.searchsorted(lengths, self.least))
        return StoppingRule(self.patience, self.smoothing, least, watch_start=self.watch_start)


def apply_online(rule: OnlineRule, one: SetUp, setting: Setting) -> Chosen:
    """The choice of an online rule in one set-up."""
    stop = stop_online(one.losses[setting], rule.on(one.lengths))
    return Chosen(stop.chosen, stop.seen)


def choose_with_start(one: SetUp, setting: Setting) -> Chosen:
    """The lowest loss of all checkpoints, the random initialisation among them, if it is known."""
    return Chosen(choose_lowest(one.losses[setting]), one.full)


def knows_start(one: SetUp, setting: Setting) -> bool:
    """Whether the loss of the random initialisation is there and not faulty."""
    return bool(np.isfinite(one.losses[setting][0]))


def judge_choice(one: SetUp, chosen: Chosen) -> dict:
    """TIS and regret by seed, share of the compute saved, length chosen (NaN if random)."""
    places = np.flatnonzero(one.lengths > 0) if chosen.at is None else chosen.at
    tis, regret = scores_by_seed(one.dice, places)
    return {
        "tis": tis,
        "regret": regret,
        "saved": compute_saved(one.lengths, chosen.seen),
        "length": float("nan") if chosen.at is None else float(one.lengths[chosen.at]),
    }


def correlation(rule: str, one: SetUp, setting: Setting) -> float:
    """Spearman's correlation of a rule's :func:`preference` with the mean Dice over seeds.

    Over the pretrained checkpoints of a set-up; positive where the rule is right, NaN for a rule
    that ranks nothing.
    """
    ranks = preference(rule, one, setting)
    return float("nan") if ranks is None else rank_correlation(ranks, one.dice)


def correlation_by_seed(rule: str, one: SetUp, setting: Setting) -> np.ndarray | None:
    """As :func:`correlation`, with the Dice of every single seed, float64 (seeds,).

    Not the same on average: single models scatter more than their means.
    """
    ranks = preference(rule, one, setting)
    if ranks is None:
        return None
    return np.array([rank_correlation(ranks, seed) for seed in one.dice.T])


def shorter_places(one: SetUp) -> np.ndarray:
    """Positions of pretrainings shorter than the longest; no pretraining is none of them."""
    return np.flatnonzero((one.lengths > 0) & (one.lengths < one.lengths[-1]))


def shorter_is_best(one: SetUp) -> bool:
    """Whether some shorter pretraining has a higher mean Dice than the longest.

    With ``n`` shorter ones and differences that are noise alone this is so in ``n / (n + 1)`` of
    set-ups.
    """
    means = np.nanmean(one.dice, axis=1)
    return bool(np.nanmax(means[shorter_places(one)]) > means[one.full])


def shorter_gain(one: SetUp) -> np.ndarray:
    """Dice gained by the best shorter pretraining over the full one, by seed, without peeking.

    For each seed the shorter length (above 0) is chosen by the mean of the other seeds. Choosing
    and judging on the same seeds would find a gain in noise alone.
    """
    gains, places = [], shorter_places(one)
    for seed in range(one.dice.shape[1]):
        others = np.delete(one.dice, seed, axis=1)[places]
        best = places[choose_highest(np.nanmean(others, axis=1))]
        gains.append(one.dice[best, seed] - one.dice[one.full, seed])
    return np.array(gains)
