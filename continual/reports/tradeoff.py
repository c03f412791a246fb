"""Forgetting against learning accuracy: what a method gives up for what it keeps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from continual.metrics import Estimate
from continual.reports.comparison import Estimates, run_values
from continual.reports.figures import legend, line_styles
from continual.reports.groups import Group

LEARNED, FORGOT = "learning_accuracy", "forgetting.chaudhry2018"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One method in the figure.

    Attributes:
        label: of the method.
        control: whether it is one.
        learned: learning accuracy over seeds.
        forgot: forgetting over seeds.
        seeds: (learned, forgot) of every run that has both.
    """

    label: str
    control: bool
    learned: Estimate
    forgot: Estimate
    seeds: tuple[tuple[float, float], ...]


def points(group: Group, found: Estimates) -> tuple[Point, ...]:
    """Return every method that both learned and could forget; joint training did neither."""
    shown = []
    for runs in group.methods:
        learned, forgot = (found[runs.label].get(id) for id in (LEARNED, FORGOT))
        if learned is None or forgot is None:
            continue
        each = [run_values(record) for record in runs.records]
        seeds = tuple((v[LEARNED], v[FORGOT]) for v in each if LEARNED in v and FORGOT in v)
        shown.append(
            Point(
                label=runs.label,
                control=runs.control,
                learned=learned,
                forgot=forgot,
                seeds=seeds,
            )
        )
    return tuple(shown)


def tradeoff(shown: Sequence[Point]) -> Figure:
    """Draw one marker per method, with its intervals and its single seeds."""
    figure = Figure(figsize=(7.6, 4.4), layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(0, color="#888888", linewidth=0.8)
    for point, style in zip(shown, line_styles(len(shown)), strict=True):
        colour = style["color"]
        axes.errorbar(
            point.learned.mean,
            point.forgot.mean,
            xerr=_bar(point.learned),
            yerr=_bar(point.forgot),
            label=f"{point.label} (control)" if point.control else point.label,
            color=colour,
            marker=style["marker"],
            markersize=8,
            markerfacecolor="white" if point.control else colour,
            linestyle="none",
            linewidth=1.2,
            capsize=2.5,
        )
        if len(point.seeds) > 1:
            axes.plot(*zip(*point.seeds, strict=True), ".", color=colour, alpha=0.5, markersize=4)
    axes.set_xlabel("learning accuracy (learning_accuracy)", fontsize=9)
    axes.set_ylabel("forgetting (forgetting.chaudhry2018)", fontsize=9)
    axes.set_title("Forgetting against learning: better is right and low", fontsize=10, loc="left")
    axes.tick_params(labelsize=8)
    axes.grid(color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    legend(figure, axes)
    return figure


def _bar(found: Estimate) -> np.ndarray | None:
    """Return the lengths of an error bar below and above the mean."""
    if found.interval is None:
        return None
    low, high = found.interval
    return np.array([[found.mean - low], [high - found.mean]]).clip(min=0.0)
