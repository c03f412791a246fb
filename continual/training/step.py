"""One optimiser step: micro-batches, the penalty once, clip, update."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor

from continual.adapters.adaptation import Adaptation
from continual.adapters.moments import forget
from continual.backbone.base import Backbone
from continual.backbone.memory import BatchSize
from continual.processes import ALONE, Processes
from continual.scenario import Scenario
from continual.training.checkpoint import Checkpoint
from continual.training.config import LwFConfig, TrainConfig
from continual.training.distillation import Teacher
from continual.training.ewc import ElasticWeights
from continual.training.lesson import Course, Lesson, Portion
from continual.training.loko import LoKO, measure_all
from continual.training.losses import Losses, StepCost
from continual.training.optimiser import clip_gradients
from continual.training.order import learning_rate, step_randomness
from continual.training.parallel import add_up, own_randomness, passes, uncounted
from continual.training.rehearsal import Memory
from continual.training.stopping import Halt


@dataclass(frozen=True, kw_only=True)
class Learner:
    """What takes part in the loop: who learns what from what, and who is told.

    Attributes:
        lr: peak learning rate.
        lwf: how the model from before a task is distilled.
        memory: what is kept of earlier tasks; empty where nothing is.
        elastic: what earlier tasks hold in place; nothing where it has no weight.
        micro_batch: how many examples of a step go through the model at once.
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
        around: entered around the passes of every step.
        losses: what the steps have cost, as far as it was not read.
        halt: whether somebody wants the run to stop.
        processes: those that learn together; each takes its share of every step's examples.
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
    micro_batch: BatchSize
    save: Callable[[Checkpoint], None]
    log: Callable[[dict[str, Any]], None]
    observe: Callable[[int, int], None]
    tick: Callable[[int, int, int], None]
    count: Callable[[int], None] = lambda tokens: None
    pace: Callable[[], Mapping[str, float]] = dict
    within: int | None = None
    searching: Callable[[int, int, int], None] = lambda experience, done, total: None
    observe_within: Callable[[int, int], None] = lambda experience, step: None
    around: Callable[[], AbstractContextManager[object]] = nullcontext
    losses: Losses = field(default_factory=Losses)
    halt: Halt = field(default_factory=Halt)
    processes: Processes = ALONE


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

    Where memory runs out, its passes are made again from the same randomness with smaller
    micro-batches; of a sharded backbone they are not.

    Raises:
        InputError: not even one example fits in memory, or a pass that cannot be made again.
        NonFiniteLossError: loss or penalty of a step that was read is infinite or not a number.
    """
    config, i = learner.config, course.experience
    portions = course.portions(step)
    rate = learning_rate(config, learner.lr, step, course.steps)
    for group in optimiser.param_groups:
        group["lr"] = rate
    try:
        terms = _gradients(learner, course, teacher, accelerator, optimiser, step)
        learner.losses.add(StepCost(experience=i, step=step, portions=portions, terms=terms))
        _update(learner, optimiser, rate)
    except RuntimeError:
        learner.losses.read()  # a bad loss that nobody has read is the cause, and says more
        raise
    learner.count(sum(int(one.lesson.encoded.lengths[one.chosen].sum()) for one in portions))
    if (step + 1) % config.log_steps == 0 or step + 1 == course.steps:
        costs = learner.losses.read()
        present = {n: cost for n, cost in costs.items() if n in ("loss", "penalty") or cost}
        event = {"experience": i, "step": step + 1, **present, "lr": rate}
        learner.log(event | dict(learner.pace()))


def _update(learner: Learner, optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Move what learns along the gradient that a step has left."""
    learner.adaptation.after_backward()
    clip_gradients(learner.adaptation, learner.config)
    optimiser.step()
    forget(optimiser, learner.adaptation.after_step(rate))


