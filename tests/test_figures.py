"""What the analyses' figures show: the values given, in their places, under their names."""

import numpy as np
import pytest
from matplotlib.text import Text

from lsg_jax import plots
from lsg_jax.analysis.correlation import ClassOrder
from lsg_jax.analysis.ownership import OwnershipStatistics
from lsg_jax.analysis.similarity import Similarity

NAMES = ["cat", "dog", "ship"]


def ticks(labels):
    return [label.get_text() for label in labels]


def panels(figure):
    return [axis for axis in figure.axes if axis.get_title()]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_confusion_matrices_have_true_classes_down(count):
    matrices = {f"net {i}": np.array([[0.25, 0.75, 0], [0, 1, 0], [0.5, 0.5, 0]]) for i in range(count)}
    shown = panels(plots.confusion_matrices(matrices, NAMES))
    assert [axis.get_title() for axis in shown] == list(matrices)
    for axis, matrix in zip(shown, matrices.values(), strict=True):
        np.testing.assert_array_equal(axis.images[0].get_array(), 100 * matrix)
        assert {text.get_position(): text.get_text() for text in axis.texts}[(1, 0)] == "75"
        assert ticks(axis.get_yticklabels()) == ticks(axis.get_xticklabels()) == NAMES
        assert axis.get_ylabel() == "true class"


def test_confusion_matrices_of_many_classes_have_no_numbers():
    figure = plots.confusion_matrices({"net": np.eye(13)}, [str(c) for c in range(13)])
    assert not panels(figure)[0].texts


def test_similarity_matrices_are_shares_of_a_row_and_hide_rows_without_images():
    first = Similarity(np.array([[4.0, 1, 0], [1, 2, 0], [0, 0, 1]]), np.array([5, 5, 5]))
    second = Similarity(np.array([[1.0, 1, 0], [0, 0, 0], [0, 0, 0]]), np.array([5, 0, 5]))
    shown = panels(plots.similarity_matrices({"TP": first, "FN": second}, NAMES))
    assert [axis.images[0].get_clim() for axis in shown] == [(0, 100), (0, 100)]
    np.testing.assert_allclose(shown[0].images[0].get_array(), [[80, 20, 0], [100 / 3, 200 / 3, 0], [0, 0, 100]])
    np.testing.assert_array_equal(shown[1].images[0].get_array()[2], [0, 0, 0])  # features that no filter has
    assert not shown[0].images[0].get_array().mask.any()
    assert [len(axis.texts) for axis in shown] == [9, 6]
    np.testing.assert_array_equal(shown[1].images[0].get_array().mask.all(axis=1), [False, True, False])


def test_correlation_matrices_are_reordered_with_their_blocks_framed():
    correlation = np.arange(25).reshape(5, 5) / 25
    order = ClassOrder(np.array([3, 1, 4, 2, 0]), np.array([1, 0, 3, 1]))
    axis = panels(plots.correlation_matrices({"net": (correlation, order)}, NAMES))[0]
    shown = axis.images[0].get_array()
    for i, j in np.ndindex(5, 5):
        assert shown[i, j] == correlation[order.filters[i], order.filters[j]]
    assert [(frame.get_x(), frame.get_y(), frame.get_width()) for frame in axis.patches] == [
        (-0.5,) * 2 + (1,),
        (0.5, 0.5, 3),
    ]
    assert ticks(axis.get_xticklabels()) == ticks(axis.get_yticklabels()) == ["cat", "ship", "none"]
    np.testing.assert_array_equal(axis.get_xticks(), [0, 2, 4])
    all_owned = ClassOrder(np.arange(5), np.array([2, 0, 3, 0]))
    axis = panels(plots.correlation_matrices({"net": (correlation, all_owned)}, NAMES))[0]
    assert [frame.get_width() for frame in axis.patches] == [2, 3]
    assert ticks(axis.get_xticklabels()) == ["cat", "ship"]


def test_training_curves_of_runs_lie_over_each_other():
    lines = [{"epoch": e, "test_accuracy": 0.1 * e, "test_cross_entropy": 2.0 - e, "density": 1.0} for e in range(2)]
    figure = plots.compared_curves({"alternating": lines, "joint": lines[:1]})
    assert [axis.get_ylabel().split(",")[0] for axis in figure.axes] == [
        "test accuracy",
        "test cross entropy (nats)",
        "gate density",
    ]
    for axis, measure in zip(figure.axes, ("test_accuracy", "test_cross_entropy", "density"), strict=True):
        for drawn, count in zip(axis.lines, (2, 1), strict=True):
            np.testing.assert_array_equal(drawn.get_xdata(), [1, 2][:count])
            np.testing.assert_array_equal(drawn.get_ydata(), [line[measure] for line in lines[:count]])
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["alternating", "joint"]


