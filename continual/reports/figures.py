"""Figures of runs, drawn on `Figure` objects: no window, no global state, the same bytes each time.

Colours are those of Okabe and Ito and the map is cividis, which read the same with every kind of
colour vision; lines differ in marker and dash too. Text is never read as mathematics.
"""

from collections.abc import Sequence
from io import BytesIO
from itertools import cycle, islice
from typing import Any, Literal

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from continual.reports.groups import Group, MethodRuns
from continual.reports.tables import MISSING

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vP*X"
DASHES = ("-", "--", "-.", ":")
UNDATED = {"svg": "Date", "png": "Software", "pdf": "CreationDate"}
LONGEST = 22  # letters of a task name before its middle is left out


def render(figure: Figure, form: Literal["svg", "png", "pdf"]) -> bytes:
    """Return a figure as the bytes of an SVG, PNG or PDF file, the same ones each time."""
    sink = BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "continual"}):  # ids that do not change
        metadata = {UNDATED[form]: None}
        figure.savefig(sink, format=form, dpi=130, metadata=metadata, facecolor="white")
    return sink.getvalue()


def heat_map(
    R: Float[np.ndarray, "E T"], b: Float[np.ndarray, " T"], tasks: Sequence[str], title: str
) -> Figure:
    """Draw R with its numbers under the score before training; what was not evaluated is hatched.

    Args:
        R: score on task j after experience i.
        b: score on each task before training.
        tasks: their names.
        title: of the figure.
    """
    grid = np.vstack([b[None, :], R])
    count, wide = grid.shape[0], grid.shape[1]
    cell = 0.62 if wide <= 12 else 0.46
    figure = Figure(figsize=(2.3 + cell * max(wide, 3), 1.5 + 0.4 * count), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(np.ma.masked_invalid(grid), cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for i in range(count):
        for j in range(wide):
            _cell(axes, i, j, grid[i, j], 9 if wide <= 12 else 7)
    for j in range(min(wide, count - 1)):
        outline = Rectangle(
            (j - 0.5, j + 0.5), 1, 1, fill=False, edgecolor="#D55E00", linewidth=1.8
        )
        outline.set_clip_on(False)
        axes.add_patch(outline)
    axes.set_xticks(
        range(wide), [_short(t) for t in tasks], rotation=35, ha="right", parse_math=False
    )
    rows = ["before training", *(f"after {_short(task)}" for task in tasks)]
    axes.set_yticks(range(count), rows[:count], parse_math=False)
    axes.tick_params(length=0, labelsize=9)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("score on task", fontsize=9)
    axes.set_title(title, fontsize=10, loc="left", parse_math=False)
    return figure


def drift_curves(group: Group, probe: str) -> Figure:
    """Draw the drift of one probe for every run: a colour for each method, a line for each seed."""
    figure = Figure(figsize=(7.6, 3.9), layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(0, color="#888888", linewidth=0.8)
    for runs, style in zip(group.methods, line_styles(len(group.methods)), strict=True):
        label: str | None = runs.label
        for record in runs.records:
            nats = np.array(record.probes().get(probe, []))
            if len(nats) and not np.isnan(nats[0]):
                axes.plot(nats - nats[0], label=label, **style, alpha=0.8)
                label = None  # one line in the legend for all seeds
    _moments(axes, group.tasks)
    axes.set_ylabel("drift in nats per token", fontsize=9)
    axes.set_title(
        f"Perplexity drift on {_short(probe, 40)}", fontsize=10, loc="left", parse_math=False
    )
    legend(figure, axes)
    return figure


def task_curves(group: Group) -> Figure:
    """Draw the score of each task over the run, the mean over seeds of each method."""
    columns = min(3, len(group.tasks))
    rows = -(-len(group.tasks) // columns)
    figure = Figure(figsize=(3.1 * columns + 0.8, 2.5 * rows + 1.1), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for j, (axes, task) in enumerate(zip(panels, group.tasks, strict=False)):
        axes.axvline(j + 1, color="#888888", linewidth=0.8, linestyle=":")
        for runs, style in zip(group.methods, line_styles(len(group.methods)), strict=True):
            axes.plot(_mean_curve(runs, j), label=runs.label, **style)
        axes.set_title(_short(task, 30), fontsize=9, loc="left", parse_math=False)
        axes.set_ylim(-0.03, 1.03)
        _moments(axes, [str(i + 1) for i in range(len(group.tasks))], turn=False)
        axes.xaxis.set_tick_params(labelbottom=j + columns >= len(group.tasks))
    for axes in panels[len(group.tasks) :]:
        axes.set_axis_off()
    panels[(rows - 1) * columns].set_xlabel("after experience (dotted: learned)", fontsize=8)
    for axes in panels[::columns]:
        axes.set_ylabel("score", fontsize=8)
    legend(figure, panels[0])
    return figure


def _cell(axes: Axes, i: int, j: int, value: float, size: int) -> None:
    if np.isnan(value):
        hatched = Rectangle(
            (j - 0.5, i - 0.5),
            1,
            1,
            facecolor="#f2f2f2",
            edgecolor="#bbbbbb",
            hatch="///",
            linewidth=0,
        )
        axes.add_patch(hatched)
        plate = {"facecolor": "#f2f2f2", "edgecolor": "none", "pad": 1.5}
        axes.text(
            j, i, MISSING, ha="center", va="center", fontsize=size, color="#333333", bbox=plate
        )
        return
    colour = "white" if value < 0.5 else "black"  # cividis is dark below the middle
    axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=size, color=colour)


def _mean_curve(runs: MethodRuns, task: int) -> Float[np.ndarray, " moments"]:
    """Return the mean over seeds of one task's score at each moment, NaN where a seed lacks it."""
    curves = [np.vstack([r.baseline()[None, :], r.matrix()])[:, task] for r in runs.records]
    return np.mean(curves, axis=0)


def line_styles(count: int) -> list[dict[str, Any]]:
    """Return a colour, marker and dash for each of several lines, no two alike up to 28."""
    looks = zip(cycle(COLOURS), cycle(MARKERS), cycle(np.repeat(DASHES, len(COLOURS))))
    return [
        {"color": c, "marker": m, "linestyle": str(d), "markersize": 4.5, "linewidth": 1.5}
        for c, m, d in islice(looks, count)
    ]


def _moments(axes: Axes, tasks: Sequence[str], turn: bool = True) -> None:
    """Label the moments of a run: before training, then after each task."""
    labels = ["before", *(f"after {_short(t)}" if turn else _short(t) for t in tasks)]
    if not turn:
        labels[0] = "–"
    every = max(1, len(labels) // 8) if not turn else 1
    axes.set_xticks(
        range(0, len(labels), every),
        labels[::every],
        rotation=25 if turn else 0,
        ha="right" if turn else "center",
        parse_math=False,
    )
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def legend(figure: Figure, axes: Axes) -> None:
    """Name the methods below the axes, where no line can run under them."""
    lines, labels = axes.get_legend_handles_labels()
    if lines:
        columns = min(len(labels), 6 if max(map(len, labels)) < 14 else 2)
        legend = figure.legend(
            lines, labels, loc="outside lower center", ncols=columns, fontsize=8.5, frameon=False
        )
        for text in legend.get_texts():
            text.set_parse_math(False)


def _short(name: str, longest: int = LONGEST) -> str:
    """Return a name with its middle left out where it is too long, on one line.

    >>> _short("classification-of-long-documents")
    'classificat…-documents'
    """
    name = " ".join(name.split())
    if len(name) <= longest:
        return name
    tail = (longest - 1) // 2
    return f"{name[: longest - 1 - tail]}…{name[-tail:]}"
