"""Claims: a sentence of a paper, the rule that settles it, and what the numbers say.

A rule is a number computed from the cells of one source and a threshold; the same rule is applied
to the published numbers, to the recorded runs and to this run. A claim *holds* or *does not hold*
only if the whole 95 % interval lies on one side of the threshold; it is *undecided* if the interval
includes it, and *not tested* if there are no rows or if the models asked about are not competent. A
published number without interval is *printed*, with whether it satisfies the rule.
"""

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from helpers.book.results import Cells, csv_link, rows_where
from helpers.metrics import student_interval
from helpers.metrics.baselines import BASELINES
from helpers.metrics.comparisons import sign_flip_over_runs, wilcoxon_over_images

Outcome = Literal["holds", "does not hold", "undecided", "not tested", "printed"]
LEVEL = 0.95
# A modality with a smaller share of the test images is named, but closes no gate.
RARE = 0.1


@dataclass(frozen=True)
class Claim:
    """One claim with its rule.

    Attributes:
        text: what is claimed.
        where: section or table of the paper, or ``"this book"``.
        rule: the rule in words.
        quantity: from the cells of one source to a cell: one value per seed (empty where the source
            lacks the rows).
        threshold: the claim holds above it.
        gates: names of the chapter's gates whose models the claim is about.
        fixed: day on which rule and threshold were fixed.
        changed: what was changed after a recorded run, and why; empty if nothing was.
    """

    text: str
    where: str
    rule: str
    quantity: Callable[[Cells], Any]
    threshold: float = 0.0
    gates: tuple[str, ...] = ()
    fixed: str = ""
    changed: str = ""


@dataclass(frozen=True)
class Gate:
    """What models must reach before a claim about them is judged.

    Trained on its own domain a model must beat the predictors that need no training, Otsu's
    threshold with connected components and "every pixel is an object", on the same test images.
    Where it is judged by PQ its Dice must also be above that of "every pixel": a threshold that
    merges all objects has no PQ to be beaten.

    Attributes:
        name: of the models, as pages call them.
        metric: ``"pq"`` where objects are asked for, ``"dice"`` where classes are.
        model: conditions of the cell in which these models were tested.
        baselines: conditions of the cells of the two predictors, without ``method``.
        margin: by which the better of the two must be exceeded.
        each: column of which every value must pass by itself, such as ``"test"`` where a claim
            speaks of several data sets.
    """

    name: str
    metric: str
    model: Mapping[str, Any]
    baselines: Mapping[str, Any]
    margin: float = 0.0
    each: str = ""

    def look(self, cells: Cells) -> "Competence":
        """Compare the models of one source with the two predictors.

        Where a test set mixes modalities that single images tell, the models must pass in each
        that makes up a tenth of the images or more.
        """
        score = cells(self.metric, **self.model).mean()
        others = {
            name: value
            for name in BASELINES
            if np.isfinite(value := cells(self.metric, **self.baselines, method=name).mean())
        }
        failing, rare = [*self._worse_than_every_pixel(cells), *self._by_value(cells)], []
        for kind, share, own, best in self._by_modality(cells):
            if not own > best + self.margin:
                (failing if share >= RARE else rare).append(
                    f"{kind} {_short(own)}, without training {_short(best)}"
                )
        passed = bool(others) and score > max(others.values()) + self.margin and not failing
        return Competence(self, float(score), others, passed, tuple(failing), tuple(rare))

    def _worse_than_every_pixel(self, cells: Cells) -> list[str]:
        """Where a threshold merges all objects its PQ is nothing: Dice must tell then."""
        if self.metric != "pq":
            return []
        own = cells("dice", **self.model).mean()
        plain = cells("dice", **self.baselines, method="every pixel").mean()
        return [] if own > plain else [f"Dice {_short(own)}, every pixel {_short(plain)}"]

    def _by_value(self, cells: Cells) -> list[str]:
        """The values of the column ``each`` whose models do not pass by themselves."""
        failing = []
        for name in cells.values(self.each, **self.model) if self.each else ():
            at = {self.each: name}
            one = replace(self, model={**self.model, **at}, baselines={**self.baselines, **at})
            found = replace(one, each="").look(cells)
            if not found.passed:
                best = max(found.others.values(), default=np.nan)
                failing.append(f"{name} {_short(found.score)}, without training {_short(best)}")
        return failing

    def _by_modality(self, cells: Cells) -> list[tuple[str, float, float, float]]:
        """Modality, its share of the images, the models' score, the best predictor's."""
        if self.metric not in cells.images:
            return []
        rows = rows_where(cells.images, self.model)
        if "modality" not in rows or rows["modality"].nunique() < 2:
            return []
        plain = rows_where(cells.images, {**self.baselines, "method": list(BASELINES)})
        own, shares = rows.groupby("modality")[self.metric].mean(), rows["modality"].value_counts()
        best = plain.groupby(["modality", "method"])[self.metric].mean().groupby(level=0).max()
        return [
            (kind, shares[kind] / len(rows), own[kind], best.get(kind, np.nan))
            for kind in own.index
        ]


