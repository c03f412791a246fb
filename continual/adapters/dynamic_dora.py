"""Dynamic DoRA: rank-1 components whose least important ones are pruned, over all weights together.

    ΔW = s Σ_{i ≤ r₀} c_i b_i a_iᵗ,   s = α / r₀,   c from zero,   r₀ = min(⌈1.5 r⌉, m, n)
    a_i from U(−√(6/n), √(6/n)),   b_i from U(−√(6/r₀), √(6/r₀))
    L + λ mean (Var a_i + Var b_i) / 2       until the last pruning; Var over a vector's entries

From step ``first`` to ``last``, every ``every`` optimiser steps, the c of the least important
((t − first) / (last − first))³ of those that must go are set to zero, whichever weight they belong
to; their moments are forgotten, so that momentum alone brings none back. They may grow back by
their gradients until the last pruning, which leaves r per weight on average, for good. Steps count
from attach through all tasks. For importance see ``components``.
Trained numbers: r₀ (m + n + 1) per weight, pruned ones included.

Reference: Mao et al. (2024), arXiv:2405.17357.
Deviations: steps instead of shares of a run, whose length an adapter does not know; nothing is
pruned at ``first`` itself, where the published code takes one component; pruned ones stay away by
a mask; variances are of the population, and layers weigh by size. Weight-decomposed DoRA: ``dora``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from continual.adapters.base import Adapter, Site
from continual.adapters.checks import (
    check_count,
    check_positive,
    check_rank,
    check_weight,
    copy_state,
)
from continual.adapters.components import Budget, Components
from continual.adapters.method import Method
from continual.errors import InputError


@dataclass(frozen=True, kw_only=True)
class DynamicDoRAConfig:
    """Settings of dynamic DoRA.

    Attributes:
        rank: r, components per weight that are left in the end, on average; ⌈1.5 r⌉ at first.
        alpha: α; the change is scaled by α / r₀.
        first: optimiser step, counted from attach, at which pruning begins.
        last: step of the last pruning.
        every: steps between two prunings.
        beta: β, how much importance is carried from a step to the next, in [0, 1).
        lam: λ, weight of the variance of the components' entries; 0 adds nothing.
    """

    rank: int = 8
    alpha: float = 16.0
    first: int = 50
    last: int = 300
    every: int = 10
    beta: float = 0.9
    lam: float = 0.1

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("DynamicDoRAConfig.rank", self.rank)
        check_positive("DynamicDoRAConfig.alpha", self.alpha)
        check_count("DynamicDoRAConfig.first", self.first, 0)
        check_count("DynamicDoRAConfig.last", self.last, self.first + 1)
        check_count("DynamicDoRAConfig.every", self.every)
        check_weight("DynamicDoRAConfig.beta", self.beta)
        check_weight("DynamicDoRAConfig.lam", self.lam)
        if self.beta >= 1.0:
            raise InputError(f"DynamicDoRAConfig.beta must be below 1; got {self.beta!r}.")

    def first_rank(self, m: int, n: int) -> int:
        """Return r₀ at an (m, n) weight."""
        return min((3 * self.rank + 1) // 2, m, n)

    def progress(self, step: int) -> float | None:
        """Return what part of those that must go is to be zero after a step; None: no pruning."""
        regular = self.first < step < self.last and (step - self.first) % self.every == 0
        if not regular and step != self.last:
            return None
        return ((step - self.first) / (self.last - self.first)) ** 3


class DynamicDoRA(Adapter):
    """One set of components is carried, and pruned, through every task."""

    steps: Tensor

    def __init__(self, site: Site, config: DynamicDoRAConfig) -> None:
        """Draw the components, which join those of the other weights."""
        super().__init__(site, config)
        check_rank(config.rank, site, "dynamic-dora")
        m, n = site.weight.shape
        rank = config.first_rank(m, n)
        self.config, self.site, self.share = config, site.name, site.share
        self.scale = config.alpha / rank
        self.parts = Components(site, rank)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.budget = site.shared.once("dynamic-dora.budget", Budget)
        self.budget.join(site.name, self.parts)

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + s x Aᵗ diag(c) Bᵗ."""
        inner = linear(x.to(self.parts.A.dtype), self.parts.A)
        return (y + self.scale * linear(inner, self.parts.left())).to(y.dtype)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """S B diag(c) A."""
        return self.scale * (self.parts.left() @ self.parts.A)

    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """(s B diag(c), A); columns of pruned components are zero."""
        return self.scale * self.parts.left().detach(), self.parts.A.detach()

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """One pair: all tasks share it."""
        return [self.factors()]

    def penalty(self) -> Float[Tensor, ""]:
        """λ times the mean variance, until the last pruning."""
        if self.config.lam == 0.0 or int(self.steps) >= self.config.last:
            return self.parts.c.new_zeros(())
        return self.config.lam * self.share * self.parts.spread()

    def after_step(self, lr: float) -> bool:
        """Count the step, remember what mattered in it, and prune where it is time."""
        self.steps += 1
        step = int(self.steps)
        if step <= self.config.last:
            self.parts.remember(self.config.beta)
        progress = self.config.progress(step)
        if progress is not None:
            self.budget.prune(self.site, progress, self.config.rank)
        return False

    def cleared(self) -> Mapping[nn.Parameter, Tensor]:
        """Every c that the last pruning took, so that only a gradient can bring it back."""
        return self.parts.cleared()

    def begin_task(self, task: int) -> None:
        """The same components go on learning, and competing."""

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state."""
        copy_state(self, tensors)

    @staticmethod
    def continues(config: DynamicDoRAConfig) -> bool:
        """They do."""
        return True

    @staticmethod
    def trained_numbers(m: int, n: int, config: DynamicDoRAConfig, task: int) -> int:
        """R₀ (m + n + 1)."""
        return config.first_rank(m, n) * (m + n + 1)


METHOD = Method(
    name="dynamic-dora",
    title="DoRA (dynamic rank)",
    paper="Mao et al. 2024, arXiv:2405.17357",
    summary="Rank-1 components compete over all weights for a budget that shrinks as they learn.",
    config=DynamicDoRAConfig,
    adapter=DynamicDoRA,
    trains="adapters",
    learns="A, B, c",
    learning_rate=0.003,
    control=False,
    lora_export=True,
    trained_numbers="⌈1.5 r⌉ (m + n + 1)",
    restarts=True,
)
