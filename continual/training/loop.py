"""The loop: one experience after another, exactly repeatable.

    for each experience:
        begin the task                      heads and adapters grow; the function does not change
        fresh optimiser over exactly the trainable numbers
        for each step: loss + penalties, one update; kept examples of earlier tasks among them
        search                          methods with choices take what the validation split favours
        remember                            examples and importances that later tasks will need
        observe                             a row of R (`observe` reads, and never writes)

The loss of a step is a sum of nats divided by the count of the whole step (target tokens for
language models, examples for heads), however the step is cut into micro-batches; the penalty is
added once per step. What a step does depends on (seed, experience, step) and the state alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from continual.backbone.passes import evaluating
from continual.scenario import Experience
from continual.training.checkpoint import Checkpoint, Position
from continual.training.distillation import Teacher
from continual.training.early_stop import EarlyStop
from continual.training.lesson import Course, prepare
from continual.training.optimiser import load_optimiser_state, make_optimiser, optimiser_state
from continual.training.pairs import pairs_of
from continual.training.search import search
from continual.training.step import Learner, make_accelerator, take_step
from continual.training.validation import Validation

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
        if learner.config.joint and i < len(learner.scenario) - 1:
            continue
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
    if not learner.adaptation.trainable():
        return 0  # the frozen control: an experience passes and nothing learns
    config, i = learner.config, experience.index
    course = prepare(
        learner.scenario, learner.backbone, config, learner.memory, experience, learner.seed
    )
    if continuing is None and learner.adaptation.looks_at:
        _look(learner, course)
    validation = _validation(learner, course)
    trainable = learner.adaptation.trainable()
    teacher = Teacher.begin(learner.lwf, learner.scenario, learner.adaptation, i)
    pairs = pairs_of(learner.adaptation)
    optimiser = make_optimiser(trainable, learner.lr, config.weight_decay, config.optimiser, pairs)
    done, stop = 0, EarlyStop.begin(config.early_stop)
    if continuing is not None:
        done = continuing.position.step
        load_optimiser_state(optimiser, trainable, _part(continuing, "optimiser"))
        teacher = Teacher(learner.lwf, _part(continuing, "teacher"), teacher.known)
        stop = EarlyStop.resume(config.early_stop, continuing)
    accelerator = make_accelerator(learner)
    learner.backbone.train()
    while done < course.steps and not stop.stopped:
        take_step(learner, course, teacher, accelerator, optimiser, done)
        done += 1
        learner.tick(i, done, course.steps)
        if config.early_stop and validation and done % course.plans[0].per_epoch == 0:
            nats = validation.nats()
            stop.update(nats, learner.adaptation)
            learner.log({"experience": i, "step": done, "validation_nats": nats})
        if learner.within and done % learner.within == 0 and done < course.steps:
            learner.observe_within(i, done)
        if done % config.checkpoint_steps == 0 and done < course.steps:
            at = Position(experience=i, step=done, phase="training")
            learner.save(_snapshot(learner, at, Moment(optimiser, stop, teacher)))
    stop.restore_best(learner.adaptation)
    learner.backbone.eval()
    if validation is not None:
        search(learner, i, done, validation)
    _remember(learner, course)
    return done


def _validation(learner: Learner, course: Course) -> Validation | None:
    """Return what judges the experience, where something is judged by it."""
    judged = learner.config.early_stop is not None or learner.adaptation.search is not None
    return Validation.of(learner.backbone, course) if judged else None


def _look(learner: Learner, course: Course) -> None:
    """Show the adapters inputs of the first steps' own examples; nothing learns."""
    seen, step = 0, 0
    with learner.adaptation.looking(), evaluating(learner.backbone):
        while seen < learner.adaptation.looks_at and step < course.steps:
            own = course.portions(step)[0]
            batch = own.lesson.encoded.batch(own.chosen)
            learner.backbone.loss(batch, own.lesson.candidates, own.lesson.current_only)
            seen, step = seen + len(own.chosen), step + 1


def _remember(learner: Learner, course: Course) -> None:
    """Keep of an experience what later ones will need: examples, and what mattered to it."""
    for lesson in course.lessons:
        learner.elastic.consolidate(learner.backbone, learner.adaptation, lesson, learner.seed)
        labels = lesson.task.load().train.column("label") if lesson.task.labels else None
        rows = len(lesson.task.load().train)
        learner.memory.admit(lesson.index, [0] * rows if labels is None else list(labels))


@dataclass(frozen=True)
class Moment:
    """What is in the middle of an experience and gone at its end."""

    optimiser: torch.optim.Optimizer
    stop: EarlyStop
    teacher: Teacher


def _snapshot(learner: Learner, position: Position, moment: Moment | None = None) -> Checkpoint:
    memory, tensors = learner.memory, _named("state", learner.adaptation.state())
    ids = {j: learner.scenario[j].task.load().train.column("id") for j in memory.rows()}
    facts: dict[str, Any] = {"memory": memory.facts(ids)}
    tensors |= _named("elastic", learner.elastic.tensors())
    if moment is not None:
        moments = optimiser_state(moment.optimiser, learner.adaptation.trainable())
        tensors |= _named("optimiser", moments) | _named("best", moment.stop.best_state)
        tensors |= _named("teacher", moment.teacher.numbers)
        facts["early_stop"] = moment.stop.facts()
    return Checkpoint(position=position, tensors=tensors, facts=facts)


def _restore(learner: Learner, resumed: Checkpoint) -> None:
    """Rebuild the structure by beginning every task again, then put the saved numbers in."""
    for experience in learner.scenario:
        if experience.index <= resumed.position.experience:
            begin(learner, experience)
    learner.adaptation.load_state(_part(resumed, "state"))
    learner.memory.restore(resumed.facts["memory"])
    learner.elastic.restore(_part(resumed, "elastic"), learner.backbone.device)


def _named(kind: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{kind}|{name}": tensor for name, tensor in tensors.items()}


def _part(checkpoint: Checkpoint, kind: str) -> dict[str, torch.Tensor]:
    prefix = f"{kind}|"
    return {n[len(prefix) :]: t for n, t in checkpoint.tensors.items() if n.startswith(prefix)}
