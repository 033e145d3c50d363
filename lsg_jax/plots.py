"""Figures from arrays: each function returns a Matplotlib figure, and raises ValueError on what it cannot show.

Titles are texts, as are names of classes; where a figure shows several things by title there is at least one.
"""

import logging
import re
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain, cycle
from numbers import Real
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib import get_cachedir, rcParams
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import AutoLocator, LogLocator, MaxNLocator

from lsg_jax import checks
from lsg_jax.analysis.comparison import Interval
from lsg_jax.analysis.correlation import ClassOrder
from lsg_jax.analysis.localization import Curves
from lsg_jax.analysis.masking import Masking
from lsg_jax.analysis.ownership import OwnershipStatistics
from lsg_jax.analysis.similarity import Similarity

_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito's, for the colour-blind
_LINES = ("-", "--", "-.", ":")  # like the next two not six, so that a colour comes again with another one
_HATCHES = ("", "///", "...", "xxx", "---")
_MARKERS = "sD^vPX*"
_VERDICTS = {  # marker, size, colours of face and edge
    "yes": ("o", 60, "#0072b2", "#0072b2"),
    "yes, the control too": ("o", 60, "none", "#0072b2"),
    "no": ("X", 50, "#d55e00", "#d55e00"),
    "cannot tell": ("o", 14, "none", "0.55"),
    "no images to tell by": ("s", 22, "0.55", "0.55"),
}
_FALLBACKS = (
    *("Noto Sans CJK JP", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback", "Arial Unicode MS"),
    *("Hiragino Sans GB", "Microsoft YaHei", "Noto Emoji", "Segoe UI Emoji"),
)
_MISSING = r"Glyph \d+ |Matplotlib currently does not support"
_HISTORY = {
    "test_accuracy": "test accuracy",
    "test_cross_entropy": "test cross entropy (nats, log scale)",
    "density": "gate density, ‖G‖₁ / (C K)",
}


class _Figure(Figure):
    """One whose texts are what they say, as a class may be named "$x$", which Matplotlib would set as mathematics.

    Letters that the font lacks are taken from others that are installed, or else said once to be missing.
    """

    def draw(self, renderer: Any) -> None:
        families = [*rcParams["font.family"], *(name for name in fontManager.get_font_names() if name in _FALLBACKS)]
        for text in self.findobj(Text):
            text.set_parse_math(False)
            text.set_fontfamily(families)
        with warnings.catch_warnings(record=True) as caught:
            warnings.filterwarnings("always", _MISSING)
            super().draw(renderer)
        for each in caught:
            if re.match(_MISSING, str(each.message)):
                _say_missing()
            else:
                warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)


@cache
def _say_missing() -> None:
    logging.getLogger(__name__).warning(
        "no installed font has some letters of the pictures, which show boxes instead; install Noto Sans CJK or Noto "
        "Emoji, and remove %s, where Matplotlib keeps its list of fonts",
        get_cachedir(),
    )


class _LogTicks(LogLocator):
    """Ticks at 1, 2 and 5 of each decade, and at equal steps where less than a decade is seen."""

    def __init__(self) -> None:
        super().__init__(subs=(1, 2, 5))

    def tick_values(self, vmin: float, vmax: float) -> Any:
        if vmax < 10 * vmin:
            return AutoLocator().tick_values(vmin, vmax)
        return super().tick_values(vmin, vmax)


def visible(images: np.ndarray) -> np.ndarray:
    """Returns images uint8[..., H, W, channels] as they are shown: three channels are colours, and one is grey.

    Of more than three they are the first three, of two the first.
    """
    checks.array("images", images, np.uint8, ..., "H", "W", "channels")
    return images[..., : 1 if images.shape[-1] < 3 else 3]


