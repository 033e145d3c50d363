"""What the analyses' figures show: the values given, in their places, under their names."""

import warnings
from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import same_color, to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from lsg_jax import plots
from lsg_jax.analysis.comparison import Interval
from lsg_jax.analysis.correlation import ClassOrder
from lsg_jax.analysis.localization import Curves
from lsg_jax.analysis.masking import Masking
from lsg_jax.analysis.ownership import OwnershipStatistics
from lsg_jax.analysis.similarity import Similarity

NAMES = ["cat", "dog", "ship"]
NAN = float("nan")
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
RUNS = ["finetune-complement-seed1", "finetune-silence-seed2"]


def ticks(labels):
    return [label.get_text() for label in labels]


def panels(figure):
    return [axis for axis in figure.axes if axis.get_title()]


def titles(figure):
    told = {axis.get_title() for axis in figure.axes} - {""}
    return [text for text in figure.findobj(Text) if text.get_text() in told]


def overlapping(figure, artists):
    """The pairs of artists that lie over each other."""
    figure.draw_without_rendering()
    boxes = [(artist, artist.get_window_extent()) for artist in artists]
    return [(ours, other) for (ours, box), (other, another) in combinations(boxes, 2) if box.overlaps(another)]


def history(values):
    return [
        {"epoch": epoch, "path": "std", "density": 1.0}
        | {f"{path}test_accuracy": 0.1 * epoch for path in ("", "lsg_")}
        | {f"{path}test_cross_entropy": value for path in ("", "lsg_")}
        for epoch, value in enumerate(values)
    ]


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


def test_masked_recall_has_both_bars_of_each_class_with_images():
    before, after = np.diag([1.0, 0.8, 0]), np.diag([0.05, 0.75, 0])
    found = Masking(np.array([True]), np.array([20, 20, 0]), before, after, np.zeros(3), *np.zeros((2, 40)), 0.95, 0.05)
    shown = panels(plots.masked_recall({f"net {i}": found for i in range(3)}, NAMES))
    assert [axis.get_title() for axis in shown] == ["net 0", "net 1", "net 2"]
    for axis in shown:
        first, second = ([bar.get_height() for bar in bars] for bars in axis.containers)
        np.testing.assert_allclose(first, [100, 80, np.nan])
        np.testing.assert_allclose(second, [5, 75, np.nan])
        assert [text.get_text() for text in axis.texts] == ["5", "75", ""]
        assert ticks(axis.get_xticklabels()) == NAMES
        assert (axis.get_xlabel(), axis.get_ylabel()) == ("true class", "recognised (%)")


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
    assert all(same_color(frame.get_edgecolor(), "black") for frame in axis.patches)
    assert ticks(axis.get_xticklabels()) == ticks(axis.get_yticklabels()) == ["cat", "ship", "shared"]
    np.testing.assert_array_equal(axis.get_xticks(), [0, 2, 4])
    all_owned = ClassOrder(np.arange(5), np.array([2, 0, 3, 0]))
    axis = panels(plots.correlation_matrices({"net": (correlation, all_owned)}, NAMES))[0]
    assert [frame.get_width() for frame in axis.patches] == [2, 3]
    assert ticks(axis.get_xticklabels()) == ["cat", "ship"]


@pytest.mark.parametrize("scale", [0.01, 1])
def test_correlations_of_each_sign_have_their_own_colour_on_one_scale(scale):
    correlation = np.array([[1, 0.4, -0.4], [0.4, 1, 0], [-0.4, 0, 1]]) * scale
    figure = plots.correlation_matrices({"net": (correlation, ClassOrder(np.arange(3), np.array([1, 1, 1, 0])))}, NAMES)
    (axis,) = panels(figure)
    (picture,) = axis.images
    assert picture.get_clim() == (-0.5, 0.5)
    red, white, blue = (picture.to_rgba(value) for value in (0.4, 0, -0.4))
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert min(white[:3]) > 0.95
    assert picture.colorbar.extend == "both"


