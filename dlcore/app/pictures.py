"""The pictures of a run: learning curves, confusion matrix, mistakes, first kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

__all__ = ["confusion", "confusion_matrix", "first_kernels", "learning_curves", "mistakes", "surest_mistakes"]

INK, BLUE, ORANGE = "#333333", "#2369bd", "#d9730d"
STYLE: Any = {
    "figure.dpi": 130,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
}


def learning_curves(path: Path, lines: list[dict[str, Any]]) -> None:
    """Loss on a logarithmic axis, and the error rates, over the epochs."""
    epochs = [line["epoch"] for line in lines]
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.2), layout="constrained")
        left.plot(epochs, [line["loss"] for line in lines], color=BLUE, label="training, with penalty and dropout")
        left.plot(epochs, [line["test_loss"] for line in lines], color=ORANGE, label="test")
        left.set(title="Cross-entropy", xlabel="epoch", yscale="log")
        left.legend()
        for name, label, color in (("train", "training", BLUE), ("test", "test", ORANGE)):
            right.plot(epochs, [100 * line[f"{name}_accuracy"] for line in lines], color=color, label=label)
        last = 100 * lines[-1]["test_accuracy"]
        right.set(title=f"Accuracy in %  (test: {last:.2f} after epoch {epochs[-1]})", xlabel="epoch")
        right.set_ylim(bottom=max(0, min(90, *(100 * line["test_accuracy"] - 1 for line in lines[len(lines) // 4 :]))))
        right.legend(loc="lower right")
        for axes in (left, right):
            axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
            axes.grid(alpha=0.25)
        _save(figure, path)


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """How often class i was taken for class j, (classes, classes)."""
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def confusion_matrix(path: Path, counts: np.ndarray, classes: tuple[str, ...]) -> None:
    """Counts, with what is off the diagonal shaded."""
    wrong = counts * (1 - np.eye(len(counts), dtype=int))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(1.6 + 0.42 * len(counts),) * 2, layout="constrained")
        axes.imshow(wrong, cmap="Oranges", vmin=0, vmax=max(4, wrong.max()))
        for (i, j), count in np.ndenumerate(counts):
            if count:
                axes.text(j, i, count, ha="center", va="center", color=BLUE if i == j else INK)
        ticks = range(len(counts))
        axes.set(xticks=ticks, yticks=ticks, xlabel="taken for", ylabel="is")
        axes.set_xticklabels(classes), axes.set_yticklabels(classes)
        axes.set_title(f"{wrong.sum()} of {counts.sum()} test examples wrong")
        axes.tick_params(length=0)
        _save(figure, path)


def surest_mistakes(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The examples that were taken for another class, the surest first."""
    predicted = probabilities.argmax(axis=-1)
    wrong = np.flatnonzero(predicted != labels)
    return wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")]


def mistakes(path: Path, images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, classes: Any) -> None:
    """The test images it got wrong, the surest first: what each is, what it was taken for, how surely."""
    predicted = probabilities.argmax(axis=-1)
    wrong = surest_mistakes(labels, probabilities)[:24]
    columns = 6
    rows = max(1, -(-len(wrong) // columns))
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(rows, columns, figsize=(8.4, 0.5 + 1.7 * rows), layout="constrained", squeeze=False)
        figure.suptitle(
            f"{np.sum(predicted != labels)} of {len(labels)} wrong" + (", the surest first" if len(wrong) > 1 else ""),
            x=0.01,
            ha="left",
        )
        for axes in grid.flat:
            axes.axis("off")
        for axes, index in zip(grid.flat, wrong, strict=False):
            axes.imshow(images[index].squeeze(-1), cmap="gray_r", vmin=0, vmax=1)
            share = probabilities[index, predicted[index]]
            axes.set_title(
                f"{classes[labels[index]]} taken for {classes[predicted[index]]}\n{100 * share:.0f} %",
                fontsize=8,
                loc="center",
            )
        _save(figure, path)


def first_kernels(path: Path, kernel: np.ndarray, shape: tuple[int, ...]) -> None:
    """The first layer's kernels, one picture each, red for negative and blue for positive weights.

    Args:
      path: the file.
      kernel: (height, width, 1, F) of a convolution, or (pixels, F) of a dense layer on images of `shape`.
      shape: (height, width) of the images.
    """
    pictures = kernel[..., 0, :] if kernel.ndim == 4 else kernel.reshape(*shape, -1)
    count = min(64, pictures.shape[-1])
    columns = 16 if count > 16 else count
    rows = -(-count // columns)
    bound = float(np.abs(pictures).max()) or 1.0
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(
            rows, columns, figsize=(8.4, 0.5 + 0.56 * rows), layout="constrained", squeeze=False
        )
        figure.suptitle(
            f"The first layer's {count} kernels, weights from −{bound:.2f} to {bound:.2f}", x=0.01, ha="left"
        )
        for axes in grid.flat:
            axes.axis("off")
        for index, axes in zip(range(count), grid.flat, strict=False):
            axes.imshow(pictures[..., index], cmap="RdBu", vmin=-bound, vmax=bound)
        _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path)
    plt.close(figure)
