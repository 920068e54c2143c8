"""L2-SP: weight decay toward the weights a training starts from (Li, Grandvalet & Davoine 2018).

Explicit Inductive Bias for Transfer Learning with Convolutional Networks, arXiv 1802.01483:
ordinary weight decay pulls a fine-tuned network toward zero, L2-SP toward the starting point,

    penalty = weight / 2 * sum over anchored parameters of |w - w_start|^2.
"""

from collections.abc import Sequence

import torch
from torch import nn

NORMALISATION = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


class Anchor:
    """Starting weights of a network, and the distance to them.

    Anchored are all parameters that are trained, apart from those of normalisation layers and of
    heads. Statistics of normalisation layers are no parameters and so never anchored.

    Args:
        network: whose present weights are the reference.
        weight: of the penalty, 0 or above.
        heads: parameters whose name starts with one of these are left free, for instance
            ``("output.",)``; where the task stays the same, nothing needs to be.
    """

    def __init__(self, network: nn.Module, weight: float, heads: Sequence[str] = ()) -> None:
        self.weight = weight
        self._network = network
        normalising = _normalising(network)
        self._parameters = {
            name: parameter
            for name, parameter in network.named_parameters()
            if parameter.requires_grad
            and not name.startswith(tuple(heads))
            and name not in normalising
        }
        self.refresh()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the anchored parameters."""
        return tuple(self._parameters)

    def refresh(self) -> None:
        """Make the present weights the reference."""
        self._start = {name: p.detach().clone() for name, p in self._parameters.items()}

    def squared_distance(self) -> torch.Tensor:
        """Sum of squared differences to the reference, a scalar with a gradient."""
        parts = [((p - self._start[name]) ** 2).sum() for name, p in self._parameters.items()]
        return torch.stack(parts).sum()

    def penalty(self) -> torch.Tensor:
        """``weight / 2`` times the squared distance (arXiv 1802.01483, Eq. 2, first term)."""
        return self.weight / 2 * self.squared_distance()

    def state(self) -> dict[str, torch.Tensor]:
        """The reference, to be saved with a checkpoint."""
        return dict(self._start)

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Take a saved reference.

        Raises:
            KeyError: it lacks one of the anchored parameters.
        """
        self._start = {
            name: state[name].to(p.device, p.dtype) for name, p in self._parameters.items()
        }


def decay_groups(
    network: nn.Module, weight_decay: float, anchor: Anchor | None = None
) -> list[dict]:
    """Parameter groups for an optimiser: no ordinary weight decay on what is anchored."""
    anchored = set(anchor.names) if anchor else set()
    trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    groups = [
        {
            "params": [p for name, p in trained if name not in anchored],
            "weight_decay": weight_decay,
        },
        {"params": [p for name, p in trained if name in anchored], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _normalising(network: nn.Module) -> set[str]:
    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in network.named_modules()
        if isinstance(module, NORMALISATION)
        for name, _ in module.named_parameters(recurse=False)
    }
