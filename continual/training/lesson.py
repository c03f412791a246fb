"""What is learned in one experience: its lessons, in which order, and what is learned beside them.

Usually there is one lesson, the experience's own task. With ``train.joint`` the last experience has
a lesson for every task, whose batches come in a random order; with rehearsal every step has, beside
its own batch, some of the kept examples of earlier tasks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from continual.adapters.adaptation import Adaptation
from continual.backbone.base import Backbone, Encoded
from continual.backbone.passes import evaluating
from continual.scenario import Candidates, Experience, Scenario, Task
from continual.training.config import TrainConfig
from continual.training.order import Plan, batch_indices, plan
from continual.training.rehearsal import Memory

JOINT = 4  # purpose of a random stream


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Examples of one task, made ready.

    Attributes:
        index: position of the task.
        task: what is learned.
        encoded: its training split, or the kept part of it.
        candidates: the classes that compete; None for a class-incremental task not yet begun.
        current_only: whether only the task's own classes do.
    """

    index: int
    task: Task
    encoded: Encoded
    candidates: Candidates | None
    current_only: bool


@dataclass(frozen=True, kw_only=True)
class Portion:
    """The part of an optimiser step that comes from one lesson."""

    lesson: Lesson
    chosen: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Course:
    """All optimiser steps of one experience.

    Attributes:
        experience: its index.
        lessons: what is learned.
        plans: the steps of each lesson.
        kept: what is learned again.
        memory: where that comes from.
        seed: of every order.
        batch_size: examples of a step, without those that are learned again.
    """

    experience: int
    lessons: Sequence[Lesson]
    plans: Sequence[Plan]
    kept: Sequence[Lesson]
    memory: Memory
    seed: int
    batch_size: int

    @property
    def steps(self) -> int:
        """How many optimiser steps the experience has."""
        return sum(plan.steps for plan in self.plans)

    def portions(self, step: int) -> list[Portion]:
        """Return what one optimiser step learns."""
        which, own = self._turn(step)
        lesson = self.lessons[which]
        chosen = batch_indices(self.plans[which], self.seed, lesson.index, own)
        return [Portion(lesson=lesson, chosen=chosen), *self._again(step)]

    def _turn(self, step: int) -> tuple[int, int]:
        """Return the lesson of a step, and how many steps that lesson had before."""
        if len(self.lessons) == 1:
            return 0, step
        turns = np.repeat(np.arange(len(self.lessons)), [plan.steps for plan in self.plans])
        order = np.random.default_rng([self.seed, self.experience, 0, JOINT]).permutation(turns)
        return int(order[step]), int((order[:step] == order[step]).sum())

    def _again(self, step: int) -> list[Portion]:
        ends = np.cumsum([len(lesson.encoded) for lesson in self.kept], dtype=np.int64)
        if len(ends) == 0:
            return []
        drawn = self.memory.drawn(int(ends[-1]), self.experience, step, self.batch_size)
        owners = np.searchsorted(ends, drawn, side="right")
        places = drawn - np.concatenate([[0], ends])[owners]
        return [
            Portion(lesson=self.kept[owner], chosen=places[owners == owner])
            for owner in np.unique(owners)
        ]


def prepare(
    scenario: Scenario,
    backbone: Backbone,
    config: TrainConfig,
    memory: Memory,
    experience: Experience,
    seed: int,
) -> Course:
    """Encode what an experience learns."""
    i = experience.index
    local = config.class_loss == "current" and not config.joint
    learned = range(len(scenario)) if config.joint else [i]
    lessons = [
        Lesson(
            index=j,
            task=scenario[j].task,
            encoded=backbone.encode(scenario[j].task, scenario[j].task.load().train),
            candidates=scenario.candidates(i, j),
            current_only=local,
        )
        for j in learned
    ]
    kept = [
        Lesson(
            index=j,
            task=scenario[j].task,
            encoded=backbone.encode(scenario[j].task, scenario[j].task.load().train.select(rows)),
            candidates=scenario.candidates(i, j),
            current_only=False,
        )
        for j, rows in memory.rows().items()
    ]
    return Course(
        experience=i,
        lessons=lessons,
        plans=[plan(lesson.encoded.lengths, config) for lesson in lessons],
        kept=kept,
        memory=memory,
        seed=seed,
        batch_size=config.batch_size,
    )


def look(backbone: Backbone, adaptation: Adaptation, course: Course) -> None:
    """Show the adapters inputs of the first steps' own examples; nothing learns."""
    seen, step = 0, 0
    with adaptation.looking(), evaluating(backbone):
        while seen < adaptation.looks_at and step < course.steps:
            own = course.portions(step)[0]
            batch = own.lesson.encoded.batch(own.chosen)
            backbone.loss(batch, own.lesson.candidates, own.lesson.current_only)
            seen, step = seen + len(own.chosen), step + 1
