"""From what a row says about its label to the name that the task has for it.

a ClassLabel of datasets      its name there
`label_names`                 translates the data's names to the task's
a whole number                a position in the task's labels, unless one of them is a number
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from continual.errors import InputError, nearest
from continual.scenario.task import Task

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True, kw_only=True)
class LabelReader:
    """Reads the label column of one source.

    `names` are the class names of the source itself, where it has them; `known` translates what
    is written in the data.
    """

    names: Sequence[str] | None
    known: Mapping[str, str]

    @classmethod
    def of(cls, task: Task, dataset: Dataset, column: str) -> LabelReader:
        """Return the reader of a task's labels in a column of its data."""
        from datasets import ClassLabel

        feature = dataset.features[column]
        known = {name: name for name in task.labels}
        if not any(_is_whole(name) for name in task.labels):
            known |= {str(i): name for i, name in enumerate(task.labels)}
        names = feature.names if isinstance(feature, ClassLabel) else None
        return cls(names=names, known=known | dict(task.label_names))

    def read(self, value: Any) -> str:
        """Return the task's name of a label, or what is written where there is none."""
        if self.names is not None and isinstance(value, int):
            written = self.names[value] if 0 <= value < len(self.names) else str(value)
        elif isinstance(value, float) and value.is_integer():
            written = str(int(value))  # 3.0 is what a table with gaps makes of 3
        else:
            written = str(value)
        return self.known.get(written, written)


def label_indices(task: Task, part: str, labels: Sequence[str]) -> np.ndarray:
    """Return the positions in `task.labels`, (rows,) int64.

    Raises:
        InputError: counting the labels that the task does not have.
    """
    positions = {name: i for i, name in enumerate(task.labels)}
    unknown = Counter(label for label in labels if label not in positions)
    if unknown:
        counts = ", ".join(f"{name!r} ({count} rows)" for name, count in unknown.most_common(10))
        more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
        raise InputError(
            f"task {task.name!r}, {part}: labels in the data are not in the list: {counts}{more}; "
            f"allowed: {list(task.labels)}{nearest(next(iter(unknown)), task.labels)}. "
            "Add them to `labels`, translate them with `label_names`, or keep a part of the labels "
            "with `classes`."
        )
    return np.array([positions[label] for label in labels], dtype=np.int64)


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdigit()
