"""From sources to the three splits of a task: filter, carve, limit, check.

    use a row        where its label is one of the task's classes
    share            a part of each class in the order of salted hashes, where a source has one
    validation       the rows with the smallest salted hash of their input, where none is given
    limit            the rows with the smallest hash of their content

Every choice looks at the content of rows alone, so it survives reordering of the data.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from continual.errors import InputError
from continual.scenario.choosing import inside, salted_again, smallest
from continual.scenario.frozen import FrozenMapping, digest
from continual.scenario.reading import quiet, read
from continual.scenario.rows import Table, blank_texts, scan
from continual.scenario.sources import FileSource, HubSource
from continual.scenario.split import Answers, Split
from continual.scenario.task import Task, TaskData
from continual.scenario.values import Limit

if TYPE_CHECKING:
    from continual.scenario.sources import Source

SHOWN = 5  # classes that a warning names

logger = logging.getLogger("continual.scenario")


@lru_cache(maxsize=64)
def load_task(task: Task, states: tuple[str, ...]) -> TaskData:
    """Return the data of a task; `states` changes when a file of it does.

    Raises:
        InputError: a source, a column, a label or a split is not what the task says.
    """
    versions: dict[str, str] = {}
    with quiet():
        tables = _before_test(task, versions)
        test = _table(task, "test", task.test, versions)
        tables["test"] = _limited(test, task.limit.test)
        warnings = _warnings(task, tables)
        splits = {part: _split(task, table) for part, table in tables.items()}
        fingerprint = digest({part: split.fingerprint for part, split in splits.items()})
    for warning in warnings:
        logger.warning("task %s: %s", task.name, warning)
    return TaskData(
        **splits, fingerprint=fingerprint, versions=FrozenMapping(versions), warnings=warnings
    )


def load_before_test(task: Task) -> tuple[Split, Split]:
    """Return the training and the validation split of a task; its test source is not read.

    Raises:
        InputError: as for ``load_task``.
    """
    with quiet():
        tables = _before_test(task, {})
        return _split(task, tables["train"]), _split(task, tables["validation"])


def _before_test(task: Task, versions: dict[str, str]) -> dict[str, Table]:
    """Return what is learned from and what judges meanwhile, as tables."""
    train = _table(task, "train", task.train, versions)
    if task.validation is not None:
        validation = _table(task, "validation", task.validation, versions)
    else:
        train, validation = _carve(task, train)
    return {
        "train": _limited(train, task.limit.train),
        "validation": _limited(validation, _validation_limit(task)),
    }


@dataclass(frozen=True)
class _Asked:
    """A source to be scanned for a task; equal for the tasks that a data set is split into.

    `like` is what a scan depends on: the task without its name, classes and choice of rows.
    """

    like: Task
    part: str
    state: str
    task: Task = field(compare=False)


@lru_cache(maxsize=4)
def _scanned(asked: _Asked) -> tuple[Table, Mapping[str, str]]:
    source = asked.like.train
    dataset, versions = read(source)
    table = scan(asked.task, asked.part, dataset)
    if isinstance(source, HubSource | FileSource) and source.share is not None:
        table = table.take(inside(table.inputs, source.share, table.labels))
        if not len(table.inputs):
            raise InputError(f"{source.describe()} has no rows in that share; make it wider.")
    return table, versions


def _table(task: Task, part: str, source: Source, versions: dict[str, str]) -> Table:
    like = replace(
        task,
        name="any",
        train=source,
        test=source,
        validation=None,
        limit=Limit(),
        validation_fraction=0.0,
        classes=None,
    )
    table, known = _scanned(_Asked(like=like, part=part, state=source.state(), task=task))
    versions.update(known)
    if task.classes is None or table.labels is None:
        return table
    wanted = [task.labels.index(name) for name in task.classes]
    counts = Counter(table.labels.tolist())
    absent = [task.labels[i] for i in wanted if not counts[i]]
    # a small split may lack a class, as one carved out of train may; then a warning says so
    if absent and (part == "train" or len(absent) == len(wanted)):
        raise InputError(
            f"task {task.name!r}, {part}: no rows with label {', '.join(map(repr, absent))} in "
            f"{source.describe()}; it has {[task.labels[i] for i in sorted(counts)]}. "
            "Change `classes`, or give data that has them."
        )
    return table.take(np.flatnonzero(np.isin(table.labels, wanted)))


def _carve(task: Task, train: Table) -> tuple[Table, Table]:
    """Take a share of the inputs, repeated inputs together, out of the training rows."""
    salted = salted_again(train.inputs, b"valid")
    count = round(len(salted) * task.validation_fraction)
    if task.validation_fraction and not count:
        count = 1
    taken = smallest(salted, count, together=True)
    kept = np.setdiff1d(np.arange(len(salted)), taken)
    if not len(kept):
        raise InputError(
            f"task {task.name!r}: nothing is left of {len(salted)} training rows after "
            f"{len(taken)} went to validation. Give more distinct rows, a `validation` source, or "
            "validation_fraction: 0."
        )
    return train.take(kept), replace(train.take(taken), part="validation")


def _validation_limit(task: Task) -> int | None:
    if task.limit.validation is not None or task.validation is not None or not task.limit.train:
        return task.limit.validation
    return max(1, round(task.limit.train * task.validation_fraction))


def _limited(table: Table, limit: int | None) -> Table:
    if limit is None or limit >= len(table.hashes):
        return table
    return table.take(smallest(table.hashes, limit))


def _warnings(task: Task, tables: Mapping[str, Table]) -> tuple[str, ...]:
    found = []
    for part, table in tables.items():
        total, distinct = len(table.inputs), len(set(table.inputs.tolist()))
        if total > distinct:
            found.append(f"{total - distinct} of {total} {part} inputs repeat an earlier one.")
        if part == "test" and (absent := _absent(task, table)):
            found.append(f"no test example of {len(absent)} classes: {', '.join(absent[:SHOWN])}.")
        if blank := blank_texts(table):
            found.append(f"{blank} of {total} {part} texts are empty.")
        if table.ids is not None and total > (kept := len(set(table.ids))):
            found.append(f"{total - kept} of {total} {part} ids repeat; they got a suffix.")
    for first, second in (("train", "test"), ("train", "validation"), ("validation", "test")):
        inputs = tables[second].inputs
        if shared := int(np.isin(inputs, tables[first].inputs).sum()):
            found.append(f"{shared} of {len(inputs)} {second} inputs are also in {first}.")
    return tuple(found)


def _absent(task: Task, table: Table) -> list[str]:
    """Return the classes of a task that a split has no example of."""
    if table.labels is None:
        return []
    there = set(table.labels.tolist())
    return [name for name in task.class_names if task.labels.index(name) not in there]


def _split(task: Task, table: Table) -> Split:
    ids = table.ids or tuple(f"{value:016x}" for value in table.hashes.tolist())
    return Split(
        table.dataset,
        columns=table.columns,
        fields=table.fields,
        ids=_distinct(ids),
        hashes=table.hashes,
        labels=table.labels,
        answers=Answers(labels=task.labels, verbalizers=task.verbalizers),
    )


def _distinct(ids: tuple[str, ...]) -> list[str]:
    """Give the second, third, … use of an id the suffix -2, -3, …."""
    taken, seen = set(ids), Counter[str]()
    result = []
    for name in ids:
        seen[name] += 1
        unique = name
        while seen[name] > 1 and unique in taken:
            unique = f"{name}-{seen[name]}"
            seen[name] += unique in taken
        taken.add(unique)
        result.append(unique)
    return result
