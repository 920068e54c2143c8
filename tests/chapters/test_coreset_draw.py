import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from helpers.chapters import results
from helpers.chapters.coreset import draw, tables
from helpers.chapters.draw_common import METHOD_STYLES

DQ = ("DQ, printed equation", "DQ, released code", "DQ, graph cut")


@pytest.fixture(autouse=True)
def closing():
    yield
    plt.close("all")


def a_table(seeds=(0, 1, 2), rates=(5, 20)):
    """This run: random is 0.6, every method a known step above it at all rates, plus noise."""
    rng = np.random.default_rng(0)
    rows = []
    methods = [name for name in tables.METHOD_NAMES.values() if name != "all"]
    common = {"chapter": "coreset", "source": "this run", "profile": "test", "std": 0.1}
    common |= {"dataset_train": "data", "dataset_test": "data", "note": "std over images; ..."}
    for place, method in enumerate(methods):
        for rate in rates:
            for seed in seeds:
                about = {"method": method, "rate": rate, "seed": seed, **common}
                luck = rng.normal(0, 0.001)
                for metric in ("dice", "pq"):
                    value = 0.6 + 0.01 * place + luck
                    rows.append({**about, "table": "II", "metric": metric, "value": value})
                for metric in draw.COVERAGE:
                    rows.append({**about, "table": "coverage", "metric": metric, "value": place})
    for seed in seeds:
        about = {"method": "all", "rate": 100, "seed": seed, **common, "table": "II"}
        rows += [{**about, "metric": metric, "value": 0.8} for metric in ("dice", "pq")]
    return results.tidy(rows)


def labels(axis):
    return axis.get_legend_handles_labels()[1]


def test_every_method_has_a_look_of_its_own():
    named = [METHOD_STYLES[name] for name in tables.METHOD_NAMES.values() if name != "all"]
    assert len({look["marker"] for look in named}) >= 7
    colours = [to_rgb(look["color"]) for look in named]
    for i, one in enumerate(colours):
        assert all(np.abs(np.subtract(one, other)).sum() > 0.25 for other in colours[:i])


def test_performance_has_one_panel_per_source_and_closes_at_all_patches():
    sources = tables.sources(a_table())
    figure = draw.performance(sources, "dice")
    axes = [axis for axis in figure.axes if axis.axison]
    assert [axis.get_title() for axis in axes] == list(sources)
    assert set(labels(axes[0])) == {"random", "DQ"}
    this_run = axes[list(sources).index("this run")]
    random = this_run.lines[labels(this_run).index("random")]
    assert list(random.get_xdata()) == [5, 20, 100]
    assert random.get_ydata()[-1] == pytest.approx(0.8)


def test_published_bars_are_those_over_runs_only():
    sources = {"published": tables.sources(a_table())["published, Cyto"]}
    (axis,) = draw.performance(sources, "dice").axes
    bars = [c for c in axis.containers if c.has_yerr and len(c.lines[2][0].get_segments())]
    (ours,) = bars
    segments = ours.lines[2][0].get_segments()
    lengths = [np.ptp(segment[:, 1]) / 2 for segment in segments]
    np.testing.assert_allclose(lengths, [0.017, 0.007, 0.004, 0.005, 0.003])
    assert to_rgb(ours.lines[2][0].get_color()[0][:3]) == to_rgb(METHOD_STYLES["random"]["color"])


def test_panoptic_quality_and_the_published_proxy_are_named_apart():
    sources = tables.sources(a_table())
    figure = draw.performance(sources, "pq")
    named = {axis.get_title(): axis.get_ylabel() for axis in figure.axes}
    assert named["published, Cyto"] == tables.METRIC_NAMES["pq_paper"]
    assert named["this run"] == tables.METRIC_NAMES["pq"]


def test_differences_stand_where_they_are():
    figure = draw.paired_differences(a_table(), "dice")
    assert [axis.get_title() for axis in figure.axes] == ["5%", "20%"]
    axis = figure.axes[0]
    names = [text.get_text() for text in axis.get_yticklabels()]
    assert "random" not in names
    marks = [line for line in axis.lines if len(line.get_xdata()) == 1]
    assert len(marks) == len(names) == 7
    order = list(tables.METHOD_NAMES.values())
    for name, mark in zip(names, marks, strict=True):
        assert mark.get_xdata()[0] == pytest.approx(0.01 * order.index(name), abs=0.004)
    # Seven hundredths are beyond doubt at this noise: filled. One seed has no interval: hollow.
    assert marks[-1].get_markerfacecolor() == METHOD_STYLES[names[-1]]["color"]
    lone = draw.paired_differences(a_table(seeds=(0,)), "dice").axes[0]
    assert {line.get_markerfacecolor() for line in lone.lines if len(line.get_xdata()) == 1} == {
        "white"
    }


