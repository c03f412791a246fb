"""What happens at which step, as pure functions of (seed, experience, epoch or step).

Nothing here has a state, so a run that continues at step s does what the uninterrupted run did.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from continual.training.config import TrainConfig


@dataclass(frozen=True)
class Plan:
    """The steps of one experience: ``steps`` in all, ``per_epoch`` in each pass over the data."""

    examples: int
    batch_size: int
    per_epoch: int
    steps: int


def plan(examples: int, config: TrainConfig) -> Plan:
    """Count the optimiser steps of an experience with that many training examples."""
    per_epoch = math.ceil(examples / config.batch_size)
    steps = per_epoch * config.epochs
    if config.max_steps is not None:
        steps = min(steps, config.max_steps)
    return Plan(examples, config.batch_size, per_epoch, steps)


def batch_indices(plan: Plan, seed: int, experience: int, step: int) -> np.ndarray:
    """Return the examples of one optimiser step: a slice of that epoch's own permutation."""
    epoch, place = divmod(step, plan.per_epoch)
    order = np.random.default_rng([seed, experience, epoch]).permutation(plan.examples)
    return order[place * plan.batch_size : (place + 1) * plan.batch_size]


def learning_rate(config: TrainConfig, peak: float, step: int, steps: int) -> float:
    """Return the rate of step 0 ≤ ``step`` < ``steps``: linear warm-up, then the schedule to zero.

    >>> config = TrainConfig(warmup=0.5, schedule="linear")
    >>> [learning_rate(config, 1.0, step, 4) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    warm = int(config.warmup * steps)
    if step < warm:
        return peak * (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    if config.schedule == "linear":
        return peak * (1.0 - done)
    if config.schedule == "cosine":
        return peak * 0.5 * (1.0 + math.cos(math.pi * done))
    return peak


@contextmanager
def step_randomness(seed: int, experience: int, step: int, device: torch.device) -> Iterator[None]:
    """Seed what draws inside a forward pass (dropout) from the position, and restore it after.

    torch's dropout takes no generator, so its global state is lent to the step and given back.
    """
    devices = [device] if device.type == "cuda" else []
    mixed = int(np.random.SeedSequence([seed, experience, step]).generate_state(1, np.uint64)[0])
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(mixed % 2**63)
        yield
