"""What steps have cost, read from a device no more often than somebody wants to know.

To read a number from an accelerator is to wait for all that it has been given to do. So what steps
cost stays there until something is logged, judged or saved, and is then read at once. On a CPU
there is nothing to wait for: every step is read before its update.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from continual.training.lesson import Portion
from continual.training.non_finite import NonFiniteLossError, non_finite

TERMS = ("loss", "penalty", "ewc", "lwf")


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """What one step has cost.

    Attributes:
        experience: in which it was made.
        step: its number there.
        portions: what it has learned from.
        terms: one number per name of ``TERMS``, where the loss was made.
    """

    experience: int
    step: int
    portions: Sequence[Portion]
    terms: Tensor


def reading_waits(numbers: Tensor) -> bool:
    """Say whether reading numbers means to wait for a device."""
    return numbers.device.type != "cpu"


@dataclass
class Losses:
    """What steps have cost since it was last read.

    Attributes:
        waiting: steps that nobody has read.
        last: the terms of the last step that was read.
    """

    waiting: list[StepCost] = field(default_factory=list)
    last: dict[str, float] = field(default_factory=dict)

    def add(self, cost: StepCost) -> None:
        """Take in a step whose update is still to be made.

        Raises:
            NonFiniteLossError: it has cost no finite number; where that is known without waiting.
        """
        self.waiting.append(cost)
        if not reading_waits(cost.terms):
            self.read()

    def read(self) -> dict[str, float]:
        """Return what the last step has cost, by name, after a look at all that nobody has read.

        Raises:
            NonFiniteLossError: of the first step that has cost no finite number.
        """
        steps, self.waiting = self.waiting, []
        rows = torch.stack([one.terms for one in steps]).tolist() if steps else []
        for one, row in zip(steps, rows, strict=True):
            self.last = dict(zip(TERMS, row, strict=True))
            if not math.isfinite(sum(row)):
                raise NonFiniteLossError(
                    non_finite(one.experience, one.step, self.last, one.portions)
                )
        return self.last
