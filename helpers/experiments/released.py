"""The released numbers of arXiv 2410.18677, analysed again.

A *set-up* is one encoder, pretraining scheme, data set and way of fine-tuning (encoder frozen or
not): one row of checkpoints, of which a rule chooses one. A *form* is one form of the robustness
score. Levels are counted from the deepest (1) upwards, because the encoders have four or five.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd

from helpers.data.fetch import fingerprint_of
from helpers.data.released import (
    DISTANCES,
    GENERATED,
    LEVELS,
    MARGINS,
    NAME,
    ReleasedTables,
    generated_tables,
    open_released,
)
from helpers.errors import DataError, ParameterError
from helpers.transferability.judging import (
    StoppingRule,
    choose_highest,
    compute_saved,
    rank_correlation,
    scores_by_seed,
    stop_online,
)

KEYS = ["dataset", "encoder", "scheme"]
FORM = ["distance", "margin", "pooled", "level"]
ROBUST, LEAST_ROBUST = "lowest robustness loss", "highest robustness loss"
ACCURACY, FULL = "highest ImageNet accuracy", "always full"
RANDOM, NONE, ORACLE = "random checkpoint", "no pretraining", "oracle"
SHORTER, ONLINE = "best shorter on the other seeds", "online"
OFFLINE = (ROBUST, LEAST_ROBUST, ACCURACY, FULL, RANDOM, NONE, SHORTER, ORACLE)


@dataclass(frozen=True)
class Form:
    """One form of the score; the defaults are those the paper recommends.

    Attributes:
        from_top: 1 for the deepest level of the encoder, 2 for the one before it, ...
    """

    distance: str = "cosine"
    margin: float = 0.5
    pooled: bool = True
    from_top: int = 1


ALL_FORMS = [
    Form(*values)
    for values in product(sorted(DISTANCES.values()), MARGINS, (True, False), (1, 2, 3, 4))
]


@dataclass(frozen=True)
class Rule:
    """A way to choose a checkpoint.

    Attributes:
        method: one of :data:`OFFLINE`, or ``"online"``.
        form: of the score, where the method looks at it.
        patience, smoothing: of online stopping, in checkpoints
            (:class:`~helpers.transferability.judging.StoppingRule`); ``None`` offline.
        least: shortest pretraining, in epochs, that online stopping may choose.
        watch_start: whether the score may also choose the random initialisation (length 0).
    """

    method: str
    form: Form = Form()
    patience: int | None = None
    smoothing: int | None = None
    least: int | None = None
    watch_start: bool = False

    def on(self, lengths: np.ndarray) -> StoppingRule:
        """Online stopping in terms of positions in a row of checkpoints.

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


