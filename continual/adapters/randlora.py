"""RandLoRA: a full-rank change from random matrices, of which only diagonal scales learn.

    ΔW = α Σ_{i ≤ N} B_i Λ_i A Γ_i        where n ≤ m, otherwise with both sides exchanged:
    ΔW = α Σ_{i ≤ N} Γ_i Aᵗ Λ_i B_iᵗ      N = ⌈min(m, n) / r⌉, enough for full rank
    B_i (max(m, n), r) and A (r, min(m, n)) random and frozen, of variance 1
    Λ_i (r) from zero, Γ_i (min(m, n)) from 1 / max(N, min(m, n)), both diagonal and trained

A smaller r means more bases and more trained numbers. A and the B_i belong to all weights together
and are pure functions of the attach seed, see ``bases``; a state holds the seed and a hash of them,
not the matrices, which take about as much memory as the largest weight, once per model.
Trained numbers: N (r + min(m, n)) per weight.

Reference: Albert et al. (2025), arXiv:2502.00987.
Deviations: entries have variance 1 exactly in their distribution, where the published code divides
by the sample's; α is what that code calls α / r, 20 by default. PEFT pairs the columns of the B_i
with the rows of A in another order, which for random B_i is the same method.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from continual.adapters.base import Adapter, Site
from continual.adapters.checks import check_count, check_positive, check_rank, copy_state
from continual.adapters.method import Method
from continual.adapters.streams import Bases
from continual.errors import InputError


@dataclass(frozen=True, kw_only=True)
class RandLoRAConfig:
    """Settings of RandLoRA.

    Attributes:
        rank: r of one random product; more numbers learn where it is smaller.
        alpha: α, scale of the change; not divided by the rank.
    """

    rank: int = 32
    alpha: float = 20.0

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("RandLoRAConfig.rank", self.rank)
        check_positive("RandLoRAConfig.alpha", self.alpha)


class RandLoRA(Adapter):
    """One set of scales is carried through every task."""

    seed: Tensor
    digest: Tensor

    def __init__(self, site: Site, config: RandLoRAConfig) -> None:
        """Take what is needed of the shared matrices."""
        super().__init__(site, config)
        m, n = site.weight.shape
        rank, device = check_rank(config.rank, site, "randlora"), site.weight.device
        self.alpha, self.wide, self.site = config.alpha, n > m, site.name
        count = -(-min(m, n) // rank)
        self.size = (min(m, n), max(m, n), count)
        self.bases = site.shared.once(
            f"randlora.bases on {device}", lambda: Bases(site.shared.seed, rank, device)
        )
        self.register_buffer("seed", torch.tensor(self.bases.seed, device=device))
        self.register_buffer("digest", self.bases.digest(*self.size).to(device))
        self.Lambda = nn.Parameter(torch.zeros(count, rank, device=device))
        first = 1.0 / max(count, min(m, n))
        self.Gamma = nn.Parameter(torch.full((count, min(m, n)), first, device=device))

    def _factors(self) -> tuple[Float[Tensor, "m d"], Float[Tensor, "d n"]]:
        """Return [B_1 … B_N] and the rows Λ_i A Γ_i, or both transposed where W is wide."""
        A, B = self.bases.take(*self.size)
        scaled = (self.Lambda[:, :, None] * A * self.Gamma[:, None, :]).flatten(0, 1)
        return (scaled.T, B.T) if self.wide else (B, scaled)

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + α x ΔWᵗ through N r numbers."""
        left, right = self._factors()
        changed = linear(linear(x.to(right.dtype), right), left)
        return (y + self.alpha * changed).to(y.dtype)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """α Σ B_i Λ_i A Γ_i."""
        left, right = self._factors()
        return self.alpha * (left @ right)

    def factors(self) -> None:
        """None: the rank is full."""

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """None of low rank."""
        return []

    def begin_task(self, task: int) -> None:
        """The same scales go on learning."""

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Scales from the state; the matrices again from its seed, held against its hash.

        Raises:
            InputError: they are not those that the scales were learned with.
        """
        self.bases.reseed(int(tensors["seed"]))
        if not torch.equal(self.bases.digest(*self.size), tensors["digest"].cpu()):
            raise InputError(
                f"the random matrices of seed {int(tensors['seed'])} at layer {self.site!r} are "
                "not those that the saved scales were learned with. The file is damaged, or of "
                "another version of this library: load it there and export merged weights."
            )
        copy_state(self, tensors)

    @staticmethod
    def continues(config: RandLoRAConfig) -> bool:
        """They do."""
        return True

    @staticmethod
    def trained_numbers(m: int, n: int, config: RandLoRAConfig, task: int) -> int:
        """N (r + min(m, n)) with N = ⌈min(m, n) / r⌉."""
        return -(-min(m, n) // config.rank) * (config.rank + min(m, n))


METHOD = Method(
    name="randlora",
    title="RandLoRA",
    paper="Albert et al. 2025, arXiv:2502.00987",
    summary="Scales learn between shared random matrices, which together reach full rank.",
    config=RandLoRAConfig,
    adapter=RandLoRA,
    trains="adapters",
    learns="Λ, Γ",
    learning_rate=0.001,
    control=False,
    lora_export=False,
    trained_numbers="⌈min(m, n) / r⌉ (r + min(m, n))",
)
