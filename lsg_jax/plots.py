"""Figures from arrays. Nothing is computed here; each function returns a Matplotlib figure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure


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
