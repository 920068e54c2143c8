"""Alternate multi-task pretraining, AMT2, of CUPre (Liao et al. 2023, arXiv 2310.03981).

A detector that knows natural images learns what cells look like without forgetting how to find and
outline objects. Each round has two sides:

(a) *contrast*: the backbone alone learns by MoCo v2 on unlabelled images of cells;
(b) *source*: the whole detector learns instance segmentation on labelled natural images, while
    L2-SP (:mod:`helpers.models.l2sp`) holds the backbone near its weights after (a).

No code was released, and the paper's numbers of rounds and steps, weight of L2-SP, queue and
schedules were not to be had. What is chosen here, and where it can be changed:

- *Steps* are those of two plans, over all rounds, and each round has an equal share of both. So
  each learning rate follows one schedule over all rounds, and the last round is the slowest.
- *The first step of the paper's pipeline*, training on the source alone, is the caller's
  (:func:`helpers.training.detection.train_detector`), because arms that are compared share it.
- *L2-SP* is the anchor of the training that is handed in, of the backbone without normalisation
  layers. With an anchor of weight 0 nothing holds the backbone in (b); without an anchor it has
  ordinary weight decay there, like the rest of the detector.
- *Queue and key encoder* start afresh in every round: the backbone has moved meanwhile, so that the
  old keys would be told from the new ones by that alone. The queue fills anew, during which fewer
  negatives count. The contrast's head goes on from where it was.
- *Momentum* of both optimisers is dropped at every change of side, being that of gradients at
  weights that have been left.
- *Input* is normalised by the detector's mean and spread on both sides, that of cells too.
- *Batch normalisation* is as ``spec.batch_norm`` of the detector says, on both sides.
  ``"frozen"``: statistics, scale and offset stay those that the backbone came with. ``"trained"``:
  (a) normalises by groups of a batch (:mod:`helpers.pretraining.momentum`), (b) by batches of a few
  images; both move the running statistics, scale and offset, which so end as the source's.

The source's side is a training that can stop and go on, and comes from outside
(:class:`SourceTraining`): this room does not know how detectors are trained.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from helpers.errors import DataError, ParameterError
from helpers.files import read_torch, write_torch
from helpers.metrics.detection import Instances, average_precision
from helpers.models.cascade import Detector, anchor_backbone, predict_instances
from helpers.models.device import read_every, set_rate
from helpers.models.encoders import fill_encoder, normalise, save_encoder
from helpers.models.l2sp import Anchor
from helpers.models.weights import resuming
from helpers.pretraining.moco import MocoPlan, build_optimiser, contrast_step, queue_length
from helpers.pretraining.moco_views import PairSource, identify
from helpers.pretraining.momentum import MomentumContrast
from helpers.pretraining.progress import require_same, write_log
from helpers.pretraining.schedules import learning_rate_at
from helpers.pretraining.stepwise import OnStep, once, rows_of_steps
from helpers.pretraining.stepwise import encoder_path as encoder_path

Side = Literal["contrast", "source"]
Annotated = tuple[np.ndarray, Instances]
"""An image uint8 (h, w, 3) and its objects."""


class SourceTraining(Protocol):
    """Side (b), as :class:`helpers.training.detection.DetectorTraining` is.

    Attributes:
        model: the detector, on ``device``.
        plan: with ``steps`` (of all rounds), ``checkpoint_every`` and ``precision``.
        device: of the computation, of both sides.
        anchor: of the backbone, or ``None``. This module says when it is refreshed.
        identity: equal for equal trainings, starting weights and data included.
        log: with ``losses``, one a step, and ``parts``, by name one a step.
        done: steps done.
    """

    model: Detector
    plan: Any
    device: torch.device
    anchor: Anchor | None
    identity: str
    log: Any

    @property
    def done(self) -> int: ...

    def run(self, steps: int | None = None, on_step: OnStep | None = None) -> Any: ...

    def forget_momentum(self) -> None: ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: dict[str, Any], path: Path | None = None) -> None: ...


@dataclass
class Amt2Round:
    """What one round did. Distances are of the anchored weights: without normalisation layers.

    Attributes:
        contrast_losses, matches: of each step of (a), see
            :class:`helpers.pretraining.moco.MocoLog`; low and high while the queue fills.
        source_losses: of each step of (b), without the anchor's penalty.
        source_parts: the same by parts; ``"anchor"`` is the penalty and comes on top.
        moved: distance |w - w_start| of the backbone between start and end of (a).
        distance: between start and end of (b), so to the anchor.
        anchor_norm: |w| of the backbone at the end of (a), to judge the two by.
        source_scores: average precision on the source after (b), by name (``"box_ap"``,
            ``"mask_ap"``, ``"mask_ap_50"``, ..., without those that no annotated object defines).
        ends: steps of both sides done at the end of (a), if there is one, and of (b): the numbers
            in the names of files.
        contrast_seconds, source_seconds: spent on steps.
    """

    contrast_losses: list[float] = field(default_factory=list)
    matches: list[float] = field(default_factory=list)
    source_losses: list[float] = field(default_factory=list)
    source_parts: dict[str, list[float]] = field(default_factory=dict)
    moved: float = 0.0
    distance: float = 0.0
    anchor_norm: float = 0.0
    source_scores: dict[str, float] = field(default_factory=dict)
    ends: list[int] = field(default_factory=list)
    contrast_seconds: float = 0.0
    source_seconds: float = 0.0


@dataclass
class Amt2Log:
    """What a pretraining leaves besides the weights.

    Attributes:
        rounds: in their order; while a run goes on, the last is not complete.
        start_scores: as ``source_scores``, before the first round.
        kept: steps of both sides after which the encoder was written (:func:`encoder_path`).
    """

    rounds: list[Amt2Round] = field(default_factory=list)
    start_scores: dict[str, float] = field(default_factory=dict)
    kept: list[int] = field(default_factory=list)


def pretrain_amt2(
    training: SourceTraining,
    cells: np.ndarray | None,
    rounds: int,
    plan: MocoPlan | None,
    seed: int,
    folder: Path,
    *,
    source_test: Sequence[Annotated],
    on_step: OnStep | None = None,
) -> Amt2Log:
    """Pretrain a detector in place; resume, or return at once if it is done.

    The folder gets ``encoder-SSSSSS.pt`` of the start and of both sides of every round, and
    ``detector-SSSSSS.pt`` (:func:`load_detector`) of the end, SSSSSS being the steps of both sides
    done; ``log.json``; and until the end ``checkpoint.pt``, written at every change of side and as
    often as the two plans say (``checkpoint_every``, 0: at changes alone). On the CPU two runs with
    equal arguments and an equal number of threads give identical weights, with or without an
    interruption in between. A second process waits for the first.

    Args:
        training: side (b), no step done yet, on the detector to be pretrained. That is left on its
            device and in evaluation mode.
        cells: images of side (a), see :func:`helpers.pretraining.moco.pretrain_moco`; ``None`` for
            (b) alone, for comparison.
        rounds: of (a) and then (b).
        plan: of side (a), or ``None``. Its ``steps``, like the training's, are those of all rounds
            together and a multiple of ``rounds``; ``checkpoint_every`` counts them.
        seed: of side (a): head, order and views.
        folder: of this pretraining alone.
        source_test: images of the source with their objects, on which average precision is
            measured before the first round and after each (with COCO's size classes).
        on_step: called with (steps of both sides done, loss of this side) after every step (on a
            GPU every few). Steps that are done again after an interruption are called again.

    Raises:
        ParameterError: groups or a queue that do not fit the cells, or one of the two diverged.
        DataError: the folder holds another pretraining, or files that are not readable.
    """
    contrast = _Contrast(training, cells, plan, seed) if plan else None
    identity = _identity(training, contrast, rounds, seed, source_test)

    def run() -> Amt2Log:
        return _Run(training, contrast, rounds, source_test, folder, identity).go(on_step)

    log = once(folder, identity, _as_log, run)
    if not training.done:
        load_detector(detector_path(folder, log.rounds[-1].ends[-1]), training.model)
    training.model.eval()
    return log


def detector_path(folder: Path, step: int) -> Path:
    """File of the whole detector after so many steps of both sides."""
    return folder / f"detector-{step:06d}.pt"


def load_detector(path: Path, detector: Detector) -> None:
    """Fill a detector with the weights in a file of :func:`pretrain_amt2`.

    Args:
        detector: of the same spec.

    Raises:
        DataError: the file is missing, not readable, or of a detector with other weights.
    """
    if not path.is_file():
        raise DataError(
            f"{path}: is missing, though it is kept until the folder is deleted. Delete the "
            "folder to train anew."
        )
    fill_encoder(detector, read_torch(path), path, "detector")


class _Contrast:
    """Side (a) on the backbone of a training's detector."""

    def __init__(
        self, training: SourceTraining, cells: np.ndarray, plan: MocoPlan, seed: int
    ) -> None:
        detector = training.model
        self.plan, self.seed, self.device = plan, seed, training.device
        self.statistics = detector.spec.mean, detector.spec.std
        ids, self.fingerprint = identify(cells)
        self.cells = PairSource(cells, ids, seed, self.device)
        # The key encoder is copied with its modes: frozen layers of the detector are frozen there.
        detector.train()
        queue = queue_length(plan, len(cells))
        network = MomentumContrast(detector.backbone.body, plan, queue, seed)
        self.network = network.to(self.device)
        self.forget_momentum()

    def forget_momentum(self) -> None:
        """Go on with a fresh optimiser."""
        self.optimiser = build_optimiser(self.network, self.plan)

    def run(self, first: int, steps: int, record: Amt2Round, tell: Callable[[float], None]) -> None:
        """The next ``steps`` steps after ``first`` over all rounds; the record gets the values."""
        rows = rows_of_steps(len(self.cells.images), self.plan, self.seed, first)
        every = read_every(self.device)
        unread: list[Tensor] = []
        for step, pairs in enumerate(self.cells.pairs(islice(rows, steps), first), first):
            set_rate(self.optimiser, learning_rate_at(step, self.plan.steps, self.plan))
            unread.append(contrast_step(self.network, self.optimiser, pairs, self._normalised))
            if len(unread) == every or step + 1 == first + steps:
                self._read(unread, step + 1, record, tell)

    def state(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])

    def _normalised(self, view: Tensor) -> Tensor:
        # The detector's weights keep their layout, so that (b) counts as it does without (a).
        return normalise(view, *self.statistics).contiguous(memory_format=torch.channels_last)

    def _read(
        self, unread: list[Tensor], done: int, record: Amt2Round, tell: Callable[[float], None]
    ) -> None:
        values = torch.stack(unread).tolist()
        unread.clear()
        for step, (loss, matches) in enumerate(values, done - len(values) + 1):
            if not math.isfinite(loss):
                raise ParameterError(
                    f"contrast diverged in step {step}: loss is {loss}. Lower its learning_rate "
                    f"(now {self.plan.learning_rate}) or raise warmup_share."
                )
            record.contrast_losses.append(loss)
            record.matches.append(matches)
            tell(loss)


