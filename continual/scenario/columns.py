"""Which columns of the data a task reads, and text that is written out of several of them.

`columns: {text: "{title}: {body}"}` makes one text of two columns. The written text is a column
like any other from here on; its name is the template.
"""

from __future__ import annotations

from string import Formatter
from typing import TYPE_CHECKING, Any

from continual.errors import InputError, nearest
from continual.scenario.frozen import digest
from continual.scenario.task import Task
from continual.scenario.values import COLUMNS, is_template

if TYPE_CHECKING:
    from datasets import Dataset


def columns_of(task: Task, part: str, dataset: Dataset) -> tuple[Dataset, dict[str, str]]:
    """Return the data with every templated column written, and our names to its columns.

    Raises:
        InputError: a column that the task names is not there.
    """
    columns = {
        name: task.columns.get(name, name)
        for name in COLUMNS[task.kind]
        if name != "id" or "id" in task.columns
    }
    for name, column in columns.items():
        if not is_template(column):
            _must_exist(task, part, dataset, column, f"columns.{name}")
            continue
        for inner in template_columns(column):
            _must_exist(task, part, dataset, inner, f"{{{inner}}} of columns.{name}")
        dataset = _written(dataset, column)
    return dataset, columns


def own_columns(task: Task) -> list[str]:
    """Return the names that the columns of a task have with us."""
    names = [name for name in COLUMNS[task.kind] if name != "id" or "id" in task.columns]
    return list(dict.fromkeys([*names, *task.fields]))


def fields_of(task: Task, part: str, dataset: Dataset) -> dict[str, str]:
    """Return the names in the prompt beside the text, to the columns that they name.

    Raises:
        InputError: such a column is not there.
    """
    fields = {name: task.columns.get(name, name) for name in task.fields}
    for name, column in fields.items():
        _must_exist(task, part, dataset, column, f"{{{name}}} of the prompt")
    return fields


def template_columns(template: str) -> list[str]:
    """Return the distinct columns that a template names, in order."""
    names = (name for _, name, _, _ in Formatter().parse(template) if name)
    return list(dict.fromkeys(names))


def _written(dataset: Dataset, template: str) -> Dataset:
    """Add the column of a template; a cell is missing where one that it needs is."""
    used = template_columns(template)

    def write(*cells: list[Any]) -> dict[str, list[str | None]]:
        rows = [dict(zip(used, row, strict=True)) for row in zip(*cells, strict=True)]
        return {template: [None if None in r.values() else template.format_map(r) for r in rows]}

    known = dataset._fingerprint  # the written column depends on the rows and the template alone
    fingerprint = digest([known, template])
    return dataset.map(write, batched=True, input_columns=used, new_fingerprint=fingerprint)


def _must_exist(task: Task, part: str, dataset: Dataset, column: str, asked: str) -> None:
    if column not in dataset.column_names:
        raise InputError(
            f"task {task.name!r}, {part}: {asked} names the column {column!r}, which is not there; "
            f"the data has {dataset.column_names}{nearest(column, dataset.column_names)}. "
            "Map it under `columns`."
        )
