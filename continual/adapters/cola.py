"""COLA, a chain of LoRAs: a low-rank change that is frozen and begun anew many times in a task.

    ΔW = s Σ_k B_k A_k  +  s B A,   s = α / r,   B (m, r) from zero,   A (r, n) at random

After every ``every`` optimiser steps, and where a task ends, the pair joins what is frozen and a
new one begins, A drawn for (task, round) and B zero, and the optimiser forgets the old moments. The
function stays as it is, so each pair learns what the chain before it left over; the sum may have
any rank. Trained numbers: r (m + n) per weight at any time.

Reference: Xia, Qin and Hazan (2024), arXiv:2401.04151, section 3 (tune, tie a knot, extend).
Deviations: pairs are kept beside the frozen weight in float32, exactly, where the paper adds them
to W; rounds are counted in steps, not epochs; the learning rate does not begin anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from continual.adapters.base import Adapter, Site
from continual.adapters.checks import check_count, check_positive, copy_state
from continual.adapters.method import Method
from continual.adapters.pair import Pair
from continual.adapters.rounds import Rounds


@dataclass(frozen=True, kw_only=True)
class COLAConfig:
    """Settings of COLA.

    Attributes:
        rank: r, inner size of every pair.
        alpha: α; every pair is scaled by α / r, 2 by default.
        every: optimiser steps in a round.
    """

    rank: int = 8
    alpha: float = 16.0
    every: int = 50

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("COLAConfig.rank", self.rank)
        check_positive("COLAConfig.alpha", self.alpha)
        check_count("COLAConfig.every", self.every)


class COLA(Adapter):
    """The chain, and the pair at its end."""

    def __init__(self, site: Site, config: COLAConfig) -> None:
        """Draw the first pair."""
        super().__init__(site, config)
        pair = Pair(site, config.rank, "cola")
        self.rounds = Rounds(site, pair, alpha=config.alpha, every=config.every)
        self.scale = self.rounds.scale

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + x (Σ_k s B_k A_k + s B A)ᵗ."""
        return self.rounds(x, y)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """Σ_k s B_k A_k + s B A."""
        return self.rounds.product()

    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """The chain and the pair side by side."""
        return self.rounds.factors()

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """One change: what is condensed no longer says which task it came from."""
        return [self.factors()]

    def after_step(self, lr: float) -> bool:
        """At the end of a round the pair joins the chain and a new one begins."""
        return self.rounds.after_step()

    def begin_task(self, task: int) -> None:
        """As at the end of a round."""
        self.rounds.begin_task(task)

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state, the steps of the round too; the chain takes its size."""
        self.rounds.fit(tensors, "rounds.")
        copy_state(self, tensors)

    @staticmethod
    def trained_numbers(m: int, n: int, config: COLAConfig, task: int) -> int:
        """R (m + n)."""
        return config.rank * (m + n)


METHOD = Method(
    name="cola",
    title="COLA",
    paper="Xia et al. 2024, arXiv:2401.04151",
    summary="A chain of pairs: every few steps one is frozen and the next learns what is left.",
    config=COLAConfig,
    adapter=COLA,
    trains="adapters",
    learns="A, B of the round",
    learning_rate=0.003,
    control=False,
    lora_export=True,
    trained_numbers="r (m + n)",
    restarts=True,
)
