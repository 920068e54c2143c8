"""Parameters of the chapter ``initialisation``."""

from pydantic import Field

from helpers.chapters.starting.parameters import StartingParameters


class Parameters(StartingParameters):
    """Those that the chapters share, and the resamples of the intervals."""

    n_resamples: int = Field(2000, ge=100, description="of the bootstrap over runs and images")