@dataclass(frozen=True)
class Competence:
    """What a gate found in one source.

    Attributes:
        score: of the models, mean over seeds; nan if there are none.
        others: score of each predictor without training.
        failing: modalities that close the gate, with both scores.
        rare: modalities of few images in which the models fail; they close no gate.
    """

    gate: Gate
    score: float
    others: Mapping[str, float]
    passed: bool
    failing: tuple[str, ...] = ()
    rare: tuple[str, ...] = ()

    @property
    def measured(self) -> bool:
        """Whether there were such models."""
        return bool(np.isfinite(self.score))

    def __str__(self) -> str:
        metric = self.gate.metric.upper().replace("_", " ")
        score = _short(self.score) if self.measured else "was not measured"
        own = f"{self.gate.name} {metric} {score}"
        against = ", ".join(f"{name} {_short(value)}" for name, value in self.others.items())
        where = "; ".join((*self.failing, *(f"few images: {one}" for one in self.rare)))
        return f"{own} ({against or 'no predictor without training was measured'}" + (
            f"; {where})" if where else ")"
        )


@dataclass(frozen=True)
class Verdict:
    """What a rule says of one source of numbers.

    Attributes:
        value: mean over seeds.
        low, high: its 95 % interval (nan where there is none).
        n_seeds: number of seeds; 0 for published numbers.
        interval: over what: ``"seeds and test groups"``, ``"seeds"`` or nothing.
        satisfied: whether the value itself satisfies the rule.
        why: why a claim was not tested.
    """

    outcome: Outcome
    value: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    n_seeds: int = 0
    interval: str = ""
    satisfied: bool = False
    why: str = ""

    @property
    def decided(self) -> bool:
        """Whether the whole interval lies on one side of the threshold."""
        return self.outcome in ("holds", "does not hold")


_NO_RUNS = "no runs to which the rule applies"


def judge(claim: Claim, cells: Cells, gates: Sequence[Gate] = ()) -> Verdict:
    """Apply a claim's rule to one source.

    The interval is over seeds and test groups where values of single images are known: seeds and
    groups are reweighted at random (hierarchical bootstrap with exponential weights, Rubin 1981),
    and it is never narrower than Student's interval over seeds, because few seeds cannot be
    resampled. Elsewhere it is Student's.

    Args:
        gates: of the chapter; those the claim names must be passed by a source that has seeds.
    """
    found = claim.quantity(cells.with_draws())
    found = found[np.isfinite(found[0])] if len(found) else found
    if not len(found):
        alone = "other seeds" in claim.rule and cells.table["seed"].nunique() == 1
        why = "the rule chooses on the other seeds, and this run has one" if alone else _NO_RUNS
        return Verdict("not tested", why=why)
    values = found[0].to_numpy(float)
    mean = float(values.mean())
    common = {"value": mean, "satisfied": mean > claim.threshold}
    if cells.printed:
        return Verdict("printed", **common)
    unfit = [str(c) for g in gates if g.name in claim.gates and not (c := g.look(cells)).passed]
    if unfit:
        why = f"the models are not competent: {'; '.join(unfit)}"
        return Verdict("not tested", **common, n_seeds=len(values), why=why)
    if len(values) < 2:
        return Verdict("undecided", **common, n_seeds=1)
    low, high, over = interval(found)
    outcome = "holds" if low > claim.threshold else "undecided"
    outcome = "does not hold" if high < claim.threshold else outcome
    return Verdict(outcome, **common, low=low, high=high, n_seeds=len(values), interval=over)


