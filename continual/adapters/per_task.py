"""A fresh LoRA for every task: the control whose adapters cannot forget, nor transfer.

    ΔW_j = s B_j A_j,   s = α / r            task j is answered with its own pair alone

It needs to be told the task at inference. What a method that shares one function among its tasks
loses against it is the price of sharing; what it gains is transfer.
Trained numbers: r (m + n) per weight and task.

Reference: the "PerTaskFT" baseline of Wang et al. (2023), arXiv:2310.14152, with LoRA.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from continual.adapters.base import Adapter, Site
from continual.adapters.checks import check_count, check_positive, copy_state
from continual.adapters.method import Method
from continual.adapters.pair import Pair
from continual.adapters.stack import FrozenStack


@dataclass(frozen=True, kw_only=True)
class PerTaskConfig:
    """Settings of the control.

    Attributes:
        rank: r, inner size of each task's pair.
        alpha: α; every pair is scaled by α / r, 2 by default.
    """

    rank: int = 8
    alpha: float = 16.0

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("PerTaskConfig.rank", self.rank)
        check_positive("PerTaskConfig.alpha", self.alpha)


class PerTask(Adapter):
    """The finished pairs, side by side and never summed, and the one that learns."""

    def __init__(self, site: Site, config: PerTaskConfig) -> None:
        """Draw the first pair."""
        super().__init__(site, config)
        self.rank, self.scale = config.rank, config.alpha / config.rank
        self.finished = FrozenStack(site)
        self.pair = Pair(site, config.rank, "per-task")
        self.chosen: int | None = None

    def _factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """Return the pair that answers; of a task that has not begun, zeros."""
        begun = self.finished.rank // self.rank
        if self.chosen is None or self.chosen == begun:
            return self.pair.B, self.pair.A
        if self.chosen > begun:
            return torch.zeros_like(self.pair.B), torch.zeros_like(self.pair.A)
        rows = slice(self.chosen * self.rank, (self.chosen + 1) * self.rank)
        return self.finished.B[:, rows], self.finished.A[rows]

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + s x A_jᵗ B_jᵗ."""
        B, A = self._factors()
        return (y + self.scale * linear(linear(x.to(A.dtype), A), B)).to(y.dtype)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """S B_j A_j."""
        B, A = self._factors()
        return self.scale * (B @ A)

    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """(s B_j, A_j)."""
        B, A = self._factors()
        return self.scale * B.detach(), A.detach()

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """(s B_k, A_k) of every task."""
        B = torch.cat([self.finished.B, self.pair.B.detach()], dim=1)
        A = torch.cat([self.finished.A, self.pair.A.detach()])
        pairs = zip(B.split(self.rank, dim=1), A.split(self.rank), strict=True)
        return [(self.scale * B, A) for B, A in pairs]

    def begin_task(self, task: int) -> None:
        """Put the finished pair aside and draw a new one."""
        if task > 0:
            self.finished.append(self.pair.B, self.pair.A)
            self.pair.draw(task)

    def serve(self, task: int | None) -> None:
        """Answer with the pair of that task."""
        self.chosen = task

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state; the finished pairs take the saved size."""
        self.finished.fit(tensors, "finished.")
        copy_state(self, tensors)

    @staticmethod
    def needs_task(config: PerTaskConfig) -> bool:
        """Every task has its own pair."""
        return True

    @staticmethod
    def trained_numbers(m: int, n: int, config: PerTaskConfig, task: int) -> int:
        """R (m + n)."""
        return config.rank * (m + n)


METHOD = Method(
    name="per-task",
    title="A LoRA per task",
    paper="",
    summary="Every task has a LoRA of its own, which no other changes; tell it the task.",
    config=PerTaskConfig,
    adapter=PerTask,
    trains="adapters",
    learns="A, B of the task",
    learning_rate=0.003,
    control=True,
    lora_export=True,
    trained_numbers="r (m + n)",
)
