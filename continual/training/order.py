"""What happens at which step, as pure functions of (seed, experience, epoch or step).

Nothing here has a state, so a run that continues at step s does what the uninterrupted run did.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from continual.training.config import TrainConfig

GROUPED = 50  # batches whose examples are sorted among each other, where they are at all


@dataclass(frozen=True, eq=False)
class Plan:
    """The steps of one experience: ``steps`` in all, ``per_epoch`` in each pass over the data.

    ``lengths``, where they are known, put examples of similar length into one batch.
    """

    examples: int
    batch_size: int
    per_epoch: int
    steps: int
    lengths: np.ndarray | None = None


def plan(lengths: np.ndarray, config: TrainConfig) -> Plan:
    """Count the optimiser steps of an experience with training examples of these lengths."""
    per_epoch = math.ceil(len(lengths) / config.batch_size)
    steps = per_epoch * config.epochs
    if config.max_steps is not None:
        steps = min(steps, config.max_steps)
    grouped = lengths if config.group_by_length else None
    return Plan(len(lengths), config.batch_size, per_epoch, steps, grouped)


def batch_indices(plan: Plan, seed: int, experience: int, step: int) -> np.ndarray:
    """Return the examples of one optimiser step: a slice of that epoch's own order."""
    epoch, place = divmod(step, plan.per_epoch)
    order = _order(plan, seed, experience, epoch)
    return order[place * plan.batch_size : (place + 1) * plan.batch_size]


@lru_cache(maxsize=16)  # an epoch's own, and those of tasks that are learned beside it
def _order(plan: Plan, seed: int, experience: int, epoch: int) -> np.ndarray:
    """Return the examples of an epoch in a random order, of similar length side by side if asked.

    Then a random order is cut into pieces of many batches, each piece sorted by length, and its
    batches shuffled; the batch that is not full stays the last.
    """
    random = np.random.default_rng([seed, experience, epoch])
    order = random.permutation(plan.examples)
    if plan.lengths is not None:
        piece = GROUPED * plan.batch_size
        pieces = [order[k : k + piece] for k in range(0, plan.examples, piece)]
        pieces = [one[np.argsort(plan.lengths[one], kind="stable")] for one in pieces]
        whole = plan.examples // plan.batch_size * plan.batch_size
        order = np.concatenate(pieces)
        full = random.permutation(order[:whole].reshape(-1, plan.batch_size))
        order = np.concatenate([full.ravel(), order[whole:]])
    order.flags.writeable = False
    return order


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
def step_randomness(
    seed: int, experience: int, step: int, device: torch.device, *more: int
) -> Iterator[None]:
    """Seed what draws inside a forward pass (dropout) from the position, and restore it after.

    ``more`` numbers, if any, tell apart several streams of one step.

    torch's dropout takes no generator, so its global state is lent to the step and given back.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        seed_generators(step_seed(seed, experience, step, *more), device)
        yield


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed the generators that a step draws from: the processor's, and its device's.

    The same numbers as after ``torch.manual_seed``, which besides seeds every other kind of device
    and takes a stack trace of the request for each that is not in use.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def step_seed(seed: int, experience: int, step: int, *more: int) -> int:
    """Return what torch is seeded with in one optimiser step, in [0, 2⁶³)."""
    mixed = int(
        np.random.SeedSequence([seed, experience, step, *more]).generate_state(1, np.uint64)[0]
    )
    return mixed % 2**63