def interval(found: pd.DataFrame) -> tuple[float, float, str]:
    """95 % interval of the mean over seeds, and what it is over.

    Args:
        found: one row per seed, two or more; column 0 as measured, the others with test groups
            reweighted.
    """
    low, high = student_interval(found[0])
    draws = found.iloc[:, 1:].to_numpy(float)
    if np.allclose(draws, found[[0]].to_numpy(float), equal_nan=True):
        return float(low), float(high), "seeds"
    weights = np.random.default_rng(1).exponential(size=draws.shape)
    weights[~np.isfinite(draws)] = 0
    means = (weights * np.nan_to_num(draws)).sum(axis=0) / weights.sum(axis=0)
    ends = np.nanquantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(min(low, ends[0])), float(max(high, ends[1])), "seeds and test groups"


def difference(
    cells: Cells, metric: str, one: Mapping[str, Any], other: Mapping[str, Any]
) -> dict[str, float]:
    """One cell minus another: its interval as claims are judged, and two tests.

    Args:
        one, other: conditions of the two cells, each of one model per seed.

    Returns:
        ``difference``, ``low``, ``high``; ``p over groups`` (Wilcoxon on means over seeds: these
        very networks on other patients) and ``p over seeds`` (exact sign flips: other trainings on
        these images). Empty where the source lacks either cell or its single images.
    """
    drawn = cells.with_draws()
    found = drawn(metric, **one) - drawn(metric, **other)
    keys = ["seed", "test", "group", "image"]
    pair = [rows_where(cells.images, at) for at in (one, other)] if metric in cells.images else []
    if not len(found) or not all(map(len, pair)) or not pair:
        return {}
    first, second = (rows.set_index(keys)[metric].unstack("seed").dropna() for rows in pair)
    first, second = first.align(second, join="inner")
    groups = list(first.index.droplevel("image").map(str))
    values = first.to_numpy().T, second.to_numpy().T
    low, high = interval(found)[:2] if len(found) > 1 else (np.nan, np.nan)
    return {
        "difference": float(found[0].mean()),
        "low": low,
        "high": high,
        "p over groups": wilcoxon_over_images(*values, groups),
        "p over seeds": sign_flip_over_runs(*values),
    }


# -------------------------------------------------------------------------- words


def _short(value: float) -> str:
    """``.42``; a dash where there is no number."""
    return f"{value:.2f}".replace("0.", ".", 1) if np.isfinite(value) else "–"


def describe(verdict: Verdict) -> str:
    """The number behind a verdict, its interval and what that is over."""
    if verdict.outcome == "not tested":
        return verdict.why
    if verdict.outcome == "printed":
        return (
            f"{verdict.value:.3f}, which {'satisfies' if verdict.satisfied else 'misses'} the rule"
        )
    if verdict.n_seeds < 2:
        return f"{verdict.value:.3f} with one seed: the chance of a training is not known"
    ends = f"{verdict.low:.3f} to {verdict.high:.3f}"
    doubt = "" if verdict.decided else "; it includes the threshold"
    return (
        f"{verdict.value:.3f}, 95% interval {ends} over {verdict.n_seeds} {verdict.interval}{doubt}"
    )


