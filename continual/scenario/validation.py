"""Every problem of a scenario file at once: structure by pydantic, meaning by `checks`.

A field that pydantic refuses is left out of the checks of meaning, so that nothing is reported
twice and one mistake does not hide another. Keys are what YAML reads: text only where nothing was
refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from continual.errors import InputError
from continual.scenario.building import build, labels_and_texts
from continual.scenario.checks import order_problems, scenario_problems, task_problems
from continual.scenario.formats import bad_suffix, file_format, missing_file
from continual.scenario.problems import Problem, name_problems
from continual.scenario.structure import structure_problems
from continual.scenario.values import SETTINGS


def problems_of(values: Mapping[Any, Any], folder: Path) -> list[Problem]:
    """Return every problem of a scenario file's values; relative files start from `folder`."""
    problems = structure_problems(values)
    bad = {problem.path for problem in problems}
    problems += name_problems("name", values["name"]) if _good("name", values, bad) else []
    tasks, probes = _sections(values, "tasks"), _sections(values, "probes")
    for path, section in tasks:
        problems += _of_task(path, section, bad, folder)
    split = values.get("split")
    if isinstance(split, dict):
        problems += _of_task("split", split, bad, folder) + _of_split(split, bad)
    for path, section in probes:
        fine = _good(f"{path}.name", section, bad)
        problems += name_problems(f"{path}.name", section["name"]) if fine else []
        problems += _of_file(f"{path}.source", section.get("source"), bad, folder)
    names = [section.get("name") for _, section in tasks] + _split_names(split, bad)
    known_setting = values.get("setting") if _good("setting", values, bad) else SETTINGS[0]
    problems += scenario_problems(known_setting, names, [probe.get("name") for _, probe in probes])
    problems += _of_orders(values, bad, [name for name in names if isinstance(name, str)])
    if not names and "tasks" not in bad and "split" not in bad:
        given, allowed = "no task", "`tasks`, `split`, or both"
        problems.append(Problem(path="tasks", given=given, allowed=allowed))
    return problems or _agreement(values, folder)


def _sections(values: Mapping[Any, Any], key: str) -> list[tuple[str, dict[Any, Any]]]:
    items = values.get(key)
    items = items if isinstance(items, list) else []
    return [(f"{key}[{i}]", item) for i, item in enumerate(items) if isinstance(item, dict)]


def _good(path: str, section: Mapping[Any, Any], bad: set[str]) -> bool:
    """Say whether a key is there and nothing at or below it was refused."""
    key = path.rpartition(".")[2]
    inside = (f"{path}.", f"{path}[")
    return key in section and path not in bad and not any(p.startswith(inside) for p in bad)


def _of_task(path: str, section: Mapping[Any, Any], bad: set[str], folder: Path) -> list[Problem]:
    keys = (
        "name",
        "kind",
        "columns",
        "prompt",
        "score",
        "validation_fraction",
        "classes",
        "label_names",
    )
    fields = {key: section[key] for key in keys if _good(f"{path}.{key}", section, bad)}
    if "labels" not in section:
        fields |= {"labels": (), "verbalizers": ()}
    elif _good(f"{path}.labels", section, bad):
        fields["labels"], fields["verbalizers"] = labels_and_texts(section["labels"])
    if "label_names" in fields:
        names = fields["label_names"].items()
        fields["label_names"] = {str(theirs): str(ours) for theirs, ours in names}
    if fields.get("classes") is not None:
        fields["classes"] = [str(name) for name in fields["classes"]]
    problems = [problem.under(path) for problem in task_problems(fields)]
    for part in ("train", "test", "validation"):
        source, place = section.get(part), f"{section.get('name')}/{part}"
        problems += _of_file(f"{path}.{part}", source, bad, folder)
        problems += _of_local(f"{path}.{part}", place, source, bad) if "name" in fields else []
    return problems


def _of_file(path: str, source: object, bad: set[str], folder: Path) -> list[Problem]:
    where = f"{path}.file"
    if not isinstance(source, dict):
        return []
    if problems := _of_share(f"{path}.share", source, bad):
        return problems
    if "hub" in source or not _good(where, source, bad):
        return []
    file = folder / source["file"]
    if not file.exists():
        given, _, hint = missing_file(file).partition("; ")
        return [
            Problem(path=where, given=given.rstrip("."), allowed="a file that exists", hint=hint)
        ]
    if not file.is_dir() and file_format(str(file)) is None:
        return [Problem(path=where, given=repr(source["file"]), allowed=bad_suffix(file.name))]
    return []


def _of_share(path: str, source: Mapping[Any, Any], bad: set[str]) -> list[Problem]:
    share = source.get("share")
    if share is None or not _good(path, source, bad):
        return []
    numbers = [x for x in share if isinstance(x, int | float)] if isinstance(share, list) else []
    if len(numbers) == 2 and numbers[0] < numbers[1]:
        return []
    return [Problem(path=path, given=str(share), allowed="two rising numbers from 0 to 1")]


def _of_local(path: str, place: str, source: object, bad: set[str]) -> list[Problem]:
    """Return a problem where a file is to lie where --data does not look for it."""
    where = f"{path}.local"
    if not isinstance(source, dict) or not _good(where, source, bad):
        return []
    if source["local"] == place:
        return []
    allowed = f"{place!r}, where --data looks for it"
    return [Problem(path=where, given=repr(source["local"]), allowed=allowed)]


def _of_split(split: Mapping[Any, Any], bad: set[str]) -> list[Problem]:
    problems: list[Problem] = []
    if split.get("seed") is not None and split.get("class_order") is not None:
        given = "seed and class_order"
        problems.append(Problem(path="split.seed", given=given, allowed="one of the two"))
    if not _good("split.labels", split, bad):
        return problems
    labels, _ = labels_and_texts(split["labels"])
    if _good("split.tasks", split, bad) and split["tasks"] > len(labels) > 0:
        given, allowed = str(split["tasks"]), f"1 to {len(labels)}, the number of labels"
        problems.append(Problem(path="split.tasks", given=given, allowed=allowed))
    if split.get("class_order") is not None and _good("split.class_order", split, bad):
        order = [str(name) for name in split["class_order"]]
        problems += order_problems("split.class_order", order, labels)
    return problems


def _split_names(split: object, bad: set[str]) -> list[object]:
    if not isinstance(split, dict) or not _good("split.tasks", split, bad):
        return []
    return [f"{split.get('name')}-{i + 1}" for i in range(min(split["tasks"], 1000))]


def _of_orders(values: Mapping[Any, Any], bad: set[str], names: list[str]) -> list[Problem]:
    if not _good("orders", values, bad):
        return []
    return [
        problem
        for name, order in values["orders"].items()
        for problem in order_problems(f"orders.{name}", order, names)
    ]


def _agreement(values: Mapping[Any, Any], folder: Path) -> list[Problem]:
    """Return what only whole tasks show: labels that several tasks share must agree."""
    try:
        build(values, folder)
    except InputError as error:
        return [
            Problem(path="tasks", given=str(error), allowed="tasks that agree on shared labels")
        ]
    return []
