"""The data of a scenario in a folder of one's own, found by the names of tasks and probes.

    DIR/<task>/train.EXT    DIR/<task>/test.EXT    [DIR/<task>/validation.EXT or dev.EXT]
    DIR/<task>/train/<label>/*.png, ...            images, where there is no table of them
    DIR/<probe>.EXT or DIR/<probe>/test.EXT        a probe that would be downloaded otherwise

Tables have our own column names: text, image, label, target, id and what the prompt names; labels
are those of the scenario. Tasks that `split` made of one data set share a folder of its name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from continual.errors import InputError, nearest
from continual.scenario.formats import COMPRESSED, FORMATS, file_format
from continual.scenario.probe import Probe
from continual.scenario.sequence import Scenario
from continual.scenario.sources import FileSource, HubSource
from continual.scenario.task import Task

STEMS = {"train": ("train",), "validation": ("validation", "dev"), "test": ("test",)}
OPTIONAL = ("validation",)
PART_OF_SPLIT = re.compile(r"(.+)-\d+")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a split of a task, or a probe, is; or why it is not.

    `path` is None where nothing is there; `problem` is "" where nothing is wrong, which it may be
    without a path: a validation split and a probe of the library's own can be left out.
    """

    owner: str
    part: str
    path: Path | None
    problem: str = ""


def with_data(scenario: Scenario, folder: str | Path) -> Scenario:
    """Return the same scenario with the data of a folder; see the layout above.

    Without a validation file `validation_fraction` of train is used. Nothing is read yet.

    Raises:
        InputError: listing every file that is missing or cannot be used.
    """
    root = Path(folder).expanduser().resolve()
    found = places(scenario, root)
    problems = list(dict.fromkeys(place.problem for place in found if place.problem))
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise InputError(
            f"the data of {scenario.name!r} in {root} has {len(problems)} problem(s):\n{lines}\n"
            f"EXT is one of {_extensions()}; `continual data {scenario.name}` prints the layout."
        )
    return replace(
        scenario,
        tasks=tuple(local_task(task, found) for task in scenario.tasks),
        probes=tuple(local_probe(probe, found) for probe in scenario.probes),
        data=str(root),
    )


def places(scenario: Scenario, root: Path) -> list[Place]:
    """Return where every split and probe is or should be, tasks in their order.

    Raises:
        InputError: there is no such folder, or nothing in it has the name of a task.
    """
    if not root.is_dir():
        raise InputError(f"there is no folder {root}; give one with a folder per task.")
    folders = folder_names(scenario)
    names = [entry.name for entry in root.iterdir() if entry.is_dir()]
    if not {*folders, *folders.values()} & set(names):
        raise InputError(
            f"{root} has no folder for any task of {scenario.name!r}: it has {sorted(names)[:20]}, "
            f"and expected are {list(dict.fromkeys(folders.values()))}."
        )
    found: list[Place] = []
    for task in scenario.tasks:
        own = root / task.name
        found += _of_task(task, own if own.is_dir() else root / folders[task.name])
    return found + [_of_probe(probe, root) for probe in scenario.probes]


def folder_names(scenario: Scenario) -> dict[str, str]:
    """Return the folder of every task: its name, or that of the data set it is a split of."""
    families: dict[str, list[Task]] = {}
    for task in scenario.tasks:
        match = PART_OF_SPLIT.fullmatch(task.name)
        name = match[1] if match and task.classes is not None else task.name
        families.setdefault(name, []).append(task)
    return {
        task.name: name if _one_split(family) else task.name
        for name, family in families.items()
        for task in family
    }


def local_task(task: Task, found: Sequence[Place]) -> Task:
    """Return the task with the files that were found for it."""
    paths = {place.part: place.path for place in found if place.owner == task.name}
    files = {part: FileSource(file=str(path)) for part, path in paths.items() if path is not None}
    return replace(
        task,
        train=files["train"],
        test=files["test"],
        validation=files.get("validation"),
        columns={"id": "id"} if "id" in task.columns else {},
        label_names={},
    )


def _one_split(family: Sequence[Task]) -> bool:
    """Say whether these tasks are parts of one data set with disjoint classes."""
    first = family[0]
    same = all(
        (task.train, task.test, task.validation, task.labels)
        == (first.train, first.test, first.validation, first.labels)
        for task in family
    )
    classes = [name for task in family for name in task.class_names]
    return same and len(classes) == len(set(classes))


def local_probe(probe: Probe, found: Sequence[Place]) -> Probe:
    """Return the probe with the file that was found for it, or as it is."""
    path = next(place.path for place in found if place.owner == probe.name)
    if path is None:
        return probe
    own = probe.source
    sample_by = own.sample_by if isinstance(own, FileSource) else "line"
    return replace(probe, source=FileSource(file=str(path), sample_by=sample_by), column="text")


def _of_task(task: Task, folder: Path) -> list[Place]:
    if not folder.is_dir():
        problem = f"{folder}: no such folder; expected in it: train.EXT and test.EXT"
        return [Place(owner=task.name, part="train", path=None, problem=problem)]
    return [_place(task.name, part, folder, stems, task.kind) for part, stems in STEMS.items()]


def _of_probe(probe: Probe, root: Path) -> Place:
    inside = root / probe.name
    folder, stems = (inside, STEMS["test"]) if inside.is_dir() else (root, (probe.name,))
    found = _place(probe.name, "probe", folder, stems, "language-modeling")
    needed = isinstance(probe.source, HubSource)  # another source is here already
    return found if needed or found.path is not None else replace(found, problem="")


def _place(owner: str, part: str, folder: Path, stems: Sequence[str], kind: str) -> Place:
    """Look for the one file, or folder of images, that holds a split."""
    formats = {name for name in FORMATS.values() if name != "text" or kind == "language-modeling"}
    named, unusable = [], []
    for entry in sorted(folder.iterdir()):
        if not any(entry.name == stem or entry.name.startswith(f"{stem}.") for stem in stems):
            continue
        images = entry.is_dir() and kind == "image-classification"
        table = entry.is_file() and file_format(entry.name) in formats
        (named if images or table else unusable).append(entry)
    wanted = f"{folder / stems[0]}.EXT"
    problem = ""
    if len(named) > 1:
        names = ", ".join(entry.name for entry in named)
        problem = f"{wanted}: {len(named)} files could be it: {names}; leave one"
    elif named:
        problem = _unreadable(named[0])
    elif unusable:
        problem = f"{wanted}: {unusable[0].name} is there, and has no format that can be read"
    elif part not in OPTIONAL:
        others = [entry.name.partition(".")[0] for entry in folder.iterdir()]
        problem = f"{wanted}: missing{nearest(stems[0], others)}"
    path = named[0] if named and not problem else None
    return Place(owner=owner, part=part, path=path, problem=problem)


def _unreadable(path: Path) -> str:
    """Return why a file or folder cannot be read, or ""."""
    if not os.access(path, os.R_OK):
        return f"{path}: may not be read; check its permissions"
    if path.is_dir():
        filled = any(entry.is_dir() and any(entry.iterdir()) for entry in path.iterdir())
        return "" if filled else f"{path}: has no folder of images per label"
    return "" if path.stat().st_size else f"{path}: is empty"


def _extensions() -> str:
    names = ", ".join(suffix.removeprefix(".") for suffix in FORMATS if FORMATS[suffix] != "text")
    return f"{names} (also with {', '.join(COMPRESSED)})"
