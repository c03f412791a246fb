"""One optimiser step: micro-batches, the penalty once, clip, update."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor

from continual.adapters.adaptation import Adaptation
from continual.backbone.base import Backbone
from continual.scenario import Scenario
from continual.training.checkpoint import Checkpoint
from continual.training.config import LwFConfig, TrainConfig
from continual.training.distillation import Teacher
from continual.training.ewc import ElasticWeights
from continual.training.lesson import Course, Lesson, Portion
from continual.training.optimiser import clip_gradients
from continual.training.order import learning_rate, step_randomness
from continual.training.rehearsal import Memory

MAX_NAMED_EXAMPLES = 5


class NonFiniteLossError(RuntimeError):
    """The loss is not a number any more; the run stopped before the update and can be resumed."""


@dataclass(frozen=True, kw_only=True)
class Learner:
    """What takes part in the loop: who learns what from what, and who is told.

    Attributes:
        lr: peak learning rate.
        lwf: how the model from before a task is distilled.
        memory: what is kept of earlier tasks; empty where nothing is.
        elastic: what earlier tasks hold in place; nothing where it has no weight.
        save: receives a checkpoint to keep.
        log: receives one event as a flat mapping of names to numbers.
        observe: called with (i, steps made) after experience i, and before any training with
            (-1, 0); it may write files, never the model.
        within: optimiser steps between two calls of ``observe_within``; None: it is never called.
        observe_within: called with (i, steps made) in the middle of experience i.
        count: called once per optimiser step with how many tokens (or images) it has read.
        pace: what is known about speed and memory since it was last called.
        tick: called once per optimiser step with (experience, steps done, steps in all).
        searching: called once per candidate of a search with (experience, done, in all).
    """

    scenario: Scenario
    backbone: Backbone
    adaptation: Adaptation
    config: TrainConfig
    lr: float
    seed: int
    lwf: LwFConfig
    memory: Memory
    elastic: ElasticWeights
    save: Callable[[Checkpoint], None]
    log: Callable[[dict[str, Any]], None]
    observe: Callable[[int, int], None]
    tick: Callable[[int, int, int], None]
    count: Callable[[int], None] = lambda tokens: None
    pace: Callable[[], Mapping[str, float]] = dict
    within: int | None = None
    searching: Callable[[int, int, int], None] = lambda experience, done, total: None
    observe_within: Callable[[int, int], None] = lambda experience, step: None


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
    course: Course,
    teacher: Teacher,
    accelerator: Accelerator,
    optimiser: torch.optim.Optimizer,
    step: int,
) -> None:
    """Make update number ``step`` of an experience.

    Raises:
        NonFiniteLossError: loss or penalty is infinite or not a number; nothing was updated.
    """
    config, i = learner.config, course.experience
    portions = course.portions(step)
    rate = learning_rate(config, learner.lr, step, course.steps)
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    with step_randomness(learner.seed, i, step, learner.backbone.device):
        learner.adaptation.before_step()
        loss, distilled = _accumulate(learner, teacher, accelerator, portions)
        penalty, elastic = learner.adaptation.penalty(), learner.elastic.penalty(learner.adaptation)
        for term in (penalty, elastic):
            if term.requires_grad:
                accelerator.backward(term)
    costs = {"penalty": float(penalty.detach()), "ewc": float(elastic.detach()), "lwf": distilled}
    if not math.isfinite(loss + sum(costs.values())):
        raise NonFiniteLossError(_non_finite(i, step, loss, costs, portions))
    learner.adaptation.after_backward()
    clip_gradients(learner.adaptation, config)
    optimiser.step()
    for parameter in learner.adaptation.after_step(rate):
        optimiser.state.pop(parameter, None)
    learner.count(sum(int(one.lesson.encoded.lengths[one.chosen].sum()) for one in portions))
    if (step + 1) % config.log_steps == 0 or step + 1 == course.steps:
        present = {name: cost for name, cost in costs.items() if name == "penalty" or cost}
        event = {"experience": i, "step": step + 1, "loss": loss, **present, "lr": rate}
        learner.log(event | dict(learner.pace()))


def _accumulate(
    learner: Learner, teacher: Teacher, accelerator: Accelerator, portions: Sequence[Portion]
) -> tuple[float, float]:
    """Leave the gradient of the step's mean loss in the parameters.

    The gradient of the sum over all micro-batches is divided by their whole count at the end, so
    that micro-batches of unequal length weigh as they would in one batch.

    Returns:
        The mean loss in nats, and what distillation adds to it.
    """
    size = learner.config.micro_batch_size or learner.config.batch_size
    nats, distilled, count = 0.0, 0.0, 0
    for portion in portions:
        for k in range(0, len(portion.chosen), size):
            batch = portion.lesson.encoded.batch(portion.chosen[k : k + size])
            with accelerator.autocast():
                loss, extra, part = _cost(learner, teacher, batch, portion.lesson)
            accelerator.backward(loss + extra)
            nats, distilled = nats + float(loss.detach()), distilled + float(extra.detach())
            count += part
    for parameter in learner.adaptation.trainable().values():
        if parameter.grad is not None:
            parameter.grad.div_(count)
    return nats / count, distilled / count


def _cost(
    learner: Learner, teacher: Teacher, batch: dict[str, Tensor], lesson: Lesson
) -> tuple[Tensor, Tensor, int]:
    """Return the summed nats of a batch, what distillation adds, and their count."""
    candidates, local = lesson.candidates, lesson.current_only
    before = teacher.says(learner.backbone, learner.adaptation, batch, candidates)
    now = learner.backbone.answers(batch, candidates, local, teacher.known)
    return now.nats(), teacher.cost(before, now), len(now.truth)


def _non_finite(
    i: int, step: int, loss: float, costs: Mapping[str, float], portions: Sequence[Portion]
) -> str:
    own = portions[0]
    names = [own.lesson.encoded.ids[k] for k in own.chosen[:MAX_NAMED_EXAMPLES]]
    terms = ", ".join(f"{name} {cost}" for name, cost in {"loss": loss, **costs}.items())
    return (
        f"the loss is not finite on task {own.lesson.task.name!r} (experience {i}) at step {step}: "
        f"{terms}; its batch has {len(own.chosen)} examples, the first are {names}. The update was "
        "not made and the last checkpoint is whole. Look at those examples and run the same "
        "command again; or lower train.lr, which needs a new directory."
    )
