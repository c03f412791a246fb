"""Elastic weight consolidation: what mattered to earlier tasks is held where it was.

    L = L_task + λ/2 Σ_k Σ_i F_k,i (θ_i − θ*_k,i)²       an anchor per task
    L = L_task + λ/2 Σ_i F_i (θ_i − θ*_i)²,  F ← γ F + F_t     online: the anchor is the last one

F is the diagonal of the Fisher information: the mean over target tokens (or examples) of the
squared gradient of an example's nats. θ are the numbers that learn (``fisher="adapter"``), or the
whole adapted weights W + ΔW (``fisher="weights"``), which also suits methods that begin every task
with new numbers; heads belong to θ either way, their rows as they were.

The sum over tasks is kept as one: Σ_k F_k (θ − θ*_k)² = F (θ − θ̄)² + a constant, with F = Σ F_k and
θ̄ = Σ F_k θ*_k / F; the constant has no gradient and is left out of the logged penalty.

Reference: Kirkpatrick et al. (2017), arXiv:1612.00796, eq. 3; online: Schwarz et al. (2018),
arXiv:1805.06370, eq. 9; the sum: Huszár (2018), arXiv:1712.03847.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from continual.adapters.adaptation import Adaptation
from continual.adapters.layer import AdaptedLinear
from continual.backbone.base import Answers, Backbone
from continual.processes import ALONE, Processes
from continual.training.config import EWCConfig
from continual.training.lesson import Lesson

FISHER = 3  # purpose of a random stream


class ElasticWeights:
    """The importance F and the anchor θ̄ of every number, by name; empty before a task ended."""

    def __init__(self, config: EWCConfig) -> None:
        """Nothing matters yet."""
        self.config = config
        self.importance: dict[str, Tensor] = {}
        self.anchor: dict[str, Tensor] = {}

    def penalty(self, adaptation: Adaptation) -> Tensor:
        """Return λ/2 Σ F (θ − θ̄)² of a model; a plain zero where nothing is held."""
        return self.cost(self._numbers(adaptation)) if self.importance else torch.zeros(())

    def cost(self, numbers: Mapping[str, Tensor]) -> Tensor:
        """Return λ/2 Σ F (θ − θ̄)² of θ by name."""
        terms = []
        for name, F in self.importance.items():
            held = numbers[name][: len(F)]  # a head may have grown since
            terms.append((F * (held - self.anchor[name]).square()).sum())
        return 0.5 * self.config.lam * torch.stack(terms).sum()

    def consolidate(
        self,
        backbone: Backbone,
        adaptation: Adaptation,
        lesson: Lesson,
        seed: int,
        processes: Processes = ALONE,
    ) -> None:
        """Take in a task that was just learned."""
        if self.config.lam > 0.0:
            fisher = self._fisher(backbone, adaptation, lesson, seed, processes)
            self.absorb(fisher, self._numbers(adaptation))

    def absorb(self, fisher: Mapping[str, Tensor], numbers: Mapping[str, Tensor]) -> None:
        """Add a task's F at its end, where θ has these values."""
        for name, F in fisher.items():
            now = numbers[name].detach().clone()
            if name not in self.importance:
                self.importance[name], self.anchor[name] = F, now
                continue
            old, anchor = _grown(self.importance[name], F), _grown(self.anchor[name], now)
            if self.config.decay is None:
                total = old + F
                mixed = (old * anchor + F * now) / torch.where(total > 0, total, 1.0)
                self.importance[name], self.anchor[name] = total, torch.where(total > 0, mixed, now)
            else:
                self.importance[name], self.anchor[name] = self.config.decay * old + F, now

    def tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint keeps."""
        kept = {f"importance|{name}": tensor for name, tensor in self.importance.items()}
        return kept | {f"anchor|{name}": tensor for name, tensor in self.anchor.items()}

    def restore(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        """Become the one whose ``tensors`` were saved."""
        for key, tensor in tensors.items():
            kind, _, name = key.partition("|")
            held = self.importance if kind == "importance" else self.anchor
            held[name] = tensor.to(device)

    def _numbers(self, adaptation: Adaptation) -> dict[str, Tensor]:
        learning: dict[str, Tensor] = dict(adaptation.trainable())
        if self.config.fisher == "adapter" or not adaptation.adapters:
            return learning
        heads = {name: tensor for name, tensor in learning.items() if name.startswith("heads.")}
        return heads | {name: one.delta_weight() for name, one in adaptation.adapters.items()}

    def _fisher(
        self,
        backbone: Backbone,
        adaptation: Adaptation,
        lesson: Lesson,
        seed: int,
        processes: Processes,
    ) -> dict[str, Tensor]:
        """Return the mean squared gradients over a sample of the task, one example at a time.

        Drawn labels are one stream over the whole sample, so processes that share the rest make
        these each by themselves, as they do with a sharded backbone, whose passes keep in step.
        """
        shared = self.config.labels == "data" and not backbone.sharded
        group = processes if shared else ALONE
        rng = np.random.default_rng([seed, lesson.index, 0, FISHER])
        size = min(self.config.samples, len(lesson.encoded))
        chosen = np.sort(rng.choice(len(lesson.encoded), size, replace=False))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        numbers, count = self._numbers(adaptation), 0
        total = {name: torch.zeros_like(tensor) for name, tensor in numbers.items()}
        backbone.eval()
        with _differentiable(numbers, adaptation.layers) as places:
            for k in group.mine(chosen.tolist()):
                batch = lesson.encoded.batch([k])
                said = backbone.answers(batch, lesson.candidates, lesson.current_only)
                nats = self._nats(said, generator)
                gradients = torch.autograd.grad(nats, list(places.values()), allow_unused=True)
                for name, gradient in zip(places, gradients, strict=True):
                    if gradient is not None:  # heads of other tasks take no part
                        total[name] += gradient.square()
                count += len(said.truth)
        examples = torch.tensor(count)
        group.add_up(examples, *total.values())
        return {name: tensor / int(examples) for name, tensor in total.items()}

    def _nats(self, said: Answers, generator: torch.Generator) -> Tensor:
        if self.config.labels == "data":
            return said.nats()
        odds = said.logits.detach().softmax(-1).cpu()
        drawn = torch.multinomial(odds, 1, generator=generator)[:, 0].to(said.logits.device)
        return cross_entropy(said.logits, drawn, reduction="sum")


@contextmanager
def _differentiable(
    numbers: Mapping[str, Tensor], layers: Mapping[str, AdaptedLinear]
) -> Iterator[dict[str, Tensor]]:
    """Inside, every number can be differentiated by; of a weight, a zero that is added to it."""
    places, hooks = dict(numbers), []
    for name in [name for name in numbers if name in layers]:
        zero = torch.zeros_like(numbers[name]).requires_grad_()
        places[name] = zero

        def add(_: nn.Module, given: tuple[Tensor], y: Tensor, zero: Tensor = zero) -> Tensor:
            return y + linear(given[0].to(zero.dtype), zero).to(y.dtype)

        hooks.append(layers[name].register_forward_hook(add))
    try:
        yield places
    finally:
        for hook in hooks:
            hook.remove()


def _grown(old: Tensor, like: Tensor) -> Tensor:
    """Return ``old`` with rows of zeros behind, as many as ``like`` has more."""
    return torch.cat([old, torch.zeros_like(like[len(old) :])])