def gate_matrices(gates: dict[str, np.ndarray], class_names: Sequence[str]) -> Figure:
    """Figure 3: each titled gate f32[C, K] as a picture, classes down and filters across, on one colour scale."""
    _check_matrices(gates, class_names, "K")
    figure = _Figure(figsize=(9, 0.6 + 2.3 * len(gates)), layout="constrained")
    axes = figure.subplots(len(gates), 1, squeeze=False)[:, 0]
    for axis, (title, gate) in zip(axes, gates.items(), strict=True):
        picture = axis.imshow(gate, vmin=0, vmax=1, cmap="viridis", aspect="auto", interpolation="nearest")
        axis.set_yticks(range(len(class_names)), class_names, fontsize=8)
        axis.set_title(title, fontsize=10)
        axis.set_ylabel("class")
    axes[-1].set_xlabel("filter of the last convolution")
    figure.colorbar(picture, ax=list(axes), label="gate value", fraction=0.03)
    return figure


def curves(history: Sequence[dict[str, Any]]) -> Figure:
    """Accuracy of both paths, their cross entropy, and the gate's density over the epochs; gated epochs are shaded."""
    _check_history(history, "path", "lsg_test_accuracy", "lsg_test_cross_entropy")
    figure, axes = _history_panels("epochs trained (shaded: gated)")
    epochs = [line["epoch"] + 1 for line in history]
    for axis, measure in zip(axes, _HISTORY, strict=True):
        color = "#009e73" if measure == "density" else "#0072b2"
        axis.plot(epochs, [line[measure] for line in history], ".-", label="STD path", color=color, markersize=4)
        if measure != "density":
            gated = [line[f"lsg_{measure}"] for line in history]
            axis.plot(epochs, gated, ".--", label="LSG path (true labels)", color="#d55e00", markersize=4)
        for line in history:
            if line["path"] != "std":
                axis.axvspan(line["epoch"] + 0.5, line["epoch"] + 1.5, color="0.5", alpha=0.15, linewidth=0)
    axes[0].legend(fontsize=8)
    return figure


def compared_curves(histories: Mapping[str, Sequence[dict[str, Any]]]) -> Figure:
    """Accuracy and cross entropy of the STD path, and the gate's density, of each titled run over its epochs."""
    _check_titled(histories)
    for history in histories.values():
        _check_history(history)
    figure, axes = _history_panels("epochs trained")
    for (title, history), color, line_style in zip(histories.items(), cycle(_COLORS), cycle(_LINES), strict=False):
        epochs = [line["epoch"] + 1 for line in history]
        for axis, measure in zip(axes, _HISTORY, strict=True):
            values = [line[measure] for line in history]
            axis.plot(epochs, values, f".{line_style}", label=title, color=color, markersize=4)
    axes[0].legend(fontsize=8)
    return figure


