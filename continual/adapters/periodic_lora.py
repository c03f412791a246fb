"""PeriodicLoRA: a pair is unloaded into the frozen part every few steps, with a momentum.

    V_0 = 0,   V_k = μ V_{k−1} + (1 − μ) s B_k A_k        at the end of round k of a task
    ΔW = Σ_{i≤k} V_i  +  s B A,   s = α / r,   B (m, r) from zero,   A (r, n) at random

As COLA, but what round k has learned enters the frozen part bit by bit, 1 − μ of it at once and the
rest, halved at μ = 1/2, with each later unloading: after j unloadings its share is 1 − μʲ. So an
unloading *changes the function*, by μ (V_{k−1} − s B_k A_k); with μ = 0 this is COLA. Where a task
ends, a pair in the middle of its round is taken whole, and what finished rounds have not unloaded
yet is dropped (of the last round too, if it ended with the task's last step): the function stays as
it is, and V begins at zero.
Trained numbers: r (m + n) per weight at any time.

Reference: Meng et al. (2024), arXiv:2402.16141 (stages, unloading, momentum).
Deviations: the abstract names a momentum-based unloading; its exact form is not given there nor in
public code, so V above is ours. Unloaded pairs are kept beside the frozen weight in float32; rounds
are counted in steps; the learning rate does not begin anew with a round.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from continual.adapters.base import Adapter, Site
from continual.adapters.checks import check_count, check_positive, check_weight, copy_state
from continual.adapters.method import Method
from continual.adapters.pair import Pair
from continual.adapters.rounds import Rounds
from continual.errors import InputError

NOTHING = 2.0**-25  # a withheld share that rounds to none of a float32 number


@dataclass(frozen=True, kw_only=True)
class PeriodicLoRAConfig:
    """Settings of PeriodicLoRA.

    Attributes:
        rank: r, inner size of every pair.
        alpha: α; every pair is scaled by α / r, 2 by default.
        every: optimiser steps in a round.
        momentum: μ, in [0, 1): how much of the last unloading is made again.
    """

    rank: int = 8
    alpha: float = 16.0
    every: int = 50
    momentum: float = 0.5

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("PeriodicLoRAConfig.rank", self.rank)
        check_positive("PeriodicLoRAConfig.alpha", self.alpha)
        check_count("PeriodicLoRAConfig.every", self.every)
        check_weight("PeriodicLoRAConfig.momentum", self.momentum)
        if self.momentum >= 1:
            raise InputError(
                f"PeriodicLoRAConfig.momentum must be below 1, or nothing would ever be unloaded; "
                f"got {self.momentum!r}."
            )


class PeriodicLoRA(Adapter):
    """The past with the share of each of its terms that is withheld, and the pair that learns."""

    withheld: Tensor

    def __init__(self, site: Site, config: PeriodicLoRAConfig) -> None:
        """Draw the first pair."""
        super().__init__(site, config)
        pair = Pair(site, config.rank, "periodic-lora")
        self.rounds = Rounds(site, pair, alpha=config.alpha, every=config.every)
        self.scale = self.rounds.scale
        self.momentum = config.momentum
        self.register_buffer("withheld", torch.zeros(0, device=site.weight.device))

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + x (Σ V + s B A)ᵗ."""
        return self.rounds(x, y, 1 - self.withheld)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """Σ V + s B A."""
        return self.rounds.product(1 - self.withheld)

    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """What is unloaded and the pair side by side."""
        return self.rounds.factors(1 - self.withheld)

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """One change: what is condensed no longer says which task it came from."""
        return [self.factors()]

    def after_step(self, lr: float) -> bool:
        """At the end of a round, unload and begin a new pair."""
        if not self.rounds.over():
            return False
        self._unload(self.momentum)
        self.rounds.renew()
        return True

    def _unload(self, momentum: float) -> None:
        """Append the pair; of it and of what was withheld, withhold the share μ."""
        past = self.rounds.past
        self.rounds.append()
        new = self.withheld.new_ones(past.rank - len(self.withheld))
        withheld = momentum * torch.cat([self.withheld, new])
        given = int((withheld <= NOTHING).sum())  # the oldest, as shares only shrink
        self.rounds.condense(given)
        rest = withheld[given:]
        self.withheld = torch.cat([rest.new_zeros(past.rank - len(rest)), rest])

    def begin_task(self, task: int) -> None:
        """The past stays at its present shares and takes the whole of the last pair."""
        if task > 0:
            past = self.rounds.past
            past.B = past.B * (1 - self.withheld)
            self.withheld = torch.zeros_like(self.withheld)
            self._unload(0.0)
            self.rounds.begin(task)

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state; the past and its shares take their size."""
        self.rounds.fit(tensors, "rounds.")
        self.withheld = self.withheld.new_zeros(self.rounds.past.rank)
        copy_state(self, tensors)

    @staticmethod
    def trained_numbers(m: int, n: int, config: PeriodicLoRAConfig, task: int) -> int:
        """R (m + n)."""
        return config.rank * (m + n)


METHOD = Method(
    name="periodic-lora",
    title="PeriodicLoRA",
    paper="Meng et al. 2024, arXiv:2402.16141",
    summary="As COLA, but what a round has learned is unloaded with a momentum.",
    config=PeriodicLoRAConfig,
    adapter=PeriodicLoRA,
    trains="adapters",
    learns="A, B of the round",
    learning_rate=0.003,
    control=False,
    lora_export=True,
    trained_numbers="r (m + n)",
    restarts=True,
)
