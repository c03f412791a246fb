"""A task learned in rounds: after some steps what was learned is frozen and the pair begins anew.

    ΔW = Σ_past B A  +  s B_now A_now,   s = α / r

The chain of LoRAs that COLA, PeriodicLoRA, RAC-LoRA and XGBLoRA have in common. The past is never
merged into the backbone; it is kept as factors, whose rank grows by r per round until it would
exceed min(m, n). From then on it is one exact pair of that rank.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from continual.adapters.base import Site
from continual.adapters.half import HalfPair
from continual.adapters.pair import Pair
from continual.adapters.stack import FrozenStack


class Rounds(nn.Module):
    """The frozen rounds, the pair that learns, and a clock of (task, round, steps in the round).

    The clock is part of the state, so that a run that continues in the middle of a round ends it
    at the same step. It stays on the CPU: reading it never waits for a device.
    """

    clock: Tensor

    def __init__(self, site: Site, pair: Pair | HalfPair, *, alpha: float, every: int) -> None:
        """Begin task 0 in its round 0; there is no past."""
        super().__init__()
        self.scale, self.every = alpha / pair.A.shape[0], every
        self.past, self.pair = FrozenStack(site), pair
        self.register_buffer("clock", torch.zeros(3, dtype=torch.int64))

    @property
    def now(self) -> tuple[int, int]:
        """The current task and the round within it, both from 0."""
        return int(self.clock[0]), int(self.clock[1])

    def forward(
        self,
        x: Float[Tensor, "*batch n"],
        y: Float[Tensor, "*batch m"],
        share: Float[Tensor, " R"] | None = None,
    ) -> Float[Tensor, "*batch m"]:
        """Y + x Σ (B A)ᵗ; ``share`` weighs the past's terms of rank one, all ones by default."""
        A, B = self.pair.A, self.pair.B
        x = x.to(A.dtype)
        return (y + self.past(x, share) + self.scale * linear(linear(x, A), B)).to(y.dtype)

    def product(self, share: Float[Tensor, " R"] | None = None) -> Float[Tensor, "m n"]:
        """Σ B A, dense."""
        past = self.past.B if share is None else self.past.B * share
        return past @ self.past.A + self.scale * (self.pair.B @ self.pair.A)

    def factors(
        self, share: Float[Tensor, " R"] | None = None
    ) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """The past and the current pair side by side, detached."""
        past = self.past.B if share is None else self.past.B * share
        B, A = self.scale * self.pair.B.detach(), self.pair.A.detach()
        return torch.cat([past, B], dim=1), torch.cat([self.past.A, A])

    def over(self) -> bool:
        """Count a step; say whether the round ends with it."""
        self.clock[2] += 1
        return int(self.clock[2]) >= self.every

    @torch.no_grad()
    def append(self) -> None:
        """Copy the pair to the end of the past, unless it learned nothing."""
        if self.pair.A.any() and self.pair.B.any():
            self.past.append(self.scale * self.pair.B, self.pair.A)

    def condense(self, first: int) -> None:
        """Make one pair of the first terms of rank one, where there are more than min(m, n)."""
        B, A = self.past.B, self.past.A
        if first > min(B.shape[0], A.shape[1]):
            core_B, core_A = condensed(B[:, :first], A[:first])
            self.past.B = torch.cat([core_B, B[:, first:]], dim=1)
            self.past.A = torch.cat([core_A, A[first:]])

    def after_step(self) -> bool:
        """Count a step; where it ends the round, freeze the pair, begin another and say so."""
        if not self.over():
            return False
        self.append()
        self.condense(self.past.rank)
        self.renew()
        return True

    def begin_task(self, task: int) -> None:
        """Freeze the pair of the task before, if there was one, and begin another."""
        if task > 0:
            self.append()
            self.condense(self.past.rank)
            self.begin(task)

    def renew(self) -> None:
        """Begin the next round of the task with a pair of its own."""
        task, turn = self.now
        self.clock.copy_(torch.tensor([task, turn + 1, 0]))
        self.pair.draw(task, turn + 1)

    def begin(self, task: int) -> None:
        """Begin round 0 of a task that is not the first."""
        self.clock.copy_(torch.tensor([task, 0, 0]))
        self.pair.draw(task)

    def fit(self, tensors: Mapping[str, Tensor], prefix: str) -> None:
        """Take the size of a saved past, so that its tensors can be copied in."""
        self.past.fit(tensors, f"{prefix}past.")


def condensed(
    B: Float[Tensor, "m R"], A: Float[Tensor, "R n"]
) -> tuple[Float[Tensor, "m k"], Float[Tensor, "k n"]]:
    """Return a pair of rank k = min(m, n) with the product B A: (I, B A) or (B A, I).

    The product is summed in float64 and rounded once. No decomposition is needed for the smallest
    rank that holds every matrix, so nothing depends on a LAPACK.
    """
    product = (B.double() @ A.double()).to(B.dtype)
    m, n = product.shape
    eye = torch.eye(min(m, n), dtype=B.dtype, device=B.device)
    return (eye, product) if m <= n else (product, eye)
