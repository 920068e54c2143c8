"""What a model forgets and what it transfers when it is trained on one domain after another.

Arrays in, numbers or small frozen dataclasses out: no files, plots, globals or hidden seeds.
`measures` has the definitions and how they are read here, `summary` the spread over seeds.
"""

from helpers.retention.measures import (
    average_accuracy,
    backward_transfer,
    domain_forgetting,
    drop,
    forgetting,
    forward_transfer,
    relative_drop,
)
from helpers.retention.summary import RetentionSummary, SeedSummary, summarise

__all__ = [
    "RetentionSummary",
    "SeedSummary",
    "average_accuracy",
    "backward_transfer",
    "domain_forgetting",
    "drop",
    "forgetting",
    "forward_transfer",
    "relative_drop",
    "summarise",
]
