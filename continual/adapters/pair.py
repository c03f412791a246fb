"""A pair of low-rank factors, the building block of LoRA and its descendants."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from continual.adapters.base import Site, seed_of
from continual.adapters.checks import check_rank


class Pair(nn.Module):
    """B (m, r) and A (r, n), both trained; B A is zero until the first step.

    A is drawn from U(−1/√n, 1/√n), which is Kaiming-uniform with a = √5 and fan-in n, by a CPU
    generator seeded with (site, task): a run that begins the task again draws the same numbers.
    """

    def __init__(self, site: Site, rank: int, method: str) -> None:
        """Allocate in float32 on the weight's device, and draw for task 0."""
        super().__init__()
        m, n = site.weight.shape
        rank = check_rank(rank, site, method)
        kind = {"dtype": torch.float32, "device": site.weight.device}
        self.seed = site.seed
        self.A = nn.Parameter(torch.empty(rank, n, **kind))
        self.B = nn.Parameter(torch.empty(m, rank, **kind))
        self.draw(0)

    @torch.no_grad()
    def draw(self, *when: int) -> None:
        """Start anew, in place: A at random for this task (and round within it), B at zero."""
        bound = 1.0 / math.sqrt(self.A.shape[1])
        generator = torch.Generator("cpu").manual_seed(seed_of(self.seed, "pair", *when))
        drawn = torch.empty(self.A.shape, dtype=torch.float32)
        self.A.copy_(drawn.uniform_(-bound, bound, generator=generator))
        self.B.zero_()

    def forward(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch m"]:
        """Return x (B A)ᵗ through the rank-r space."""
        return linear(linear(x, self.A), self.B)

    def product(self) -> Float[Tensor, "m n"]:
        """Return B A, dense."""
        return self.B @ self.A
