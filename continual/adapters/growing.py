"""A new low-rank pair for every task on top of the frozen earlier ones.

    ΔW = s Σ_{k<t} B_k A_k  +  s B_t A_t,   s = α / r

What IncLoRA is, and what N-LoRA and O-LoRA put their penalties on. At the end of a task its pair
moves into one frozen stack, so a step costs two pairs of products however many tasks there were;
memory grows by r (m + n) per task and weight.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from continual.adapters.base import Site
from continual.adapters.pair import Pair
from continual.adapters.stack import FrozenStack


class Growing(nn.Module):
    """The frozen sum of the past and one pair that learns."""

    def __init__(self, site: Site, rank: int, alpha: float, method: str) -> None:
        """Draw the first pair; there is no past."""
        super().__init__()
        self.scale = alpha / rank
        self.stack = FrozenStack(site)
        self.pair = Pair(site, rank, method)

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + x Σ_k (s B_k A_k)ᵗ."""
        x = x.to(self.pair.A.dtype)
        return (y + self.stack(x) + self.scale * self.pair(x)).to(y.dtype)

    def product(self) -> Float[Tensor, "m n"]:
        """S Σ_k B_k A_k, dense."""
        return self.stack.product() + self.scale * self.pair.product()

    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """All pairs side by side; rank r (t + 1)."""
        B, A = self.scale * self.pair.B.detach(), self.pair.A.detach()
        return torch.cat([self.stack.B, B], dim=1), torch.cat([self.stack.A, A])

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """(s B_k, A_k) of every task."""
        B, A = self.factors()
        rank = self.pair.A.shape[0]
        return list(zip(B.split(rank, dim=1), A.split(rank), strict=True))

    def begin(self, task: int) -> None:
        """Freeze the pair that has learned; a new one starts from B = 0."""
        if task > 0:
            self.stack.append(self.scale * self.pair.B, self.pair.A)
            self.pair.draw(task)

    def fit(self, tensors: Mapping[str, Tensor], prefix: str) -> None:
        """Take the size of a saved stack, so that its tensors can be copied in."""
        self.stack.fit(tensors, f"{prefix}stack.")
