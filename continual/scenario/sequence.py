"""A scenario: tasks in their order, the setting, and the probes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, overload

from continual.errors import InputError, unknown
from continual.scenario.checks import order_problems, scenario_problems
from continual.scenario.frozen import FrozenMapping, digest, freeze
from continual.scenario.labels import competing, label_problems, labels_of, natural
from continual.scenario.orders import seeded
from continual.scenario.probe import Probe
from continual.scenario.problems import Problem, name_problems, refuse
from continual.scenario.sources import RowsSource
from continual.scenario.task import Task
from continual.scenario.values import PROMPT, Candidates, Experience, Kind, Limit, Setting


@dataclass(frozen=True, kw_only=True)
class Scenario(Sequence[Experience]):
    """A sequence of experiences, as a value.

    `scenario[i]` is an experience and `scenario[:k]` the scenario of its first k tasks, with the
    same name, setting and probes. In the task-incremental setting every task has labels of its
    own; in the domain-incremental all share one set; in the class-incremental the set grows.

    Args:
        name: also a file name.
        tasks: the tasks, in order; their names and those of the probes differ.
        setting: task-incremental, domain-incremental or class-incremental.
        probes: held-out text that is never trained on.
        description: what a reader should know.
        defaults: backbone, train, method and evaluation settings that suit it; not read here.
        orders: named permutations of the task names, for `permuted`.
        data: the folder that `with_data` took the data from, or "".

    Raises:
        InputError: listing everything that is wrong, not the first thing only.
    """

    name: str
    tasks: tuple[Task, ...]
    setting: Setting = "task-incremental"
    probes: tuple[Probe, ...] = ()
    description: str = ""
    defaults: Mapping[str, Any] = field(default=FrozenMapping())
    orders: Mapping[str, tuple[str, ...]] = field(default=FrozenMapping())
    data: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for name in ("tasks", "probes"):
            object.__setattr__(self, name, tuple(self.__dict__[name]))
        for name in ("defaults", "orders"):
            object.__setattr__(self, name, freeze(self.__dict__[name]))
        problems = name_problems("name", self.name)
        names = [task.name for task in self.tasks]
        problems += scenario_problems(self.setting, names, [probe.name for probe in self.probes])
        problems += label_problems(self.tasks, self.setting)
        for order, permutation in self.orders.items():
            problems += order_problems(f"orders.{order}", permutation, names)
        if not self.tasks:
            problems.append(Problem(path="tasks", given="none", allowed="one task or more"))
        refuse(f"scenario {self.name!r}", problems)

    def __len__(self) -> int:
        """Return the number of experiences."""
        return len(self.tasks)

    @overload
    def __getitem__(self, index: int) -> Experience: ...
    @overload
    def __getitem__(self, index: slice) -> Scenario: ...
    def __getitem__(self, index: int | slice) -> Experience | Scenario:
        """Return one experience, or the scenario of a slice of the tasks.

        Raises:
            IndexError: there is no such experience.
            InputError: the slice is empty.
        """
        if isinstance(index, slice):
            return replace(self, tasks=self.tasks[index], orders={})
        position = range(len(self))[index]
        task, before = self.tasks[position], self.tasks[:position]
        alone = self.setting == "task-incremental"
        earlier = set() if alone else {name for other in before for name in other.class_names}
        new = tuple(name for name in task.class_names if name not in earlier)
        return Experience(index=position, task=task, new_labels=new)

    def __iter__(self) -> Iterator[Experience]:
        """Yield the experiences in order; each iteration starts at the first."""
        return (self[position] for position in range(len(self)))

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of the definition: setting, tasks and probes in order."""
        parts = [[task.digest for task in self.tasks], [probe.digest for probe in self.probes]]
        return digest([self.name, self.setting, *parts])

    def permuted(self, order: Sequence[int] | Sequence[str]) -> Scenario:
        """Return the same tasks in another order: positions, task names, or the name of an order.

        Raises:
            InputError: it is not a permutation of the tasks, or there is no order of that name.
        """
        names = [task.name for task in self.tasks]
        if isinstance(order, str) and order not in self.orders:
            raise unknown("order", order, self.orders)
        order = self.orders[order] if isinstance(order, str) else order
        if any(type(item) is int and not 0 <= item < len(names) for item in order):
            raise InputError(f"an order has positions 0 to {len(names) - 1}; got {list(order)}.")
        chosen = [names[item] if isinstance(item, int) else item for item in order]
        refuse("order", order_problems("", chosen, names))
        return replace(self, tasks=tuple(self.tasks[names.index(name)] for name in chosen))

    def shuffled(self, seed: int) -> Scenario:
        """Return the tasks in the order of a seed; their present order does not enter it."""
        return self.permuted(seeded([task.name for task in self.tasks], seed))

    def candidates(self, after: int, task: int) -> Candidates | None:
        """Return the labels that compete when `task` is scored after experience `after`.

        Args:
            after: the last experience trained, -1 before any.
            task: position of the scored task.

        Returns:
            None in the class-incremental setting where a class of the task has not been seen yet.

        Raises:
            InputError: there is no such experience.
        """
        if not -1 <= after < len(self) or not 0 <= task < len(self):
            raise InputError(
                f"candidates(after={after}, task={task}): {self.name!r} has experiences "
                f"0 to {len(self) - 1}; after may also be -1."
            )
        seen = self.tasks[: after + 1] if self.setting == "class-incremental" else self.tasks
        return competing(self.setting, seen, self.tasks[task])

    @classmethod
    def from_lists(
        cls,
        name: str,
        tasks: Sequence[tuple[str, Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]],
        *,
        setting: Setting = "task-incremental",
        kind: Kind = "text-classification",
        labels: Sequence[str] | None = None,
        verbalizers: Sequence[str] = (),
        columns: Mapping[str, str] = FrozenMapping(),
        prompt: str = PROMPT,
        score: str = "",
        limit: Limit | None = None,
        validation_fraction: float = 0.1,
        probes: Sequence[Probe] = (),
        description: str = "",
        defaults: Mapping[str, Any] = FrozenMapping(),
    ) -> Scenario:
        """Build a scenario from rows in memory: `[(task name, train rows, test rows), …]`.

        Rows are mappings from column to value. Where `labels` is left out, the labels of a task
        are those of its rows, sorted; of all tasks in the domain-incremental setting.

        >>> rows = [{"text": "1 + 1", "label": "sum"}, {"text": "2 - 1", "label": "difference"}]
        >>> scenario = Scenario.from_lists("arithmetic", [("signs", rows, rows)])
        >>> scenario[0].new_labels
        ('difference', 'sum')

        Raises:
            InputError: as `Task` and `Scenario` do.
        """
        column = columns.get("label", "label")
        found = [labels_of(kind, column, [*train, *test]) for _, train, test in tasks]
        if setting == "domain-incremental":
            union = sorted({word for words in found for word in words}, key=natural)
            found = [tuple(union)] * len(found)
        return cls(
            name=name,
            tasks=tuple(
                Task(
                    name=task,
                    kind=kind,
                    train=RowsSource(rows=train),
                    test=RowsSource(rows=test),
                    columns=columns,
                    labels=own if labels is None else tuple(labels),
                    verbalizers=tuple(verbalizers),
                    prompt=prompt,
                    score=score,
                    limit=limit or Limit(),
                    validation_fraction=validation_fraction,
                )
                for (task, train, test), own in zip(tasks, found, strict=True)
            ),
            setting=setting,
            probes=tuple(probes),
            description=description,
            defaults=defaults,
        )