def test_correlation_curves_are_in_percent():
    figure = plots.correlation_curves(np.array([0, 0.5]), {"STD": np.array([1, 0.25]), "LSG": np.array([0.5, 0.125])})
    axis = figure.axes[0]
    np.testing.assert_allclose([line.get_ydata() for line in axis.lines], [[100, 25], [50, 12.5]])
    assert ticks(axis.get_legend().get_texts()) == ["STD", "LSG"]
    assert len({(line.get_color(), line.get_linestyle()) for line in axis.lines}) == 2


def test_cluster_centers_have_classes_down():
    matrix = np.arange(12.0).reshape(3, 4)
    centers = {"STD": (matrix, matrix + 1), "LSG": (matrix**2, matrix**3)}
    shown = panels(plots.cluster_centers(centers, NAMES))
    titles = [f"{name}: {what}" for name in centers for what in ("cluster centres", "gate")]
    assert [axis.get_title() for axis in shown] == titles
    for axis, matrix in zip(shown, [each for pair in centers.values() for each in pair], strict=True):
        np.testing.assert_array_equal(axis.images[0].get_array(), matrix)
        assert ticks(axis.get_yticklabels()) == NAMES


def test_bars_have_the_length_of_what_they_show():
    bars = {"STD": {"with": 0.75, "without": 0.5}, "LSG": {"with": 1.0, "without": 0.125}}
    figure = plots.grouped_bars(bars, "accuracy")
    (axis,) = figure.axes
    assert [patch.get_width() for patch in axis.patches] == [0.75, 1.0, 0.5, 0.125]
    assert [round(patch.get_y() + patch.get_height() / 2) for patch in axis.patches] == [0, 1, 0, 1]
    assert ticks(axis.get_yticklabels()) == ["STD", "LSG"]
    assert axis.get_xlabel() == "accuracy"
    assert ticks(figure.legends[0].get_texts()) == ["with", "without"]


def test_ownership_bars_stand_over_their_classes():
    found = OwnershipStatistics(
        np.array([0.25, 0.5]),
        np.zeros((2, 5, 3)),
        np.array([[1, 2, 3], [4, 5, 6.0]]),
        np.full((2, 3), 0.5),
        np.zeros((2, 5)),
        np.array([7, 8.0]),
        np.array([0.25, 0.5]),
    )
    axis = plots.ownership_bars(found, NAMES).axes[0]
    bars = [patch for patch in axis.patches if patch.get_width() < 1]
    assert [bar.get_height() for bar in bars] == [1, 2, 3, 7, 4, 5, 6, 8]
    assert [round(bar.get_x() + bar.get_width() / 2) for bar in bars] == [0, 1, 2, 3] * 2
    assert ticks(axis.get_xticklabels()) == [*NAMES, "shared"]
    assert ticks(axis.get_legend().get_texts()) == ["threshold 0.25", "threshold 0.5"]
    assert "5 models" in axis.get_ylabel()


def test_each_verdict_has_its_mark_where_claim_and_network_meet():
    groups = {
        "one seed": {"a": {"x": "yes", "y": "no"}, "b": {"y": "cannot tell"}},
        "several": {"c": {"z": "yes, the control too", "x": "no", "y": "no images to tell by"}},
    }
    figure = plots.verdicts(groups)
    marks = [[each.get_offsets().tolist() for each in axis.collections] for axis in figure.axes]
    assert marks == [[[[0, 0]], [], [[0, 1]], [[1, 1]], []], [[], [[0, 2]], [[0, 0]], [], [[0, 1]]]]
    first, second = figure.axes
    assert [label.get_text() for label in first.get_yticklabels()] == ["x", "y", "z"]
    assert [label.get_text() for label in second.get_xticklabels()] == ["c"]
    (legend,) = figure.legends
    told = [text.get_text() for text in legend.get_texts()]
    assert told == ["yes", "yes, the control too", "no", "cannot tell", "no images to tell by"]


def test_names_are_text_and_not_mathematics(tmp_path):
    names = [r"$\frac$", "$x$ and $y$", "100 %"]
    figures = (
        plots.gate_matrices({r"$\broken$": np.eye(3)}, names),
        plots.confusion_matrices({r"$\broken$": np.eye(3)}, names),
        plots.correlation_curves(np.arange(3) / 3, {r"$\broken$": np.ones(3)}),
    )
    for figure in figures:
        figure.savefig(tmp_path / "figure.png")
        assert not any(text.get_parse_math() for text in figure.findobj(Text))


def test_the_density_is_named_as_in_the_paper():
    line = {"epoch": 0, "path": "std", "density": 0.5} | {
        f"{path}test_{measure}": 0.5 for path in ("", "lsg_") for measure in ("accuracy", "cross_entropy")
    }
    figure = plots.curves([line])
    figure.draw_without_rendering()
    assert "gate density, ‖G‖₁ / (C K)" in [axis.get_ylabel() for axis in figure.axes]
