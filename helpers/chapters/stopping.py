"""The chapter ``stopping``: pretrain, score, transfer, stop online (arXiv 2410.18677)."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import Field, field_validator, model_validator

from helpers.book import results
from helpers.book.claims import Claim, Gate
from helpers.book.parameters import ChapterParameters, Distinct, Seed, Share
from helpers.book.results import Cells
from helpers.experiments import stopping as experiment
from helpers.experiments.stopping import FULL, NONE, ONLINE, REAL, ROBUST, WAYS, Found

Epoch = Annotated[int, Field(ge=1)]


class Parameters(ChapterParameters):
    """Source and schedule of the pretraining, target tasks, transfer, online rule, machine."""

    source: str = Field(
        "synthetic-natural",
        description="what encoders are pretrained on: generated images, or a folder that holds "
        "train/CLASS and val/CLASS (ImageNet)",
    )
    n_source: int = Field(720, ge=64, description="generated source images")
    n_source_validation: int = Field(256, ge=16, description="generated, to measure accuracy")
    source_size: int = Field(48, ge=32, description="side of the source images in pixels")
    encoder: str = Field(
        "tu-tf_efficientnet_lite0", description="unet-W, resnet18, resnet50, tu-... (timm)"
    )
    published: str = Field(
        "imagenet-lite0", description="weights of that encoder as a further checkpoint; or empty"
    )
    epochs: int = Field(6, ge=1, description="of the full pretraining")
    checkpoints: Distinct[Epoch] = Field(
        [1, 3, 6], description="epochs whose encoders are scored and transferred, besides 0"
    )
    scheme: Literal["simple", "advanced"] = Field("simple", description="of augmentation")
    source_batch: int = Field(64, ge=2, description="images per step of the pretraining")
    source_rate: float = Field(0.004, gt=0, description="highest learning rate of AdamW")
    tasks: Distinct[str] = Field(
        ["synthetic-cardiac"], description="data sets with classes: names in the manifest"
    )
    n_images: int = Field(96, ge=0, description="of each task, or drawn at most (0: all)")
    image_size: int = Field(64, ge=32, description="side to which task images are resized")
    test_share: Share = Field(0.25, description="held out, where there is no official test part")
    validation_share: Share = Field(0.2, description="of the rest, to choose the step by")
    seed: Seed = Field(0, description="of the tasks: generation, drawing, splits")
    frozen: Distinct[bool] = Field([True, False], description="encoder frozen, or fine-tuned")
    seeds: Distinct[Seed] = Field([0], description="one pretraining and its segmenters each")
    steps: int = Field(72, ge=1, description="optimisation steps of every segmenter")
    batch_size: int = Field(8, ge=1, description="images per step of a segmenter")
    learning_rate: float = Field(0.05, gt=0, description="of SGD with polynomial decay")
    loss: Literal["dice", "cross_entropy", "sum"] = Field(
        "dice", description="soft Dice as published"
    )
    looks: int = Field(3, ge=1, description="looks at the validation images during a training")
    selection: Literal["best_validation", "last", "test"] = Field(
        "best_validation", description="which step counts; test: the published practice"
    )
    decoder: Literal["unet", "attention"] = Field("unet", description="of the segmenters")
    decoder_width: int = Field(8, ge=1, description="channels of the decoder's finest block")
    scored_images: int = Field(48, ge=2, description="training images that indicators see")
    pairings: Distinct[str] = Field(
        ["published", "all repairs"], description="forms of views and negatives"
    )
    margin: Literal[0.0, 0.25, 0.5, 0.75, 1.0] = Field(0.5, description="of the score")
    patience: int = Field(1, ge=1, description="of the online rule, in epochs")
    smoothing: int = Field(1, ge=1, description="epochs over which the online rule averages")
    least: int = Field(1, ge=1, description="first epoch that the online rule may choose")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="to train on")
    precision: Literal["auto", "bfloat16", "float32"] = Field(
        "float32", description="of the networks; on processors the fastest for depthwise layers"
    )
    threads: int = Field(1, ge=1, description="per trial; results depend on it in the last digits")
    workers: int = Field(0, ge=0, description="trials at a time (0: one per core)")

    @field_validator("pairings")
    @classmethod
    def _known(cls, values: list) -> list:
        if "published" not in values or not set(values) <= set(experiment.PAIRINGS):
            known = ", ".join(experiment.PAIRINGS)
            raise ValueError(f"must be of {known}, 'published' among them")
        return values

    @model_validator(mode="after")
    def _within(self) -> "Parameters":
        if self.checkpoints != sorted(self.checkpoints) or self.checkpoints[-1] != self.epochs:
            raise ValueError(
                f"checkpoints {self.checkpoints} must ascend and end with epochs={self.epochs}"
            )
        if self.least > self.epochs:
            raise ValueError(f"least={self.least} must not be above epochs={self.epochs}")
        return self


PUBLISHED = ()
METRICS = ("dice", "tis", "regret", "saved", "epochs", "rank_correlation")


def arms(p: Parameters) -> list[tuple[int, int]]:
    """Seed, and epoch whose checkpoint is scored and transferred; 0 is the random start, the one
    behind the last stands for the published weights."""
    epochs = [0, *p.checkpoints, *([p.epochs + 1] if p.published else [])]
    return [(seed, epoch) for seed in p.seeds for epoch in epochs]


def numbers(p: Parameters, found: Found) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The results table, and what rules and predictors without training reached on each case.

    Tables: ``rules``, ``with published`` (the same with the published weights among what is to be
    chosen) and ``baselines`` (also by case), ``pretraining`` (accuracy, loss by epoch),
    ``scores`` (indicators by epoch), ``online`` (losses that the rule saw), ``transfer`` (Dice by
    epoch), ``classes`` (the same by class, with Jaccard).
    """
    choices = {"rules": [0, *p.checkpoints]}
    if p.published:
        choices["with published"] = [*choices["rules"], p.epochs + 1]
    rules = [
        {"table": table, **row}
        for table, epochs in choices.items()
        for task in found.tasks
        for frozen in p.frozen
        for row in experiment.judge_rules(p, found, task, frozen, epochs)
    ]
    for name, task in found.tasks.items():
        for method, scores in experiment.measure_baselines(task).items():
            common = {"table": "baselines", "method": method, "test": name, "modality": name}
            rules += [
                common | {"image": case, "group": case, "dice": dice}
                for case, dice in scores["cases"].items()
            ]
    images = pd.DataFrame(rules).astype({"seed": "Int64"})
    images = images[[*(name for name in images if name not in METRICS), *METRICS]]
    rows = list(_curves(p, found))
    return results.joined([results.table_of(images, METRICS), pd.DataFrame(rows)]), images


