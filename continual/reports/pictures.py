"""The figures of a report, each with words and numbers for those who cannot see it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from continual.reports.comparison import Estimates, run_values
from continual.reports.groups import Group
from continual.reports.tables import Table, matrix_table, number_text, score_text

if TYPE_CHECKING:
    import matplotlib.figure

MOMENT = "after {}: {}"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure that is drawn when it is asked for.

    Attributes:
        stem: its file name without the ending.
        words: what it shows, for those who cannot see it.
        draw: returns the figure.
        table: the same numbers as text.
        method: the label of the method it shows, "" where it shows several.
    """

    stem: str
    words: str
    draw: Callable[[], "matplotlib.figure.Figure"]
    table: Table
    method: str = ""

    @cached_property
    def figure(self) -> "matplotlib.figure.Figure":
        """The figure, drawn once."""
        return self.draw()

    @cached_property
    def svg(self) -> bytes:
        """The figure as SVG, rendered once."""
        from continual.reports.figures import render

        return render(self.figure, "svg")


def matrices(group: Group, section: int) -> tuple[Picture, ...]:
    """Return R of every run as a heat map."""
    from continual.reports.figures import heat_map

    pictures = []
    for runs in group.methods:
        for record in runs.records:
            title = f"{runs.label}, seed {record.seed}"
            pictures.append(
                Picture(
                    stem=f"{section}-matrix-{len(pictures) + 1:02d}",
                    words=f"Retained accuracy matrix of {title}",
                    draw=lambda r=record, t=title: heat_map(r.matrix(), r.baseline(), r.tasks, t),
                    table=matrix_table(record),
                    method=runs.label,
                )
            )
    return tuple(pictures)


def curves(group: Group, section: int, found: Estimates) -> tuple[Picture, ...]:
    """Return what several methods share: the trade-off, the drift of probes, scores of tasks."""
    from continual.reports.figures import drift_curves, task_curves
    from continual.reports.tradeoff import points, tradeoff

    shown = points(group, found)
    pictures = []
    if shown:
        words = (
            "Forgetting against learning accuracy: better is to the right and low; hollow are "
            "controls, bars are 95 % intervals over seeds, small dots single seeds"
        )
        pictures.append(
            Picture(
                stem=f"{section}-tradeoff",
                words=words,
                draw=lambda: tradeoff(shown),
                table=_points_table(group),
            )
        )
    probes = dict.fromkeys(
        name
        for record in group.records
        for name, nats in record.probes().items()
        if np.isfinite(nats[0])  # an encoder has none
    )
    pictures += [
        Picture(
            stem=f"{section}-drift-{number}",
            words=f"Perplexity drift on {probe}: each line is a run, above 0 is worse than before",
            draw=lambda probe=probe: drift_curves(group, probe),
            table=_drift_table(group, probe),
        )
        for number, probe in enumerate(probes, 1)
    ]
    words = "Score of each task over the run: each line is a method's mean over seeds"
    pictures.append(
        Picture(
            stem=f"{section}-tasks",
            words=words,
            draw=lambda: task_curves(group),
            table=_tasks_table(group),
        )
    )
    return tuple(pictures)


def _points_table(group: Group) -> Table:
    ids = ("learning_accuracy", "forgetting.chaudhry2018")
    rows = [
        (runs.label, str(record.seed), *(score_text(values.get(id, np.nan)) for id in ids))
        for runs in group.methods
        for record in runs.records
        for values in (run_values(record),)
    ]
    return Table(
        caption="Forgetting and learning accuracy of every run",
        columns=("method", "seed", *ids),
        rows=tuple(rows),
    )


def _drift_table(group: Group, probe: str) -> Table:
    rows = []
    for runs in group.methods:
        for record in runs.records:
            nats = np.array(record.probes().get(probe, [np.nan] * (len(group.tasks) + 1)))
            drift = [number_text("drift.nats_per_token", value) for value in nats - nats[:1]]
            rows.append((runs.label, str(record.seed), *drift))
    return Table(
        caption=f"Perplexity drift on {probe} in nats per token",
        columns=("method", "seed", *_moments(group)),
        rows=tuple(rows),
    )


def _tasks_table(group: Group) -> Table:
    rows = []
    for runs in group.methods:
        each = [np.vstack([r.baseline()[None, :], r.matrix()]) for r in runs.records]
        mean = np.mean(each, axis=0)
        rows += [
            (runs.label, task, *map(score_text, mean[:, j])) for j, task in enumerate(group.tasks)
        ]
    return Table(
        caption="Score of each task over the run, mean over seeds",
        columns=("method", "task", *_moments(group)),
        rows=tuple(rows),
    )


def _moments(group: Group) -> tuple[str, ...]:
    return ("before training", *(MOMENT.format(i, t) for i, t in enumerate(group.tasks, 1)))
