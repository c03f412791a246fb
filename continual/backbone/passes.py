"""Passes over a split: evaluation mode, batches of similar length, what may compete."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import nn

from continual.errors import InputError
from continual.scenario import Candidates, Task

T = TypeVar("T")


class Share(NamedTuple):
    """What one of several processes scores: whole batches, so that results do not change.

    Attributes:
        rank: which process, from 0.
        count: how many there are.
        in_step: all must make equal passes at a time, because each holds a part of the weights;
            what does not come out even is then scored by all.
    """

    rank: int = 0
    count: int = 1
    in_step: bool = False

    def of(self, batches: Sequence[T], even: int) -> list[T]:
        """Return the batches of this share; the first ``even`` of them are of one size."""
        dealt = even // self.count * self.count if self.in_step else len(batches)
        return [*batches[:dealt][self.rank :: self.count], *batches[dealt:]]


WHOLE = Share()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch dropout and gradients off, and restore the mode afterwards."""
    training = {name: module.training for name, module in model.named_modules()}
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for name, module in model.named_modules():
            module.training = training[name]


def by_length(lengths: np.ndarray, batch_size: int, share: Share = WHOLE) -> Iterator[np.ndarray]:
    """Yield batches of indices of similar length, the longest first so that memory fails early.

    Only those of a share, which are the batches that one process would make.

    Raises:
        InputError: a batch size below 1.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1; got {batch_size}.")
    order = np.argsort(-lengths, kind="stable")
    batches = [order[k : k + batch_size] for k in range(0, len(order), batch_size)]
    yield from share.of(batches, len(order) // batch_size)


def scored_task(task: Task, candidates: Candidates | None) -> Candidates:
    """Return the candidates of a classification task, which it cannot be scored without.

    Raises:
        InputError: there are none, so its classes have not been seen yet.
    """
    if candidates is None:
        raise InputError(
            f"task {task.name!r} cannot be scored yet: its classes have not arrived, so there are "
            "no candidates. Leave it out (NaN in R) until they have."
        )
    return candidates