def test_training_curves_of_runs_lie_over_each_other():
    lines = history([2.0, 1.0])
    figure = plots.compared_curves({"alternating": lines, "joint": lines[:1]})
    assert [axis.get_ylabel() for axis in figure.axes] == [
        "test accuracy",
        "test cross entropy (nats, log scale)",
        "gate density, ‖G‖₁ / (C K)",
    ]
    assert {axis.get_xlabel() for axis in figure.axes} == {"epochs trained"}
    for axis, measure in zip(figure.axes, ("test_accuracy", "test_cross_entropy", "density"), strict=True):
        for drawn, count in zip(axis.lines, (2, 1), strict=True):
            np.testing.assert_array_equal(drawn.get_xdata(), [1, 2][:count])
            np.testing.assert_array_equal(drawn.get_ydata(), [line[measure] for line in lines[:count]])
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["alternating", "joint"]


@pytest.mark.parametrize("values", [[0.9, 0.4], [1.7, 0.45], [0.33, 0.3], [2.3, 0.2], [2.3, 0.001]])
def test_cross_entropy_has_ticks_to_read_it_by(values):
    for figure in (plots.curves(history(values)), plots.compared_curves({"net": history(values)})):
        axis = figure.axes[1]
        figure.draw_without_rendering()
        assert axis.get_yscale() == "log"
        low, high = axis.get_ylim()
        shown = [
            label
            for place, label in zip(axis.get_yticks(), axis.get_yticklabels(), strict=True)
            if low <= place <= high
        ]
        assert len(shown) >= 3
        assert not overlapping(figure, shown)


def test_a_single_epoch_is_a_point_over_a_whole_number():
    for figure in (plots.curves(history([2.0])), plots.compared_curves({"net": history([2.0])})):
        for axis in figure.axes:
            assert all(line.get_marker() == "." for line in axis.lines)
            assert [place for place in axis.get_xticks() if axis.get_xlim()[0] <= place <= axis.get_xlim()[1]] == [1]


def test_seven_networks_differ_in_colour_or_line():
    networks = [f"net {index}" for index in range(7)]
    curve = Curves(np.array([0.0, 1]), np.ones((1, 2)), np.ones((1, 2)), np.ones(1), np.ones(1))
    for axis in (
        plots.compared_curves(dict.fromkeys(networks, history([2.0, 1.0]))).axes[0],
        plots.correlation_curves(np.array([0, 0.5]), dict.fromkeys(networks, np.ones(2))).axes[0],
        plots.deletion_insertion_curves(dict.fromkeys(networks, curve)).axes[0],
    ):
        assert len({line.get_color() for line in axis.lines}) == 6
        assert len({(line.get_color(), line.get_linestyle()) for line in axis.lines}) == 7


def test_correlation_curves_are_in_percent():
    figure = plots.correlation_curves(np.array([0, 0.5]), {"STD": np.array([1, 0.25]), "LSG": np.array([0.5, 0.125])})
    axis = figure.axes[0]
    np.testing.assert_allclose([line.get_ydata() for line in axis.lines], [[100, 25], [50, 12.5]])
    assert "log scale" in axis.get_ylabel()
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


def test_every_part_has_its_bar():
    parts = [f"part {index}" for index in range(7)]
    figure = plots.grouped_bars({"net": {part: index / 10 for index, part in enumerate(parts)}}, "accuracy")
    bars = figure.axes[0].patches
    assert [bar.get_width() for bar in bars] == [index / 10 for index in range(7)]
    assert len({(bar.get_facecolor(), bar.get_hatch()) for bar in bars}) == 7
    assert ticks(figure.legends[0].get_texts()) == parts


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
    figure = plots.ownership_bars(found, NAMES)
    (axis,) = figure.axes
    bars = [patch for patch in axis.patches if patch.get_width() < 1]
    assert [bar.get_height() for bar in bars] == [1, 2, 3, 7, 4, 5, 6, 8]
    assert [round(bar.get_x() + bar.get_width() / 2) for bar in bars] == [0, 1, 2, 3] * 2
    assert ticks(axis.get_xticklabels()) == [*NAMES, "shared"]
    assert ticks(figure.legends[0].get_texts()) == ["threshold 0.25", "threshold 0.5"]
    assert "5 models" in axis.get_ylabel()


