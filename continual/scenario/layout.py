"""What a scenario reads, where a folder for --data has it, and what such a folder lacks."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from continual.errors import InputError
from continual.scenario.columns import own_columns
from continual.scenario.local import Place, folder_names, local_probe, local_task, places
from continual.scenario.local_source import LocalSource
from continual.scenario.reading import read
from continual.scenario.sequence import Scenario
from continual.scenario.sources import CallableSource, FileSource, HubSource, Source


def layout(scenario: Scenario) -> list[dict[str, Any]]:
    """Return what a scenario reads, one row per task and probe, with its folder under --data.

    `columns` are the names that a file there has; `limit` says how many examples are used.
    """
    folders = folder_names(scenario)
    rows = [
        {
            "name": task.name,
            "folder": folders[task.name],
            "columns": own_columns(task),
            "reads": _short(task.train),
            "train": task.train.describe(),
            "test": task.test.describe(),
            "validation": task.validation.describe() if task.validation else "a share of train",
            "limit": [f"{part} {n}" for part, n in asdict(task.limit).items() if n is not None],
        }
        for task in scenario.tasks
    ]
    return rows + [
        {
            "name": probe.name,
            "folder": f"{probe.name}.txt",
            "columns": ["text"],
            "reads": _short(probe.source),
            "train": "",
            "test": probe.source.describe(),
            "validation": "",
            "limit": [] if probe.limit is None else [f"documents {probe.limit}"],
        }
        for probe in scenario.probes
    ]


def survey(scenario: Scenario, folder: str | Path) -> list[dict[str, Any]]:
    """Return one row per split and probe: its file, the rows in it, and what is wrong.

    `used` are the examples after `classes`, `limit` and the validation split, or the documents of
    a probe that have text; None where loading fails. A task's own problem stands with its first
    split.

    Raises:
        InputError: there is no such folder, or nothing in it has the name of a task.
    """
    found = places(scenario, Path(folder).expanduser().resolve())
    rows = [_row(place) for place in found]
    for task in scenario.tasks:
        own = [row for row in rows if row["name"] == task.name]
        if any(row["problem"] for row in own):
            continue
        try:
            data = local_task(task, found).load()
        except InputError as error:
            own[0]["problem"] = str(error)
            continue
        used = {"train": data.train, "validation": data.validation, "test": data.test}
        for row in own:
            row["used"] = len(used[row["part"]])
    for probe in scenario.probes:
        (row,) = (row for row in rows if (row["name"], row["part"]) == (probe.name, "probe"))
        if row["file"] is None or row["problem"]:
            continue
        try:
            row["used"] = len(local_probe(probe, found).load().documents)
        except InputError as error:
            row["problem"] = str(error)
    return rows


def _short(source: Source) -> str:
    """Return what a source is called, without its split and parameters."""
    if isinstance(source, HubSource):
        return source.hub if source.config is None else f"{source.hub} ({source.config})"
    if isinstance(source, CallableSource):
        return source.callable
    if isinstance(source, LocalSource):
        return "only what --data gives"
    return source.describe()


def _row(place: Place) -> dict[str, Any]:
    row: dict[str, Any] = {"name": place.owner, "part": place.part}
    rows, problem = None, place.problem
    if place.path is not None:
        try:
            rows = len(read(FileSource(file=str(place.path)))[0])
        except InputError as error:
            problem = str(error)
    file = None if place.path is None else str(place.path)
    return row | {"file": file, "rows": rows, "used": None, "problem": problem}
