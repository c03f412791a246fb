"""EDoRA: DoRA whose direction learns only an r × r core between singular vectors of W.

    W' = diag(μ / ‖W + α U R Σ Vᵗ‖) (W + α U R Σ Vᵗ)      norms by rows; ΔW = W' − W
    U (m, r), Σ, V (n, r) the leading singular triplets of W, frozen
    R (r, r) from N(0, 1e-5²), μ (m,) from the row norms of W

LoRA-XS with magnitudes. Because R starts near zero and not at it, a fresh adapter changes outputs
by a few parts in 100,000, as published. The norm gets no gradient, as in DoRA. U and Σ Vᵗ are saved
with the state: another linear-algebra library may turn them. W Vᵗ Σ is computed once, so that a
forward pass costs n r + r m products per input row and no product with W.
Trained numbers: r² + m per weight.

Reference: Nasiri and Garraghan (2025), arXiv:2501.12067.
Deviations: μ is held as its distance from the row norms of W, so weight decay leads back to them.
The published code scales by 16 / r, which is the default here at its r = 16; the paper by nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from continual.adapters.base import Adapter, Site, seed_of
from continual.adapters.checks import check_count, check_positive, check_rank, copy_state
from continual.adapters.magnitude import Magnitude
from continual.adapters.method import Method
from continual.linalg import svd

SPREAD = 1e-5  # standard deviation of R at first


@dataclass(frozen=True, kw_only=True)
class EDoRAConfig:
    """Settings of EDoRA.

    Attributes:
        rank: r, singular triplets kept, and the size of R.
        alpha: α, scale of the change; not divided by the rank.
    """

    rank: int = 16
    alpha: float = 1.0

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("EDoRAConfig.rank", self.rank)
        check_positive("EDoRAConfig.alpha", self.alpha)


class EDoRA(Adapter):
    """One core and one magnitude per output are carried through every task."""

    U: Tensor
    A: Tensor
    overlap: Tensor
    gram: Tensor

    def __init__(self, site: Site, config: EDoRAConfig) -> None:
        """Decompose the frozen weight and draw the core."""
        super().__init__(site, config)
        rank = check_rank(config.rank, site, "edora")
        self.scale = config.alpha
        self.magnitude = Magnitude(site)
        device = site.weight.device
        found = svd(site.weight.float().cpu(), rank, diagnose=False)
        self.register_buffer("U", torch.tensor(found.U, device=device))
        self.register_buffer("A", torch.tensor(found.s[:, None] * found.Vt, device=device))
        generator = torch.Generator("cpu").manual_seed(seed_of(site.seed, "edora core", 0))
        core = SPREAD * torch.randn(rank, rank, generator=generator, dtype=torch.float32)
        self.R = nn.Parameter(core.to(device))
        self._measure()

    def _measure(self) -> None:
        """Take W Aᵗ and A Aᵗ, which never change."""
        overlap, gram = self.magnitude.against(self.A)
        self.register_buffer("overlap", overlap, persistent=False)
        self.register_buffer("gram", gram, persistent=False)

    def _parts(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"], Float[Tensor, " m"]]:
        """Return α U R, Σ Vᵗ and g."""
        B = self.scale * (self.U @ self.R)
        return B, self.A, self.magnitude.gain(B, self.overlap, self.gram)

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + (g − 1)(y − b) + g α x V Σ Rᵗ Uᵗ."""
        return self.magnitude(x, y, *self._parts())

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """(g − 1) W + g α U R Σ Vᵗ."""
        return self.magnitude.change(*self._parts())

    def factors(self) -> None:
        """None: scaled rows of W have full rank."""

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """None of low rank."""
        return []

    def begin_task(self, task: int) -> None:
        """The same core and magnitudes go on learning."""

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state but W and what it gives with the saved factors."""
        copy_state(self, tensors)
        self.magnitude.weight = weight
        self._measure()

    @staticmethod
    def continues(config: EDoRAConfig) -> bool:
        """They do."""
        return True

    @staticmethod
    def trained_numbers(m: int, n: int, config: EDoRAConfig, task: int) -> int:
        """R² + m."""
        return config.rank**2 + m


METHOD = Method(
    name="edora",
    title="EDoRA",
    paper="Nasiri and Garraghan 2025, arXiv:2501.12067",
    summary="A small core turns the rows of the weight between its own singular vectors.",
    config=EDoRAConfig,
    adapter=EDoRA,
    trains="adapters",
    learns="R, μ",
    learning_rate=0.01,
    control=False,
    lora_export=False,
    trained_numbers="r² + m",
    identity=1e-3,
)
