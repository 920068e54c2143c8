"""Parameters of the chapter ``stopping-published``."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from helpers.book.parameters import ChapterParameters
from helpers.chapters.segmentation import distinct

Count = Annotated[int, Field(ge=1)]
Epochs = Annotated[int, Field(ge=1, le=300)]


class Parameters(ChapterParameters):
    """Which tables, and which form of the score and of the online rule stand in the foreground."""

    dataset: Literal["medsegpretrain", "synthetic-medsegpretrain"] = Field(
        "medsegpretrain", description="the released tables, or generated ones of the same form"
    )
    if_missing: Literal["generate", "stop"] = Field(
        "generate",
        description="where the released tables are neither at hand nor to be had: take generated "
        "ones and say so on the page, or stop",
    )
    distance: Literal["cosine", "l2", "pearson"] = Field("cosine", description="of the score")
    margin: Literal[0.0, 0.25, 0.5, 0.75, 1.0] = Field(0.5, description="of the score")
    pooled: bool = Field(True, description="features averaged over the image")
    from_top: int = Field(1, ge=1, le=4, description="level of the features, 1 the deepest")
    patiences: list[Count] = Field(
        [1, 2, 3, 4], description="checkpoints without a new minimum after which training stops"
    )
    smoothings: list[Count] = Field(
        [1, 2, 3], description="checkpoints over which the score is averaged"
    )
    least_epochs: list[Epochs] = Field(
        [1, 20, 50], description="shortest pretraining that an online rule may choose, in epochs"
    )
    seed: int = Field(0, ge=0, description="of generated tables")

    @field_validator("patiences", "smoothings", "least_epochs")
    @classmethod
    def _distinct(cls, values: list) -> list:
        return distinct(values)
