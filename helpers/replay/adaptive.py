"""How much to replay, decided while training."""

from dataclasses import dataclass

from helpers.errors import ParameterError


@dataclass(frozen=True)
class AdaptiveShare:
    """Replay as much as the source is being forgotten (arXiv 2511.04803 leaves this open).

    The rule, ours: let ``start`` be the score on validation images of the source before
    fine-tuning and ``now`` the present one. With drop = max(0, start - now),

        share = low + (high - low) * min(1, drop / tolerance)

    It is proportional control without memory: nothing lost, ``low`` of each batch is replayed; a
    drop of ``tolerance`` or more, ``high``. What is replayed settles where the drop it allows is
    the drop that asks for it. Until the first check the share is ``high``: most is forgotten in
    the first steps.

    Attributes:
        low, high: bounds of the share of each batch, 0 <= low <= high < 1.
        tolerance: drop at which the share is ``high``, in units of the score, above 0.
    """

    low: float = 0.02
    high: float = 0.5
    tolerance: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high < 1:
            raise ParameterError(f"low={self.low}, high={self.high}: expected 0 <= low <= high < 1")
        if not self.tolerance > 0:
            raise ParameterError(f"tolerance={self.tolerance}: expected a number above 0")

    def share(self, start: float, now: float) -> float:
        """Share of each batch that is replayed until the next check.

        Args:
            start: score on the source before fine-tuning, higher is better.
            now: the present one.
        """
        drop = max(0.0, start - now)
        return self.low + (self.high - self.low) * min(1.0, drop / self.tolerance)
