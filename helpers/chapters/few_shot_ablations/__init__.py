"""The chapter ``few-shot-ablations``."""