def _gradients(
    learner: Learner,
    course: Course,
    teacher: Teacher,
    accelerator: Accelerator,
    optimiser: torch.optim.Optimizer,
    step: int,
) -> Tensor:
    """Leave the gradient of a step in the parameters; return what it costs, term by term.

    The gradient of the sum over all micro-batches is divided by their whole count at the end, so
    that micro-batches of unequal length weigh as they would in one batch. Whoever runs out of
    memory makes its passes again before it meets the others: what is done together is done once.
    """
    before = learner.micro_batch.size
    sums, count = _own(learner, course, teacher, accelerator, optimiser, step)
    learning = [p for group in optimiser.param_groups for p in group["params"]]
    sharing = ALONE if isinstance(optimiser, LoKO) else learner.processes
    sums, count, size = add_up(
        sharing, learner.adaptation, learning, sums, count, learner.micro_batch.size
    )
    if size < before:
        learner.micro_batch.follow(size)  # who goes on from a checkpoint makes the same sums
        at = {"experience": course.experience, "step": step + 1}
        learner.log({**at, "micro_batch_size": size})
    for parameter in learning:
        if parameter.grad is not None:
            parameter.grad.div_(count)
    means = sums / count
    penalty, elastic = learner.adaptation.penalty(), learner.elastic.penalty(learner.adaptation)
    for term in (penalty, elastic):
        if term.requires_grad:
            accelerator.backward(term)
    return torch.stack(
        [means[0], *(term.detach().to(means) for term in (penalty, elastic)), means[1]]
    )


def _own(
    learner: Learner,
    course: Course,
    teacher: Teacher,
    accelerator: Accelerator,
    optimiser: torch.optim.Optimizer,
    step: int,
) -> tuple[Tensor, int]:
    """Make this process's passes of a step, as large as they fit; return their sums and count.

    A filter measures all examples in every process: they are one, of their mean.
    """
    device = learner.backbone.device
    kalman = optimiser if isinstance(optimiser, LoKO) else None

    def attempt(size: int) -> tuple[Tensor, int]:
        optimiser.zero_grad(set_to_none=True)
        with learner.around(), step_randomness(learner.seed, course.experience, step, device):
            learner.adaptation.before_step()  # what an earlier attempt has drawn is drawn again
            if kalman is not None:
                nats = measure_all(learner.backbone, accelerator, kalman, course.portions(step))
                return torch.stack([nats, torch.zeros_like(nats)]), 1
            with own_randomness(learner.processes, learner.seed, course.experience, step, device):
                return _accumulate(learner, teacher, accelerator, course.portions(step), size)

    if learner.backbone.sharded:
        return learner.micro_batch.run_in_step(attempt)
    # A filter takes its examples one by one, and forgets none that it has taken.
    return learner.micro_batch.run(attempt, once=kalman is not None)


def _accumulate(
    learner: Learner,
    teacher: Teacher,
    accelerator: Accelerator,
    portions: Sequence[Portion],
    size: int,
) -> tuple[Tensor, int]:
    """Leave the summed gradient of this process's share of a step in the parameters.

    Returns:
        The summed nats, and what distillation adds to them: (2,) in float64; and their count.
    """
    sums, count = torch.zeros(2, dtype=torch.float64, device=learner.backbone.device), 0
    for portion, counts in passes(portions, size, learner.processes, learner.backbone.sharded):
        batch = portion.lesson.encoded.batch(portion.chosen)
        with nullcontext() if counts else uncounted(learner.adaptation):
            with accelerator.autocast():
                loss, extra, part = _cost(learner, teacher, batch, portion.lesson)
            accelerator.backward(loss + extra if counts else 0.0 * (loss + extra))
        if counts:
            sums += torch.stack([loss.detach(), extra.detach()])
            count += part
    return sums, count


def _cost(
    learner: Learner, teacher: Teacher, batch: dict[str, Tensor], lesson: Lesson
) -> tuple[Tensor, Tensor, int]:
    """Return the summed nats of a batch, what distillation adds, and their count."""
    candidates, local = lesson.candidates, lesson.current_only
    before = teacher.says(learner.backbone, learner.adaptation, batch, candidates)
    now = learner.backbone.answers(batch, candidates, local, teacher.known)
    return now.nats(), teacher.cost(before, now), len(now.truth)
