"""The chapter ``few-shot``."""
