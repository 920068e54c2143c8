"""The recipe of classification pretraining: its plan, learning rate, order, loss and decay."""

import math
from dataclasses import dataclass

import numpy as np
from torch import nn

# Names of matrices that are no weights of a layer: positions and single tokens.
NOT_DECAYING = ("relative_position_bias_table", "pos_embed", "_token")


@dataclass(frozen=True)
class SupervisedPlan:
    """How one encoder is pretrained. Defaults are those of arXiv 2410.18677.

    Attributes:
        epochs: passes over the images; 300 in the paper. The schedule is made for all of them,
            also where the run is stopped before.
        batch_size: images per step, at least 2; 4,096 in the paper.
        learning_rate: the highest. The default is for the paper's batch; a small batch needs a
            smaller one.
        final_rate: what the rate starts from and ends at.
        warmup_share: first share of the steps, in which the rate grows linearly; 20 of 300 epochs.
        weight_decay: of AdamW; not on biases, normalisation layers and tables of positions.
        label_smoothing: share of the target that is spread evenly over all classes.
        scheme: ``"simple"`` crops (area at least 0.8) and mirrors; ``"advanced"`` adds
            RandAugment, Mixup or CutMix, erasing, and stochastic depth 0.1 in networks that have
            residual blocks for it (:func:`helpers.models.encoders.build_encoder`).
        precision: ``"bfloat16"`` or ``"float32"`` for the network's arithmetic.
        checkpoints: epochs after which the encoder is kept, besides 0 (random weights) and the
            last.
        checkpoint_every: epochs between points from which a killed run goes on; 0 for none.
    """

    epochs: int
    batch_size: int
    learning_rate: float = 4e-3
    final_rate: float = 1e-6
    warmup_share: float = 20 / 300
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    scheme: str = "simple"
    precision: str = "float32"
    checkpoints: tuple[int, ...] = ()
    checkpoint_every: int = 1

    @property
    def advanced(self) -> bool:
        """Whether the advanced scheme is used."""
        return self.scheme == "advanced"

    def keeps(self, epoch: int) -> bool:
        """Whether the plan asks for the encoder after this epoch."""
        return epoch in (0, self.epochs, *self.checkpoints)


def learning_rate_at(step: int, steps: int, plan: SupervisedPlan) -> float:
    """Rate of step 0, 1, ..., ``steps - 1``: linear from ``final_rate``, then half a cosine."""
    warmup = round(plan.warmup_share * steps)
    if step < warmup:
        share = step / warmup
    else:
        share = 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
    return plan.final_rate + (plan.learning_rate - plan.final_rate) * share


def epoch_order(n: int, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """Which of n images each step of an epoch sees, int64 (n // batch_size, batch_size).

    A permutation that depends on (seed, epoch) alone; the images that do not fill a batch are left
    out, others in each epoch.
    """
    steps = n // batch_size
    order = np.random.default_rng([seed, 1, epoch]).permutation(n)
    return order[: steps * batch_size].reshape(steps, batch_size)


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict]:
    """Parameter groups: no decay on biases, normalisation layers and tables of positions."""
    from timm.optim import param_groups_weight_decay

    spared = [name for name, _ in network.named_parameters() if name.endswith(NOT_DECAYING)]
    return param_groups_weight_decay(network, weight_decay, no_weight_decay_list=spared)
