"""MTL-LoRA: factors that all tasks share, and for each task its own way through them.

    ΔW_t = s (Σ_j p_tj B_j) Λ_t A,   p_t = softmax(w_t / τ),   s = α / r

A (r, n) at random and the pool of k factors B_j (m, r) from zero are shared; Λ_t (r, r), from the
identity, and w_t (k), from U(−1/√k, 1/√k), belong to task t. It needs to be told the task. In a
sequence Λ and w of past tasks are frozen while A and B go on learning, so what *earlier* tasks
answer changes while later ones learn; where a task begins nothing changes. A task that has not
begun answers as the backbone.
Trained numbers: r n + k m r + r² + k per weight, r instead of r² where Λ is diagonal.

Reference: Yang et al. (2024), arXiv:2410.09437; code pUmpKin-Co/MTL-LoRA.
Deviations: the paper learns all tasks at once, here they come in turn. The published layer divides
by its temperature, whose default is zero; τ must be positive. One vector w_t per adapted weight.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from continual.adapters.base import Adapter, Site
from continual.adapters.checks import check_choice, check_count, check_positive, copy_state
from continual.adapters.method import Method
from continual.adapters.pair import Pair
from continual.adapters.ways import CORES, Ways


@dataclass(frozen=True, kw_only=True)
class MTLLoRAConfig:
    """Settings of MTL-LoRA.

    Attributes:
        rank: r, inner size.
        alpha: α; the change is scaled by α / r, 2 by default.
        pool: k, how many factors B_j there are.
        temperature: τ; the smaller, the more a task keeps to one B_j.
        core: shape of Λ_t: full (r², the published runs) or diagonal (r).
    """

    rank: int = 8
    alpha: float = 16.0
    pool: int = 3
    temperature: float = 0.1
    core: str = "full"

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("MTLLoRAConfig.rank", self.rank)
        check_positive("MTLLoRAConfig.alpha", self.alpha)
        check_count("MTLLoRAConfig.pool", self.pool)
        check_positive("MTLLoRAConfig.temperature", self.temperature)
        check_choice("MTLLoRAConfig.core", self.core, CORES)


class MTLLoRA(Adapter):
    """The shared factors, and the ways of all tasks."""

    def __init__(self, site: Site, config: MTLLoRAConfig) -> None:
        """Draw A and the way of task 0."""
        super().__init__(site, config)
        self.scale, self.temperature = config.alpha / config.rank, config.temperature
        self.A = Pair(site, config.rank, "mtl-lora").A  # drawn as LoRA draws it
        self.B = nn.Parameter(self.A.new_zeros(config.pool, site.weight.shape[0], config.rank))
        self.ways = Ways(site, config.rank, config.pool, config.core)

    def _output(self, way: tuple[Tensor, Float[Tensor, " k"]] | None) -> Float[Tensor, "m r"]:
        """Return s (Σ_j p_j B_j) Λ; zeros for a task that has not begun."""
        if way is None:
            return torch.zeros_like(self.B[0])
        core, mix = way
        shares = (mix / self.temperature).softmax(dim=0)
        B = self.scale * (shares[:, None, None] * self.B).sum(dim=0)
        return B @ core if core.dim() == 2 else B * core

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + s x Aᵗ Λ_tᵗ (Σ_j p_tj B_j)ᵗ."""
        inner = linear(x.to(self.A.dtype), self.A)
        return (y + linear(inner, self._output(self.ways.current()))).to(y.dtype)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """S (Σ_j p_tj B_j) Λ_t A."""
        return self._output(self.ways.current()) @ self.A

    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """(s (Σ_j p_tj B_j) Λ_t, A)."""
        return self._output(self.ways.current()).detach(), self.A.detach()

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """The factors of every task, with A and B as they are now."""
        A = self.A.detach()
        return [(self._output(way).detach(), A) for way in self.ways.every()]

    def begin_task(self, task: int) -> None:
        """Put the way of the last task aside and begin another; A and B go on learning."""
        self.ways.begin(task)

    def serve(self, task: int | None) -> None:
        """Answer by the way of that task."""
        self.ways.chosen = task

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state; the past takes its size."""
        self.ways.fit(tensors, "ways.")
        copy_state(self, tensors)

    @staticmethod
    def needs_task(config: MTLLoRAConfig) -> bool:
        """Every task has a way of its own."""
        return True

    @staticmethod
    def trained_numbers(m: int, n: int, config: MTLLoRAConfig, task: int) -> int:
        """R n + k m r + r² + k, or r for r² where Λ is diagonal."""
        core = config.rank ** (2 if config.core == "full" else 1)
        return config.rank * (n + config.pool * m) + core + config.pool


METHOD = Method(
    name="mtl-lora",
    title="MTL-LoRA",
    paper="Yang et al. 2024, arXiv:2410.09437",
    summary="Tasks share factors and each has its own small way through them; tell it the task.",
    config=MTLLoRAConfig,
    adapter=MTLLoRA,
    trains="adapters",
    learns="A, all B_j, Λ and w of the task",
    learning_rate=0.001,
    control=False,
    lora_export=True,
    trained_numbers="r n + k m r + r² + k",
)
