"""The work of the chapter ``stopping-published``: find the tables, apply every rule."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from helpers.chapters.results import tidy
from helpers.chapters.stopping_published.parameters import Parameters
from helpers.data.fetch import fingerprint_of
from helpers.data.released import (
    GENERATED,
    NAME,
    ReleasedTables,
    generated_tables,
    open_released,
)
from helpers.errors import DataError
from helpers.experiments.released import (
    ALL_SETTINGS,
    RULES,
    Chosen,
    OnlineRule,
    Setting,
    SetUp,
    apply_online,
    apply_rule,
    choose_with_start,
    correlation,
    correlation_by_seed,
    judge_choice,
    knows_start,
    shorter_gain,
)
from helpers.transferability.judging import means_over_set_ups

ALL = "all set-ups"
# The released configuration for these two names checkpoints of the other scheme.
SURE = "without IDRiD, ResNet-50, advanced"
WAYS = (ALL, "fine-tuned", "frozen", SURE)
WITH_START = "lowest robustness loss, length 0 among them"


@dataclass(frozen=True)
class Opened:
    """The tables of a run.

    Attributes:
        missing: why generated tables stand in for the released ones; empty if they do not, or were
            asked for.
    """

    tables: ReleasedTables
    missing: str = ""


def open_tables(parameters: Parameters) -> Opened:
    """The released tables, or generated ones where these were asked for or must do.

    Raises:
        DataError: the released ones are damaged; or are not to be had, and ``if_missing`` is
            ``"stop"``.
    """
    if parameters.dataset == GENERATED:
        return Opened(generated_tables(parameters.seed))
    try:
        return Opened(open_released())
    except DataError as error:
        # Files that are there but damaged must not be passed over.
        if parameters.if_missing == "stop" or fingerprint_of(NAME) is not None:
            raise
        return Opened(generated_tables(parameters.seed), str(error))


def setting(parameters: Parameters) -> Setting:
    """The form of the score in the foreground."""
    return Setting(
        parameters.distance, float(parameters.margin), parameters.pooled, parameters.from_top
    )


def online_rules(parameters: Parameters) -> list[OnlineRule]:
    """Online rules of all patiences, smoothings and least lengths."""
    return [
        OnlineRule(patience, smoothing, least)
        for least, smoothing, patience in product(
            parameters.least_epochs, parameters.smoothings, parameters.patiences
        )
    ]


def choices(parameters: Parameters, set_ups: list[SetUp]) -> dict[str, list[Chosen]]:
    """What every rule, offline, trivial and online, chooses in every set-up."""
    form = setting(parameters)
    found = {rule: [apply_rule(rule, one, form) for one in set_ups] for rule in RULES}
    for rule in online_rules(parameters):
        found[rule.name] = [apply_online(rule, one, form) for one in set_ups]
    return found


def results_table(parameters: Parameters, set_ups: list[SetUp]) -> pd.DataFrame:
    """All numbers of the chapter.

    Tables: ``rules`` (over set-ups, by seed, also apart for frozen and fine-tuned encoders and
    without two doubtful set-ups), ``set-ups`` (per set-up, mean over seeds), ``settings`` (TIS of
    every form of the score), ``shorter`` (gain of a shorter pretraining, by seed), ``start`` (rules
    that know the loss of the random initialisation, where it is sound).
    """
    found = choices(parameters, set_ups)
    rows = [*_rule_rows(parameters, set_ups, found), *_set_up_rows(parameters, set_ups, found)]
    rows += [*_setting_rows(set_ups), *_shorter_rows(set_ups), *_start_rows(parameters, set_ups)]
    common = {
        "chapter": "stopping-published",
        "source": "this run",
        "profile": parameters.profile,
        "rate": None,
    }
    return tidy([common | row for row in rows])


def _belongs(one: SetUp, way: str) -> bool:
    if way == SURE:
        return (one.dataset, one.encoder, one.scheme) != ("IDRiD", "ResNet-50", "advanced")
    return way == ALL or one.frozen == (way == "frozen")


def _rule_rows(
    parameters: Parameters, set_ups: list[SetUp], found: dict[str, list[Chosen]]
) -> list[dict]:
    rows, form = [], setting(parameters)
    for rule, chosen in found.items():
        judged = [judge_choice(one, choice) for one, choice in zip(set_ups, chosen, strict=True)]
        by_seed = [correlation_by_seed(rule, one, form) for one in set_ups]
        for way in WAYS:
            kept = [i for i, one in enumerate(set_ups) if _belongs(one, way)]
            common = {"table": "rules", "method": rule, "dataset_test": way, "n": len(kept)}
            rows += _judged_rows(common, [judged[i] for i in kept])
            # A row of equal values has no ranks.
            ranked = [by_seed[i] for i in kept if by_seed[i] is not None]
            ranked = [values for values in ranked if not np.isnan(values).all()]
            rows += _seed_rows(common | {"n": len(ranked)}, "rank_correlation", ranked)
    return rows


def _judged_rows(common: dict, judged: list[dict]) -> list[dict]:
    """TIS and regret by seed; the share saved follows from the score and knows no seed."""
    rows = []
    for metric in ("tis", "regret"):
        rows += _seed_rows(common, metric, [judgement[metric] for judgement in judged])
    saved = float(np.mean([judgement["saved"] for judgement in judged]))
    return [*rows, common | {"metric": "compute_saved", "value": saved}]


def _seed_rows(common: dict, metric: str, by_seed: list[np.ndarray]) -> list[dict]:
    if not by_seed:
        return []
    return [
        common | {"metric": metric, "seed": seed, "value": value}
        for seed, value in enumerate(means_over_set_ups(by_seed))
    ]


def _set_up_rows(
    parameters: Parameters, set_ups: list[SetUp], found: dict[str, list[Chosen]]
) -> list[dict]:
    rows = []
    for place, one in enumerate(set_ups):
        way = "frozen" if one.frozen else "fine-tuned"
        common = {
            "table": "set-ups",
            "dataset_train": f"{one.encoder}, {one.scheme}, {way}",
            "dataset_test": one.dataset,
            "n": one.dice.shape[1],
            "note": "models of length 0 are those of the other scheme" if one.borrowed else "",
        }
        for rule, chosen in found.items():
            judgement = judge_choice(one, chosen[place])
            numbers = {metric: float(np.nanmean(judgement[metric])) for metric in ("tis", "regret")}
            numbers["length_chosen"] = judgement["length"]
            numbers["rank_correlation"] = correlation(rule, one, setting(parameters))
            rows += [
                common | {"method": rule, "metric": metric, "value": value}
                for metric, value in numbers.items()
                if not np.isnan(value)
            ]
    return rows


def _setting_rows(set_ups: list[SetUp]) -> list[dict]:
    rows = []
    for form in ALL_SETTINGS:
        judged = [
            judge_choice(one, apply_rule("lowest robustness loss", one, form))["tis"]
            for one in set_ups
        ]
        rows += _seed_rows({"table": "settings", "method": setting_name(form)}, "tis", judged)
    return rows


def setting_name(form: Setting) -> str:
    """A form of the score as it stands in the column ``method``."""
    pooled = "pooled" if form.pooled else "unpooled"
    return f"{form.distance}, margin {form.margin:g}, {pooled}, level {form.from_top} from the top"


def _shorter_rows(set_ups: list[SetUp]) -> list[dict]:
    common = {"table": "shorter", "method": "best shorter length of the other seeds"}
    return _seed_rows(common, "dice_gained", [shorter_gain(one) for one in set_ups])


def _start_rows(parameters: Parameters, set_ups: list[SetUp]) -> list[dict]:
    """Rules with and without a look at the random initialisation, where its loss is sound."""
    form = setting(parameters)
    sound = [one for one in set_ups if knows_start(one, form)]
    if not sound:
        return []
    offline = ("lowest robustness loss", "always full", "no pretraining")
    found = {rule: [apply_rule(rule, one, form) for one in sound] for rule in offline}
    found[WITH_START] = [choose_with_start(one, form) for one in sound]
    for patience, watched in product(parameters.patiences, (False, True)):
        rule = OnlineRule(patience, least=min(parameters.least_epochs), watch_start=watched)
        found[rule.name] = [apply_online(rule, one, form) for one in sound]
    where = ", ".join(dict.fromkeys(one.dataset for one in sound))
    rows = []
    for rule, chosen in found.items():
        common = {"table": "start", "method": rule, "dataset_test": where, "n": len(sound)}
        rows += _judged_rows(
            common, [judge_choice(one, choice) for one, choice in zip(sound, chosen, strict=True)]
        )
        starts = sum(choice.at == 0 for choice in chosen)
        rows.append(common | {"metric": "starts_chosen", "value": starts})
    return rows