def test_each_verdict_has_its_mark_where_claim_and_network_meet():
    columns = {
        "a": {"x": "yes", "y": "no"},
        "b": {"y": "cannot tell"},
        "c": {"z": "yes, the control too", "x": "no", "y": "no images to tell by"},
    }
    figure = plots.verdicts(columns)
    (axis,) = figure.axes
    x, y, z = axis.get_yticks()
    assert {each.get_label(): each.get_offsets().tolist() for each in axis.collections} == {
        "yes": [[0, x]],
        "yes, the control too": [[2, z]],
        "no": [[0, y], [2, x]],
        "cannot tell": [[1, y]],
        "no images to tell by": [[2, y]],
    }
    bottom, top = axis.get_ylim()
    assert bottom > z > y > x > top  # claims down
    assert ticks(axis.get_yticklabels()) == ["x", "y", "z"]
    assert ticks(axis.get_xticklabels()) == ["a", "b", "c"]
    (legend,) = figure.legends
    words = ["yes", "yes, the control too", "no", "cannot tell", "no images to tell by"]
    assert ticks(legend.get_texts()) == [*words, "blank: not measured"]
    marks = {
        (len(each.get_facecolor()), len(each.get_paths()[0]), to_hex(each.get_edgecolor()[0]))
        for each in axis.collections
    }
    assert len(marks) == len(words)  # in face, shape or colour, and not in size alone


def test_verdicts_explain_only_what_they_show():
    figure = plots.verdicts({"a": {"x": "yes", "y": "no"}, "b": {"x": "no", "y": "no"}})
    assert ticks(figure.legends[0].get_texts()) == ["yes", "no"]


def test_a_verdict_without_a_mark_is_refused():
    with pytest.raises(ValueError, match=r"a verdict must be one of yes, .*, got 'perhaps'"):
        plots.verdicts({"a": {"x": "yes", "y": "perhaps"}})


def test_long_claims_and_arms_stay_apart_and_readable_across_a_page():
    claims = [f"beyond the paper: accuracy without a class's own filters by the gate {name}" for name in "abcdefgh"]
    claims += [f"without filters of {name}, dog: {40 * 'no other '}"[:150] for name in "xyz"]  # three lines each
    arms = [f"finetune: learned, scheme joint, silence-weight 0.5, complement-weight 0.{seed}" for seed in range(18)]
    everything = {
        "v": "yes",
        "w": "yes, the control too",
        "x": "no",
        "y": "cannot tell",
        "z": "no images to tell by",
    }
    for columns in (dict.fromkeys(arms, dict.fromkeys(claims, "no")), {"a": everything, "b": {}}):
        figure = plots.verdicts(columns)
        (axis,), (legend,) = figure.axes, figure.legends
        labels = [*axis.get_xticklabels(), *axis.get_yticklabels()]
        assert not overlapping(figure, [*labels, legend])
        (left, _), (right, _) = figure.bbox.get_points()
        assert all(left <= box.x0 and box.x1 <= right for box in map(Text.get_window_extent, legend.get_texts()))
        points_in_print = 7 / figure.get_figwidth() * min(label.get_fontsize() for label in labels)
        assert points_in_print >= 6


def arms(count):
    """The control and others with long names; every third has several seeds."""
    names = ["none", *(f"learned, scheme joint, gate-loss-weight {i}, silence-weight 0.5" for i in range(1, count))]
    return {name: Interval(-i / 100, *((NAN, NAN) if i % 3 else (-i / 50, 0))) for i, name in enumerate(names)}


def test_each_arm_has_its_own_mark_filled_where_it_has_several_seeds():
    found = arms(13)
    figure = plots.tradeoff(found, {"MIS": found, "C_IC": dict(reversed(found.items()))}, [])
    for axis in figure.axes:
        marks = [bars[0] for bars in axis.containers]
        places = [(100 * value.mean, value.mean) for value in found.values()]
        np.testing.assert_allclose([mark.get_xydata()[0] for mark in marks], places)
        assert len({(mark.get_color(), mark.get_marker()) for mark in marks}) == 13
        for mark, value in zip(marks, found.values(), strict=True):
            filled = same_color(mark.get_markerfacecolor(), mark.get_color())
            assert filled == np.isfinite(value.low)
            assert filled or same_color(mark.get_markerfacecolor(), "white")
            assert same_color(mark.get_markeredgecolor(), mark.get_color())
        control, *others = (mark.get_color() for mark in marks)
        assert control == "0.4"
        assert len(set(others)) == 6
        assert control not in others


