"""A study as it was asked for: settings are chosen where that was asked too, then the runs made.

A search is made for every order of the tasks by itself, since what has been seen differs.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from continual.errors import InputError
from continual.records import RunRecord
from continual.runs.progress import Reporter
from continual.studies.file import Asked, SearchSection
from continual.studies.grid import Order, apart_from, check_cells, grid_cells, ordered
from continual.studies.proposals import Question
from continual.studies.searching import search
from continual.studies.space import axes, with_values
from continual.studies.study import make

SEARCHES = "search"  # folder of the searches, beside the run directories


def run_asked(asked: Asked, *, out: Path, reporter: Reporter) -> list[RunRecord]:
    """Make the runs of a study; return their records in the order of the grid.

    Raises:
        InputError: something given cannot be used.
        StudyError: cells failed; says which and why.
    """
    if asked.search is None:
        cells = grid_cells(
            asked.scenario, asked.grid, out=out, backbone=asked.backbone, settings=asked.settings
        )
        return make(cells, asked.where, reporter)
    nowhere = out / SEARCHES / "none"  # the cells are checked; their settings are not yet known
    cells = grid_cells(
        asked.scenario, asked.grid, out=nowhere, backbone=asked.backbone, settings=asked.settings
    )
    chosen = {
        (variant, order): _chosen(asked, asked.search, variant, order, out, reporter)
        for variant in _searched(asked, asked.search)
        for order in asked.grid.orders
    }
    cells = [
        replace(
            cell,
            out=out / cell.name,
            settings=with_values(cell.settings, chosen.get((variant, order), {})),
        )
        for cell, (variant, order, _) in zip(cells, asked.grid.cells(), strict=True)
    ]
    check_cells(cells)
    return make(cells, asked.where, reporter)


def _searched(asked: Asked, section: SearchSection) -> list[str]:
    """Return the variants whose settings are chosen."""
    wanted = section.methods
    if wanted is None:
        return asked.grid.variants()
    unknown = [name for name in wanted if name not in asked.grid.methods]
    if unknown:
        raise InputError(
            f"search.methods names {', '.join(unknown)}; the study has "
            f"{', '.join(asked.grid.methods)}."
        )
    of = {v: m for m in asked.grid.methods for v in replace(asked.grid, methods=(m,)).variants()}
    return [variant for variant, method in of.items() if method in wanted]


def _chosen(
    asked: Asked,
    section: SearchSection,
    variant: str,
    order: Order,
    out: Path,
    reporter: Reporter,
) -> Mapping[str, Any]:
    """Return the settings that the first tasks of an order choose for a variant."""
    method, settings = apart_from(variant, asked.settings)
    question = Question(
        method=method,
        space=axes(section.space),
        tasks=section.tasks,
        objective=section.objective,
        seed=asked.grid.seeds[0],
        backbone=asked.backbone,
        settings=settings,
    )
    name = variant if order is None else f"{variant}-order={order}"
    found = search(
        ordered(asked.scenario, order),
        question,
        trials=section.trials,
        out=out / SEARCHES / re.sub(r"[^\w.=+-]", "_", name.replace(":", "-")),
        jobs=asked.where.jobs,
        reporter=reporter,
    )
    told = ", ".join(f"{key}={json.dumps(value)}" for key, value in found.best.settings.items())
    reporter.note(f"{name}: chosen {told} by {question.objective} on validation splits.")
    return found.best.settings