def _curves(p: Parameters, found: Found):
    """Rows of what is measured at every epoch; those of published weights have none, but a name."""

    def at_epoch(epoch: int) -> dict[str, Any]:
        weights = experiment.published_at(p, epoch)
        return {"weights": weights} if weights else {"epoch": epoch}

    for seed, run in found.pretrainings.items():
        for record in run["epochs"]:
            at = {"table": "pretraining", "seed": seed, "epoch": record["epoch"]}
            for metric in ("accuracy", "loss"):
                yield at | {"metric": metric, "value": record[metric]}
    for (task, seed, epoch, pairing), score in found.scores.items():
        at = {"table": "scores", "test": task, "seed": seed, **at_epoch(epoch)}
        for metric in ("loss", "low", "high"):
            yield at | {"method": pairing, "metric": metric, "value": score[metric]}
        for name, value in score.get("estimators", {}).items():
            method = experiment.ESTIMATOR_NAMES[name]
            yield at | {"method": method, "metric": "estimator", "value": value}
    for (task, seed), run in found.online.items():
        for epoch, loss in enumerate(run["notes"]["robustness_losses"]):
            at = {"table": "online", "test": task, "seed": seed, "epoch": epoch}
            yield at | {"metric": "loss", "value": loss}
    for (task, seed, epoch, frozen), model in found.transfers.items():
        at = {"test": task, "way": WAYS[frozen], "seed": seed, **at_epoch(epoch)}
        cases = pd.Series(model["cases"])
        own = {"table": "transfer", "metric": "dice", "value": cases.mean(), "n": len(cases)}
        yield at | own | {"std": cases.std(ddof=0)}
        for metric in ("dice", "jaccard"):
            for name, value in model[metric].items():
                yield at | {"table": "classes", "class": name, "metric": metric, "value": value}


WITH = "with published"
EACH = {"test": ..., "way": ...}
# Classes are asked for: the best single class everywhere and, for one class, Otsu's threshold. They
# cover a few per cent of an image, so that these have next to nothing, and the margin is large.
GATES = [
    Gate(
        "segmenters after full pretraining",
        "dice",
        {"table": "rules", "method": FULL, **EACH},
        {"table": "baselines", "test": ...},
        0.4,
    )
]


