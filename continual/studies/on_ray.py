"""The same grid on Ray: every cell a remote task. The door of ray."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from continual.errors import InputError
from continual.records import RunRecord
from continual.runs.progress import Reporter, SilentReporter

if TYPE_CHECKING:
    from continual.studies.grid import Cell


def run_on_ray(cells: "Sequence[Cell]", reporter: Reporter) -> list[RunRecord]:
    """Run the cells as Ray tasks; results come back in the order of the cells.

    The run directories must lie on storage that every node sees.

    Raises:
        InputError: ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "engine 'ray' needs the package ray; install it with "
            "`pip install 'continual-adapters[ray]'`, or use --engine local."
        ) from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False)
    waiting = [ray.remote(_remote_cell).remote(cell) for cell in cells]
    for done, (cell, reference) in enumerate(zip(cells, waiting, strict=True), start=1):
        ray.get(reference)
        reporter.note(f"{cell.method} (seed {cell.seed}) is done: {done} of {len(cells)}")
    return [RunRecord.open(cell.out) for cell in cells]


def _remote_cell(cell: "Cell") -> None:
    from continual.studies.grid import run_cell

    run_cell(cell, SilentReporter())
