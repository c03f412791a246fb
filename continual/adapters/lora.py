"""LoRA: one low-rank change of the frozen weight, trained through all tasks.

    ΔW = s B A,   B (m, r) from zero,   A (r, n) from U(−1/√n, 1/√n),   s = α / r

The baseline that every other method is measured against: nothing in it protects earlier tasks.
Trained numbers: r (m + n) per weight.

Reference: Hu et al. (2022), arXiv:2106.09685, section 4.1.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from continual.adapters.base import Adapter, Site
from continual.adapters.checks import check_count, check_positive, copy_state
from continual.adapters.method import Method
from continual.adapters.pair import Pair


@dataclass(frozen=True, kw_only=True)
class LoRAConfig:
    """Settings of LoRA.

    Attributes:
        rank: r, inner size of the pair.
        alpha: α; the change is scaled by α / r, 2 by default.
    """

    rank: int = 8
    alpha: float = 16.0

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("LoRAConfig.rank", self.rank)
        check_positive("LoRAConfig.alpha", self.alpha)


class LoRA(Adapter):
    """One pair is carried through every task."""

    def __init__(self, site: Site, config: LoRAConfig) -> None:
        """Draw the pair."""
        super().__init__(site, config)
        self.scale = config.alpha / config.rank
        self.pair = Pair(site, config.rank, "lora")

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + s x Aᵗ Bᵗ."""
        return (y + self.scale * self.pair(x.to(self.pair.A.dtype))).to(y.dtype)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """S B A."""
        return self.scale * self.pair.product()

    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """(s B, A)."""
        return self.scale * self.pair.B.detach(), self.pair.A.detach()

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """One pair: all tasks share it."""
        return [self.factors()]

    def begin_task(self, task: int) -> None:
        """The same pair goes on learning."""

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state."""
        copy_state(self, tensors)

    @staticmethod
    def continues(config: LoRAConfig) -> bool:
        """They do."""
        return True

    @staticmethod
    def trained_numbers(m: int, n: int, config: LoRAConfig, task: int) -> int:
        """R (m + n)."""
        return config.rank * (m + n)


METHOD = Method(
    name="lora",
    title="LoRA",
    paper="Hu et al. 2022, arXiv:2106.09685",
    summary="One low-rank pair is trained through all tasks.",
    config=LoRAConfig,
    adapter=LoRA,
    trains="adapters",
    learns="A, B",
    learning_rate=0.003,
    control=True,
    lora_export=True,
    trained_numbers="r (m + n)",
)
