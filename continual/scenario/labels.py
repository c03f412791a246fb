"""Labels of several tasks: what they must agree about, and what rows say about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from continual.scenario.problems import Problem
from continual.scenario.task import Task, is_classification
from continual.scenario.values import CLASSIFICATION, Candidates

SHARED = "shared"  # the head of a scenario in which all tasks share one


def competing(setting: str, seen: Sequence[Task], scored: Task) -> Candidates | None:
    """Return the labels that compete with those of `scored`, or None where some are not seen yet.

    Args:
        setting: in a task-incremental scenario a task competes with no other.
        seen: the tasks whose labels share a head otherwise, in order.
        scored: the task that is scored.
    """
    if not is_classification(scored):
        return Candidates(head=scored.name, labels=(), texts=(), current=())
    alone = setting == "task-incremental"
    labelled = [scored] if alone else [task for task in seen if is_classification(task)]
    texts = {label: task.text_for(label) for task in labelled for label in task.class_names}
    labels = tuple(texts)
    if any(name not in texts for name in scored.class_names):
        return None
    return Candidates(
        head=scored.name if alone else SHARED,
        labels=labels,
        texts=tuple(texts.values()),
        current=tuple(labels.index(name) for name in scored.class_names),
    )


def label_problems(tasks: Sequence[Task], setting: str) -> list[Problem]:
    """Return where tasks that share one set of labels disagree about it."""
    if setting == "task-incremental":
        return []
    problems: list[Problem] = []
    owners: dict[str, tuple[str, str]] = {}  # label -> text, task
    said: dict[str, str] = {}  # text -> label
    labelled = [(i, task) for i, task in enumerate(tasks) if is_classification(task)]
    for i, task in labelled:
        for label in task.class_names:
            text = task.text_for(label)
            known, owner = owners.setdefault(label, (text, task.name))
            if known != text:
                given = f"label {label!r} said as {text!r}"
                allowed = f"{known!r} as in task {owner!r}, because {setting} tasks share labels"
                problems.append(Problem(path=f"tasks[{i}].labels", given=given, allowed=allowed))
            elif said.setdefault(text, label) != label:
                given = f"labels {said[text]!r} and {label!r} both said as {text!r}"
                allowed = f"one text per label, because {setting} tasks share labels"
                problems.append(Problem(path=f"tasks[{i}].labels", given=given, allowed=allowed))
        first = labelled[0][1]
        if setting == "domain-incremental" and set(task.class_names) != set(first.class_names):
            given = str(list(task.class_names))
            allowed = (
                f"{list(first.class_names)} as in task {first.name!r}, in a {setting} scenario"
            )
            problems.append(Problem(path=f"tasks[{i}].labels", given=given, allowed=allowed))
    return problems


def labels_of(kind: str, column: str, rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the distinct labels of the rows, sorted; none for a kind without labels."""
    if kind not in CLASSIFICATION:
        return ()
    names = {str(row[column]) for row in rows if row.get(column) is not None}
    return tuple(sorted(names, key=natural))


def natural(text: str) -> tuple[bool, int, str]:
    """Sort whole numbers by value, before everything else."""
    whole = text.removeprefix("-").isdigit()
    return (not whole, int(text) if whole else 0, text)