@dataclass(frozen=True)
class SetUp:
    """One row of checkpoints.

    Attributes:
        lengths: epochs of pretraining, ascending; 0 is the random initialisation.
        dice: (lengths, seeds), NaN where a model is missing.
        accuracy: top-1 on ImageNet, (lengths,).
        losses: robustness by form, (lengths,) each, NaN where it is missing or faulty.
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
    losses: dict[Form, np.ndarray]
    borrowed: bool

    @property
    def way(self) -> str:
        """Whether the encoder was frozen."""
        return "frozen" if self.frozen else "fine-tuned"

    @property
    def name(self) -> str:
        """Encoder, scheme, frozen or fine-tuned."""
        return f"{self.encoder}, {self.scheme}, {self.way}"


@dataclass(frozen=True)
class Found:
    """What :func:`run` found.

    Attributes:
        missing: whether generated tables stand in for released ones that were not to be had.
        rows: one per arm, set-up and seed.
    """

    tables: ReleasedTables
    missing: bool
    set_ups: list[SetUp]
    rows: pd.DataFrame


def run(p: Any, arms: Sequence[tuple[str, Rule]]) -> Found:
    """Apply rules to all set-ups.

    Args:
        p: parameters of the chapter; read are ``dataset``, ``if_missing``, ``seed``.
        arms: name of a table, and a rule. Those that watch the start are applied where the loss of
            the random initialisation is known and not faulty; so are all of the table ``"start"``.

    Raises:
        DataError: as :func:`open_tables`.
    """
    tables, missing = open_tables(p)
    set_ups = gather_set_ups(tables)
    rows = [
        {"table": table, **_columns(rule, one), **numbers}
        for table, rule in arms
        for one in set_ups
        if table != "start" or np.isfinite(one.losses[rule.form][0])
        for numbers in judge_choice(rule, one, ranked=table != "forms")
    ]
    return Found(tables, missing, set_ups, pd.DataFrame(rows))


def open_tables(p: Any) -> tuple[ReleasedTables, bool]:
    """The released tables, or generated ones where these were asked for or must do.

    Returns:
        The tables, and whether generated ones stand in for missing ones.

    Raises:
        DataError: the released ones are damaged; or are not to be had, and ``if_missing`` is
            ``"stop"``.
    """
    if p.dataset == GENERATED:
        return generated_tables(p.seed), False
    try:
        return open_released(), False
    except DataError:
        # Files that are there but damaged must not be passed over.
        if p.if_missing == "stop" or fingerprint_of(NAME) is not None:
            raise
        return generated_tables(p.seed), True


def _columns(rule: Rule, one: SetUp) -> dict:
    own = {name: value for name, value in vars(rule).items() if name != "form"}
    return own | vars(rule.form) | {"way": one.way, "image": one.name, "group": one.dataset}


# ------------------------------------------------------------------------------ reading the tables


def repeated_lengths(robustness: pd.DataFrame) -> pd.DataFrame:
    """Pairs of lengths whose losses agree to the last digit in every form: a fault.

    Two different checkpoints do not give equal losses in all of a data set's forms; where they
    do, one was scored twice.

    Returns:
        dataset, length, repeats (the other length), rows (compared), equal (rows that agree); one
        row per data set and pair of lengths of which at least one row agrees, faults first. A pair
        is a fault if ``equal == rows``.
    """
    found = []
    for dataset, rows in robustness.groupby("dataset"):
        wide = rows.pivot_table(index=["encoder", "scheme", *FORM], columns="length", values="loss")
        for one, other in combinations(wide.columns, 2):
            both = wide[[one, other]].dropna()
            equal = int((both[one] == both[other]).sum())
            if equal:
                found.append((dataset, one, other, len(both), equal))
    table = pd.DataFrame(found, columns=["dataset", "length", "repeats", "rows", "equal"])
    return table.sort_values(["equal", "dataset"], ascending=[False, True], ignore_index=True)


def gather_set_ups(tables: ReleasedTables) -> list[SetUp]:
    """All set-ups of the released tables, faulty losses left out, double models counted once."""
    pairs = repeated_lengths(tables.robustness)
    faults = pd.MultiIndex.from_frame(
        pairs.loc[pairs["equal"] == pairs["rows"], ["dataset", "length"]]
    )
    places = pd.MultiIndex.from_frame(tables.robustness[["dataset", "length"]])
    losses = _losses_by_form(tables.robustness[~places.isin(faults)])
    models = tables.downstream.drop_duplicates([*KEYS, "frozen", "length", "seed"])
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
            form: one.reindex(dice.index).to_numpy()
            for form, one in losses[dataset, encoder, scheme].items()
        },
        borrowed=borrowed,
    )


def _losses_by_form(robustness: pd.DataFrame) -> dict[tuple, dict[Form, pd.Series]]:
    found: dict[tuple, dict[Form, pd.Series]] = {}
    for names, rows in robustness.groupby([*KEYS, *FORM]):
        dataset, encoder, scheme, distance, margin, pooled, level = names
        form = Form(distance, float(margin), bool(pooled), LEVELS[encoder] + 1 - level)
        found.setdefault((dataset, encoder, scheme), {})[form] = rows.set_index("length")["loss"]
    return found


# ------------------------------------------------------------------------------ rules


def preference(rule: Rule, one: SetUp) -> np.ndarray | None:
    """What an indicator ranks the checkpoints by, higher for better, float64 (lengths,).

    NaN for the random initialisation (length 0) unless the rule watches the start: its losses are
    faulty in two of three data sets. ``None`` for a method that ranks nothing.
    """
    indicators = {
        ROBUST: -one.losses[rule.form],
        LEAST_ROBUST: one.losses[rule.form],
        ACCURACY: one.accuracy,
        FULL: one.lengths,
    }
    if rule.method not in indicators:
        return None
    return np.where((one.lengths > 0) | rule.watch_start, indicators[rule.method], np.nan)


def choose(rule: Rule, one: SetUp) -> tuple[list[int], int]:
    """Positions of the checkpoints of which one is taken at random, and how far was pretrained.

    (For :data:`SHORTER`, which chooses anew for every seed: see :func:`shorter_by_seed`.)
    """
    full = len(one.lengths) - 1
    ranks = preference(rule, one)
    if rule.method == ONLINE:
        stop = stop_online(one.losses[rule.form], rule.on(one.lengths))
        return [stop.chosen], stop.seen
    if rule.method == RANDOM:
        return list(np.flatnonzero(one.lengths > 0)), full
    if rule.method == NONE:
        return [0], 0
    return [choose_highest(np.nanmean(one.dice, axis=1) if ranks is None else ranks)], full


def shorter_by_seed(one: SetUp) -> list[int]:
    """For every seed the shorter pretraining (above 0) with the highest mean of the other seeds.

    Choosing and judging on the same seeds would find a gain in noise alone.
    """
    places = np.flatnonzero((one.lengths > 0) & (one.lengths < one.lengths[-1]))
    rest = [np.delete(one.dice, seed, axis=1)[places] for seed in range(one.dice.shape[1])]
    return [int(places[choose_highest(np.nanmean(dice, axis=1))]) for dice in rest]


def judge_choice(rule: Rule, one: SetUp, ranked: bool = True) -> list[dict[str, float]]:
    """What a rule reached in one set-up, one row per seed.

    Args:
        ranked: whether to compute the rank correlation.

    Returns:
        ``seed``; ``tis``, ``regret`` (:func:`~helpers.transferability.judging.scores_by_seed`); and
        ``missed_none`` (where no pretraining is best: 1 if it was not chosen, else 0; NaN
        elsewhere). The same for all seeds: ``saved`` (share of the epochs), ``times_less`` (full
        over pretrained epochs), ``epochs`` chosen (mean, if drawn at random), and
        ``rank_correlation`` (Spearman's, of the indicator with the mean Dice of pretrained
        checkpoints, positive where it is right).
    """
    if rule.method == SHORTER:
        chosen, seen = [[at] for at in shorter_by_seed(one)], len(one.lengths) - 1
        found = np.array([scores_by_seed(one.dice, at) for at in chosen])
        tis, regret = found[:, 0].diagonal(), found[:, 1].diagonal()
    else:
        at, seen = choose(rule, one)
        chosen = [at] * one.dice.shape[1]
        tis, regret = scores_by_seed(one.dice, at)
    ranks = preference(rule, one) if ranked else None
    none_is_best = choose_highest(np.nanmean(one.dice, axis=1)) == 0
    common = {
        "saved": compute_saved(one.lengths, seen),
        "times_less": one.lengths[-1] / one.lengths[seen] if seen else np.nan,
        "rank_correlation": np.nan if ranks is None else rank_correlation(ranks, one.dice),
    }
    return [
        common
        | {"seed": seed, "tis": tis[seed], "regret": regret[seed]}
        | {"epochs": one.lengths[places].mean()}
        | {"missed_none": float(0 not in places) if none_is_best else np.nan}
        for seed, places in enumerate(chosen)
    ]
