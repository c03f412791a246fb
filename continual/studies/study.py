"""Running the cells of a grid, here or on Ray, and what came of them.

A study that was interrupted goes on where it stopped, because its runs do.
"""

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from continual.errors import StoppedError
from continual.records import RunRecord
from continual.runs.progress import Reporter
from continual.scenario import Scenario
from continual.studies.cell import Cell, Outcome, described, run_cell
from continual.studies.grid import Grid, grid_cells
from continual.studies.roster import Roster
from continual.studies.where import Share, Where

MOST_TOLD = 5  # failures in one message


class StudyError(RuntimeError):
    """Some cells of a study failed; the others have finished and are kept."""


def run_study(
    scenario: Scenario,
    grid: Grid,
    *,
    out: Path,
    backbone: str | None = None,
    settings: Mapping[str, Any] | None = None,
    executor: str = "local",
    address: str | None = None,
    share: Share | None = None,
    jobs: int = 1,
    reporter: Reporter,
) -> list[RunRecord]:
    """Run every cell and return the records in the order of the grid.

    Every cell's settings are checked before the first one starts. ``method`` settings of the study
    must fit every method of the grid; those of one method stand behind its name. With several jobs
    every run has fewer threads, and sums round accordingly. A cell that fails does not stop the
    others; the same call tries it again and leaves what has finished as it is.

    Args:
        scenario: what every cell learns.
        grid: methods and seeds.
        out: the folder in which every cell gets a run directory.
        backbone: as for ``run``.
        settings: as for ``run``.
        executor: local, or ray.
        address: HOST:PORT of a Ray cluster, or auto; left out: what RAY_ADDRESS says, or a cluster
            of this machine's own, which ends with the study.
        share: what every run is given of a node of that cluster; left out: one core.
        jobs: runs at once on this machine; Ray decides for itself.
        reporter: is told how they get on.

    Raises:
        InputError: something given cannot be used; nothing was written.
        StudyError: cells failed; says which and why.
        StoppedError: SIGINT or SIGTERM; what every cell has is saved.
    """
    where = Where(executor=executor, address=address, share=share or Share(), jobs=jobs)
    cells = grid_cells(scenario, grid, out=out, backbone=backbone, settings=settings)
    return make(cells, where, reporter)


def make(cells: Sequence[Cell], where: Where, reporter: Reporter) -> list[RunRecord]:
    """Run cells of one folder and return their records.

    Raises:
        StudyError: cells failed; says which and why.
        StoppedError: SIGINT or SIGTERM; what every cell has is saved.
    """
    try:
        found = run_cells(cells, where, reporter)
    except StoppedError as stop:
        done = sum(cell.finished() for cell in cells)
        words = f"{cells[0].out.parent}: stopped by {stop.name}. {done} of {len(cells)} runs have "
        words += "finished; the others are saved as far as they are."
        raise StoppedError(stop.signal, words) from stop
    return records_of(cells, found)


def records_of(cells: Sequence[Cell], found: Sequence[Outcome]) -> list[RunRecord]:
    """Return the records of cells that have all finished.

    Raises:
        StudyError: cells failed; says which and why. What a single cell raised is raised as it is.
    """
    failed = {
        cell.name: one for cell, one in zip(cells, found, strict=True) if isinstance(one, Exception)
    }
    if not failed:
        return [one for one in found if isinstance(one, RunRecord)]
    if len(cells) == 1:
        raise next(iter(failed.values()))
    told = [f"  {name}: {described(e)}" for name, e in list(failed.items())[:MOST_TOLD]]
    raise StudyError(
        f"{len(failed)} of {len(cells)} runs failed; the others are in {cells[0].out.parent}:\n"
        + "\n".join([*told, *["  ..."] * (len(failed) > MOST_TOLD)])
        + "\nThe same command tries them again; `continual report` shows the others."
    )


def run_cells(cells: Sequence[Cell], where: Where, reporter: Reporter) -> list[Outcome]:
    """Run cells; return for each its record, or what it raised.

    Raises:
        InputError: a cluster that cannot be used.
    """
    with reporter:
        if where.executor == "ray":
            from continual.studies.on_ray import run_on_ray

            raised = run_on_ray(cells, reporter, address=where.address, share=where.share)
        elif where.jobs > 1 and len(cells) > 1:
            from continual.studies.local import run_in_processes

            raised = run_in_processes(cells, min(where.jobs, len(cells)), reporter)
        else:
            raised = _run_here(cells, reporter)
    return [
        RunRecord.open(cell.out) if error is None else error
        for cell, error in zip(cells, raised, strict=True)
    ]


def _run_here(cells: Sequence[Cell], reporter: Reporter) -> list[Exception | None]:
    """Run the cells one after another in this process."""
    roster, host = Roster(cells, reporter), socket.gethostname()
    while roster.waiting:
        index = roster.waiting.popleft()
        roster.begin(index, host, os.getpid())
        try:
            run_cell(cells[index], reporter)
            roster.finish(index, None)
        except Exception as error:  # whatever it is, the other cells go on
            roster.finish(index, error)
    return roster.raised()
