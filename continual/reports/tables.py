"""Tables as plain rows of text, for the page, for Markdown and for the terminal."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from continual.metrics import METRICS, scores
from continual.records import RunRecord
from continual.reports.costs import COSTS, cost_text

if TYPE_CHECKING:
    import pandas

CONTROLS = ("frozen", "head-only", "joint", "per-task", "lora")  # keep the others honest
MISSING = "–"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of text.

    Attributes:
        caption: what it shows, in a phrase.
        columns: the header of each column; a second line of it is the definition's id, a
            third the probe's name.
        rows: as many cells as columns each; a second line of a cell is its interval.
        marked: the numbers of the rows that are there for comparison: controls and baselines.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: tuple[int, ...] = ()

    def frame(self) -> "pandas.DataFrame":
        """Return the same cells as a pandas table of text."""
        import pandas

        return pandas.DataFrame(list(self.rows), columns=list(self.columns))


def matrix_table(record: RunRecord) -> Table:
    """Return R of one run, under the score before training and above the majority class."""
    R, b, majority = record.matrix(), record.baseline(), record.majority()
    rows = [("before training (b)", *map(score_text, b))]
    for i, task in enumerate(record.tasks):
        rows.append((f"after {i + 1}: {task}", *map(score_text, R[i])))
    rows.append(("majority class", *map(score_text, majority)))
    return Table(
        caption=f"Retained accuracy R of {record.method}, seed {record.seed}{forked(record)}",
        columns=("score on →", *record.tasks),
        rows=tuple(rows),
        marked=(0, len(rows) - 1),
    )


def forked(record: RunRecord) -> str:
    """Return where a forked run comes from, as an apposition; empty for other runs."""
    told = record.config.get("fork")
    if not isinstance(told, Mapping):
        return ""
    after, first = int(told["after"]) + 1, told["method"]
    return f", forked from {told['source']} after experience {after} ({first} until then)"


def plain_matrix(R: np.ndarray, b: np.ndarray | None, tasks: Sequence[str]) -> Table:
    """Return R that came from no run of ours, under the score before training where known."""
    rows = [] if b is None else [("before training (b)", *map(score_text, b))]
    rows += [(f"after {i + 1}: {task}", *map(score_text, R[i])) for i, task in enumerate(tasks)]
    return Table(
        caption="Retained accuracy R",
        columns=("score on →", *tasks),
        rows=tuple(rows),
        marked=() if b is None else (0,),
    )


def plain_scores(R: np.ndarray, b: np.ndarray | None) -> Table:
    """Return every score that R and b define, with the id of its definition."""
    found = scores(R, b)
    return Table(
        caption="Scores",
        columns=("definition", "score", "better is"),
        rows=tuple(
            (id, number_text(id, value), orientation(id))
            for id, value in found.items()
            if value is not None
        ),
    )


def scores_table(record: RunRecord) -> Table:
    """Return every score of one run that its entries define, with the id of its definition."""
    found = scores(record.matrix(), record.baseline())
    values = [(id, value) for id, value in found.items() if value is not None]
    for name, nats in record.probes().items():
        values += [(f"{id} {name}", value) for id, value in probe_scores(record, name, nats)]
    return Table(
        caption=f"Scores of {record.method}, seed {record.seed}",
        columns=("definition", "score", "better is"),
        rows=tuple(
            (id, number_text(id.split(" ")[0], value), orientation(id.split(" ")[0]))
            for id, value in values
        ),
    )


def probe_scores(record: RunRecord, probe: str, nats: Sequence[float]) -> list[tuple[str, float]]:
    """Return the drift, perplexity ratio and bits per byte of one probe, as far as measured."""
    found: list[tuple[str, float]] = []
    if len(nats) > 1 and not math.isnan(nats[0] + nats[-1]):
        found = [
            (id, METRICS[id].function(nats))
            for id in ("drift.nats_per_token", "drift.perplexity_ratio")
        ]
    for id, values in (
        ("word_perplexity", record.nats_per_word()[probe]),
        ("bits_per_byte", record.bits_per_byte()[probe]),
    ):
        if values and not math.isnan(values[-1]):
            found.append((id, METRICS[id].function(values)))
    return found


def definitions_table(ids: Sequence[str]) -> Table:
    """Return formula, unit, orientation and source of each definition that a report shows."""
    return Table(
        caption="Definitions",
        columns=("id", "formula", "unit", "better is", "source"),
        rows=tuple(
            (id, METRICS[id].formula, METRICS[id].unit, orientation(id), METRICS[id].source)
            for id in ids
            if id in METRICS
        ),
    )


def orientation(id: str) -> str:
    """Return which way a definition is better."""
    return "higher" if METRICS[id].higher_is_better else "lower"


def score_text(value: float) -> str:
    """Return a score with three digits, or a dash where it was not evaluated."""
    return MISSING if math.isnan(value) else f"{value:.3f}"


def number_text(id: str, value: float) -> str:
    """Return a number as its column writes it: differences carry a sign, counts have thousands."""
    if math.isnan(value):
        return MISSING
    if id in COSTS:
        return cost_text(id, value)
    if id == "drift.perplexity_ratio":
        return f"×{value:.3f}"
    digits = 4 if id == "drift.nats_per_token" else 3
    sign = "+" if id.startswith(("bwt", "fwt", "drift")) else ""
    text = f"{value:{sign}.{digits}f}"
    return text.lstrip("-+") if float(text) == 0 else text.replace("-", "−")
