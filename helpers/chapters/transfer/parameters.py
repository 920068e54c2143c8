"""Where chapters of the old form find their parameters."""

from helpers.book.parameters import TransferParameters

__all__ = ["TransferParameters"]
