"""Experience replay: a few examples of earlier tasks, kept and learned again.

Every optimiser step learns its own batch and, beside it, ``per_step`` examples drawn without
replacement from those that are kept; all of them weigh the same in the step's loss. What is kept
changes at the end of an experience only, and what is drawn depends on (seed, experience, step).

reservoir       every example seen so far is kept with the same probability (Vitter 1985,
                algorithm R; Chaudhry et al. 2019, arXiv:1902.10486, section 4.1)
class-balanced  as many of each (task, class) as the size allows; the classes with the most make
                room for new ones (Prabhu et al. 2020, GDumb)

In the class-incremental setting kept examples compete with all classes seen, whatever
``train.class_loss`` says of the new ones: local classes alone would never tell tasks apart.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from continual.training.config import RehearsalConfig

ADMIT, DRAW = 1, 2  # purposes of a random stream, the fourth part of its key


class Kept(NamedTuple):
    """A kept example: position of its task, row of the training split, its class there (or 0)."""

    task: int
    row: int
    label: int


class Memory:
    """Which examples are kept: a function of (seed, tasks finished)."""

    def __init__(self, config: RehearsalConfig, seed: int) -> None:
        """Begin empty."""
        self.config, self.seed = config, seed
        self.kept: list[Kept] = []
        self.seen = 0

    def admit(self, task: int, labels: Sequence[int]) -> None:
        """Let the training split of a finished task in; ``labels`` has one number per example."""
        if self.config.size == 0:
            return
        rng = np.random.default_rng([self.seed, task, 0, ADMIT])
        arriving = [Kept(task, int(row), labels[row]) for row in rng.permutation(len(labels))]
        if self.config.policy == "reservoir":
            self._sample(rng, arriving)
        else:
            self._balance(rng, arriving)
        self.seen += len(labels)

    def drawn(self, items: int, experience: int, step: int, batch_size: int) -> np.ndarray:
        """Return which of so many kept items one optimiser step learns again, in rising order."""
        count = min(self.config.per_step or batch_size, items)
        rng = np.random.default_rng([self.seed, experience, step, DRAW])
        return np.sort(rng.choice(items, count, replace=False))

    def rows(self) -> dict[int, list[int]]:
        """Return the kept rows of every task, both in rising order."""
        tasks = sorted({one.task for one in self.kept})
        return {task: sorted(one.row for one in self.kept if one.task == task) for task in tasks}

    def facts(self, ids: Mapping[int, Sequence[str]]) -> dict[str, Any]:
        """Return what a checkpoint keeps; ``ids`` names the training examples of kept tasks."""
        named = [{**one._asdict(), "id": ids[one.task][one.row]} for one in self.kept]
        return {"seen": self.seen, "kept": named}

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Become the memory whose ``facts`` were saved."""
        self.kept = [Kept(one["task"], one["row"], one["label"]) for one in facts["kept"]]
        self.seen = facts["seen"]

    def _sample(self, rng: np.random.Generator, arriving: Sequence[Kept]) -> None:
        for place, example in enumerate(arriving, self.seen):
            if len(self.kept) < self.config.size:
                self.kept.append(example)
                continue
            slot = int(rng.integers(place + 1))
            if slot < self.config.size:
                self.kept[slot] = example

    def _balance(self, rng: np.random.Generator, arriving: Sequence[Kept]) -> None:
        groups: dict[tuple[int, int], list[Kept]] = {}
        for one in [*self.kept, *arriving]:
            groups.setdefault((one.task, one.label), []).append(one)
        size, counts = self.config.size, [len(group) for group in groups.values()]
        level = next(k for k in range(size, -1, -1) if sum(min(c, k) for c in counts) <= size)
        spare = size - sum(min(count, level) for count in counts)
        crowded = [group for group, members in groups.items() if len(members) > level]
        lucky = {crowded[k] for k in rng.permutation(len(crowded))[:spare]}
        self.kept = [
            one for group, members in groups.items() for one in members[: level + (group in lucky)]
        ]
