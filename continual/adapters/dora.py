"""DoRA: the direction of every row of W changes by a low-rank pair, its length by one number.

    W' = diag(μ / ‖W + s B A‖) (W + s B A)      norms by rows; ΔW = W' − W
    B (m, r) from zero, A (r, n) from U(−1/√n, 1/√n), μ (m,) from the row norms of W, s = α / r

The norm ‖W + s B A‖ follows the pair but gets no gradient (section 4.3), which saves its memory and
makes ∂L/∂B that of LoRA times μ / ‖·‖. A row of the weight in torch's (outputs, inputs) layout is
what the paper calls a column. Fresh, μ / ‖·‖ is exactly 1 and nothing changes. The norms come from
W Aᵗ and A Aᵗ, see ``magnitude``; one product of W with r vectors per forward pass, however many
tokens it has. ΔW has full rank and is exported as whole weights; all of it refers to the original
W, whatever the number of tasks.
Trained numbers: r (m + n) + m per weight.

Reference: Liu et al. (2024), arXiv:2402.09353, eq. 5 and section 4.3.
Deviation: μ is held as its distance from the row norms of W, so weight decay leads back to W and
not to zero; without decay nothing differs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from continual.adapters.base import Adapter, Site
from continual.adapters.checks import check_count, check_positive, copy_state
from continual.adapters.magnitude import Magnitude
from continual.adapters.method import Method
from continual.adapters.pair import Pair


@dataclass(frozen=True, kw_only=True)
class DoRAConfig:
    """Settings of DoRA.

    Attributes:
        rank: r, inner size of the pair.
        alpha: α; the pair is scaled by α / r, 2 by default.
    """

    rank: int = 8
    alpha: float = 16.0

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("DoRAConfig.rank", self.rank)
        check_positive("DoRAConfig.alpha", self.alpha)


class DoRA(Adapter):
    """One pair and one magnitude per output are carried through every task."""

    def __init__(self, site: Site, config: DoRAConfig) -> None:
        """Draw the pair and measure the rows."""
        super().__init__(site, config)
        self.scale = config.alpha / config.rank
        self.pair = Pair(site, config.rank, "dora")
        self.magnitude = Magnitude(site)

    def _parts(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"], Float[Tensor, " m"]]:
        """Return s B, A and g = μ / ‖W + s B A‖."""
        B, A = self.scale * self.pair.B, self.pair.A
        return B, A, self.magnitude.gain(B, *self.magnitude.against(A))

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + (g − 1)(y − b) + g s x Aᵗ Bᵗ."""
        return self.magnitude(x, y, *self._parts())

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """(g − 1) W + g s B A."""
        return self.magnitude.change(*self._parts())

    def factors(self) -> None:
        """None: scaled rows of W have full rank."""

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """None of low rank."""
        return []

    def begin_task(self, task: int) -> None:
        """The same pair and magnitudes go on learning."""

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state but W."""
        copy_state(self, tensors)
        self.magnitude.weight = weight

    @staticmethod
    def continues(config: DoRAConfig) -> bool:
        """They do."""
        return True

    @staticmethod
    def trained_numbers(m: int, n: int, config: DoRAConfig, task: int) -> int:
        """R (m + n) + m."""
        return config.rank * (m + n) + m


METHOD = Method(
    name="dora",
    title="DoRA",
    paper="Liu et al. 2024, arXiv:2402.09353",
    summary="A low-rank pair turns the rows of the weight, and one number each sets their length.",
    config=DoRAConfig,
    adapter=DoRA,
    trains="adapters",
    learns="A, B, μ",
    learning_rate=0.001,
    control=False,
    lora_export=False,
    trained_numbers="r (m + n) + m",
    products=5,
)
