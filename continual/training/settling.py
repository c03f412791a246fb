"""What follows a step: validation, a checkpoint, evaluation within the experience.

A checkpoint says what its step still owes, so that a run can stop before it is paid. Validation
comes before the checkpoint, which keeps its verdict; evaluation within comes after it, and is made
again where it was left.
"""

from collections.abc import Callable
from dataclasses import dataclass

from continual.errors import StoppedError
from continual.training.early_stop import EarlyStop
from continual.training.step import Learner
from continual.training.validation import Validation

VALIDATION, WITHIN = "validation", "within"


@dataclass(frozen=True, kw_only=True)
class Aftermath:
    """What follows the steps of one experience.

    Attributes:
        experience: which one.
        steps: how many it has.
        per_epoch: of them in each pass over its data.
        validation: what judges it; None: nothing does.
        stop: what the verdicts lead to.
        keep: saves a checkpoint, given the steps made and what is owed.
    """

    experience: int
    steps: int
    per_epoch: int
    validation: Validation | None
    stop: EarlyStop
    keep: Callable[[int, tuple[str, ...]], None]

    def due(self, learner: Learner, done: int) -> tuple[str, ...]:
        """Return what is owed after so many steps."""
        judged = learner.config.early_stop and self.validation and done % self.per_epoch == 0
        within = learner.within and done % learner.within == 0 and done < self.steps
        return (VALIDATION,) * bool(judged) + (WITHIN,) * bool(within)

    def settle(self, learner: Learner, done: int, owed: tuple[str, ...]) -> None:
        """Pay what is owed after so many steps, and save where it is time.

        Raises:
            StoppedError: somebody has asked; a checkpoint says what is still owed.
        """
        learner.halt.agree()
        try:
            learner.halt.check()
            if VALIDATION in owed and self.validation is not None:
                learner.losses.read()
                nats = self.validation.nats(learner.halt.check)
                self.stop.update(nats, learner.adaptation)
                event = {"experience": self.experience, "step": done, "validation_nats": nats}
                learner.log(event)
        except StoppedError:
            self.keep(done, owed)
            raise
        left = tuple(one for one in owed if one != VALIDATION)
        if left or (done % learner.config.checkpoint_steps == 0 and done < self.steps):
            self.keep(done, left)
        if WITHIN in left:
            with learner.halt.release():
                learner.observe_within(self.experience, done)