def activation_maps(
    images: np.ndarray,
    maps: dict[str, np.ndarray],
    probabilities: dict[str, np.ndarray],
    names: Sequence[str],
) -> Figure:
    """Figure 6: two examples a row, each an image and its class activation map by each titled network.

    Args:
      images: uint8[N, H, W, channels].
      maps: of each network, f[N, H, W] in [0, 1], laid over the image in grey.
      probabilities: of the class, by each network, f[N].
      names: the classes, N.
    """
    checks.array("images", images, np.uint8, "N", "H", "W", "channels")
    checks.names("names", names, len(images))
    _check_titled(maps)
    checks.instance("probabilities", probabilities, Mapping)
    for title, overlays in maps.items():
        checks.array(f"maps of {title}", overlays, np.floating, len(images), "H", "W")
        checks.array(f"probabilities of {title}", probabilities.get(title), np.floating, len(images))
    rows, panels = -(-len(images) // 2), 1 + len(maps)
    figure = _Figure(figsize=(2.6 * panels + 1, 1.75 * rows + 0.3), layout="constrained")
    gap = [1] * panels + [0.1] + [1] * panels
    grid = figure.subplots(rows, 2 * panels + 1, squeeze=False, width_ratios=gap)
    for axis in grid.ravel():
        axis.axis("off")
    axes = np.delete(grid, panels, axis=1).reshape(-1, panels)
    for example, (image, name) in enumerate(zip(images, names, strict=True)):
        _show(axes[example, 0], image)
        axes[example, 0].set_title(name, fontsize=9)
        for axis, (network, overlays) in zip(axes[example, 1:], maps.items(), strict=True):
            axis.imshow(visible(image).mean(axis=-1), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            picture = axis.imshow(overlays[example], cmap="viridis", vmin=0, vmax=1, alpha=0.6)
            axis.set_title(_wrapped(f"{network}\n{probabilities[network][example]:.2f}", 16), fontsize=9)
    bar = figure.colorbar(picture, ax=list(grid.ravel()), fraction=0.03, aspect=40, ticks=[0, 1])
    bar.ax.set_yticklabels(["least", "most"], fontsize=8)
    bar.set_label("activation for the class, each map on its own scale", fontsize=8)
    return figure


def filter_images(images: np.ndarray, filters: Sequence[str], names: Sequence[Sequence[str]]) -> Figure:
    """A row a filter of the images it answers to, uint8[F, T, H, W, channels], each with its name."""
    checks.array("images", images, np.uint8, "F", "T", "H", "W", "channels")
    rows, columns = images.shape[:2]
    checks.names("filters", filters, rows)
    checks.instance("names", names, Sequence)
    for row in range(rows):
        checks.names(f"names of row {row}", names[row] if row < len(names) else None, columns)
    figure = _Figure(figsize=(1.2 * columns + 0.6, 1.4 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for line, pictures, title, texts in zip(axes, images, filters, names, strict=True):
        for axis, picture, text in zip(line, pictures, texts, strict=True):
            _show(axis, picture)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_title(_wrapped(text, 18), fontsize=8)
        line[0].set_ylabel(title, fontsize=8)
    return figure


def evidence(rows: np.ndarray, class_names: Sequence[str], compared: tuple[int, int]) -> Figure:
    """What each class's filters, and the others, f[C + 1, C], add to the logits of two classes for one image."""
    checks.names("class_names", class_names)
    checks.array("rows", rows, np.floating, len(class_names) + 1, len(class_names))
    checks.class_labels(np.asarray(compared), len(class_names), 2, name="compared")
    figure = _Figure(figsize=(6.4, 0.36 * len(rows) + 0.9), layout="constrained")
    axis = figure.subplots()
    places, (first, second) = np.arange(len(rows)), compared
    for shift, label, logit, color in (
        (-0.2, f"to the logit of {class_names[first]}", first, "#0072b2"),
        (0.2, f"to that of {class_names[second]}", second, "#d55e00"),
    ):
        axis.barh(places + shift, rows[:, logit], 0.4, label=label, color=color)
    axis.set_yticks(places, [*(f"{name}'s filters" for name in class_names), "other filters"], fontsize=8)
    axis.invert_yaxis()
    axis.axvline(0, color="0.5", linewidth=0.8)
    axis.set_xlabel("added to the logit")
    axis.legend(fontsize=8)
    return figure


def deletion_insertion_curves(curves: dict[str, Curves]) -> Figure:
    """The deletion and insertion curves of each titled network, averaged over the images, and the area under them."""
    _check_titled(curves, Curves)
    figure = _Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for (network, found), color, line in zip(curves.items(), cycle(_COLORS), cycle(_LINES), strict=False):
        for axis, values, areas in (
            (left, found.deletion, found.deletion_area),
            (right, found.insertion, found.insertion_area),
        ):
            label = f"{network}: area {areas.mean():.3f}"
            axis.plot(100 * found.shares, values.mean(axis=0), line, color=color, label=label)
    left.set_ylabel("mean probability of the class")
    for axis, title, action in (
        (left, "deletion: less is better", "removed"),
        (right, "insertion: more is better", "inserted"),
    ):
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(f"pixels {action} (%), most activated first")
        axis.set_xlim(0, 100)
        axis.set_ylim(0, 1)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    return figure


def attack_examples(images: np.ndarray, adversarial: np.ndarray, before: Sequence[str], after: Sequence[str]) -> Figure:
    """Each image uint8[N, H, W, channels] above its adversarial one, the changed pixels framed, with both classes."""
    checks.array("images", images, np.uint8, "N", "H", "W", "channels")
    checks.array("adversarial", adversarial, np.uint8, *images.shape)
    checks.names("before", before, len(images))
    checks.names("after", after, len(images))
    figure = _Figure(figsize=(1.7 * len(images) + 0.3, 3.9), layout="constrained")
    axes = figure.subplots(2, len(images), squeeze=False)
    pairs = zip(images, adversarial, before, after, strict=True)
    for column, (image, changed, class_before, class_after) in enumerate(pairs):
        for axis, picture in zip(axes[:, column], (image, changed), strict=True):
            _show(axis, picture)
            axis.set_xticks([])
            axis.set_yticks([])
        pixels = np.argwhere(np.any(image != changed, axis=-1))
        for row, place in pixels:
            for color, width in (("white", 1.8), ("#d55e00", 0.9)):
                frame = Rectangle((place - 1, row - 1), 2, 2, fill=False, edgecolor=color, linewidth=width)
                axes[1, column].add_patch(frame)
        axes[0, column].set_title(class_before, fontsize=9)
        counted = "1 pixel" if len(pixels) == 1 else f"{len(pixels)} pixels"
        axes[1, column].set_title(f"{class_after} ({counted})", fontsize=9)
    axes[0, 0].set_ylabel("original", fontsize=9)
    axes[1, 0].set_ylabel("adversarial", fontsize=9)
    return figure


def confusion_matrices(matrices: dict[str, np.ndarray], class_names: Sequence[str]) -> Figure:
    """Figure 4: each titled confusion matrix f[C, C], whose rows are the true classes, with shares of a row in percent.

    The numbers are written for up to 12 classes; more would not be legible.
    """
    _check_matrices(matrices, class_names)
    return _row_shares(matrices, class_names, ("true class", "predicted class"), "% of the true class's images")


def masked_recall(maskings: dict[str, Masking], class_names: Sequence[str]) -> Figure:
    """The recall of each class in percent, with all filters and once some were removed, two titles a row.

    A class without images has no bars.
    """
    _check_titled(maskings, Masking)
    _check_matrices({title: each.confusion_after for title, each in maskings.items()}, class_names)
    places, rows = np.arange(len(class_names)), -(-len(maskings) // 2)
    figure = _Figure(figsize=(9.4, 2.7 * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False, sharey=True).ravel()
    for axis in axes[len(maskings) :]:
        axis.axis("off")
    for axis, (title, masking) in zip(axes, maskings.items(), strict=False):
        for shift, label, confusion, color, hatch in (
            (-0.2, "with all filters", masking.confusion_before, "0.75", ""),
            (0.2, "without those filters", masking.confusion_after, _COLORS[0], "///"),
        ):
            recall = np.where(masking.images > 0, 100 * np.diagonal(confusion), np.nan)
            bars = axis.bar(places + shift, recall, 0.4, color=color, hatch=hatch, edgecolor="white", label=label)
        axis.bar_label(bars, ["" if np.isnan(share) else f"{share:.0f}" for share in recall], fontsize=7, padding=1)
        axis.set_xticks(places, class_names, fontsize=8, rotation=90)
        axis.tick_params("y", labelleft=True)
        axis.set_ylim(0, 110)
        axis.set_yticks(range(0, 101, 20))
        axis.set_xlabel("true class", fontsize=9)
        axis.set_ylabel("recognised (%)")
        axis.set_title(_wrapped(title, 60), fontsize=9)
        axis.grid(axis="y", alpha=0.3)
        axis.set_axisbelow(True)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=9)
    return figure


def similarity_matrices(similarities: dict[str, Similarity], class_names: Sequence[str]) -> Figure:
    """Figure 5: each titled similarity of features to gate rows, as shares of a row in percent, whatever its scale.

    Rows without images are grey; the numbers are written for up to 12 classes.
    """
    _check_titled(similarities, Similarity)
    _check_matrices({title: each.matrix for title, each in similarities.items()}, class_names)
    shares = {}
    for title, similarity in similarities.items():
        sums = similarity.matrix.sum(axis=1, keepdims=True)
        absent = np.broadcast_to(similarity.images[:, None] == 0, similarity.matrix.shape)
        shares[title] = np.ma.masked_array(similarity.matrix / np.where(sums > 0, sums, 1), absent)
    return _row_shares(
        shares,
        class_names,
        ("class of the images", "class of the gate row"),
        "inner product with the gate row, % of all",
    )


def _row_shares(
    matrices: Mapping[str, np.ndarray], class_names: Sequence[str], axis_names: tuple[str, str], label: str
) -> Figure:
    """Returns titled matrices f[C, C] whose entries are shares of their row."""
    figure, axes = _class_panels(len(matrices), class_names)
    for axis, (title, matrix) in zip(axes, matrices.items(), strict=True):
        picture = axis.imshow(100 * matrix, vmin=0, vmax=100, cmap="viridis", interpolation="nearest")
        axis.set_facecolor("0.8")
        axis.set_title(_wrapped(title, 52), fontsize=9)
        axis.set_ylabel(axis_names[0])
        axis.set_xlabel(axis_names[1])
        if len(class_names) <= 12:
            for row, column in np.argwhere(~np.ma.getmaskarray(matrix)):
                share = matrix[row, column]
                color = "black" if share > 0.6 else "white"
                axis.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=7, color=color)
    figure.colorbar(picture, ax=axes, label=label, fraction=0.03)
    return figure


def correlation_matrices(matrices: dict[str, tuple[np.ndarray, ClassOrder]], class_names: Sequence[str]) -> Figure:
    """Figure 7 (a) to (d): each titled correlation matrix f[K, K] in the order of the classes, whose blocks are framed.

    The filters of no single class come last, as "shared". Red is above 0 and blue below it, on one scale for every
    figure: from 0.5 on, as on the diagonal, it is as dark as it gets.
    """
    checks.names("class_names", class_names)
    _check_titled(matrices, tuple)
    for title, (correlation, order) in matrices.items():
        checks.array(title, correlation, np.floating, "K", "K")
        checks.instance(f"the order of {title}", order, ClassOrder)
        checks.class_labels(order.filters, len(correlation), len(correlation), name=f"filters of {title}")
        checks.array(f"sizes of {title}", order.sizes, np.integer, len(class_names) + 1)
    figure, axes = _square_panels(len(matrices))
    for axis, (title, (correlation, order)) in zip(axes, matrices.items(), strict=True):
        shown = correlation[np.ix_(order.filters, order.filters)]
        picture = axis.imshow(shown, vmin=-0.5, vmax=0.5, cmap="RdBu_r", interpolation="nearest")
        starts, held = np.cumsum(order.sizes) - order.sizes - 0.5, order.sizes > 0
        for start, size in zip(starts[:-1][held[:-1]], order.sizes[:-1][held[:-1]], strict=True):
            frame = Rectangle((start, start), size, size, fill=False, edgecolor="black", linewidth=1.4, clip_on=False)
            axis.add_patch(frame)
        names, middles = np.array([*class_names, "shared"])[held], (starts + order.sizes / 2)[held]
        axis.set_xticks(middles, names, fontsize=8, rotation=90)
        axis.set_yticks(middles, names, fontsize=8)
        axis.set_title(title, fontsize=10)
        for label in (axis.set_xlabel, axis.set_ylabel):
            label("filters, by class")
    ticks = [-0.5, -0.25, 0, 0.25, 0.5]
    figure.colorbar(picture, ax=axes, label="correlation of two filters", fraction=0.03, extend="both", ticks=ticks)
    return figure


def correlation_curves(thresholds: np.ndarray, ratios: dict[str, np.ndarray]) -> Figure:
    """Figure 7 (e): for each titled network, the share f[T] of its correlation matrix above each of f[T] thresholds."""
    checks.array("thresholds", thresholds, np.floating, "T")
    _check_titled(ratios)
    for network, shares in ratios.items():
        checks.array(network, shares, np.floating, len(thresholds))
    figure = _Figure(figsize=(5.2, 3.6), layout="constrained")
    axis = figure.subplots()
    for (network, shares), color, line in zip(ratios.items(), cycle(_COLORS), cycle(_LINES), strict=False):
        axis.plot(thresholds, 100 * shares, line, color=color, label=network)
    axis.set_yscale("log")
    percents = [0.5, 1, 2, 5, 10, 20, 50, 100]
    axis.set_yticks(percents, [f"{percent:g}" for percent in percents])
    axis.minorticks_off()
    axis.set_xlabel("threshold on the correlation of two filters")
    axis.set_ylabel("elements above it, with the diagonal\n(%, log scale)")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return figure


def cluster_centers(centers: dict[str, tuple[np.ndarray, np.ndarray]], class_names: Sequence[str]) -> Figure:
    """Figure 9: each titled matrix of cluster centres f[C, K] above the gate f[C, K], each on its own scale."""
    _check_titled(centers, tuple)
    for title, pair in centers.items():
        _check_matrices({f"{title}: {index}": matrix for index, matrix in enumerate(pair)}, class_names, "K")
    figure = _Figure(figsize=(9, 0.6 + 4.6 * len(centers)), layout="constrained")
    axes = figure.subplots(2 * len(centers), 1)
    panels = [
        (f"{title}: {what}", matrix, unit)
        for title, pair in centers.items()
        for what, matrix, unit in zip(("cluster centres", "gate"), pair, ("pooled activation", "G"), strict=True)
    ]
    for axis, (title, matrix, unit) in zip(axes, panels, strict=True):
        picture = axis.imshow(matrix, vmin=0, cmap="viridis", aspect="auto", interpolation="nearest")
        axis.set_yticks(range(len(class_names)), class_names, fontsize=8)
        axis.set_title(title, fontsize=10)
        axis.set_ylabel("class")
        figure.colorbar(picture, ax=axis, label=unit, fraction=0.03)
    axes[-1].set_xlabel("filter of the last convolution")
    return figure


def tradeoff(
    losses: dict[str, Interval], effects: dict[str, dict[str, Interval]], curves: Sequence[Sequence[str]]
) -> Figure:
    """Each effect of each arm over the accuracy that it costs.

    An arm of several seeds is a filled marker with its confidence intervals, one of a single seed a hollow one.

    Args:
      losses: by arm, the control first, the difference in accuracy from the control, in [-1, 1].
      effects: by effect and arm, the difference from the control.
      curves: the arms that a line joins, one after another, for each line.
    """
    _check_titled(losses, Interval)
    _check_titled(effects)
    for by_arm in effects.values():
        _check_titled(by_arm, Interval)
        for arm in losses:
            checks.known("arm", arm, by_arm)
    checks.instance("curves", curves, Sequence)
    for arm in chain.from_iterable(curves):
        checks.known("arm", arm, losses)
    rows, names = -(-len(effects) // 2), [_wrapped(arm, 64) for arm in losses]
    lines = sum(name.count("\n") + 1 for name in names)
    figure = _Figure(figsize=(9, 4 * rows + 0.4 + 0.09 * lines), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False).ravel()
    for axis in axes[len(effects) :]:
        axis.set_axis_off()
    pairs = zip(cycle(_COLORS), cycle(_MARKERS), strict=False)
    marks = dict(zip(losses, chain([("0.4", "o")], pairs), strict=False))
    for axis, (effect, by_arm) in zip(axes[: len(effects)], effects.items(), strict=True):
        axis.axhline(0, color="0.5", linewidth=0.8)
        axis.axvline(0, color="0.5", linewidth=0.8)
        for curve in curves:
            places = [(100 * losses[arm].mean, by_arm[arm].mean) for arm in curve]
            axis.plot(*zip(*places, strict=True), color="0.8", linewidth=1, zorder=1)
        for arm, loss in losses.items():
            value, (color, marker) = by_arm[arm], marks[arm]
            bars = axis.errorbar(
                100 * loss.mean,
                value.mean,
                xerr=100 * _half(loss),
                yerr=_half(value),
                fmt=marker,
                color=color,
                markerfacecolor="white" if np.isnan(loss.low) else color,
                markersize=7,
                ecolor=(color, 0.6),
                elinewidth=1,
            )
            bars[0].set_zorder(3)  # above every interval
        axis.set_xlabel("accuracy less the control's (points)")
        axis.set_ylabel(_wrapped(f"{effect}, less the control's", 32))
        axis.grid(alpha=0.3)
    joined = "; lines: one number, or both costs in proportion, varied" if curves else ""
    figure.legend(
        [bars[0] for bars in axes[0].containers],
        names,
        title=f"filled: several seeds, with 95 % intervals; hollow: one seed{joined}",
        loc="outside lower center",
        ncols=2,
        fontsize=8,
        title_fontsize=8,
    )
    return figure


def grouped_bars(bars: dict[str, dict[str, float]], unit: str) -> Figure:
    """Named parts, the same of each title, as bars from 0 to 1, with their values."""
    _check_titled(bars, Mapping)
    parts = list(next(iter(bars.values())))
    for title, each in bars.items():
        _check_titled(each, Real)
        if each.keys() != set(parts):
            raise ValueError(f"{title!r} must have the parts {', '.join(parts)}, got {', '.join(each)}")
    figure = _Figure(figsize=(9, 0.9 + 0.28 * (len(parts) + 1) * len(bars)), layout="constrained")
    axis = figure.subplots()
    for index, (part, color, hatch) in enumerate(zip(parts, cycle(_COLORS), cycle(_HATCHES), strict=False)):
        places = np.arange(len(bars)) + 0.8 * (index - (len(parts) - 1) / 2) / len(parts)
        values = [each[part] for each in bars.values()]
        drawn = axis.barh(places, values, 0.75 / len(parts), color=color, hatch=hatch, edgecolor="white", label=part)
        axis.bar_label(drawn, fmt="%.3f", fontsize=8, padding=2)
    axis.set_yticks(range(len(bars)), bars)
    axis.invert_yaxis()
    axis.set_xlim(0, 1.08)
    axis.set_xlabel(unit)
    figure.legend(loc="outside lower center", ncols=len(parts))
    return figure


def verdicts(columns: Mapping[str, Mapping[str, str]]) -> Figure:
    """The verdict of each column on each claim: claims down, columns across.

    Raises ValueError where a verdict is none of those that have a mark.
    """
    _check_titled(columns, Mapping)
    claims = list(dict.fromkeys(claim for column in columns.values() for claim in column))
    words = {word for column in columns.values() for word in column.values()}
    if unknown := words - _VERDICTS.keys():
        raise ValueError(f"a verdict must be one of {', '.join(_VERDICTS)}, got {min(unknown)!r}")
    labels = [_wrapped(claim, 60) for claim in claims]
    # Two lines just exceed a row.
    heights = np.array([max(1.0, 0.1 + 0.5 * (1 + label.count("\n"))) for label in labels])
    down = dict(zip(claims, np.cumsum(heights) - (heights + heights[:1]) / 2, strict=True))
    inches = max(5, 3.9 + 0.3 * len(columns)), 2.4 + 0.29 * heights.sum()
    figure = _Figure(figsize=inches, layout="constrained")
    axis = figure.subplots()
    for verdict, (marker, size, face, edge) in _VERDICTS.items():
        found = [
            (across, down[claim])
            for across, column in enumerate(columns.values())
            for claim, word in column.items()
            if word == verdict
        ]
        places = np.array(found).reshape(-1, 2)
        label = verdict if verdict in words else None
        axis.scatter(places[:, 0], places[:, 1], size, facecolor=face, edgecolor=edge, marker=marker, label=label)
    if any(len(column) < len(claims) for column in columns.values()):
        axis.plot([], [], linestyle="none", label="blank: not measured")
    text: dict[str, Any] = {"fontsize": 8, "linespacing": 1.05, "multialignment": "right"}
    axis.set_xticks(range(len(columns)), [_wrapped(name, 44) for name in columns], rotation=90, **text)
    axis.set_yticks(list(down.values()), labels, **text)
    axis.set_xlim(-0.6, len(columns) - 0.4)
    axis.set_ylim(max(down.values(), default=0) + 0.6, -0.6)
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.tick_params(length=0)
    for side in axis.spines.values():
        side.set_visible(False)
    figure.legend(loc="outside upper left", ncols=3, fontsize=8)
    return figure


def _half(value: Interval) -> float:
    """Returns half an interval's width, 0 where there is none."""
    return float(np.nan_to_num(value.high - value.mean))


def ownership_bars(statistics: OwnershipStatistics, class_names: Sequence[str]) -> Figure:
    """Filters that each class monopolises and that are shared, at each threshold: mean and deviation over the gates."""
    checks.instance("statistics", statistics, OwnershipStatistics)
    checks.names("class_names", class_names, statistics.monopolised_mean.shape[1])
    figure = _Figure(figsize=(9, 4.2), layout="constrained")
    axis = figure.subplots()
    places, width = np.arange(len(class_names) + 1), 0.8 / len(statistics.thresholds)
    for index, color, hatch in zip(range(len(statistics.thresholds)), cycle(_COLORS), cycle(_HATCHES), strict=False):
        axis.bar(
            places - 0.4 + width * (index + 0.5),
            [*statistics.monopolised_mean[index], statistics.shared_mean[index]],
            width,
            yerr=[*statistics.monopolised_std[index], statistics.shared_std[index]],
            color=color,
            hatch=hatch,
            edgecolor="white",
            capsize=2,
            error_kw={"linewidth": 1},
            label=f"threshold {statistics.thresholds[index]:g}",
        )
    axis.set_xticks(places, [*class_names, "shared"], fontsize=9, rotation=90)
    axis.axvline(len(class_names) - 0.5, color="0.5", linewidth=0.8)
    axis.set_xlabel("class that alone holds the filters; filters that several hold")
    axis.set_ylabel(f"filters (mean ± s.d. of {statistics.shared.shape[1]} models)")
    axis.set_ylim(bottom=0)
    axis.grid(axis="y", alpha=0.3)
    axis.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=len(statistics.thresholds), fontsize=8)
    return figure


def _check_titled(things: Any, kind: type = object) -> None:
    """Raises ValueError where ``things`` holds none by title, or one that is no ``kind``."""
    if not (isinstance(things, Mapping) and things):
        raise ValueError(f"one or more by title are needed, got {checks.described(things)}")
    for title, thing in things.items():
        checks.instance(repr(title), thing, kind)


def _check_matrices(matrices: Any, class_names: Any, *columns: str) -> None:
    """Raises ValueError where ``matrices`` holds none by title, or one not f[C, C] or, if given, f[C, columns]."""
    checks.names("class_names", class_names)
    _check_titled(matrices)
    for title, matrix in matrices.items():
        checks.float64(repr(title), matrix, len(class_names), *(columns or [len(class_names)]))


def _check_history(history: Any, *more: str) -> None:
    """Raises ValueError where a line of ``history`` lacks what is shown of it, or there is none."""
    checks.instance("a history", history, Sequence)
    if not history:
        raise ValueError(f"a history must have a line an epoch, got {history!r}")
    for line in history:
        checks.instance("a line of a history", line, Mapping)
        if missing := [name for name in ("epoch", *_HISTORY, *more) if name not in line]:
            raise ValueError(f"a line of a history must have {missing[0]!r}, got {sorted(line)}")


def _history_panels(label: str) -> tuple[Figure, Any]:
    figure = _Figure(figsize=(11, 3.4), layout="constrained")
    axes = figure.subplots(1, len(_HISTORY))
    for axis, name in zip(axes, _HISTORY.values(), strict=True):
        axis.set_ylabel(name)
        axis.set_xlabel(label)
        axis.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
        axis.grid(alpha=0.3)
    axes[1].set_yscale("log")
    axes[1].yaxis.set_major_locator(_LogTicks())
    axes[1].yaxis.set_major_formatter("{x:g}")
    axes[1].minorticks_off()
    axes[2].set_ylim(0, 1.05)
    return figure, axes


def _class_panels(count: int, class_names: Sequence[str]) -> tuple[Figure, list[Any]]:
    """Returns a figure of square panels whose rows and columns are the classes."""
    figure, axes = _square_panels(count)
    for axis in axes:
        axis.set_xticks(range(len(class_names)), class_names, fontsize=8, rotation=90)
        axis.set_yticks(range(len(class_names)), class_names, fontsize=8)
    return figure, axes


def _square_panels(count: int) -> tuple[Figure, list[Any]]:
    """Returns a figure of ``count`` square panels, two a row."""
    columns, rows = min(count, 2), -(-count // 2)
    figure = _Figure(figsize=(4.4 * columns + 1, 4.4 * rows), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axis in grid[count:]:
        axis.axis("off")
    return figure, grid[:count]


def _show(axis: Any, image: np.ndarray) -> None:
    """Shows a uint8 image of any number of channels."""
    axis.imshow(visible(image), cmap="gray", vmin=0, vmax=255)  # which of one channel is grey


def _wrapped(text: str, width: int) -> str:
    """Returns the lines of ``text``, each in as many as it needs to be at most ``width`` letters wide."""
    return "\n".join(part for line in text.splitlines() for part in wrap(line, width))
