"""What pretrainings share: their stream of random numbers, and whose a file is."""

from pathlib import Path

from helpers.errors import DataError

# Stream of random numbers for what happens in a step.
STEPS = 2


def require_same(path: Path, found: dict | None, expected: dict) -> None:
    """Refuse the file of another pretraining.

    Raises:
        DataError: its settings are not the expected ones.
    """
    if found != expected:
        raise DataError(
            f"{path}: belongs to another pretraining ({found}; expected {expected}). "
            "Name another file, or delete this one to train anew."
        )
