"""From sources to the three splits of a task: filter, carve, limit, check.

    use a row        where its label is one of the task's classes
    validation       the rows with the smallest salted hash of their input, where none is given
    limit            the rows with the smallest hash of their content

Every choice looks at the content of one row at a time, so it survives reordering of the data.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, Shaped

from continual.errors import InputError
from continual.scenario.frozen import FrozenMapping, digest
from continual.scenario.reading import quiet, read
from continual.scenario.rows import Table, blank_texts, scan
from continual.scenario.split import Answers, Split
from continual.scenario.task import Task, TaskData

if TYPE_CHECKING:
    from continual.scenario.sources import Source

logger = logging.getLogger("continual.scenario")


@lru_cache(maxsize=64)
def load_task(task: Task, states: tuple[str, ...]) -> TaskData:
    """Return the data of a task; `states` changes when a file of it does.

    Raises:
        InputError: a source, a column, a label or a split is not what the task says.
    """
    versions: dict[str, str] = {}
    with quiet():
        train = _table(task, "train", task.train, versions)
        test = _table(task, "test", task.test, versions)
        if task.validation is not None:
            validation = _table(task, "validation", task.validation, versions)
        else:
            train, validation = _carve(task, train)
        tables = {
            "train": _limited(train, task.limit.train),
            "validation": _limited(validation, _validation_limit(task)),
            "test": _limited(test, task.limit.test),
        }
        warnings = _warnings(task, tables)
        splits = {part: _split(task, table) for part, table in tables.items()}
        fingerprint = digest({part: split.fingerprint for part, split in splits.items()})
    for warning in warnings:
        logger.warning("task %s: %s", task.name, warning)
    return TaskData(
        **splits, fingerprint=fingerprint, versions=FrozenMapping(versions), warnings=warnings
    )


def smallest(
    keys: Shaped[np.ndarray, " rows"], count: int, *, together: bool = False
) -> Int[np.ndarray, " chosen"]:
    """Return the rows of the `count` smallest keys, in row order.

    Args:
        keys: (rows,) any order.
        count: how many; all where there are fewer.
        together: take every row whose key equals the last one taken.
    """
    if count >= len(keys):
        return np.arange(len(keys))
    order = np.argsort(keys, kind="stable")[:count]
    if together and count:
        return np.flatnonzero(keys <= keys[order[-1]])
    return np.sort(order)


def _table(task: Task, part: str, source: Source, versions: dict[str, str]) -> Table:
    dataset, known = read(source)
    versions.update(known)
    table = scan(task, part, dataset)
    if task.classes is None or table.labels is None:
        return table
    wanted = [task.labels.index(name) for name in task.classes]
    counts = Counter(table.labels.tolist())
    if absent := [task.labels[i] for i in wanted if not counts[i]]:
        raise InputError(
            f"task {task.name!r}, {part}: no rows with label {', '.join(map(repr, absent))} in "
            f"{source.describe()}; it has {[task.labels[i] for i in sorted(counts)]}. "
            "Change `classes`, or give data that has them."
        )
    return table.take(np.flatnonzero(np.isin(table.labels, wanted)))


def _carve(task: Task, train: Table) -> tuple[Table, Table]:
    """Take a share of the inputs, repeated inputs together, out of the training rows."""
    salted = _salted(train.inputs)
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


def _salted(hashes: np.ndarray) -> np.ndarray:
    """Hash hashes once more, so that validation and limit choose independently."""
    values = [
        int.from_bytes(hashlib.blake2b(h.tobytes(), digest_size=8, salt=b"valid").digest(), "big")
        for h in hashes.astype(">u8")
    ]
    return np.array(values, dtype=np.uint64)


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
        if blank := blank_texts(table):
            found.append(f"{blank} of {total} {part} texts are empty.")
        if table.ids is not None and total > (kept := len(set(table.ids))):
            found.append(f"{total - kept} of {total} {part} ids repeat; they got a suffix.")
    for first, second in (("train", "test"), ("train", "validation"), ("validation", "test")):
        inputs = tables[second].inputs
        if shared := int(np.isin(inputs, tables[first].inputs).sum()):
            found.append(f"{shared} of {len(inputs)} {second} inputs are also in {first}.")
    return tuple(found)


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
