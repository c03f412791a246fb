"""What a checkpoint holds of a learner, and a learner that a checkpoint is put into."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from continual.backbone.memory import BatchSize
from continual.training.checkpoint import Checkpoint, Position
from continual.training.config import TrainConfig
from continual.training.distillation import Teacher
from continual.training.early_stop import EarlyStop
from continual.training.optimiser import optimiser_state
from continual.training.step import Learner


@dataclass(frozen=True)
class Moment:
    """What is in the middle of an experience and gone at its end.

    ``owed`` is what still follows the last step: see ``Aftermath``.
    """

    optimiser: torch.optim.Optimizer
    stop: EarlyStop
    teacher: Teacher
    owed: tuple[str, ...]


def snapshot(learner: Learner, position: Position, moment: Moment | None = None) -> Checkpoint:
    """Return everything that the run needs to go on from a position."""
    memory, tensors = learner.memory, _named("state", learner.adaptation.state())
    ids = {j: learner.scenario[j].task.load().train.column("id") for j in memory.rows()}
    facts: dict[str, Any] = {
        "memory": memory.facts(ids),
        "micro_batch_size": learner.micro_batch.size,  # the same in all processes
    }
    tensors |= _named("elastic", learner.elastic.tensors())
    if moment is not None:
        moments = optimiser_state(moment.optimiser, learner.adaptation.trainable())
        tensors |= _named("optimiser", moments) | _named("best", moment.stop.best_state)
        tensors |= _named("teacher", moment.teacher.numbers)
        facts["early_stop"] = moment.stop.facts()
        facts["owed"] = list(moment.owed)
    return Checkpoint(position=position, tensors=tensors, facts=facts)


def micro_batches(config: TrainConfig, note: Callable[[str], None]) -> BatchSize:
    """Return how many examples of a step go through the model at once, as configured."""
    return BatchSize(
        config.micro_batch_size or config.batch_size,
        note,
        doing="training",
        lower="backbone.max_length or the numbers that the method trains, in a new directory",
        setting="train.micro_batch_size",
    )


def restore(learner: Learner, resumed: Checkpoint) -> None:
    """Put the saved numbers into a learner that has begun the same experiences."""
    learner.adaptation.load_state(part(resumed, "state"))
    learner.memory.restore(resumed.facts["memory"])
    learner.elastic.restore(part(resumed, "elastic"), learner.backbone.device)
    known = resumed.facts.get("micro_batch_size", learner.micro_batch.size)
    learner.micro_batch.size = min(learner.micro_batch.size, known)


def part(checkpoint: Checkpoint, kind: str) -> dict[str, torch.Tensor]:
    """Return the tensors of one kind under their own names."""
    prefix = f"{kind}|"
    return {n[len(prefix) :]: t for n, t in checkpoint.tensors.items() if n.startswith(prefix)}


def _named(kind: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{kind}|{name}": tensor for name, tensor in tensors.items()}
