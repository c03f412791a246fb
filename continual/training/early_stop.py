"""Early stopping on a task's own validation split (off unless ``train.early_stop`` is given)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from continual.adapters.adaptation import Adaptation
from continual.training.checkpoint import Checkpoint


@dataclass
class EarlyStop:
    """The best validation loss so far, and the state that had it.

    Without patience it never stops and keeps nothing.
    """

    patience: int | None
    best: float = math.inf
    waited: int = 0
    best_state: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @classmethod
    def begin(cls, patience: int | None) -> "EarlyStop":
        """Return the state at the beginning of an experience."""
        return cls(patience)

    @classmethod
    def resume(cls, patience: int | None, checkpoint: Checkpoint) -> "EarlyStop":
        """Return the state that a checkpoint within an experience holds."""
        kept = {n[5:]: t for n, t in checkpoint.tensors.items() if n.startswith("best|")}
        facts = checkpoint.facts["early_stop"]
        best = math.inf if facts["best"] is None else facts["best"]
        return cls(patience, best, facts["waited"], kept)

    @property
    def stopped(self) -> bool:
        """Whether as many epochs passed without a better loss as patience allows."""
        return self.patience is not None and self.waited >= self.patience

    def facts(self) -> dict[str, Any]:
        """Return what a checkpoint keeps beside the best state."""
        return {"best": None if math.isinf(self.best) else self.best, "waited": self.waited}

    def update(self, nats: float, adaptation: Adaptation) -> None:
        """Take in the validation loss of one more epoch."""
        if nats < self.best:
            self.best, self.waited, self.best_state = nats, 0, adaptation.state()
        else:
            self.waited += 1

    def restore_best(self, adaptation: Adaptation) -> None:
        """Put the best state back at the end of an experience."""
        if self.best_state:
            adaptation.load_state(self.best_state)
