"""Passes over a split: evaluation mode, batches of similar length, what may compete."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from continual.backbone.base import Backbone
from continual.errors import InputError
from continual.scenario import Candidates, Task


@contextmanager
def evaluating(backbone: Backbone) -> Iterator[None]:
    """Switch dropout and gradients off, and restore the mode afterwards."""
    training = {name: module.training for name, module in backbone.named_modules()}
    backbone.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for name, module in backbone.named_modules():
            module.training = training[name]


def by_length(lengths: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Yield batches of indices of similar length, the longest first so that memory fails early.

    Raises:
        InputError: a batch size below 1.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1; got {batch_size}.")
    order = np.argsort(-lengths, kind="stable")
    for k in range(0, len(order), batch_size):
        yield order[k : k + batch_size]


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
