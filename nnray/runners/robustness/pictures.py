"""Pictures of what a model withstands: accuracy over epsilon, errors by corruption, inputs that misled it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from nnray.robustness.corruption import SEVERITIES, Corrupted
from nnray.robustness.curve import Example, Robustness
from nnray.robustness.space import NORMS

_DPI = 120
_TOP = 5
_STYLES = ("-", "--", ":", "-.")  # attacks that break the same leave curves that lie on each other
_NAMES = {"linf": "largest move of any value", "l2": "Euclidean length of the move"}


def curve_picture(found: Mapping[str, Robustness], path: Path, *, units: str) -> Path:
    """Robust accuracy over epsilon, one plot for each norm.

    Args:
        found: What each attack came to, by its label.
        path: To write.
        units: Of an epsilon.
    """
    norms = [norm for norm in NORMS if any(one.norm == norm for one in found.values())]
    figure = Figure(figsize=(5.2 * len(norms), 4), layout="constrained")
    for axes, norm in zip(np.atleast_1d(figure.subplots(1, len(norms))), norms, strict=True):
        shown = {label: one for label, one in found.items() if one.norm == norm}
        for place, (label, one) in enumerate(shown.items()):
            _curve(axes, one, label, style=_STYLES[place % len(_STYLES)])
        axes.set(ylim=(-0.02, 1.02), ylabel="accuracy", xlabel=f"epsilon: {_NAMES[norm]}\n({units})")
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=_DPI)
    return path


def corruption_picture(corrupted: Corrupted, baseline: Corrupted | None, *, path: Path) -> Path:
    """Errors by corruption and severity as a heat map; beside it, where there is one, the baseline's.

    Args:
        corrupted: Of the model.
        baseline: Of another one.
        path: To write.
    """
    shown = [("error", corrupted), *([("the baseline's", baseline)] if baseline else [])]
    names = list(corrupted.errors)
    height = 1.4 + 0.34 * len(names)
    figure = Figure(figsize=(1.2 + 4.2 * len(shown), height), layout="constrained")
    for axes, (title, one) in zip(np.atleast_1d(figure.subplots(1, len(shown))), shown, strict=True):
        values = np.array([one.errors[name] for name in names])
        axes.imshow(values, vmin=0, vmax=1, cmap="OrRd", aspect="auto")
        for row, line in enumerate(values):
            for column, value in enumerate(line):
                color = "white" if value > 0.6 else "black"
                axes.text(column, row, f"{value:.0%}", ha="center", va="center", color=color, fontsize=8)
        axes.set_xticks(range(len(SEVERITIES)), [str(severity) for severity in SEVERITIES])
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="severity", title=f"{title}, clean {one.clean:.1%}, mean {one.mean_error:.1%}")
    figure.savefig(path, dpi=_DPI)
    return path


def examples_picture(found: Robustness, path: Path, *, classes: Sequence[str]) -> Path:
    """Images that misled a model: as they were, as they became, and the difference, stretched.

    Args:
        found: What an attack came to, with examples.
        path: To write.
        classes: Names, by label.
    """
    shown = found.examples
    figure = Figure(figsize=(1.5 + 1.35 * len(shown), 5.2), layout="constrained")
    grid = figure.subplots(3, len(shown), squeeze=False)
    for column, one in zip(grid.T, shown, strict=True):
        _example(column, one, classes)
    for axes, name in zip(grid[:, 0], ("as it was", "as it became", "difference"), strict=True):
        axes.set_ylabel(name)
    figure.savefig(path, dpi=_DPI)
    return path


def examples_table(found: Robustness, *, classes: Sequence[str]) -> str:
    """The same for vectors, in words: which features moved most.

    Args:
        found: What an attack came to, with examples.
        classes: Names, by label.
    """
    lines = []
    for one in found.examples:
        apart = (one.moved - one.clean).nan_to_num(0.0)
        most = apart.abs().argsort(descending=True)[:_TOP].tolist()
        moves = ", ".join(f"feature {at}: {one.clean[at]:.4g} to {one.moved[at]:.4g}" for at in most)
        lines.append(
            f"example {one.index}, epsilon {one.epsilon:g}: {classes[one.target]}, taken for "
            f"{classes[one.said]}: {moves}"
        )
    return "\n".join(lines) + "\n"


def _curve(axes: Axes, one: Robustness, label: str, *, style: str) -> None:
    low, high = zip(*one.intervals, strict=True)
    label = f"{label} (95 % interval)"
    (line,) = axes.plot(one.epsilons, one.accuracies, style, marker="o", ms=4, label=label)
    axes.fill_between(one.epsilons, low, high, color=line.get_color(), alpha=0.15, lw=0)


def _example(column: Sequence[Axes], one: Example, classes: Sequence[str]) -> None:
    apart = one.moved - one.clean
    stretched = 0.5 + 0.5 * apart / apart.abs().amax().clamp_min(1e-12)
    for axes, image in zip(column, (one.clean, one.moved, stretched), strict=True):
        _show(axes, image)
    column[0].set_title(_short(classes[one.target]), fontsize=9)
    column[1].set_title(_short(classes[one.said]), fontsize=9, color="#c0392b")
    column[2].set_title(f"epsilon {one.epsilon:g}", fontsize=8)


def _show(axes: Axes, image: Tensor) -> None:
    """Colours as colours; of other images the first channel, grey."""
    if len(image) == 3:
        axes.imshow(image.clamp(0, 1).permute(1, 2, 0).numpy())
    else:
        axes.imshow(image[0].numpy(), cmap="gray", vmin=0, vmax=1)
    axes.set_xticks([])
    axes.set_yticks([])


def _short(name: str) -> str:
    return (name if len(name) <= 12 else f"{name[:11]}…").replace("$", r"\$")
