"""A pair of low-rank factors of which only one learns; the other is drawn and stays."""

import math

import torch
from torch import Tensor, nn

from continual.adapters.base import Site, seed_of
from continual.adapters.checks import check_rank

SIDES = ("A", "B")


class HalfPair(nn.Module):
    """B (m, r) and A (r, n); the factor named by ``side`` learns, from zero, so that B A is zero.

    The other is a buffer, drawn from N(0, 1 / 3k), where k is its long side: the variance that a
    random factor of ``Pair`` has. A CPU generator seeded with (site, task, round) draws it.
    """

    A: Tensor
    B: Tensor

    def __init__(self, site: Site, rank: int, method: str, side: str) -> None:
        """Allocate in float32 on the weight's device, and draw for task 0."""
        super().__init__()
        m, n = site.weight.shape
        rank = check_rank(rank, site, method)
        self.seed, self.side = site.seed, side
        for name, shape in {"A": (rank, n), "B": (m, rank)}.items():
            numbers = torch.zeros(shape, dtype=torch.float32, device=site.weight.device)
            if name == side:
                self.register_parameter(name, nn.Parameter(numbers))
            else:
                self.register_buffer(name, numbers)
        self.draw(0)

    @torch.no_grad()
    def draw(self, *when: int) -> None:
        """Start anew, in place: one factor at random for this task (and round), one at zero."""
        learned, drawn = (self.A, self.B) if self.side == "A" else (self.B, self.A)
        generator = torch.Generator("cpu").manual_seed(seed_of(self.seed, "half", *when))
        numbers = torch.randn(drawn.shape, dtype=torch.float32, generator=generator)
        drawn.copy_(numbers / math.sqrt(3 * max(drawn.shape)))
        learned.zero_()
