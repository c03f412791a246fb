"""Learning rates chosen as a learner in a sequence may: on the first task, by its validation split.

    rate = the lowest of those whose validation loss is within ``margin`` of the best

The first task is all that has been seen when the first step is made. Its test split and the later
tasks are never looked at. The lowest rate among equals, because a step that is smaller than it must
be costs nothing, and one that is larger forgets.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from continual.errors import InputError
from continual.records import RunRecord
from continual.runs.progress import Reporter
from continual.scenario import Scenario, held_out
from continual.studies.grid import Grid, grid_cells
from continual.studies.study import run_cells
from continual.studies.where import Where
from continual.training.non_finite import NonFiniteLossError

MARGIN = 0.1  # nats per target token, or per example of a head
LADDER = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)


def choose_rates(
    scenario: Scenario,
    rates: Mapping[str, Sequence[float]],
    *,
    out: Path,
    beyond: Sequence[float] = (),
    seed: int = 0,
    margin: float = MARGIN,
    backbone: str | None = None,
    settings: Mapping[str, Any] | None = None,
    jobs: int = 1,
    reporter: Reporter,
) -> dict[str, float]:
    """Return the learning rate of every method, chosen on the first task.

    Args:
        scenario: whose first task is learned, and scored on its validation split.
        rates: what is tried, by method; names may have settings, as ``Grid`` takes them.
        out: the folder of the runs; an interrupted choice goes on.
        beyond: further rates, such as ``LADDER``; the next one is tried, too, for as long as the
            choice is at the edge of what was tried.
        seed: of those runs.
        margin: nats of validation loss by which a lower rate may be worse.
        backbone: as for ``run``.
        settings: as for ``run``; ``train.lr`` is overridden.
        jobs: runs at once.
        reporter: is told how they get on.

    Raises:
        InputError: something given cannot be used, a first task without a validation split, or a
            method that diverged at all of its rates.
        Exception: whatever else a run raised; a rate that diverges is only not chosen.
    """
    first = held_out(scenario)
    nats: dict[str, dict[float, float]] = {method: {} for method in rates}
    missing = [(method, rate) for method, some in rates.items() for rate in some]
    while missing:
        variants = tuple(f"{method}:train.lr={rate!r}" for method, rate in missing)
        grid = Grid(methods=variants, seeds=(seed,))
        cells = grid_cells(first, grid, out=out, backbone=backbone, settings=settings)
        found = run_cells(cells, Where(jobs=jobs), reporter)
        for (method, rate), outcome in zip(missing, found, strict=True):
            nats[method][rate] = _loss(outcome)
        missing = [
            (method, rate)
            for method, own in nats.items()
            for rate in next_rates(own, beyond, margin)
        ]
    chosen = {}
    for method, own in nats.items():
        if min(own.values(), default=math.inf) == math.inf:
            raise InputError(f"{method} diverged at every rate that was tried; give lower ones.")
        chosen[method] = rate = lowest_within(own, margin)
        if side := open_side(own, margin):
            reporter.note(
                f"warning: {rate:g}, chosen for {method}, is at the edge of what was tried; rates "
                f"{side} may be chosen where they are tried, too."
            )
    return chosen


def _loss(outcome: RunRecord | BaseException) -> float:
    """Return the validation loss of a run, infinite where it diverged."""
    if isinstance(outcome, RunRecord):
        own = validation_nats(outcome)
        return own if math.isfinite(own) else math.inf
    if isinstance(outcome, NonFiniteLossError):
        return math.inf
    raise outcome


def next_rates(
    nats: Mapping[float, float], beyond: Sequence[float] = LADDER, margin: float = MARGIN
) -> list[float]:
    """Return the next rate on the side where the choice is open; empty: none is needed or left.

    >>> next_rates({1e-3: 0.4, 3e-3: 0.5}), next_rates({1e-3: 0.9, 3e-3: 0.4, 1e-2: 0.5})
    ([0.0003], [])
    """
    side = open_side(nats, margin)
    lower = sorted(rate for rate in beyond if rate < min(nats))
    higher = sorted(rate for rate in beyond if rate > max(nats))
    return {"below": lower[-1:], "above": higher[:1], "": []}[side]


def validation_nats(record: RunRecord) -> float:
    """Return the loss on the held-out split after its one experience, in nats."""
    (last,) = (
        row.value
        for row in record.score_rows
        if row.experience == 0 and row.metric == "nats_per_token"
    )
    return last


def lowest_within(nats: Mapping[float, float], margin: float = MARGIN) -> float:
    """Return the lowest rate whose loss is within the margin of the best.

    Args:
        nats: validation loss by rate; infinite where it diverged.
        margin: nats by which a lower rate may be worse.
    """
    best = min(nats.values())
    return min(rate for rate, own in nats.items() if own <= best + margin)


def open_side(nats: Mapping[float, float], margin: float = MARGIN) -> str:
    """Return on which side of the rates that were tried another might be chosen; empty: on none.

    "below" where the lowest is chosen; "above" where the highest is the best and its loss leaves
    more than the margin to gain.
    """
    if lowest_within(nats, margin) == min(nats):
        return "below"
    best = min(nats.values())
    return "above" if nats[max(nats)] == best > margin else ""
