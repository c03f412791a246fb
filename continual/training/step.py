"""One optimiser step: micro-batches, the penalty once, clip, update."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from continual.adapters.adaptation import Adaptation
from continual.backbone.base import Backbone, Encoded
from continual.scenario import Candidates, Experience, Scenario
from continual.training.checkpoint import Checkpoint
from continual.training.config import TrainConfig
from continual.training.order import Plan, batch_indices, learning_rate, step_randomness

MAX_NAMED_EXAMPLES = 5


class NonFiniteLossError(RuntimeError):
    """The loss is not a number any more; the run stopped before the update and can be resumed."""


@dataclass(frozen=True, kw_only=True)
class Learner:
    """What takes part in the loop: who learns what from what, and who is told.

    Attributes:
        lr: peak learning rate.
        save: receives a checkpoint to keep.
        log: receives one event as a flat mapping of names to numbers.
        observe: called with (i, steps made) after experience i, and before any training with
            (-1, 0); it may write files, never the model.
        tick: called once per optimiser step with (experience, steps done, steps in all).
    """

    scenario: Scenario
    backbone: Backbone
    adaptation: Adaptation
    config: TrainConfig
    lr: float
    seed: int
    save: Callable[[Checkpoint], None]
    log: Callable[[dict[str, Any]], None]
    observe: Callable[[int, int], None]
    tick: Callable[[int, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """One experience, made ready: its encoded training split, its classes and its steps."""

    experience: Experience
    encoded: Encoded
    candidates: Candidates | None
    plan: Plan


def make_accelerator(learner: Learner) -> Accelerator:
    """Return accelerate's engine for this run's device and precision.

    accelerate keeps one precision per process; a run that wants another one resets it.
    """
    wanted = "bf16" if learner.config.precision == "bf16" else "no"
    if AcceleratorState._shared_state.get("_mixed_precision", wanted) != wanted:
        AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(cpu=learner.backbone.device.type == "cpu", mixed_precision=wanted)


def take_step(
    learner: Learner,
    lesson: Lesson,
    accelerator: Accelerator,
    optimiser: torch.optim.Optimizer,
    step: int,
) -> None:
    """Make update number ``step`` of an experience.

    Raises:
        NonFiniteLossError: loss or penalty is infinite or not a number; nothing was updated.
    """
    config, i = learner.config, lesson.experience.index
    chosen = batch_indices(lesson.plan, learner.seed, i, step)
    rate = learning_rate(config, learner.lr, step, lesson.plan.steps)
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    with step_randomness(learner.seed, i, step, learner.backbone.device):
        loss = _accumulate(learner, lesson, accelerator, chosen)
        penalty = learner.adaptation.penalty()
        if penalty.requires_grad:
            accelerator.backward(penalty)
    cost = float(penalty.detach())
    if not math.isfinite(loss + cost):
        raise NonFiniteLossError(_non_finite(lesson, step, loss, cost, chosen))
    if config.clip is not None:
        torch.nn.utils.clip_grad_norm_(learner.adaptation.trainable().values(), config.clip)
    optimiser.step()
    if (step + 1) % config.log_steps == 0 or step + 1 == lesson.plan.steps:
        learner.log({"experience": i, "step": step + 1, "loss": loss, "penalty": cost, "lr": rate})


def _accumulate(
    learner: Learner, lesson: Lesson, accelerator: Accelerator, chosen: np.ndarray
) -> float:
    """Leave the gradient of the step's mean loss in the parameters; return that loss in nats.

    The gradient of the sum over all micro-batches is divided by their whole count at the end, so
    that micro-batches of unequal length weigh as they would in one batch.
    """
    config = learner.config
    size = config.micro_batch_size or config.batch_size
    nats, count = 0.0, 0
    for k in range(0, len(chosen), size):
        batch = lesson.encoded.batch(chosen[k : k + size])
        with accelerator.autocast():
            total, part = learner.backbone.loss(
                batch, lesson.candidates, config.class_loss == "current"
            )
        accelerator.backward(total)
        nats, count = nats + float(total.detach()), count + part
    for parameter in learner.adaptation.trainable().values():
        if parameter.grad is not None:
            parameter.grad.div_(count)
    return nats / count


def _non_finite(lesson: Lesson, step: int, loss: float, penalty: float, chosen: np.ndarray) -> str:
    names = [lesson.encoded.ids[k] for k in chosen[:MAX_NAMED_EXAMPLES]]
    return (
        f"the loss is not finite on task {lesson.experience.task.name!r} (experience "
        f"{lesson.experience.index}) at step {step}: loss {loss}, penalty {penalty}; its batch has "
        f"{len(chosen)} examples, the first are {names}. The update was not made and the last "
        "checkpoint is whole. Look at those examples and run the same command again; or lower "
        "train.lr, which needs a new directory."
    )
