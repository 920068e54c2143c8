"""Results tables with free columns, and cells."""

import numpy as np
import pandas as pd
import pytest

from helpers.book import results
from helpers.book.results import Cells, best_on_other_seeds, smallest_on_other_seeds
from helpers.errors import DataError


def rows(*cells: tuple) -> pd.DataFrame:
    names = ["method", "rate", "seed", "metric", "value"]
    return pd.DataFrame(cells, columns=names).assign(table="t").astype({"seed": "Int64"})


TABLE = rows(
    *[("random", 10.0, 0, "dice", 0.5), ("random", 10.0, 1, "dice", 0.7)],
    *[("random", 50.0, 1, "dice", 0.9), ("DQ", 10.0, 1, "dice", 0.6), ("DQ", 10.0, 2, "dice", 0.1)],
    ("none", np.nan, 0, "dice", 0.2),
)


def scores(n_seeds: int = 3, n_images: int = 12, seed: int = 0) -> pd.DataFrame:
    """Per-image values of one model per seed: images of a group resemble each other."""
    rng = np.random.default_rng(seed)
    group = np.repeat(rng.normal(0, 0.1, n_images // 2), 2)
    parts = [
        (
            {"table": "t", "train": "a", "test": "a", "seed": s},
            [
                {"id": f"i{i}", "group": f"g{i // 2}", "dice": 0.7 + group[i] + shift}
                for i in range(n_images)
            ],
        )
        for s, shift in enumerate(rng.normal(0, 0.05, n_seeds))
    ]
    return results.images_of(parts, ["dice"])


def test_arithmetic_pairs_seeds():
    c = Cells(TABLE)
    difference = c("dice", method="DQ", rate=10) - c("dice", method="random", rate=10)
    assert difference.dropna().to_dict() == {1: pytest.approx(-0.1)}
    assert c("dice", method="none", rate=None).to_dict() == {0: 0.2}
    assert c("dice", method="herding").empty
    assert c.values("rate", method="random") == [10.0, 50.0]


@pytest.mark.parametrize("draws", [0, 20])
def test_the_best_is_chosen_on_the_other_seeds(draws):
    values = {"a": [1.0, 0.0, 0.4], "b": [0.0, 0.8, 0.5]}
    table = rows(*((m, 1.0, s, "dice", v) for m, own in values.items() for s, v in enumerate(own)))
    c = Cells(table, draws=draws)
    found = best_on_other_seeds([c("dice", method=method) for method in values])
    measured = found if not draws else found[0]
    # Without seed 0 it is b, without the others a: the plain maximum would be 1, .8, .5.
    assert measured.to_dict() == {0: 0.0, 1: 0.0, 2: 0.4}
    assert best_on_other_seeds([]).empty
    assert best_on_other_seeds([cell.iloc[:1] for cell in (found, found)]).empty


def test_a_cell_is_never_ambiguous_unless_a_list_says_so():
    c = Cells(TABLE)
    with pytest.raises(DataError, match=r"rate.*10\.0, 50\.0"):
        c("dice", method="random")
    assert c("dice", method="random", rate=[10, 50])[1] == pytest.approx(0.8)
    assert c("dice", method="random", rate=...)[1] == pytest.approx(0.8)
    twice = pd.concat([TABLE, TABLE])
    with pytest.raises(DataError, match="several rows"):
        Cells(twice)("dice", method="DQ", rate=10)


def test_images_and_table_tell_the_same():
    images = scores()
    table = results.table_of(images, ["dice"])
    plain = Cells(table)("dice", train="a", test="a")
    drawn = Cells(table, images).with_draws(50)("dice", train="a", test="a")
    assert drawn.shape == (3, 51)
    np.testing.assert_allclose(drawn[0], plain, atol=1e-12)
    # The groups are the same for all seeds, so reweighting moves all seeds alike.
    moved = drawn.iloc[:, 1:].sub(drawn[0], axis=0)
    np.testing.assert_allclose(moved.loc[0], moved.loc[2], atol=1e-12)
    assert moved.loc[0].std() > 0.01


def test_cells_without_images_stay_as_they_are_beside_those_with():
    images = scores()
    table = results.joined([results.table_of(images, ["dice"]), TABLE])
    c = Cells(table, images).with_draws(20)
    assert (c("dice", method="DQ", rate=10).nunique(axis=1) == 1).all()


def test_files_round_trip_and_are_reproducible(tmp_path):
    images, one, two = scores(), tmp_path / "a.csv.gz", tmp_path / "b.csv.gz"
    results.write_images(images, one)
    results.write_images(images, two)
    assert one.read_bytes() == two.read_bytes()
    read = results.read_images(one)
    np.testing.assert_allclose(read["dice"], images["dice"], rtol=1e-4)
    assert list(read["image"]) == list(images["image"])
    results.write_table(TABLE, tmp_path / "t.csv")
    pd.testing.assert_frame_equal(
        results.read_table(tmp_path / "t.csv")[list(TABLE)], TABLE, check_dtype=False
    )
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no column table, metric, value, seed"):
        results.read_table(tmp_path / "bad.csv")


def test_tables_of_modalities():
    images = scores(1).assign(modality=["dark", "bright"] * 6)
    by = results.table_of(images, ["dice"], by=["modality"]).set_index("modality")
    expected = images.groupby("modality")["dice"].mean()
    np.testing.assert_allclose(by["value"], expected[by.index])
    assert set(by["n"]) == {6}


def test_the_best_of_several_is_chosen_on_the_other_seeds():
    steady = pd.Series([0.6, 0.6, 0.6])
    lucky = pd.Series([0.9, 0.5, 0.5])
    # Seed 0 is judged by what the others say, and they say "steady".
    assert best_on_other_seeds([steady, lucky]).tolist() == [0.6, 0.5, 0.5]
    assert smallest_on_other_seeds([steady, lucky]).tolist() == [0.9, 0.6, 0.6]
    frames = [pd.DataFrame({0: steady, 1: lucky}), pd.DataFrame({0: lucky, 1: steady})]
    assert best_on_other_seeds(frames)[1].tolist() == [0.6, 0.5, 0.5]
    assert best_on_other_seeds([steady]).equals(steady)
    assert best_on_other_seeds([steady[:1], lucky[:1]]).empty
    assert best_on_other_seeds([]).empty
