"""The loop: one experience after another, exactly repeatable.

    for each experience:
        begin the task                      heads and adapters grow; the function does not change
        fresh optimiser over exactly the trainable numbers
        for each step: loss + penalty, one update
        observe                             a row of R (`observe` reads, and never writes)

The loss of a step is a sum of nats divided by the count of the whole step (target tokens for
language models, examples for heads), however the step is cut into micro-batches; the penalty is
added once per step. What a step does depends on (seed, experience, step) and the state alone.
"""

from collections.abc import Iterator
from typing import Any

import torch

from continual.scenario import Candidates, Experience
from continual.training.checkpoint import Checkpoint, Position
from continual.training.early_stop import EarlyStop
from continual.training.optimiser import load_optimiser_state, make_optimiser, optimiser_state
from continual.training.order import plan
from continual.training.step import Learner, Lesson, make_accelerator, take_step

BEFORE = Position(experience=-1, step=0, phase="evaluated")


def learn(learner: Learner, resumed: Checkpoint | None = None) -> Iterator[int]:
    """Train on every experience in turn; yield its index once its row of R has been observed.

    Args:
        learner: the parts.
        resumed: where to continue; None begins anew.

    Raises:
        NonFiniteLossError: names the task, the step and the examples of the batch.
    """
    if resumed is None:
        learner.observe(-1, 0)
        learner.save(_snapshot(learner, BEFORE))
        at = BEFORE
    else:
        _restore(learner, resumed)
        at = resumed.position
    for experience in learner.scenario:
        i = experience.index
        if i < at.experience or (i == at.experience and at.phase == "evaluated"):
            continue
        continuing = resumed if i == at.experience else None
        step = at.step
        if continuing is None:
            begin(learner, experience)
        if continuing is None or at.phase == "training":
            step = _train(learner, experience, continuing)
            learner.save(_snapshot(learner, Position(experience=i, step=step, phase="trained")))
        learner.observe(i, step)
        learner.save(_snapshot(learner, Position(experience=i, step=step, phase="evaluated")))
        yield i


def begin(learner: Learner, experience: Experience) -> None:
    """Let heads and adapters grow for an experience; what was learned before stays as it is."""
    candidates = learner.scenario.candidates(experience.index, experience.index)
    if candidates is not None:
        learner.backbone.begin_experience(candidates, learner.seed)
    learner.adaptation.begin_task(experience.index)


def _train(learner: Learner, experience: Experience, continuing: Checkpoint | None) -> int:
    """Run the optimiser steps of one experience, from the checkpoint's on; return their number."""
    trainable = learner.adaptation.trainable()
    if not trainable:
        return 0  # the frozen control: an experience passes and nothing learns
    config, i = learner.config, experience.index
    lesson = _prepare(learner, experience)
    optimiser = make_optimiser(trainable, learner.lr, config.weight_decay)
    done, stop = 0, EarlyStop.begin(config.early_stop)
    if continuing is not None:
        done = continuing.position.step
        load_optimiser_state(optimiser, trainable, _part(continuing, "optimiser"))
        stop = EarlyStop.resume(config.early_stop, continuing)
    accelerator = make_accelerator(learner)
    learner.backbone.train()
    while done < lesson.plan.steps and not stop.stopped:
        take_step(learner, lesson, accelerator, optimiser, done)
        done += 1
        learner.tick(i, done, lesson.plan.steps)
        if config.early_stop is not None and done % lesson.plan.per_epoch == 0:
            nats = validation_nats(learner, experience, lesson.candidates)
            stop.update(nats, learner.adaptation)
            learner.log({"experience": i, "step": done, "validation_nats": nats})
        if done % config.checkpoint_steps == 0 and done < lesson.plan.steps:
            at = Position(experience=i, step=done, phase="training")
            learner.save(_snapshot(learner, at, optimiser, stop))
    stop.restore_best(learner.adaptation)
    learner.backbone.eval()
    return done


def _prepare(learner: Learner, experience: Experience) -> Lesson:
    encoded = learner.backbone.encode(experience.task, experience.task.load().train)
    return Lesson(
        experience=experience,
        encoded=encoded,
        candidates=learner.scenario.candidates(experience.index, experience.index),
        plan=plan(len(encoded), learner.config),
    )


def validation_nats(
    learner: Learner, experience: Experience, candidates: Candidates | None
) -> float:
    """Return the mean loss on the task's validation split, in nats per token or example."""
    encoded = learner.backbone.encode(experience.task, experience.task.load().validation)
    local, size = learner.config.class_loss == "current", learner.config.batch_size
    nats, count = 0.0, 0
    learner.backbone.eval()
    with torch.inference_mode():
        for k in range(0, len(encoded), size):
            batch = encoded.batch(range(k, min(k + size, len(encoded))))
            total, part = learner.backbone.loss(batch, candidates, local)
            nats, count = nats + float(total), count + part
    learner.backbone.train()
    return nats / count


def _snapshot(
    learner: Learner,
    position: Position,
    optimiser: torch.optim.Optimizer | None = None,
    stop: EarlyStop | None = None,
) -> Checkpoint:
    tensors = {f"state|{n}": t for n, t in learner.adaptation.state().items()}
    facts: dict[str, Any] = {}
    if optimiser is not None:
        moments = optimiser_state(optimiser, learner.adaptation.trainable())
        tensors |= {f"optimiser|{n}": t for n, t in moments.items()}
    if stop is not None:
        tensors |= {f"best|{n}": t for n, t in stop.best_state.items()}
        facts["early_stop"] = stop.facts()
    return Checkpoint(position=position, tensors=tensors, facts=facts)


def _restore(learner: Learner, resumed: Checkpoint) -> None:
    """Rebuild the structure by beginning every task again, then put the saved numbers in."""
    for experience in learner.scenario:
        if experience.index <= resumed.position.experience:
            begin(learner, experience)
    learner.adaptation.load_state(_part(resumed, "state"))


def _part(checkpoint: Checkpoint, kind: str) -> dict[str, torch.Tensor]:
    prefix = f"{kind}|"
    return {n[len(prefix) :]: t for n, t in checkpoint.tensors.items() if n.startswith(prefix)}
