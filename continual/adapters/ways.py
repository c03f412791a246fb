"""How each task goes through factors that all share: a small core, and shares in a pool.

p_t = softmax(w_t / τ),   Λ_t (r, r) from the identity, or (r,) from ones,   w_t (k,) at random
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from continual.adapters.base import Site, seed_of

CORES = ("full", "diagonal")


class Ways(nn.Module):
    """(Λ, w) of the current task, which learn, and those of the tasks before it, frozen."""

    past_cores: Tensor
    past_mixes: Tensor

    def __init__(self, site: Site, rank: int, pool: int, core: str) -> None:
        """Draw for task 0, in float32 on the weight's device."""
        super().__init__()
        kind = {"dtype": torch.float32, "device": site.weight.device}
        shape = (rank, rank) if core == "full" else (rank,)
        self.seed = site.seed
        self.chosen: int | None = None
        self.core = nn.Parameter(torch.empty(shape, **kind))
        self.mix = nn.Parameter(torch.empty(pool, **kind))
        self.register_buffer("past_cores", torch.zeros(0, *shape, **kind))
        self.register_buffer("past_mixes", torch.zeros(0, pool, **kind))
        self.draw(0)

    @torch.no_grad()
    def draw(self, task: int) -> None:
        """Start anew, in place: Λ the identity, w from U(−1/√k, 1/√k) for this task."""
        generator = torch.Generator("cpu").manual_seed(seed_of(self.seed, "mix", task))
        drawn, bound = torch.empty(self.mix.shape, dtype=torch.float32), len(self.mix) ** -0.5
        self.mix.copy_(drawn.uniform_(-bound, bound, generator=generator))
        if self.core.dim() == 1:
            self.core.fill_(1.0)
        else:
            nn.init.eye_(self.core)

    def current(self) -> tuple[Tensor, Float[Tensor, " k"]] | None:
        """Return (Λ, w) of the task that answers; None if it has not begun."""
        begun = len(self.past_cores)
        if self.chosen is None or self.chosen == begun:
            return self.core, self.mix
        if self.chosen > begun:
            return None
        return self.past_cores[self.chosen], self.past_mixes[self.chosen]

    def every(self) -> list[tuple[Tensor, Float[Tensor, " k"]]]:
        """Return (Λ, w) of every task that has begun, detached."""
        past = zip(self.past_cores, self.past_mixes, strict=True)
        return [*past, (self.core.detach(), self.mix.detach())]

    @torch.no_grad()
    def begin(self, task: int) -> None:
        """Freeze the way of the last task, if there was one, and begin another."""
        if task > 0:
            self.past_cores = torch.cat([self.past_cores, self.core.detach()[None]])
            self.past_mixes = torch.cat([self.past_mixes, self.mix.detach()[None]])
            self.draw(task)

    def fit(self, tensors: Mapping[str, Tensor], prefix: str) -> None:
        """Take the size of a saved past, so that its tensors can be copied in."""
        tasks = (len(tensors[f"{prefix}past_cores"]),)
        self.past_cores = self.past_cores.new_zeros(tasks + self.core.shape)
        self.past_mixes = self.past_mixes.new_zeros(tasks + self.mix.shape)
