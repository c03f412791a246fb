"""A scenario as an Avalanche benchmark, for those who want to train with Avalanche's strategies.

    image-classification   items (image (3 or 1, H, W) float32 in [0, 1], class id, task label),
                           as Avalanche's own templates expect
    text kinds             items that are dicts of strings and numbers: id, text (the rendered
                           prompt), target, and label where there are classes; batches are dicts of
                           lists, for a template that tokenizes

    setting             class ids                                   task labels
    task-incremental    of the task's own classes                     its index
    domain-incremental  of the shared classes                         0
    class-incremental   over all tasks, by first appearance           0

Streams are "train", "validation" (where every task has one) and "test"; examples and their order
are those of our own runs. Probes have no counterpart and are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from continual._torchvision import ensure_torchvision
from continual.errors import InputError
from continual.scenario import Example, Scenario, Split, Task

if TYPE_CHECKING:
    from avalanche.benchmarks import CLScenario

IMAGE = "image-classification"


def to_benchmark(scenario: Scenario) -> CLScenario:
    """Return a scenario as an Avalanche benchmark with one experience per task.

    Args:
        scenario: any of ours; all its tasks show images, or all of them text.

    Raises:
        InputError: images and text in one scenario.
    """
    ensure_torchvision()
    from avalanche.benchmarks import benchmark_from_datasets, with_task_labels

    kinds = {task.kind for task in scenario.tasks}
    if IMAGE in kinds and len(kinds) > 1:
        raise InputError(
            f"an Avalanche benchmark has one form of items; {scenario.name!r} has {sorted(kinds)}. "
            "Make one benchmark of the image tasks and one of the others."
        )
    streams: dict[str, list[Any]] = {"train": [], "validation": [], "test": []}
    for experience in scenario:
        data = experience.task.load()
        own = scenario.setting == "task-incremental"
        ids = _class_ids([experience.task] if own else scenario.tasks)
        number = experience.index if own else 0
        for name, split in (
            ("train", data.train),
            ("validation", data.validation),
            ("test", data.test),
        ):
            if len(split):
                streams[name].append(_dataset(experience.task, split, ids, number))
    if len(streams["validation"]) < len(scenario):
        del streams["validation"]
    benchmark: Any = with_task_labels(benchmark_from_datasets(**streams))
    return benchmark


class Items:
    """A split as the sequence of items that Avalanche reads; pictures are read when asked for."""

    def __init__(self, task: Task, split: Split, labels: Sequence[int]) -> None:
        """Keep the split and the class id of each of its examples."""
        self._task, self._split, self._labels = task, split, labels

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self._split)

    def __getitem__(self, index: int) -> Any:
        """Return one item, see the module's docstring."""
        example = self._split[int(index)]
        if self._task.kind == IMAGE:
            return _picture(example), self._labels[int(index)]
        item = {"id": example.id, "text": self._task.render(example), "target": example.target}
        return item | ({"label": self._labels[int(index)]} if self._labels else {})


def list_collate(items: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the batch of dict items as one dict of lists."""
    return {key: [item[key] for item in items] for key in items[0]}


def _class_ids(tasks: Sequence[Task]) -> dict[str, int]:
    """Class name to id over these tasks, in order of first appearance."""
    names = [name for task in tasks for name in task.class_names]
    return {name: position for position, name in enumerate(dict.fromkeys(names))}


def _dataset(task: Task, split: Split, ids: Mapping[str, int], number: int) -> Any:
    from avalanche.benchmarks.utils import (
        AvalancheDataset,
        DataAttribute,
        TaskAwareSupervisedClassificationDataset,
        TaskLabels,
    )
    from avalanche.benchmarks.utils.utils import ConstantSequence

    known = "label" in split.columns
    labels: Any = [ids[task.labels[i]] for i in split.column("label")] if known else []
    items, attributes = Items(task, split, labels), []
    if labels:
        attributes.append(DataAttribute(labels, "targets"))
    attributes.append(TaskLabels(ConstantSequence(number, len(split))))
    # With classes it must know its tasks' subsets, which distillation and others ask for.
    kind: Any = TaskAwareSupervisedClassificationDataset if labels else AvalancheDataset
    collate = None if task.kind == IMAGE else list_collate
    return kind([items], data_attributes=attributes, collate_fn=collate)


def _picture(example: Example) -> Any:
    import torch

    assert example.image is not None
    pixels = np.atleast_3d(example.image)
    return torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C"))
