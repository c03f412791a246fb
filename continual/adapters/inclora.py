"""IncLoRA: a new low-rank pair for every task on top of all earlier ones, which are frozen.

    ΔW = s Σ_{k<t} B_k A_k  +  s B_t A_t,   s = α / r

At the end of a task its pair moves into one frozen stack, so the cost of a step does not depend on
the number of tasks; memory grows by r (m + n) per task and weight. No task identity is needed.
Trained numbers: r (m + n) per weight and task.

Reference: the "IncLoRA" baseline of Wang et al. (2023), arXiv:2310.14152 (O-LoRA), section 4.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from continual.adapters.base import Adapter, Site
from continual.adapters.checks import check_count, check_positive, copy_state
from continual.adapters.growing import Growing
from continual.adapters.method import Method


@dataclass(frozen=True, kw_only=True)
class IncLoRAConfig:
    """Settings of IncLoRA.

    Attributes:
        rank: r, inner size of each task's pair.
        alpha: α; every pair is scaled by α / r, 2 by default.
    """

    rank: int = 8
    alpha: float = 16.0

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("IncLoRAConfig.rank", self.rank)
        check_positive("IncLoRAConfig.alpha", self.alpha)


class IncLoRA(Adapter):
    """The frozen sum of the past and one pair that learns."""

    def __init__(self, site: Site, config: IncLoRAConfig) -> None:
        """Draw the first pair."""
        super().__init__(site, config)
        self.pairs = Growing(site, config.rank, config.alpha, "inclora")
        self.scale = self.pairs.scale

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + x Σ_k (s B_k A_k)ᵗ; two pairs of products however many tasks there were."""
        return self.pairs(x, y)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """S Σ_k B_k A_k."""
        return self.pairs.product()

    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """All pairs side by side; rank r (t + 1)."""
        return self.pairs.factors()

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """(s B_k, A_k) of every task."""
        return self.pairs.changes()

    def begin_task(self, task: int) -> None:
        """The pair that has learned is frozen, and a new one starts from B = 0."""
        self.pairs.begin(task)

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state; the stack takes the saved size."""
        self.pairs.fit(tensors, "pairs.")
        copy_state(self, tensors)

    @staticmethod
    def trained_numbers(m: int, n: int, config: IncLoRAConfig, task: int) -> int:
        """R (m + n)."""
        return config.rank * (m + n)


METHOD = Method(
    name="inclora",
    title="IncLoRA",
    paper="Wang et al. 2023, arXiv:2310.14152",
    summary="A new pair per task on top of the frozen earlier ones.",
    config=IncLoRAConfig,
    adapter=IncLoRA,
    trains="adapters",
    learns="A, B of the task",
    learning_rate=0.003,
    control=False,
    lora_export=True,
    trained_numbers="r (m + n)",
)
