"""The mean loss on the validation split of what an experience learns: nobody else's examples."""

from collections.abc import Sequence
from dataclasses import dataclass

from continual.backbone.base import Backbone, Encoded
from continual.backbone.passes import evaluating
from continual.errors import InputError
from continual.training.lesson import Course, Lesson


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The validation splits of an experience's lessons, encoded once.

    Attributes:
        backbone: what is asked.
        parts: every lesson with the validation split of its task.
        batch_size: examples per forward pass.
    """

    backbone: Backbone
    parts: Sequence[tuple[Lesson, Encoded]]
    batch_size: int

    @classmethod
    def of(cls, backbone: Backbone, course: Course) -> "Validation":
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
        return cls(backbone=backbone, parts=parts, batch_size=course.batch_size)

    def nats(self) -> float:
        """Return the mean loss as the model answers now, in nats per token or example."""
        total, count = 0.0, 0
        with evaluating(self.backbone):
            for lesson, encoded in self.parts:
                for k in range(0, len(encoded), self.batch_size):
                    batch = encoded.batch(range(k, min(k + self.batch_size, len(encoded))))
                    nats, part = self.backbone.loss(batch, lesson.candidates, lesson.current_only)
                    total, count = total + float(nats), count + part
        return total / count
