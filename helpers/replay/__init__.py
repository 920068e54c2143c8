"""Replay: which patches of which source a training step sees, fixed in advance or adapted."""

from helpers.replay.adaptive import AdaptiveShare
from helpers.replay.mixer import Mixer, Pool, appended, controlled

__all__ = ["AdaptiveShare", "Mixer", "Pool", "appended", "controlled"]