class _Run:
    """One call of :func:`pretrain_amt2`.

    Attributes:
        place: of the present side among the sides of all rounds. What comes before its steps has
            been done (`_enter`), what comes after them not (`_leave`).
    """

    def __init__(
        self,
        training: SourceTraining,
        contrast: _Contrast | None,
        rounds: int,
        source_test: Sequence[Annotated],
        folder: Path,
        identity: dict,
    ) -> None:
        self.training, self.contrast, self.rounds = training, contrast, rounds
        self.source_test, self.folder, self.identity = source_test, folder, identity
        self.reference = training.anchor or anchor_backbone(training.model, 0.0)
        self.log = Amt2Log()
        self.place = 0
        self.steps = {"source": training.plan.steps}
        self.every = {"source": training.plan.checkpoint_every}
        if contrast:
            self.steps = {"contrast": contrast.plan.steps, **self.steps}
            self.every["contrast"] = contrast.plan.checkpoint_every

    @property
    def round(self) -> int:
        """Rounds done."""
        return self.place // len(self.steps)

    @property
    def finished(self) -> bool:
        return self.round == self.rounds

    @property
    def side(self) -> Side:
        return tuple(self.steps)[self.place % len(self.steps)]

    @property
    def done(self) -> dict[str, int]:
        """Steps done on each side, over all rounds."""
        contrast = sum(len(one.contrast_losses) for one in self.log.rounds)
        return {"contrast": contrast, "source": self.training.done}

    def go(self, on_step: OnStep | None) -> Amt2Log:
        """Do all that is still to be done; the log."""

        def tell(loss: float) -> None:
            if on_step:
                on_step(sum(self.done.values()), loss)

        if not self._resume():
            self._begin()
        while not self.finished:
            self._work(tell)
            self._leave()
        (self.folder / "checkpoint.pt").unlink(missing_ok=True)
        return self.log

    def _begin(self) -> None:
        self.log.start_scores = self._scores()
        self._keep("start", 0)
        self._enter()
        self._save()
        write_log(self.folder, self.identity, self.log, finished=False)

    def _enter(self) -> None:
        """What comes before the first step of a side."""
        # Before (a) to see how far that moves the backbone; after it this is the anchor of (b).
        self.reference.refresh()
        if self.place % len(self.steps) == 0:
            self.log.rounds.append(Amt2Round())
        if self.round and self.side == "contrast":
            self.contrast.network.restart()
            self.contrast.forget_momentum()
        elif self.round:
            self.training.forget_momentum()

    def _work(self, tell: Callable[[float], None]) -> None:
        """The steps that the present side of this round still has to do."""
        side, record = self.side, self.log.rounds[-1]
        end = self.steps[side] // self.rounds * (self.round + 1)
        while (done := self.done[side]) < end:
            every = self.every[side]
            stop = min(end, (done // every + 1) * every) if every else end
            begin = time.perf_counter()
            if side == "contrast":
                # Measuring and the source leave modes of their own.
                self.training.model.train()
                self.contrast.run(done, stop - done, record, tell)
                record.contrast_seconds += time.perf_counter() - begin
            else:
                self.training.run(stop - done, lambda _, loss: tell(loss))
                record.source_seconds += time.perf_counter() - begin
            if stop < end:
                self._save()

    @torch.no_grad()
    def _leave(self) -> None:
        """What comes after the last step of a side, and before the first of the next."""
        record = self.log.rounds[-1]
        distance = math.sqrt(float(self.reference.squared_distance()))
        record.ends.append(sum(self.done.values()))
        self._keep(self.side, self.round + 1)
        if self.side == "contrast":
            record.moved = distance
        else:
            record.distance = distance
            anchors = self.reference.state().values()
            record.anchor_norm = math.sqrt(sum(float((one**2).sum()) for one in anchors))
            self._read_source(record)
            record.source_scores = self._scores()
        self.place += 1
        if not self.finished:
            self._enter()
            self._save()
        write_log(self.folder, self.identity, self.log, self.finished)

    def _read_source(self, record: Amt2Round) -> None:
        """Put what the training noted in this round into the record."""
        log, steps = self.training.log, self.steps["source"] // self.rounds
        mine = slice(self.round * steps, (self.round + 1) * steps)
        record.source_losses = log.losses[mine]
        record.source_parts = {name: values[mine] for name, values in log.parts.items()}

    def _scores(self) -> dict[str, float]:
        """Average precision on the source; the detector is left in evaluation mode."""
        model = self.training.model.eval()
        device, precision = self.training.device.type, self.training.plan.precision
        truth, found = [], []
        for image, objects in self.source_test:
            truth.append(objects)
            found += predict_instances(model, [image], device, precision)
        scores = average_precision(truth, found).as_dict()
        return {name: value for name, value in scores.items() if math.isfinite(value)}

    def _keep(self, side: str, number: int) -> None:
        """Write the encoder after a side of a round (1 for the first), in the end the detector."""
        model, step = self.training.model, sum(self.done.values())
        spec, extra = model.spec, {"step": step, "round": number, "side": side}
        path = encoder_path(self.folder, step)
        save_encoder(path, model.backbone.body, spec.backbone, (spec.mean, spec.std), extra)
        self.log.kept.append(step)
        if side == "source" and number == self.rounds:
            weights = {name: value.cpu() for name, value in model.state_dict().items()}
            write_torch(detector_path(self.folder, step), weights)

    def _save(self) -> None:
        state = {
            "identity": self.identity,
            "place": self.place,
            "training": self.training.state(),
            "contrast": self.contrast.state() if self.contrast else None,
            "reference": self.reference.state(),
            "log": json.dumps(asdict(self.log)),
        }
        write_torch(self.folder / "checkpoint.pt", state)

    def _resume(self) -> bool:
        """Go on from the checkpoint, if there is one."""
        path = self.folder / "checkpoint.pt"
        if not path.is_file():
            return False
        state = read_torch(path)
        with resuming(path, "pretraining"):
            require_same(path, state["identity"], self.identity)
            self.training.restore(state["training"], path)
            if self.contrast:
                self.contrast.restore(state["contrast"])
            self.reference.restore(state["reference"])
            self.place, self.log = state["place"], _as_log(json.loads(state["log"]))
        return True


def _as_log(values: dict) -> Amt2Log:
    return Amt2Log(**{**values, "rounds": [Amt2Round(**one) for one in values["rounds"]]})


def _identity(
    training: SourceTraining,
    contrast: _Contrast | None,
    rounds: int,
    seed: int,
    source_test: Sequence[Annotated],
) -> dict:
    """What a folder must have in common with the pretraining that is asked for."""
    known = {
        "rounds": rounds,
        "plan": contrast and asdict(contrast.plan),
        "seed": seed,
        "cells": contrast and [len(contrast.cells.images), contrast.fingerprint],
        "queue": contrast and len(contrast.network.queue),
        "training": training.identity,
        "source_test": [
            [image.shape, int(image.sum()), len(objects), float(objects.boxes.sum())]
            for image, objects in source_test
        ],
    }
    # As JSON gives it back: lists for tuples.
    return json.loads(json.dumps(known))
