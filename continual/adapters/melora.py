"""MELoRA: an ensemble of mini LoRAs, each between one slice of the inputs and one of the outputs.

    ΔW = s blockdiag(B_1 A_1, …, B_k A_k),   s = α / r
    B_i (b_i, r) from zero,      A_i (r, c_i) from U(−1/√c_i, 1/√c_i)

The rank of ΔW is up to k r at the price of one LoRA of rank r: rows of B and columns of A are
divided among the mini LoRAs, which is how they are stored. They are computed side by side as one
LoRA of rank k r with zeros outside the blocks, and exported as that.
Trained numbers: r (m + n) per weight.

Reference: Ren et al. (2024), arXiv:2402.17263.
Deviation: where k does not divide m or n, slices differ by one row or column at most and none is
left out; the published code rounds the sizes of the slices down without a check.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from continual.adapters.base import Adapter, Site
from continual.adapters.checks import check_count, check_positive, copy_state
from continual.adapters.method import Method
from continual.adapters.pair import Pair
from continual.errors import InputError


@dataclass(frozen=True, kw_only=True)
class MELoRAConfig:
    """Settings of MELoRA.

    Attributes:
        rank: r, inner size of each mini LoRA.
        parts: k, how many there are.
        alpha: α; every mini LoRA is scaled by α / r, 2 by default.
    """

    rank: int = 8
    parts: int = 4
    alpha: float = 16.0

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("MELoRAConfig.rank", self.rank)
        check_count("MELoRAConfig.parts", self.parts)
        check_positive("MELoRAConfig.alpha", self.alpha)


class MELoRA(Adapter):
    """The mini LoRAs are carried through every task."""

    plain_pairs = False

    rows: Tensor
    columns: Tensor

    def __init__(self, site: Site, config: MELoRAConfig) -> None:
        """Draw all of them as one pair, and divide it."""
        super().__init__(site, config)
        self.check(site, config)
        m, n = site.weight.shape
        self.scale = config.alpha / config.rank
        self.pair = Pair(site, config.rank, "melora")
        for name, size in {"rows": m, "columns": n}.items():
            blocks = _slices(size, config.parts).to(site.weight.device)
            self.register_buffer(name, blocks, persistent=False)
        wider = (n / self.columns.sum(dim=1)).sqrt()  # a mini LoRA draws by its own fan-in
        self.pair.A.data *= wider @ self.columns

    @staticmethod
    def check(site: Site, config: MELoRAConfig) -> None:
        """No slice may be empty."""
        m, n = site.weight.shape
        if config.parts > min(m, n):
            raise InputError(
                f"melora of {config.parts} parts does not fit layer {site.name!r}, whose weight is "
                f"({m}, {n}): a slice would be empty. Set parts to at most {min(m, n)}."
            )

    def _factors(self) -> tuple[Float[Tensor, "m d"], Float[Tensor, "d n"]]:
        """Return s [B_1 …] (m, k r) and [A_1; …] (k r, n), zero outside the blocks."""
        B = self.scale * self.pair.B[:, None, :] * self.rows.T[:, :, None]
        A = self.pair.A[None] * self.columns[:, None, :]
        return B.flatten(1), A.flatten(0, 1)

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + x ΔWᵗ through k r numbers."""
        B, A = self._factors()
        return (y + linear(linear(x.to(A.dtype), A), B)).to(y.dtype)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """S blockdiag(B_i A_i)."""
        B, A = self._factors()
        return B @ A

    @torch.no_grad()
    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """Rank k r."""
        return self._factors()

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """One pair: all tasks share it."""
        return [self.factors()]

    def begin_task(self, task: int) -> None:
        """The same mini LoRAs go on learning."""

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state."""
        copy_state(self, tensors)

    @staticmethod
    def continues(config: MELoRAConfig) -> bool:
        """They do."""
        return True

    @staticmethod
    def trained_numbers(m: int, n: int, config: MELoRAConfig, task: int) -> int:
        """R (m + n), whatever k is."""
        return config.rank * (m + n)


def _slices(size: int, parts: int) -> Float[Tensor, "parts size"]:
    """Return one row per slice that is 1 inside it; sizes differ by one at most, larger first."""
    slices = torch.arange(size).tensor_split(parts)
    blocks = torch.zeros(parts, size, dtype=torch.float32)
    for block, chosen in zip(blocks, slices, strict=True):
        block[chosen] = 1.0
    return blocks


METHOD = Method(
    name="melora",
    title="MELoRA",
    paper="Ren et al. 2024, arXiv:2402.17263",
    summary="Mini LoRAs between slices of inputs and outputs: higher rank for the same numbers.",
    config=MELoRAConfig,
    adapter=MELoRA,
    trains="adapters",
    learns="A, B",
    learning_rate=0.003,
    control=False,
    lora_export=True,
    trained_numbers="r (m + n)",
)
