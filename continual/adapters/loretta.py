"""LoRETTA: LoRA whose two factors are tensor trains.

    ΔW = s B A,   s = α / r
    A[ρ, (j_1 … j_N)] = G_0[ρ] G_1[j_1] … G_N[j_N]     (r, n)
    B[(i_1 … i_N), ρ] = H_0[ρ] H_1[i_1] … H_N[i_N]     (m, r),  H_N from zero

Each core is (d_{k-1}, digit, d_k) with d_k at most R, so that a factor costs R² times its digits
instead of r times its size. One pair is carried through every task; ΔW has rank r.
Trained numbers: Σ d_{k-1} digit d_k over both chains; 4096 × 4096 at r = 8, R = 5: 1,840.

Reference: Yang et al. (2024), arXiv:2402.11417, LoRETTA_rep.
Deviations: the last core of B is zero, so that a fresh adapter changes nothing; the published code
draws every core at random and so changes the network before the first step. The others are drawn
as there, N(0, 1) such that the factor's numbers have variance 1 / (inputs + outputs). Digits are
n = j_1 … j_N as equal as its primes allow, rising, with a core of its own for ρ; the published code
reads shapes of n r from a table of ten sizes. It trains layer norms and the classifier too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from continual.adapters.base import Adapter, Site, seed_of
from continual.adapters.checks import check_count, check_positive, check_rank, copy_state
from continual.adapters.method import Method
from continual.adapters.mpo import check_digits, dense, shapes
from continual.linalg import balanced_factors

Shapes = list[tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class LoRETTAConfig:
    """Settings of LoRETTA.

    Attributes:
        rank: r, inner size of the pair.
        alpha: α; the change is scaled by α / r, 2 by default.
        tensor_rank: R, largest rank between two cores.
        digits: N, into how many factors m and n are split; 2, 3 or 4.
    """

    rank: int = 8
    alpha: float = 16.0
    tensor_rank: int = 5
    digits: int = 3

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("LoRETTAConfig.rank", self.rank)
        check_positive("LoRETTAConfig.alpha", self.alpha)
        check_count("LoRETTAConfig.tensor_rank", self.tensor_rank)
        check_digits("LoRETTAConfig.digits", self.digits)

    def shapes(self, m: int, n: int) -> tuple[Shapes, Shapes]:
        """Return the shapes (d_{k-1}, i, j, d_k) of the cores of B and of A; see ``mpo``."""
        rows, columns = (balanced_factors(size, self.digits)[::-1] for size in (m, n))
        ones, rank = (1,) * self.digits, self.rank
        B = shapes((1, *rows), (rank, *ones), self.tensor_rank)
        return B, shapes((rank, *ones), (1, *columns), self.tensor_rank)


def drawn(chain: Sequence[tuple[int, ...]], size: int, seed: int) -> list[Tensor]:
    """Return cores whose dense matrix has entries of variance 1 / (size of both its sides)."""
    generator = torch.Generator("cpu").manual_seed(seed)
    each = (1.0 / size) ** (0.5 / len(chain))
    return [torch.randn(s, generator=generator) * (each / math.sqrt(s[3])) for s in chain]


class LoRETTA(Adapter):
    """One pair of chains is carried through every task."""

    def __init__(self, site: Site, config: LoRETTAConfig) -> None:
        """Draw the cores."""
        super().__init__(site, config)
        m, n = site.weight.shape
        rank = check_rank(config.rank, site, "loretta")
        self.scale = config.alpha / rank
        B, A = config.shapes(m, n)
        output = drawn(B, m + rank, seed_of(site.seed, "loretta B"))
        output[-1].zero_()
        device = site.weight.device
        self.B = nn.ParameterList(nn.Parameter(core.to(device)) for core in output)
        inner = drawn(A, n + rank, seed_of(site.seed, "loretta A"))
        self.A = nn.ParameterList(nn.Parameter(core.to(device)) for core in inner)

    def pair(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """(s B, A) of the chains, differentiable."""
        return self.scale * dense(list(self.B)), dense(list(self.A))

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + x Aᵗ (s B)ᵗ; 2 N products form the factors and 2 apply them."""
        B, A = self.pair()
        return (y + linear(linear(x.to(A.dtype), A), B)).to(y.dtype)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """S B A."""
        B, A = self.pair()
        return B @ A

    @torch.no_grad()
    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """(s B, A)."""
        return self.pair()

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """One pair: all tasks share it."""
        return [self.factors()]

    def begin_task(self, task: int) -> None:
        """The same cores go on learning."""

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state."""
        copy_state(self, tensors)

    @staticmethod
    def continues(config: LoRETTAConfig) -> bool:
        """They do."""
        return True

    @staticmethod
    def trained_numbers(m: int, n: int, config: LoRETTAConfig, task: int) -> int:
        """Σ d_{k-1} digit d_k over both chains."""
        return sum(math.prod(shape) for chain in config.shapes(m, n) for shape in chain)


METHOD = Method(
    name="loretta",
    title="LoRETTA",
    paper="Yang et al. 2024, arXiv:2402.11417",
    summary="LoRA whose two factors are tensor trains of small cores.",
    config=LoRETTAConfig,
    adapter=LoRETTA,
    trains="adapters",
    learns="all cores of A and B",
    learning_rate=0.003,
    control=False,
    lora_export=True,
    trained_numbers="Σ d digit d' of both chains",
    products=10,
)