def judge_all(
    claims: Sequence[Claim], sources: Mapping[str, Cells], gates: Sequence[Gate] = ()
) -> pd.DataFrame:
    """One row per claim and source: rule, outcome, the rule's number and its interval."""
    rows = []
    for number, claim in enumerate(claims, 1):
        for name, cells in sources.items():
            row = {"number": number, "claim": claim.text, "where": claim.where, "rule": claim.rule}
            row |= {"threshold": claim.threshold, "fixed": claim.fixed, "source": name}
            rows.append(row | asdict(judge(claim, cells, gates)))
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class ShownVerdicts:
    """Claims with their rules and verdicts as plain HTML, one card per claim."""

    claims: Sequence[Claim]
    verdicts: pd.DataFrame = field(repr=False)

    def _repr_html_(self) -> str:
        cards = "".join(self._card(number, claim) for number, claim in enumerate(self.claims, 1))
        link = csv_link(self.verdicts, "verdicts.csv")
        return f'<div class="book-claims">{cards}</div><p class="book-caption">{link}</p>'

    def _card(self, number: int, claim: Claim) -> str:
        rows = self.verdicts[self.verdicts["number"] == number].to_dict("records")
        lines = "".join(_verdict_line(row) for row in rows)
        dated = f" <em>Fixed:</em> {claim.fixed}." if claim.fixed else ""
        changed = f" <em>Changed after a recorded run:</em> {html.escape(claim.changed)}"
        return (
            f'<div class="book-claim"><p class="book-claim-text">{html.escape(claim.text)}</p>'
            f'<p class="book-claim-rule">{html.escape(claim.where)}. <em>Rule:</em> '
            f"{html.escape(claim.rule)}{dated}{changed if claim.changed else ''}</p>"
            f"<ul>{lines}</ul></div>"
        )


def _verdict_line(row: dict[str, Any]) -> str:
    names = Verdict.__dataclass_fields__
    verdict = Verdict(**{name: row[name] for name in names})
    kind = verdict.outcome.replace(" ", "-")
    return (
        f'<li><span class="book-source">{html.escape(row["source"])}</span> '
        f'<span class="book-verdict book-{kind}">{verdict.outcome}</span> '
        f"<span>{html.escape(describe(verdict))}</span></li>"
    )


def show_verdicts(
    claims: Sequence[Claim], sources: Mapping[str, Cells], gates: Sequence[Gate] = ()
) -> ShownVerdicts:
    """Judge all claims by all sources and turn that into the notebook's output."""
    return ShownVerdicts(claims, judge_all(claims, sources, gates))


def competence(sources: Mapping[str, Cells], gates: Sequence[Gate]) -> pd.DataFrame:
    """One row per source with seeds and gate: the models' score, the predictors', passed or not."""
    rows = []
    for name, cells in sources.items():
        for gate in () if cells.printed else gates:
            found = gate.look(cells)
            row = {"source": name, "models": gate.name, "metric": gate.metric, "score": found.score}
            row |= {other: found.others.get(other, np.nan) for other in BASELINES}
            detail = "; ".join((*found.failing, *found.rare))
            passed = ("yes" if found.passed else "no") if found.measured else "not measured"
            rows.append(row | {"competent": passed, "where not": detail})
    return pd.DataFrame(rows)


def advice(
    claims: Sequence[Claim],
    cells: Cells,
    gates: Sequence[Gate],
    sentences: Mapping[int, Mapping[str, str]],
) -> str:
    """ "What it means for a lab": a sentence for each decided claim, and one line for the rest.

    Args:
        cells: the source that advice is drawn from.
        sentences: by number of the claim (from 1) and outcome ("holds", "does not hold") the
            sentence; ``{value}``, ``{low}`` and ``{high}`` in it are filled in.

    Returns:
        Markdown.
    """
    said, open_ones = [], []
    for number, by_outcome in sentences.items():
        verdict = judge(claims[number - 1], cells, gates)
        if verdict.outcome in by_outcome:
            numbers = {name: f"{getattr(verdict, name):.2f}" for name in ("value", "low", "high")}
            said.append("- " + by_outcome[verdict.outcome].format(**numbers))
        elif not verdict.decided:
            open_ones.append(f"“{claims[number - 1].text.rstrip('.')}” ({verdict.outcome})")
    if not said:
        return "**Nothing is decided by these runs**: " + "; ".join(open_ones) + "."
    left = "\n\nNot decided by these runs: " + "; ".join(open_ones) + "." if open_ones else ""
    return "\n".join(said) + left
