"""Learning without forgetting: while learning a task, go on saying what one said before it.

    L = L_task + λ mean T² KL(p_before ‖ p_now),   p = softmax(logits / T)

on the new task's own examples, over the outputs that were known before it: with heads, every head
of an earlier task, or the classes seen earlier; with language models, the vocabulary at every
target token. The model from before is a copy of the numbers that learn, taken when the task has
begun and lent to the model for one forward pass, so nothing is ever unfrozen or re-attached.

Reference: Li and Hoiem (2016), arXiv:1606.09282; T² of Hinton et al. (2015), arXiv:1503.02531, so
that the gradient does not shrink with T.
Deviations: KL where the paper writes cross-entropy, which differs by a constant; kept examples of
rehearsal are distilled too.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from continual.adapters.adaptation import Adaptation
from continual.backbone.base import Answers, Backbone
from continual.scenario import Candidates, Scenario
from continual.training.config import LwFConfig


class Teacher:
    """The model as it was when the current task began, or nobody.

    Attributes:
        numbers: a copy of the numbers that learn; empty: there is nothing to distil.
        known: the sets of classes that it is asked about.
    """

    def __init__(
        self, config: LwFConfig, numbers: Mapping[str, Tensor], known: Sequence[Candidates]
    ) -> None:
        """Keep a copy of the numbers."""
        self.config, self.known = config, tuple(known)
        self.numbers = {name: tensor.detach().clone() for name, tensor in numbers.items()}

    @classmethod
    def begin(
        cls, config: LwFConfig, scenario: Scenario, adaptation: Adaptation, experience: int
    ) -> "Teacher":
        """Return the teacher of an experience that has just begun; the first one has nobody."""
        if config.lam == 0.0 or experience == 0:
            return cls(config, {}, ())
        return cls(config, adaptation.trainable(), known_before(scenario, experience))

    def says(
        self,
        backbone: Backbone,
        adaptation: Adaptation,
        batch: dict[str, Tensor],
        candidates: Candidates | None,
    ) -> tuple[Tensor, ...]:
        """Return what the model said before the task, without dropout and without gradient."""
        if not self.numbers:
            return ()
        backbone.eval()
        try:
            with torch.no_grad(), self._lent(adaptation):
                return backbone.answers(batch, candidates, False, self.known).beside
        finally:
            backbone.train()  # also where memory ran out and the step is made again

    def cost(self, before: Sequence[Tensor], now: Answers) -> Tensor:
        """Return λ T² Σ KL over the rows of a batch, in nats; zero where nobody said anything."""
        T, total = self.config.temperature, now.logits.new_zeros(())
        for old, new in zip(before, now.beside, strict=True):
            p, q = log_softmax(old / T, -1), log_softmax(new / T, -1)
            total = total + T**2 * kl_div(q, p, reduction="sum", log_target=True)
        return self.config.lam * total

    @contextmanager
    def _lent(self, adaptation: Adaptation) -> Iterator[None]:
        """Inside, the trained parameters hold the old numbers; their gradients are untouched."""
        learning = adaptation.trainable()
        current = {name: parameter.data for name, parameter in learning.items()}
        for name, parameter in learning.items():
            parameter.data = self.numbers[name].to(parameter.device)
        try:
            yield
        finally:
            for name, parameter in learning.items():
                parameter.data = current[name]


def known_before(scenario: Scenario, experience: int) -> tuple[Candidates, ...]:
    """Return the sets of classes that were known before an experience, each once."""
    found = (_plain(scenario.candidates(experience - 1, j)) for j in range(experience))
    return tuple(dict.fromkeys(one for one in found if one is not None))


def _plain(candidates: Candidates | None) -> Candidates | None:
    """Return candidates of which none is the current task's, so that equal sets are equal."""
    return None if candidates is None else replace(candidates, current=())
