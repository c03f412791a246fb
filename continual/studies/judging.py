"""How a run that is tried for its settings is judged, and stopped where it is worse than others.

    value after experience i = mean over tasks 0 ... i of their score, or nats, after experience i

What is scored are the splits of the run's scenario: of ``held_out``, the validation splits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from continual.errors import unknown
from continual.records import RunRecord

Objective = Literal["nats", "score"]  # nats per target token, lower is better; or the tasks' scores
OBJECTIVES: tuple[Objective, ...] = ("nats", "score")


def checked(word: str) -> Objective:
    """Return an objective by its name.

    Raises:
        InputError: there is none of that name.
    """
    for objective in OBJECTIVES:
        if word == objective:
            return objective
    raise unknown("objective", word, OBJECTIVES)


class PrunedError(RuntimeError):
    """A run is worse than most were at the same place; the rest of it is not worth its time."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """What a run is judged by while it goes on.

    Attributes:
        objective: what counts.
        limits: by experience, the value that must not be missed; None: any will do.
    """

    objective: Objective
    limits: tuple[float | None, ...] = ()

    def check(self, record: RunRecord) -> None:
        """Raise ``PrunedError`` where the run is worse than it may be where it stands."""
        values = values_of(record, self.objective)
        if not values or len(values) > len(self.limits):
            return
        at, limit = values[-1], self.limits[len(values) - 1]
        if limit is not None and not better(at, limit, self.objective) and at != limit:
            raise PrunedError(
                f"{self.objective} {at:.4f} after {len(values)} task(s), where the median of the "
                f"finished trials is {limit:.4f}"
            )


def better(one: float, other: float, objective: Objective) -> bool:
    """Say whether a value is better than another; NaN is better than nothing."""
    return one < other if objective == "nats" else one > other


def values_of(record: RunRecord, objective: Objective) -> list[float]:
    """Return the value after every experience that the run has been judged after."""
    if objective == "score":
        table = record.matrix()
    else:
        table = np.full((len(record.tasks), len(record.tasks)), np.nan)
        for row in record.score_rows:  # in the order of their steps
            if row.metric == "nats_per_token" and row.experience >= 0 and row.task in record.tasks:
                table[row.experience, record.tasks.index(row.task)] = row.value
    reached = max((row.experience for row in record.score_rows), default=-1) + 1
    return [float(table[i, : i + 1].mean()) for i in range(reached)]


def medians(histories: Sequence[Sequence[float]], enough: int) -> tuple[float | None, ...]:
    """Return the median after every experience but the last; none of fewer than ``enough`` runs.

    >>> medians([[1.0, 5.0], [3.0, 6.0], [4.0, 9.0]], 3)
    (3.0,)

    Source: the median stopping rule of Golovin et al. (2017), Google Vizier.
    """
    if len(histories) < enough:
        return ()
    return tuple(float(np.median(column)) for column in list(zip(*histories, strict=True))[:-1])
