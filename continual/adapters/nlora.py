"""N-LoRA: keep every task's change sparse, so that the changes of different tasks seldom collide.

    ΔW = s Σ_{k<t} B_k A_k  +  s B_t A_t,   s = α / r
    L  = L_task + λ mean |s B_t A_t|         the mean runs over all adapted numbers of the model

Two changes collide where both are non-zero; with independent supports of density p the expected
rate is p², so sparse changes leave each other alone. Past tasks are only frozen: the penalty never
looks at them. With λ = 0 this is IncLoRA, bit for bit.
Trained numbers: r (m + n) per weight and task.

Reference: Yang et al. (2024), arXiv:2410.10179.
Deviations: a mean where the paper sums, so that λ carries over between models (λ_paper = λ s / N
for N adapted numbers). The published code penalises the r × r product A B instead of B A; that does
not make ΔW sparse and is not offered. The (sub)gradient is exact, computed in blocks of rows: the
m × n product is never stored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from continual.adapters.base import Adapter, Site, check_count, check_positive, copy_state
from continual.adapters.pair import Pair
from continual.adapters.stack import FrozenStack
from continual.errors import InputError

_BLOCK = 2**20  # numbers of the product held at once: 4 MiB in float32


@dataclass(frozen=True, kw_only=True)
class NLoRAConfig:
    """Settings of N-LoRA.

    Attributes:
        rank: r, inner size of each task's pair; 8 in the paper.
        alpha: α; every pair is scaled by α / r, 2 by default (32 / 8 in the paper's code).
        lam: λ, weight of the mean absolute change; choose it on validation data.
    """

    rank: int = 8
    alpha: float = 16.0
    lam: float = 5.0

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("NLoRAConfig.rank", self.rank)
        check_positive("NLoRAConfig.alpha", self.alpha)
        if isinstance(self.lam, bool) or not 0.0 <= self.lam < float("inf"):
            raise InputError(f"NLoRAConfig.lam must be finite and at least 0; got {self.lam!r}.")


class NLoRA(Adapter):
    """The frozen sum of the past and one sparse pair that learns."""

    def __init__(self, site: Site, config: NLoRAConfig) -> None:
        """Draw the first pair."""
        super().__init__(site, config)
        self.scale = config.alpha / config.rank
        self.weight_of_mean = config.lam * site.share / site.weight.numel()
        self.stack = FrozenStack(site)
        self.pair = Pair(site, config.rank, "nlora")

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + x Σ_k (s B_k A_k)ᵗ; two pairs of products however many tasks there were."""
        x = x.to(self.pair.A.dtype)
        return (y + self.stack(x) + self.scale * self.pair(x)).to(y.dtype)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """S Σ_k B_k A_k."""
        return self.stack.product() + self.scale * self.pair.product()

    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """All pairs side by side; rank r (t + 1)."""
        B, A = self.scale * self.pair.B.detach(), self.pair.A.detach()
        return torch.cat([self.stack.B, B], dim=1), torch.cat([self.stack.A, A])

    def penalty(self) -> Float[Tensor, ""]:
        """λ · share · mean |s B A| of the current pair."""
        if self.weight_of_mean == 0.0:
            return self.pair.A.new_zeros(())
        return self.weight_of_mean * self.scale * absolute_sum(self.pair.B, self.pair.A)

    def begin_task(self, task: int) -> None:
        """The pair that has learned is frozen, and a new one starts from B = 0."""
        if task > 0:
            self.stack.append(self.scale * self.pair.B, self.pair.A)
            self.pair.draw(task)

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state; the stack takes the saved size."""
        self.stack.fit(tensors, "stack.")
        copy_state(self, tensors)

    @staticmethod
    def trained_numbers(m: int, n: int, config: NLoRAConfig, task: int) -> int:
        """R (m + n)."""
        return config.rank * (m + n)


def absolute_sum(
    B: Float[Tensor, "m r"], A: Float[Tensor, "r n"], block: int = _BLOCK
) -> Float[Tensor, ""]:
    """Return Σ |B A| with the subgradients sgn(BA) Aᵗ and Bᵗ sgn(BA), where sgn(0) = 0.

    Args:
        B: (m, r).
        A: (r, n).
        block: how many numbers of the product are held at once; at least one row is.
    """
    return _AbsoluteSum.apply(B, A, block)  # pyright: ignore[reportReturnType]


class _AbsoluteSum(torch.autograd.Function):
    """Forward and gradient in one sweep over blocks of rows, 6 m n r operations."""

    @staticmethod
    def forward(ctx: Any, B: Tensor, A: Tensor, block: int) -> Tensor:
        total, grad_B, grad_A = B.new_zeros(()), torch.empty_like(B), torch.zeros_like(A)
        rows = max(1, block // A.shape[1])
        for start in range(0, B.shape[0], rows):
            part = B[start : start + rows]
            product = part @ A
            sign = product.sign()
            total += product.abs_().sum()
            grad_B[start : start + rows] = sign @ A.T
            grad_A += part.T @ sign
        ctx.save_for_backward(grad_B, grad_A)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        grad_B, grad_A = ctx.saved_tensors
        return grad * grad_B, grad * grad_A, None
