"""The mean loss on the validation split of what an experience learns: nobody else's examples."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from continual.backbone.base import Backbone, Encoded
from continual.backbone.memory import BatchSize
from continual.backbone.passes import evaluating
from continual.errors import InputError
from continual.processes import ALONE, Processes
from continual.training.lesson import Course, Lesson


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The validation splits of an experience's lessons, encoded once.

    Attributes:
        backbone: what is asked.
        parts: every lesson with the validation split of its task.
        batch_size: examples that one process takes at a time.
        at_once: how many of them go through the model together, as in a step.
        processes: those that share it.
    """

    backbone: Backbone
    parts: Sequence[tuple[Lesson, Encoded]]
    batch_size: int
    at_once: BatchSize
    processes: Processes = ALONE

    @classmethod
    def of(
        cls,
        backbone: Backbone,
        course: Course,
        at_once: BatchSize,
        processes: Processes = ALONE,
    ) -> "Validation":
        """Encode the validation splits of a course.

        Raises:
            InputError: a task has none.
        """
        parts = []
        for lesson in course.lessons:
            split = lesson.task.load().validation
            if len(split) == 0:
                raise InputError(
                    f"task {lesson.task.name!r} has no validation split, by which early stopping "
                    "and searches judge. Give it a `validation` source or a validation_fraction."
                )
            parts.append((lesson, backbone.encode(lesson.task, split)))
        return cls(
            backbone=backbone,
            parts=parts,
            batch_size=course.batch_size,
            at_once=at_once,
            processes=processes,
        )

    def nats(self, between: Callable[[], None] = lambda: None) -> float:
        """Return the mean loss as the model answers now, in nats per token or example.

        Args:
            between: called before every batch; may raise, and the model is as it was.

        Raises:
            InputError: not even one example fits in memory.
        """

        def own(size: int) -> tuple[float, int]:
            total, count = 0.0, 0
            for lesson, encoded in self.parts:
                for rows in self._turns(len(encoded), size):
                    between()
                    batch = encoded.batch(rows)
                    nats, part = self.backbone.loss(batch, lesson.candidates, lesson.current_only)
                    total, count = total + float(nats), count + part
            return total, count

        sharded = self.backbone.sharded
        with evaluating(self.backbone):
            total, count = (self.at_once.run_in_step if sharded else self.at_once.run)(own)
        everyone = [[total, count]] if sharded else self.processes.gather([total, count])
        return math.fsum(one[0] for one in everyone) / sum(one[1] for one in everyone)

    def _turns(self, count: int, size: int) -> Iterator[range]:
        """Yield what goes through the model together here; who takes what does not depend on it."""
        starts = range(0, count, self.batch_size)
        for k in starts if self.backbone.sharded else self.processes.mine(starts):
            end = min(k + self.batch_size, count)
            yield from (range(j, min(j + size, end)) for j in range(k, end, size))