def test_the_arms_legend_is_whole_and_says_what_a_hollow_mark_is():
    found = arms(13)
    figure = plots.tradeoff(found, {"accuracy without own filters": found}, [])
    (legend,) = figure.legends
    assert [text.replace("\n", " ") for text in ticks(legend.get_texts())] == list(found)
    assert legend.get_title().get_text() == "filled: several seeds, with 95 % intervals; hollow: one seed"
    for entry, bars in zip(legend.legend_handles, figure.axes[0].containers, strict=True):
        for name in ("color", "marker", "markerfacecolor"):
            assert getattr(entry, f"get_{name}")() == getattr(bars[0], f"get_{name}")()
    assert not overlapping(figure, [*legend.get_texts(), legend.get_title(), figure.axes[0].xaxis.label])
    box, page = legend.get_window_extent(), figure.bbox
    assert page.x0 <= box.x0 < box.x1 <= page.x1
    joined = plots.tradeoff(found, {"MIS": found}, [list(found)[1:4]])
    assert "lines: one number" in joined.legends[0].get_title().get_text()


def test_long_titles_do_not_overlap():
    masked = [
        f"{run}, without filters of {names}\nrecall lost: {lost}, others -0.03"
        for run in RUNS
        for names, lost in (
            ("automobile", "automobile 0.85"),
            ("automobile, airplane", "automobile 0.85, airplane 0.77"),
        )
    ]
    images = np.zeros((2, 4, 4, 3), np.uint8)
    maps = {run: np.zeros((2, 4, 4)) for run in RUNS}
    told = [["automobile, taken for airplane"] * 2] * 2
    for figure in (
        plots.confusion_matrices(dict.fromkeys(masked, np.eye(10)), CIFAR10),
        plots.activation_maps(images, maps, {run: np.ones(2) for run in RUNS}, ["airplane", "automobile"]),
        plots.filter_images(np.stack([images, images]), ("filter 4", "filter 9"), told),
    ):
        assert len(titles(figure)) > 1
        assert not overlapping(figure, [*titles(figure), figure.axes[-1]])


def test_names_of_ten_classes_do_not_overlap_beside_bars():
    statistics = OwnershipStatistics(
        np.array([0.5]),
        np.zeros((1, 5, 10)),
        np.ones((1, 10)),
        np.ones((1, 10)),
        np.zeros((1, 5)),
        np.ones(1),
        np.ones(1),
    )
    figure = plots.ownership_bars(statistics, [f"{name} of the data" for name in CIFAR10])
    assert not overlapping(figure, figure.axes[0].get_xticklabels())


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


@pytest.mark.parametrize(("channels", "seen"), [(1, [0]), (2, [0]), (3, [0, 1, 2]), (4, [0, 1, 2]), (5, [0, 1, 2])])
def test_images_of_any_number_of_channels_are_shown(channels, seen):
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, channels), np.uint8)
    maps, sure = {"net": np.zeros((2, 4, 4))}, {"net": np.ones(2)}
    mapped = plots.activation_maps(images, maps, sure, ["cat", "dog"])
    for figure in (
        mapped,
        plots.filter_images(images[None], ["filter 0"], [["cat", "dog"]]),
        plots.attack_examples(images, images, ["cat", "dog"], ["dog", "cat"]),
    ):
        shown = [axis.images[0].get_array() for axis in figure.axes if axis.images]
        expected = images[0][..., seen]
        np.testing.assert_array_equal(shown[0], expected.squeeze(-1) if len(seen) == 1 else expected)
        figure.canvas.draw()
    np.testing.assert_array_equal(mapped.axes[1].images[0].get_array(), images[0][..., seen].mean(axis=-1))


@pytest.mark.parametrize(("fallbacks", "said"), [((), 1), (("STIXGeneral",), 0)])
def test_letters_that_the_font_lacks_are_anothers_or_are_said_once_to_be_missing(fallbacks, said, monkeypatch, caplog):
    monkeypatch.setattr(plots, "_FALLBACKS", fallbacks)
    plots._say_missing.cache_clear()
    for _ in range(2):
        plots.gate_matrices({"net": np.eye(3)}, ["\u1d81", "\u1d84", "\u1d8a"]).draw_without_rendering()
    assert [record.name for record in caplog.records] == ["lsg_jax.plots"] * said


def test_other_warnings_of_a_picture_are_passed_on(monkeypatch):
    monkeypatch.setattr(Figure, "draw", lambda *_: warnings.warn("another", stacklevel=1))
    figure = plots.gate_matrices({"net": np.eye(3)}, NAMES)
    with pytest.warns(UserWarning, match="another"):
        figure.draw_without_rendering()
