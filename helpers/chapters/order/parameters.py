"""Parameters of the chapter ``order``."""

from helpers.chapters.transfer.parameters import TransferParameters


class Parameters(TransferParameters):
    """Parameters of the chapter ``order``: those of all chapters on transfer."""
