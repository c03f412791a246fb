"""RAC-LoRA: a chain of LoRAs in which one factor of every pair is random and stays as drawn.

    ΔW = s Σ_k B_k A_k  +  s B A,   s = α / r
    side "B":  A (r, n) ~ N(0, 1 / 3n) fixed,  B (m, r) learns from zero
    side "A":  B (m, r) ~ N(0, 1 / 3m) fixed,  A (r, n) learns from zero

With one factor fixed the change is linear in what learns, so a smooth loss stays smooth, and a step
of gradient descent is one on W, projected to the span of the fixed factor. A new random factor in
every round (after ``every`` optimiser steps, and where a task ends) reaches all directions in time.
Trained numbers: r m per weight for side "B", r n for side "A".

Reference: Malinovsky et al. (2024), arXiv:2410.08305, Randomized Asymmetric Chain of LoRA.
Deviations: frozen pairs are kept beside W in float32; rounds are counted in steps; the variance is
that of a random factor of LoRA here. The side is the same in all rounds, as in the paper; to draw
it anew in every round is Bernoulli-LoRA (arXiv:2508.03820), which is another method.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from continual.adapters.base import Adapter, Site
from continual.adapters.checks import check_choice, check_count, check_positive, copy_state
from continual.adapters.half import SIDES, HalfPair
from continual.adapters.method import Method
from continual.adapters.rounds import Rounds


@dataclass(frozen=True, kw_only=True)
class RACLoRAConfig:
    """Settings of RAC-LoRA.

    Attributes:
        rank: r, inner size of every pair.
        alpha: α; every pair is scaled by α / r, 2 by default.
        every: optimiser steps in a round.
        side: the factor that learns: B (at the output) or A (at the input).
    """

    rank: int = 8
    alpha: float = 16.0
    every: int = 50
    side: str = "B"

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("RACLoRAConfig.rank", self.rank)
        check_positive("RACLoRAConfig.alpha", self.alpha)
        check_count("RACLoRAConfig.every", self.every)
        check_choice("RACLoRAConfig.side", self.side, SIDES)


class RACLoRA(Adapter):
    """The chain, and the half-random pair at its end."""

    def __init__(self, site: Site, config: RACLoRAConfig) -> None:
        """Draw the first pair."""
        super().__init__(site, config)
        pair = HalfPair(site, config.rank, "rac-lora", config.side)
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
        """At the end of a round the pair joins the chain and a new one is drawn."""
        return self.rounds.after_step()

    def begin_task(self, task: int) -> None:
        """As at the end of a round."""
        self.rounds.begin_task(task)

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state, the random factor too; the chain takes its size."""
        self.rounds.fit(tensors, "rounds.")
        copy_state(self, tensors)

    @staticmethod
    def trained_numbers(m: int, n: int, config: RACLoRAConfig, task: int) -> int:
        """R m, or r n for side A."""
        return config.rank * (m if config.side == "B" else n)


METHOD = Method(
    name="rac-lora",
    title="RAC-LoRA",
    paper="Malinovsky et al. 2024, arXiv:2410.08305",
    summary="A chain of pairs of which one factor is random and fixed, drawn anew every round.",
    config=RACLoRAConfig,
    adapter=RACLoRA,
    trains="adapters",
    learns="B of the round",
    learning_rate=0.01,
    control=False,
    lora_export=True,
    trained_numbers="r m",
    restarts=True,
)
