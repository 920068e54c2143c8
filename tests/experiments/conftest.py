"""Three small domains, prepared once."""

import pytest

from helpers.data.patches import PatchGrid
from helpers.experiments.domains import Domain
from helpers.experiments.preparation import DataSettings, prepare_data


def small_data(dataset: str, cache, n_images: int = 4):
    """Images of 64 px in four patches each, one of them held out."""
    settings = DataSettings(
        dataset=dataset,
        n_images=n_images,
        image_size=64,
        test_share=0.25,
        max_test_images=1,
        seed=0,
        polarity="as_is",
        grid=PatchGrid(32, 32, "drop"),
    )
    return prepare_data(settings, cache)


@pytest.fixture(scope="session")
def domains(tmp_path_factory) -> dict[str, Domain]:
    """Source, target and third domain: three training images, 12 patches each."""
    cache = tmp_path_factory.mktemp("domains")
    names = {"source": "synthetic-cyto", "target": "synthetic-histo", "third": "synthetic-multi"}
    return {role: Domain(role, small_data(name, cache)) for role, name in names.items()}
