"""Parameters that the chapters on transfer share."""

from pydantic import Field

from helpers.chapters.segmentation import Seed, SegmentationParameters


class TransferParameters(SegmentationParameters):
    """Three domains, a first stage from random weights, later stages from others' weights."""

    dataset: str = Field("synthetic-cyto", description="the source: a name, or folder:PATH")
    target: str = Field("synthetic-histo", description="the target: a name, or folder:PATH")
    third: str = Field("synthetic-multi", description="the third domain: a name, or folder:PATH")
    rotate_target: bool = Field(
        False, description="split the target anew for each seed, so that in turn all are tested"
    )
    n_images: int = Field(20, ge=0, description="images of each domain, or drawn at most (0: all)")
    image_size: int = Field(224, ge=64, description="side of generated images in pixels")
    max_test_images: int = Field(2, ge=0, description="held-out images tested on (0: all)")
    seeds: list[Seed] = Field([0, 1], description="one model of each kind each")
    steps: int = Field(90, ge=1, description="optimisation steps of a first stage")
    fine_steps: int = Field(54, ge=1, description="of a stage that starts from a trained model")
    learning_rate: float = Field(0.05, gt=0, description="highest in a first stage")
    fine_learning_rate: float = Field(0.1, gt=0, description="highest in a later stage")
    looks: int = Field(2, ge=1, description="looks at all domains during a later stage")
