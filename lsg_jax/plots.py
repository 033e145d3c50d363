"""Figures from arrays. Nothing is computed here; each function returns a Matplotlib figure."""

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lsg_jax.analysis.localization import Curves

_STYLES = (("#0072b2", "-"), ("#d55e00", "--"), ("#009e73", "-."), ("#cc79a7", ":"))


def gate_matrices(gates: dict[str, np.ndarray], class_names: Sequence[str]) -> Figure:
    """Figure 3: each titled gate f32[C, K] as a picture, classes down and filters across, on one colour scale."""
    figure = Figure(figsize=(9, 0.6 + 2.3 * len(gates)), layout="constrained")
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
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    epochs = [line["epoch"] + 1 for line in history]
    for axis, measure in ((left, "test_accuracy"), (middle, "test_cross_entropy")):
        axis.plot(epochs, [line[measure] for line in history], label="STD path", color="#0072b2")
        gated = [line[f"lsg_{measure}"] for line in history]
        axis.plot(epochs, gated, "--", label="LSG path (true labels)", color="#d55e00")
    left.set_ylabel("test accuracy")
    middle.set_ylabel("test cross entropy (nats)")
    middle.set_yscale("log")
    left.legend(fontsize=8)
    right.plot(epochs, [line["density"] for line in history], color="#009e73")
    right.set_ylabel("gate density, ||G||_1 / (C K)")
    right.set_ylim(0, 1.05)
    for axis in (left, middle, right):
        axis.set_xlabel("epoch (shaded: gated)")
        axis.grid(alpha=0.3)
        for line in history:
            if line["path"] != "std":
                axis.axvspan(line["epoch"] + 0.5, line["epoch"] + 1.5, color="0.5", alpha=0.15, linewidth=0)
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
    rows, panels = -(-len(images) // 2), 1 + len(maps)
    figure = Figure(figsize=(2.6 * panels + 1, 1.55 * rows + 0.3), layout="constrained")
    gap = [1] * panels + [0.1] + [1] * panels
    grid = figure.subplots(rows, 2 * panels + 1, squeeze=False, width_ratios=gap)
    for axis in grid.ravel():
        axis.axis("off")
    axes = np.delete(grid, panels, axis=1).reshape(-1, panels)
    for example, (image, name) in enumerate(zip(images, names, strict=True)):
        _show(axes[example, 0], image)
        axes[example, 0].set_title(name, fontsize=9)
        for axis, (network, overlays) in zip(axes[example, 1:], maps.items(), strict=True):
            axis.imshow(image.mean(axis=-1), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            picture = axis.imshow(overlays[example], cmap="viridis", vmin=0, vmax=1, alpha=0.6)
            axis.set_title(f"{network}: {probabilities[network][example]:.2f}", fontsize=9)
    bar = figure.colorbar(picture, ax=list(grid.ravel()), fraction=0.03, aspect=40, ticks=[0, 1])
    bar.ax.set_yticklabels(["least", "most"], fontsize=8)
    bar.set_label("activation for the class, each map on its own scale", fontsize=8)
    return figure


def deletion_insertion_curves(curves: dict[str, Curves]) -> Figure:
    """The deletion and insertion curves of each titled network, averaged over the images, and the area under them."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for (network, found), (color, line) in zip(curves.items(), cycle(_STYLES), strict=False):
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
    figure = Figure(figsize=(1.7 * len(images) + 0.3, 3.9), layout="constrained")
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


def _show(axis: Any, image: np.ndarray) -> None:
    """Shows a uint8 image, in grey where it has one channel."""
    axis.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