def of(method: str, metric: str = "tis", table: str = "rules") -> Callable[[Cells], Any]:
    """A number of a rule, mean over tasks and over frozen and fine-tuned encoders."""
    return lambda c: c(metric, table=table, method=method, **EACH)


def gain(method: str, other: str, table: str = "rules") -> Callable[[Cells], Any]:
    """TIS of one rule minus that of another."""
    return lambda c: of(method, table=table)(c) - of(other, table=table)(c)


ZERO = "The threshold was 0.001, so that a tie was no gain; now the whole interval is above zero."


def claim(
    text: str, rule: str, quantity: Callable[[Cells], Any], threshold: float = 0, **dates: str
) -> Claim:
    """One about the segmenters; a gain where there is no other threshold."""
    where = "this book" if text.startswith("Ours") else "arXiv 2410.18677, abstract and section 6"
    own = {"fixed": "2026-11-21"} if threshold else {"fixed": "2026-11-30", "changed": ZERO}
    dates = own | dates
    return Claim(text, where, rule, quantity, threshold, (GATES[0].name,), **dates)


CLAIMS = [
    claim(
        "Choosing a checkpoint by robustness reaches a TIS of over 98% on average.",
        "TIS of the checkpoint with the lowest robustness loss (published form), mean over tasks "
        "and over frozen and fine-tuned encoders: above .98.",
        of(ROBUST),
        0.98,
    ),
    claim(
        "It outperforms full pretraining.",
        "TIS minus that of the last checkpoint: above zero.",
        gain(ROBUST, FULL),
    ),
    claim(
        "It outperforms no pretraining.",
        "TIS minus that of the random initialisation: above zero.",
        gain(ROBUST, NONE),
    ),
    claim(
        "Shorter pretraining often leads to better results.",
        "TIS of the checkpoint with the highest Dice on the other seeds minus that of the last "
        "checkpoint: above zero.",
        gain(experiment.OTHERS, FULL),
    ),
    claim(
        "Used online, to stop the pretraining, it reaches a TIS of over 98%, too.",
        "TIS after a pretraining that was really stopped: above .98.",
        of(ONLINE),
        0.98,
    ),
    claim(
        "Stopping online saves most of the pretraining.",
        "Share of the epochs that were not needed: above .5.",
        of(ONLINE, "saved"),
        0.5,
    ),
    claim(
        "Stopping online still beats training without any pretraining.",
        "TIS after a pretraining that was really stopped minus that of the random initialisation: "
        "above zero.",
        gain(ONLINE, NONE),
    ),
    claim(
        "Ours: it beats a checkpoint drawn at random.",
        "TIS minus the expectation over the pretrained checkpoints: above zero.",
        gain(ROBUST, experiment.RANDOM),
    ),
    claim(
        "Ours: the repairs (jitter per image, jitter that knows grey images, all negatives, none "
        "of the same patient) make it better.",
        "TIS of the repaired form minus that of the published form: above zero.",
        gain(f"{ROBUST}, all repairs", ROBUST),
    ),
    claim(
        "Ours: published weights of ImageNet are better than all pretraining on this source.",
        "TIS of the published weights minus that of the last checkpoint: above zero.",
        gain(REAL, FULL, WITH),
        fixed="2026-12-01",
        changed="",
    ),
    claim(
        "Ours: the score finds them, if they are among the checkpoints.",
        "TIS of what has the lowest robustness loss (published form), the published weights among "
        "the choice: above .98.",
        of(ROBUST, table=WITH),
        0.98,
        fixed="2026-12-01",
    ),
]
SENTENCES = {
    1: {"holds": "Choosing by robustness kept {value} ({low} to {high}) of the best Dice."},
    2: {
        "holds": "It was better than taking the last checkpoint, by {value} TIS.",
        "does not hold": "Taking the last checkpoint was better ({value} TIS).",
    },
    3: {"holds": "It was better than no pretraining, by {value} TIS ({low} to {high})."},
    5: {"holds": "Stopped online, a pretraining kept {value} ({low} to {high}) of the best Dice."},
    6: {"holds": "Stopping online saved {value} of the epochs; look what it cost."},
    7: {"holds": "Stopped online, it was still better than none, by {value} TIS."},
    10: {"holds": "Before you pretrain, try published weights: they were better by {value} TIS."},
}
