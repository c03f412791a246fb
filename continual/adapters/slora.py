"""S-LoRA, that is SD-LoRA (scalable decoupled LoRA); not the serving system of the same name.

    ΔW = Σ_{k<t} α_k D_k  +  α_t B_t A_t,   D_k = B_k A_k / ‖B_k A_k‖_F

Directions D_k of past tasks are frozen; all their magnitudes α_1 … α_t go on learning, so that
later tasks re-use early directions. The current pair is trained unnormalised under its own
magnitude, 0.8 at first. When the next task begins, α_k := α_t ‖B_t A_t‖_F: the function does not
change. A pair that learned nothing (B_t A_t = 0) keeps a place with α_k = 0 and D_k = 0.
Trained numbers: r (m + n) + t magnitudes per weight during the t-th task.

Reference: Wu et al. (2025), arXiv:2501.13198 (version 1 calls it S-LoRA).
Deviations from the published code: one magnitude per layer and task instead of one per task for
the whole network; division by ‖B A‖_F as in the paper, not by ‖B‖_F ‖A‖_F; magnitudes continue at a
task boundary instead of restarting at 0.8, which would change the function.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from continual.adapters.base import Adapter, Site, check_count, check_positive, copy_state
from continual.adapters.pair import Pair
from continual.adapters.stack import FrozenStack
from continual.linalg import gram_norm


@dataclass(frozen=True, kw_only=True)
class SLoRAConfig:
    """Settings of S-LoRA.

    Attributes:
        rank: r, inner size of each task's pair; 10 in the published runs, 8 here so that its
            budget is that of the other methods.
        magnitude: α_t of a new pair, 0.8 in the published code.
    """

    rank: int = 8
    magnitude: float = 0.8

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("SLoRAConfig.rank", self.rank)
        check_positive("SLoRAConfig.magnitude", self.magnitude)


class SLoRA(Adapter):
    """Frozen unit directions, one vector of magnitudes that all learn, one pair that learns."""

    def __init__(self, site: Site, config: SLoRAConfig) -> None:
        """Draw the first pair; no direction is known yet."""
        super().__init__(site, config)
        self.rank, self.initial = config.rank, config.magnitude
        self.directions = FrozenStack(site)
        self.pair = Pair(site, config.rank, "slora")
        self.magnitudes = nn.Parameter(torch.full_like(self.pair.A[0, :1], self.initial))

    def _scale(self) -> Float[Tensor, " R"]:
        """The past magnitudes, each repeated for the r inner rows of its direction."""
        return self.magnitudes[:-1].repeat_interleave(self.rank)

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + x (Σ α_k D_k + α_t B_t A_t)ᵗ; two pairs of products however many tasks there were."""
        x = x.to(self.pair.A.dtype)
        past = self.directions(x, self._scale())
        return (y + past + self.magnitudes[-1] * self.pair(x)).to(y.dtype)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """Σ α_k D_k + α_t B_t A_t."""
        past = (self.directions.B * self._scale()) @ self.directions.A
        return past + self.magnitudes[-1] * self.pair.product()

    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """All directions side by side with their magnitudes folded in; rank r (t + 1)."""
        with torch.no_grad():
            past = self.directions.B * self._scale()
            current = self.magnitudes[-1] * self.pair.B
            B = torch.cat([past, current], dim=1)
            return B, torch.cat([self.directions.A, self.pair.A])

    def penalty(self) -> Float[Tensor, ""]:
        """None; the orthogonality term of the published code is computed there and never used."""
        return self.pair.A.new_zeros(())

    @torch.no_grad()
    def begin_task(self, task: int) -> None:
        """Freeze the learned direction at unit norm, move its norm into its magnitude."""
        if task == 0:
            return
        B, A = self.pair.B, self.pair.A
        norm = gram_norm(B, A)
        unit = B / norm if norm > 0.0 else torch.zeros_like(B)
        self.directions.append(unit, A)
        learned = self.magnitudes.detach().clone()
        learned[-1] *= norm
        self.magnitudes = nn.Parameter(torch.cat([learned, learned.new_tensor([self.initial])]))
        self.pair.draw(task)

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state; stack and magnitudes take the saved size."""
        self.directions.fit(tensors, "directions.")
        tasks = self.directions.rank // self.rank + 1
        if tasks != len(self.magnitudes):
            self.magnitudes = nn.Parameter(self.magnitudes.new_zeros(tasks))
        copy_state(self, tensors)

    @staticmethod
    def trained_numbers(m: int, n: int, config: SLoRAConfig, task: int) -> int:
        """R (m + n) + t, with t = task + 1 magnitudes."""
        return config.rank * (m + n) + task + 1
