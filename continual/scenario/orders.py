"""Orders of tasks and classes: seeded, and the same on every machine and every version.

    order(seed) = the names sorted by blake2b("seed:name")

A seeded order depends on the seed and the names, not on a random generator's stream.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from continual.errors import InputError
from continual.scenario.checks import order_problems
from continual.scenario.problems import refuse
from continual.scenario.task import Task, is_classification


def seeded(names: Sequence[str], seed: int) -> tuple[str, ...]:
    """Return the names in the order of a seed.

    >>> seeded(["a", "b", "c"], 0) == seeded(["c", "b", "a"], 0)
    True
    """
    return tuple(
        sorted(names, key=lambda name: hashlib.blake2b(f"{seed}:{name}".encode()).digest())
    )


def split_by_class(
    task: Task, k: int, *, seed: int | None = None, order: Sequence[str] | None = None
) -> tuple[Task, ...]:
    """Split one labelled task into `k` tasks with disjoint classes.

    The classes are taken in the order of the labels, of `seed`, or as given by `order`, in blocks
    whose sizes differ by one at most, the larger first. The tasks are named `<name>-1` to
    `<name>-<k>`; they keep the data, the label ids and the verbalisers of `task`.

    Raises:
        InputError: the task has no labels, `k` is not between 1 and their number, both `seed` and
            `order` are given, or `order` is not a permutation of the classes.
    """
    names = task.class_names
    if not is_classification(task):
        raise InputError(f"split_by_class needs a task with labels; {task.name!r} is {task.kind}.")
    if not 1 <= k <= len(names):
        raise InputError(
            f"cannot split {len(names)} classes into {k} tasks; allowed: 1 to {len(names)}."
        )
    if seed is not None and order is not None:
        raise InputError("split_by_class takes a seed or an order of the classes, not both.")
    if order is not None:
        refuse("class order", order_problems("order", [str(name) for name in order], names))
        names = tuple(str(name) for name in order)
    elif seed is not None:
        names = seeded(names, seed)
    size, larger = divmod(len(names), k)
    ends = [(i + 1) * size + min(i + 1, larger) for i in range(k)]
    starts = [0, *ends[:-1]]
    return tuple(
        replace(task, name=f"{task.name}-{i + 1}", classes=names[start:end])
        for i, (start, end) in enumerate(zip(starts, ends, strict=True))
    )