def test_nothing_to_compare_gives_an_empty_figure():
    published = tables.sources(a_table())["published, Cyto"]
    assert len(draw.paired_differences(published).axes[0].collections) == 0


def test_coverage_has_six_panels_with_all_methods():
    table = a_table()
    figure = draw.coverage_curves(table[table["table"] == "coverage"])
    assert len(figure.axes) == 6
    for axis in figure.axes:
        assert len(labels(axis)) == 8
    assert figure.axes[2].get_title() == tables.METRIC_NAMES["cells_hit"]


def test_first_picks_come_from_either_end():
    images = np.arange(20.0)[:, None, None] * np.ones((20, 4, 4)) / 20
    order = np.random.default_rng(0).permutation(20)
    figure = draw.first_picks(images, {DQ[0]: order, DQ[1]: order[::-1]}, columns=3)
    shown = [axis.images[0].get_array()[0, 0] for axis in figure.axes if axis.images]
    expected = np.concatenate([order[:3], order[-3:], order[::-1][:3], order[::-1][-3:]]) / 20
    np.testing.assert_allclose(np.array(shown, float), expected, rtol=1e-6)


def test_few_patches_are_enough_for_first_picks():
    figure = draw.first_picks(np.zeros((2, 4, 4)), {DQ[0]: np.array([1, 0])})
    assert sum(bool(axis.images) for axis in figure.axes) == 4


def test_distances_are_shown_pick_by_pick_with_the_means_of_bins():
    values = np.concatenate([np.full(4, 1.0), np.full(3, 2.0), np.full(3, 3.0)])
    figure = draw.distance_by_pick({DQ[0]: values, DQ[1]: values[::-1]}, 3)
    axis = figure.axes[0]
    np.testing.assert_allclose(axis.collections[0].get_offsets()[:, 1], values / values.mean())
    means = [segment[0, 1] for segment in axis.collections[1].get_segments()]
    np.testing.assert_allclose(means, np.array([1, 2, 3]) / values.mean())
    constant = draw.distance_by_pick({DQ[0]: np.zeros(5)}, 10)
    assert np.isfinite(constant.axes[0].collections[0].get_offsets()).all()


def test_maps_mark_the_chosen():
    points = np.random.default_rng(0).normal(size=(30, 2))
    chosen = {"random": np.array([3, 4]), DQ[0]: np.array([7])}
    figure = draw.maps({"t-SNE": points, "UMAP": points * 2}, np.arange(30) % 5 + 1, chosen)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == [f"{p}: {m}" for p in ("t-SNE", "UMAP") for m in chosen]
    np.testing.assert_allclose(figure.axes[0].collections[1].get_offsets(), points[[3, 4]])
    everyone = figure.axes[0].collections[0]
    assert len({tuple(colour[:3]) for colour in everyone.get_facecolors()}) == 5


def test_reconstructions_stand_below_their_patches():
    images = np.random.default_rng(0).random((4, 8, 8))
    masked = images.copy()
    masked[:, :4] = np.nan
    figure = draw.reconstructions(images, masked, images)
    assert len(figure.axes) == 12
    assert figure.axes[4].get_title(loc="left") == "seen"
    assert np.ma.getmaskarray(figure.axes[4].images[0].get_array()).sum() == 32


def test_bars_carry_the_chance_level():
    found = [
        {"features": "pixels", "accuracy": 0.4, "chance": 0.25},
        {"features": "mae", "accuracy": 0.7, "chance": 0.25},
    ]
    axis = draw.knn_bars(found).axes[0]
    assert [bar.get_width() for bar in axis.patches] == [0.4, 0.7]
    assert axis.lines[0].get_xdata()[0] == 0.25
    assert not draw.knn_bars([]).axes[0].patches


def test_a_worked_example_is_numbered_in_the_order_of_picking():
    points = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
    axis = draw.worked_example(points, {DQ[0]: np.array([2, 0, 1])}).axes[0]
    placed = {text.get_text(): text.get_position() for text in axis.texts}
    assert placed == {"1": (0.0, 3.0), "2": (0.0, 0.0), "3": (2.0, 0.0)}


def test_gains_are_shown_under_the_names_of_methods():
    assert list(draw.method_names({"paper_eq": 1, "graphcut": 2})) == [DQ[0], DQ[2]]
